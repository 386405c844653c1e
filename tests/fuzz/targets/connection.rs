//! A whole connection of a client: heads, bodies, pipelining, and what targets make of it.
//!
//! The input is a script. Its first byte chooses a configuration, and whether the client waits at
//! the end. The rest is cut at every byte 0xFE, and what follows that byte says what a part is:
//!
//! | byte | the part is |
//! |---|---|
//! | `<` | a reply of a target, which stays |
//! | `!` | a reply of a target, which sends no more |
//! | `x` | a reply of a target, which closes |
//! | `w` | a wait, by the letter that follows |
//! | `h` | the end of what the client sends |
//! | `d` | the end of the client |
//! | other | what the client sends |
//!
//! The client reads well-formed responses, never more than it has sent requests, and as many unless
//! something ended the connection. Each target reads well-formed requests, each of which is one of
//! those that the client has sent, with the same body. The connection ends with its client, and no
//! request stays counted.

use std::time::Duration;

use weir::http1::{FieldNames, Limits};
use weir::message::Method;

use crate::codec::reader::{Message, Reader};
use crate::codec::reference;
use crate::codec::world::{Act, Reply, Seen, Then, run as play};

/// A configuration, and what follows from it.
struct Setting {
    config: &'static str,
    limits: Limits,
    /// Whether targets get targets and trailers as they were sent.
    is_plain: bool,
    /// Whether a client that sends no more may get no response.
    aborts_on_close: bool,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        config: include_str!("connection/plain.toml"),
        limits: Limits::REQUEST,
        is_plain: true,
        aborts_on_close: false,
    },
    Setting {
        config: include_str!("connection/changes.toml"),
        limits: Limits {
            field_names: FieldNames::Pass,
            ..Limits::REQUEST
        },
        is_plain: false,
        aborts_on_close: true,
    },
    Setting {
        config: include_str!("connection/limits.toml"),
        limits: Limits::REQUEST,
        is_plain: true,
        aborts_on_close: true,
    },
];

const MARK: u8 = 0xfe;

pub(super) fn run(data: &[u8]) {
    let Some((first, script)) = data.split_first() else {
        return;
    };
    let first = usize::from(*first);
    let setting = &SETTINGS[first % SETTINGS.len()];
    let waits = first / SETTINGS.len() % 2 == 1;
    let (mut acts, mut replies) = (Vec::new(), Vec::new());
    for part in script.split(|byte| *byte == MARK) {
        read_part(part, &mut acts, &mut replies);
    }
    if waits {
        // Until after the last deadline.
        acts.extend([Act::Wait(Duration::from_secs(10)); 30]);
    }
    let seen = play(setting.config, &acts, replies);
    check(setting, &acts, waits, &seen);
}

fn read_part<'i>(part: &'i [u8], acts: &mut Vec<Act<'i>>, replies: &mut Vec<Reply>) {
    let Some((kind, rest)) = part.split_first() else {
        return;
    };
    let mut reply = |then| {
        replies.push(Reply {
            bytes: rest.to_vec(),
            then,
        });
    };
    match kind {
        b'<' => reply(Then::Stay),
        b'!' => reply(Then::Finish),
        b'x' => reply(Then::Close),
        b'w' => acts.push(Act::Wait(wait(rest))),
        b'h' => acts.push(Act::Finish),
        b'd' => acts.push(Act::Leave),
        _ => acts.push(Act::Send(part)),
    }
}

fn wait(text: &[u8]) -> Duration {
    match text.first() {
        Some(b'm') => Duration::from_secs(60),
        Some(b't') => Duration::from_secs(10),
        Some(b's') => Duration::from_secs(1),
        _ => Duration::from_millis(100),
    }
}

/// What a client has sent, as the codec takes it.
struct Sent {
    complete: Vec<Message>,
    /// Of all requests with a complete head.
    methods: Vec<Method>,
}

fn check(setting: &Setting, acts: &[Act<'_>], waits: bool, seen: &Seen) {
    assert_eq!(seen.in_flight, 0, "a request is left behind");
    let mut reader = Reader::of_requests(setting.limits);
    reader.push(&seen.sent);
    let _ = reader.end();
    let sent = Sent {
        complete: reader.messages,
        methods: reader.methods,
    };
    for bytes in &seen.targets {
        check_target(setting, bytes, &sent);
    }
    let leaves = |act: &Act<'_>| match act {
        Act::Leave => true,
        Act::Finish => setting.aborts_on_close,
        _ => false,
    };
    let has_left = acts.iter().any(leaves) || setting.aborts_on_close && !waits;
    check_client(&seen.received, &sent, has_left);
}

/// What a target reads are requests that the client has sent.
fn check_target(setting: &Setting, mut bytes: &[u8], sent: &Sent) {
    while !bytes.is_empty() {
        let (read, rest) = match reference::request(bytes) {
            Ok(request) => request,
            Err(fault) => return check_incomplete(&fault, bytes),
        };
        let is_sent = sent.complete.iter().any(|message| {
            message.body == read.body
                && message.start.0 == read.start.0
                && (!setting.is_plain || message.start == read.start)
                && (!setting.is_plain || read.trailers.iter().all(|t| message.trailers.contains(t)))
        });
        assert!(is_sent, "the client has not sent {read:?}");
        if !reference::values(&read.fields, "upgrade").is_empty() {
            // Anything may follow.
            return;
        }
        bytes = rest;
    }
}

/// A message that was cut off is without fault as far as it goes.
fn check_incomplete(fault: &str, bytes: &[u8]) {
    assert!(
        fault.contains("no end"),
        "{fault}: {}",
        bytes.escape_ascii()
    );
}

/// What the client reads are responses to its requests.
fn check_client(mut bytes: &[u8], sent: &Sent, has_left: bool) {
    let mut answered = 0;
    let mut is_over = false;
    while !bytes.is_empty() {
        assert!(
            !is_over,
            "after the last response: {}",
            bytes.escape_ascii()
        );
        assert!(answered <= sent.methods.len(), "{}", bytes.escape_ascii());
        // What answers no complete head is the last one.
        let method = sent.methods.get(answered).copied().unwrap_or(Method::Get);
        let (read, rest) = match reference::response(bytes, method) {
            Ok(response) => response,
            Err(fault) => return check_incomplete(&fault, bytes),
        };
        let is_tunnel = method == Method::Connect && read.start.0.starts_with(b"2");
        if is_tunnel || read.start.0 == b"101" {
            return;
        }
        if !read.start.0.starts_with(b"1") {
            answered += 1;
            let options = reference::values(&read.fields, "connection");
            is_over = options.iter().any(|option| option == b"close");
        }
        bytes = rest;
    }
    let is_all = answered >= sent.complete.len();
    assert!(is_over || has_left || is_all, "a request has no response");
}
