//! The header of the PROXY protocol, with which trusted proxies begin their connections.

use std::rc::Rc;

use tokio::time::timeout;
use tracing::warn;

use super::accepted::{Accepted, Terms};
use crate::clock;
use crate::model::{AcceptProxy, Failure, Peer, ProxyFacts};
use crate::net::Stream;
use crate::net::proxy_protocol::{self, MAX_HEADER, ProxyHeader};
use crate::proxy::Proxy;

/// Why a connection without the header that it needs is not served.
const UNTRUSTED: &str = "the peer is not one of the listener's trusted_proxies";
const MISSING: &str = "it begins without a header";
const ENDED: &str = "it has ended before the header was whole";
const LATE: &str = "the header did not come in time";

/// Takes the header out of the stream. The connection is then that of the client in the header.
/// Returns whether the connection can be served; if not, that is logged and recorded.
///
/// Nothing of an untrusted peer is read. Cancel-safe.
pub(super) async fn receive(accepted: &mut Accepted, proxy: &Proxy) -> bool {
    let terms = &accepted.terms;
    let is_trusted = proxy.trusts(terms.socket, accepted.peer.client());
    let is_optional = terms.proxy_protocol == AcceptProxy::Optional;
    if !is_trusted && is_optional {
        return true;
    }
    let header = if is_trusted {
        timeout(terms.limits.head_timeout, read(accepted)).await
    } else {
        Ok(Err(UNTRUSTED.to_owned()))
    };
    match header.unwrap_or_else(|_| Err(LATE.to_owned())) {
        Ok(Some(header)) => {
            apply(accepted, header);
            true
        }
        Ok(None) if is_optional => true,
        Ok(None) => refuse(accepted, proxy, MISSING),
        Err(reason) => refuse(accepted, proxy, &reason),
    }
}

/// The header, if the connection begins with one; what is wrong with it otherwise.
async fn read(accepted: &Accepted) -> Result<Option<ProxyHeader>, String> {
    // The header comes before any encryption.
    let Stream::Plain(socket) = &accepted.stream else {
        return Ok(None);
    };
    let parsed = socket.peek_until(MAX_HEADER, proxy_protocol::parse).await;
    let header = match parsed {
        Ok(Some(Ok(header))) => header,
        Ok(Some(Err(malformed))) => return Err(malformed.to_string()),
        Ok(None) => return Err(ENDED.to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    if let Some(header) = &header {
        socket
            .skip(header.length)
            .map_err(|error| error.to_string())?;
    }
    Ok(header)
}

fn apply(accepted: &mut Accepted, header: ProxyHeader) {
    if let Some((source, destination)) = header.addresses {
        accepted.peer = Peer::Address(source);
        accepted.local = Some(destination);
    }
    if header.facts != ProxyFacts::default() {
        accepted.terms = Rc::new(Terms {
            proxied: Some(Rc::new(header.facts)),
            ..(*accepted.terms).clone()
        });
    }
}

fn refuse(accepted: &Accepted, proxy: &Proxy, reason: &str) -> bool {
    let (listener, peer) = (&accepted.terms.listener.1, accepted.peer);
    warn!(
        %listener,
        %peer,
        reason,
        "a connection has no valid header of the PROXY protocol; it is closed"
    );
    clock::now();
    let terms = &accepted.terms;
    let accepted = (terms.socket, &terms.listener);
    proxy.drop_connection(
        terms.protocol,
        accepted,
        peer.client(),
        Failure::ProxyHeader,
    );
    false
}
