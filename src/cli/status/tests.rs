//! The status of a running Weir and of a sample.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use clap::Parser as _;

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

/// What `weir status` with these arguments prints.
fn shown(admin: &str, arguments: &[&str]) -> Result<String, String> {
    let line = ["status", "--admin", admin].into_iter();
    let line = line.chain(arguments.iter().copied());
    let arguments = Line::try_parse_from(line).unwrap().arguments;
    report(&arguments, &Screen::default()).map(|report| report.text)
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: StatusArguments,
}

#[test]
fn a_running_weir_is_shown() {
    let address = running().to_string();
    let table = shown(&address, &[]).unwrap();
    let line = concat!(
        "weir ",
        env!("CARGO_PKG_VERSION"),
        "  starting  up 0s  snapshot 0\n"
    );
    assert!(table.starts_with(line), "{table}");
    let json = shown(&address, &["--json"]).unwrap();
    serde_json::from_str::<Status>(&json).unwrap();
}

#[test]
fn a_server_that_is_not_weir_is_reported() {
    let answers = [
        &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ];
    for answer in answers {
        let problem = shown(&server(answer), &["--json"]).unwrap_err();
        assert!(
            problem.contains("is not this Weir's admin listener"),
            "{problem}"
        );
    }
}

pub(in crate::cli) const SAMPLE: &str = r#"{
    "version": "1.2.3", "pid": 7, "phase": "serving", "snapshot": 7,
    "started": "2026-01-02T03:04:05Z", "now": "2026-01-02T06:09:05.5Z",
    "uptime_seconds": 11100.5,
    "problems": [{ "severity": "warning", "kind": "target_ejected", "group": "todo",
        "target": "127.0.0.1:6400", "text": "it is ejected", "hint": "look at its log" },
      { "severity": "error", "kind": "reload_refused", "text": "the reload was refused" }],
    "process": { "memory_bytes": 42152755, "open_files": 100, "max_open_files": 1024,
        "access_lines_dropped": 1, "event_lines_dropped": 2, "last_event": 1, "followers": 0,
        "followers_lost": 0 },
    "last_reload": { "at": "2026-01-02T06:08:05Z", "accepted": true, "summary": "no change",
        "problems": [] },
    "listeners": [{ "name": "http", "bind": "127.0.0.1:8080", "max_connections": 10000,
        "protocol": "http1", "connections": 12, "rules": 1, "default_action": "forward todo",
        "rule_hits": [{ "priority": 10, "conditions": ["path is /a", "method is GET"],
            "action": "fixed response 404", "hits": 5, "last_hit": "2026-01-02T06:09:00Z" },
          { "priority": null, "conditions": [], "action": "forward todo", "hits": 0,
            "last_hit": null }] }],
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
              "in_flight": 3, "requests": 1234, "minute": { "seconds": 60.0, "requests": 120,
                "errors": 2, "p50_ms": 1.25, "p95_ms": 20.4, "p99_ms": 1500.0 }, "checks": 9, "failed_checks": 0,
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

fn page_on(width: Option<usize>, status: &Status) -> String {
    let screen = Screen {
        width,
        ..Screen::default()
    };
    page::page(status, true, false, &screen)
}

#[test]
fn the_page_says_what_is_wrong_and_then_what_there_is() {
    let expected = "\
weir 1.2.3  serving  up 3h 5m  snapshot 7
memory 40.2 MiB; 100 of 1024 files open; 3 log lines dropped; reload 1m 0s ago accepted: no change

warning  todo 127.0.0.1:6400: it is ejected
         look at its log
error    the reload was refused

LISTENER  BIND            PROTOCOL  CONNECTIONS  WAITING  RULES  DEFAULT ACTION
http      127.0.0.1:8080  http1     12 of 10000  -        1      forward todo

http
  RULE     CONDITIONS                 ACTION              REQUESTS  LAST
  10       path is /a, method is GET  fixed response 404  5         5s ago
  default                             forward todo        0         -

todo: round_robin, 1 of 1 target healthy, 1 draining, 1 ejected
  fail open on below 1 healthy; retries 0 of 0 requests in 10s, budget 0 %, 0 in flight
  replicas: 2 desired, 1 running, 1 warming; 1 to 4, alarm high; hold: cooldown
  metrics: cpu 35.0; no data of memory: last measured 7 s ago
  last change: 1 to 2, 10s ago, by target_tracking cpu 20: ceil(1 * 35 / 20) = 2
  PROVIDER FAILS for 1m 0s: the engine does not answer
  TARGET          STATE                                      SINCE  REASON                           REQ/MIN  ERRORS  P50     P95    P99    IN FLIGHT  REQUESTS  WEIGHT  LAST CHECK
  127.0.0.1:6400  healthy, ejected for another 25s, at 40 %  3h 5m  5 errors in a row                120      2       1.2 ms  20 ms  1.5 s  3          1234      1       200 in 3 ms, 2s ago
  [::1]:6400      unhealthy, draining for at most 4m 0s      1m 0s  Target.DeregistrationInProgress  0        0       -       -      -      0          5         10      failed in 5000 ms, 5s ago

  REPLICA         NAME    PID   STATE     SINCE  RESTARTS  CPU     MEMORY  LAST EXIT
  127.0.0.1:6400  todo.1  4242  running   3h 5m  1         35.0 %  9.0 %   -
  -               -       -     starting  0s     0         -       -       -

empty: random, no targets
  fail open on below 50% healthy; retries 0 of 0 requests in 10s, budget 0 %, 0 in flight
";
    assert_eq!(page_on(None, &sample()), expected);
}

#[test]
fn a_page_fits_the_screen() {
    for width in [60, 80, 100, 132, 200] {
        let page = page_on(Some(width), &sample());
        for line in page.lines() {
            let is_sentence = line.starts_with("  metrics:")
                || line.starts_with("  replicas:")
                || line.starts_with("  last change:")
                || line.starts_with("todo:");
            assert!(
                is_sentence || line.chars().count() <= width,
                "{width}: {line}"
            );
        }
        assert!(page.contains("STATE") && page.contains("P95"), "{page}");
    }
    assert!(!page_on(Some(80), &sample()).contains("REQUESTS  WEIGHT"));
}

#[test]
fn a_group_is_shown_alone_with_its_problems() {
    let mut status = sample();
    choose(&mut status, "empty").unwrap();
    assert_eq!(status.target_groups.len(), 1);
    assert_eq!(status.problems, []);
    let problem = choose(&mut sample(), "none").unwrap_err();
    assert!(
        problem.contains("`none`; there is todo, empty"),
        "{problem}"
    );
    let json = json(&Bytes::from_static(SAMPLE.as_bytes()), Some("todo"));
    let left: Status = serde_json::from_str(&json).unwrap();
    assert_eq!((left.target_groups.len(), left.problems.len()), (1, 1));
}

#[test]
fn replicas_that_do_not_scale_are_counted() {
    let mut group = sample().target_groups.remove(0);
    (group.autoscaling, group.fault) = (None, None);
    let now = sample().now;
    let lines = group::scaling(&group, now);
    assert_eq!(lines, "  replicas: 2 desired, 1 running\n");
}

#[test]
fn a_group_that_fails_open_says_so() {
    let mut group = sample().target_groups.remove(0);
    group.failing_open = true;
    assert!(group::heading(&group).contains("FAILING OPEN: fewer than 1 healthy"));
}

#[test]
fn a_clock_that_went_back_makes_a_time_of_zero() {
    let status = sample();
    assert_eq!(admin::between(status.now, status.started), Duration::ZERO);
}

#[test]
fn a_page_takes_the_place_of_the_one_before_on_a_terminal() {
    let screen = Screen {
        height: Some(4),
        is_addressable: true,
        ..Screen::default()
    };
    let framed = page::framed("a\nb\nc\nd\ne\n", &screen);
    let more = "… 3 more lines; `weir top` scrolls";
    assert_eq!(
        framed,
        format!("\x1b[Ha\x1b[K\nb\x1b[K\n{more}\x1b[K\n\x1b[J")
    );
    assert_eq!(page::framed("a\n", &Screen::default()), "a\n\n");
}

#[test]
fn only_coloured_screens_get_colours() {
    let screen = Screen {
        is_coloured: true,
        ..Screen::default()
    };
    let coloured = page::page(&sample(), true, false, &screen);
    assert!(coloured.contains("\x1b[33mwarning"), "{coloured}");
    let plain = page_on(None, &sample());
    assert!(!plain.contains('\x1b'));
    let mut stripped = coloured;
    for code in ["1", "2", "32", "33", "1;31", "0"] {
        stripped = stripped.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn without_an_admin_listener_it_says_how_to_switch_it_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let problem = shown(&address, &[]).unwrap_err();
    assert!(problem.contains(&address), "{problem}");
    assert!(problem.contains("admin = { bind"), "{problem}");
    assert_eq!(problem.lines().count(), 1);
}
