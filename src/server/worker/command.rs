//! The commands of the server to a worker, at reloads, checks and the shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::listener::ConnectionLimit;
use crate::model::{ListenerId, SocketId};
use crate::net::ListeningSocket;

/// How long a socket is still accepted from when another socket takes over its clients: from
/// its first packet to its last a handshake takes a round trip, and a lost packet is sent again
/// after a second (RFC 6298).
pub(in crate::server) const LATE_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub(super) enum Command {
    Listen(Opening),
    CloseAfterResponses,
    Leave(SocketId, Leaving),
    /// To be answered when every request is finished.
    DrainAll(oneshot::Sender<()>),
    /// To be answered when every tunnel has ended, or its time is over.
    CloseTunnels(oneshot::Sender<TunnelsClosed>),
    /// To be answered at once.
    Ping(oneshot::Sender<()>),
    Stop,
}

/// A socket that a worker is to accept from.
#[derive(Debug)]
pub(in crate::server) struct Opening {
    pub(in crate::server) id: SocketId,
    /// The listener it is opened for.
    pub(in crate::server) name: ListenerId,
    pub(in crate::server) socket: ListeningSocket,
    pub(in crate::server) limit: Arc<ConnectionLimit>,
    /// Dropped when the last connection of the socket has ended.
    pub(in crate::server) alive: mpsc::Sender<Infallible>,
}

/// How a worker leaves a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Leaving {
    pub(in crate::server) accepting: Accepting,
    /// If set, idle connections end now, and tunnels after this time. Otherwise every
    /// connection may have one more response: another listener serves them.
    pub(in crate::server) drain: Option<Duration>,
}

/// Which connections are still accepted from a socket that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Accepting {
    /// Those that wait in its queue.
    Queued,
    /// Those that come within [`LATE_HANDSHAKE_TIMEOUT`]: new connections go to another socket
    /// now, but the handshakes of some have begun on this one.
    LateHandshakes,
    /// None: another accept loop has the same socket.
    Nothing,
}

/// The connections of a worker after its tunnels were told to end.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct TunnelsClosed {
    /// Upgraded connections that Weir ended.
    pub(in crate::server) tunnels: usize,
    /// Connections that are still open.
    pub(in crate::server) connections_left: usize,
}
