//! What RFC 9113 and RFC 7541 demand of a server, section by section, in frames made by hand.

use std::fmt::Write as _;

use crate::scenario::support::{Backend, Frame, FrameClient, Rig, field_block, frame, kind, soon};
use kind::{
    CONTINUATION, DATA, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};

/// What the `h2` crate says of every frame and head that it cannot read, as it may (RFC 9113 section 7):
/// it stands behind the code that the RFC has for the case.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// What is sent behind a case: an answer shows that the connection has gone on.
const PROBE: [u8; 8] = *b"weirtest";

/// What a server has to do.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// To end the connection, with one of these codes if it says one.
    Connection(&'static [u32]),
    /// To reset the stream with one of these codes, or to end the connection.
    Stream(&'static [u32]),
    /// To answer the request with this status.
    Answer(u16),
    /// To go on as if nothing had come.
    Ignore,
}

use Expected::{Answer, Connection, Ignore, Stream};

struct Case {
    section: &'static str,
    name: &'static str,
    sent: Vec<u8>,
    expected: Expected,
}

fn case(section: &'static str, name: &'static str, sent: &[Vec<u8>], expected: Expected) -> Case {
    Case {
        section,
        name,
        sent: sent.concat(),
        expected,
    }
}

/// What came of a case.
#[derive(Debug)]
enum Outcome {
    Goaway(u32),
    Reset(u32),
    Response(u16),
    WentOn,
    Ended,
}

impl Expected {
    fn is_met_by(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Ignore, Outcome::WentOn) => true,
            (Connection(codes) | Stream(codes), Outcome::Goaway(code))
            | (Stream(codes), Outcome::Reset(code)) => codes.contains(code),
            (Answer(expected), Outcome::Response(status)) => *status == expected,
            _ => false,
        }
    }
}

async fn outcome(rig: &Rig, case: &Case) -> Outcome {
    let mut client = FrameClient::open(rig.addr()).await;
    client.send(&case.sent).await;
    if !matches!(case.expected, Answer(_)) {
        client.send(frame(PING, 0, 0, &PROBE)).await;
    }
    let tells = |frame: &Frame| match frame.kind {
        GOAWAY | RST_STREAM => true,
        HEADERS => matches!(case.expected, Answer(_)),
        PING => matches!(case.expected, Ignore) && frame.payload == PROBE && frame.flags == ACK,
        _ => false,
    };
    let Some(told) = soon(case.name, client.until(tells)).await else {
        return Outcome::Ended;
    };
    match told.kind {
        GOAWAY => Outcome::Goaway(told.error().unwrap()),
        RST_STREAM => Outcome::Reset(told.error().unwrap()),
        HEADERS => Outcome::Response(told.status()),
        _ => Outcome::WentOn,
    }
}

async fn check(cases: Vec<Case>) {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    assert!(!cases.is_empty());
    let mut wrong = String::new();
    for case in &cases {
        let outcome = outcome(&rig, case).await;
        if !case.expected.is_met_by(&outcome) {
            let Case {
                section,
                name,
                expected,
                ..
            } = case;
            writeln!(wrong, "{section} {name}: {outcome:?}, not {expected:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(rig.lb.get("/").await.status, 200);
    rig.quiet().await;
}

fn fields(method: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ]
}

/// A head with more fields.
fn block(method: &'static str, more: &[(&'static str, &'static str)]) -> Vec<u8> {
    field_block(&[&fields(method)[..], more].concat())
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block("GET", &[]))
}

/// The head of a request whose body follows.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block("POST", &[]))
}

fn data(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// What generally works.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn valid_frames_are_understood() {
    let get_block = block("GET", &[]);
    let (first, rest) = get_block.split_at(5);
    let padded = [&[5][..], &get_block, &[0; 5]].concat();
    let weighted = [&[0, 0, 0, 0, 200][..], &get_block].concat();
    let both = [&[5, 0x80, 0, 0, 0, 1][..], &get_block, &[0; 5]].concat();
    let trailers = frame(HEADERS, WHOLE, 1, &field_block(&[("x-sum", "1")]));
    check(vec![
        case("generic/2", "a frame of each kind that may come first", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]), window(0, 100), setting(3, 50), get(1)], Answer(200)),
        case("generic/3.1", "data with padding", &[post(1), data(PADDED | END_STREAM, 1, &[2, b'x', 0, 0])], Answer(200)),
        case("generic/3.1", "several frames of data", &[post(1), data(0, 1, b"x"), data(0, 1, &[]), data(END_STREAM, 1, b"y")], Answer(200)),
        case("generic/3.2", "a head", &[get(1)], Answer(200)),
        case("generic/3.2", "a head with padding", &[frame(HEADERS, WHOLE | PADDED, 1, &padded)], Answer(200)),
        case("generic/3.2", "a head with a priority", &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &weighted)], Answer(200)),
        case("generic/3.2", "both", &[frame(HEADERS, WHOLE | PADDED | WITH_PRIORITY, 1, &both)], Answer(200)),
        case("generic/3.3", "priorities", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), frame(PRIORITY, 0, 3, &[0x80, 0, 0, 1, 255]), frame(PRIORITY, 0, 5, &[0, 0, 0, 5 + 2, 1])], Ignore),
        case("generic/3.4", "a reset", &[post(1), reset(1, 8)], Ignore),
        case("generic/3.5", "settings", &[setting(4, 100), setting(1, 0), setting(1, 4096)], Ignore),
        case("generic/3.8", "a goaway, after which the request is still answered", &[get(1), frame(GOAWAY, 0, 0, &[0; 8])], Answer(200)),
        case("generic/3.9", "window updates", &[post(1), window(0, 1), window(1, 1)], Ignore),
        case("generic/3.10", "continuations", &[frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, 0, 1, &[]), frame(CONTINUATION, END_HEADERS, 1, rest)], Answer(200)),
        case("generic/4", "HEAD", &[frame(HEADERS, WHOLE, 1, &block("HEAD", &[]))], Answer(200)),
        case("generic/4", "POST with trailers", &[post(1), data(0, 1, b"x"), trailers], Answer(200)),
        case("generic/4", "OPTIONS *", &[frame(HEADERS, WHOLE, 1, &field_block(&[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")]))], Answer(200)),
    ])
    .await;
}

/// Sections 3 and 4.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn frames_have_their_sizes_and_flags() {
    let too_large = vec![0; 16_385];
    let huge = [block("GET", &[]), field_block(&[("x-a", "1")]).repeat(3000)].concat();
    check(vec![
        case("4.1", "a frame of an unknown kind", &[frame(0xff, 0xff, 0, &[0; 8])], Ignore),
        case("4.1", "a PING with flags that have no meaning", &[frame(PING, 0xfe, 0, &[0; 8])], Ignore),
        case("4.1", "a PING with the reserved bit", &[frame(PING, 0, 0x8000_0000, &[0; 8])], Ignore),
        case("4.2", "data of 16384 bytes", &[post(1), data(END_STREAM, 1, &[b'x'; 16_384])], Answer(200)),
        case("4.2", "data of more", &[post(1), data(END_STREAM, 1, &too_large)], Stream(&[FRAME_SIZE_ERROR])),
        case("4.2", "a head of more", &[frame(HEADERS, WHOLE, 1, &huge[..16_385])], Connection(&[FRAME_SIZE_ERROR])),
        case("4.3", "a head that cannot be decoded", &[frame(HEADERS, WHOLE, 1, &[0x40, 0x0f, 0xff])], Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR])),
        case("4.3", "a PRIORITY inside a head", &[frame(HEADERS, END_STREAM, 1, &block("GET", &[])), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])], Connection(&[PROTOCOL_ERROR])),
        case("4.3", "another head inside a head", &[frame(HEADERS, END_STREAM, 1, &block("GET", &[])), get(3)], Connection(&[PROTOCOL_ERROR])),
        case("4.3", "a PING inside a head", &[frame(HEADERS, END_STREAM, 1, &block("GET", &[]))], Connection(&[PROTOCOL_ERROR])),
    ])
    .await;
}

/// Section 5.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn streams_have_their_states() {
    let self_dependent = [&[0, 0, 0, 1, 200][..], &block("GET", &[])].concat();
    let cut = &block("GET", &[])[..9];
    check(vec![
        case("5.1", "idle: DATA", &[data(END_STREAM, 1, b"x")], Connection(&[PROTOCOL_ERROR])),
        case("5.1", "idle: RST_STREAM", &[reset(1, 8)], Connection(&[PROTOCOL_ERROR])),
        case("5.1", "idle: WINDOW_UPDATE", &[window(1, 100)], Connection(&[PROTOCOL_ERROR])),
        case("5.1", "idle: CONTINUATION", &[frame(CONTINUATION, END_HEADERS, 1, cut)], Connection(&[PROTOCOL_ERROR])),
        case("5.1", "half-closed: DATA", &[get(1), data(END_STREAM, 1, b"x")], Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "half-closed: HEADERS", &[get(1), get(1)], Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "half-closed: CONTINUATION", &[get(1), frame(CONTINUATION, END_HEADERS, 1, cut)], Connection(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "closed: HEADERS after a reset", &[post(1), reset(1, 8), get(1)], Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "closed: DATA after a reset", &[post(1), reset(1, 8), data(0, 1, b"x")], Stream(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "closed: CONTINUATION after a reset", &[post(1), reset(1, 8), frame(CONTINUATION, 4, 1, cut)], Connection(&[STREAM_CLOSED, PROTOCOL_ERROR])),
        case("5.1", "closed: PRIORITY", &[post(1), reset(1, 8), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])], Ignore),
        case("5.1", "closed: WINDOW_UPDATE", &[post(1), reset(1, 8), window(1, 1)], Ignore),
        case("5.1", "closed: RST_STREAM", &[post(1), reset(1, 8), reset(1, 8)], Ignore),
        case("5.1.1", "an even number", &[get(2)], Connection(&[PROTOCOL_ERROR])),
        case("5.1.1", "a lower number", &[get(5), get(3)], Connection(&[PROTOCOL_ERROR, STREAM_CLOSED])),
        case("5.3.1", "a head that depends on itself", &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &self_dependent)], Stream(&[PROTOCOL_ERROR])),
        case("5.3.1", "a PRIORITY that depends on itself", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 200])], Stream(&[PROTOCOL_ERROR])),
        case("5.4.1", "a faulty PING", &[frame(PING, 0, 3, &[0; 8])], Connection(&[PROTOCOL_ERROR])),
        case("5.5", "an unknown frame", &[frame(0x16, 0, 0, b"x")], Ignore),
        case("5.5", "an unknown frame inside a head", &[frame(HEADERS, END_STREAM, 1, cut), frame(0x16, 0, 1, b"x")], Connection(&[PROTOCOL_ERROR])),
    ])
    .await;
}

/// Sections 6.1 to 6.5.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn frames_of_streams_keep_their_rules() {
    let over_padded = [&[100][..], &block("GET", &[])].concat();
    check(vec![
        case("6.1", "DATA of the connection", &[data(0, 0, b"x")], Connection(&[PROTOCOL_ERROR])),
        case("6.1", "DATA with more padding than there is", &[post(1), data(PADDED | END_STREAM, 1, &[6, b'x', 0, 0, 0, 0])], Connection(&[PROTOCOL_ERROR])),
        case("6.1", "DATA that ends before its padding", &[post(1), data(PADDED, 1, &[])], Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR])),
        case("6.2", "HEADERS of the connection", &[get(0)], Connection(&[PROTOCOL_ERROR])),
        case("6.2", "HEADERS with more padding than there is", &[frame(HEADERS, WHOLE | PADDED, 1, &over_padded)], Connection(&[PROTOCOL_ERROR])),
        case("6.2", "HEADERS too short for a priority", &[frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &[0, 0])], Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR])),
        case("6.3", "PRIORITY of the connection", &[frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1])], Connection(&[PROTOCOL_ERROR])),
        case("6.3", "PRIORITY of four bytes", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 3])], Stream(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.4", "RST_STREAM of the connection", &[reset(0, 8)], Connection(&[PROTOCOL_ERROR])),
        case("6.4", "RST_STREAM of three bytes", &[post(1), frame(RST_STREAM, 0, 1, &[0; 3])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.5", "an acknowledgement with settings", &[frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.5", "SETTINGS of a stream", &[frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 1])], Connection(&[PROTOCOL_ERROR])),
        case("6.5", "SETTINGS of three bytes", &[frame(SETTINGS, 0, 0, &[0; 3])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.5.2", "ENABLE_PUSH of 2", &[setting(2, 2)], Connection(&[PROTOCOL_ERROR])),
        case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", &[setting(4, 1 << 31)], Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR])),
        case("6.5.2", "MAX_FRAME_SIZE of 16383", &[setting(5, 16_383)], Connection(&[PROTOCOL_ERROR])),
        case("6.5.2", "MAX_FRAME_SIZE of 2^24", &[setting(5, 1 << 24)], Connection(&[PROTOCOL_ERROR])),
        case("6.5.2", "an unknown setting", &[setting(0xff, 1)], Ignore),
    ])
    .await;
}

/// Sections 6.6 to 7.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn frames_of_the_connection_keep_their_rules() {
    let get_block = block("GET", &[]);
    let (first, rest) = get_block.split_at(9);
    let part = |flags| frame(CONTINUATION, flags, 1, rest);
    let open = || frame(HEADERS, END_STREAM, 1, first);
    let push = [&2_u32.to_be_bytes()[..], &get_block].concat();
    check(vec![
        case("6.6", "PUSH_PROMISE of a client", &[post(1), frame(PUSH_PROMISE, END_HEADERS, 1, &push)], Connection(&[PROTOCOL_ERROR])),
        case("6.7", "a PING", &[], Ignore),
        case("6.7", "an answer to no PING", &[frame(PING, ACK, 0, &[0; 8])], Ignore),
        case("6.7", "PING of a stream", &[frame(PING, 0, 1, &[0; 8])], Connection(&[PROTOCOL_ERROR])),
        case("6.7", "PING of six bytes", &[frame(PING, 0, 0, &[0; 6])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.8", "GOAWAY of a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], Connection(&[PROTOCOL_ERROR])),
        case("6.8", "GOAWAY of four bytes", &[frame(GOAWAY, 0, 0, &[0; 4])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.9", "a window of the connection that grows by 0", &[window(0, 0)], Connection(&[PROTOCOL_ERROR])),
        case("6.9", "a window of a stream that grows by 0", &[post(1), window(1, 0)], Stream(&[PROTOCOL_ERROR])),
        case("6.9", "WINDOW_UPDATE of three bytes", &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
        case("6.9.1", "a window of the connection beyond 2^31-1", &[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)], Connection(&[FLOW_CONTROL_ERROR])),
        case("6.9.1", "a window of a stream beyond 2^31-1", &[post(1), window(1, 0x7fff_ffff), window(1, 0x7fff_ffff)], Stream(&[FLOW_CONTROL_ERROR])),
        case("6.9.2", "a setting that takes a window beyond 2^31-1", &[post(1), window(1, 0x7fff_0000), setting(4, 0x7fff_ffff)], Connection(&[FLOW_CONTROL_ERROR])),
        case("6.10", "continuations", &[open(), frame(CONTINUATION, 0, 1, &rest[..3]), frame(CONTINUATION, END_HEADERS, 1, &rest[3..])], Answer(200)),
        case("6.10", "DATA inside a head", &[open(), data(0, 1, b"x")], Connection(&[PROTOCOL_ERROR])),
        case("6.10", "CONTINUATION of the connection", &[open(), frame(CONTINUATION, END_HEADERS, 0, rest)], Connection(&[PROTOCOL_ERROR])),
        case("6.10", "CONTINUATION of another stream", &[open(), frame(CONTINUATION, END_HEADERS, 3, rest)], Connection(&[PROTOCOL_ERROR])),
        case("6.10", "CONTINUATION after a whole head", &[post(1), part(END_HEADERS)], Connection(&[PROTOCOL_ERROR])),
        case("6.10", "CONTINUATION after the last one", &[frame(HEADERS, 0, 1, first), part(END_HEADERS), part(END_HEADERS)], Connection(&[PROTOCOL_ERROR])),
        case("6.10", "CONTINUATION after DATA", &[post(1), data(0, 1, b"x"), part(END_HEADERS)], Connection(&[PROTOCOL_ERROR])),
        case("7", "RST_STREAM with an unknown code", &[post(1), reset(1, 0xff)], Ignore),
    ])
    .await;
}

/// Section 8.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn requests_are_well_formed() {
    let head = |fields: &[(&str, &str)]| vec![frame(HEADERS, WHOLE, 1, &field_block(fields))];
    let more = |field: (&'static str, &'static str)| {
        vec![frame(HEADERS, WHOLE, 1, &block("GET", &[field]))]
    };
    let without = |name: &str| {
        let left: Vec<_> = fields("GET")
            .into_iter()
            .filter(|(known, _)| *known != name)
            .collect();
        head(&left)
    };
    let long = |length: &'static str| {
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &block("POST", &[("content-length", length)]),
        )
    };
    let malformed = Stream(&[PROTOCOL_ERROR]);
    check(vec![
        case("8.1", "a second head without the end of the stream", &[post(1), frame(HEADERS, END_HEADERS, 1, &field_block(&[("x-a", "1")]))], malformed),
        case("8.1", "a pseudo-header field in trailers, which goes no further", &[post(1), frame(HEADERS, WHOLE, 1, &field_block(&[(":method", "GET")]))], Answer(200)),
        case("8.1.1", "a longer body than was said", &[long("1"), data(END_STREAM, 1, b"test")], malformed),
        case("8.1.1", "a longer body in two frames", &[long("1"), data(0, 1, b"te"), data(END_STREAM, 1, b"st")], malformed),
        case("8.1.1", "a shorter body than was said", &[long("9"), data(END_STREAM, 1, b"test")], malformed),
        case("8.2", "a name with a capital", &more(("X-A", "1")), malformed),
        case("8.2.1", "a space in a name", &more(("x a", "1")), malformed),
        case("8.2.1", "a line end in a value", &more(("x-a", "1\r\n2")), malformed),
        case("8.2.2", "Connection", &more(("connection", "keep-alive")), malformed),
        case("8.2.2", "Transfer-Encoding", &more(("transfer-encoding", "chunked")), malformed),
        case("8.2.2", "TE other than trailers", &more(("te", "trailers, deflate;q=0.5")), malformed),
        case("8.3", "an unknown pseudo-header field", &more((":test", "1")), malformed),
        case("8.3", "one of a response", &more((":status", "200")), malformed),
        case("8.3", "one behind a field", &[frame(HEADERS, WHOLE, 1, &field_block(&[("x-a", "1"), (":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]))], malformed),
        case("8.3.1", "no :method", &without(":method"), malformed),
        case("8.3.1", "no :scheme", &without(":scheme"), malformed),
        case("8.3.1", "no :path", &without(":path"), malformed),
        case("8.3.1", "an empty :path", &head(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")]), malformed),
        case("8.3.1", "two of :method", &more((":method", "GET")), malformed),
        case("8.3.1", "two of :scheme", &more((":scheme", "http")), malformed),
        case("8.3.1", "two of :path", &more((":path", "/")), malformed),
        case("8.5", "CONNECT with a path", &[frame(HEADERS, WHOLE, 1, &block("CONNECT", &[]))], malformed),
        case("8.4", "PUSH_PROMISE", &[frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])], Connection(&[PROTOCOL_ERROR])),
    ])
    .await;
}

/// RFC 7541.
#[tokio::test]
#[rustfmt::skip] // a table reads by rows
async fn heads_are_compressed_by_the_rules() {
    let with = |tail: &[u8]| {
        vec![frame(
            HEADERS,
            WHOLE,
            1,
            &[&block("GET", &[]), tail].concat(),
        )]
    };
    let before = |start: &[u8]| {
        vec![frame(
            HEADERS,
            WHOLE,
            1,
            &[start, &block("GET", &[])].concat(),
        )]
    };
    let error = Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);
    check(vec![
        case("2.3.3", "an index beyond the tables", &with(&[0xc6]), error),
        case("2.3.3", "a name beyond the tables", &with(&[0x7f, 0x07, 0x01, b'x']), error),
        case("4.2", "a change of the table at the end", &with(&[0x20]), error),
        case("4.2", "a change of the table at the beginning", &before(&[0x20]), Answer(200)),
        case("4.2", "two of them", &before(&[0x20, 0x3f, 0x01]), Answer(200)),
        case("5.1", "a number without end", &with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), error),
        case("5.2", "padding of more than seven bits", &with(&[0, 4, b't', b'e', b's', b't', 0x84, 0x8e, 0xb4, 0xff, 0xff]), error),
        case("5.2", "padding of zeros", &with(&[0, 4, b't', b'e', b's', b't', 0x83, 0x49, 0x50, 0x90]), error),
        case("5.2", "the end of a string inside it", &with(&[0, 4, b't', b'e', b's', b't', 0x8a, 0x49, 0x52, 0xff, 0xff, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xfc]), error),
        case("6.1", "index 0", &with(&[0x80]), error),
        case("6.2", "a value longer than the frame", &with(&[0, 1, b'x', 0x7f, 0xff, 0x10]), error),
        case("6.3", "a larger table than was allowed", &before(&[0x3f, 0xe1, 0xff, 0x03]), error),
    ])
    .await;
}

/// Section 6.5.3: settings are acknowledged, and the last of several values holds.
#[tokio::test]
async fn settings_are_applied_in_their_order() {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut client = FrameClient::open(rig.addr()).await;
    let sizes = [0, 4, 0, 0, 0, 100, 0, 4, 0, 0, 0, 1];
    client.send(frame(SETTINGS, 0, 0, &sizes)).await;
    let acknowledged = client.until(|f| f.kind == SETTINGS && f.flags == ACK).await;
    assert!(acknowledged.is_some());
    client.send(get(1)).await;
    let first = client.until(|f| f.kind == DATA).await.expect("data");
    assert_eq!(first.payload, b"t", "section 6.9.1");
    // Section 6.9.2: windows of streams change with the setting, below zero as well.
    client.send(setting(4, 3)).await;
    let second = client.until(|f| f.kind == DATA).await.expect("data");
    assert_eq!(second.payload, b"he");
    client.send([setting(4, 0), window(1, 3)].concat()).await;
    client.send(frame(PING, 0, 0, &PROBE)).await;
    let next = client.until(|f| matches!(f.kind, DATA | PING)).await;
    assert_eq!(
        next.expect("an answer").kind,
        PING,
        "the window is still empty"
    );
    client.send(window(1, 100)).await;
    let last = client.until(|f| f.kind == DATA).await.expect("data");
    assert_eq!((last.payload, last.flags), (b"re".to_vec(), END_STREAM));
}

/// Section 3.4: the preface has to be whole, and right.
#[tokio::test]
async fn a_wrong_preface_is_none() {
    let target = Backend::answering("there").await;
    let rig = Rig::forward(&[target.addr()]).await;
    for wrong in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = FrameClient::silent(rig.addr()).await;
        client.send(wrong).await;
        client.ends().await;
    }
}
