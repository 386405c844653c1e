//! One version of everything a request needs.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::message::IdentityFields;
use crate::model::{
    AcceptProxy, AccessPolicy, ClientLimits, Forwarded, HttpPolicy, ListenerId, ListenerSlot,
    Protocol, SocketId, TargetGroupId, TraceContext,
};
use crate::rate_limit::RateLimiter;
use crate::router::RuleTable;
use crate::target_group::{Seal, TargetGroup};
use crate::tls;

/// One version of everything a request needs, with the configuration it was built from.
/// Never modified: the publisher builds the next one and swaps it in.
///
/// The control plane reads it as it is; the data plane sees it through
/// [`super::DataPlaneSnapshot`], without the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up by one with each publication.
    pub version: u64,
    /// The first version that has these targets in these groups, and the same terms for the
    /// connections to them.
    pub targets_since: u64,
    /// What it was compiled from.
    pub config: Arc<Config>,
    /// By slot; a slot stays empty after its listener is gone.
    pub(super) listeners: Vec<Option<Arc<CompiledListener>>>,
    /// By [`SocketId`]: the listener that serves what these sockets accept.
    pub(super) sockets: Vec<Option<ListenerSlot>>,
    /// In the order of the configuration.
    pub(super) groups: Vec<Group>,
    /// Where each of them stands.
    pub(super) positions: Arc<Positions>,
    /// What certificate authorities are answered; the same in every snapshot.
    pub challenges: Arc<tls::Challenges>,
}

/// Where each group of a configuration stands in it.
pub(super) type Positions = HashMap<TargetGroupId, usize>;

/// A target group with the configuration it was built from.
#[derive(Clone, Debug)]
pub struct Group {
    /// As in the file.
    pub config: Arc<config::TargetGroup>,
    /// What requests see of it.
    pub compiled: Arc<TargetGroup>,
}

impl Group {
    /// Whether it is the group of another snapshot, and not one that was built since.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled, &other.compiled)
    }
}

impl Deref for Group {
    type Target = TargetGroup;

    fn deref(&self) -> &TargetGroup {
        &self.compiled
    }
}

/// What a connection needs to know about the listener it came in by.
#[derive(Debug)]
pub struct CompiledListener {
    /// Its name.
    pub id: ListenerId,
    /// Its slot in every snapshot.
    pub slot: ListenerSlot,
    /// What its clients speak.
    pub protocol: Protocol,
    /// Whether proxies begin with a header that names the client.
    pub proxy_protocol: AcceptProxy,
    /// In what they speak it; `None` for plain bytes.
    pub tls: Option<Arc<tls::Server>>,
    /// What certificate authorities are answered that ask by HTTP-01, if they may.
    pub challenges: Option<Arc<tls::Challenges>>,
    /// Limits and deadlines on the client's side.
    pub client: ClientLimits,
    /// How strictly HTTP is read, and in which spelling it is matched and forwarded.
    pub http: HttpPolicy,
    /// How the target learns about the client.
    pub forwarded: Forwarded,
    /// Fields that no untrusted peer may send.
    pub identity: IdentityFields,
    /// How many requests a client may send.
    pub rate_limit: Option<Arc<RateLimiter>>,
    /// Which of its requests are logged.
    pub access_log: AccessPolicy,
    /// What targets are told about the trace of a request.
    pub tracing: TraceContext,
    /// Its rules.
    pub rules: RuleTable,
    /// Seals the cookie of clients that stay with a group of a weighted forward.
    pub choices: Seal,
}

impl Snapshot {
    /// The snapshot before the first configuration: no listeners, no groups.
    pub fn empty() -> Self {
        Self {
            version: 0,
            targets_since: 0,
            config: Arc::new(Config::empty()),
            listeners: Vec::new(),
            sockets: Vec::new(),
            groups: Vec::new(),
            positions: Arc::default(),
            challenges: Arc::default(),
        }
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

    /// The listener in a slot; `None` once it has been removed.
    pub fn listener(&self, slot: ListenerSlot) -> Option<&Arc<CompiledListener>> {
        self.listeners.get(slot.0)?.as_ref()
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<CompiledListener>> {
        self.listeners.iter().flatten()
    }

    /// Every group, in the order of the configuration.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A group by its name.
    pub fn group_named(&self, id: &TargetGroupId) -> Option<&Group> {
        Some(&self.groups[self.position(id)?])
    }

    /// The configuration of a group by its name.
    pub fn group_config(&self, id: &TargetGroupId) -> Option<&config::TargetGroup> {
        Some(&self.group_named(id)?.config)
    }

    /// Where a group stands in [`Self::groups`].
    fn position(&self, id: &TargetGroupId) -> Option<usize> {
        self.positions.get(id).copied()
    }

    /// The groups that are not the same in `before`: those that a reader which knows that
    /// snapshot has to look at.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Group> {
        let is_same_order = Arc::ptr_eq(&self.positions, &before.positions);
        self.groups
            .iter()
            .enumerate()
            .filter_map(move |(index, group)| {
                let known = if is_same_order {
                    before.groups.get(index)
                } else {
                    before.group_named(&group.id)
                };
                let is_same = known.is_some_and(|known| known.is_same(group));
                (!is_same).then_some(group)
            })
    }

    /// The groups of `before` that are gone.
    pub fn gone_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a TargetGroupId> {
        let is_same_order = Arc::ptr_eq(&self.positions, &before.positions);
        before
            .groups
            .iter()
            .filter(move |_| !is_same_order)
            .map(|group| &group.id)
            .filter(|id| self.position(id).is_none())
    }
}
