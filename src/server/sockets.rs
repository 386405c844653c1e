//! The listening sockets of one address.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::socket_plan::{HeldSockets, Owner};
use super::worker::Opening;
use crate::listener::ConnectionLimit;
use crate::model::{ListenerId, SocketId};
use crate::net::BindError;

/// The open sockets of one address.
#[derive(Debug)]
pub(super) struct BoundSockets {
    pub(super) id: SocketId,
    pub(super) owner: Owner,
    /// As configured; the address itself if a wider one has taken it over.
    pub(super) bind: SocketAddr,
    /// As bound.
    pub(super) addr: SocketAddr,
    /// Kept to give copies to a process that takes over, and so that no socket closes by
    /// accident.
    pub(super) sockets: Vec<TcpListener>,
    /// Copies for the accept loops; empty once they have them.
    unopened: Vec<TcpListener>,
    /// Shared by the workers.
    pub(super) limit: Arc<ConnectionLimit>,
    /// Each accept loop has a copy until its last connection has ended.
    alive: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// Sockets that were left, while connections that they have accepted are open.
#[derive(Debug)]
pub(super) struct LeftSockets {
    pub(super) id: SocketId,
    pub(super) addr: SocketAddr,
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
        bind: SocketAddr,
        sockets: Vec<TcpListener>,
        limit: ConnectionLimit,
    ) -> Result<Self, BindError> {
        let (alive, ended) = mpsc::channel(1);
        Ok(Self {
            id,
            owner,
            bind,
            addr: local_address(&sockets, bind),
            unopened: copies(&sockets, bind)?,
            sockets,
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

    /// The sockets for the control plane.
    pub(super) fn open_admin(&mut self) -> impl Iterator<Item = AdminOpening> {
        let sockets = std::mem::take(&mut self.unopened).into_iter();
        let (id, alive) = (self.id, self.alive.clone());
        sockets.map(move |socket| AdminOpening {
            id,
            socket,
            alive: alive.clone(),
        })
    }

    /// Closes the copies that are here: as long as one is open the kernel queues clients.
    pub(super) fn close_copies(&mut self) {
        self.sockets.clear();
        self.unopened.clear();
    }

    /// Closes the copies and keeps account of the connections, which `listener` serves.
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
            bind: self.bind,
            addr: self.addr,
        }
    }
}

/// The address that sockets are bound to; `bind` if that is unknown.
pub(super) fn local_address(sockets: &[TcpListener], bind: SocketAddr) -> SocketAddr {
    sockets
        .first()
        .and_then(|socket| socket.local_addr().ok())
        .unwrap_or(bind)
}

/// Copies of sockets; `bind` is for the error.
pub(super) fn copies(
    sockets: &[TcpListener],
    bind: SocketAddr,
) -> Result<Vec<TcpListener>, BindError> {
    sockets
        .iter()
        .map(TcpListener::try_clone)
        .collect::<io::Result<_>>()
        .map_err(|source| BindError { addr: bind, source })
}
