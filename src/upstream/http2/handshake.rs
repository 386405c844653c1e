//! The opening handshake of a WebSocket (RFC 6455), of which HTTP/2 has only a part (RFC 8441 section
//! 5): what its targets leave out is Weir's to check and to answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::message::{FieldName, RequestHead, ResponseHead};
use crate::model::Failure;

/// What a server adds to the key of a client (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key (RFC 6455 section 4.1).
const KEY_LENGTH: usize = 16;

/// The handshake of a client that is not answered yet.
#[derive(Debug)]
pub(super) struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    accept: String,
}

impl Handshake {
    /// Fails if the request has no key, or no valid one.
    pub(super) fn read(head: &RequestHead) -> Result<Self, Failure> {
        let key = head.fields.get(FieldName::SecWebSocketKey);
        let key = key.ok_or(Failure::MalformedRequest)?;
        let is_valid = STANDARD
            .decode(key)
            .is_ok_and(|key| key.len() == KEY_LENGTH);
        is_valid
            .then(|| Self {
                accept: accept(key),
            })
            .ok_or(Failure::MalformedRequest)
    }

    /// Makes the head by which a target has accepted the WebSocket that of HTTP/1.1.
    pub(super) fn accept(self, head: &mut ResponseHead) {
        // 101 is a status.
        let _ = head.set_status(101);
        head.fields.remove(FieldName::ContentLength);
        head.fields.put(FieldName::Upgrade, b"websocket");
        let accept = self.accept.as_bytes();
        head.fields.put(FieldName::SecWebSocketAccept, accept);
    }
}

fn accept(key: &[u8]) -> String {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &[u8]) -> Result<String, Failure> {
        let mut head = RequestHead::new();
        head.fields.put(FieldName::SecWebSocketKey, key);
        Handshake::read(&head).map(|handshake| handshake.accept)
    }

    #[test]
    fn a_key_is_answered_as_in_the_example_of_the_rfc() {
        let accept = read(b"dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_has_sixteen_bytes() {
        for wrong in ["", "dGhlIHNhbXBsZSBub25jZQ", "AAAA", "?"] {
            assert_eq!(
                read(wrong.as_bytes()),
                Err(Failure::MalformedRequest),
                "{wrong}"
            );
        }
    }
}
