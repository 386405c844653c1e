//! The facts about a client's connection that its requests need.

use std::net::SocketAddr;

use super::forwarded::ConnectionFacts;
use crate::model::{ListenerId, ListenerSlot, SocketId};

/// The scheme of every client: listeners have no TLS.
const SCHEME: &str = "http";

/// A client's connection, shared by its requests. Does not change.
#[derive(Debug)]
pub struct Client {
    /// The socket that accepted it; the snapshot says which listener serves it now.
    pub socket: SocketId,
    /// The listener that served it when it was accepted.
    pub listener: (ListenerSlot, ListenerId),
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// What targets are told about the connection.
    pub(super) facts: ConnectionFacts,
}

impl Client {
    /// A client that has connected from `peer` to `local`.
    pub fn new(
        socket: SocketId,
        listener: (ListenerSlot, ListenerId),
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Self {
        Self {
            socket,
            listener,
            peer,
            local,
            facts: ConnectionFacts::new(peer.ip(), local.port(), SCHEME),
        }
    }

    /// `http` or `https`, by which the client came.
    pub(super) fn scheme(&self) -> &'static str {
        self.facts.proto
    }
}
