//! Clients that break the rules, on purpose or not. Whatever they send, they get a
//! status and a reason, the log has one line, the target sees nothing of a request
//! that is refused, and no connection, permit or lease stays.

use std::fmt::Write;

use crate::scenario::support::{Backend, Message, Recorder, Rig, answer, eventually};

/// A request that must be refused before a target is chosen.
struct Refused {
    name: &'static str,
    request: Vec<u8>,
    status: u16,
    reason: &'static str,
}

fn refused(name: &'static str, request: impl Into<Vec<u8>>, reason: &'static str) -> Refused {
    let status = match reason {
        "malformed_request" | "bad_host" => 400,
        "method_not_forwarded" => 405,
        "request_body_too_large" => 413,
        "uri_too_long" => 414,
        "request_head_too_large" => 431,
        "not_implemented" => 501,
        "version_not_supported" => 505,
        other => panic!("{other} has no status here"),
    };
    Refused {
        name,
        request: request.into(),
        status,
        reason,
    }
}

/// Sends each case on a connection of its own, then one good request, and checks the
/// responses, the log, the target and the leases.
async fn assert_refused(cases: Vec<Refused>) {
    assert!(!cases.is_empty());
    let target = Recorder::start().await;
    let listener = "client = { max_body = \"1KiB\", head_timeout = \"5s\" }";
    let rig = Rig::with(&[target.addr()], listener, "").await;
    for (index, case) in cases.iter().enumerate() {
        let name = case.name;
        let mut wire = rig.wire(&case.request).await;
        let Some(reply) = wire.response_or_end().await else {
            panic!("{name}: no response");
        };
        let text = reply.text();
        assert_eq!(reply.status(), case.status, "{name}: {reply:?}");
        assert!(reply.complete, "{name}: {reply:?}");
        assert!(text.contains(case.reason), "{name}: {text}");
        let id = reply.field("x-request-id").unwrap_or_default();
        assert!(!id.is_empty() && text.contains(&id), "{name}: {reply:?}");
        let connection = reply.fields("connection");
        assert_eq!(connection, ["close"], "{name}: {reply:?}");
        wire.ends().await;
        let log = rig.logged(index + 1).await;
        let last = log.last().unwrap();
        let expected = (case.status.to_string(), case.reason);
        assert_eq!(
            last.status_and_reason(),
            (expected.0.as_str(), expected.1),
            "{name}"
        );
        assert_eq!(last.get("request_id"), id, "{name}");
        assert_eq!(target.bytes(), "", "{name}: the target saw it");
        drop(wire);
        rig.quiet().await;
    }
    for case in &cases {
        let same = cases.iter().filter(|other| other.reason == case.reason);
        let counted = rig.failures(case.reason).await;
        assert_eq!(counted, same.count() as u64, "{}", case.reason);
    }
    let good = rig.connect().await.get("/").await;
    assert_eq!(good.text(), "ok", "a good request after the bad ones");
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    let request = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let line = |name, line: &str| refused(name, request(line), "malformed_request");
    // RFC 9110 section 15.6.6: another major version is no malformed one.
    let version = |name, line: &str| refused(name, request(line), "version_not_supported");
    assert_refused(vec![
        line("no version, as in HTTP/0.9", "GET /"),
        line("no target", "GET HTTP/1.1"),
        line("words", "this is not HTTP"),
        line("two spaces", "GET  / HTTP/1.1"),
        line("a space at the end", "GET / HTTP/1.1 "),
        line("a space in the target", "GET /a b HTTP/1.1"),
        line("a space in front", " GET / HTTP/1.1"),
        line("a tab for a space", "GET\t/ HTTP/1.1"),
        line("a control character in the target", "GET /a\u{1}b HTTP/1.1"),
        line("NUL in the target", "GET /a\0b HTTP/1.1"),
        line("NUL in the method", "G\0T / HTTP/1.1"),
        line("a separator in the method", "G(T / HTTP/1.1"),
        line("an empty line of spaces", "   "),
        line("a lower-case version", "GET / http/1.1"),
        version("HTTP/2.0", "GET / HTTP/2.0"),
        version("HTTP/0.9 by name", "GET / HTTP/0.9"),
        line("HTTP/11", "GET / HTTP/11"),
        line("HTTP/1.10", "GET / HTTP/1.10"),
        line("a target that is no path", "GET todos HTTP/1.1"),
        line("the target of a CONNECT", "GET example.com:443 HTTP/1.1"),
        line("an asterisk for a path", "GET * HTTP/1.1"),
        line("another scheme", "GET ftp://a/ HTTP/1.1"),
        line("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}"),
    ])
    .await;
}

#[tokio::test]
async fn a_malformed_field_is_refused() {
    let field = |name, field: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        refused(name, request, "malformed_request")
    };
    assert_refused(vec![
        field("a space in the name", "X Y: 1"),
        field("a space before the colon", "X : 1"),
        field("a tab before the colon", "X\t: 1"),
        field("a folded line", "X: 1\r\n 2"),
        field("a line folded with a tab", "X: 1\r\n\t2"),
        field("no colon", "X"),
        field("no name", ": 1"),
        field("NUL in the name", "X\0: 1"),
        field("NUL in the value", "X: 1\x002"),
        field("a control character in the value", "X: 1\u{1}2"),
        field("DEL in the value", "X: 1\u{7f}2"),
        field("CR alone in the value", "X: 1\r2"),
        field("CR alone at the end", "X: 1\r\rY: 2"),
        field("a letter beyond ASCII in the name", "Xé: 1"),
        field("a comma in the name", "X,Y: 1"),
        refused(
            "a space before the first name",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "malformed_request",
        ),
    ])
    .await;
}

/// RFC 9112 section 2.2 lets a recipient take LF alone for the end of a line. Weir does not: others
/// do not either, and see another message then.
#[tokio::test]
async fn a_line_that_ends_in_lf_alone_is_refused() {
    let cases = [
        ("the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("a field line", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        ("the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        ("every line", "GET / HTTP/1.1\nHost: a\n\n"),
        (
            "an empty line before",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
    ];
    let refused = cases.map(|(name, request)| refused(name, request, "malformed_request"));
    assert_refused(refused.into()).await;
}

#[tokio::test]
async fn a_missing_repeated_or_impossible_host_is_refused() {
    let hosts = |name, fields: &str| {
        let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        refused(name, request, "bad_host")
    };
    assert_refused(vec![
        hosts("missing", ""),
        hosts("twice the same", "Host: a\r\nHost: a\r\n"),
        hosts("two", "Host: a\r\nHost: b\r\n"),
        hosts("empty", "Host:\r\n"),
        hosts("blank", "Host:  \r\n"),
        hosts("a list", "Host: a, b\r\n"),
        hosts("with a space", "Host: a b\r\n"),
        hosts("with a path", "Host: a/b\r\n"),
        hosts("with a user", "Host: user@a\r\n"),
        hosts("with a bad port", "Host: a:port\r\n"),
        hosts("with a port too large", "Host: a:65536\r\n"),
        hosts("with a query", "Host: a?b\r\n"),
        hosts("not ASCII", "Host: bücher.example\r\n"),
        hosts("an open bracket", "Host: [::1\r\n"),
        refused(
            "missing beside an absolute target",
            "GET http://a/ HTTP/1.1\r\n\r\n",
            "bad_host",
        ),
        refused(
            "repeated in HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            "bad_host",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_refused() {
    let framed = |name, fields: &str| {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nhello");
        refused(name, request, "malformed_request")
    };
    assert_refused(vec![
        framed("letters", "Content-Length: abc"),
        framed("empty", "Content-Length:"),
        framed("negative", "Content-Length: -5"),
        framed("with a plus", "Content-Length: +5"),
        framed("hexadecimal", "Content-Length: 0x5"),
        framed("a fraction", "Content-Length: 5.0"),
        framed("two numbers", "Content-Length: 5 5"),
        framed("a list that differs", "Content-Length: 5, 6"),
        framed("a list with an empty member", "Content-Length: 5,"),
        framed("beyond 64 bits", "Content-Length: 99999999999999999999"),
        framed("two that differ", "Content-Length: 5\r\nContent-Length: 6"),
    ])
    .await;
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_alone_is_refused() {
    let request = |fields: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        head + "5\r\nhello\r\n0\r\n\r\n"
    };
    // RFC 9112 section 6.3: a request whose last coding is not chunked has no known end.
    let framed = |name, fields: &str| refused(name, request(fields), "malformed_request");
    // RFC 9112 section 6.1: one with an end, and a coding below that is unknown.
    let unknown = |name, fields: &str| refused(name, request(fields), "not_implemented");
    assert_refused(vec![
        framed("unknown", "Transfer-Encoding: gzip"),
        framed("identity", "Transfer-Encoding: identity"),
        framed("chunked not last", "Transfer-Encoding: chunked, gzip"),
        unknown("another below", "Transfer-Encoding: gzip, chunked"),
        unknown("identity below", "Transfer-Encoding: identity, chunked"),
        framed("chunked twice", "Transfer-Encoding: chunked, chunked"),
        framed(
            "chunked in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ),
        framed(
            "identity in a second field",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ),
        framed("nearly chunked", "Transfer-Encoding: xchunked"),
        framed("quoted", "Transfer-Encoding: \"chunked\""),
        framed("a vertical tab", "Transfer-Encoding: \u{b}chunked"),
        framed("with parameters", "Transfer-Encoding: chunked;q=1"),
        framed("empty", "Transfer-Encoding:"),
        refused(
            "in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "malformed_request",
        ),
    ])
    .await;
}

#[tokio::test]
async fn methods_that_no_target_should_see_are_refused() {
    assert_refused(vec![
        refused(
            "CONNECT",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            "method_not_forwarded",
        ),
        refused(
            "TRACE",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "method_not_forwarded",
        ),
    ])
    .await;
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let mut many = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
    for n in 0..100 {
        write!(many, "X-{n}: 1\r\n").unwrap();
    }
    many.push_str("\r\n");
    let path = |length| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length));
    let large = |length| {
        let value = "a".repeat(length);
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n")
    };
    assert_refused(vec![
        refused("a field too many", many, "request_head_too_large"),
        refused(
            "a field too long",
            large(64 * 1024),
            "request_head_too_large",
        ),
        refused(
            "a field much too long",
            large(1 << 20),
            "request_head_too_large",
        ),
        refused("a target too long", path(16 * 1024), "uri_too_long"),
        // RFC 9110 section 15.5.15: what is too long is the target, not its fields.
        refused(
            "a target longer than any head",
            path(80 * 1024),
            "uri_too_long",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_body_that_announces_itself_as_too_long_is_refused() {
    let post = |length: u64, body: usize| {
        let body = "x".repeat(body);
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    assert_refused(vec![
        refused("one byte too many", post(1025, 0), "request_body_too_large"),
        refused("and sent", post(1025, 1025), "request_body_too_large"),
        refused(
            "and waiting to be asked",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n",
            "request_body_too_large",
        ),
        refused(
            "the largest number there is",
            post(u64::MAX - 2, 0),
            "request_body_too_large",
        ),
    ])
    .await;
}

#[tokio::test]
async fn heads_at_the_limits_are_accepted() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut fields = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned();
    for n in 0..99 {
        write!(fields, "X-{n}: 1\r\n").unwrap();
    }
    let requests = [
        fields + "\r\n",
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "a".repeat(16 * 1024 - 1)
        ),
        // RFC 9112 section 2.2: an empty line may come first.
        "\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        // A target in absolute form overrides `Host` (RFC 9112 section 3.2.2).
        "GET http://b/absolute?x=1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /old HTTP/1.0\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n".to_owned(),
        // A higher minor version is read as the highest that is known (RFC 9110 section 2.5).
        "GET /new HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        let mut wire = rig.wire(request).await;
        let reply = wire.response().await;
        assert_eq!(
            (reply.status(), reply.text().as_str()),
            (200, "ok"),
            "{request}"
        );
    }
    let seen = target.requests();
    let line = |n: usize| seen[n].head.lines().next().unwrap().to_owned();
    assert_eq!(line(2), "GET /after HTTP/1.1");
    assert_eq!(line(3), "GET /absolute?x=1 HTTP/1.1");
    assert_eq!(seen[3].fields("host"), ["b"]);
    assert_eq!(line(4), "OPTIONS * HTTP/1.1");
    assert_eq!(line(5), "GET /old HTTP/1.1");
    assert_eq!(seen[5].fields("host"), [rig.addr().to_string()]);
    assert_eq!(line(7), "GET /new HTTP/1.1");
    rig.quiet().await;
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Name, fields and body of requests that others could frame in another way, with another request
/// behind or inside them.
fn ambiguous() -> Vec<(&'static str, String, String)> {
    let chunked = format!("0\r\n\r\n{SMUGGLED}");
    let length = chunked.len();
    vec![
        (
            "Transfer-Encoding after Content-Length",
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            chunked.clone(),
        ),
        (
            "Transfer-Encoding before Content-Length",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
            chunked.clone(),
        ),
        (
            "the same length twice",
            "Content-Length: 5\r\nContent-Length: 5".to_owned(),
            format!("hello{SMUGGLED}"),
        ),
        (
            "the same length in a list",
            "Content-Length: 5, 5".to_owned(),
            format!("hello{SMUGGLED}"),
        ),
        (
            "a length with a zero in front",
            "Content-Length: 05".to_owned(),
            format!("hello{SMUGGLED}"),
        ),
    ]
}

/// The same of requests that all recipients frame alike.
fn clear() -> Vec<(&'static str, String, String)> {
    vec![
        (
            "Content-Length named by Connection",
            "Connection: content-length\r\nContent-Length: 5".to_owned(),
            format!("hello{SMUGGLED}"),
        ),
        (
            "Transfer-Encoding named by Connection",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked".to_owned(),
            format!("5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"),
        ),
        (
            "a body on a GET in disguise",
            "X-HTTP-Method-Override: GET\r\nContent-Length: 5".to_owned(),
            format!("hello{SMUGGLED}"),
        ),
    ]
}

/// The bytes that Weir forwards as one request must be one request for its target. What follows an
/// ambiguous one has no clear start: it is neither answered nor forwarded, and both connections end
/// (RFC 9112 section 6.3).
#[tokio::test]
async fn the_target_frames_an_ambiguous_request_as_weir_does() {
    for (name, fields, rest) in ambiguous() {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let request = format!("POST /first HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}");
        let mut wire = rig.wire(request).await;
        let first = wire.response().await;
        assert_eq!(first.status(), 200, "{name}: {first:?}");
        assert_eq!(first.fields("connection"), ["close"], "{name}");
        wire.ends().await;
        drop(wire);
        rig.quiet().await;
        eventually("the target's connection ends", || async {
            let open = target.backend.open_connections();
            (open == 0).then_some(()).ok_or(format!("{open} open"))
        })
        .await;
        let seen = target.requests();
        assert_eq!(seen.len(), 1, "{name}: {}", target.bytes());
        assert_eq!(framings(&seen[0]), 1, "{name}: {}", target.bytes());
        assert_eq!(seen[0].fields("connection"), ["close"], "{name}");
        assert_eq!(rig.logged(1).await[0].status_and_reason(), ("200", ""));
    }
}

#[tokio::test]
async fn a_request_behind_a_clear_one_is_the_next_one() {
    for (name, fields, rest) in clear() {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let request = format!("POST /first HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}");
        let mut wire = rig.wire(request).await;
        for _ in 0..2 {
            assert_eq!(wire.response().await.status(), 200, "{name}");
        }
        let seen = target.requests();
        let counts: Vec<usize> = seen.iter().map(framings).collect();
        assert_eq!(counts, [1, 0], "{name}: {}", target.bytes());
        assert_eq!(seen[0].text(), "hello", "{name}");
        assert!(seen[1].head.starts_with("GET /smuggled "), "{name}");
        drop(wire);
        rig.quiet().await;
    }
}

fn framings(message: &Message) -> usize {
    message.fields("content-length").len() + message.fields("transfer-encoding").len()
}

/// Bodies that are declared as chunked and are not.
fn badly_chunked() -> Vec<(&'static str, String)> {
    let long = "x".repeat(80 * 1024);
    vec![
        (
            "a size that is no number",
            "xyz\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a size with a prefix",
            "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a size beyond 64 bits",
            "10000000000000005\r\nhello\r\n".to_owned(),
        ),
        (
            "a chunk longer than its size",
            "3\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a size that ends in LF alone",
            "5\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a chunk that ends in LF alone",
            "5\r\nhello\n0\r\n\r\n".to_owned(),
        ),
        (
            "LF in an extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "an extension too long",
            format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "trailers too large",
            format!("5\r\nhello\r\n0\r\nX: {long}\r\n\r\n"),
        ),
        (
            "a malformed trailer",
            "5\r\nhello\r\n0\r\nX Y: 1\r\n\r\n".to_owned(),
        ),
    ]
}

#[tokio::test]
async fn a_body_that_is_not_framed_as_announced_is_answered_400_and_cut_for_the_target() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    for (index, (name, body)) in badly_chunked().iter().enumerate() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut wire = rig.wire(format!("{head}{body}")).await;
        let reply = wire.response().await;
        assert_eq!(reply.status(), 400, "{name}: {reply:?}");
        assert!(
            reply.text().contains("request_body_broken"),
            "{name}: {reply:?}"
        );
        assert_eq!(reply.fields("connection"), ["close"], "{name}: {reply:?}");
        wire.ends().await;
        let log = rig.logged(index + 1).await;
        let result = log[index].status_and_reason();
        assert_eq!(result, ("400", "request_body_broken"), "{name}");
        drop(wire);
        rig.quiet().await;
    }
    eventually("the target's connections are cut", || async {
        let open = target.backend.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
    let taken = target.requests().iter().filter(|r| r.complete).count();
    assert_eq!(
        taken,
        0,
        "no target takes such a body for whole: {}",
        target.bytes()
    );
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_long_is_answered_413() {
    let target = Recorder::start().await;
    let limit = "client = { max_body = \"1KiB\" }";
    let rig = Rig::with(&[target.addr()], limit, "").await;
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = rig.wire(format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!(wire.response().await.status(), 200, "exactly the limit");
    drop(wire);
    let mut wire = rig.wire(format!("{head}{chunk}{chunk}1\r\nx\r\n")).await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 413, "{reply:?}");
    assert_eq!(reply.fields("connection"), ["close"]);
    wire.ends().await;
    let log = rig.logged(2).await;
    assert_eq!(
        log[1].status_and_reason(),
        ("413", "request_body_too_large")
    );
    rig.quiet().await;
    let whole = target.requests().iter().filter(|r| r.complete).count();
    assert_eq!(
        whole, 1,
        "the body that was too long was cut for the target"
    );
}

/// Closing while the client sends would reset its connection, and the response would be lost (RFC
/// 9112 section 9.6).
#[tokio::test]
async fn an_early_413_reaches_a_client_that_is_still_sending() {
    let target = Recorder::start().await;
    let limit = "client = { max_body = \"1KiB\" }";
    let rig = Rig::with(&[target.addr()], limit, "").await;
    let length = 64 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut wire = rig.wire(head).await;
    wire.send_while_reading(vec![b'x'; length]).await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 413, "{reply:?}");
    wire.ends().await;
    rig.logged(1).await;
    rig.quiet().await;
}

/// A client that reads only after it has sent everything, which is no more than what Weir discards.
#[tokio::test]
async fn an_early_413_reaches_a_client_that_reads_late() {
    let target = Recorder::start().await;
    let limit = "client = { max_body = \"1KiB\" }";
    let rig = Rig::with(&[target.addr()], limit, "").await;
    let length = 512 << 10;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut wire = rig.wire(head).await;
    wire.send(vec![b'x'; length]).await;
    let reply = wire.response().await;
    assert_eq!(reply.status(), 413, "{reply:?}");
    wire.ends().await;
    rig.logged(1).await;
    rig.quiet().await;
}

#[tokio::test]
async fn the_good_request_before_a_bad_one_is_answered_first() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let bad = [
        // RFC 9110 section 15.6.6.
        (
            "GET /bad HTTP/9.9\r\nHost: a\r\n\r\n",
            ("505", "version_not_supported"),
        ),
        (
            "GET /bad HTTP/1.1\r\nHo st: a\r\n\r\n",
            ("400", "malformed_request"),
        ),
        ("GET /bad HTTP/1.1\r\n\r\n", ("400", "bad_host")),
        ("garbage\r\n\r\n", ("400", "malformed_request")),
    ];
    for (index, (bad, (status, reason))) in bad.iter().enumerate() {
        let good = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";
        let after = "GET /never HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut wire = rig.wire(format!("{good}{bad}{after}")).await;
        let first = wire.response().await;
        assert_eq!(
            (first.status(), first.text().as_str()),
            (200, "ok"),
            "{bad}"
        );
        let second = wire.response().await;
        assert_eq!(second.status().to_string(), *status, "{bad}: {second:?}");
        assert!(second.text().contains(reason), "{bad}: {second:?}");
        wire.ends().await;
        drop(wire);
        let log = rig.logged(2 * index + 2).await;
        assert_eq!(log[2 * index].status_and_reason(), ("200", ""), "{bad}");
        assert_eq!(
            log[2 * index + 1].status_and_reason(),
            (*status, *reason),
            "{bad}"
        );
        rig.quiet().await;
    }
    assert!(!target.bytes().contains("/bad") && !target.bytes().contains("/never"));
}

/// The response to a bad head is made while the response before it waits for a slow reader. It
/// must still be Weir's response to that head, and be logged.
#[tokio::test]
async fn a_bad_request_behind_a_response_that_is_read_late_gets_its_answer() {
    let body = "x".repeat(8 << 20);
    let sent = bytes::Bytes::from(body.clone());
    let target = Backend::with(move |_| {
        let sent = sent.clone();
        async move { answer(200, sent) }
    })
    .await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig
        .wire("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /bad HTTP/1.1\r\nHo st: a\r\n\r\n")
        .await;
    // When the target has sent all, as much as fits into the buffers was relayed.
    eventually("the response is under way", || async {
        let seen = target.requests();
        (seen == 1).then_some(()).ok_or(format!("{seen}"))
    })
    .await;
    let first = wire.response().await;
    assert_eq!(first.status(), 200);
    assert!(first.text() == body, "the whole body");
    let second = wire.response().await;
    assert_eq!(second.status(), 400);
    assert!(second.text().contains("malformed_request"), "{second:?}");
    wire.ends().await;
    let log = rig.logged(2).await;
    assert_eq!(log[1].status_and_reason(), ("400", "malformed_request"));
    rig.quiet().await;
}
