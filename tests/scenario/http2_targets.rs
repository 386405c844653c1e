//! Targets that speak HTTP/2: which requests share a connection, what is passed on in both
//! directions, and what becomes of requests when streams or connections end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::{HeaderMap, Method, Request, Response};
use tokio::sync::{Semaphore, mpsc};

use crate::scenario::support::{
    Backend, H2, H2Connection, H2Target, Rig, Wire, answer_h2, eventually, read_body, send_all,
    serve_h2, soon,
};

const HTTP2: &str = "protocol = \"http2\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody";

async fn rig(target: &H2Target) -> Rig {
    Rig::with(&[target.addr()], "", HTTP2).await
}

/// Sends a request on a connection of its own.
async fn ask(rig: &Rig, request: &str) -> (u16, String) {
    let response = rig.wire(request).await.response().await;
    (response.status(), response.text())
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let target = H2Target::answering("well").await;
    let rig = rig(&target).await;
    let asked = (0..50).map(|_| ask(&rig, GET));
    for (status, text) in futures_util::future::join_all(asked).await {
        assert_eq!((status, &*text), (200, "well"));
    }
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn a_request_is_one_of_http_2_without_what_concerns_connections() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let target = H2Target::with(Builder::new(), move |request, respond| {
        let sender = sender.clone();
        async move {
            sender.send(request).unwrap();
            answer_h2(respond, Response::new(()), "");
        }
    })
    .await;
    let rig = rig(&target).await;
    let sent = "GET /a?b=c HTTP/1.1\r\nHost: shop.example:81\r\nX-Kept: 1\r\nCookie: a=1; b=2\r\n\
                TE: trailers\r\nConnection: keep-alive, x-hop, te\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n";
    assert_eq!(ask(&rig, sent).await.0, 200);
    let request = requests.recv().await.unwrap();
    assert_eq!(request.uri().to_string(), "http://shop.example:81/a?b=c");
    let fields = request.headers();
    for gone in ["host", "connection", "keep-alive", "x-hop"] {
        assert!(!fields.contains_key(gone), "{gone}");
    }
    for (name, value) in [("te", "trailers"), ("x-kept", "1"), ("cookie", "a=1; b=2")] {
        assert_eq!(fields[name], value, "{name}");
    }
    assert_eq!(fields["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let target = H2Target::with(Builder::new(), |request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["x-sum"], "7");
        let mut answer = HeaderMap::new();
        answer.insert("x-total", "8".parse().unwrap());
        stream.send_trailers(answer).unwrap();
    })
    .await;
    let rig = rig(&target).await;
    let sent = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n";
    let mut wire = rig.wire(sent).await;
    let head = wire.head().await;
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    let rest = soon("the end", async {
        let mut rest = String::new();
        while !rest.ends_with("\r\n\r\n") {
            rest.push_str(&String::from_utf8(wire.take(1).await).unwrap());
        }
        rest
    })
    .await;
    let digits: String = rest.chars().filter(|c| "abcde".contains(*c)).collect();
    assert!(digits.starts_with("abcde"), "{rest}");
    assert!(rest.contains("x-total: 8"), "{rest}");
}

/// Echoes megabytes through windows of a kilobyte, and through those of the crate.
#[tokio::test]
async fn a_large_body_passes_small_windows_unchanged() {
    for window in [1024, 65_535] {
        let mut builder = Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(65_535);
        let target = H2Target::with(builder, |request, respond| async move {
            let body = read_body(request.into_body()).await;
            answer_h2(respond, Response::new(()), body);
        })
        .await;
        let rig = rig(&target).await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 8) as u8).collect();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            sent.len()
        );
        let mut wire = rig.wire(head).await;
        wire.send(&sent).await;
        let response = wire.response().await;
        assert!(response.body == sent, "window {window}");
    }
}

#[tokio::test]
async fn responses_without_content_have_none() {
    let target = H2Target::with(Builder::new(), |request, mut respond| async move {
        let status: u16 = request.uri().path()[1..].parse().unwrap();
        let mut head = Response::builder().status(status);
        if status != 204 {
            head = head.header("content-length", 1234);
        }
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    })
    .await;
    let rig = rig(&target).await;
    for (method, status, length) in [("HEAD", 200, true), ("GET", 304, true), ("GET", 204, false)] {
        let mut wire = rig
            .wire(format!(
                "{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n{GET}"
            ))
            .await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert_eq!(
            head.to_lowercase().contains("content-length: 1234"),
            length,
            "{head}"
        );
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    }
}

#[tokio::test]
async fn a_full_connection_blocks_no_request() {
    let open = Arc::new(Semaphore::new(0));
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let held = Arc::clone(&open);
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrived);
    let target = H2Target::with(builder, move |_, respond| {
        let (held, counted) = (Arc::clone(&held), Arc::clone(&counted));
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            let _permit = held.acquire().await.unwrap();
            answer_h2(respond, Response::new(()), "done");
        }
    })
    .await;
    let rig = rig(&target).await;
    let asked = futures_util::future::join_all((0..9).map(|_| ask(&rig, GET)));
    let opened = async {
        eventually("all requests to be at the target", async || {
            let count = arrived.load(Ordering::SeqCst);
            (count == 9).then_some(()).ok_or(count.to_string())
        })
        .await;
        open.add_permits(9);
    };
    let (answers, ()) = tokio::join!(asked, opened);
    assert!(
        answers.iter().all(|(status, _)| *status == 200),
        "{answers:?}"
    );
    assert!(target.connections() >= 5, "{}", target.connections());
}

/// Accepts requests until there are `count`, and hands them to the caller.
async fn accept(connection: &mut H2Connection, count: usize) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    while accepted.len() < count {
        accepted.push(connection.accept().await.unwrap().unwrap());
    }
    accepted
}

type Accepted = (Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

#[tokio::test]
async fn requests_on_a_connection_that_goes_away_are_answered() {
    // Each connection says GOAWAY with its third request on it; all are answered.
    let target = H2Target::scripted(Builder::new(), |_, mut connection| async move {
        let mut count = 0;
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            count += 1;
            if count == 3 {
                connection.graceful_shutdown();
            }
            tasks.spawn(async move {
                let body = read_body(request.into_body()).await;
                answer_h2(respond, Response::new(()), body);
            });
        }
    })
    .await;
    let rig = rig(&target).await;
    for _ in 0..20 {
        let asked = futures_util::future::join_all((0..10).map(|_| ask(&rig, POST)));
        for (status, text) in asked.await {
            assert_eq!((status, &*text), (200, "body"));
        }
    }
    assert!(target.connections() > 3, "{}", target.connections());
}

/// The frame says that nothing was looked at, whatever the method.
#[tokio::test]
async fn what_a_target_has_not_looked_at_is_sent_again() {
    let target = Backend::raw({
        let count = Arc::new(AtomicUsize::new(0));
        move |stream| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            async move { goes_away_at_once(stream, number).await }
        }
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", HTTP2).await;
    assert_eq!(ask(&rig, POST).await, (200, "body".to_owned()));
    assert_eq!(target.requests(), 3, "two connections went away");
}

/// The first two connections read a request and say GOAWAY with 0 as the last stream.
async fn goes_away_at_once(mut stream: tokio::net::TcpStream, number: usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    if number >= 2 {
        let connection = Builder::new().handshake(stream).await.unwrap();
        serve_h2(connection, |request, respond| async move {
            let body = read_body(request.into_body()).await;
            answer_h2(respond, Response::new(()), body);
        })
        .await;
        return;
    }
    // SETTINGS.
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let mut read = Vec::new();
    while !read.windows(4).any(|bytes| bytes == b"body") {
        stream.read_buf(&mut read).await.unwrap();
    }
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&goaway).await.unwrap();
    let _ = stream.read_to_end(&mut read).await;
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_whatever_its_method() {
    let count = Arc::new(AtomicUsize::new(0));
    let target = H2Target::with(Builder::new(), move |request, mut respond| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            if number < 2 {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let body = read_body(request.into_body()).await;
            answer_h2(respond, Response::new(()), body);
        }
    })
    .await;
    let rig = rig(&target).await;
    assert_eq!(ask(&rig, POST).await, (200, "body".to_owned()));
}

#[tokio::test]
async fn a_reset_before_the_head_has_a_status_and_a_reason() {
    let cases = [
        (Reason::INTERNAL_ERROR, "502", "target_closed"),
        (Reason::CANCEL, "502", "target_closed"),
        (Reason::NO_ERROR, "502", "target_closed"),
        (Reason::ENHANCE_YOUR_CALM, "503", "stream_refused"),
        (Reason::REFUSED_STREAM, "503", "stream_refused"),
        (Reason::HTTP_1_1_REQUIRED, "502", "not_http2"),
    ];
    for (code, status, reason) in cases {
        let target = H2Target::with(Builder::new(), move |_, mut respond| async move {
            respond.send_reset(code);
        })
        .await;
        let rig = rig(&target).await;
        ask(&rig, POST).await;
        let logged = rig.logged(1).await;
        assert_eq!(logged[0].status_and_reason(), (status, reason), "{code:?}");
    }
}

#[tokio::test]
async fn requests_on_a_connection_that_breaks_are_retried_if_that_does_no_harm() {
    for (request, status) in [(GET, 200), (POST, 502)] {
        let target = H2Target::scripted(Builder::new(), |number, mut connection| async move {
            if number == 0 {
                accept(&mut connection, 1).await;
                return;
            }
            serve_h2(connection, |_, respond| async move {
                answer_h2(respond, Response::new(()), "well");
            })
            .await;
        })
        .await;
        let other = H2Target::answering("well").await;
        let rig = Rig::with(&[target.addr(), other.addr()], "", HTTP2).await;
        let asked = [ask(&rig, request).await.0, ask(&rig, request).await.0];
        let expected = [status, 200];
        assert!(asked == expected || asked == [200, status], "{asked:?}");
    }
}

#[tokio::test]
async fn a_target_hears_at_once_that_a_client_has_left() {
    let (sender, mut resets) = mpsc::unbounded_channel();
    let target = H2Target::with(Builder::new(), move |request, mut respond| {
        let sender = sender.clone();
        async move {
            let _request = request;
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream
                .send_data(Bytes::from_static(b"begun"), false)
                .unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
            sender.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let rig = rig(&target).await;
    let mut wire = rig.wire(GET).await;
    wire.head().await;
    wire.reset();
    let reason = soon("a reset", resets.recv()).await.unwrap();
    assert_eq!(reason, Reason::CANCEL);
}

#[tokio::test]
async fn an_early_answer_arrives_though_its_target_reads_no_more() {
    let target = H2Target::with(Builder::new(), |request, mut respond| async move {
        let head = Response::builder().status(413).body(()).unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream
            .send_data(Bytes::from_static(b"too large"), true)
            .unwrap();
        // Resets the stream with NO_ERROR behind the answer (RFC 9113 section 8.1).
        drop(request);
    })
    .await;
    let rig = rig(&target).await;
    for n in 0..20 {
        let mut wire = rig
            .wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            .await;
        wire.send_while_reading(vec![b'x'; 1_000_000]).await;
        let response = wire.response().await;
        assert_eq!(response.status(), 413, "{n}");
        assert_eq!(response.text(), "too large", "{n}");
    }
}

#[tokio::test]
async fn interim_responses_pass() {
    let target = H2Target::with(Builder::new(), |_, mut respond| async move {
        let hints = Response::builder().status(103).header("link", "</a.css>");
        respond.send_informational(hints.body(()).unwrap()).unwrap();
        answer_h2(respond, Response::new(()), "well");
    })
    .await;
    let rig = rig(&target).await;
    let (interim, last) = rig.wire(GET).await.interim_and_final().await;
    assert_eq!(interim.len(), 1);
    assert_eq!(interim[0].status(), 103);
    assert_eq!(interim[0].field("link").unwrap(), "</a.css>");
    assert_eq!(last.text(), "well");
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_broken_off() {
    let target = H2Target::with(Builder::new(), |_, respond| async move {
        let head = Response::builder().header("content-length", 10);
        answer_h2(respond, head.body(()).unwrap(), "short");
    })
    .await;
    let rig = rig(&target).await;
    rig.wire(GET).await.response_or_end().await;
    let logged = rig.logged(1).await;
    let reason = logged[0].status_and_reason().1;
    assert!(
        ["target_body_broken", "malformed_response"].contains(&reason),
        "{reason}"
    );
}

#[tokio::test]
async fn a_target_that_speaks_another_protocol_is_named_as_such() {
    let http1 = Backend::answering("http1").await;
    let rig = Rig::with(&[http1.addr()], "", HTTP2).await;
    let (status, text) = ask(&rig, GET).await;
    assert_eq!(status, 502);
    assert!(text.contains("not_http2"), "{text}");
    assert_eq!(http1.requests(), 0);
}

/// A handshake, and the answer to its key.
const HANDSHAKE: &str = "GET /chat?a=b HTTP/1.1\r\nHost: shop.example\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[tokio::test]
async fn a_websocket_needs_a_target_that_takes_extended_connect() {
    let target = H2Target::answering("well").await;
    let rig = rig(&target).await;
    let (status, text) = ask(&rig, HANDSHAKE).await;
    assert_eq!(status, 501);
    assert!(text.contains("upgrade_not_forwarded"), "{text}");
    assert!(text.contains("RFC 8441"), "{text}");
    let other = HANDSHAKE.replace("websocket", "foo/1");
    assert_eq!(ask(&rig, &other).await.0, 200, "an upgrade may be ignored");
}

/// A target that says something on each WebSocket at once, and then sends back what comes.
async fn echoing() -> (H2Target, mpsc::UnboundedReceiver<Request<()>>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let target = H2Target::with(builder, move |request, mut respond| {
        let sender = sender.clone();
        async move {
            let (parts, mut body) = request.into_parts();
            let is_refused = parts.uri.path() == "/closed";
            sender.send(Request::from_parts(parts, ())).unwrap();
            if is_refused {
                let head = Response::builder().status(403).body(()).unwrap();
                return answer_h2(respond, head, "closed");
            }
            let head = Response::builder().header("sec-websocket-protocol", "chat");
            let mut stream = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            stream
                .send_data(Bytes::from_static(b"\x81\x03yes"), false)
                .unwrap();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                stream.send_data(data, false).unwrap();
            }
            let _ = stream.send_data(Bytes::new(), true);
        }
    })
    .await;
    (target, requests)
}

#[tokio::test]
async fn a_websocket_of_http_1_1_reaches_a_target_of_http_2() {
    let (target, mut requests) = echoing().await;
    let rig = rig(&target).await;
    let mut wire = rig.wire(HANDSHAKE).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let head = head.to_lowercase();
    let accept = format!("sec-websocket-accept: {}", ACCEPT.to_lowercase());
    for field in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-protocol: chat",
        &accept,
    ] {
        assert_eq!(head.matches(field).count(), 1, "{field}: {head}");
    }
    let request = requests.recv().await.unwrap();
    assert_eq!(request.method(), Method::CONNECT);
    let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    let uri = request.uri().to_string();
    assert_eq!(uri, "http://shop.example/chat?a=b");
    for gone in [
        "sec-websocket-key",
        "upgrade",
        "connection",
        "content-length",
    ] {
        assert!(!request.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(request.headers()["sec-websocket-version"], "13");
    assert_eq!(wire.take(5).await, b"\x81\x03yes");
    for _ in 0..3 {
        wire.send(b"\x82\x03abc").await;
        assert_eq!(wire.take(5).await, b"\x82\x03abc");
    }
    wire.finish().await;
    assert_eq!(wire.rest().await, b"");
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("101", ""));
    assert_eq!((log[0].get("received"), log[0].get("sent")), ("15", "20"));
    rig.quiet().await;
}

#[tokio::test]
async fn a_websocket_of_http_2_reaches_a_target_of_http_2() {
    let (target, _requests) = echoing().await;
    let rig = rig(&target).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.open_websocket("http://shop.example/chat").await;
    let response = soon("a head", response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut body = response.into_body();
    let large = Bytes::from(vec![7; 200_000]);
    let sent = send_all(&mut stream, large.clone(), true);
    let received = async {
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.extend_from_slice(&data);
        }
        received
    };
    let (sent, received) = soon("an echo", async { tokio::join!(sent, received) }).await;
    sent.unwrap();
    assert_eq!(received, [&b"\x81\x03yes"[..], &large[..]].concat());
    eventually("nothing is in flight", || async {
        (rig.in_flight() == 0).then_some(()).ok_or(String::new())
    })
    .await;
}

#[tokio::test]
async fn a_refused_websocket_has_the_answer_of_its_target() {
    let (target, _requests) = echoing().await;
    let rig = rig(&target).await;
    let asked = HANDSHAKE.replace("/chat", "/closed");
    assert_eq!(ask(&rig, &asked).await, (403, "closed".to_owned()));
    for wrong in ["Sec-WebSocket-Key: short", "X-Key: none"] {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let status = ask(&rig, &HANDSHAKE.replace(key, wrong)).await.0;
        assert_eq!(status, 400, "{wrong}");
    }
}

/// A WebSocket is closed with the frame of its protocol, and a target that resets its stream ends it.
#[tokio::test]
async fn a_websocket_to_a_target_of_http_2_ends_as_any_other() {
    let (target, _requests) = echoing().await;
    let mut rig = rig(&target).await;
    let mut wire = rig.wire(HANDSHAKE).await;
    wire.head().await;
    assert_eq!(wire.take(5).await, b"\x81\x03yes");
    let other = H2Target::answering("other").await;
    let keys = format!("{HTTP2}\nderegistration_delay = \"0s\"");
    let changed = rig.changed(&[other.addr()], "", &keys);
    rig.lb.reload(&changed).await.unwrap();
    assert_eq!(wire.rest().await, [0x88, 2, 0x03, 0xe9]);
    assert_eq!(rig.logged(1).await[0].get("reason"), "target_released");
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_time_is_over() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let target = H2Target::scripted(Builder::new(), move |_, connection| {
        let counted = Arc::clone(&counted);
        async move {
            serve_h2(connection, |_, respond| async move {
                answer_h2(respond, Response::new(()), "well");
            })
            .await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let keys = format!("{HTTP2}\nupstream = {{ idle_timeout = \"300ms\" }}");
    let rig = Rig::with(&[target.addr()], "", &keys).await;
    assert_eq!(ask(&rig, GET).await.0, 200);
    eventually("the target to see the end", async || {
        let count = ended.load(Ordering::SeqCst);
        (count == 1).then_some(()).ok_or(count.to_string())
    })
    .await;
    assert_eq!(ask(&rig, GET).await.0, 200);
    assert_eq!(target.connections(), 2);
}

/// Its window is full, and that of others is not.
#[tokio::test]
async fn a_client_that_reads_nothing_stops_its_target_and_no_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let target = H2Target::with(Builder::new(), move |request, mut respond| {
        let counted = Arc::clone(&counted);
        async move {
            if request.method() == Method::GET {
                return answer_h2(respond, Response::new(()), "well");
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(16 * 1024);
                let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(capacity)) = capacity else { return };
                stream
                    .send_data(vec![b'x'; capacity].into(), false)
                    .unwrap();
                counted.fetch_add(capacity, Ordering::SeqCst);
            }
        }
    })
    .await;
    let rig = rig(&target).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(
            rig.wire("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                .await,
        );
    }
    let last = AtomicUsize::new(0);
    eventually("the targets to be stopped", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(Ordering::SeqCst);
        let is_still = last.swap(now, Ordering::SeqCst) == now && now > 0;
        is_still.then_some(()).ok_or(now.to_string())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(ask(&rig, GET).await.0, 200);
    }
    assert_eq!(target.connections(), 1);
    drop(stalled);
}

#[tokio::test]
async fn a_removed_target_keeps_its_streams_and_gets_no_new_one() {
    let open = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&open);
    let target = H2Target::with(Builder::new(), move |_, respond| {
        let held = Arc::clone(&held);
        async move {
            let _permit = held.acquire().await.unwrap();
            answer_h2(respond, Response::new(()), "old");
        }
    })
    .await;
    let other = H2Target::answering("new").await;
    let mut rig = rig(&target).await;
    let mut old = rig.wire(GET).await;
    eventually("a request in flight", async || {
        let count = rig.in_flight();
        (count == 1).then_some(()).ok_or(count.to_string())
    })
    .await;
    let changed = rig.changed(&[other.addr()], "", HTTP2);
    rig.lb.reload(&changed).await.unwrap();
    assert_eq!(ask(&rig, GET).await.1, "new");
    open.add_permits(1);
    assert_eq!(old.response().await.text(), "old");
}

/// Not a measure of speed: that nothing is lost between tasks under load.
#[tokio::test]
async fn no_request_is_lost_while_connections_go_away_under_load() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let target = H2Target::scripted(Builder::new(), move |_, mut connection| {
        let counted = Arc::clone(&counted);
        async move {
            let mut tasks = tokio::task::JoinSet::new();
            let mut count = 0;
            while let Some(Ok((request, respond))) = connection.accept().await {
                count += 1;
                if count == 25 {
                    connection.graceful_shutdown();
                }
                counted.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(async move {
                    let body = read_body(request.into_body()).await;
                    answer_h2(respond, Response::new(()), body);
                });
            }
        }
    })
    .await;
    let rig = rig(&target).await;
    let clients = (0..16).map(|_| async {
        let mut wire = Wire::open(rig.addr()).await;
        for _ in 0..100 {
            wire.send(POST).await;
            let response = wire.response().await;
            assert_eq!((response.status(), &*response.text()), (200, "body"));
        }
    });
    futures_util::future::join_all(clients).await;
    assert!(target.connections() > 20, "{}", target.connections());
    assert_eq!(
        served.load(Ordering::SeqCst),
        1600,
        "none was executed twice"
    );
}
