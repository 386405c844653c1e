//! Clients that are slow, stop in the middle, or leave. Each has its deadline, after which no
//! connection, permit or lease stays.

use std::time::Duration;

use crate::scenario::support::{Backend, Recorder, Rig, Wire, eventually, streamed};

#[tokio::test]
async fn a_slow_head_is_answered_408() {
    let target = Recorder::start().await;
    let limits = "client = { head_timeout = \"200ms\", idle_timeout = \"30s\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    for (index, start) in ["G", "GET / HTTP/1.1\r\nHost: a\r\nX-"].iter().enumerate() {
        let mut wire = rig.wire(start).await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 408, "{reply:?}");
        assert!(reply.text().contains("request_head_timeout"));
        assert_eq!(reply.fields("connection"), ["close"]);
        wire.ends().await;
        drop(wire);
        let log = rig.logged(index + 1).await;
        assert_eq!(
            log[index].status_and_reason(),
            ("408", "request_head_timeout")
        );
        rig.quiet().await;
    }
    assert_eq!(target.bytes(), "");
}

/// Single bytes do not extend the deadline, which is for the whole head.
#[tokio::test]
async fn a_head_that_trickles_is_answered_408() {
    let target = Recorder::start().await;
    let limits = "client = { head_timeout = \"300ms\", idle_timeout = \"30s\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let mut lines = 0;
    let reply = loop {
        let next = tokio::time::timeout(Duration::from_millis(20), wire.response_or_end()).await;
        match next {
            Ok(reply) => break reply.expect("an answer before the end"),
            Err(_) => wire.send(format!("X-{lines}: 1\r\n")).await,
        }
        lines += 1;
    };
    assert_eq!(reply.status(), 408);
    assert!(lines > 1, "bytes came in between");
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("408", "request_head_timeout"));
}

#[tokio::test]
async fn a_slow_second_head_is_answered_408_even_if_it_began_with_the_first() {
    let target = Recorder::start().await;
    let limits = "client = { head_timeout = \"200ms\", idle_timeout = \"200ms\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT").await;
    assert_eq!(wire.response().await.text(), "ok");
    let reply = wire.response().await;
    assert_eq!(reply.status(), 408, "{reply:?}");
    wire.ends().await;
    let log = rig.logged(2).await;
    assert_eq!(log[1].status_and_reason(), ("408", "request_head_timeout"));
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_response() {
    let target = Recorder::start().await;
    let limits = "client = { idle_timeout = \"200ms\", head_timeout = \"30s\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    let mut fresh = Wire::open(rig.addr()).await;
    fresh.ends().await;
    // Empty lines are no request (RFC 9112 section 2.2).
    rig.wire("\r\n").await.ends().await;
    let mut used = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(used.response().await.text(), "ok");
    used.ends().await;
    assert_eq!(rig.logged(1).await[0].status_and_reason(), ("200", ""));
    rig.quiet().await;
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let target = Recorder::start().await;
    let limits = "client = { body_timeout = \"200ms\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    let heads = ["Content-Length: 10", "Transfer-Encoding: chunked"];
    let parts = ["hello", "5\r\nhello\r\n"];
    for (index, (field, part)) in heads.iter().zip(parts).enumerate() {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{part}");
        let mut wire = rig.wire(request).await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 408, "{reply:?}");
        assert!(reply.text().contains("request_body_timeout"));
        assert_eq!(reply.fields("connection"), ["close"]);
        wire.ends().await;
        drop(wire);
        let log = rig.logged(index + 1).await;
        assert_eq!(
            log[index].status_and_reason(),
            ("408", "request_body_timeout")
        );
        assert_eq!(log[index].get("received"), "5");
        rig.quiet().await;
    }
    eventually("the target's connections are cut", || async {
        let open = target.backend.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
    assert!(target.requests().iter().all(|request| !request.complete));
}

/// RFC 9110 section 15.5.9: what took too long is the client's body, and no target is blamed.
#[tokio::test]
async fn a_body_that_trickles_past_the_deadline_of_its_request_is_answered_408() {
    let target = Recorder::start().await;
    let upstream = "upstream = { request_timeout = \"400ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        .await;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..7 {
        pace.tick().await;
        wire.send("x").await;
    }
    let reply = wire.response().await;
    assert_eq!(reply.status(), 408, "{reply:?}");
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("408", "request_body_timeout"));
    let live = rig.lb.target("app", target.addr()).unwrap();
    assert_eq!(live.failings().errors, 0, "the target did nothing wrong");
    drop(wire);
    rig.quiet().await;
}

#[tokio::test]
async fn a_truncated_body_is_cut_for_the_target_too() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    for (index, framed) in [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ]
    .iter()
    .enumerate()
    {
        let mut wire = rig
            .wire(format!("POST / HTTP/1.1\r\nHost: a\r\n{framed}"))
            .await;
        wire.finish().await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 400, "{reply:?}");
        assert!(reply.text().contains("request_body_broken"), "{reply:?}");
        let log = rig.logged(index + 1).await;
        assert_eq!(
            log[index].status_and_reason(),
            ("400", "request_body_broken")
        );
        rig.quiet().await;
    }
    eventually("the target's connections are cut", || async {
        let open = target.backend.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
    assert!(target.requests().iter().all(|request| !request.complete));
}

#[tokio::test]
async fn a_client_that_leaves_inside_its_request_body_frees_everything() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello";
    let wire = rig.wire(request).await;
    eventually("the target has the start", || async {
        let bytes = target.bytes();
        bytes.ends_with("hello").then_some(()).ok_or(bytes)
    })
    .await;
    assert_eq!(rig.in_flight(), 1);
    drop(wire);
    rig.quiet().await;
    let log = rig.logged(1).await;
    assert_eq!(log[0].get("reason"), "request_body_broken");
    assert_eq!(log[0].get("received"), "5");
    eventually("the target's connection is cut", || async {
        let open = target.backend.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// A response without end, sent as fast as it is read.
async fn endless() -> Backend {
    Backend::with(|_| async {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let chunk = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
            while sender.send(chunk.clone()).await.is_ok() {}
        });
        streamed(std::sync::Arc::new(tokio::sync::Mutex::new(receiver)))
    })
    .await
}

#[tokio::test]
async fn a_client_that_leaves_inside_its_response_frees_everything() {
    let target = endless().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(rig.in_flight(), 1);
    drop(wire);
    rig.quiet().await;
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("200", "client_gone"));
    assert_eq!(rig.failures("client_gone").await, 1);
    eventually("the target's connection is cut", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_response_is_given_up() {
    let target = endless().await;
    let limits = "client = { body_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], limits, "").await;
    let wire = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("200", "client_gone"));
    rig.quiet().await;
    eventually("the target's connection is cut", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
    drop(wire);
}
