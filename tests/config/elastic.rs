//! What good `replicas` and `autoscaling` mean.

use std::path::PathBuf;
use std::time::Duration;

use weir::config::{
    self, Adjustment, Allowance, Autoscaling, Comparison, CustomMetric, DockerRunner, EcsRunner,
    ExecRunner, KubernetesRunner, Metric, Predictive, Profile, Replicas, Runner, Scaler, Step,
    StepScaling, SwarmRunner, TargetGroup, TargetTracking, Timing, WarmUpRequests, When,
};

const SECOND: Duration = Duration::from_secs(1);

/// A group on port 6400 with this in it.
fn group(inside: &str) -> TargetGroup {
    let text = format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n\
         [target_group.todo]\nport = 6400\n{inside}\n"
    );
    match config::parse("good.toml", &text, &|_| None) {
        Ok(parsed) if parsed.warnings.is_empty() => parsed.config.target_groups[0].clone(),
        Ok(parsed) => panic!("{}", parsed.warnings),
        Err(problems) => panic!("{problems}"),
    }
}

fn replicas(inside: &str) -> Replicas {
    let group = group(&format!("[target_group.todo.replicas]\n{inside}"));
    group.replicas.expect("they are there")
}

fn scaling(inside: &str) -> Autoscaling {
    let group = group(&format!(
        "replicas = {{ command = [\"./todo\", \"{{port}}\"] }}\n\
         [target_group.todo.autoscaling]\nmin = 1\nmax = 4\n{inside}"
    ));
    group.autoscaling.expect("it is there")
}

/// The one policy of a `step_scaling`.
fn steps(inside: &str) -> StepScaling {
    let scaling = scaling(&format!(
        "profile = \"aws\"\nstep_scaling = [{{ {inside} }}]"
    ));
    scaling.step_scaling[0].clone()
}

/// Replicas with a provider and nothing else.
fn run_by(runner: Runner) -> Replicas {
    Replicas {
        runner,
        count: None,
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    }
}

#[test]
fn docker_and_swarm_have_defaults() {
    let docker = DockerRunner {
        host: "unix:///var/run/docker.sock".into(),
        image: "taskoverflow".into(),
        command: Vec::new(),
        env: Vec::new(),
        network: "bridge".into(),
        port: 6400,
        volumes: Vec::new(),
        stop_timeout: 10 * SECOND,
    };
    let text = "docker = { image = \"taskoverflow\", command = [], env = {}, volumes = [] }";
    assert_eq!(replicas(text), run_by(Runner::Docker(docker)));
    let swarm = SwarmRunner {
        host: "tcp://10.0.0.1:2375".into(),
        service: "todo_app".into(),
        network: "todo_default".into(),
        port: 6401,
    };
    let text = "swarm = { service = \"todo_app\", network = \"todo_default\", port = 6401, \
                host = \"tcp://10.0.0.1:2375\" }";
    assert_eq!(replicas(text), run_by(Runner::Swarm(swarm)));
}

#[test]
fn kubernetes_and_ecs_have_defaults() {
    let kubernetes = KubernetesRunner {
        api: None,
        namespace: None,
        deployment: "todo".into(),
        service: "todo-pods".into(),
        port: 6400,
    };
    let text = "kubernetes = { deployment = \"todo\", service = \"todo-pods\" }";
    assert_eq!(replicas(text), run_by(Runner::Kubernetes(kubernetes)));
    let ecs = EcsRunner {
        endpoint: Some("http://127.0.0.1:5000".into()),
        region: None,
        cluster: "default".into(),
        service: "todo".into(),
        port: 6400,
    };
    let text = "ecs = { service = \"todo\", endpoint = \"http://127.0.0.1:5000\" }";
    assert_eq!(replicas(text), run_by(Runner::Ecs(ecs)));
}

#[test]
fn programs_of_the_operators_may_run_replicas() {
    let exec = ExecRunner {
        list: vec!["./list".into()],
        scale: vec!["./scale".into(), "--to={count}".into()],
        interval: 5 * SECOND,
        timeout: 10 * SECOND,
        secrets: std::collections::BTreeSet::new(),
    };
    let text = "exec = { list = [\"./list\"], scale = [\"./scale\", \"--to={count}\"] }";
    assert_eq!(replicas(text), run_by(Runner::Exec(exec)));
}

#[test]
fn an_engine_takes_what_is_written() {
    let text = "docker = { image = \"todo:1\", network = \"weir\", port = 80, command = [\"serve\", \"\"], \
                env = { A = \"1\" }, volumes = [\"todos:/data\", \"/srv:/srv:ro\"], stop_timeout = \"1s\" }\n\
                count = 3\ncpus = 0.5\nmemory = \"512MiB\"\nscaler = false\nwarm_up = { path = \"/a?b\", requests = 7 }";
    let read = replicas(text);
    let Runner::Docker(docker) = read.runner else {
        panic!("{read:?}");
    };
    assert_eq!(
        (docker.image.as_str(), docker.network.as_str()),
        ("todo:1", "weir")
    );
    assert_eq!(docker.command, ["serve", ""]);
    assert_eq!(docker.env, [("A".to_owned(), "1".to_owned())]);
    assert_eq!(docker.volumes, ["todos:/data", "/srv:/srv:ro"]);
    assert_eq!((docker.port, docker.stop_timeout), (80, SECOND));
    assert_eq!((read.count, read.scaler), (Some(3), Scaler::No));
    let allowance = Allowance {
        cpus: Some(0.5),
        memory: Some(512 << 20),
    };
    assert_eq!(read.allowance, allowance);
    let warm_up = WarmUpRequests {
        is_http2: false,
        tls: None,
        path: "/a?b".into(),
        count: 7,
        timeout: 10 * SECOND,
    };
    assert_eq!(read.warm_up, Some(warm_up));
}

#[test]
fn a_webhook_may_have_a_token_of_any_length() {
    let read = replicas("webhook = { url = \"http://10.0.0.9:8000/replicas\", token = \"abc\" }");
    let Runner::Webhook(webhook) = read.runner else {
        panic!("{read:?}");
    };
    assert_eq!(webhook.url, "http://10.0.0.9:8000/replicas");
    assert_eq!(webhook.token.expect("it is there").0, "abc");
    assert_eq!(
        (webhook.interval, webhook.timeout),
        (5 * SECOND, 10 * SECOND)
    );
}

#[test]
fn a_profile_is_the_timing_but_for_what_is_written() {
    let policy = "target_tracking = { metric = \"cpu\", target = 20 }";
    let timing = |text: &str| {
        let scaling = scaling(&format!("{policy}\n{text}"));
        (scaling.profile, scaling.timing)
    };
    for profile in Profile::ALL {
        let text = format!("profile = \"{}\"", profile.name());
        assert_eq!(timing(&text), (profile, Timing::of(profile)));
    }
    assert_eq!(timing(""), (Profile::Fast, Timing::of(Profile::Fast)));
    let text = "profile = \"aws\"\nperiod = \"10s\"\nout_periods = 2\nin_periods = 30\nout_above = 1.2\n\
                in_below = 0.5\nout_cooldown = \"1m\"\nin_cooldown = \"0s\"\nwarm_up = \"20s\"";
    let written = Timing {
        period: 10 * SECOND,
        out_periods: 2,
        in_periods: 30,
        out_above: 1.2,
        in_below: 0.5,
        out_cooldown: 60 * SECOND,
        in_cooldown: Duration::ZERO,
        warm_up: 20 * SECOND,
    };
    assert_eq!(timing(text), (Profile::Aws, written));
}

#[test]
fn a_target_is_in_the_unit_of_its_metric() {
    let scaling = scaling(
        "scale_in = false\n\
         target_tracking = [{ metric = \"cpu\", target = 20.0 }, { metric = \"latency_p95\", target = \"250ms\" },\n\
         { metric = \"ECSServiceAverageMemoryUtilization\", target = 0.5, scale_in = false },\n\
         { metric = { name = \"jobs:waiting\", labels = { b = \"2\", a = \"1\" }, rate = true, port = 9100 }, target = 10 }]",
    );
    assert!(!scaling.scale_in);
    let read: Vec<_> = scaling
        .target_tracking
        .iter()
        .map(|policy| (policy.metric.clone(), policy.target, policy.scale_in))
        .collect();
    let custom = CustomMetric {
        name: "jobs:waiting".into(),
        labels: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
        path: "/metrics".into(),
        port: Some(9100),
        rate: true,
    };
    let expected = [
        (Metric::Cpu, 20.0, true),
        (Metric::LatencyP95, 250.0, true),
        (Metric::Memory, 0.5, false),
        (Metric::Custom(custom), 10.0, true),
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_variable_may_hold_a_target() {
    let text = "target_tracking = { metric = \"cpu\", target = \"${CPU:-62.5}\" }";
    let expected = TargetTracking {
        metric: Metric::Cpu,
        target: 62.5,
        scale_in: true,
    };
    assert_eq!(scaling(text).target_tracking, [expected]);
}

#[test]
fn a_step_policy_follows_the_timing_of_its_direction() {
    let out = steps(
        "metric = \"cpu\", comparison = \">=\", threshold = 70, steps = [{ lower = 0, by = 1 }]",
    );
    let expected = StepScaling {
        metric: Metric::Cpu,
        comparison: Comparison::GreaterOrEqual,
        threshold: 70.0,
        periods: 3,
        period: 60 * SECOND,
        adjustment: Adjustment::Change,
        steps: vec![Step {
            lower: Some(0.0),
            upper: None,
            by: 1,
        }],
        min_magnitude: None,
        cooldown: 300 * SECOND,
    };
    assert_eq!(out, expected);
    let down = steps(
        "metric = \"cpu\", comparison = \"<\", threshold = 40, steps = { upper = 0, by = -1 }, cooldown = \"5s\"",
    );
    assert_eq!((down.periods, down.cooldown), (15, 5 * SECOND));
}

#[test]
fn steps_are_sorted_and_may_be_in_the_words_of_aws() {
    let read = steps(
        "metric = \"latency_p95\", comparison = \"LessThanThreshold\", threshold = \"1s\", \
         adjustment = \"PercentChangeInCapacity\", min_magnitude = 2, periods = 1, period = \"1s\", \
         steps = [{ lower = \"-100ms\", upper = 0, by = -10 }, { upper = \"-100ms\", by = -50 }]",
    );
    assert_eq!(
        (read.comparison, read.threshold),
        (Comparison::Less, 1000.0)
    );
    assert_eq!(
        (read.adjustment, read.min_magnitude),
        (Adjustment::Percent, Some(2))
    );
    let steps: Vec<_> = read
        .steps
        .iter()
        .map(|s| (s.lower, s.upper, s.by))
        .collect();
    assert_eq!(
        steps,
        [(None, Some(-100.0), -50), (Some(-100.0), Some(0.0), -10)]
    );
}

#[test]
fn a_time_is_in_its_zone() {
    let scaling = scaling(
        "schedule = [{ cron = \" 0  18 * * THU\", timezone = \"europe/berlin\", min = 4, max = 8 },\n\
         { at = \"2026-12-24T18:00:00\", timezone = \"Europe/Berlin\", max = 10 },\n\
         { at = 2026-12-24T18:00:00, max = 10 }, { at = \"2026-07-01 18:00-04:00\", max = 10 },\n\
         { rate = \"1h30m\", min = 2 }]",
    );
    let cron = When::Cron {
        expression: "0 18 * * THU".into(),
        timezone: "Europe/Berlin".into(),
    };
    let at = |text: &str| When::At(text.parse().expect("a time"));
    let expected = [
        (cron, Some(4), Some(8)),
        (at("2026-12-24T17:00:00Z"), None, Some(10)),
        (at("2026-12-24T18:00:00Z"), None, Some(10)),
        (at("2026-07-01T22:00:00Z"), None, Some(10)),
        (When::Rate(5400 * SECOND), Some(2), None),
    ];
    let read = scaling
        .schedule
        .iter()
        .map(|action| (action.when.clone(), action.min, action.max));
    assert_eq!(read.collect::<Vec<_>>(), expected);
    assert_eq!(scaling.most(), 10);
}

#[test]
fn a_forecast_is_only_shown_unless_it_may_scale() {
    let text = "target_tracking = { metric = \"cpu\", target = 20 }\nrecord = \"data/todo.csv\"\n\
                predictive = { metric = \"requests_per_target\", target = 100";
    let shown = Predictive {
        metric: Metric::RequestsPerTarget,
        target: 100.0,
        scale: false,
        buffer: 300 * SECOND,
        history: None,
    };
    let read = scaling(&format!("{text} }}"));
    assert_eq!(read.record, Some(PathBuf::from("data/todo.csv")));
    assert_eq!(read.predictive, Some(shown.clone()));
    let scales = Predictive {
        scale: true,
        buffer: 60 * SECOND,
        history: Some("data/todo.json".into()),
        ..shown
    };
    let more = ", mode = \"forecast_and_scale\", buffer = \"1m\", history = \"data/todo.json\" }";
    assert_eq!(scaling(&format!("{text}{more}")).predictive, Some(scales));
}

#[test]
fn where_there_may_be_no_replica_requests_wait_for_the_first() {
    let with = |group_keys: &str, bounds: &str| {
        group(&format!(
            "{group_keys}\nreplicas = {{ command = [\"./todo\", \"{{port}}\"] }}\n[target_group.todo.autoscaling]\n\
             target_tracking = {{ metric = \"cpu\", target = 20 }}\n{bounds}"
        ))
    };
    let waits = |group: &TargetGroup| (group.overload.queue_length, group.overload.queue_timeout);
    let zero = with("", "min = 0\nmax = 4");
    assert_eq!(waits(&zero), (1000, 30 * SECOND));
    assert_eq!(zero.first_replicas(), Some(0));
    let one = with("", "min = 1\nmax = 4");
    assert_eq!(waits(&one), (0, 5 * SECOND));
    let later = with(
        "",
        "min = 1\nmax = 4\nschedule = { cron = \"0 0 * * *\", min = 0 }",
    );
    assert_eq!(waits(&later), (1000, 30 * SECOND));
    let own = with("queue = { length = 7 }", "min = 0\nmax = 4");
    assert_eq!(waits(&own), (7, 30 * SECOND));
}
