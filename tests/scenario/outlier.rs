//! Targets that answer their checks and fail their requests: which are ejected, for how
//! long, and what a client notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir::admin::EjectedStatus;

use crate::scenario::support::{
    ADMIN, Backend, Connection, Lb, Logs, Refusing, answer, eventually, soon,
};

/// A target that fails its requests while the switch is on; its checks always pass.
async fn switched(name: &'static str, failing: &Arc<AtomicBool>) -> Backend {
    let failing = Arc::clone(failing);
    Backend::with(move |_| {
        let failing = failing.load(Ordering::SeqCst);
        async move {
            if failing {
                answer(500, "broken")
            } else {
                answer(200, name)
            }
        }
    })
    .await
}

fn failing(now: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(now))
}

fn config(targets: &[SocketAddr], group: &str) -> String {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    format!(
        r#"
        {ADMIN}
        workers = 1
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = {targets:?}
        {group}
        "#
    )
}

/// Checked once, at registration, so that no later check readmits a target.
const ONCE: &str = r#"health = { path = "/health", interval = "1h", timeout = "10s" }"#;
const UNCHECKED: &str = "health = false";

async fn ejected(lb: &Lb, addr: SocketAddr) -> Option<EjectedStatus> {
    lb.target_status("app", addr).await.ejected
}

/// Sends requests until a target is not picked any more.
async fn until_ejected(lb: &Lb, client: &mut Connection, bad: SocketAddr) -> EjectedStatus {
    soon("an ejection", async {
        while eligible(lb, bad) {
            client.get("/").await;
        }
    })
    .await;
    ejected(lb, bad).await.expect("the reason it is out")
}

/// Whether a target is eligible.
fn eligible(lb: &Lb, addr: SocketAddr) -> bool {
    let snapshot = lb.snapshot();
    let group = snapshot.group_named(&"app".into()).unwrap();
    group.selection.as_ref().is_some_and(|selection| {
        selection
            .roster
            .members()
            .iter()
            .any(|member| member.target.id.addr.address() == Some(addr))
    })
}

async fn until_eligible(lb: &Lb, addr: SocketAddr) {
    eventually("a readmission", || async {
        eligible(lb, addr)
            .then_some(())
            .ok_or("still out".to_owned())
    })
    .await;
}

/// The statuses of `count` requests.
async fn statuses(client: &mut Connection, count: usize) -> Vec<u16> {
    let mut statuses = vec![];
    for _ in 0..count {
        statuses.push(client.get("/").await.status.as_u16());
    }
    statuses
}

async fn all_served(client: &mut Connection, count: usize) {
    assert_eq!(statuses(client, count).await, vec![200; count]);
}

#[tokio::test]
async fn a_target_that_fails_at_once_is_ejected_and_traffic_goes_elsewhere() {
    for algorithm in ["round_robin", "least_connections"] {
        for health in [ONCE, UNCHECKED] {
            let logs = Logs::capture();
            let bad = switched("bad", &failing(true)).await;
            let (b, c) = (Backend::answering("b").await, Backend::answering("c").await);
            let group = format!("algorithm = \"{algorithm}\"\n{health}");
            let lb = Lb::start(&config(&[bad.addr(), b.addr(), c.addr()], &group)).await;
            for target in [&bad, &b, &c] {
                until_eligible(&lb, target.addr()).await;
            }
            let mut client = lb.connect().await;
            let status = until_ejected(&lb, &mut client, bad.addr()).await;
            let class = (status.reason.as_str(), status.times);
            assert_eq!(class, ("consecutive_errors", 1));
            assert!(status.detail.ends_with("errors in a row"), "{status:?}");

            let before = bad.requests();
            all_served(&mut client, 100).await;
            assert_eq!(bad.requests(), before);
            let addr = format!("target=\"{}\"", bad.addr());
            let reason = "reason=\"consecutive_errors\"";
            assert_eq!(lb.metric("weir_target_ejected", &[&addr]).await, 1);
            assert_eq!(lb.metric("weir_target_ejected", &[]).await, 1);
            assert_eq!(lb.metric("weir_ejections_total", &[&addr, reason]).await, 1);
            let told = ["WARN", "target is ejected for 30s", "errors in a row"];
            assert_eq!(logs.lines_with(&told).len(), 1);
        }
    }
}

#[tokio::test]
async fn a_target_that_refuses_connections_is_ejected_without_checks() {
    let dead = Refusing::new();
    let b = Backend::answering("b").await;
    let lb = Lb::start(&config(&[dead.addr(), b.addr()], UNCHECKED)).await;
    let mut client = lb.connect().await;
    let status = until_ejected(&lb, &mut client, dead.addr()).await;
    assert_eq!(status.reason, "consecutive_gateway_errors");
    all_served(&mut client, 20).await;
}

#[tokio::test]
async fn an_ejected_target_returns_when_its_time_is_over() {
    let logs = Logs::capture();
    let broken = failing(true);
    let bad = switched("bad", &broken).await;
    let b = Backend::answering("b").await;
    let group = format!("{UNCHECKED}\noutlier = {{ ejection = \"1s\", max_ejection = \"2s\" }}");
    let lb = Lb::start(&config(&[bad.addr(), b.addr()], &group)).await;
    let mut client = lb.connect().await;
    until_ejected(&lb, &mut client, bad.addr()).await;
    until_eligible(&lb, bad.addr()).await;
    assert_eq!(until_ejected(&lb, &mut client, bad.addr()).await.times, 2);
    broken.store(false, Ordering::SeqCst);
    until_eligible(&lb, bad.addr()).await;
    let before = bad.requests();
    all_served(&mut client, 20).await;
    assert_eq!(bad.requests(), before + 10);
    assert_eq!(ejected(&lb, bad.addr()).await, None);
    let told = ["INFO", "target is readmitted: its time is over"];
    assert_eq!(logs.lines_with(&told).len(), 2);
}

#[tokio::test]
async fn a_check_that_passes_readmits() {
    let logs = Logs::capture();
    let broken = failing(true);
    let bad = switched("bad", &broken).await;
    let b = Backend::answering("b").await;
    let often = r#"health = { path = "/health", interval = "1s", timeout = "900ms", healthy = 2 }"#;
    let lb = Lb::start(&config(&[bad.addr(), b.addr()], often)).await;
    for target in [&bad, &b] {
        until_eligible(&lb, target.addr()).await;
    }
    let mut client = lb.connect().await;
    until_ejected(&lb, &mut client, bad.addr()).await;
    broken.store(false, Ordering::SeqCst);
    until_eligible(&lb, bad.addr()).await;
    assert_eq!(ejected(&lb, bad.addr()).await, None);
    let told = ["INFO", "target is readmitted: a check passed"];
    assert_eq!(logs.lines_with(&told).len(), 1);
}

#[tokio::test]
async fn at_most_half_of_a_group_is_ejected() {
    let broken = failing(true);
    let mut bad = vec![];
    for _ in 0..3 {
        bad.push(switched("bad", &broken).await);
    }
    let good = Backend::answering("good").await;
    let mut all: Vec<SocketAddr> = bad.iter().map(Backend::addr).collect();
    all.push(good.addr());
    let lb = Lb::start(&config(&all, UNCHECKED)).await;
    let mut client = lb.connect().await;
    let out = || all.iter().filter(|addr| !eligible(&lb, **addr)).count();
    for _ in 0..2_000 {
        client.get("/").await;
        assert!(out() <= 2);
    }
    assert!(eligible(&lb, good.addr()));
}

#[tokio::test]
async fn a_failure_of_all_targets_ejects_none() {
    let broken = failing(false);
    let (a, b) = (switched("a", &broken).await, switched("b", &broken).await);
    let lb = Lb::start(&config(&[a.addr(), b.addr()], UNCHECKED)).await;
    let mut client = lb.connect().await;
    all_served(&mut client, 50).await;
    broken.store(true, Ordering::SeqCst);
    assert_eq!(statuses(&mut client, 1000).await, [500; 1000]);
    assert_eq!(lb.metric("weir_ejections_total", &[]).await, 0);
    broken.store(false, Ordering::SeqCst);
    all_served(&mut client, 50).await;
    assert!(eligible(&lb, a.addr()) && eligible(&lb, b.addr()));
}

#[tokio::test]
async fn an_ejection_survives_a_reload_until_one_switches_it_off() {
    let logs = Logs::capture();
    let bad = switched("bad", &failing(true)).await;
    let b = Backend::answering("b").await;
    let targets = [bad.addr(), b.addr()];
    let mut lb = Lb::start(&config(&targets, UNCHECKED)).await;
    let mut client = lb.connect().await;
    let before = until_ejected(&lb, &mut client, bad.addr()).await;
    let other = format!("{UNCHECKED}\nalgorithm = \"random\"");
    lb.reload(&config(&targets, &other)).await.unwrap();
    assert!(!eligible(&lb, bad.addr()));
    assert_eq!(ejected(&lb, bad.addr()).await, Some(before));

    let off = format!("{UNCHECKED}\noutlier = false");
    lb.reload(&config(&targets, &off)).await.unwrap();
    until_eligible(&lb, bad.addr()).await;
    let failed = statuses(&mut client, 40)
        .await
        .into_iter()
        .filter(|status| *status == 500);
    assert_eq!(failed.count(), 20);
    assert_eq!(ejected(&lb, bad.addr()).await, None);
    let told = ["target is readmitted: ejection is switched off"];
    assert_eq!(logs.lines_with(&told).len(), 1);
}

#[tokio::test]
async fn a_bad_target_gets_less_where_weights_are_automatic() {
    let broken = failing(true);
    let bad = switched("bad", &broken).await;
    let b = Backend::answering("b").await;
    let group = format!("{UNCHECKED}\nalgorithm = \"weighted_random\"\noutlier = false");
    let lb = Lb::start(&config(&[bad.addr(), b.addr()], &group)).await;
    let mut client = lb.connect().await;
    let status = eventually("mitigation", || async {
        for _ in 0..20 {
            Connection::open(lb.addr()).await.get("/").await;
        }
        let status = lb.target_status("app", bad.addr()).await;
        let less = status.anomaly_detection.mitigation_in_effect;
        less.then_some(status).ok_or("its whole share".to_owned())
    })
    .await;
    assert_eq!(status.anomaly_detection.result, "anomalous");
    assert!((6..=50).contains(&status.share), "{status:?}");
    let other = lb.target_status("app", b.addr()).await;
    assert_eq!(
        (other.anomaly_detection.result.as_str(), other.share),
        ("normal", 100)
    );
    // Its weight grows slowly when it serves again.
    broken.store(false, Ordering::SeqCst);
    let now = || async { lb.target_status("app", bad.addr()).await };
    let least = eventually("normal again", || async {
        let now = now().await;
        let normal = now.anomaly_detection.result == "normal";
        normal.then_some(now.share).ok_or(format!("{now:?}"))
    })
    .await;
    eventually("a larger share", || async {
        let now = now().await;
        (now.share > least).then_some(()).ok_or(format!("{now:?}"))
    })
    .await;
    all_served(&mut client, 20).await;
}
