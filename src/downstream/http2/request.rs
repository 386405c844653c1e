//! The heads of requests, as HTTP/1.1 writes them.
//!
//! A request that came over HTTP/2 goes on over HTTP/1.1, or is routed by rules that were written
//! for it. So its head is written as that of an HTTP/1.1 request and read by the one parser that
//! there is: every check, limit and class of an HTTP/1.1 request is its own, and nothing that the
//! target could read otherwise gets past. What HTTP/2 alone has (RFC 9113 section 8.3) is checked
//! before. The `h2` crate has refused pseudo-header fields out of place, names with capitals and
//! fields of a connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::{HeaderMap, Method, Uri, header, request};

use crate::http1::{BodyReader, Framing, Limits, Parsed, Reason, Scan, Violation, parse_request};
use crate::message::{Fields, RequestHead};

/// The protocol of an extended CONNECT that is passed on (RFC 8441 section 5).
const WEBSOCKET: &str = "websocket";

/// Reads the head of a request into `head`; `text` is memory that is used for it. `has_body` is
/// whether the stream goes on after the head.
pub(super) fn read_head(
    parts: &request::Parts,
    has_body: bool,
    limits: &Limits,
    text: &mut Vec<u8>,
    head: &mut RequestHead,
) -> Result<Parsed, Reason> {
    text.clear();
    if is_websocket(parts) {
        write_handshake(parts, text)?;
    } else {
        write_line(parts.method.as_str(), target(parts)?, text)?;
        write_fields(parts, text)?;
        if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
    }
    text.extend_from_slice(b"\r\n");
    match parse_request(text, &mut Scan::new(), limits, head) {
        Ok(Some(parsed)) if parsed.length == text.len() => Ok(parsed),
        Ok(_) => Err(Reason::HeadTooLarge),
        Err(Violation { reason }) => Err(reason),
    }
}

/// Reads trailers, without those that must not be there.
pub(super) fn read_trailers(map: &HeaderMap, limits: &Limits) -> Result<Fields, Reason> {
    let mut text = b"0\r\n".to_vec();
    for (name, value) in map {
        write_field(name.as_str(), value.as_bytes(), &mut text)?;
    }
    text.extend_from_slice(b"\r\n");
    let mut reader = BodyReader::new(Framing::Chunked, limits);
    reader.next(&text).map_err(|violation| violation.reason)?;
    Ok(reader.trailers().cloned().unwrap_or_default())
}

/// Whether it is an extended CONNECT for a WebSocket.
pub(super) fn is_websocket(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<Protocol>();
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET))
}

/// The target as it stands in the first line.
fn target(parts: &request::Parts) -> Result<&str, Reason> {
    let uri = &parts.uri;
    if parts.method == Method::CONNECT {
        return Ok(uri.authority().ok_or(Reason::BadTargetForm)?.as_str());
    }
    let target = path(uri)?;
    match target.as_bytes() {
        // RFC 9113 section 8.3.1: no other forms, and no URI in particular.
        [b'/', ..] => Ok(target),
        b"*" if parts.method == Method::OPTIONS => Ok(target),
        _ => Err(Reason::BadTargetForm),
    }
}

fn path(uri: &Uri) -> Result<&str, Reason> {
    let is_known = |scheme: &str| matches!(scheme, "http" | "https");
    if !uri.scheme_str().is_none_or(is_known) {
        return Err(Reason::UnknownScheme);
    }
    let path = uri.path_and_query().ok_or(Reason::BadTargetForm)?;
    Ok(path.as_str())
}

/// The opening handshake of RFC 6455 section 4.1 in the place of the CONNECT of RFC 8441. Its key
/// is of no use to the client, which has none in HTTP/2.
fn write_handshake(parts: &request::Parts, text: &mut Vec<u8>) -> Result<(), Reason> {
    write_line("GET", path(&parts.uri)?, text)?;
    write_fields(parts, text)?;
    let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
    text.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    write_field("sec-websocket-key", key.as_bytes(), text)
}

fn write_line(method: &str, target: &str, text: &mut Vec<u8>) -> Result<(), Reason> {
    for part in [method, " ", target, " HTTP/1.1"] {
        write(part.as_bytes(), text)?;
    }
    text.extend_from_slice(b"\r\n");
    Ok(())
}

fn write_fields(parts: &request::Parts, text: &mut Vec<u8>) -> Result<(), Reason> {
    write_host(parts, text)?;
    let mut cookies = parts.headers.get_all(header::COOKIE).iter();
    if let Some(first) = cookies.next() {
        // RFC 9113 section 8.2.3: the crumbs are one field.
        write(b"cookie: ", text)?;
        write(first.as_bytes(), text)?;
        for crumb in cookies {
            write(b"; ", text)?;
            write(crumb.as_bytes(), text)?;
        }
        text.extend_from_slice(b"\r\n");
    }
    for (name, value) in &parts.headers {
        if name != header::COOKIE && name != header::HOST {
            write_field(name.as_str(), value.as_bytes(), text)?;
        }
    }
    Ok(())
}

/// RFC 9113 section 8.3.1: `:authority` stands for Host. A Host beside it has to say the same, because
/// the rules would follow one and the target the other.
fn write_host(parts: &request::Parts, text: &mut Vec<u8>) -> Result<(), Reason> {
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    if let Some(authority) = authority {
        write_field("host", authority, text)?;
        let is_same = |host: &http::HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority);
        return match hosts.next() {
            Some(host) if hosts.next().is_some() || !is_same(host) => Err(Reason::DuplicateHost),
            None | Some(_) => Ok(()),
        };
    }
    for host in hosts {
        write_field("host", host.as_bytes(), text)?;
    }
    Ok(())
}

fn write_field(name: &str, value: &[u8], text: &mut Vec<u8>) -> Result<(), Reason> {
    for part in [name.as_bytes(), b": ", value] {
        write(part, text)?;
    }
    text.extend_from_slice(b"\r\n");
    Ok(())
}

/// The library lets nothing pass that ends a line. This does not rely on it.
fn write(part: &[u8], text: &mut Vec<u8>) -> Result<(), Reason> {
    if memchr::memchr2(b'\r', b'\n', part).is_some() {
        return Err(Reason::BareCr);
    }
    text.extend_from_slice(part);
    Ok(())
}
