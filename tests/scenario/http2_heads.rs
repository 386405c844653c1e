//! Heads of HTTP/2 that a target of HTTP/1.1 could read in another way than the rules did: each is
//! refused, or becomes one head with one meaning.

use std::fmt::Write as _;

use crate::scenario::support::{FrameClient, Recorder, Rig, field_block, frame, kind};

/// `END_STREAM` and `END_HEADERS`.
const WHOLE: u8 = 0x5;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The status of its response.
    Status(u16),
    /// The code with which its stream was reset.
    Reset(u32),
    /// The code with which the connection was ended.
    Closed(u32),
}

use Outcome::{Closed, Reset, Status};

const PROTOCOL_ERROR: u32 = 1;

/// Sends a request on a connection of its own.
async fn ask(rig: &Rig, fields: Fields<'_>, body: Option<&str>) -> Outcome {
    let mut client = FrameClient::open(rig.addr()).await;
    let flags = if body.is_some() { 4 } else { WHOLE };
    let head = frame(kind::HEADERS, flags, 1, &field_block(fields));
    client.send(head).await;
    if let Some(body) = body {
        client.send(frame(kind::DATA, 1, 1, body.as_bytes())).await;
    }
    let told = |frame: &crate::scenario::support::Frame| {
        matches!(frame.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY)
    };
    let frame = client.until(told).await.expect("an answer");
    match frame.kind {
        kind::HEADERS => Status(frame.status()),
        kind::RST_STREAM => Reset(frame.error().unwrap()),
        _ => Closed(frame.error().unwrap()),
    }
}

/// The fields of a GET for `/`, with some of them changed or removed (an empty value) and more
/// behind them.
fn with(changes: Fields<'_>) -> Vec<(&str, &str)> {
    let plain = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    let mut fields = Vec::new();
    for (name, value) in plain {
        match changes.iter().find(|(changed, _)| *changed == name) {
            Some((_, "\0none")) => {}
            Some((_, value)) => fields.push((name, *value)),
            None => fields.push((name, value)),
        }
    }
    let more = changes
        .iter()
        .filter(|(name, _)| !plain.iter().any(|(plain, _)| plain == name));
    fields.extend(more.copied());
    fields
}

/// A pseudo-header field that is left out.
const NONE: &str = "\0none";

/// The stream is reset.
const MALFORMED: Outcome = Reset(PROTOCOL_ERROR);

/// The library decodes no further, so that it cannot know what the rest of the connection says.
const REFUSED: Outcome = Closed(PROTOCOL_ERROR);

/// What is changed in a request, and what becomes of it.
#[rustfmt::skip] // a table reads by rows
const CASES: &[(Fields<'_>, Outcome)] = &[
    // Ends of lines and NUL, in values, names and pseudo-header fields.
    (&[("x-a", "1\r\ntransfer-encoding: chunked")], REFUSED),
    (&[("x-a", "1\nhost: b")], REFUSED),
    (&[("x-a", "1\r")], REFUSED),
    (&[("x-a", "1\0")], REFUSED),
    (&[("x-a\r\nx-b", "1")], REFUSED),
    (&[("x-a\n", "1")], REFUSED),
    (&[(":path", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /")], MALFORMED),
    (&[(":path", "/a b")], MALFORMED),
    (&[(":path", "/\t")], MALFORMED),
    (&[(":authority", "a\r\nx: y")], MALFORMED),
    (&[(":authority", "a b")], MALFORMED),
    (&[(":method", "GET / HTTP/1.1\r\nx:")], REFUSED),
    (&[(":method", "GET /admin")], REFUSED),
    (&[(":method", "G\u{e9}T")], REFUSED),
    (&[(":method", "")], REFUSED),
    (&[(":scheme", "http://b/ HTTP/1.1\r\nx:")], MALFORMED),
    (&[(":scheme", "h t")], MALFORMED),
    (&[(":scheme", "ftp")], Status(400)),
    (&[(":scheme", "")], Status(400)),
    // Names.
    (&[("x a", "1")], REFUSED),
    (&[("x-a:", "1")], REFUSED),
    (&[("x-a: 1\r\nx-b", "1")], REFUSED),
    (&[("X-A", "1")], REFUSED),
    (&[("", "1")], REFUSED),
    (&[(":x-a", "1")], REFUSED),
    (&[("x\u{7f}a", "1")], REFUSED),
    // Framing and connections of HTTP/1.1.
    (&[("transfer-encoding", "chunked")], MALFORMED),
    (&[("transfer-encoding", "identity")], MALFORMED),
    (&[("connection", "close")], MALFORMED),
    (&[("connection", "host")], MALFORMED),
    (&[("keep-alive", "timeout=5")], MALFORMED),
    (&[("proxy-connection", "keep-alive")], MALFORMED),
    (&[("upgrade", "h2c")], MALFORMED),
    (&[("te", "gzip")], MALFORMED),
    (&[("te", "trailers, gzip")], MALFORMED),
    (&[("content-length", "5")], MALFORMED),
    (
        &[("content-length", "0"), ("content-length", "5")],
        MALFORMED,
    ),
    (&[("content-length", "+0")], MALFORMED),
    (&[("content-length", "0x0")], MALFORMED),
    (&[("content-length", "")], Status(400)),
    // Targets.
    (&[(":path", "http://b/")], MALFORMED),
    (&[(":path", "//b/x@c")], Status(200)),
    (&[(":path", "x")], MALFORMED),
    (&[(":path", "*")], Status(400)),
    (&[(":path", "?a=b")], Status(400)),
    (&[(":path", "")], MALFORMED),
    (&[(":path", NONE)], MALFORMED),
    (&[(":path", "/a\\b")], Status(400)),
    (&[(":path", "/%zz")], Status(400)),
    (&[(":path", "/\u{e9}")], Status(400)),
    (&[(":path", "/<script>")], MALFORMED),
    (&[(":path", "/%2e%2e/admin")], Status(200)),
    // Hosts.
    (&[(":authority", "user@a")], Status(400)),
    (&[(":authority", "user:secret@a:80")], Status(400)),
    (&[(":authority", "a:99999")], Status(400)),
    (&[(":authority", "a/b")], MALFORMED),
    (&[("host", "b")], Status(400)),
    (&[("host", "a"), ("host", "a")], Status(400)),
    (&[("host", "a"), ("host", "b")], Status(400)),
    (&[("host", "")], Status(400)),
    (&[(":authority", NONE)], Status(400)),
    (&[(":authority", NONE), ("host", "b, c")], Status(400)),
    (
        &[(":authority", NONE), ("host", "b"), ("host", "b")],
        Status(400),
    ),
    (&[(":authority", NONE), ("host", "u@b")], Status(400)),
    // Methods.
    (&[(":method", "TRACE")], Status(405)),
    (&[(":method", "CONNECT")], MALFORMED),
    (
        &[(":method", "CONNECT"), (":path", NONE), (":scheme", NONE)],
        Status(400),
    ),
    (&[(":method", NONE)], MALFORMED),
    (&[(":scheme", NONE)], MALFORMED),
    (&[(":status", "200")], MALFORMED),
    (&[(":protocol", "websocket")], MALFORMED),
];

#[tokio::test]
async fn what_could_be_read_in_two_ways_reaches_no_target() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wrong = String::new();
    let mut forwarded = 0;
    for (changes, expected) in CASES {
        let outcome = ask(&rig, &with(changes), None).await;
        forwarded += usize::from(outcome == Status(200));
        if outcome != *expected {
            writeln!(wrong, "{changes:?}: {outcome:?}, not {expected:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(target.requests().len(), forwarded);
    assert!(!target.bytes().contains("x: y"), "{}", target.bytes());
}

/// Pseudo-header fields after others, or twice (RFC 9113 section 8.3).
#[tokio::test]
async fn pseudo_header_fields_stand_first_and_once() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let late = [
        ("x-a", "1"),
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
    ];
    let mut twice = with(&[]);
    twice.insert(0, (":path", "/admin"));
    for fields in [&late[..], &twice] {
        let outcome = ask(&rig, fields, None).await;
        assert_eq!(outcome, Reset(PROTOCOL_ERROR), "{fields:?}");
    }
    assert_eq!(target.bytes(), "");
}

/// RFC 9113 section 8.1.1: the length that was said has to be that of the frames.
#[tokio::test]
async fn a_body_is_as_long_as_was_said() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let post = |length: &'static str| {
        with(&[(":method", "POST"), ("content-length", "\0")])
            .into_iter()
            .map(move |(name, value)| (name, if value == "\0" { length } else { value }))
            .collect::<Vec<_>>()
    };
    for (length, expected) in [
        ("5", Status(200)),
        ("05", Status(200)),
        ("4", Reset(PROTOCOL_ERROR)),
        ("6", Reset(PROTOCOL_ERROR)),
        ("0", Reset(PROTOCOL_ERROR)),
        ("99999999999999999999", Reset(PROTOCOL_ERROR)),
    ] {
        assert_eq!(
            ask(&rig, &post(length), Some("hello")).await,
            expected,
            "{length}"
        );
    }
    let whole: Vec<_> = target
        .requests()
        .into_iter()
        .filter(|r| r.complete)
        .collect();
    assert!(
        whole.iter().all(|request| request.body == b"hello"),
        "{whole:?}"
    );
    assert!(
        whole
            .iter()
            .all(|request| request.fields("content-length") == ["5"])
    );
}

/// A request smuggled in a body is a body.
#[tokio::test]
async fn a_body_is_never_read_as_a_head() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let smuggled = "0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = with(&[(":method", "POST")]);
    assert_eq!(ask(&rig, &post, Some(smuggled)).await, Status(200));
    let requests = target.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].text(), smuggled);
}

/// As of HTTP/1.1: what a CGI would take for another field is dropped.
#[tokio::test]
async fn what_identifies_a_client_cannot_be_forged() {
    let target = Recorder::start().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let fields = with(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x_real_ip", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("content_length", "6"),
        ("x-forwarded-proto", "https"),
    ]);
    assert_eq!(ask(&rig, &fields, None).await, Status(200));
    let bytes = target.bytes();
    assert!(
        !bytes.contains("6.6.6.6") || bytes.contains("6.6.6.6, 127.0.0.1"),
        "{bytes}"
    );
    assert!(
        !bytes.contains("x_real_ip") && !bytes.contains("https"),
        "{bytes}"
    );
}
