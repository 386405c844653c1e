//! One client's connection, from its first byte to its last.
//!
//! [`serve`] reads requests, hands each to the proxy and writes its response; after a switch of
//! protocols it runs the tunnel. It ends the connection when its listener drains, or when it is
//! idle and new clients wait below the listener's limit, and closes in a way that lets the last
//! response arrive. What is forwarded, and to which target, is left to the proxy.

mod drain;
mod http1;
mod linger;

use std::net::SocketAddr;
use std::rc::Rc;

use crate::model::{ClientLimits, FieldNames, ListenerId, ListenerSlot, Peer, SocketId};
use crate::net::Stream;

pub use drain::{Backlog, ConnectionGuard, DrainSignal};
pub use http1::serve;

/// A stream as the accept loop hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's stream.
    pub stream: Stream,
    /// The client, or a proxy before it.
    pub peer: Peer,
    /// The address that the peer connected to; `None` if that was a Unix socket.
    pub local: Option<SocketAddr>,
    /// What it has in common with others.
    pub terms: Rc<Terms>,
}

/// What all connections have in common that a socket has accepted under one configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Terms {
    /// The socket.
    pub socket: SocketId,
    /// The listener that serves it at first, by slot and by name.
    pub listener: (ListenerSlot, ListenerId),
    /// The listener's limits.
    pub limits: ClientLimits,
    /// How strictly the listener reads the names of fields.
    pub field_names: FieldNames,
}
