//! Heads, written.
//!
//! What frames a message and what concerns one connection is never copied from a head: it is
//! written from what the caller has decided. The rest is copied in the order, case and number in
//! which it stands.

use crate::message::{FieldName, Fields, HOP_BY_HOP, NameSet, RequestHead, ResponseHead};

use super::Framing;

/// What a message says about the connection it is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop<'a> {
    /// What is said about the end of the connection.
    pub persistence: Persistence,
    /// The protocols to change to, as the value of an Upgrade field that was read or appended to a
    /// head, so that it can end no line (RFC 9110 section 7.8).
    pub upgrade: Option<&'a [u8]>,
    /// Whether trailers are welcome in the response (RFC 9110 section 10.1.4); requests only.
    pub te_trailers: bool,
}

/// What a message says about the end of its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing, which in HTTP/1.1 means that it goes on.
    #[default]
    Implied,
    /// It ends after this message, or the answer to it.
    Close,
    /// It goes on, said in so many words for a peer of HTTP/1.0.
    KeepAlive,
}

const LENGTH: NameSet = NameSet::of(&[FieldName::ContentLength]);

/// Trailers can be announced only where they can follow.
const TRAILER: NameSet = NameSet::of(&[FieldName::Trailer]);

/// Writes the head of a request. The version is HTTP/1.1, and Host is there (RFC 9112 section 3.2),
/// empty if the head has none. The body of a request cannot end with its connection:
/// [`Framing::UntilClose`] is written as [`Framing::Chunked`].
pub fn encode_request(head: &RequestHead, framing: Framing, hop: &Hop<'_>, out: &mut Vec<u8>) {
    out.reserve(head.fields.text().len() + 128);
    for part in [head.method_name(), b" ", head.target(), b" HTTP/1.1\r\n"] {
        out.extend_from_slice(part);
    }
    if !head.fields.contains(FieldName::Host) {
        out.extend_from_slice(b"Host: \r\n");
    }
    let framing = match framing {
        Framing::UntilClose => Framing::Chunked,
        Framing::None | Framing::Length(_) | Framing::Chunked => framing,
    };
    encode_fields(&head.fields, framing, HOP_BY_HOP.and(LENGTH), out);
    encode_hop(hop, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of a response. The version is HTTP/1.1. A response that ends with its head
/// keeps its Content-Length as information, as an answer to HEAD and a 304 may have it; in 1xx and
/// 204 it is left out (RFC 9110 section 8.6). One that ends with its connection says so.
pub fn encode_response(head: &ResponseHead, framing: Framing, hop: &Hop<'_>, out: &mut Vec<u8>) {
    out.reserve(head.fields.text().len() + 128);
    encode_status_line(head, out);
    let may_inform = head.status() >= 200 && head.status() != 204;
    let is_kept = framing == Framing::None && may_inform;
    let written = if is_kept {
        HOP_BY_HOP
    } else {
        HOP_BY_HOP.and(LENGTH)
    };
    encode_fields(&head.fields, framing, written, out);
    let persistence = match framing {
        Framing::UntilClose => Persistence::Close,
        Framing::None | Framing::Length(_) | Framing::Chunked => hop.persistence,
    };
    let hop = Hop {
        persistence,
        te_trailers: false,
        ..*hop
    };
    encode_hop(&hop, out);
    out.extend_from_slice(b"\r\n");
}

fn encode_status_line(head: &ResponseHead, out: &mut Vec<u8>) {
    let status = head.status();
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
}

fn encode_fields(fields: &Fields, framing: Framing, written: NameSet, out: &mut Vec<u8>) {
    if framing == Framing::Chunked {
        fields.encode(written, out);
    } else {
        fields.encode(written.and(TRAILER), out);
    }
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            encode_decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// RFC 9110 sections 7.6.1 and 10.1.4: Upgrade and TE are named in Connection.
fn encode_hop(hop: &Hop<'_>, out: &mut Vec<u8>) {
    let persistence: &[u8] = match hop.persistence {
        Persistence::Implied => b"",
        Persistence::Close => b"close",
        Persistence::KeepAlive => b"keep-alive",
    };
    let upgrade: &[u8] = if hop.upgrade.is_some() {
        b"upgrade"
    } else {
        b""
    };
    let te: &[u8] = if hop.te_trailers { b"TE" } else { b"" };
    let mut separator: &[u8] = b"Connection: ";
    for option in [persistence, upgrade, te] {
        if !option.is_empty() {
            out.extend_from_slice(separator);
            out.extend_from_slice(option);
            separator = b", ";
        }
    }
    if separator == b", " {
        out.extend_from_slice(b"\r\n");
    }
    if let Some(protocols) = hop.upgrade {
        out.extend_from_slice(b"Upgrade: ");
        out.extend_from_slice(protocols);
        out.extend_from_slice(b"\r\n");
    }
    if hop.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
}

fn encode_decimal(number: u64, out: &mut Vec<u8>) {
    // The largest number has twenty digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
