//! The handshake of a client, between the accept and the first byte of its protocol.
//!
//! It has one deadline, which covers the wait for its turn: a listener makes so many at a time. A
//! client that speaks plain HTTP to a listener that speaks TLS is told so in plain HTTP.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::server::ClientHello;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::accepted::Accepted;
use super::drain::DrainSignal;
use super::http1;
use crate::model::Protocol;
use crate::net::{HandshakeError, HandshakeFailure, Stream, TlsStream};
use crate::proxy::Proxy;
use crate::tls::{self, CHALLENGE_PROTOCOL, MAX_CLIENT_HELLO, Server};

/// The connection with its handshake made, if its listener has `tls`; `None` if that has failed,
/// and the connection is over.
pub(super) async fn accept(
    accepted: Box<Accepted>,
    proxy: &Rc<Proxy>,
    drain: &Rc<DrainSignal>,
) -> Option<Box<Accepted>> {
    let Some(server) = accepted.terms.tls.clone() else {
        return Some(accepted);
    };
    let Accepted {
        stream,
        peer,
        local,
        terms,
    } = *accepted;
    let (listener, protocol) = (terms.listener.1.clone(), terms.protocol);
    let metrics = proxy.metrics();
    let with = |stream| {
        Box::new(Accepted {
            stream,
            peer,
            local,
            terms,
        })
    };
    let begun = Instant::now();
    match timeout(server.handshake_timeout, shake(stream, &server)).await {
        Ok(Ok(stream)) if is_challenge(&stream) => {
            metrics.handshake(&listener, "acme_challenge");
            info!(%listener, %peer, "a certificate authority has asked for the proof of a host (tls-alpn-01) and got it");
            stream.announce_close();
            None
        }
        Ok(Ok(stream)) => {
            let is_resumed = stream.tls().is_some_and(|tls| tls.session.is_resumed);
            metrics.handshake(&listener, if is_resumed { "resumed" } else { "full" });
            metrics.handshake_took(&listener, begun.elapsed());
            Some(with(stream))
        }
        Ok(Err(error)) => {
            metrics.handshake(&listener, error.failure.code());
            let is_plain = matches!(error.failure, HandshakeFailure::PlainHttp);
            if is_plain && protocol == Protocol::Http1 {
                http1::refuse_plain(*with(error.socket.into()), proxy, drain).await;
            } else {
                log_failure(&listener, &peer, &error);
            }
            None
        }
        Err(_) => {
            metrics.handshake(&listener, "timeout");
            let within = server.handshake_timeout;
            info!(%listener, %peer, "a TLS handshake was not complete within {within:?}; its connection is closed");
            None
        }
    }
}

/// Lines with one reason are counted after the first ten.
fn log_failure(listener: &impl Display, peer: &impl Display, error: &HandshakeError) {
    let sni = error.sni.as_deref().unwrap_or_default();
    let (reason, failure) = (error.failure.code(), &error.failure);
    match failure {
        // Browsers open connections ahead of need, and balancers to see whether they can.
        HandshakeFailure::Closed(_) => {
            debug!(%listener, %peer, sni, reason, %failure, "a TLS handshake was given up");
        }
        HandshakeFailure::NoCertificate => {
            let error = failure.to_string();
            warn!(%listener, %peer, sni, reason, error, "a TLS handshake was refused; its connection is closed");
        }
        HandshakeFailure::PlainHttp | HandshakeFailure::Tls(_) => {
            let error = failure.to_string();
            info!(%listener, %peer, sni, reason, error, "a TLS handshake failed; its connection is closed");
        }
    }
}

async fn shake(stream: Stream, server: &Server) -> Result<Stream, Box<HandshakeError>> {
    let socket = match stream {
        Stream::Plain(socket) => socket,
        Stream::Tls(_) => return Ok(stream),
    };
    // A client takes no turn of another before its hello is whole. The handshake finds what is
    // wrong with it.
    let hello = socket.peek_until(MAX_CLIENT_HELLO, tls::ClientHello::parse);
    let _ = hello.await;
    // Never closed, so there is a permit sooner or later.
    let _permit = server.handshakes.acquire().await;
    let challenges = server.challenges.as_ref();
    let stream = match challenges.filter(|challenges| challenges.expects_handshakes()) {
        None => TlsStream::accept(socket, &server.config).await,
        Some(challenges) => {
            let choose = |hello: &ClientHello<'_>| {
                let own = || Arc::clone(&server.config);
                challenges.config(hello).unwrap_or_else(own)
            };
            Box::pin(TlsStream::accept_with(socket, choose)).await
        }
    };
    let stream = stream.map_err(Box::new)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// Whether the handshake was one of TLS-ALPN-01, after which nothing follows (RFC 8737 section 3).
fn is_challenge(stream: &Stream) -> bool {
    let chosen = stream.tls().and_then(|tls| tls.alpn.as_deref());
    chosen == Some(CHALLENGE_PROTOCOL)
}
