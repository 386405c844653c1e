//! Health checks on real targets: which are taken out, when, and what a client notices.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use weir::admin::TargetStatus;
use weir::model::{Health, HealthRecord};

use crate::scenario::support::{
    ADMIN, Backend, Connection, Lb, Logs, Users, answer, eventually, soon,
};

/// Often enough for a test, with a timeout that a busy machine does not miss twice.
const OFTEN: &str = "path = \"/health\", interval = \"200ms\", timeout = \"190ms\"";

/// Checked once, at registration, so that this one check decides all that a test sees.
const ONCE: &str = "path = \"/health\", interval = \"1h\", timeout = \"10s\"";

/// `["127.0.0.1:1", "127.0.0.1:2"]`
fn addresses(targets: &[&Backend]) -> String {
    let addresses = targets.iter().map(|target| target.addr().to_string());
    format!("{:?}", addresses.collect::<Vec<_>>())
}

/// A listener in front of a group with health checks.
fn checked(targets: &[&Backend], health: &str, more: &str) -> String {
    format!(
        r#"
        {ADMIN}
        workers = 1

        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"

        [target_group.app]
        targets = {}
        health = {{ {health} }}
        {more}
        "#,
        addresses(targets)
    )
}

fn record(lb: &Lb, target: &Backend) -> HealthRecord {
    let target = lb.target("app", target.addr()).expect("a target");
    target.health().lock().clone()
}

/// How many of `count` requests on one connection were answered with each status.
async fn statuses(client: &mut Connection, count: usize) -> Vec<(u16, usize)> {
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..count {
        let status = client.get("/todos").await.status.as_u16();
        *seen.entry(status).or_default() += 1;
    }
    seen.into_iter().collect()
}

/// A target that answers checks at `/check` with a list of results, and repeats the last one.
async fn scripted(script: &'static [u16]) -> Backend {
    let asked = Arc::new(AtomicUsize::new(0));
    Backend::with(move |request: Request<Incoming>| {
        let asked = asked.clone();
        async move {
            if request.uri().path() != "/check" {
                return answer(200, "scripted");
            }
            let n = asked.fetch_add(1, Ordering::SeqCst);
            answer(script[n.min(script.len() - 1)], "")
        }
    })
    .await
}

/// A directory server that loses its storage while its port stays open: it fails every
/// request, and its health check as well.
async fn directory(storage: &Arc<AtomicBool>) -> Backend {
    let storage = storage.clone();
    Backend::with(move |_| {
        let there = storage.load(Ordering::SeqCst);
        async move {
            if there {
                answer(200, "entry")
            } else {
                answer(500, "no storage")
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_broken_target_with_an_open_port_fails_an_http_check_and_passes_a_tcp_check() {
    let storage = Arc::new(AtomicBool::new(true));
    let zombie = directory(&storage).await;
    let (b, c) = (Backend::answering("b").await, Backend::answering("c").await);
    let targets = addresses(&[&zombie, &b, &c]);
    let lb = Lb::start(&format!(
        r#"
        workers = 1
        [[listener]]
        name = "asking"
        bind = "127.0.0.1:0"
        forward = "asked"
        [[listener]]
        name = "by_tcp"
        bind = "127.0.0.1:0"
        forward = "tcp"
        [target_group.asked]
        targets = {targets}
        health = {{ {OFTEN}, healthy = 2, unhealthy = 2 }}
        [target_group.tcp]
        targets = {targets}
        health = {{ type = "tcp", interval = "200ms", timeout = "190ms", healthy = 2, unhealthy = 2 }}
        outlier = false
        "#
    ))
    .await;
    let mut asking = Connection::open(lb.addr_of("asking")).await;
    let mut by_tcp = Connection::open(lb.addr_of("by_tcp")).await;
    assert_eq!(statuses(&mut asking, 30).await, [(200, 30)]);
    assert_eq!(statuses(&mut by_tcp, 30).await, [(200, 30)]);

    storage.store(false, Ordering::SeqCst);
    zombie.fail_health(true);
    lb.until_health("asked", zombie.addr(), Health::Unhealthy)
        .await;
    let tcp = lb.target("tcp", zombie.addr()).unwrap();
    let before = tcp.health().lock().checks;
    eventually("more checks by TCP", || async {
        let checks = tcp.health().lock().checks;
        (checks > before + 2)
            .then_some(())
            .ok_or(format!("{checks}"))
    })
    .await;
    // Clients behind the TCP check get the broken target every third time, the others never.
    assert_eq!(statuses(&mut asking, 30).await, [(200, 30)]);
    assert_eq!(statuses(&mut by_tcp, 30).await, [(200, 20), (500, 10)]);
    assert_eq!(tcp.health().now(), Health::Healthy);

    storage.store(true, Ordering::SeqCst);
    zombie.fail_health(false);
    lb.until_health("asked", zombie.addr(), Health::Healthy)
        .await;
    let served = zombie.requests();
    assert_eq!(statuses(&mut asking, 30).await, [(200, 30)]);
    assert_eq!(zombie.requests(), served + 10);
}

#[tokio::test]
async fn a_check_that_fails_on_all_targets_stops_no_request() {
    let logs = Logs::capture();
    let (a, b, c) = (
        Backend::answering("a").await,
        Backend::answering("b").await,
        Backend::answering("c").await,
    );
    let all = [&a, &b, &c];
    let lb = Lb::start(&checked(&all, &format!("{OFTEN}, healthy = 2"), "")).await;
    let counted = "weir_fail_open_requests_total";
    assert_eq!(lb.metric(counted, &[]).await, 0);

    let users = Users::start(lb.addr(), 1);
    // The login behind the check breaks; the requests do not need it.
    for target in all {
        target.fail_health(true);
    }
    for target in all {
        lb.until_health("app", target.addr(), Health::Unhealthy)
            .await;
    }
    eventually("failing open", || async {
        let failing_open = lb.group_status("app").await.failing_open;
        failing_open.then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    let so_far: usize = all.iter().map(|target| target.requests()).sum();
    eventually("requests while failing open", || async {
        let now: usize = all.iter().map(|target| target.requests()).sum();
        (now >= so_far + 100).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    assert!(users.stop().await >= 100);

    // The metric counts exactly the requests of this phase, and all targets get their share.
    let before = lb.metric(counted, &[]).await;
    let served = all.map(Backend::requests);
    let mut late = lb.connect().await;
    assert_eq!(statuses(&mut late, 30).await, [(200, 30)]);
    assert_eq!(lb.metric(counted, &[]).await, before + 30);
    assert_eq!(all.map(Backend::requests), served.map(|n| n + 10));
    let label = ["target_group=\"app\""];
    let failing_open = "weir_target_group_failing_open";
    assert_eq!(lb.metric(failing_open, &label).await, 1);
    assert_eq!(logs.lines_with(&["failing open", "group=app"]).len(), 1);
    assert_eq!(logs.lines_with(&["target is unhealthy"]).len(), 3);

    for target in all {
        target.fail_health(false);
    }
    for target in all {
        lb.until_health("app", target.addr(), Health::Healthy).await;
    }
    let before = lb.metric(counted, &[]).await;
    assert_eq!(statuses(&mut late, 30).await, [(200, 30)]);
    assert_eq!(lb.metric(counted, &[]).await, before);
    assert_eq!(lb.metric(failing_open, &label).await, 0);
    assert_eq!(logs.lines_with(&["failing open", "group=app"]).len(), 1);
    assert_eq!(logs.lines_with(&["enough healthy targets again"]).len(), 1);
}

#[tokio::test]
async fn a_start_with_failing_targets_logs_that_it_fails_open() {
    let logs = Logs::capture();
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    a.fail_health(true);
    b.fail_health(true);
    let health = format!("{ONCE}, unhealthy = 1");
    let mut lb = Lb::start(&checked(&[&a, &b], &health, "")).await;
    lb.until_health("app", a.addr(), Health::Unhealthy).await;
    lb.until_health("app", b.addr(), Health::Unhealthy).await;
    assert_eq!(lb.get("/todos").await.status, 200);
    // A reload does not log it again.
    lb.reload(&checked(&[&a, &b], &health, "algorithm = \"random\""))
        .await
        .unwrap();
    assert_eq!(logs.lines_with(&["failing open", "group=app"]).len(), 1);
}

#[tokio::test]
async fn a_start_with_healthy_targets_logs_nothing_about_failing_open() {
    let logs = Logs::capture();
    let a = Backend::answering("a").await;
    let lb = Lb::start(&checked(&[&a], ONCE, "")).await;
    lb.until_health("app", a.addr(), Health::Healthy).await;
    assert_eq!(logs.lines_with(&["failing open"]), Vec::<String>::new());
    assert_eq!(logs.lines_with(&["enough healthy"]), Vec::<String>::new());
}

#[tokio::test]
async fn without_fail_open_a_group_without_healthy_targets_is_a_503_with_retry_after() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    a.fail_health(true);
    b.fail_health(true);
    let health = format!("{ONCE}, unhealthy = 1");
    let lb = Lb::start(&checked(&[&a, &b], &health, "fail_open = false")).await;
    lb.until_health("app", a.addr(), Health::Unhealthy).await;
    lb.until_health("app", b.addr(), Health::Unhealthy).await;
    let reply = lb.get("/todos").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    let id = reply.header("x-request-id").unwrap();
    let expected = format!("503 no_target: no target is available (request {id})\n");
    assert_eq!(reply.text(), expected);
    assert_eq!((a.requests(), b.requests()), (0, 0));
    let counted = lb.metric("weir_fail_open_requests_total", &[]).await;
    assert_eq!(counted, 0);
}

#[tokio::test]
async fn a_new_target_serves_after_one_pass() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let health = format!("{ONCE}, healthy = 5");
    let mut lb = Lb::start(&checked(&[&a], &health, "")).await;
    lb.reload(&checked(&[&a, &b], &health, "")).await.unwrap();
    lb.until_health("app", b.addr(), Health::Healthy).await;
    assert_eq!(record(&lb, &b).checks, 1);
    let mut client = lb.connect().await;
    assert_eq!(statuses(&mut client, 10).await, [(200, 10)]);
    assert_eq!((a.requests(), b.requests()), (5, 5));
}

#[tokio::test]
async fn a_new_target_gets_no_request_before_its_first_pass() {
    let a = Backend::answering("a").await;
    let (sender, mut checks) = mpsc::unbounded_channel();
    let b = Backend::raw(move |stream| {
        let sender = sender.clone();
        async move { sender.send(stream).unwrap() }
    })
    .await;
    let mut lb = Lb::start(&checked(&[&a], ONCE, "")).await;
    lb.reload(&checked(&[&a, &b], ONCE, "")).await.unwrap();
    let mut check = soon("the check of b", checks.recv()).await.unwrap();
    let status = lb.target_status("app", b.addr()).await;
    assert_eq!(status.state, "initial");
    assert_eq!(status.reason.as_deref(), Some("Elb.InitialHealthChecking"));
    let mut client = lb.connect().await;
    assert_eq!(statuses(&mut client, 10).await, [(200, 10)]);
    assert_eq!(a.requests(), 10);
    check
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    lb.until_health("app", b.addr(), Health::Healthy).await;
}

#[tokio::test]
async fn a_target_leaves_after_consecutive_failures_only() {
    let steady = scripted(&[200]).await;
    // Twice two failures with a pass after them, then three in a row.
    let shaky = scripted(&[200, 500, 500, 200, 500, 500, 200, 500, 500, 500]).await;
    let health = "path = \"/check\", interval = \"150ms\", timeout = \"140ms\", unhealthy = 3";
    let lb = Lb::start(&checked(&[&steady, &shaky], health, "")).await;
    lb.until_health("app", shaky.addr(), Health::Unhealthy)
        .await;
    assert_eq!(deciding_check(&record(&lb, &shaky)), 10);
    assert_eq!(record(&lb, &steady).state.health(), Health::Healthy);
}

/// The number of the check that changed the health last, counted from 1.
fn deciding_check(record: &HealthRecord) -> u64 {
    let position = record.last.iter().position(|r| Some(r.at) == record.since);
    let forgotten = record.checks - record.last.len() as u64;
    forgotten + 1 + position.expect("the deciding check is remembered") as u64
}

#[tokio::test]
async fn a_recovered_target_returns_at_the_threshold() {
    let steady = scripted(&[200]).await;
    let sick = scripted(&[500, 500, 200, 200, 500, 200, 200, 200]).await;
    let health =
        "path = \"/check\", interval = \"150ms\", timeout = \"140ms\", healthy = 3, unhealthy = 2";
    let lb = Lb::start(&checked(&[&steady, &sick], health, "")).await;
    lb.until_health("app", sick.addr(), Health::Healthy).await;
    assert_eq!(deciding_check(&record(&lb, &sick)), 8);
    let live = lb.target("app", sick.addr()).unwrap();
    assert_eq!(live.load().started(), 0);
    let mut client = lb.connect().await;
    assert_eq!(statuses(&mut client, 10).await, [(200, 10)]);
    assert_eq!(live.load().started(), 5);
}

#[tokio::test]
async fn checks_count_while_enough_targets_are_healthy() {
    for min_healthy in ["2", "\"50%\""] {
        let (a, b, c, d) = (
            Backend::answering("a").await,
            Backend::answering("b").await,
            Backend::answering("c").await,
            Backend::answering("d").await,
        );
        c.fail_health(true);
        d.fail_health(true);
        let health = format!("{OFTEN}, healthy = 2, unhealthy = 2");
        let more = format!("min_healthy = {min_healthy}");
        let lb = Lb::start(&checked(&[&a, &b, &c, &d], &health, &more)).await;
        let served = || [&a, &b, &c, &d].map(Backend::requests);
        lb.until_health("app", c.addr(), Health::Unhealthy).await;
        lb.until_health("app", d.addr(), Health::Unhealthy).await;
        let mut client = lb.connect().await;
        assert_eq!(statuses(&mut client, 20).await, [(200, 20)]);
        assert_eq!(served(), [10, 10, 0, 0], "min_healthy = {min_healthy}");

        b.fail_health(true);
        lb.until_health("app", b.addr(), Health::Unhealthy).await;
        let status = lb.group_status("app").await;
        assert!(status.failing_open, "min_healthy = {min_healthy}");
        assert_eq!(status.min_healthy, min_healthy.trim_matches('"'));
        assert_eq!(statuses(&mut client, 20).await, [(200, 20)]);
        assert_eq!(served(), [15, 15, 5, 5], "min_healthy = {min_healthy}");
    }
}

/// One check: its target, its settings, and the reason that it reports.
type Case = (&'static str, SocketAddr, &'static str, Option<&'static str>);

/// Each case as a group of its own, checked once.
async fn check_once(cases: &[Case]) -> Lb {
    let mut config = format!(
        "{ADMIN}\n[[listener]]\nbind = \"127.0.0.1:0\"\nfixed_response = {{ status = 200 }}\n"
    );
    for (name, addr, check, _) in cases {
        write!(
            config,
            "[target_group.{name}]\ntargets = [\"{addr}\"]\n\
             health = {{ {check}, interval = \"1h\", unhealthy = 1 }}\n"
        )
        .unwrap();
    }
    let lb = Lb::start(&config).await;
    for (name, addr, _, reason) in cases {
        let state = match reason {
            Some(_) => "unhealthy",
            None => "healthy",
        };
        let status = eventually("a first check", || async {
            let status = lb.target_status(name, *addr).await;
            let is_checked = !status.last_checks.is_empty();
            is_checked
                .then(|| status.clone())
                .ok_or(format!("{status:?}"))
        })
        .await;
        assert_eq!(status.reason.as_deref(), *reason, "{name}: {status:?}");
        assert_eq!(status.state, state, "{name}");
        let [check] = status.last_checks.as_slice() else {
            panic!("{name}: {} checks", status.last_checks.len());
        };
        assert_eq!(check.reason.as_deref(), *reason, "{name}");
        assert_eq!(check.ok, reason.is_none(), "{name}");
        assert_eq!(check.detail.is_some(), reason.is_some(), "{name}");
    }
    lb
}

#[tokio::test]
async fn every_status_and_body_gets_its_result_and_its_reason() {
    let well = Backend::with(|_| async { answer(200, "status: ready, all good") }).await;
    let empty = Backend::with(|_| async { answer(204, "") }).await;
    let lost = Backend::with(|_| async { answer(404, "no such path") }).await;
    let (well, empty, lost_at) = (well.addr(), empty.addr(), lost.addr());
    let status = Some("Target.ResponseCodeMismatch");
    let body = Some("Target.ResponseBodyMismatch");
    let lb = check_once(&[
        ("plain", well, "path = \"/a\"", None),
        ("narrow", empty, "path = \"/a\"", status),
        ("wide", empty, "matcher = \"200-299\"", None),
        ("listed", lost_at, "matcher = \"200,404\"", None),
        ("unlisted", lost_at, "matcher = \"200,403\"", status),
        ("text", well, "body = \"all good\"", None),
        ("no_text", well, "body = \"all bad\"", body),
    ])
    .await;
    let seen = lb.target_status("unlisted", lost_at).await;
    assert_eq!(
        seen.last_checks[0].detail.as_deref(),
        Some("status 404, body \"no such path\"")
    );
    assert_eq!(seen.last_checks[0].status, Some(404));
}

#[tokio::test]
async fn a_target_that_does_not_answer_gets_the_reason_for_that() {
    let stuck = Backend::raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let rude = Backend::raw(|mut stream| async move {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"220 smtp ready\r\n").await.unwrap();
    })
    .await;
    let gone = Backend::answering("gone").await.addr();
    let (stuck, rude) = (stuck.addr(), rude.addr());
    let closed = Some("Target.ConnectionError");
    let garbage = Some("Target.MalformedResponse");
    let lb = check_once(&[
        ("slow", stuck, "timeout = \"200ms\"", Some("Target.Timeout")),
        ("tcp_open", stuck, "type = \"tcp\"", None),
        ("closed", gone, "path = \"/a\"", closed),
        ("closed_port", gone, "type = \"tcp\"", closed),
        ("not_http", rude, "path = \"/a\"", garbage),
    ])
    .await;
    let detail = |seen: &TargetStatus| seen.last_checks[0].detail.clone().unwrap();
    let refused = format!("{gone} refused the connection");
    assert_eq!(detail(&lb.target_status("closed", gone).await), refused);
    let silent = detail(&lb.target_status("slow", stuck).await);
    assert_eq!(silent, "no answer within 200ms");
}

#[tokio::test]
async fn a_check_uses_the_configured_port_host_and_method() {
    let (sender, mut asked) = mpsc::unbounded_channel();
    let doctor = Backend::with(move |request: Request<Incoming>| {
        let line = format!(
            "{} {} {}",
            request.method(),
            request.uri(),
            request.headers()["host"].to_str().unwrap()
        );
        sender.send(line).unwrap();
        async { answer(200, "") }
    })
    .await;
    let target = Backend::answering("a").await;
    let health = format!(
        "path = \"/deep?full=1\", port = {}, host = \"todo.example\", method = \"HEAD\", \
         interval = \"1h\"",
        doctor.addr().port()
    );
    let lb = Lb::start(&checked(&[&target], &health, "")).await;
    let line = soon("the check", asked.recv()).await.unwrap();
    assert_eq!(line, "HEAD /deep?full=1 todo.example");
    lb.until_health("app", target.addr(), Health::Healthy).await;
    assert_eq!(target.connections(), 0);
    assert_eq!(lb.get("/").await.text(), "a");
}

#[tokio::test]
async fn every_check_opens_a_connection_of_its_own() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&checked(&[&target], OFTEN, "")).await;
    let checks = || record(&lb, &target).checks as usize;
    eventually("some checks", || async {
        (checks() >= 4).then_some(()).ok_or(checks().to_string())
    })
    .await;
    // Another check may be in progress.
    let (finished, begun) = (checks(), target.connections());
    assert!(begun == finished || begun == finished + 1, "{begun}");
}

#[tokio::test]
async fn the_last_ten_results_are_kept_newest_first() {
    let target = Backend::answering("a").await;
    let health = "path = \"/health\", interval = \"20ms\", timeout = \"19ms\", unhealthy = 100";
    let lb = Lb::start(&checked(&[&target], health, "")).await;
    eventually("more than ten checks", || async {
        let checks = record(&lb, &target).checks;
        (checks > 12).then_some(()).ok_or(format!("{checks}"))
    })
    .await;
    let status = lb.target_status("app", target.addr()).await;
    assert_eq!(status.last_checks.len(), 10);
    let times: Vec<_> = status.last_checks.iter().map(|check| check.at).collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );
    assert!(times[0] > times[9]);
}

#[tokio::test]
async fn a_group_without_checks_reports_that_and_uses_all_its_targets() {
    let target = Backend::answering("a").await;
    target.fail_health(true);
    let config = checked(&[&target], "", "").replace("health = {  }", "health = false");
    let lb = Lb::start(&config).await;
    let status = lb.target_status("app", target.addr()).await;
    assert_eq!(status.state, "healthy");
    assert_eq!(status.reason.as_deref(), Some("Target.HealthCheckDisabled"));
    assert_eq!(lb.get("/").await.text(), "a");
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn a_change_of_health_is_logged_once() {
    let logs = Logs::capture();
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let health = format!("{OFTEN}, healthy = 2, unhealthy = 2");
    let lb = Lb::start(&checked(&[&a, &b], &health, "")).await;
    let target = format!("target={}", b.addr());
    assert_eq!(logs.lines_with(&["target is healthy", &target]).len(), 1);
    b.fail_health(true);
    lb.until_health("app", b.addr(), Health::Unhealthy).await;
    let checks = record(&lb, &b).checks;
    eventually("further failures", || async {
        let now = record(&lb, &b).checks;
        (now >= checks + 3).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    let lines = logs.lines_with(&["target is unhealthy", &target]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "WARN",
        "group=app",
        "reason=Target.ResponseCodeMismatch",
        "sick",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    b.fail_health(false);
    lb.until_health("app", b.addr(), Health::Healthy).await;
    assert_eq!(logs.lines_with(&["target is healthy", &target]).len(), 2);
    assert_eq!(logs.lines_with(&["target is unhealthy", &target]).len(), 1);
}

#[tokio::test]
async fn health_is_kept_over_a_reload() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    b.fail_health(true);
    let health = format!("{ONCE}, unhealthy = 1");
    let mut lb = Lb::start(&checked(&[&a, &b], &health, "")).await;
    lb.until_health("app", b.addr(), Health::Unhealthy).await;
    // A check would pass now, but none is made: the configuration of the check is the same.
    b.fail_health(false);
    let live = lb.target("app", b.addr()).unwrap();
    let since = live.health().lock().since;
    for algorithm in ["random", "least_connections", "round_robin"] {
        let more = format!("algorithm = \"{algorithm}\"");
        lb.reload(&checked(&[&a, &b], &health, &more))
            .await
            .unwrap();
        let mut client = lb.connect().await;
        assert_eq!(statuses(&mut client, 10).await, [(200, 10)]);
    }
    assert_eq!((a.requests(), b.requests()), (30, 0));
    assert!(Arc::ptr_eq(&live, &lb.target("app", b.addr()).unwrap()));
    let kept = record(&lb, &b);
    assert_eq!((kept.checks, kept.since), (1, since));
    // A changed check is made at once, and the record goes on.
    let stricter = health.replace("timeout = \"10s\"", "timeout = \"9s\", healthy = 1");
    lb.reload(&checked(&[&a, &b], &stricter, "")).await.unwrap();
    lb.until_health("app", b.addr(), Health::Healthy).await;
    assert_eq!(live.health().lock().checks, 2);
    assert!(live.health().lock().last[1].elapsed < Duration::from_secs(9));
}
