//! Bound listeners, from one configuration to the next.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::upgrade::Inherited;
use crate::config;
use crate::listener::Cap;
use crate::model::ListenerId;
use crate::transport::descriptors::Share;
use crate::transport::{BindError, bind, bind_beside};

/// One listener that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    /// Its accept loops on the workers. A listener that moves to another address gets
    /// another key, so that the old loops can drain beside the new ones.
    pub(super) key: u64,
    /// As configured; tells whether a reload moved it.
    configured: SocketAddr,
    /// As bound.
    pub(super) addr: SocketAddr,
    /// At least one per worker, until the workers have them.
    pub(super) sockets: Vec<TcpListener>,
    /// Copies, for the process that takes over.
    copies: Vec<TcpListener>,
    /// Shared by the workers.
    pub(super) cap: Arc<Cap>,
}

/// Every listener that is bound.
#[derive(Debug)]
pub(super) struct Listeners {
    bound: BTreeMap<ListenerId, Bound>,
    keys: u64,
    /// For the connections of all of them.
    descriptors: Share,
}

impl Listeners {
    /// No listeners; their connections are to share `descriptors`.
    pub(super) fn new(descriptors: Share) -> Self {
        Self {
            bound: BTreeMap::new(),
            keys: 0,
            descriptors,
        }
    }

    /// Binds what `config` has and this has not: new listeners, and moved ones. Changes
    /// nothing when one of them fails.
    pub(super) fn bind_new(
        &mut self,
        config: &[config::Listener],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Vec<(ListenerId, Bound)>, BindError> {
        let mut new = Vec::new();
        for listener in config {
            let bound = self.bound.get(&listener.id);
            if bound.is_some_and(|bound| bound.configured == listener.bind) {
                continue;
            }
            let sockets = if let Some(sockets) = inherited.take(&listener.id, listener.bind) {
                enough(sockets, listener.bind, workers)?
            } else if self.gives_up(listener.bind, config) {
                bind_beside(listener.bind, workers)?
            } else {
                bind(listener.bind, workers)?
            };
            self.keys += 1;
            let bound = Bound::new(self.keys, listener, sockets, &self.descriptors)?;
            new.push((listener.id.clone(), bound));
        }
        Ok(new)
    }

    /// Whether an address is held by a listener that has another name or another
    /// address in `config`, or a part of it is: `127.0.0.1:80` of `0.0.0.0:80`.
    fn gives_up(&self, addr: SocketAddr, config: &[config::Listener]) -> bool {
        let stays = |id: &ListenerId, bound: &Bound| {
            let same = |new: &config::Listener| new.id == *id && new.bind == bound.configured;
            config.iter().any(same)
        };
        self.bound
            .iter()
            .any(|(id, bound)| overlap(bound.addr, addr) && !stays(id, bound))
    }

    /// Takes in what was bound and gives back what is no longer configured.
    pub(super) fn update(
        &mut self,
        new: Vec<(ListenerId, Bound)>,
        config: &[config::Listener],
    ) -> Vec<Bound> {
        let mut removed = Vec::new();
        let configured = |id: &ListenerId| config.iter().any(|listener| listener.id == *id);
        let gone: Vec<ListenerId> = self
            .bound
            .keys()
            .filter(|id| !configured(id))
            .cloned()
            .collect();
        removed.extend(gone.iter().filter_map(|id| self.bound.remove(id)));
        for (id, bound) in new {
            removed.extend(self.bound.insert(id, bound));
        }
        for listener in config {
            if let Some(bound) = self.bound.get_mut(&listener.id) {
                bound.cap.set_limit(listener.max_connections);
            }
        }
        removed
    }

    pub(super) fn get_mut(&mut self, id: &ListenerId) -> Option<&mut Bound> {
        self.bound.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ListenerId, &Bound)> {
        self.bound.iter()
    }

    /// The sockets of every listener, with its address in the configuration.
    pub(super) fn sockets(
        &self,
    ) -> impl Iterator<Item = (&ListenerId, SocketAddr, &[TcpListener])> {
        let bound = self.bound.iter();
        bound.map(|(id, bound)| (id, bound.configured, bound.copies.as_slice()))
    }

    /// Closes the copies: as long as one is open the kernel lets clients in.
    pub(super) fn close_copies(&mut self) {
        for bound in self.bound.values_mut() {
            bound.copies.clear();
        }
    }

    /// Client connections now open.
    pub(super) fn connections(&self) -> usize {
        self.bound.values().map(|bound| bound.cap.open()).sum()
    }
}

impl Bound {
    fn new(
        key: u64,
        listener: &config::Listener,
        sockets: Vec<TcpListener>,
        descriptors: &Share,
    ) -> Result<Self, BindError> {
        let addr = sockets.first().and_then(|socket| socket.local_addr().ok());
        let copies: io::Result<_> = sockets.iter().map(TcpListener::try_clone).collect();
        let failed = |source| BindError {
            addr: listener.bind,
            source,
        };
        Ok(Self {
            key,
            configured: listener.bind,
            addr: addr.unwrap_or(listener.bind),
            sockets,
            copies: copies.map_err(failed)?,
            cap: Arc::new(Cap::new(listener.max_connections, descriptors.clone())),
        })
    }
}

/// The sockets a process before this one had, and as many more as there are workers
/// without one. With fewer workers some have two: a socket that nobody accepts from would
/// keep the clients in its queue waiting.
fn enough(
    mut sockets: Vec<TcpListener>,
    configured: SocketAddr,
    workers: usize,
) -> Result<Vec<TcpListener>, BindError> {
    if let Some(missing) = workers.checked_sub(sockets.len()).filter(|n| *n > 0) {
        let addr = sockets.first().and_then(|socket| socket.local_addr().ok());
        sockets.extend(bind_beside(addr.unwrap_or(configured), missing)?);
    }
    Ok(sockets)
}

/// Whether a socket on one of two addresses is in the way of one on the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || wildcard)
}
