//! Clients of HTTP/2: a stream is a request as any other.

use bytes::Bytes;
use h2::Reason;
use h2::client::Builder;
use http::{HeaderMap, HeaderValue, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scenario::support::{
    Backend, H2, Recorder, Rig, Wire, eventually, fields_of, get, read_request, read_request_head,
    reply, send_all, soon, with_method,
};

#[tokio::test]
async fn a_request_goes_to_its_target_in_http_1_1() {
    let target = Recorder::start().await;
    let rig = Rig::with(&[target.addr()], "via = \"weir\"", "").await;
    let mut client = H2::open(rig.addr()).await;
    let mut request = get("/todos?done=1");
    let fields = request.headers_mut();
    for (name, value) in [
        ("cookie", "a=1"),
        ("x-a", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ] {
        fields.append(name, HeaderValue::from_static(value));
    }
    let reply = client.ask(request).await;
    assert_eq!((reply.status, &*reply.text()), (200, "ok"));
    assert_eq!(reply.field("content-length"), "2");
    assert!(!reply.field("date").is_empty() && !reply.field("x-request-id").is_empty());
    let bytes = target.bytes();
    assert!(
        bytes.starts_with("GET /todos?done=1 HTTP/1.1\r\n"),
        "{bytes}"
    );
    assert_eq!(fields_of(&bytes, "host"), ["a"]);
    assert_eq!(
        fields_of(&bytes, "cookie"),
        ["a=1; b=2"],
        "RFC 9113 section 8.2.3"
    );
    assert_eq!(fields_of(&bytes, "te"), ["trailers"]);
    assert_eq!(fields_of(&bytes, "via"), ["2.0 weir"]);
    assert_eq!(fields_of(&bytes, "x-forwarded-proto"), ["http"]);
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("200", ""));
    assert_eq!(
        (log[0].get("protocol"), log[0].get("path")),
        ("http2", "/todos")
    );
    let labels = ["protocol=\"http2\"", "code=\"2xx\""];
    assert_eq!(rig.lb.metric("weir_requests_total", &labels).await, 1);
}

#[tokio::test]
async fn many_requests_are_under_way_on_one_connection() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let mut responses = Vec::new();
    for n in 0..50 {
        responses.push(client.begin(get(&format!("/{n}")), true).await.0);
    }
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(target.next_request().await);
    }
    assert_eq!(rig.lb.connections(), 1);
    for request in held.into_iter().rev() {
        request.respond("yes");
    }
    for response in responses {
        let reply = reply(response).await;
        assert_eq!((reply.status, &*reply.text()), (200, "yes"));
    }
    drop(client);
    rig.quiet().await;
}

#[tokio::test]
async fn bodies_pass_in_both_directions_through_small_windows() {
    let target = Backend::raw(|mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                request.body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&request.body).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    for window in [1_000, 65_535, 1 << 20] {
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        let mut client = H2::open_with(rig.addr(), &builder).await;
        for length in ["", "3000000"] {
            let mut request = with_method("POST", "/");
            if !length.is_empty() {
                let value = HeaderValue::from_static(length);
                request.headers_mut().insert("content-length", value);
            }
            let reply = client.send(request, body.clone()).await;
            assert_eq!((reply.status, reply.reset), (200, None));
            assert!(reply.body == body, "the bytes came back changed");
        }
    }
    let log = rig.logged(6).await;
    for entry in log {
        assert_eq!(
            (entry.get("received"), entry.get("sent")),
            ("3000000", "3000000")
        );
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.begin(with_method("POST", "/"), false).await;
    send_all(&mut stream, Bytes::from_static(b"hello"), false)
        .await
        .unwrap();
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("x_real_ip", "6.6.6.6"), ("cookie", "a=b")] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    stream.send_trailers(trailers).unwrap();
    assert_eq!(reply(response).await.status, 200);
    let bytes = target.bytes();
    assert!(bytes.ends_with("hello\r\n0\r\nx-sum: 1\r\n\r\n"), "{bytes}");

    let target = Backend::raw(|mut stream| async move {
        while read_request(&mut stream).await.is_some() {
            let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n\
                          0\r\nX-Sum: 1\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let reply = H2::open(rig.addr()).await.ask(get("/")).await;
    assert_eq!(reply.text(), "hello");
    assert_eq!(reply.field("content-length"), "");
    assert_eq!(reply.trailers.expect("trailers")["x-sum"], "1");
}

#[tokio::test]
async fn responses_without_a_body_end_with_their_head() {
    let target = Backend::raw(|mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let status = request.head.split(['/', ' ']).nth(2).unwrap().to_owned();
            let length = if status == "204" {
                ""
            } else {
                "Content-Length: 7\r\n"
            };
            let head = format!("HTTP/1.1 {status} X\r\n{length}ETag: \"a\"\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    for (method, status, length) in [("HEAD", 200, "7"), ("GET", 204, ""), ("GET", 304, "7")] {
        let request = with_method(method, &format!("/{status}"));
        let (response, _) = client.begin(request, true).await;
        let response = soon("a head", response).await.unwrap();
        assert!(response.body().is_end_stream(), "{method} {status}");
        assert_eq!(response.status().as_u16(), status);
        let said = response.headers().get("content-length");
        assert_eq!(said.map_or("", |said| said.to_str().unwrap()), length);
    }
}

#[tokio::test]
async fn interim_responses_and_expectations_pass() {
    let target = Backend::raw(|mut stream| async move {
        while !read_request_head(&mut stream).await.is_empty() {
            let interim =
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            stream.write_all(interim.as_bytes()).await.unwrap();
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let mut request = with_method("POST", "/");
    for (name, value) in [("expect", "100-continue"), ("content-length", "5")] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let (mut response, mut stream) = client.begin(request, false).await;
    for status in [103, 100] {
        let next = std::future::poll_fn(|cx| response.poll_informational(cx));
        let interim = soon("an interim response", next).await.unwrap().unwrap();
        assert_eq!(interim.status().as_u16(), status);
    }
    send_all(&mut stream, Bytes::from_static(b"hello"), true)
        .await
        .unwrap();
    assert_eq!(reply(response).await.text(), "hello");
}

#[tokio::test]
async fn an_early_answer_arrives_whole_and_the_rest_of_the_request_is_not_wanted() {
    let target = Backend::raw(|mut stream| async move {
        read_request_head(&mut stream).await;
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.begin(with_method("POST", "/"), false).await;
    send_all(&mut stream, Bytes::from_static(b"some"), false)
        .await
        .unwrap();
    let reply = reply(response).await;
    assert_eq!(
        (reply.status, &*reply.text(), reply.reset),
        (403, "no", None)
    );
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
    assert_eq!(soon("a reset", reset).await.unwrap(), Reason::NO_ERROR);
    assert_eq!(client.ask(get("/")).await.status, 403);
}

#[tokio::test]
async fn a_reset_by_the_client_cancels_the_request_at_once() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.begin(get("/slow"), true).await;
    let held = target.next_request().await;
    stream.send_reset(Reason::CANCEL);
    drop(response);
    eventually("the target sees it", || async {
        held.is_abandoned().then_some(()).ok_or("waits".to_owned())
    })
    .await;
    assert_eq!(rig.logged(1).await[0].get("reason"), "client_gone");
    assert_eq!(rig.in_flight(), 0);
    let (response, _) = client.begin(get("/next"), true).await;
    target.next_request().await.respond("yes");
    assert_eq!(reply(response).await.text(), "yes");
}

#[tokio::test]
async fn the_requests_of_a_client_that_dies_are_cancelled() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let _first = client.begin(get("/1"), true).await;
    let _second = client.begin(get("/2"), true).await;
    let held = [target.next_request().await, target.next_request().await];
    client.kill();
    rig.quiet().await;
    assert!(
        held.iter()
            .all(crate::scenario::support::Held::is_abandoned)
    );
    for entry in rig.logged(2).await {
        assert_eq!(entry.get("reason"), "client_gone");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_reset_and_never_ended() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 100]).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, _) = client.begin(get("/"), true).await;
    let reply = reply(response).await;
    assert!(matches!(reply.status, 200 | 502), "{reply:?}");
    if reply.status == 200 {
        assert_eq!(reply.reset, Some(Reason::INTERNAL_ERROR));
    }
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_on_another_target() {
    let refusing = crate::scenario::support::Refusing::new();
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[refusing.addr(), target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    for _ in 0..4 {
        assert_eq!(client.ask(get("/")).await.text(), "there");
    }
}

#[tokio::test]
async fn a_listener_without_http2_refuses_the_preface() {
    let target = Backend::answering("there").await;
    let rig = Rig::with(&[target.addr()], "http2 = false", "").await;
    let mut wire = rig.wire("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(wire.response().await.status(), 505);
    assert_eq!(
        rig.logged(1).await[0].get("reason"),
        "version_not_supported"
    );
}

/// It is a request like any other there, and refused like any other.
#[tokio::test]
async fn the_preface_is_none_after_a_request() {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.response().await.text(), "there");
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(wire.response().await.status(), 505);
}

#[tokio::test]
async fn the_preface_may_come_byte_by_byte() {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        wire.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    wire.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let settings = wire.take(9).await;
    assert_eq!(settings[3], 4, "{settings:?}");
}

#[tokio::test]
async fn the_last_request_of_a_connection_is_announced() {
    let target = Backend::answering("there").await;
    let rig = Rig::with(&[target.addr()], "client = { max_requests = 3 }", "").await;
    let mut client = H2::open(rig.addr()).await;
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).await.status, 200);
    }
    client.ended().await.expect("a close without an error");
    rig.quiet().await;
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_goodbye() {
    let target = Backend::answering("there").await;
    let keys = "client = { idle_timeout = \"300ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut client = H2::open(rig.addr()).await;
    assert_eq!(client.ask(get("/")).await.status, 200);
    client.ended().await.expect("a close without an error");
}

#[tokio::test]
async fn a_drain_lets_requests_finish_and_takes_no_more() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, _) = client.begin(get("/"), true).await;
    let held = target.next_request().await;
    let shutdown = tokio::spawn(rig.lb.shutdown());
    eventually("the client is told", || async {
        let is_open = client.takes_requests().await;
        (!is_open).then_some(()).ok_or("open".to_owned())
    })
    .await;
    held.respond("yes");
    assert_eq!(reply(response).await.text(), "yes");
    assert!(shutdown.await.unwrap(), "graceful");
    client.ended().await.expect("a close without an error");
}

#[tokio::test]
async fn idle_connections_give_way_to_new_clients() {
    let target = Backend::answering("there").await;
    let rig = Rig::with(&[target.addr()], "max_connections = 2", "").await;
    let mut first = H2::open(rig.addr()).await;
    let mut second = H2::open(rig.addr()).await;
    assert_eq!(first.ask(get("/")).await.status, 200);
    assert_eq!(second.ask(get("/")).await.status, 200);
    let mut third = H2::open(rig.addr()).await;
    assert_eq!(third.ask(get("/")).await.status, 200);
    eventually("one of the others has ended", || async {
        let open = [first.takes_requests().await, second.takes_requests().await];
        (open[0] != open[1])
            .then_some(())
            .ok_or(format!("{open:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_request_whose_body_stalls_is_answered_with_408() {
    let target = Recorder::start().await;
    let keys = "client = { body_timeout = \"200ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.begin(with_method("POST", "/"), false).await;
    send_all(&mut stream, Bytes::from_static(b"some"), false)
        .await
        .unwrap();
    let stalled = reply(response).await;
    assert_eq!((stalled.status, stalled.reset), (408, None));
    assert_eq!(client.ask(get("/")).await.status, 200, "the others go on");
    let log = rig.logged(2).await;
    assert_eq!(log[0].get("reason"), "request_body_timeout");
}

#[tokio::test]
async fn a_stream_whose_window_stays_closed_is_reset() {
    let target =
        Backend::with(|_| async { crate::scenario::support::answer(200, vec![b'x'; 1_000_000]) })
            .await;
    let keys = "client = { body_timeout = \"200ms\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut builder = Builder::new();
    builder.initial_window_size(10);
    let mut client = H2::open_with(rig.addr(), &builder).await;
    let (response, _) = client.begin(get("/"), true).await;
    let response = soon("a head", response).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut received = 0;
    let error = loop {
        match soon("the reset", body.data()).await.expect("no clean end") {
            // The window is not given back.
            Ok(data) => received += data.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (received, error.reason()),
        (10, Some(Reason::INTERNAL_ERROR))
    );
    assert_eq!(rig.logged(1).await[0].get("reason"), "client_gone");
    eventually("nothing is in flight", || async {
        (rig.in_flight() == 0).then_some(()).ok_or(String::new())
    })
    .await;
}

/// RFC 8441.
#[tokio::test]
async fn a_websocket_comes_by_extended_connect() {
    let target = Backend::raw(|mut stream| async move {
        let head = read_request_head(&mut stream).await;
        assert!(head.starts_with("GET /chat?a=b HTTP/1.1\r\n"), "{head}");
        assert_eq!(fields_of(&head, "upgrade"), ["websocket"]);
        assert_eq!(fields_of(&head, "connection"), ["upgrade"]);
        assert_eq!(fields_of(&head, "sec-websocket-version"), ["13"]);
        assert_eq!(fields_of(&head, "sec-websocket-key")[0].len(), 24);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: x\r\n\
                      sec-websocket-protocol: chat\r\n\r\nfirst";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.open_websocket("http://a/chat?a=b").await;
    let response = soon("a head", response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let mut body = response.into_body();
    let mut received = soon("bytes", body.data()).await.unwrap().unwrap().to_vec();
    for _ in 0..3 {
        send_all(&mut stream, Bytes::from_static(b"\x82\x03abc"), false)
            .await
            .unwrap();
        let wanted = received.len() + 5;
        while received.len() < wanted {
            let data = soon("an echo", body.data()).await.unwrap().unwrap();
            received.extend_from_slice(&data);
        }
    }
    assert!(received.starts_with(b"first\x82\x03abc"));
    stream.send_data(Bytes::new(), true).unwrap();
    while let Some(data) = soon("the end", body.data()).await {
        assert_eq!(data.unwrap(), "", "nothing but the end");
    }
    let log = rig.logged(1).await;
    assert_eq!(log[0].status_and_reason(), ("101", ""));
    assert_eq!((log[0].get("received"), log[0].get("sent")), ("15", "20"));
}

#[tokio::test]
async fn a_plain_connect_is_not_forwarded() {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let request = Request::builder().method("CONNECT").uri("a:443").body(());
    assert_eq!(client.ask(request.unwrap()).await.status, 405);
}

#[tokio::test]
async fn a_head_beyond_its_limits_is_answered() {
    let target = Backend::answering("there").await;
    let keys = "client = { max_head = \"8KiB\", max_fields = 20, max_body = \"1KiB\" }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let mut client = H2::open(rig.addr()).await;
    let mut large = get("/");
    let value = HeaderValue::from_str(&"x".repeat(9000)).unwrap();
    large.headers_mut().insert("x-large", value);
    let mut many = get("/");
    for n in 0..30 {
        let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
        many.headers_mut()
            .insert(name, HeaderValue::from_static("1"));
    }
    assert_eq!(client.ask(large).await.status, 431);
    assert_eq!(client.ask(many).await.status, 431);
    let body = client.send(with_method("POST", "/"), vec![0; 5000]).await;
    assert_eq!(body.status, 413);
    assert_eq!(client.ask(get("/")).await.status, 200);
    let log = rig.logged(4).await;
    assert_eq!(log[0].get("reason"), "request_head_too_large");
}

/// One of them is as large as the least body that a client may send in any number.
#[tokio::test]
async fn a_body_of_small_frames_arrives() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = H2::open(rig.addr()).await;
    let (response, mut stream) = client.begin(with_method("POST", "/"), false).await;
    for _ in 0..500 {
        send_all(&mut stream, Bytes::from_static(b"0123456789"), false)
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(reply(response).await.status, 200);
    assert_eq!(target.requests()[0].body.len(), 5000);
}
