//! Interim responses (RFC 9110 section 15.2), and clients that wait for one (section 10.1.1).

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::scenario::support::{Backend, Message, Recorder, Rig, Wire, read_request, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn hints_reach_the_client_before_the_response_is_there() {
    let has_it = Arc::new(Notify::new());
    let told = Arc::clone(&has_it);
    let target = Backend::raw(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            while read_request(&mut stream).await.is_some() {
                let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n";
                stream.write_all(hint.as_bytes()).await.unwrap();
                told.notified().await;
                let rest = format!("HTTP/1.1 102 Processing\r\n\r\n{OK}");
                stream.write_all(rest.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..2 {
        wire.send(GET).await;
        let hint = wire.response().await;
        assert_eq!(hint.head.lines().next(), Some("HTTP/1.1 103 Early Hints"));
        assert_eq!(hint.fields("link"), ["</a>", "</b>"]);
        has_it.notify_one();
        let (interim, last) = wire.interim_and_final().await;
        let statuses: Vec<u16> = interim.iter().map(Message::status).collect();
        assert_eq!(statuses, [102]);
        assert_eq!((last.status(), &*last.text()), (200, "ok"));
        assert_eq!(last.fields("link"), [""; 0]);
    }
    assert_eq!(target.connections(), 1);
    assert_eq!(rig.logged(2).await[0].status_and_reason(), ("200", ""));
}

/// RFC 9110 section 15.2: such a client takes the first response for the last.
#[tokio::test]
async fn a_client_of_http_1_0_gets_no_interim_response() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let answer = format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.response().await.text(), "ok");
    let post = "POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello";
    let mut wire = rig.wire(post).await;
    assert_eq!(wire.response().await.text(), "ok");
}

/// RFC 9110 section 7.6.1 holds for every message; section 8.6 for a length in a 1xx.
#[tokio::test]
async fn interim_responses_lose_what_concerns_the_connection_of_the_target() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let hint = "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
                    Keep-Alive: timeout=5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
                    Proxy-Authenticate: Basic\r\nLink: </a>\r\n\r\n";
        stream
            .write_all(format!("{hint}{OK}").as_bytes())
            .await
            .unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let (interim, last) = rig.wire(GET).await.interim_and_final().await;
    assert_eq!(last.text(), "ok");
    let [hint] = &interim[..] else {
        panic!("one hint: {interim:?}");
    };
    assert_eq!(hint.fields("link"), ["</a>"]);
    let left: Vec<&str> = [
        "connection",
        "x-hop",
        "keep-alive",
        "content-length",
        "transfer-encoding",
        "proxy-authenticate",
    ]
    .into_iter()
    .filter(|name| hint.field(name).is_some())
    .collect();
    assert_eq!(left, [""; 0], "{hint:?}");
}

const EXPECT: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// What of a request is there with its head.
async fn head_and_more(stream: &mut TcpStream) -> (String, usize) {
    let mut seen = Vec::new();
    loop {
        let end = seen.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
            return (head, seen.len() - end - 4);
        }
        if stream.read_buf(&mut seen).await.unwrap() == 0 {
            return (String::new(), 0);
        }
    }
}

#[tokio::test]
async fn the_target_decides_that_a_body_is_wanted() {
    let target = Backend::raw(|mut stream| async move {
        loop {
            let (head, more) = head_and_more(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let go_on = "HTTP/1.1 100 Go on\r\nX-Why: because\r\n\r\n";
            stream.write_all(go_on.as_bytes()).await.unwrap();
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            let asked = head.contains("\nexpect: 100-continue");
            let text = format!("{asked} {more} {}", String::from_utf8_lossy(&body));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for _ in 0..2 {
        wire.send(EXPECT).await;
        let go_on = wire.response().await;
        assert_eq!(go_on.status(), 100, "{go_on:?}");
        assert_eq!(go_on.fields("x-why"), ["because"], "the target's own");
        wire.send("hello").await;
        let (interim, last) = wire.interim_and_final().await;
        assert!(interim.is_empty(), "{interim:?}");
        assert_eq!(last.text(), "true 0 hello");
        assert_eq!(last.fields("connection"), [""; 0]);
    }
    assert_eq!(target.connections(), 1, "nothing is left over");
}

#[tokio::test]
async fn a_refusal_is_heard_before_the_body_is_sent() {
    for status in [
        "417 Expectation Failed",
        "401 Unauthorized",
        "303 See Other",
        "200 OK",
    ] {
        let target = Backend::raw(move |mut stream| async move {
            let (head, more) = head_and_more(&mut stream).await;
            let asked = head.contains("\nexpect: 100-continue");
            let text = format!("{asked} {more}");
            let length = text.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // A body that comes all the same would be seen as a second request.
            while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
        })
        .await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig.wire(EXPECT).await;
        let reply = wire.response().await;
        assert_eq!(
            reply.head.lines().next(),
            Some(&*format!("HTTP/1.1 {status}"))
        );
        assert_eq!(reply.text(), "true 0", "{status}");
        // The client may send its body or leave it out, so that nothing can follow.
        assert_eq!(reply.fields("connection"), ["close"], "{status}");
        wire.ends().await;
        let code = &status[..3];
        assert_eq!(rig.logged(1).await[0].status_and_reason(), (code, ""));
        drop(wire);
        rig.quiet().await;
        rig.wire(EXPECT).await.response().await;
        assert_eq!(
            target.connections(),
            2,
            "{status}: nor on the target's connection"
        );
    }
}

/// The client has its 100 from Weir by then, which is one (RFC 9110 section 10.1.1).
#[tokio::test]
async fn a_late_100_of_a_target_is_not_a_second_one() {
    let target = Backend::raw(|mut stream| async move {
        read_request(&mut stream).await;
        let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{OK}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(EXPECT).await;
    assert_eq!(wire.response().await.status(), 100);
    wire.send("hello").await;
    let (interim, last) = wire.interim_and_final().await;
    assert!(interim.is_empty(), "{interim:?}");
    assert_eq!(last.text(), "ok");
}

const EXPECT_CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                              Expect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// RFC 9110 section 10.1.1 lets a client send its body without waiting.
#[tokio::test]
async fn a_client_that_does_not_wait_is_not_held() {
    let target = Recorder::start().await;
    // The body would come too late if it waited for a second.
    let upstream = "upstream = { response_timeout = \"500ms\" }";
    let rig = Rig::with(&[target.addr()], "", upstream).await;
    let mut wire = Wire::open(rig.addr()).await;
    for parts in [
        &[EXPECT, "hello"][..],
        &[&format!("{EXPECT}hello")],
        &[EXPECT_CHUNKED],
    ] {
        for part in parts {
            wire.send(part).await;
        }
        let last = wire.final_response().await;
        assert_eq!((last.status(), &*last.text()), (200, "ok"), "{parts:?}");
        assert_eq!(last.fields("connection"), [""; 0], "{parts:?}");
    }
    let seen = target.requests();
    assert!(
        seen.iter().all(|request| request.text() == "hello"),
        "{seen:?}"
    );
    assert_eq!(target.backend.connections(), 1);
}

/// There is nothing to tell it then.
#[tokio::test]
async fn a_client_that_does_not_wait_gets_no_100() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for request in [&*format!("{EXPECT}hello"), EXPECT_CHUNKED] {
        wire.send(request).await;
        let (interim, last) = wire.interim_and_final().await;
        assert_eq!(last.text(), "ok", "{request}");
        assert!(interim.is_empty(), "{request}: {interim:?}");
    }
}

/// A target that was dying before it said anything has taken nothing of the body either.
#[tokio::test]
async fn an_expectation_is_put_to_the_next_target_if_the_first_is_lost() {
    let dying = Backend::raw(|mut stream| async move {
        head_and_more(&mut stream).await;
    })
    .await;
    let target = Backend::raw(|mut stream| async move {
        let (head, more) = head_and_more(&mut stream).await;
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        stream.write_all(go_on).await.unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        let asked = head.contains("\nexpect: 100-continue");
        let text = format!("{asked} {more} {}", String::from_utf8_lossy(&body));
        let length = text.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let rig = Rig::forward(&[dying.addr(), target.addr()]).await;
    // Until the dying one had its turn as the first.
    for n in 1.. {
        let mut wire = rig.wire(EXPECT.replace("POST", "PUT")).await;
        assert_eq!(wire.response().await.status(), 100);
        wire.send("hello").await;
        let (interim, last) = wire.interim_and_final().await;
        assert!(interim.is_empty(), "{interim:?}");
        assert_eq!((last.status(), &*last.text()), (200, "true 0 hello"));
        if rig.logged(n).await[n - 1].get("attempts") == "2" {
            break;
        }
        assert!(n < 20, "its turn never comes");
    }
}

/// A request that names no body waits for none.
#[tokio::test]
async fn an_expectation_without_a_body_is_passed_on_and_answered() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n",
    ] {
        wire.send(request).await;
        let (interim, last) = wire.interim_and_final().await;
        assert!(interim.is_empty(), "{interim:?}");
        assert_eq!(last.text(), "ok");
    }
    assert_eq!(target.backend.connections(), 1);
}

#[tokio::test]
async fn weir_asks_for_a_body_that_it_needs_itself() {
    let target = Recorder::start().await;
    let group = "algorithm = \"consistent_hash\"\nhash = { body = true }";
    let rig = Rig::with(&[target.addr()], "", group).await;
    let mut wire = rig.wire(EXPECT).await;
    assert_eq!(wire.response().await.status(), 100);
    assert_eq!(target.backend.connections(), 0, "no target is chosen yet");
    wire.send("hello").await;
    let (interim, last) = wire.interim_and_final().await;
    assert!(interim.is_empty(), "{interim:?}");
    assert_eq!(last.text(), "ok");
    assert_eq!(target.requests()[0].text(), "hello");
}

/// What Weir answers itself needs no body either.
#[tokio::test]
async fn a_response_of_weir_itself_is_no_invitation() {
    let target = Recorder::start().await;
    let rule = "[[listener.rule]]\npriority = 1\nwhen = { path = \"/fixed\" }\n\
                then = { fixed_response = { status = 403, body = \"no\" } }";
    let rig = Rig::with(&[target.addr()], rule, "").await;
    let mut wire = rig.wire(EXPECT.replace("POST /", "POST /fixed")).await;
    let reply = wire.response().await;
    assert_eq!((reply.status(), &*reply.text()), (403, "no"));
    assert_eq!(reply.fields("connection"), ["close"]);
    wire.ends().await;
    // Nothing of it is left when the client sends its body after all.
    let mut wire = rig.wire(EXPECT.replace("POST /", "POST /fixed")).await;
    soon("a body", wire.stream().write_all(b"hello"))
        .await
        .unwrap();
    assert_eq!(wire.final_response().await.status(), 403);
    wire.ends().await;
}
