//! Connections that outlive a request, on both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::sync::Barrier;

use crate::scenario::support::{Backend, Rig, eventually, read_request};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

async fn until_open(target: &Backend, count: usize) {
    eventually(&format!("{count} open connections"), || async {
        let open = target.open_connections();
        (open == count).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// Answers with the number of the connection a request came on; the first `together`
/// requests are answered when all of them are there.
async fn numbering(together: usize) -> Backend {
    let connections = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(together));
    Backend::raw(move |mut stream| {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let barrier = Arc::clone(&barrier);
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if request.head.starts_with("GET /together ") {
                    barrier.wait().await;
                }
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Opens `count` connections to the target at once.
async fn ask_together(rig: &Rig, count: usize) {
    let mut wires = Vec::new();
    for _ in 0..count {
        wires.push(rig.wire("GET /together HTTP/1.1\r\nHost: a\r\n\r\n").await);
    }
    for wire in &mut wires {
        assert_eq!(wire.response().await.status(), 200);
    }
}

#[tokio::test]
async fn an_idle_connection_to_a_target_is_closed_after_its_time() {
    let target = Backend::answering("a").await;
    let upstream = "upstream = { idle_timeout = \"100ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut client = rig.connect().await;
    client.get("/").await;
    until_open(&target, 0).await;
    assert_eq!(client.get("/").await.text(), "a");
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn max_idle_0_keeps_no_connection() {
    let target = Backend::answering("a").await;
    let rig = Rig::with(&[target.addr()], "", "upstream = { max_idle = 0 }").await;
    let mut client = rig.connect().await;
    for round in 1..=3 {
        assert_eq!(client.get("/").await.text(), "a");
        until_open(&target, 0).await;
        assert_eq!(target.connections(), round);
    }
}

#[tokio::test]
async fn no_more_than_max_idle_connections_are_kept() {
    let target = numbering(5).await;
    let upstream = "upstream = { max_idle = 2, idle_timeout = \"1h\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    ask_together(&rig, 5).await;
    until_open(&target, 2).await;
    assert_eq!(target.connections(), 5);
    // The two that are left still serve.
    let mut wire = rig.wire(GET).await;
    assert_eq!(wire.response().await.status(), 200);
    assert_eq!(target.connections(), 5);
}

/// The connection used last is used next, so that those of a burst reach their age limit.
#[tokio::test]
async fn surplus_connections_are_closed_while_one_is_in_use() {
    let target = numbering(3).await;
    let upstream = "upstream = { idle_timeout = \"500ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    ask_together(&rig, 3).await;
    let mut wire = rig.wire(GET).await;
    let used = wire.response().await.text();
    for _ in 0..5 {
        wire.send(GET).await;
        assert_eq!(wire.response().await.text(), used, "the same connection");
    }
    assert_eq!(target.connections(), 3);
    let mut rounds = 0;
    while target.open_connections() > 1 {
        wire.send(GET).await;
        assert_eq!(wire.response().await.text(), used, "the same connection");
        rounds += 1;
    }
    assert!(rounds > 0);
    assert_eq!(target.connections(), 3);
}

/// A target that closes every connection after one response without announcing it, as servers
/// with a short idle timeout do. Weir sees the close before it writes, so no request is lost.
#[tokio::test]
async fn a_connection_the_target_has_closed_costs_no_request() {
    let target = Backend::raw(|mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = rig.connect().await;
    for round in 1..=20 {
        assert_eq!(client.get("/").await.text(), "ok");
        until_open(&target, 0).await;
        assert_eq!(target.connections(), round);
    }
    let log = rig.logged(20).await;
    assert!(
        log.iter()
            .all(|entry| entry.status_and_reason() == ("200", "")),
        "{log:?}"
    );
    assert_eq!(rig.in_flight(), 0);
}

/// A request of which bytes were written may have been executed: it is not sent again if
/// its method is not idempotent.
#[tokio::test]
async fn a_request_that_was_written_is_not_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let target = Backend::raw(move |mut stream| {
        let seen = Arc::clone(&counted);
        async move {
            if read_request(&mut stream).await.is_none() {
                return;
            }
            seen.fetch_add(1, Ordering::SeqCst);
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            // The second one is read and not answered.
            if read_request(&mut stream).await.is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = rig.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    let order = Request::post("/").body(Full::from("order")).unwrap();
    assert_eq!(client.send(order).await.unwrap().status, 502);
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    let log = rig.logged(2).await;
    assert_eq!(log[1].status_and_reason(), ("502", "target_closed"));
    assert_eq!(log[1].get("attempts"), "1");
    assert_eq!(client.get("/").await.status, 200, "on a new connection");
    assert_eq!(target.connections(), 2);
}

/// The same target closes a kept connection just as a request is written: only the connection
/// has failed, and a GET may be executed twice.
#[tokio::test]
async fn a_get_on_a_connection_that_breaks_is_sent_on_a_new_one() {
    let target = Backend::raw(|mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            read_request(&mut stream).await;
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = rig.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let log = rig.logged(3).await;
    assert_eq!(log[1].get("attempts"), "2");
    let tried = log[1].get("tried");
    let addr = target.addr().to_string();
    assert_eq!(tried.matches(&addr).count(), 2, "{tried}");
    assert!(tried.contains("ms target_closed, "), "{tried}");
}

#[tokio::test]
async fn connections_to_a_removed_target_are_closed() {
    let (stays, leaves) = (
        Backend::answering("stays").await,
        Backend::answering("leaves").await,
    );
    let idle = "upstream = { idle_timeout = \"1h\" }";
    let mut rig = Rig::with(&[stays.addr(), leaves.addr()], "", idle).await;
    let mut client = rig.connect().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(
        (stays.open_connections(), leaves.open_connections()),
        (1, 1)
    );
    let changed = rig.changed(&[stays.addr()], "", idle);
    rig.lb.reload(&changed).await.unwrap();
    until_open(&leaves, 0).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "stays");
    }
    assert_eq!(stays.connections(), 1, "its pool was kept");
}

#[tokio::test]
async fn a_connection_in_use_is_closed_after_its_target_was_removed() {
    let mut leaves = Backend::manual().await;
    let stays = Backend::answering("stays").await;
    let idle = "upstream = { idle_timeout = \"1h\" }";
    let mut rig = Rig::with(&[leaves.addr()], "", idle).await;
    let mut wire = rig.wire(GET).await;
    let held = leaves.next_request().await;
    let changed = rig.changed(&[stays.addr()], "", idle);
    rig.lb.reload(&changed).await.unwrap();
    // When the worker routes by the new rules it has seen the reload.
    assert_eq!(rig.connect().await.get("/").await.text(), "stays");
    held.respond("late, but whole");
    assert_eq!(wire.response().await.text(), "late, but whole");
    until_open(&leaves, 0).await;
}

#[tokio::test]
async fn a_client_ends_its_connection_with_connection_close() {
    let target = Backend::answering("a").await;
    let rig = Rig::forward(&[target.addr()]).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: X, Close\r\nX: 1\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        let mut wire = rig.wire(request).await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "a");
        wire.ends().await;
    }
    let request = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let mut wire = rig.wire(request).await;
    assert_eq!(
        wire.response().await.field("connection").as_deref(),
        Some("keep-alive")
    );
    wire.send(request).await;
    assert_eq!(wire.response().await.text(), "a");
    assert_eq!(
        target.connections(),
        1,
        "what a client wants of its hop is not for the target"
    );
}
