//! A whole connection of a client that speaks HTTP/2: frames of any kind, in any order.
//!
//! The input is a script behind the preface. Each step begins with a byte:
//!
//! | byte | the step is |
//! |---|---|
//! | 0 to 9 | a frame of that kind: flags, stream, length, payload |
//! | 10 | the head of a GET: flags, stream |
//! | 11 | the head of a POST: flags, stream |
//! | 12 | a second |
//! | other | bytes as they are: length, bytes |
//!
//! The client reads frames of which none is longer than it has allowed, and none belongs to a stream
//! that was ended before. Targets read well-formed requests. The connection ends with its client,
//! and no request stays counted.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::codec::reference;
use crate::codec::world::{Act, Reply, Seen, Then, run as play};

const CONFIG: &str = include_str!("http2/plain.toml");

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// `:method GET`, `:scheme http`, `:path /` by their indexes and `:authority a`.
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";

/// The same with `:method POST`.
const POST: &[u8] = b"\x83\x86\x84\x01\x01a";

const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const MAX_FRAME: usize = 16 * 1024;

pub(super) fn run(data: &[u8]) {
    let steps = read(data);
    let acts = steps.iter().map(|step| match step {
        Step::Send(bytes) => Act::Send(bytes),
        Step::Wait => Act::Wait(Duration::from_secs(1)),
    });
    let acts: Vec<Act<'_>> = [Act::Send(PREFACE)].into_iter().chain(acts).collect();
    let replies = ANSWERS.iter().cycle().take(30).map(|answer| Reply {
        bytes: answer.as_bytes().to_vec(),
        then: Then::Stay,
    });
    let seen = play(CONFIG, &acts, replies.collect());
    check(&seen);
}

enum Step {
    Send(Vec<u8>),
    Wait,
}

fn read(data: &[u8]) -> Vec<Step> {
    let mut data = data.iter().copied();
    let mut steps = Vec::new();
    while let Some(kind) = data.next() {
        let mut next = || data.next().unwrap_or_default();
        let step = match kind {
            0..=9 => {
                let (flags, stream, length) = (next(), next(), next());
                let payload: Vec<u8> = data.by_ref().take(length.into()).collect();
                Step::Send(frame(kind, flags, stream, &payload))
            }
            10 => Step::Send(frame(HEADERS, next() | 4, next(), GET)),
            11 => Step::Send(frame(HEADERS, next() | 4, next(), POST)),
            12 => Step::Wait,
            _ => {
                let length = next();
                Step::Send(data.by_ref().take(length.into()).collect())
            }
        };
        steps.push(step);
    }
    steps
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    bytes.extend_from_slice(payload);
    bytes
}

fn check(seen: &Seen) {
    assert_eq!(seen.in_flight, 0, "a request is left behind");
    for bytes in &seen.targets {
        check_target(bytes);
    }
    check_client(&seen.received);
}

/// What a target reads are requests, the last one perhaps broken off.
fn check_target(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match reference::request(bytes) {
            Ok((_, rest)) => bytes = rest,
            Err(fault) => {
                let text = bytes.escape_ascii();
                assert!(fault.contains("no end"), "{fault}: {text}");
                return;
            }
        }
    }
}

/// What the client reads are frames, the last one perhaps broken off.
fn check_client(mut bytes: &[u8]) {
    let mut ended = BTreeSet::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(length <= MAX_FRAME, "{}", bytes.escape_ascii());
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if matches!(kind, DATA | HEADERS) {
            assert_eq!(stream % 2, 1, "a stream that the client has not opened");
            assert!(!ended.contains(&stream), "stream {stream} was ended");
            if flags & END_STREAM != 0 {
                ended.insert(stream);
            }
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
}
