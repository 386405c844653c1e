//! The host that a client of a listener of protocol `tcp` asks for.

use tokio::time::timeout;
use tracing::info;

use super::accepted::Accepted;
use super::drain::DrainSignal;
use crate::clock;
use crate::model::Failure;
use crate::net::{Socket, Stream};
use crate::proxy::Proxy;
use crate::tls::{ClientHello, MAX_CLIENT_HELLO};

/// Why the host of a connection is not known.
const ENDED: &str = "it has ended before its hello was whole";
const LARGE: &str = "its hello is larger than 32 KiB";
const LATE: &str = "its hello did not come in time";

/// The host that the client asks for in its TLS, whether that ends here or passes by; `None` if it
/// names none, or speaks no TLS. A connection of which that is not known in time is logged and
/// recorded, and not served.
///
/// Nothing is looked at unless a rule of the listener is about hosts: where targets speak first, there
/// would be nothing to see. No byte is taken out of the stream. Cancel-safe.
pub(super) async fn find(
    accepted: &Accepted,
    proxy: &Proxy,
    drain: &DrainSignal,
) -> Result<Option<Box<str>>, Failure> {
    let socket = match &accepted.stream {
        Stream::Tls(_) => {
            let tls = accepted.stream.tls();
            return Ok(tls.and_then(|tls| tls.sni.clone()));
        }
        Stream::Plain(socket) => socket,
    };
    if !proxy.routes_by_host(accepted.terms.socket) {
        return Ok(None);
    }
    let within = accepted.terms.limits.head_timeout;
    let found = tokio::select! {
        found = timeout(within, peek(socket)) => found.unwrap_or(Err(Some(LATE))),
        reason = drain.closed() => return Err(refuse(accepted, proxy, reason)),
    };
    found.map_err(|problem| {
        let Some(problem) = problem else {
            return refuse(accepted, proxy, Failure::ClientGone);
        };
        let (listener, peer) = (&accepted.terms.listener.1, accepted.peer);
        info!(%listener, %peer, reason = problem, "a connection has no TLS hello to find its host in; it is closed");
        refuse(accepted, proxy, Failure::ClientHello)
    })
}

/// The host, or what is wrong; `None` for a client that has left.
async fn peek(socket: &Socket) -> Result<Option<Box<str>>, Option<&'static str>> {
    let hello = socket.peek_until(MAX_CLIENT_HELLO, ClientHello::parse);
    match hello.await.map_err(|_| None)? {
        Some(ClientHello::For(host)) => Ok(Some(host)),
        Some(ClientHello::Nameless) => Ok(None),
        Some(ClientHello::TooLarge) => Err(Some(LARGE)),
        None => match socket.received() {
            Ok(1..MAX_CLIENT_HELLO) => Err(Some(ENDED)),
            Ok(MAX_CLIENT_HELLO..) => Err(Some(LARGE)),
            Ok(0) | Err(_) => Err(None),
        },
    }
}

fn refuse(accepted: &Accepted, proxy: &Proxy, failure: Failure) -> Failure {
    clock::now();
    let terms = &accepted.terms;
    let listener = (terms.socket, &terms.listener);
    proxy.drop_connection(terms.protocol, listener, accepted.peer.client(), failure);
    failure
}
