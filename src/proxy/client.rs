//! The facts about a client's connection that its requests need.

use std::net::SocketAddr;
use std::rc::Rc;

use super::forwarded::ConnectionFacts;
use crate::model::{ListenerId, ListenerSlot, Peer, ProxyFacts, SocketId};

/// The scheme of a client that does not speak TLS.
const PLAIN: &str = "http";

/// The scheme of a client that speaks TLS with a proxy, which has told so.
const SECURE: &str = "https";

/// The port of a client that has come by none, over a Unix socket: with it, no location names one.
const DEFAULT_PORT: u16 = 80;

/// A client's connection, shared by its requests. Does not change.
#[derive(Debug)]
pub struct Client {
    /// The socket that accepted it; the snapshot says which listener serves it now.
    pub socket: SocketId,
    /// The listener that served it when it was accepted.
    pub listener: (ListenerSlot, ListenerId),
    /// The client, or a proxy before it.
    pub peer: Peer,
    /// The address that the peer connected to; `None` if that was a Unix socket.
    pub local: Option<SocketAddr>,
    /// What a proxy before it has told beside addresses.
    pub proxied: Option<Rc<ProxyFacts>>,
    /// What targets are told about the connection.
    pub(super) facts: ConnectionFacts,
}

impl Client {
    /// A client that has connected from `peer` to `local`.
    pub fn new(
        socket: SocketId,
        listener: (ListenerSlot, ListenerId),
        peer: Peer,
        local: Option<SocketAddr>,
        proxied: Option<Rc<ProxyFacts>>,
    ) -> Self {
        let is_secure = proxied.as_ref().is_some_and(|facts| facts.tls.is_some());
        let scheme = if is_secure { SECURE } else { PLAIN };
        let port = local.map(|address| address.port());
        Self {
            socket,
            listener,
            peer,
            local,
            proxied,
            facts: ConnectionFacts::new(peer.client(), port, scheme),
        }
    }

    /// The port by which the client came.
    pub(super) fn port(&self) -> u16 {
        self.local.map_or(DEFAULT_PORT, |address| address.port())
    }

    /// The host of a request that names none.
    pub(super) fn default_host(&self) -> String {
        match self.local {
            Some(address) => address.to_string(),
            None => "localhost".to_owned(),
        }
    }

    /// `http` or `https`, by which the client came.
    pub(super) fn scheme(&self) -> &'static str {
        self.facts.proto
    }
}
