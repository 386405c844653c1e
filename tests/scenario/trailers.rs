//! Trailers (RFC 9110 section 6.5) pass in both directions, without those that must not be there.

use tokio::io::AsyncWriteExt;

use crate::scenario::support::{Backend, Recorder, Rig, Wire, fields_of, read_request};

/// What frames, routes, authenticates or describes a message has no place in trailers (RFC 9110
/// section 6.5.1), nor what says where a request came from.
const FORBIDDEN: [&str; 16] = [
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: b",
    "Connection: close",
    "Trailer: x-sum",
    "TE: trailers",
    "Authorization: Basic eDp5",
    "Cookie: a=b",
    "Set-Cookie: a=b",
    "Content-Type: text/html",
    "Cache-Control: no-store",
    "Location: /",
    "X-Forwarded-For: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
    "X-Real-IP: 6.6.6.6",
    "Expect: 100-continue",
];

/// The end of a chunked body with trailers, those that are forbidden between the others.
fn end() -> String {
    format!(
        "0\r\nX-Sum: 1\r\n{}\r\nx-SUM: 2\r\n\r\n",
        FORBIDDEN.join("\r\n")
    )
}

const PASSED: &str = "\r\n0\r\nX-Sum: 1\r\nx-SUM: 2\r\n\r\n";

#[tokio::test]
async fn trailers_of_requests_pass_without_the_forbidden_ones() {
    for announced in [
        "",
        "Trailer: X-Sum\r\n",
        "TE: trailers\r\nConnection: TE\r\n",
    ] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\n{announced}Transfer-Encoding: chunked\r\n\r\n");
        let mut wire = rig.wire(format!("{head}5\r\nhello\r\n{}", end())).await;
        assert_eq!(wire.response().await.text(), "ok");
        let bytes = target.bytes();
        assert!(bytes.ends_with(&format!("hello{PASSED}")), "{bytes}");
        let is_announced = !fields_of(&bytes, "trailer").is_empty();
        assert_eq!(is_announced, announced.starts_with("Trailer"), "{bytes}");
        // Nothing was left over.
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(wire.response().await.text(), "ok");
        assert_eq!(target.backend.connections(), 1);
    }
}

/// A CGI takes `X_Real_IP` for `X-Real-IP` in trailers as well (RFC 3875 section 4.1.18).
#[tokio::test]
async fn look_alikes_in_trailers_are_dropped() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let end = "0\r\nX_Real_IP: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nContent_Length: 5\r\n\
               X-Sum: 1\r\n\r\n";
    let mut wire = rig.wire(format!("{head}5\r\nhello\r\n{end}")).await;
    assert_eq!(wire.response().await.text(), "ok");
    let bytes = target.bytes();
    assert!(bytes.ends_with("hello\r\n0\r\nX-Sum: 1\r\n\r\n"), "{bytes}");
}

/// So does a field that is listed as one of identity.
#[tokio::test]
async fn listed_identity_fields_in_trailers_are_dropped() {
    let target = Recorder::start().await;
    let keys = "forwarded = { identity_headers = [\"X-User\"] }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = rig
        .wire(format!("{head}5\r\nhello\r\n0\r\nX-User: root\r\n\r\n"))
        .await;
    assert_eq!(wire.response().await.text(), "ok");
    assert!(!target.bytes().contains("root"), "{}", target.bytes());
}

/// A trusted proxy says what it knows of a certificate in the head.
#[tokio::test]
async fn fields_of_certificates_in_trailers_are_dropped_of_any_peer() {
    let target = Recorder::start().await;
    let keys = "forwarded = { trusted_proxies = [\"127.0.0.0/8\"] }";
    let rig = Rig::with(&[target.addr()], keys, "").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let end = "0\r\nX-Amzn-Mtls-Clientcert-Subject: CN=root\r\nX-Sum: 1\r\n\r\n";
    let mut wire = rig.wire(format!("{head}5\r\nhello\r\n{end}")).await;
    assert_eq!(wire.response().await.text(), "ok");
    let bytes = target.bytes();
    assert!(bytes.ends_with("hello\r\n0\r\nX-Sum: 1\r\n\r\n"), "{bytes}");
}

#[tokio::test]
async fn trailers_of_responses_pass_without_the_forbidden_ones() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{}",
        end()
    );
    let target = Backend::raw(move |mut stream| {
        let answer = answer.clone();
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    for _ in 0..2 {
        let mut wire = rig
            .wire("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        let whole = String::from_utf8(wire.rest().await).unwrap();
        assert!(whole.ends_with(&format!("5\r\nhello{PASSED}")), "{whole}");
    }
    assert_eq!(target.connections(), 1);
    let log = rig.logged(2).await;
    assert!(
        log.iter()
            .all(|entry| entry.status_and_reason() == ("200", "")),
        "{log:?}"
    );
}

/// RFC 9110 section 6.6.2: it announces what may follow.
#[tokio::test]
async fn trailers_are_announced_only_where_they_can_follow() {
    let target = Backend::raw(|mut stream| async move {
        let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nContent-Length: 2\r\n\r\nok";
        while let Some(request) = read_request(&mut stream).await {
            assert_eq!(request.fields("trailer"), [""; 0], "{request:?}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = Wire::open(rig.addr()).await;
    for framing in ["", "Content-Length: 0\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nTrailer: x-sum\r\n{framing}\r\n");
        wire.send(head).await;
        let reply = wire.response().await;
        assert_eq!(reply.text(), "ok", "{reply:?}");
        assert_eq!(reply.fields("trailer"), [""; 0], "{reply:?}");
    }
}
