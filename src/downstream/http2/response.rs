//! The heads of responses, as the `h2` crate takes them.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::message::{BodyLength, FieldName, Fields, NOT_IN_HTTP2, NameSet, ResponseHead};

/// Said in the handshake of a WebSocket over HTTP/1.1 alone (RFC 8441 section 5).
const OF_HANDSHAKE: NameSet = NameSet::of(&[FieldName::SecWebSocketAccept]);

/// What is said about the length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// What the body has.
    Of(BodyLength),
    /// What the head says, of a body that is not sent: in answers to HEAD and in 304.
    AsSaid,
    /// Nothing.
    Unsaid,
}

/// A response with this head.
pub(super) fn response(head: &ResponseHead, length: Length) -> Response<()> {
    let (mut parts, ()) = Response::new(()).into_parts();
    // A head has no other status.
    parts.status = StatusCode::from_u16(head.status()).unwrap_or_default();
    parts.headers = map(&head.fields, NOT_IN_HTTP2);
    match length {
        Length::Of(BodyLength::Empty) => set_length(&mut parts.headers, 0),
        Length::Of(BodyLength::Exact(length)) => set_length(&mut parts.headers, length),
        Length::AsSaid => {
            let said = head.fields.get(FieldName::ContentLength);
            if let Some(Ok(said)) = said.map(HeaderValue::from_bytes) {
                parts.headers.insert(CONTENT_LENGTH, said);
            }
        }
        Length::Of(BodyLength::Unknown) | Length::Unsaid => {}
    }
    Response::from_parts(parts, ())
}

/// The response that accepts a WebSocket, in the place of a 101 (RFC 8441 section 5).
pub(super) fn switch(head: &ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = map(&head.fields, NOT_IN_HTTP2.and(OF_HANDSHAKE));
    response
}

/// Trailers, or `None` if there is none.
pub(super) fn trailers(fields: &Fields) -> Option<HeaderMap> {
    let map = map(fields, NOT_IN_HTTP2);
    (!map.is_empty()).then_some(map)
}

fn set_length(map: &mut HeaderMap, length: u64) {
    map.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

fn map(fields: &Fields, left_out: NameSet) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len() + 1);
    // One that cannot be added is left out.
    let _ = fields.add_to(&mut map, left_out);
    map
}
