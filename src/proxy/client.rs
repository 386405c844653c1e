//! The facts about a client's connection that its requests need.

use std::net::SocketAddr;

use super::forwarded::ConnectionFacts;
use crate::model::{ListenerId, ListenerSlot, Peer, SocketId};

/// The scheme of every client: listeners have no TLS.
const SCHEME: &str = "http";

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
    ) -> Self {
        let port = local.map(|address| address.port());
        Self {
            socket,
            listener,
            peer,
            local,
            facts: ConnectionFacts::new(peer.client(), port, SCHEME),
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
