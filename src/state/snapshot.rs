//! One version of everything a request needs.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::config::{self, Config};
use crate::model::{
    ClientLimits, Forwarded, GroupIndex, ListenerId, ListenerSlot, SocketId, TargetGroupId,
};
use crate::observe::AccessLog;
use crate::rate_limit::RateLimiter;
use crate::router::RuleTable;
use crate::target_group::{Seal, TargetGroup};

/// One version of everything a request needs. Never modified: the publisher builds
/// the next one and swaps it in.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up by one with each publication.
    pub version: u64,
    /// The first version that has these targets in these groups.
    pub targets_since: u64,
    /// What it was compiled from.
    pub config: Arc<Config>,
    /// By slot; a slot stays empty after its listener is gone.
    pub(super) listeners: Vec<Option<Arc<Listener>>>,
    /// By [`SocketId`]: the listener that serves what these sockets accept.
    pub(super) sockets: Vec<Option<ListenerSlot>>,
    /// In the order of `config.target_groups`.
    pub(super) groups: Vec<Arc<TargetGroup>>,
    /// Where each of them stands.
    pub(super) positions: Arc<Positions>,
}

/// Where each group of a configuration stands in it.
pub(super) type Positions = HashMap<TargetGroupId, usize>;

/// What a connection needs to know about the listener it came in by.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub id: ListenerId,
    /// Its place in every snapshot.
    pub slot: ListenerSlot,
    /// Limits and deadlines on the client's side.
    pub client: ClientLimits,
    /// How the target learns about the client.
    pub forwarded: Forwarded,
    /// How many requests a client may send.
    pub rate_limit: Option<Arc<RateLimiter>>,
    /// Which of its requests are logged.
    pub access_log: AccessLog,
    /// Its rules.
    pub rules: RuleTable,
    /// For the groups that clients of weighted forwards stay with.
    pub choices: Seal,
}

impl Snapshot {
    /// The picture before the first configuration: no listeners, no groups.
    pub fn empty() -> Self {
        Self {
            version: 0,
            targets_since: 0,
            config: Arc::new(Config::empty()),
            listeners: Vec::new(),
            sockets: Vec::new(),
            groups: Vec::new(),
            positions: Arc::default(),
        }
    }

    /// A group that a rule of this snapshot names.
    pub fn group(&self, index: GroupIndex) -> &Arc<TargetGroup> {
        &self.groups[index.0]
    }

    /// The listener in a slot; `None` once it has been removed.
    pub fn listener(&self, slot: ListenerSlot) -> Option<&Arc<Listener>> {
        self.listeners.get(slot.0)?.as_ref()
    }

    /// The listener that serves the connections of a socket; `None` once none does.
    pub fn serving(&self, socket: SocketId) -> Option<&Arc<Listener>> {
        self.listener((*self.sockets.get(socket.0)?)?)
    }

    /// The same snapshot with its sockets given to the listeners that are to serve them.
    pub(super) fn with_sockets(mut self, served: &[(SocketId, ListenerId)]) -> Self {
        let length = served.iter().map(|(socket, _)| socket.0 + 1).max();
        let mut sockets = vec![None; length.unwrap_or(0)];
        let slots: HashMap<&ListenerId, ListenerSlot> = self
            .listeners()
            .map(|listener| (&listener.id, listener.slot))
            .collect();
        for (socket, id) in served {
            sockets[socket.0] = slots.get(id).copied();
        }
        self.sockets = sockets;
        self
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().flatten()
    }

    /// Every group, in the order of the configuration.
    pub fn groups(&self) -> &[Arc<TargetGroup>] {
        &self.groups
    }

    /// A group by its name, for the control plane.
    pub fn group_named(&self, id: &TargetGroupId) -> Option<&Arc<TargetGroup>> {
        Some(&self.groups[self.position(id)?])
    }

    /// The configuration of a group by its name.
    pub fn group_config(&self, id: &TargetGroupId) -> Option<&config::TargetGroup> {
        Some(&self.config.target_groups[self.position(id)?])
    }

    /// Where a group stands in [`Self::groups`].
    fn position(&self, id: &TargetGroupId) -> Option<usize> {
        self.positions.get(id).copied()
    }

    /// The groups that are not the same in `before`, each with its configuration: what has to
    /// be looked at by a reader that knows that snapshot.
    pub fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a Arc<TargetGroup>, &'a config::TargetGroup)> {
        let is_same_order = Arc::ptr_eq(&self.positions, &before.positions);
        let groups = self.groups.iter().zip(&self.config.target_groups);
        groups
            .enumerate()
            .filter_map(move |(index, (group, config))| {
                let known = if is_same_order {
                    before.groups.get(index)
                } else {
                    before.group_named(&group.id)
                };
                let is_same = known.is_some_and(|known| Arc::ptr_eq(known, group));
                (!is_same).then_some((group, config))
            })
    }

    /// The groups of `before` that are gone.
    pub fn gone_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a TargetGroupId> {
        let is_same_order = Arc::ptr_eq(&self.positions, &before.positions);
        let groups = before.groups.iter().filter(move |_| !is_same_order);
        groups
            .map(|group| &group.id)
            .filter(|id| self.position(id).is_none())
    }
}

/// Read half of the picture: cheap to clone, cheaper to load.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) version: watch::Receiver<u64>,
}

impl Reader {
    /// The newest snapshot. Drop the guard before the first await: a snapshot held
    /// on an idle connection would keep removed targets alive.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The newest snapshot, to keep across awaits in the control plane.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Waits for a snapshot that this reader has not waited for yet; `false` when
    /// there will be no more.
    pub async fn changed(&mut self) -> bool {
        self.version.changed().await.is_ok()
    }
}
