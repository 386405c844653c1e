//! Idle connections that targets close: no request is lost to that, and Weir learns to close
//! them before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::scenario::support::{Backend, Rig, Wire, eventually, read_request};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Without this, a connection would be kept for longer than a test lasts.
const KEEP: &str = "upstream = { idle_timeout = \"1h\" }";

async fn until_open(target: &Backend, count: usize) {
    eventually(&format!("{count} open connections"), || async {
        let open = target.open_connections();
        (open == count).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// Closes a connection that had no request for `idle`.
async fn closing_after(idle: Duration) -> Backend {
    Backend::raw(move |mut stream| async move {
        while let Ok(Some(_)) = timeout(idle, read_request(&mut stream)).await {
            if stream.write_all(OK.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_announced_timeout_of_zero_is_honoured() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=0\r\ncontent-length: 2\r\n\r\nok";
        while read_request(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", KEEP).await;
    let mut client = rig.connect().await;
    for n in 1..=3 {
        assert_eq!(client.get("/").await.text(), "ok");
        until_open(&target, 0).await;
        assert_eq!(target.connections(), n);
    }
}

#[tokio::test]
async fn an_announced_long_timeout_is_honoured() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=60\r\ncontent-length: 2\r\n\r\nok";
        while read_request(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..5 {
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let reply = wire.response().await;
        assert_eq!(reply.field("keep-alive"), None, "meant for this hop");
    }
    assert_eq!(target.connections(), 1);
}

/// The target closes the first connection. After that Weir closes the next one before the
/// target does. The learned timeout survives a reload.
#[tokio::test]
async fn a_timeout_is_learned_from_one_close_and_kept_over_a_reload() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let target = Backend::raw(move |mut stream| {
        let number = accepted.fetch_add(1, Ordering::SeqCst);
        async move {
            // Long enough for Weir to put the connection into its pool.
            let idle = Duration::from_millis(if number == 0 { 20 } else { 600_000 });
            while let Ok(Some(_)) = timeout(idle, read_request(&mut stream)).await {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut rig = Rig::with(&[target.addr()], "", KEEP).await;
    let mut client = rig.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    until_open(&target, 0).await;
    eventually("Weir has seen it", || async {
        let snapshot = rig.lb.snapshot();
        let group = snapshot.group_named(&"app".into()).unwrap();
        let learned = group.live.keep_alive.retirement();
        learned.map(|_| ()).ok_or("nothing learned".to_owned())
    })
    .await;
    assert_eq!(client.get("/").await.status, 200);
    until_open(&target, 0).await;
    let changed = rig.changed(&[target.addr()], "", &format!("{KEEP}\nretry = false"));
    rig.lb.reload(&changed).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
    until_open(&target, 0).await;
    assert_eq!(target.connections(), 3);
}

/// Requests come at all ages of a connection around the one at which it is closed.
#[tokio::test]
async fn targets_that_close_idle_connections_cost_no_request() {
    let idle = Duration::from_millis(60);
    for count in [1, 2] {
        let mut targets = Vec::new();
        for _ in 0..count {
            targets.push(closing_after(idle).await);
        }
        let addrs: Vec<_> = targets.iter().map(Backend::addr).collect();
        let rig = Rig::with(&addrs, "", "outlier = false").await;
        let clients = (0..8).map(|n| {
            let addr = rig.addr();
            tokio::spawn(async move {
                let mut wire = Wire::open(addr).await;
                for round in 0..25 {
                    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    assert_eq!(wire.response().await.status(), 200);
                    // 52 to 66 milliseconds: around the time at which they close.
                    let pause = 52 + (round * 5 + n) % 15;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let log = rig.logged(200).await;
        assert!(
            log.iter()
                .all(|entry| entry.status_and_reason() == ("200", ""))
        );
    }
}
