//! A group without any target: its requests wait for the first one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use weir::config::{Autoscaling, Profile};
use weir::model::Health;

use crate::scenario::support::{Backend, Connection, Lb, answer, ask, eventually, until_waiting};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A group without targets, with a queue of this length.
async fn start(queue_length: usize, queue_timeout: Duration) -> Lb {
    let config = format!(
        r#"
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        workers = 2

        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"

        [target_group.app]
        targets = []
        health = {{ path = "/health", interval = "20ms", timeout = "10ms", unhealthy = 100 }}
        "#
    );
    Lb::start_with(&config, |config| {
        let group = &mut config.target_groups[0];
        group.autoscaling = Some(from_zero());
        group.overload.queue_length = queue_length;
        group.overload.queue_timeout = queue_timeout;
    })
    .await
}

fn from_zero() -> Autoscaling {
    Autoscaling::without_policies(Profile::Fast, 0, 1)
}

/// Registers a target, as the first replica is.
async fn register(lb: &Lb, addr: SocketAddr) {
    let request = Request::put(format!("/api/v1/groups/app/targets/{addr}"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Full::new(Bytes::new()));
    let mut connection = Connection::open(lb.admin_addr()).await;
    let reply = connection.send(request.unwrap()).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_burst_waits_for_the_first_check_of_the_first_target() {
    let lb = start(100, Duration::from_secs(30)).await;
    let replies = ask(lb.addr(), 100);
    until_waiting(&lb, 100).await;
    let early = Arc::new(AtomicUsize::new(0));
    let seen = early.clone();
    let target = Backend::with(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { answer(200, "first") }
    })
    .await;
    target.fail_health(true);
    register(&lb, target.addr()).await;
    // The target was checked and is not ready.
    eventually("a check that failed", || async {
        let failed = lb.target_status("app", target.addr()).await.failed_checks;
        (failed > 1).then_some(()).ok_or(format!("{failed} failed"))
    })
    .await;
    assert_eq!(early.load(Ordering::SeqCst), 0, "no check has passed");
    until_waiting(&lb, 100).await;
    target.fail_health(false);
    for reply in replies.join_all().await {
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "first"));
    }
    assert_eq!(early.load(Ordering::SeqCst), 100);
    lb.until_health("app", target.addr(), Health::Healthy).await;
    assert_eq!(
        lb.get("/").await.status,
        200,
        "and the next one does not wait"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_requests_and_no_request_waits_for_ever() {
    let lb = start(10, Duration::from_millis(200)).await;
    let mut reasons: Vec<String> = Vec::new();
    for reply in ask(lb.addr(), 30).join_all().await {
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some("1"));
        reasons.push(reply.text().to_owned());
    }
    let count = |reason: &str| reasons.iter().filter(|text| text.contains(reason)).count();
    assert_eq!(count("queue_full") + count("queue_timeout"), 30);
    assert!(count("queue_timeout") >= 10, "{reasons:?}");
}
