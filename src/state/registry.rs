//! The live state of every target, kept while anybody lists it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::{Admission, ListenerId, ListenerSlot, Target, TargetGroupId, TargetId};

/// What outlives a snapshot: targets by group and address, slots by listener.
#[derive(Debug, Default)]
pub struct Registry {
    targets: HashMap<TargetId, Arc<Target>>,
    admissions: HashMap<TargetGroupId, Arc<Admission>>,
    /// The position is the slot; an empty one stays empty.
    slots: Vec<Option<ListenerId>>,
}

impl Registry {
    /// The target of a group at an address: the live one, or a new one.
    pub fn target(&mut self, group: &TargetGroupId, addr: SocketAddr) -> Arc<Target> {
        let id = TargetId {
            group: group.clone(),
            addr,
        };
        let admission = self.admission(group);
        let target = self
            .targets
            .entry(id)
            .or_insert_with_key(|id| Arc::new(Target::admitted(id.clone(), admission)));
        Arc::clone(target)
    }

    /// What the targets of a group may take.
    pub fn admission(&mut self, group: &TargetGroupId) -> Arc<Admission> {
        Arc::clone(self.admissions.entry(group.clone()).or_default())
    }

    /// Forgets every group that is not in `kept`.
    pub fn retain_groups(&mut self, kept: &HashSet<&TargetGroupId>) {
        self.admissions.retain(|id, _| kept.contains(id));
    }

    /// Forgets every target that is not in `kept`. Requests in flight on it hold
    /// their own reference and end in peace.
    pub fn retain_targets(&mut self, kept: &HashSet<TargetId>) {
        self.targets.retain(|id, _| kept.contains(id));
    }

    /// The slot of a listener: the one it has, or a new one.
    pub fn slot(&mut self, id: &ListenerId) -> ListenerSlot {
        let has = |slot: &Option<ListenerId>| slot.as_ref() == Some(id);
        let found = self.slots.iter().position(has);
        let slot = found.unwrap_or_else(|| {
            self.slots.push(Some(id.clone()));
            self.slots.len() - 1
        });
        ListenerSlot(slot)
    }

    /// Empties the slots of listeners that are not in `kept`.
    ///
    /// A slot is not given to another listener: connections of the old one may still
    /// be draining, and they must not be answered by somebody else's rules.
    pub fn retain_slots(&mut self, kept: &[ListenerId]) {
        for slot in &mut self.slots {
            slot.take_if(|id| !kept.contains(id));
        }
    }

    /// How many slots there are, empty ones included.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}
