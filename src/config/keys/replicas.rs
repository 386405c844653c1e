//! `replicas`: what runs the replicas of a group, one table a provider.

use super::bounds::{LIST_INTERVAL, OTHER_TOKEN, PHASE, PORT, REPLICAS as MOST, TIMEOUT};
use super::key::DefaultValue::{Count, Described, Required, Text};
use super::key::{Kind, Table, key, secs};
use super::words::{OutputKind, names};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static REPLICAS: Table = Table { path: "target_group.*.replicas", heading: "", keys: &[
    key("command", Kind::Value("list of a program and its arguments"), Described("one of the seven providers is required"),
        "{port} becomes a free port; no shell is involved").called("cmd args"),
    // 256 on one machine.
    key("count", Kind::Count(0..=MOST), Described("what the engine has; of processes and docker's containers 1, or `min` of autoscaling"),
        "how many to begin with").called("number replicas desired desired_count instances"),
    key("env", Kind::Value("table of names and values"), Described("nothing"), "added to Weir's own environment"),
    key("directory", Kind::Value("path of a folder"), Described("Weir's own"), "where the processes run")
        .called("cwd workdir working_directory"),
    // Docker's.
    key("stop_timeout", Kind::Duration(PHASE), secs(10), "between SIGTERM and SIGKILL"),
    key("output", Kind::Word(names::<OutputKind>), Text("log"),
        "where what the processes print goes: into Weir's log, into a file for each, or nowhere")
        .called("logs stdout log"),
    key("output_dir", Kind::Value("path of a folder"), Described("required with `output = \"file\"`"),
        "of these files, each of 20 MiB at most with the one before")
        .called("log_dir output_directory"),
    key("docker", Kind::Table(&DOCKER), Described("none"), "containers on this machine"),
    key("swarm", Kind::Table(&SWARM), Described("none"), "a service of Docker's Swarm mode"),
    key("kubernetes", Kind::Table(&KUBERNETES), Described("none"), "a Deployment of Kubernetes").called("k8s"),
    key("ecs", Kind::Table(&ECS), Described("none"), "a service of Amazon's ECS"),
    key("exec", Kind::Table(&EXEC), Described("none"), "any two programs"),
    key("webhook", Kind::Table(&WEBHOOK), Described("none"), "any HTTP service"),
    // The kernel counts CPU time in hundredths of a second.
    key("cpus", Kind::Number(0.01..=1024.0), Described("the engine's limit, or else all that the machine has"),
        "cores that are 100 % of the metric `cpu`").called("cpu cpu_limit cores"),
    key("memory", Kind::Size(1 << 20..=1 << 44), Described("the engine's limit, or else all that the machine has"),
        "what is 100 % of the metric `memory`").called("mem mem_limit memory_limit"),
    key("scaler", Kind::Flag, Described("the Weir that holds the engine's lease"),
        "whether this Weir says how many there are, when several stand before one service").called("leader is_scaler"),
    key("warm_up", Kind::Table(&WARM_UP), Described("nothing"), "what a new replica is asked before it gets requests of users")
        .called("warmup"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static DOCKER: Table = Table { path: "target_group.*.replicas.docker", heading: "", keys: &[
    key("image", Kind::Value("name of an image"), Required, "what the containers are made of; never pulled"),
    // The engine's own default.
    key("network", Kind::Value("name of a network"), Text("bridge"), "that Weir reaches them on").called("networks"),
    key("port", Kind::Count(PORT), Described("the group's"), "where the replicas listen"),
    key("command", Kind::Value("list of a program and its arguments"), Described("the image's own"), "the program to run")
        .called("cmd args"),
    key("env", Kind::Value("table of names and values"), Described("nothing"), "the environment of the container")
        .called("environment"),
    key("volumes", Kind::Value("list of \"NAME:/path\" or \"/host/path:/path\", perhaps with \":ro\""), Described("none"),
        "what is mounted").called("volume mounts binds"),
    // The engine's own default.
    key("host", Kind::Value("`unix:///PATH` or `tcp://HOST:PORT`"), Text("unix:///var/run/docker.sock"), "the engine")
        .called("socket endpoint engine"),
    key("stop_timeout", Kind::Duration(PHASE), secs(10), "between SIGTERM and SIGKILL"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static SWARM: Table = Table { path: "target_group.*.replicas.swarm", heading: "", keys: &[
    key("service", Kind::Value("name of a service"), Required, "the service, which exists and is replicated")
        .called("service_name name"),
    key("network", Kind::Value("name of a network"), Required, "that Weir shares with the tasks").called("networks"),
    key("port", Kind::Count(PORT), Described("the group's"), "where the replicas listen"),
    key("host", Kind::Value("`unix:///PATH` or `tcp://HOST:PORT`"), Text("unix:///var/run/docker.sock"), "the engine of a manager")
        .called("socket endpoint engine"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static KUBERNETES: Table = Table { path: "target_group.*.replicas.kubernetes", heading: "", keys: &[
    key("deployment", Kind::Value("name of a Deployment"), Required, "the Deployment that is scaled").called("name"),
    key("service", Kind::Value("name of a Service"), Required, "the Service with the EndpointSlices of the targets"),
    key("namespace", Kind::Value("name of a namespace"), Described("that of Weir's pod"), "where both are"),
    key("port", Kind::Count(PORT), Described("the group's"), "where the replicas listen"),
    key("api", Kind::Value("URL"), Described("that of Weir's pod, or of KUBECONFIG"), "the API server").called("server host url"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static ECS: Table = Table { path: "target_group.*.replicas.ecs", heading: "", keys: &[
    key("service", Kind::Value("name or ARN"), Required, "the service; its tasks have the network mode awsvpc")
        .called("service_name name"),
    // ECS's own default.
    key("cluster", Kind::Value("name or ARN"), Text("default"), "the cluster of the service").called("cluster_name"),
    key("region", Kind::Value("name of a region"), Described("the environment's"), "the region of the cluster"),
    key("port", Kind::Count(PORT), Described("the group's"), "where the replicas listen"),
    key("endpoint", Kind::Value("URL"), Described("the region's"), "the API, for tests and private endpoints")
        .called("endpoint_url url"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static EXEC: Table = Table { path: "target_group.*.replicas.exec", heading: "", keys: &[
    key("list", Kind::Value("list of a program and its arguments"), Required, "prints the replicas and their number"),
    key("scale", Kind::Value("list of a program and its arguments"), Required, "{count} becomes the number of replicas"),
    // A replica is found within a health check or two, and a program started so often costs nothing
    // to speak of.
    key("interval", Kind::Duration(LIST_INTERVAL), secs(5), "between two lists"),
    key("timeout", Kind::Duration(TIMEOUT), secs(10), "for each answer"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static WEBHOOK: Table = Table { path: "target_group.*.replicas.webhook", heading: "", keys: &[
    key("url", Kind::Value("URL of scheme http"), Required, "GET answers as `list` prints, PUT of {\"desired\": 2} scales")
        .called("endpoint address"),
    key("token", Kind::Secret(OTHER_TOKEN), Described("none"), "sent as a bearer token"),
    key("token_file", Kind::Value("path of a file"), Described("none"), "the file that holds it"),
    key("interval", Kind::Duration(LIST_INTERVAL), secs(5), "between two lists"),
    key("timeout", Kind::Duration(TIMEOUT), secs(10), "for each answer"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static WARM_UP: Table = Table { path: "target_group.*.replicas.warm_up", heading: "", keys: &[
    key("path", Kind::Value("path, perhaps with a query"), Required, "what is asked").called("url uri"),
    // What fills a pool of connections and makes a compiler run; more than ten thousand are a load test.
    key("requests", Kind::Count(1..=10_000), Count(20), "how often, one after the other").called("count number"),
    key("timeout", Kind::Duration(TIMEOUT), secs(10), "for all of them together"),
] };
