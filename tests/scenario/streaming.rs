//! Bodies are streamed: in both directions, at the pace of the slower side, unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};
use xxhash_rust::xxh3::Xxh3;

use crate::scenario::support::{
    Backend, Recorder, Rig, Wire, answer, eventually, fields_of, read_request_start, soon, streamed,
};

/// More than Weir and the kernel may hold of one body together: each of two hops has a
/// send and a receive buffer, which Linux lets grow to 4 and 6 MiB.
const HELD: u64 = 24 << 20;

/// So much that missing backpressure would be noticed.
const MUCH: u64 = 128 << 20;

const CHUNK: usize = 64 * 1024;

#[tokio::test]
async fn a_target_that_does_not_read_holds_the_client_back() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let target = Backend::raw(move |mut stream| {
        let gone = Arc::clone(&gone);
        async move {
            let mut count = read_request_start(&mut stream).await as u64;
            let go = gone.lock().await.take().unwrap();
            go.await.unwrap();
            let mut rest = vec![0; CHUNK];
            while count < MUCH {
                count += stream.read(&mut rest).await.unwrap() as u64;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{count:9}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {MUCH}\r\n\r\n");
    let mut wire = rig.wire(head).await;
    let pushed = wire.send_until_stuck(Duration::from_millis(500)).await;
    assert!(pushed < HELD, "{pushed} bytes went in");
    go.send(()).unwrap();
    let mut left = MUCH - pushed;
    while left > 0 {
        let part = left.min(CHUNK as u64);
        wire.send(vec![b'x'; part as usize]).await;
        left -= part;
    }
    assert_eq!(wire.response().await.text().trim(), MUCH.to_string());
    drop(wire);
    rig.quiet().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_target_back() {
    let pushed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&pushed);
    let target = Backend::with(move |_| {
        let pushed = Arc::clone(&counter);
        async move {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                let chunk = Bytes::from(vec![b'x'; CHUNK]);
                while pushed.load(Ordering::SeqCst) < MUCH
                    && sender.send(chunk.clone()).await.is_ok()
                {
                    pushed.fetch_add(CHUNK as u64, Ordering::SeqCst);
                }
            });
            streamed(Arc::new(Mutex::new(receiver)))
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig
        .wire("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200"));
    let stuck = until_still(&pushed).await;
    assert!(stuck < HELD, "{stuck} bytes went in");
    assert_eq!(rig.in_flight(), 1);
    let rest = wire.rest().await;
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the last chunk came");
    assert!(rest.len() as u64 > MUCH);
    drop(wire);
    rig.quiet().await;
}

/// Waits until the counter has not moved for a while, and returns it.
async fn until_still(counter: &AtomicU64) -> u64 {
    let mut last = (0, tokio::time::Instant::now());
    eventually("the sender is stuck", move || {
        let now = counter.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, tokio::time::Instant::now());
        }
        let still = now > 0 && last.1.elapsed() > Duration::from_millis(500);
        async move { still.then_some(now).ok_or(format!("{now} bytes")) }
    })
    .await
}

/// Sends back what it gets, as it gets it.
async fn echo() -> Backend {
    Backend::with(|request| async move {
        let body = request.into_body().map_err(std::io::Error::other);
        http::Response::new(BoxBody::new(body))
    })
    .await
}

/// Bytes without a pattern, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(bytes);
    hash.digest()
}

#[tokio::test]
async fn big_bodies_pass_unchanged_in_both_directions() {
    let target = echo().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let sent = noise((32 << 20) + 7);
    let expected = hash(&sent);
    for framing in ["length", "chunked"] {
        let stream = tokio::net::TcpStream::connect(rig.addr()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let body = sent.clone();
        let sending = tokio::spawn(async move {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
            if framing == "length" {
                let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
                writing.write_all(head.as_bytes()).await.unwrap();
                writing.write_all(&body).await.unwrap();
            } else {
                let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
                writing.write_all(head.as_bytes()).await.unwrap();
                // Sizes that fit no buffer.
                for chunk in body.chunks(77_777) {
                    let size = format!("{:x}\r\n", chunk.len());
                    writing.write_all(size.as_bytes()).await.unwrap();
                    writing.write_all(chunk).await.unwrap();
                    writing.write_all(b"\r\n").await.unwrap();
                }
                writing.write_all(b"0\r\n\r\n").await.unwrap();
            }
            writing
        });
        let mut whole = Vec::new();
        let read = async {
            let mut buffer = vec![0; CHUNK];
            loop {
                match reading.read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => whole.extend_from_slice(&buffer[..count]),
                }
            }
        };
        soon("the echo", read).await;
        drop(sending.await.unwrap());
        let body = unframed(&whole);
        assert_eq!(
            (body.len(), hash(&body)),
            (sent.len(), expected),
            "{framing}"
        );
    }
    let log = rig.logged(2).await;
    for entry in &log {
        assert_eq!(entry.status_and_reason(), ("200", ""));
        assert_eq!(entry.get("received"), sent.len().to_string());
        assert_eq!(entry.get("sent"), sent.len().to_string());
    }
    rig.quiet().await;
}

/// The body of a chunked or measured response.
fn unframed(whole: &[u8]) -> Vec<u8> {
    let end = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&whole[..end]).to_lowercase();
    let mut rest = &whole[end..];
    if !head.contains("transfer-encoding: chunked") {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
        if size == 0 {
            assert!(rest.is_empty());
            return body;
        }
    }
}

#[tokio::test]
async fn both_directions_flow_at_the_same_time() {
    let target = echo().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200"));
    for n in 0..100 {
        let chunk = format!("4\r\n{n:04}\r\n");
        wire.send(&chunk).await;
        // Each part comes back before the next one is sent.
        let mut back = vec![0; chunk.len()];
        let read = wire.stream().read_exact(&mut back);
        soon("the echo", read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&back), chunk);
    }
    wire.send("0\r\n\r\n").await;
    let mut end = [0; 5];
    soon("the end", wire.stream().read_exact(&mut end))
        .await
        .unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
    // Both connections can be used again.
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.response().await.status(), 200);
    assert_eq!(target.connections(), 1);
    assert_eq!(rig.logged(2).await[0].status_and_reason(), ("200", ""));
}

/// From Weir, because the target does not know of it and says nothing (RFC 9110 section 10.1.1).
#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = rig.wire(head).await;
    assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("hello").await;
    assert_eq!(wire.response().await.text(), "ok");
    // And again on the same connection.
    wire.send(head).await;
    assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send("again").await;
    assert_eq!(wire.response().await.text(), "ok");
    let seen = target.requests();
    assert_eq!(seen[0].fields("expect"), ["100-continue"]);
    assert_eq!(
        (seen[0].text(), seen[1].text()),
        ("hello".to_owned(), "again".to_owned())
    );
    assert_eq!(target.backend.connections(), 1);
}

#[tokio::test]
async fn a_client_gets_no_100_for_a_body_that_is_not_needed() {
    let gone = Backend::answering("gone").await;
    let addr = gone.addr();
    drop(gone);
    eventually("the port refuses", || async {
        let refused = tokio::net::TcpStream::connect(addr).await.is_err();
        refused.then_some(()).ok_or("still open".to_owned())
    })
    .await;
    let rig = Rig::forward(&[addr]).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = rig.wire(head).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    // The client may send its body all the same or leave it out, so no request can follow.
    assert_eq!(fields_of(&head, "connection"), ["close"], "{head}");
}

#[tokio::test]
async fn chunks_in_one_direction_do_not_change_the_framing_of_the_other() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    wire.send(
        "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         3;name=\"v\"\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 42\r\n\r\n",
    )
    .await;
    let reply = wire.response().await;
    assert_eq!(reply.fields("content-length"), ["2"]);
    wire.send("PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde")
        .await;
    assert_eq!(wire.response().await.text(), "ok");
    let seen = target.requests();
    assert_eq!(seen[0].fields("transfer-encoding"), ["chunked"]);
    assert_eq!(seen[0].text(), "abcde");
    assert_eq!(seen[1].fields("content-length"), ["5"]);
    assert!(
        target.bytes().contains("\r\n0\r\nX-Sum: 42\r\n\r\n"),
        "{}",
        target.bytes()
    );
    // An upload that ended in trailers has ended: its connection is used again.
    assert_eq!(target.backend.connections(), 1);
}

#[tokio::test]
async fn an_empty_body_is_passed_on_as_it_was_framed() {
    let target = Backend::with(|request| async move {
        let length = request.headers().get("content-length").cloned();
        let length = length.map_or("none".to_owned(), |l| l.to_str().unwrap().to_owned());
        answer(200, length)
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for (fields, expected) in [("", "none"), ("Content-Length: 0\r\n", "0")] {
        wire.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .await;
        assert_eq!(wire.response().await.text(), expected);
    }
}
