//! What is known of a connection once its handshake is complete.

use rustls::{CommonState, HandshakeKind, ProtocolVersion, ServerConnection, SupportedCipherSuite};

use super::client_auth;
use crate::model::{TlsFacts, TlsSession};

/// What a complete handshake with a client has agreed on.
pub fn facts(connection: &ServerConnection) -> TlsFacts {
    let certificates = connection.peer_certificates().unwrap_or_default();
    TlsFacts {
        sni: connection.server_name().map(Box::from),
        client: certificates.first().and_then(client_auth::facts),
        ..target_facts(connection)
    }
}

/// The same with a target, which is known by its name.
pub fn target_facts(connection: &CommonState) -> TlsFacts {
    let suite = connection.negotiated_cipher_suite();
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    TlsFacts {
        session: TlsSession {
            version,
            cipher: suite.map_or("", cipher),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        },
        sni: None,
        alpn: connection.alpn_protocol().map(Box::from),
        client: None,
    }
}

/// Its name at IANA: rustls has a prefix of its own for those of TLS 1.3.
fn cipher(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite().as_str() {
        Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
        Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
        Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
        Some(name) => name,
        None => "",
    }
}
