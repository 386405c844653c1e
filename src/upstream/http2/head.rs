//! Heads and trailers, from and to the types of the `h2` crate.

use h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, response};

use crate::http1::Hop;
use crate::message::{
    BodyLength, FieldName, Fields, NOT_IN_HTTP2, NameSet, NotConvertible, RequestHead, ResponseHead,
};
use crate::model::Failure;

/// Host is the authority.
const LEFT_OUT: NameSet = NOT_IN_HTTP2.and(NameSet::of(&[FieldName::Host]));

/// Of the handshake over HTTP/1.1 alone (RFC 8441 section 5).
const OF_HANDSHAKE: NameSet = NameSet::of(&[FieldName::SecWebSocketKey, FieldName::ContentLength]);

/// The head of a request as a target of HTTP/2 gets it: Host is its authority.
pub(super) fn request(
    head: &RequestHead,
    length: BodyLength,
    hop: &Hop<'_>,
    scheme: &'static str,
) -> Result<Request<()>, Failure> {
    let method = Method::from_bytes(head.method_name());
    let method = method.map_err(|_| Failure::MalformedRequest)?;
    let mut request = of_method(method, head, scheme, LEFT_OUT)?;
    let map = request.headers_mut();
    if hop.te_trailers {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match length {
        BodyLength::Exact(length) => {
            map.insert(header::CONTENT_LENGTH, length.into());
        }
        // Said in so many words, as by a POST without content (RFC 9110 section 8.6).
        BodyLength::Empty if head.fields.contains(FieldName::ContentLength) => {
            map.insert(header::CONTENT_LENGTH, 0.into());
        }
        BodyLength::Empty | BodyLength::Unknown => {}
    }
    Ok(request)
}

/// The head that asks for a WebSocket, in the place of the handshake of HTTP/1.1 (RFC 8441 section 5).
pub(super) fn connect(head: &RequestHead, scheme: &'static str) -> Result<Request<()>, Failure> {
    let mut request = of_method(Method::CONNECT, head, scheme, LEFT_OUT.and(OF_HANDSHAKE))?;
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    Ok(request)
}

fn of_method(
    method: Method,
    head: &RequestHead,
    scheme: &'static str,
    left_out: NameSet,
) -> Result<Request<()>, Failure> {
    let mut request = Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = method;
    *request.uri_mut() = uri(head, scheme)?;
    head.fields
        .add_to(request.headers_mut(), left_out)
        .map_err(|_| Failure::MalformedRequest)?;
    Ok(request)
}

pub(super) fn is_websocket(protocols: &[u8]) -> bool {
    protocols.eq_ignore_ascii_case(b"websocket")
}

fn uri(head: &RequestHead, scheme: &'static str) -> Result<Uri, Failure> {
    let host = head.fields.get(FieldName::Host).unwrap_or_default();
    Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(head.target())
        .build()
        .map_err(|_| Failure::MalformedRequest)
}

/// The head of a response. Fails if it is none that may pass.
pub(super) fn response(
    parts: &response::Parts,
    max_fields: usize,
    head: &mut ResponseHead,
) -> Result<(), NotConvertible> {
    head.clear();
    // RFC 9113 section 8.6: there is no switch of protocols.
    if parts.headers.len() > max_fields || parts.status.as_u16() == 101 {
        return Err(NotConvertible);
    }
    head.set_status(parts.status.as_u16())?;
    head.fields.extend_from_map(&parts.headers)
}

/// Trailers of a request.
pub(super) fn trailers(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    // What cannot be written is none that a target could understand.
    let _ = fields.add_to(&mut map, LEFT_OUT);
    map
}
