//! The listening sockets of one address, or the copies of one Unix socket.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::socket_plan::{HeldSockets, Owner};
use super::worker::Opening;
use crate::listener::ConnectionLimit;
use crate::model::{Endpoint, ListenerId, SocketId};
use crate::net::{BindError, ListeningSocket, SocketFile};

/// The open sockets of one address.
#[derive(Debug)]
pub(super) struct BoundSockets {
    pub(super) id: SocketId,
    pub(super) owner: Owner,
    /// As configured; the address itself if a wider one has taken it over.
    pub(super) bind: Endpoint,
    /// As bound.
    pub(super) addr: Endpoint,
    /// Kept to give copies to a process that takes over, and so that no socket closes by
    /// accident.
    pub(super) sockets: Vec<ListeningSocket>,
    /// That of a Unix socket.
    pub(super) file: Option<SocketFile>,
    /// Copies for the accept loops; empty once they have them.
    unopened: Vec<ListeningSocket>,
    /// Shared by the workers.
    pub(super) limit: Arc<ConnectionLimit>,
    /// Each accept loop has a copy until its last connection has ended.
    alive: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// Sockets that are bound, and the file if it is a Unix socket.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) sockets: Vec<ListeningSocket>,
    pub(super) file: Option<SocketFile>,
}

/// Sockets that were left, while connections that they have accepted are open.
#[derive(Debug)]
pub(super) struct LeftSockets {
    pub(super) id: SocketId,
    pub(super) addr: Endpoint,
    /// The listener that serves these connections; `None` for those of the admin listener.
    pub(super) listener: Option<ListenerId>,
    /// Closed when the last connection has ended.
    pub(super) ended: mpsc::Receiver<Infallible>,
}

/// A socket of the admin listener for the control plane to accept from.
#[derive(Debug)]
pub(super) struct AdminOpening {
    pub(super) id: SocketId,
    pub(super) socket: TcpListener,
    /// Dropped when its last connection has ended.
    pub(super) alive: mpsc::Sender<Infallible>,
}

impl BoundSockets {
    /// Sockets that no accept loop has yet. Fails if the process has no more descriptors.
    pub(super) fn new(
        id: SocketId,
        owner: Owner,
        bind: Endpoint,
        Reserved { sockets, file }: Reserved,
        limit: ConnectionLimit,
    ) -> Result<Self, BindError> {
        let (alive, ended) = mpsc::channel(1);
        Ok(Self {
            id,
            owner,
            addr: local_address(&sockets, &bind),
            unopened: copies(&sockets, &bind)?,
            bind,
            sockets,
            file,
            limit: Arc::new(limit),
            alive,
            ended,
        })
    }

    /// Whether the accept loops have the sockets.
    pub(super) fn is_open(&self) -> bool {
        self.unopened.is_empty()
    }

    /// The sockets for the workers; none if they have them, or are not to have them.
    pub(super) fn open(&mut self) -> Vec<Opening> {
        let Some(name) = self.owner.listener() else {
            return Vec::new();
        };
        std::mem::take(&mut self.unopened)
            .into_iter()
            .map(|socket| Opening {
                id: self.id,
                name: name.clone(),
                socket,
                limit: Arc::clone(&self.limit),
                alive: self.alive.clone(),
            })
            .collect()
    }

    /// The sockets for the control plane, which are of TCP.
    pub(super) fn open_admin(&mut self) -> impl Iterator<Item = AdminOpening> {
        let sockets = std::mem::take(&mut self.unopened).into_iter();
        let (id, alive) = (self.id, self.alive.clone());
        sockets.filter_map(move |socket| match socket {
            ListeningSocket::Tcp(socket) => Some(AdminOpening {
                id,
                socket,
                alive: alive.clone(),
            }),
            ListeningSocket::Unix(_) => None,
        })
    }

    /// Closes the copies that are here: as long as one is open the kernel queues clients. The file
    /// goes first, so that no other process takes it for one that is left over.
    pub(super) fn close_copies(&mut self) {
        self.file = None;
        self.sockets.clear();
        self.unopened.clear();
    }

    /// Closes the copies, removes the file, and keeps account of the connections, which `listener`
    /// serves.
    pub(super) fn into_left(self, listener: Option<ListenerId>) -> LeftSockets {
        LeftSockets {
            id: self.id,
            addr: self.addr,
            listener,
            ended: self.ended,
        }
    }

    pub(super) fn held(&self) -> HeldSockets {
        HeldSockets {
            id: self.id,
            owner: self.owner.clone(),
            bind: self.bind.clone(),
            addr: self.addr.clone(),
        }
    }
}

/// The address that sockets are bound to; `bind` for a Unix socket, and if it is unknown.
pub(super) fn local_address(sockets: &[ListeningSocket], bind: &Endpoint) -> Endpoint {
    sockets
        .first()
        .and_then(ListeningSocket::tcp)
        .and_then(|socket| socket.local_addr().ok())
        .map_or_else(|| bind.clone(), Endpoint::Address)
}

/// Copies of sockets; `bind` is for the error.
pub(super) fn copies(
    sockets: &[ListeningSocket],
    bind: &Endpoint,
) -> Result<Vec<ListeningSocket>, BindError> {
    sockets
        .iter()
        .map(ListeningSocket::try_clone)
        .collect::<io::Result<_>>()
        .map_err(|source| BindError {
            endpoint: bind.clone(),
            source,
        })
}
