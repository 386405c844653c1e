//! What the old process hands over.

use std::net::{SocketAddr, TcpListener};

use crate::model::{Endpoint, ListenerId};
use crate::net::{FileIdentity, ListeningSocket};
use crate::replicas::ReplicaCounts;
use crate::state::Reader;

/// Copies of the sockets that a process listens on, the desired counts of its groups, and the
/// live state from which it reports its requests in flight.
#[derive(Debug)]
pub(in crate::server) struct HandoverState {
    pub(in crate::server) listeners: Vec<ListenerSockets>,
    pub(in crate::server) admin: Option<AdminSocket>,
    pub(in crate::server) replicas: ReplicaCounts,
    pub(in crate::server) reader: Reader,
}

/// The sockets of a listener at one address.
#[derive(Debug)]
pub(in crate::server) struct ListenerSockets {
    pub(in crate::server) id: ListenerId,
    /// As configured.
    pub(in crate::server) bind: Endpoint,
    pub(in crate::server) sockets: Vec<ListeningSocket>,
    /// The file of a Unix socket.
    pub(in crate::server) file: Option<FileIdentity>,
}

/// The socket of the admin listener.
#[derive(Debug)]
pub(in crate::server) struct AdminSocket {
    /// As configured.
    pub(in crate::server) bind: SocketAddr,
    pub(in crate::server) socket: TcpListener,
}
