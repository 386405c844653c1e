//! Targets that answer before they have the whole request. What they said reaches the client,
//! whatever they do to the connection afterwards.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scenario::support::{
    Backend, Rig, Wire, eventually, read_request_head, read_request_start,
};

const REFUSAL: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";

/// As often as a loss was measured.
const TRIES: usize = 45;

/// A body that is on its way on every hop when the refusal comes.
const LENGTH: usize = 1 << 20;

/// Reads the head of a request, refuses it, and leaves.
async fn refusing(leave: fn(&TcpStream)) -> Backend {
    Backend::raw(move |mut stream| async move {
        read_request_start(&mut stream).await;
        stream.write_all(REFUSAL.as_bytes()).await.unwrap();
        leave(&stream);
    })
    .await
}

/// Only closes. With a body that was not read, this resets the connection as well.
fn close(_: &TcpStream) {}

fn reset(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn measured() -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; LENGTH]].concat()
}

fn chunked() -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    format!("{head}{}0\r\n\r\n", chunk.repeat(LENGTH >> 16)).into_bytes()
}

/// RFC 9112 section 9.6. A regression: 26 of 45 arrived, the others were a 502.
#[tokio::test]
async fn an_early_answer_arrives_though_its_target_resets_the_connection() {
    for (name, leave) in [("close", close as fn(&TcpStream)), ("reset", reset)] {
        for request in [measured(), chunked()] {
            let target = refusing(leave).await;
            let rig = Rig::forward(&[target.addr()]).await;
            for n in 1..=TRIES {
                let mut wire = Wire::open(rig.addr()).await;
                wire.send_while_reading(&request).await;
                let reply = wire.response().await;
                let said = (reply.status(), reply.text());
                assert_eq!(said, (401, "no".to_owned()), "{name}, try {n}: {reply:?}");
            }
            rig.quiet().await;
            let log = rig.logged(TRIES).await;
            for entry in &log {
                assert_eq!(entry.status_and_reason(), ("401", ""), "{name}: {entry:?}");
            }
            assert_eq!(target.connections(), TRIES, "{name}: none is used again");
        }
    }
}

/// The response is longer than what is sent before the target has gone.
#[tokio::test]
async fn a_long_early_answer_arrives_whole() {
    let target = Backend::raw(|mut stream| async move {
        read_request_start(&mut stream).await;
        let body = "n".repeat(1 << 20);
        let head = format!(
            "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        // Closed only now: what is under way after a reset is lost in the kernel.
        let _ = stream.shutdown().await;
        let mut rest = vec![0; 65536];
        while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    for _ in 0..5 {
        let mut wire = Wire::open(rig.addr()).await;
        wire.send_while_reading(measured()).await;
        let reply = wire.response().await;
        assert_eq!((reply.status(), reply.body.len()), (403, 1 << 20));
        assert!(reply.complete);
    }
    rig.quiet().await;
}

/// RFC 9112 section 9.6: a server that is about to close says so. The rest of the body is not read as
/// a request.
#[tokio::test]
async fn an_early_answer_says_that_it_is_the_last_one() {
    let target = refusing(close).await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\na part")
        .await;
    let reply = wire.response().await;
    assert_eq!((reply.status(), &*reply.text()), (401, "no"));
    assert_eq!(reply.fields("connection"), ["close"]);
    wire.ends().await;
}

/// A target that reads on may be sent the rest or not; it is told that the client has its answer.
#[tokio::test]
async fn a_target_that_reads_on_after_its_answer_is_told_that_it_is_over() {
    let target = Backend::raw(|mut stream| async move {
        let mut seen = vec![0; 65536];
        let early = read_request_start(&mut stream).await;
        stream.write_all(REFUSAL.as_bytes()).await.unwrap();
        let mut left = LENGTH - early;
        while left > 0 {
            let read = stream.read(&mut seen).await;
            match read.unwrap_or(0) {
                0 => return,
                count => left -= count,
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    wire.send_while_reading(measured()).await;
    assert_eq!(wire.response().await.status(), 401);
    drop(wire);
    rig.quiet().await;
    eventually("the target is told", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// A regression: after a second Weir asked for the body with a 100 in the middle of the response.
#[tokio::test]
async fn a_refusal_that_takes_its_time_is_passed_on_without_a_100_in_it() {
    let target = Backend::raw(|mut stream| async move {
        read_request_start(&mut stream).await;
        let head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nfirst";
        stream.write_all(head).await.unwrap();
        // Longer than a target may be silent before it gets the body.
        let mut nothing = [0; 1];
        let read = timeout(Duration::from_millis(1500), stream.read(&mut nothing)).await;
        assert!(
            !matches!(read, Ok(Ok(1..))),
            "it gets a body that it has refused"
        );
        stream.write_all(b" last").await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = rig.wire(request).await;
    let reply = wire.response().await;
    assert_eq!((reply.status(), &*reply.text()), (401, "first last"));
    wire.ends().await;
}

/// A regression: the end of the upload broke the answer off.
#[tokio::test]
async fn a_client_that_stops_sending_a_refused_request_hears_the_whole_answer() {
    let target = Backend::raw(|mut stream| async move {
        read_request_start(&mut stream).await;
        let head = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 10\r\n\r\nfirst";
        stream.write_all(head).await.unwrap();
        // Until Weir passes on that the client has stopped, or for a moment.
        let mut sink = [0; 4096];
        while let Ok(Ok(1..)) = timeout(Duration::from_millis(500), stream.read(&mut sink)).await {}
        let _ = stream.write_all(b" last").await;
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello";
    let mut wire = rig.wire(request).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(wire.take(5).await, b"first");
    wire.finish().await;
    assert_eq!(wire.take(5).await, b" last");
}

/// A target may refuse an upload on its head alone. The client gets that response while it is still
/// sending (RFC 9112 section 9.6); the connection serves no other request.
#[tokio::test]
async fn an_answer_before_the_whole_request_ends_the_exchange() {
    let early = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";
    let target = Backend::raw(move |mut stream| async move {
        read_request_head(&mut stream).await;
        stream.write_all(early.as_bytes()).await.unwrap();
        // Neither reads on nor closes: Weir must not wait for it.
        std::future::pending::<()>().await;
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    // More than the buffers of all hops can hold.
    let length = 64 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut wire = rig.wire(head).await;
    wire.send_while_reading(vec![b'x'; length]).await;
    let reply = wire.response().await;
    assert_eq!((reply.status(), reply.text().as_str()), (401, "no"));
    wire.ends().await;
    drop(wire);
    assert_eq!(rig.logged(1).await[0].status_and_reason(), ("401", ""));
    rig.quiet().await;
    let mut next = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(next.response().await.status(), 401);
    assert_eq!(
        target.connections(),
        2,
        "the first connection is not used again"
    );
}

#[tokio::test]
async fn a_502_reaches_a_client_that_is_still_sending() {
    let target = Backend::raw(|mut stream| async move {
        read_request_head(&mut stream).await;
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let length = 4 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut wire = rig.wire(head).await;
    wire.send_while_reading(vec![b'x'; length]).await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 502, "{reply:?}");
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("502", "target_closed")
    );
    drop(wire);
    rig.quiet().await;
}
