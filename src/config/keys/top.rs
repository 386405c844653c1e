//! The top level of the file: the process, its shutdown and its admin listener.

use super::bounds::{OTHER_TOKEN, PHASE, TIMEOUT, TOKEN};
use super::key::DefaultValue::{Count, Described, Flag, Required, Text};
use super::key::{ANY, Kind, Table, key, secs};
use super::listener::LISTENER;
use super::target_group::TARGET_GROUP;
use super::words::names;
use crate::config::types::{AccessFormat, AccessLog, Traceparent};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static FILE: Table = Table { path: "", heading: "the top level of the file", keys: &[
    // More threads than any machine has cores are a mistake.
    key("workers", Kind::Count(1..=1024), Described("one per core the process may use"), "threads that serve requests")
        .called("threads worker_processes nbthread concurrency num_workers"),
    // While no request fails nothing is written, and each that does can be looked up.
    key("access_log", Kind::Word(names::<AccessLog>), Text("failures"), "which requests are logged")
        .called("access_logs accesslog"),
    key("log", Kind::Table(&LOG), Described("those of its keys"), "how requests are logged")
        .called("logs logging"),
    key("tracing", Kind::Table(&TRACING), Described("those of its keys"), "which traces requests belong to")
        .called("trace traces trace_context distributed_tracing opentelemetry"),
    key("shutdown", Kind::Table(&SHUTDOWN), Described("those of its keys"), "how a shutdown proceeds"),
    key("admin", Kind::Table(&ADMIN), Described("off"), "status, health and metrics of Weir itself"),
    key("cookie_key", Kind::Secret(44..=64), Described("a key of this process, so that sessions end with it"),
        "what session cookies are sealed with: 32 bytes as 64 hex digits or as base64")
        .called("cookie_secret session_key secret_key"),
    key("cookie_key_file", Kind::Value("path of a file"), Described("none"), "the file that holds it"),
    key("upgrade_socket", Kind::Value("absolute path of at most 107 bytes"), Described("nowhere"),
        "where a new process asks this one for its listening sockets").called("upgrade handover_socket"),
    key("listener", Kind::Tables(&LISTENER, ANY), Required, "where requests come in")
        .called("server servers frontend frontends entrypoint listen entry_point"),
    key("target_group", Kind::Table(&TARGET_GROUP), Described("none"), "where requests go")
        .called("backend backends cluster clusters service services pool upstream upstreams pools tg group groups"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static LOG: Table = Table { path: "log", heading: "", keys: &[
    key("format", Kind::Word(names::<AccessFormat>), Described("that of `weir run --log-format`"),
        "the form of a line: \"alb\" is that of AWS's Application Load Balancer, \"combined\" and \"common\" are those of web servers")
        .called("log_format access_log_format style"),
    // Two hundred bytes of most lines.
    key("user_agent", Kind::Flag, Flag(false),
        "true: lines have what the client says of itself (User-Agent) and the page that led to the request (Referer); \"alb\" and \"combined\" always have the first")
        .called("agent useragent referer headers"),
    key("successes", Kind::Number(0.0..=1.0), Described("all of them: 1"),
        "the share of the successes that access_log = \"all\" logs, chosen by their request id, so that several Weirs choose the same; failures and answers of 500 and above are logged always")
        .called("sample sampling sample_rate"),
    key("to", Kind::Value("`\"stdout\"`, path of a file, `\"syslog\"`, `\"journald\"`"), Text("stdout"),
        "where lines about requests go; a socket or an address can follow: \"syslog:10.0.0.1:514\". A file is opened again on SIGHUP and when it was renamed or removed")
        .called("output path file destination target sink"),
    key("max_size", Kind::Size(4 * 1024..=1 << 40), Described("it grows without bound"),
        "the size at which the file is renamed to NAME.1 and another is begun").called("rotate_size max_bytes maxsize roll_size"),
    key("keep", Kind::Count(1..=1000), Count(5), "how many renamed files there are at most").called("rotate backups max_files roll_keep"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TRACING: Table = Table { path: "tracing", heading: "", keys: &[
    key("traceparent", Kind::Word(names::<Traceparent>), Text("off"),
        "whose traceparent and tracestate (W3C) go on, with a span of Weir's: that of \"trusted\" proxies or of \"any\" client; others get a new trace. \"off\" passes both on as they are")
        .called("w3c propagation propagate"),
    key("amazon", Kind::Flag, Flag(false), "true: targets get X-Amzn-Trace-Id as from ALB: with a new Root, or with Self beside the Root of the client")
        .called("xray x_ray amzn_trace_id x_amzn_trace_id"),
    key("otlp", Kind::Table(&OTLP), Described("nowhere"), "where the spans of requests are sent")
        .called("otel opentelemetry exporter collector export"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static OTLP: Table = Table { path: "tracing.otlp", heading: "", keys: &[
    key("endpoint", Kind::Value("URL of scheme http or https"), Required,
        "where spans are sent, as OTLP over HTTP in protobuf: \"http://127.0.0.1:4318/v1/traces\"")
        .called("url address collector traces_endpoint"),
    key("sample", Kind::Number(0.0..=1.0), Described("all of them: 1"),
        "the share of the traces begun by Weir that is exported; a trace that goes on is exported if its client says that it is sampled")
        .called("sampling sample_rate samplerate ratio sampler"),
    key("service", Kind::Value("text"), Text("weir"), "the service.name of the spans").called("service_name servicename name"),
    key("token", Kind::Secret(OTHER_TOKEN), Described("none"), "sent with the spans").called("api_key apikey bearer headers"),
    key("token_file", Kind::Value("path of a file"), Described("none"), "the file that holds it"),
    key("token_field", Kind::Value("name of a field"), Described("`Authorization`"),
        "the field that carries it: `Authorization` as a bearer token, another one alone").called("header header_name token_header"),
    key("ca", Kind::Value("path of a file"), Described("the authorities that the system trusts"),
        "the authorities, in PEM, that a collector with an https URL is known by").called("ca_file certificate tls"),
    // As with OpenTelemetry's exporters.
    key("timeout", Kind::Duration(TIMEOUT), secs(10), "for each answer of the collector"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static SHUTDOWN: Table = Table { path: "shutdown", heading: "", keys: &[
    // Five seconds are what balancers and DNS in front of Weir need to look elsewhere.
    key("lame_duck", Kind::Duration(PHASE), secs(5), "how long Weir says \"not ready\" and still accepts"),
    // With it thirty, Kubernetes' default grace period: Weir ends by itself before it is killed.
    key("drain", Kind::Duration(PHASE), secs(25), "what takes longer is cut off"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static ADMIN: Table = Table { path: "admin", heading: "", keys: &[
    // Loopback, because it answers without a token; the port Prometheus exporters are expected at.
    key("bind", Kind::Value("IP address and port"), Text("127.0.0.1:9090"),
        "where it listens; reading needs no token, so keep it private").called("listen address addr port"),
    key("token", Kind::Secret(TOKEN), Described("changes are refused"),
        "bearer token of requests that change targets").called("password secret bearer auth"),
    key("token_file", Kind::Value("path of a file"), Described("none"), "the file that holds it"),
] };
