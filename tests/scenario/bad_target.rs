//! Targets that break the rules. The client gets a status, or a response that is cut
//! and never completed falsely; the log names the reason; the broken connection serves
//! no other request; the lease ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::scenario::support::{
    Backend, Message, Rig, Wire, answer, eventually, fields_of, read_request, read_request_head,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Reads a request, then sends `bytes` and waits for the other side to close.
async fn saying(bytes: impl Into<Vec<u8>>) -> Backend {
    let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
    Backend::raw(move |mut stream| {
        let bytes = Arc::clone(&bytes);
        async move {
            read_request(&mut stream).await;
            // Weir may close before it has read all of it.
            let _ = stream.write_all(&bytes).await;
            until_closed(&mut stream).await;
        }
    })
    .await
}

/// Reads a request, then sends `bytes` and closes in an orderly way, both in one segment.
async fn saying_and_closing(bytes: impl Into<Vec<u8>>) -> Backend {
    let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
    Backend::raw(move |mut stream| {
        let bytes = Arc::clone(&bytes);
        async move {
            read_request(&mut stream).await;
            SockRef::from(&stream).set_tcp_cork(true).unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            until_closed(&mut stream).await;
        }
    })
    .await
}

async fn until_closed(stream: &mut TcpStream) {
    let mut sink = vec![0; 65536];
    while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}

/// Sends one request, checks the log, the counters and the leases, and returns the response.
async fn assert_fails(
    name: &str,
    target: &Backend,
    group: &str,
    status: u16,
    reason: &str,
) -> Message {
    let rig = Rig::with(&[target.addr()], "", group).await;
    let mut wire = rig.wire(GET).await;
    let reply = wire.final_response().await;
    assert_eq!(reply.status(), status, "{name}: {reply:?}");
    let log = rig.logged(1).await;
    let code = status.to_string();
    assert_eq!(
        log[0].status_and_reason(),
        (code.as_str(), reason),
        "{name}"
    );
    assert_eq!(log[0].get("target"), target.addr().to_string(), "{name}");
    assert_eq!(rig.failures(reason).await, 1, "{name}");
    if status >= 500 {
        assert!(
            reply.complete && reply.text().contains(reason),
            "{name}: {reply:?}"
        );
        let id = reply.field("x-request-id").unwrap();
        assert!(reply.text().contains(&id), "{name}: {reply:?}");
        assert_eq!(log[0].get("request_id"), id, "{name}");
    }
    drop(wire);
    rig.quiet().await;
    until_no_connection(name, target).await;
    reply
}

async fn until_no_connection(name: &str, target: &Backend) {
    eventually(
        &format!("{name}: the connection to the target is closed"),
        || async {
            let open = target.open_connections();
            (open == 0).then_some(()).ok_or(format!("{open} open"))
        },
    )
    .await;
}

#[tokio::test]
async fn a_target_that_refuses_is_a_connect_error() {
    let gone = Backend::answering("gone").await;
    let addr = gone.addr();
    drop(gone);
    let rig = Rig::forward(&[addr]).await;
    // The port must be free before a connection to it is refused.
    eventually("the port refuses", || async {
        let refused = TcpStream::connect(addr).await.is_err();
        refused.then_some(()).ok_or("still open".to_owned())
    })
    .await;
    let mut wire = rig.wire(format!("{GET}{GET}")).await;
    for _ in 0..2 {
        let reply = wire.response().await;
        assert_eq!(reply.status(), 502);
        assert!(reply.text().contains("connect_error"), "{reply:?}");
        assert_eq!(reply.field("connection"), None, "the client may go on");
    }
    let log = rig.logged(2).await;
    assert_eq!(log[0].status_and_reason(), ("502", "connect_error"));
    assert_eq!(rig.failures("connect_error").await, 2);
    drop(wire);
    rig.quiet().await;
}

/// A listener with a full queue drops further handshakes, as a host that is down does.
#[tokio::test]
async fn a_target_that_does_not_accept_is_a_connect_timeout() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    let mut full = false;
    while !full {
        let connecting = TcpStream::connect(addr);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(stream) => fillers.push(stream.unwrap()),
            Err(_) => full = true,
        }
    }
    let upstream = "upstream = { connect_timeout = \"200ms\" }";
    let rig = Rig::with(&[addr], "", upstream).await;
    let mut wire = rig.wire(GET).await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 504);
    assert!(reply.text().contains("connect_timeout"), "{reply:?}");
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("504", "connect_timeout")
    );

    let upstream = "upstream = { connect_timeout = \"30s\", request_timeout = \"200ms\" }";
    let rig = Rig::with(&[addr], "", upstream).await;
    let mut wire = rig.wire(GET).await;
    let reply = wire.response().await;
    assert_eq!(
        reply.status(),
        504,
        "the deadline of the whole request holds here too"
    );
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("504", "request_timeout"));
    drop(wire);
    rig.quiet().await;
}

#[tokio::test]
async fn a_target_that_closes_without_a_byte_is_a_502() {
    let closing = saying_and_closing("").await;
    assert_fails("close", &closing, "", 502, "target_closed").await;
    let resetting = Backend::raw(|mut stream| async move {
        read_request_head(&mut stream).await;
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    assert_fails("reset", &resetting, "", 502, "target_closed").await;
    let at_once = Backend::raw(|stream| async move { drop(stream) }).await;
    assert_fails(
        "close before the request",
        &at_once,
        "",
        502,
        "target_closed",
    )
    .await;
    let inside = saying_and_closing("HTTP/1.1 200 OK\r\ncontent-len").await;
    assert_fails("close inside the head", &inside, "", 502, "target_closed").await;
}

/// Responses that are not HTTP.
fn not_http() -> Vec<(&'static str, String)> {
    let many = "x: 1\r\n".repeat(1001);
    vec![
        ("garbage", "this is not HTTP\r\n\r\n".to_owned()),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned()),
        ("no version", "200 OK\r\n\r\n".to_owned()),
        ("HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n".to_owned()),
        (
            "a status of two digits",
            "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        ),
        ("a status below 100", "HTTP/1.1 099 OK\r\n\r\n".to_owned()),
        (
            "a field without a colon",
            "HTTP/1.1 200 OK\r\nx\r\n\r\n".to_owned(),
        ),
        (
            "a space in a name",
            "HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n".to_owned(),
        ),
        (
            "NUL in a value",
            "HTTP/1.1 200 OK\r\nx: 1\x002\r\n\r\n".to_owned(),
        ),
        (
            "a folded line",
            "HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\n\r\n".to_owned(),
        ),
        (
            "a length that is no number",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n".to_owned(),
        ),
        (
            "a negative length",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
        ),
        ("too many fields", format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
        (
            "a head too large",
            format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(200 * 1024)),
        ),
    ]
}

/// Responses that a target and a client would understand differently.
fn misleading() -> Vec<(&'static str, String)> {
    vec![
        (
            "a protocol that the client did not ask for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworse"
                .to_owned(),
        ),
        (
            "a coding that would be hidden",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a coding alone",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello".to_owned(),
        ),
        (
            "chunked in HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        // RFC 9112 section 6.3: both framings ought to be handled as an error.
        (
            "chunked before a length",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "chunked after a length",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "chunked beside a length, and named by Connection",
            "HTTP/1.1 200 OK\r\ncontent-length: 300\r\nconnection: transfer-encoding\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
        ),
    ]
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_502() {
    for (name, bytes) in not_http().into_iter().chain(misleading()) {
        let target = saying(bytes).await;
        assert_fails(name, &target, "", 502, "malformed_response").await;
    }
}

#[tokio::test]
async fn a_target_that_stalls_before_its_head_is_a_504() {
    let upstream = "upstream = { response_timeout = \"200ms\" }";
    let cases = [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\n"),
        (
            "an informational head",
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
        ),
    ];
    for (name, bytes) in cases {
        let target = saying(bytes).await;
        assert_fails(name, &target, upstream, 504, "response_head_timeout").await;
    }
}

#[tokio::test]
async fn a_target_that_stalls_inside_its_body_is_cut() {
    let upstream = "upstream = { body_timeout = \"200ms\" }";
    let cases = [
        (
            "a length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ];
    for (name, bytes) in cases {
        let target = saying(bytes).await;
        let reply = assert_fails(name, &target, upstream, 200, "response_body_timeout").await;
        assert!(!reply.complete, "{name}: {reply:?}");
        assert_eq!(reply.text(), "hello", "{name}");
    }
}

/// Responses that break off: what a client gets before the rest comes, that beginning as the client
/// gets it, and the rest.
fn broken_off() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    const CHUNK: &str = "5\r\nhello\r\n";
    vec![
        (
            "a length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            "hello",
            "",
        ),
        ("chunks", CHUNKED, CHUNK, ""),
        (
            "inside a chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello",
            CHUNK,
            "",
        ),
        ("inside the last chunk", CHUNKED, CHUNK, "0\r\n"),
        ("inside the trailers", CHUNKED, CHUNK, "0\r\nx-sum: 1\r\n"),
        ("a size that is no number", CHUNKED, CHUNK, "x\r\n"),
        ("LF alone after the last chunk", CHUNKED, CHUNK, "0\r\n\n"),
    ]
}

#[tokio::test]
async fn a_target_that_closes_inside_its_body_is_cut() {
    for (name, start, passed, rest) in broken_off() {
        let has_it = Arc::new(Notify::new());
        let told = Arc::clone(&has_it);
        let target = Backend::raw(move |mut stream| {
            let told = Arc::clone(&told);
            async move {
                read_request(&mut stream).await;
                stream.write_all(start.as_bytes()).await.unwrap();
                told.notified().await;
                stream.write_all(rest.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                until_closed(&mut stream).await;
            }
        })
        .await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig.wire(GET).await;
        assert!(
            wire.head().await.starts_with("HTTP/1.1 200 OK\r\n"),
            "{name}"
        );
        let begun = wire.take(passed.len()).await;
        assert_eq!(String::from_utf8_lossy(&begun), passed, "{name}");
        has_it.notify_one();
        // RFC 9112 section 8: the end of the connection tells the client that something is missing.
        wire.ends().await;
        let log = rig.logged(1).await;
        let result = log[0].status_and_reason();
        assert_eq!(result, ("200", "target_body_broken"), "{name}");
        assert_eq!(rig.failures("target_body_broken").await, 1, "{name}");
        drop(wire);
        rig.quiet().await;
        until_no_connection(name, &target).await;
    }
}

/// The head of a response waits for what comes with it, so that a client hears of a response that
/// breaks at once.
#[tokio::test]
async fn a_response_that_breaks_before_a_byte_was_passed_on_is_a_502() {
    for (name, start, _, rest) in broken_off() {
        let target = saying_and_closing(format!("{start}{rest}")).await;
        assert_fails(name, &target, "", 502, "target_body_broken").await;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    let target = saying_and_closing(head).await;
    assert_fails("after the head", &target, "", 502, "target_body_broken").await;
}

#[tokio::test]
async fn the_deadline_of_the_whole_request_cuts_a_body_that_keeps_flowing() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    })
    .await;
    let upstream = "upstream = { request_timeout = \"300ms\" }";
    let reply = assert_fails("endless", &target, upstream, 200, "request_timeout").await;
    assert!(!reply.complete);
    let silent = saying("").await;
    assert_fails("silent", &silent, upstream, 504, "request_timeout").await;
}

/// What a target sends beyond its response must not become the next client's response.
#[tokio::test]
async fn extra_bytes_never_reach_the_next_client() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let cases = [
        (
            "after a length",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{poison}"),
        ),
        (
            "after the last chunk",
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{poison}"
            ),
        ),
        (
            "after no body",
            format!("HTTP/1.1 204 No Content\r\n\r\n{poison}"),
        ),
        (
            "after a 304",
            format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n{poison}"),
        ),
    ];
    for (name, bytes) in cases {
        let target = saying(bytes).await;
        let rig = Rig::forward(&[target.addr()]).await;
        for _ in 0..3 {
            let mut wire = rig.wire(GET).await;
            let reply = wire.response().await;
            assert!(reply.status() < 400, "{name}: {reply:?}");
            assert_ne!(reply.text(), "poison", "{name}: {reply:?}");
        }
        assert_eq!(target.connections(), 3, "{name}: none was used twice");
        rig.quiet().await;
    }
}

/// RFC 9112 section 6.3 lets a recipient take equal lengths for one.
#[tokio::test]
async fn a_length_that_a_target_says_twice_is_passed_on_once() {
    for fields in [
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5, 5",
        "content-length: 05",
    ] {
        let target = saying(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello")).await;
        let rig = Rig::forward(&[target.addr()]).await;
        let reply = rig.wire(GET).await.response().await;
        assert_eq!(reply.text(), "hello", "{fields}");
        assert_eq!(reply.fields("content-length"), ["5"], "{fields}");
        // Another recipient might see another end.
        until_no_connection(fields, &target).await;
    }
}

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";

/// RFC 9110 section 15.2: a proxy passes interim responses on. How many may come is not said.
#[tokio::test]
async fn interim_responses_pass_up_to_a_bound() {
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let target = saying(format!("{}{last}", HINT.repeat(64))).await;
    let rig = Rig::forward(&[target.addr()]).await;
    let (interim, reply) = rig.wire(GET).await.interim_and_final().await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
    assert_eq!(reply.field("link"), None);
    assert_eq!(interim.len(), 64);
    assert!(
        interim
            .iter()
            .all(|hint| hint.status() == 103 && hint.fields("link") == ["x"]),
        "{interim:?}"
    );
    let target = saying(format!("{}{last}", HINT.repeat(65))).await;
    assert_fails("one more", &target, "", 502, "malformed_response").await;
}

#[tokio::test]
async fn a_flood_of_interim_responses_is_a_502() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let hints = HINT.repeat(100);
        while stream.write_all(hints.as_bytes()).await.is_ok() {}
    })
    .await;
    assert_fails("flood", &target, "", 502, "malformed_response").await;
}

#[tokio::test]
async fn a_response_that_says_close_is_the_last_on_its_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let target = Backend::raw(move |mut stream| {
        let count = Arc::clone(&counted);
        async move {
            while read_request(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..3 {
        wire.send(GET).await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "ok");
        assert_eq!(reply.field("connection"), None, "it is meant for this hop");
    }
    assert_eq!((target.connections(), count.load(Ordering::SeqCst)), (3, 3));
    until_no_connection("close", &target).await;
}

#[tokio::test]
async fn a_target_of_http_1_0_is_read_until_it_closes() {
    let target = saying_and_closing("HTTP/1.0 200 OK\r\n\r\nhello from the past").await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..2 {
        wire.send(GET).await;
        let reply = wire.response().await;
        assert!(reply.head.starts_with("HTTP/1.1 200 OK\r\n"), "{reply:?}");
        assert!(reply.complete);
        assert_eq!(reply.text(), "hello from the past");
    }
    let log = rig.logged(2).await;
    assert!(
        log.iter()
            .all(|entry| entry.status_and_reason() == ("200", "")),
        "{log:?}"
    );
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_response_that_cannot_have_a_body_has_none() {
    let cases = [
        ("HEAD", "200 OK\r\ncontent-length: 1000", Some("1000")),
        ("HEAD", "200 OK\r\ntransfer-encoding: chunked", None),
        ("GET", "204 No Content\r\ncontent-length: 5", None),
        // RFC 9110 section 8.6: the length of what a GET would have got.
        (
            "GET",
            "304 Not Modified\r\ncontent-length: 1000",
            Some("1000"),
        ),
    ];
    for (method, head, length) in cases {
        let bytes = Arc::new(format!("HTTP/1.1 {head}\r\n\r\n"));
        let target = Backend::raw(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            async move {
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = Wire::open(rig.addr()).await;
        for n in 1..=3 {
            wire.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let got = wire.head().await;
            let found = fields_of(&got, "content-length");
            let expected: Vec<&str> = length.into_iter().collect();
            assert_eq!(found, expected, "{method} {head}: {got}");
            let log = rig.logged(n).await;
            assert_eq!(log[n - 1].get("reason"), "", "{method} {head}");
        }
        assert_eq!(target.connections(), 1, "{method} {head}: kept alive");
        drop(wire);
        rig.quiet().await;
    }
}

#[tokio::test]
async fn a_head_request_that_weir_itself_answers_is_not_logged_as_a_client_that_left() {
    let target = Backend::answering("a").await;
    let rule = "[[listener.rule]]\npriority = 1\nwhen = { path = \"/fixed\" }\n\
                then = { fixed_response = { status = 200, body = \"four\" } }";
    let rig = Rig::with(&[target.addr()], rule, "").await;
    let mut wire = rig.wire("HEAD /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = wire.head().await;
    assert_eq!(fields_of(&head, "content-length"), ["4"], "{head}");
    wire.send("GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.response().await.text(), "four");
    let log = rig.logged(2).await;
    assert_eq!(log[0].status_and_reason(), ("200", ""));
    assert_eq!(log[1].status_and_reason(), ("200", ""));
}

/// `TE` only says that trailers are welcome; every client of HTTP/1.1 can read them (RFC 9112
/// section 7.1.2).
#[tokio::test]
async fn trailers_pass_whether_the_client_asks_for_them_or_not() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
        while read_request(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    for fields in ["TE: trailers\r\nConnection: close, TE", "Connection: close"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let whole = String::from_utf8(rig.wire(request).await.rest().await).unwrap();
        assert_eq!(fields_of(&whole, "trailer"), ["x-sum"], "{whole}");
        assert!(
            whole.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"),
            "{whole}"
        );
    }
    let log = rig.logged(2).await;
    assert!(
        log.iter()
            .all(|entry| entry.status_and_reason() == ("200", "")),
        "{log:?}"
    );
    assert_eq!(target.connections(), 1, "trailers end a response");
    rig.quiet().await;
}

/// The target's timeout does not run while the client sends: an upload may take longer than
/// the time to the response head.
#[tokio::test]
async fn a_long_upload_is_not_taken_for_a_slow_target() {
    let target = Backend::with(|request| async move {
        use http_body_util::BodyExt;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        answer(200, body.len().to_string())
    })
    .await;
    let upstream = "upstream = { response_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..10 {
        pace.tick().await;
        wire.send("x").await;
    }
    let reply = wire.response().await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, "10"));
}

/// A stall of the client is blamed on the client even if the response has begun.
#[tokio::test]
async fn a_client_that_stalls_is_not_blamed_on_a_target_that_streams() {
    let target = Backend::raw(|mut stream| async move {
        read_request_head(&mut stream).await;
        let start = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(start.as_bytes()).await.unwrap();
        until_closed(&mut stream).await;
    })
    .await;
    let rig = Rig::with(
        &[target.addr()],
        "client = { body_timeout = \"200ms\" }",
        "",
    )
    .await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 200);
    assert!(!reply.complete);
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("200", "request_body_timeout"));
    drop(wire);
    rig.quiet().await;
    until_no_connection("stalled", &target).await;
}

#[tokio::test]
async fn a_target_that_takes_nothing_of_a_body_is_a_504() {
    let target = Backend::raw(|mut stream| async move {
        read_request_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = "upstream = { response_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = rig
        .wire("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let (chunk, stream) = (
        format!("10000\r\n{}\r\n", "x".repeat(0x10000)),
        wire.stream(),
    );
    // Sends until Weir takes no more, reading nothing.
    while let Ok(sent) = tokio::time::timeout(
        Duration::from_millis(500),
        stream.write_all(chunk.as_bytes()),
    )
    .await
    {
        if sent.is_err() {
            break;
        }
    }
    let reply = wire.response().await;
    assert_eq!(reply.status(), 504, "{reply:?}");
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("504", "response_head_timeout"));
    drop(wire);
    rig.quiet().await;
}

/// RFC 9112 section 8: a body that ends with its connection is complete unless that broke.
#[tokio::test]
async fn a_body_that_ends_with_a_reset_is_not_complete() {
    let told = Arc::new(Notify::new());
    let reset = Arc::clone(&told);
    let target = Backend::raw(move |mut stream| {
        let reset = Arc::clone(&reset);
        async move {
            read_request(&mut stream).await;
            let start = b"HTTP/1.0 200 OK\r\n\r\nhello";
            stream.write_all(start).await.unwrap();
            reset.notified().await;
            SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(GET).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(wire.take(10).await, b"5\r\nhello\r\n");
    told.notify_one();
    assert_eq!(wire.rest().await, b"", "no last chunk");
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("200", "target_body_broken"));
}
