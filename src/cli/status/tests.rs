//! The status of a running Weir and of a sample.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use super::super::fixture::server;
use super::*;
use crate::admin::{self, Context};
use crate::state::Publisher;
use tokio::sync::watch;

/// The admin listener of a Weir without groups, until the test ends.
fn running() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let (publisher, _, reader) = Publisher::new(0);
    let (_, replicas) = watch::channel(crate::replicas::Status::default());
    let context = Context {
        connections: watch::channel(Vec::new()).1,
        certificates: Arc::default(),
        discovery: Arc::default(),
        replicas,
        replica_control: crate::replicas::ReplicaControl::default(),
        autoscaling: Arc::default(),
        history: Arc::default(),
        publisher,
        reader,
        metrics: Arc::default(),
        lifecycle: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    thread::spawn(move || {
        runtime.block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket).unwrap();
            admin::serve(socket, context, std::future::pending()).await;
        });
    });
    address
}

#[test]
fn a_running_weir_is_shown() {
    let address = running().to_string();
    let table = report(&address, false).unwrap();
    let line = concat!(
        "weir ",
        env!("CARGO_PKG_VERSION"),
        "  starting  up 0s  snapshot 0\n"
    );
    assert!(table.starts_with(line), "{table}");
    let json = report(&address, true).unwrap();
    serde_json::from_str::<Status>(&json).unwrap();
}

#[test]
fn a_server_that_is_not_weir_is_reported() {
    let answers = [
        &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ];
    for answer in answers {
        let problem = report(&server(answer), true).unwrap_err();
        assert!(
            problem.contains("is not this Weir's admin listener"),
            "{problem}"
        );
    }
}

const SAMPLE: &str = r#"{
    "version": "1.2.3", "pid": 7, "phase": "serving", "snapshot": 7,
    "started": "2026-01-02T03:04:05Z", "now": "2026-01-02T06:09:05.5Z",
    "uptime_seconds": 11100.5,
    "listeners": [{ "name": "http", "bind": "127.0.0.1:8080", "max_connections": 10000,
        "rules": 2, "default_action": "forward todo" }],
    "target_groups": [
        { "name": "todo", "algorithm": "round_robin", "checked": true, "fail_open": true,
          "failing_open": false, "min_healthy": "1", "max_concurrency": null, "waiting": 0,
          "queue_length": 0, "targets": [
            { "address": "127.0.0.1:6400", "weight": 1, "registration": "active",
              "draining": null, "state": "healthy", "reason": null, "since": "2026-01-02T03:04:05Z",
              "share": 40,
              "ejected": { "reason": "consecutive_errors", "detail": "5 errors in a row",
                "until": "2026-01-02T06:09:30.5Z", "times": 1 },
              "ejections": { "consecutive_errors": 1 },
              "anomaly_detection": { "result": "anomalous", "mitigation_in_effect": true },
              "in_flight": 3, "requests": 1234, "checks": 9, "failed_checks": 0,
              "last_checks": [
                { "at": "2026-01-02T06:09:03Z", "ok": true, "status": 200, "ms": 3.25,
                  "reason": null, "detail": null }] },
            { "address": "[::1]:6400", "weight": 10, "registration": "draining",
              "draining": { "reason": "Target.DeregistrationInProgress",
                "since": "2026-01-02T06:08:05Z", "seconds_left": 240 },
              "state": "unhealthy", "reason": "Target.Timeout",
              "since": "2026-01-02T06:08:00Z", "share": 100, "ejected": null, "ejections": {},
              "anomaly_detection": { "result": "normal", "mitigation_in_effect": false },
              "in_flight": 0, "requests": 5, "checks": 9, "failed_checks": 2, "last_checks": [
                { "at": "2026-01-02T06:09:00Z", "ok": false, "status": null, "ms": 5000.0,
                  "reason": "Target.Timeout", "detail": "no answer" }] }],
          "desired": 2, "fault": { "message": "the engine does not answer",
            "since": "2026-01-02T06:08:05Z" },
          "autoscaling": { "profile": "fast", "min": 1, "max": 4, "desired": 2, "running": 1,
            "warming": 1, "is_scaler": true, "alarm": "high", "outcome": "hold",
            "reason": "cooldown",
            "metrics": [{ "metric": "cpu", "value": 35.0, "missing": null },
              { "metric": "memory", "value": null, "missing": "last measured 7 s ago" }],
            "out_cooldown": "2026-01-02T06:09:10Z",
            "in_cooldown": null, "fault": null,
            "last_change": { "at": "2026-01-02T06:08:55Z", "from": 1, "to": 2,
              "formula": "target_tracking cpu 20: ceil(1 * 35 / 20) = 2" },
            "evaluations": [{ "outcome": "hold", "reason": "cooldown", "count": 3 }] },
          "replicas": [
            { "name": "todo.1", "pid": 4242, "address": "127.0.0.1:6400", "state": "running",
              "restarts": 1, "since": "2026-01-02T03:04:05Z", "cpu": 35.04, "memory": 9.0 },
            { "name": null, "pid": null, "address": null, "state": "starting", "restarts": 0,
              "since": "2026-01-02T06:09:05Z", "cpu": null, "memory": null }] },
        { "name": "empty", "algorithm": "random", "checked": false, "fail_open": true,
          "failing_open": false, "min_healthy": "50%", "max_concurrency": null, "waiting": 0,
          "queue_length": 0, "targets": [], "desired": null, "fault": null,
          "autoscaling": null, "replicas": [] }]
}"#;

fn sample() -> Status {
    serde_json::from_str(SAMPLE).unwrap()
}

#[test]
fn the_table_is_aligned() {
    let expected = "\
weir 1.2.3  serving  up 3h 5m  snapshot 7

LISTENER  BIND            RULES  DEFAULT ACTION  MAX CONNECTIONS
http      127.0.0.1:8080  2      forward todo    10000

todo: round_robin, 1 of 1 target healthy, 1 draining, 1 ejected
  replicas: 2 desired, 1 running, 1 warming; 1 to 4, alarm high; hold: cooldown
  metrics: cpu 35.0; no data of memory: last measured 7 s ago
  last change: 1 to 2, 10s ago, by target_tracking cpu 20: ceil(1 * 35 / 20) = 2
  PROVIDER FAILS for 1m 0s: the engine does not answer
  TARGET          STATE                                      SINCE  REASON                           IN-FLIGHT  REQUESTS  WEIGHT  LAST CHECK
  127.0.0.1:6400  healthy, ejected for another 25s, at 40 %  3h 5m  5 errors in a row                3          1234      1       200 in 3 ms, 2s ago
  [::1]:6400      unhealthy, draining for at most 4m 0s      1m 0s  Target.DeregistrationInProgress  0          5         10      failed in 5000 ms, 5s ago

  REPLICA         NAME    PID   STATE     SINCE  RESTARTS  CPU     MEMORY
  127.0.0.1:6400  todo.1  4242  running   3h 5m  1         35.0 %  9.0 %
  -               -       -     starting  0s     0         -       -

empty: random, no targets
";
    assert_eq!(table(&sample()), expected);
}

#[test]
fn replicas_that_do_not_scale_are_counted() {
    let mut group = sample().target_groups.remove(0);
    (group.autoscaling, group.fault) = (None, None);
    let now = sample().now;
    assert_eq!(scaling(&group, now), "  replicas: 2 desired, 1 running\n");
}

#[test]
fn a_group_that_fails_open_says_so() {
    let mut group = sample().target_groups.remove(0);
    group.failing_open = true;
    assert!(heading(&group).contains("FAILING OPEN: fewer than 1 healthy"));
}

#[test]
fn a_clock_that_went_back_makes_a_time_of_zero() {
    let status = sample();
    assert_eq!(between(status.now, status.started), Duration::ZERO);
}

#[test]
fn without_an_admin_listener_it_says_how_to_switch_it_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let problem = report(&address, false).unwrap_err();
    assert!(problem.contains(&address), "{problem}");
    assert!(problem.contains("admin = { bind"), "{problem}");
    assert_eq!(problem.lines().count(), 1);
}
