//! A connection as it begins.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::{ClientLimits, HttpPolicy, ListenerId, ListenerSlot, Protocol, SocketId};
use crate::net::Stream;

/// How often the kernel is asked whether a client is still there, while nothing is read from it.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A stream as the accept loop hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's stream.
    pub stream: Stream,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The socket that accepted it.
    pub socket: SocketId,
    /// The listener that serves it at first, by slot and by name.
    pub listener: (ListenerSlot, ListenerId),
    /// What the listener's clients speak.
    pub protocol: Protocol,
    /// The listener's limits.
    pub limits: ClientLimits,
    /// How strictly the listener reads requests.
    pub policy: HttpPolicy,
}
