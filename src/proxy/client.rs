//! The facts about a client's connection that its requests need.

use std::net::SocketAddr;

use super::forwarded::ConnectionFacts;
use crate::model::{ListenerId, ListenerSlot, Peer, Protocol, SocketId};
use crate::observe::{Ports, Transport};

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
    /// What it speaks.
    pub(super) protocol: Protocol,
    /// How its bytes come.
    pub(super) transport: Transport,
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
        mut transport: Transport,
    ) -> Self {
        let port = local.map(|address| address.port());
        let is_secure = transport.is_secure();
        let scheme = if is_secure { "https" } else { "http" };
        transport.ports = Ports::of(peer, local);
        let certificate = transport.tls.as_ref().and_then(|tls| tls.client.as_ref());
        Self {
            socket,
            listener,
            peer,
            local,
            protocol: Protocol::Http1,
            facts: ConnectionFacts::new(peer.client(), port, scheme, certificate),
            transport,
        }
    }

    /// The same client, which speaks another protocol than HTTP/1.1.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// The port by which the client came. One that has come by none, over a Unix socket, has that
    /// of its scheme: with it, no location names one.
    pub(super) fn port(&self) -> u16 {
        let is_secure = self.transport.is_secure();
        let of_scheme = if is_secure { 443 } else { 80 };
        self.local.map_or(of_scheme, |address| address.port())
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
