//! Requests and responses as bytes: what ends a message, what its target may be, and what of it
//! reaches the other side unchanged.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::support::{
    Backend, Recorder, Rig, Wire, eventually, fields_of, read_request, read_request_head, soon,
};

const CHUNKED: &str = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn until_no_connection(target: &Backend) {
    eventually("the connections to the target are closed", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// A regression: LF alone after the last chunk made the next request vanish in the trailers, and
/// the client took the third response for the second (RFC 9112 sections 2.2 and 7.1).
#[tokio::test]
async fn a_request_behind_a_chunked_body_with_lf_alone_is_not_reached() {
    let behind = "GET /second HTTP/1.1\r\nHost: a\r\n\r\nGET /third HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in [
        "0\r\n\n",
        "0\n\r\n",
        "0\n\n",
        "0;a=b\n\r\n",
        "0\r\nX-Sum: 1\n\r\n",
        "0\r\nX-Sum: 1\r\n\n",
        "0\r\nX-Sum: 1\n\n",
        "0\r\n\rX",
    ] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let request = format!("{CHUNKED}5\r\nhello\r\n{end}{behind}");
        let mut wire = rig.wire(request).await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 400, "{end:?}: {reply:?}");
        assert!(
            reply.text().contains("request_body_broken"),
            "{end:?}: {reply:?}"
        );
        assert_eq!(reply.fields("connection"), ["close"], "{end:?}");
        wire.ends().await;
        drop(wire);
        rig.quiet().await;
        until_no_connection(&target.backend).await;
        let seen = target.requests();
        assert!(
            seen.iter().all(|request| !request.complete),
            "{end:?}: {seen:?}"
        );
        let bytes = target.bytes();
        assert!(
            !bytes.contains("/second") && !bytes.contains("/third"),
            "{end:?}: {bytes}"
        );
    }
}

/// RFC 9112 section 7.1.1: a recipient passes over extensions it does not know, and limits their
/// length. They are for one hop.
#[tokio::test]
async fn extensions_of_chunks_are_checked_and_dropped() {
    let longest = format!(";{}", "a".repeat(255));
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b c\"",
        ";a=\"\\\";\"",
        " ; a = b",
        "\t;a",
        ";a;b=c;d=\"e\"",
        &longest,
    ] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig
            .wire(format!(
                "{CHUNKED}5{extension}\r\nhello\r\n0{extension}\r\n\r\n"
            ))
            .await;
        assert_eq!(wire.response().await.text(), "ok", "{extension:?}");
        assert_eq!(target.requests()[0].text(), "hello", "{extension:?}");
        assert!(!target.bytes().contains(';'), "{}", target.bytes());
        // Nothing was left over.
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(wire.response().await.status(), 200, "{extension:?}");
    }
}

#[tokio::test]
async fn extensions_against_their_grammar_or_limits_are_refused() {
    let too_long = format!(";{}", "a".repeat(256));
    let quoted = format!(";a=\"{}\"", "b".repeat(256));
    for extension in [
        ";",
        ";=b",
        ";a=",
        ";a b",
        ";a=b c",
        ";a=\"b",
        ";a=\"\u{1}\"",
        ";\u{e9}",
        " ",
        " a",
        ";a ",
        ";;a",
        ",a",
        &too_long,
        &quoted,
    ] {
        assert_body_is_broken(&format!("5{extension}\r\nhello\r\n0\r\n\r\n")).await;
    }
    // Each of them is short enough, and together they are not.
    let extension = "a".repeat(200);
    assert_body_is_broken(&format!("1;{extension}\r\nx\r\n").repeat(200)).await;
    // As much of them is fine beside as much data.
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let data = "x".repeat(0x200);
    let body = format!("200;{extension}\r\n{data}\r\n").repeat(200);
    let mut wire = rig.wire(format!("{CHUNKED}{body}0\r\n\r\n")).await;
    assert_eq!(wire.response().await.status(), 200);
    assert_eq!(target.requests()[0].body.len(), 200 * 0x200);
}

async fn assert_body_is_broken(body: &str) {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(CHUNKED).await;
    wire.send_while_reading(body).await;
    let reply = wire.response().await;
    let start = &body[..body.len().min(300)];
    assert_eq!(reply.status(), 400, "{start:?}: {reply:?}");
    assert!(
        reply.text().contains("request_body_broken"),
        "{start:?}: {reply:?}"
    );
    wire.ends().await;
    until_no_connection(&target.backend).await;
    let whole = target.requests().iter().any(|request| request.complete);
    assert!(!whole, "{start:?}: {}", target.bytes());
}

/// RFC 9112 section 3.2.2, with the empty path of RFC 9110 section 4.2.3.
#[tokio::test]
async fn an_absolute_target_is_sent_on_as_path_and_query() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let cases = [
        ("GET http://b", "GET /", "b"),
        ("GET http://b/", "GET /", "b"),
        ("GET http://b?x=1", "GET /?x=1", "b"),
        ("GET http://b/?", "GET /?", "b"),
        ("GET HTTP://b.example:81/p?q", "GET /p?q", "b.example:81"),
        ("OPTIONS http://b/p", "OPTIONS /p", "b"),
        // RFC 9112 section 3.2.4: the server as a whole.
        ("OPTIONS http://b", "OPTIONS *", "b"),
    ];
    let mut wire = Wire::open(rig.addr()).await;
    for (index, (line, sent, host)) in cases.into_iter().enumerate() {
        wire.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(wire.response().await.status(), 200, "{line}");
        let seen = &target.requests()[index];
        assert_eq!(
            seen.head.lines().next(),
            Some(&*format!("{sent} HTTP/1.1")),
            "{line}"
        );
        assert_eq!(seen.fields("host"), [host], "{line}");
    }
}

/// RFC 3986 section 3.2.2: the host may be an address in brackets.
#[tokio::test]
async fn an_absolute_target_may_name_an_address_in_brackets() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    for (index, host) in ["[::1]:81", "[2001:db8::1]"].into_iter().enumerate() {
        let request = format!("GET http://{host}/p HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut wire = rig.wire(request).await;
        assert_eq!(wire.response().await.status(), 200, "{host}");
        let seen = &target.requests()[index];
        assert!(seen.head.starts_with("GET /p HTTP/1.1\r\n"), "{seen:?}");
        assert_eq!(seen.fields("host"), [host]);
    }
}

/// RFC 9112 section 3.2: none of the forms. A regression: `http://a#x` reached the target as
/// `GET  HTTP/1.1`.
#[tokio::test]
async fn a_target_of_no_form_is_refused() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    for (index, sent) in [
        "http://a#x",
        "http://a/#",
        "/a#x",
        "/#",
        "#",
        "http://",
        "http:///x",
        "http://:80/x",
        "http://u@a/",
        "http://u:p@a/x",
        "http:a",
        "https:/a",
        "a",
        "?x",
        "/\u{e9}",
        "/%",
        "/%4",
        "/%zz",
    ]
    .into_iter()
    .enumerate()
    {
        let mut wire = rig
            .wire(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 400, "{sent}: {reply:?}");
        wire.ends().await;
        let log = rig.logged(index + 1).await;
        assert_eq!(
            log[index].status_and_reason(),
            ("400", "malformed_request"),
            "{sent}"
        );
    }
    assert_eq!(target.bytes(), "");
}

/// RFC 9112 section 9.3: a client of HTTP/1.0 is kept if it asks.
#[tokio::test]
async fn a_client_of_http_1_0_is_kept_for_responses_of_a_known_length() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for request in [
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        wire.send(request).await;
        let reply = wire.response().await;
        assert_eq!((reply.status(), &*reply.text()), (200, "ok"), "{request}");
        assert_eq!(reply.fields("connection"), ["keep-alive"], "{request}");
        assert_eq!(reply.fields("content-length"), ["2"], "{request}");
    }
    wire.send("GET / HTTP/1.0\r\n\r\n").await;
    let reply = wire.response().await;
    assert_eq!(reply.fields("connection"), ["close"]);
    wire.ends().await;
    assert_eq!(
        target.backend.connections(),
        1,
        "the target speaks HTTP/1.1"
    );
    let seen = target.requests();
    assert!(
        seen.iter()
            .all(|request| request.head.contains(" HTTP/1.1\r\n")),
        "{seen:?}"
    );
    assert_eq!(seen[1].text(), "hello");
}

/// Chunks are unknown to it, and so are trailers (RFC 9112 section 6.1).
#[tokio::test]
async fn a_stream_to_a_client_of_http_1_0_ends_with_its_connection() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                      5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";
        while read_request(&mut stream).await.is_some() {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut wire = rig.wire(format!("GET / HTTP/1.0\r\n{fields}\r\n")).await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "hello world", "{reply:?}");
        assert_eq!(reply.fields("connection"), ["close"], "{reply:?}");
        for name in ["transfer-encoding", "content-length", "trailer"] {
            assert_eq!(reply.fields(name), [""; 0], "{reply:?}");
        }
    }
    let log = rig.logged(2).await;
    assert!(
        log.iter()
            .all(|entry| entry.status_and_reason() == ("200", "")),
        "{log:?}"
    );
    assert_eq!(target.connections(), 1);
}

/// Its end says that all of the body has come, so one that breaks off must end in another way: by a
/// reset.
#[tokio::test]
async fn a_broken_stream_to_a_client_of_http_1_0_ends_in_a_reset() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let target = Backend::raw(move |mut stream| {
        let mut told = told.clone();
        async move {
            read_request(&mut stream).await;
            let start = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
            stream.write_all(start.as_bytes()).await.unwrap();
            told.wait_for(|told| *told).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.0\r\n\r\n").await;
    wire.head().await;
    assert_eq!(wire.take(5).await, b"hello");
    tell.send(true).unwrap();
    let read = soon("the end", wire.stream().read(&mut [0; 64])).await;
    let error = read.expect_err("a reset and not an end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("200", "target_body_broken")
    );
}

/// Answers every request of a connection with these bytes.
async fn answering(answer: &'static str) -> Backend {
    Backend::raw(move |mut stream: TcpStream| async move {
        while read_request(&mut stream).await.is_some() {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// RFC 9112 section 9.3.
#[tokio::test]
async fn a_target_of_http_1_0_is_kept_if_it_says_so() {
    let cases = [
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 3),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
            1,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close, keep-alive\r\n\r\nok",
            3,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            3,
        ),
    ];
    for (answer, connections) in cases {
        let target = answering(answer).await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = Wire::open(rig.addr()).await;
        for _ in 0..3 {
            wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let reply = wire.response().await;
            assert_eq!(reply.text(), "ok", "{answer}");
            assert!(reply.head.starts_with("HTTP/1.1 200 OK\r\n"), "{reply:?}");
            assert_eq!(reply.fields("connection"), [""; 0], "{reply:?}");
        }
        assert_eq!(target.connections(), connections, "{answer}");
    }
}

/// RFC 9110 section 5.3: a proxy must not change the order of fields of one name. The rest is left to
/// client and target as well.
#[tokio::test]
async fn order_case_and_number_of_fields_stay_in_both_directions() {
    const REQUEST: &str = "GET / HTTP/1.1\r\nX-Before: 1\r\nhOsT: a\r\nX-B: 1\r\naccept: */*\r\n\
                           x-b: 2\r\nX-A: 3\r\nX-B: 1\r\nCookie: a=1\r\ncOOKIE: b=2\r\n\
                           x-Odd:   spaced  out \t\r\nX-Latin: \u{fc}\r\n\r\n";
    const RESPONSE: &str = "HTTP/1.1 200 Fine by me\r\nsErVeR: x\r\nSet-Cookie: a=1\r\nX-B: 1\r\n\
                            set-cookie: b=2\r\nx-b: 2\r\nETag: \"1\"\r\nX-B: 1\r\n\r\n";
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let target = Backend::raw(move |mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(read_request_head(&mut stream).await).unwrap();
            stream.write_all(RESPONSE.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(REQUEST).await;
    let response = wire.head().await;
    let request = told.recv().await.unwrap();
    for (sent, came) in [(REQUEST, request), (RESPONSE, response)] {
        // What Weir adds is no line of what was sent.
        let sent: Vec<String> = lines(sent);
        let came: Vec<String> = lines(&came)
            .into_iter()
            .filter(|line| sent.contains(line))
            .collect();
        assert_eq!(came, sent);
    }
}

/// The lines of a head without whitespace around the values, which is no part of them (RFC 9110
/// section 5.5).
fn lines(head: &str) -> Vec<String> {
    let lines = head.trim_end().split("\r\n");
    lines
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{name}: {}", value.trim()),
            None => line.to_owned(),
        })
        .collect()
}

/// A CGI takes one for the other (RFC 3875 section 4.1.18), and sees another end of the body.
#[tokio::test]
async fn look_alikes_of_framing_fields_are_dropped_and_end_the_connection() {
    for field in [
        "Content_Length: 100",
        "Transfer_Encoding: chunked",
        "content.length: 100",
    ] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\nContent-Length: 5\r\n\r\nhello");
        let mut wire = rig
            .wire(format!("{request}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "ok", "{field}");
        assert_eq!(reply.fields("connection"), ["close"], "{field}");
        wire.ends().await;
        let seen = target.requests();
        assert_eq!(seen.len(), 1, "{field}: {seen:?}");
        assert_eq!(seen[0].text(), "hello", "{field}");
        let (name, _) = field.split_once(':').unwrap();
        assert_eq!(seen[0].fields(name), [""; 0], "{field}");
    }
}

/// The content of a GET has no meaning, and some recipients take it for the next request (RFC 9110
/// section 9.3.1).
#[tokio::test]
async fn a_get_with_content_is_the_last_on_its_connection() {
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        for (mode, status, is_last) in [
            ("monitor", 200, false),
            ("defensive", 200, true),
            ("strictest", 400, true),
        ] {
            let target = Recorder::start().await;
            let keys = format!("desync_mitigation = \"{mode}\"");
            let rig = Rig::with(&[target.addr()], &keys, "").await;
            let mut wire = rig
                .wire(format!("GET / HTTP/1.1\r\nHost: a\r\n{body}"))
                .await;
            let reply = wire.response().await;
            assert_eq!(reply.status(), status, "{mode} {body}");
            let closes = !reply.fields("connection").is_empty();
            assert_eq!(closes, is_last, "{mode} {body}");
            if is_last {
                wire.ends().await;
            } else {
                wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                assert_eq!(wire.response().await.status(), 200, "{mode} {body}");
            }
            let seen = target.requests();
            assert_eq!(
                seen.len(),
                usize::from(status == 200) + usize::from(!is_last),
                "{mode}"
            );
            assert!(
                seen.first().is_none_or(|first| first.text() == "hello"),
                "{mode} {body}"
            );
        }
    }
}

/// RFC 9110 section 6.6.1: a server with a clock says the time of its response, and a recipient with
/// a clock adds it to one that it passes on without.
#[tokio::test]
async fn every_response_has_one_date() {
    let without = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let with = answering("HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\n\r\nok").await;
    let rule = "[[listener.rule]]\npriority = 1\nwhen = { path = \"/fixed\" }\n\
                then = { fixed_response = { status = 204 } }\n\
                [[listener.rule]]\npriority = 2\nwhen = { path = \"/away\" }\n\
                then = { redirect = { path = \"/\" } }";
    let rig = Rig::with(&[with.addr()], rule, "").await;
    for line in [
        "GET /fixed HTTP/1.1",
        "HEAD /fixed HTTP/1.1",
        "GET /away HTTP/1.1",
        "TRACE / HTTP/1.1",
        "GET / HTTP/3.0",
        "x",
    ] {
        let mut wire = rig.wire(format!("{line}\r\nHost: a\r\n\r\n")).await;
        let head = wire.head().await;
        let dates = fields_of(&head, "date");
        assert!(
            matches!(&dates[..], [date] if date.ends_with(" GMT")),
            "{line}: {head}"
        );
    }
    let reply = rig
        .wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .response()
        .await;
    assert_eq!(reply.fields("date"), ["then"]);
    let rig = Rig::forward(&[without.addr()]).await;
    let reply = rig
        .wire("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .response()
        .await;
    assert!(
        matches!(&reply.fields("date")[..], [date] if date.ends_with(" GMT")),
        "{reply:?}"
    );
}

/// RFC 9110 section 7.6.2.
#[tokio::test]
async fn a_request_goes_no_further_than_it_says() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    wire.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        .await;
    let reply = wire.response().await;
    assert!(reply.status() < 300, "{reply:?}");
    assert_eq!(target.bytes(), "", "it ends here");
    for (sent, passed) in [("1", "0"), ("10", "9")] {
        wire.send(format!(
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {sent}\r\n\r\n"
        ))
        .await;
        assert_eq!(wire.response().await.text(), "ok");
        assert_eq!(
            target.requests().last().unwrap().fields("max-forwards"),
            [passed]
        );
    }
}

/// The limits of a target's responses are their own, and can be set.
#[tokio::test]
async fn a_response_may_have_as_many_fields_as_are_allowed() {
    let target = Backend::raw(|mut stream| async move {
        while let Some(request) = read_request(&mut stream).await {
            let count: usize = request.field("x-count").unwrap().parse().unwrap();
            let fields = "X-A: b\r\n".repeat(count - 1);
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    for (keys, count) in [("", 1000), ("upstream = { max_fields = 20 }", 20)] {
        let rig = Rig::with(&[target.addr()], "", keys).await;
        for (count, status) in [(count, 200), (count + 1, 502)] {
            let mut wire = rig
                .wire(format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nX-Count: {count}\r\n\r\n"
                ))
                .await;
            let reply = wire.response().await;
            assert_eq!(reply.status(), status, "{count}");
            if status == 200 {
                assert_eq!(reply.fields("x-a").len(), count - 1);
            }
        }
    }
}

/// After a refusal a client is listened to for a second or a mebibyte, so that it can hear of it, and
/// no longer.
#[tokio::test]
async fn a_client_that_sends_without_end_after_a_refusal_is_cut_off() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.1\r\nHo st: a\r\n\r\n").await;
    // Until a write fails: what is on its way fits into the buffers of the sockets.
    let taken = wire.send_until_stuck(Duration::from_secs(5)).await;
    assert!(taken < 24 << 20, "{taken} bytes were taken");
    drop(wire);
    rig.quiet().await;
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("400", "malformed_request")
    );
}

/// However a message is cut on its way, it is the same message.
#[tokio::test]
async fn messages_may_come_byte_by_byte_in_both_directions() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
                      Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nwor\r\n2\r\nld\r\n0\r\n\
                      X-Sum: 1\r\n\r\n";
        while let Some(request) = read_request(&mut stream).await {
            assert_eq!(request.text(), "hello", "{request:?}");
            for byte in answer.bytes() {
                stream.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..3 {
        for byte in format!("{CHUNKED}2;a\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n").bytes() {
            wire.send([byte]).await;
            tokio::task::yield_now().await;
        }
        let (interim, reply) = wire.interim_and_final().await;
        assert_eq!(
            (interim.len(), reply.status(), &*reply.text()),
            (1, 200, "world")
        );
    }
    assert_eq!(target.connections(), 1);
}

/// Bodies and heads that are larger than a buffer, with requests behind them in the same bytes.
#[tokio::test]
async fn large_messages_and_what_is_behind_them_are_kept_apart() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let body = "b".repeat(100_000);
    let value = "v".repeat(30_000);
    let length = body.len();
    let measured = format!(
        "POST /m HTTP/1.1\r\nHost: a\r\nX: {value}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let chunked = format!(
        "{CHUNKED}{length:x}\r\n{body}\r\n0\r\nX: {}\r\n\r\n",
        "t".repeat(7000)
    );
    let get = format!("GET /g HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n");
    let mut wire = Wire::open(rig.addr()).await;
    let requests = [
        &get, &measured, &get, &chunked, &get, &get, &measured, &chunked, &get,
    ];
    wire.send(requests.map(String::as_str).concat()).await;
    for n in 0..requests.len() {
        assert_eq!(wire.response().await.text(), "ok", "{n}");
    }
    let lengths: Vec<usize> = target
        .requests()
        .iter()
        .map(|request| request.body.len())
        .collect();
    assert_eq!(lengths, [0, length, 0, length, 0, 0, length, length, 0]);
    assert!(target.requests().iter().all(|request| request.complete));
}

/// RFC 9112 section 9.6: no request follows one that says close.
#[tokio::test]
async fn a_request_behind_one_that_says_close_is_not_served() {
    for last in [
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n",
        "GET /last HTTP/1.0\r\n\r\n",
    ] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig
            .wire(format!("{last}GET /never HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let reply = wire.response().await;
        assert_eq!(reply.fields("connection"), ["close"], "{last}");
        wire.ends().await;
        rig.quiet().await;
        assert_eq!(target.requests().len(), 1, "{last}");
    }
}
