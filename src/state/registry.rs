//! The live state of every target, kept while a group lists it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::draining::DrainingTargets;
use super::runtime_settings::GroupMember;
use crate::balance::KeyTable;
use crate::config;
use crate::model::{
    Endpoint, ListenerId, ListenerSlot, Maintenance, RateLimit, TargetGroupId, TargetId,
};
use crate::rate_limit::RateLimiter;
use crate::target::{Admission, Target};
use crate::target_group::{Live, Registered};

/// What outlives a snapshot: the live state of groups and targets, slots of listeners.
#[derive(Debug, Default)]
pub(super) struct Registry {
    groups: HashMap<TargetGroupId, GroupRecord>,
    /// Groups with a target that drains after it has left.
    draining: BTreeSet<TargetGroupId>,
    limiters: HashMap<ListenerId, Arc<RateLimiter>>,
    /// Of the listeners of the newest configuration.
    slots: HashMap<ListenerId, ListenerSlot>,
    /// Slots ever given out; an empty one stays empty.
    slot_count: usize,
}

/// What outlives the versions of one group.
#[derive(Debug)]
pub(super) struct GroupRecord {
    /// The limit of its targets and the queue.
    pub(super) admission: Arc<Admission<Target>>,
    pub(super) live: Live,
    /// The last table of its keys, if it is large and hashes.
    pub(super) table: Option<Arc<KeyTable>>,
    /// Its members, and those that drain after they have left.
    targets: HashMap<Endpoint, Arc<Target>>,
    draining: DrainingTargets,
    is_configured: bool,
}

impl Registry {
    /// The record of a group that the configuration has.
    pub(super) fn group(&mut self, id: &TargetGroupId) -> &mut GroupRecord {
        let record = self.groups.entry(id.clone()).or_default();
        record.is_configured = true;
        record
    }

    /// Gives a group these members. Targets of its last version, `before`, that are no
    /// members any more drain by `settings`. Returns the targets of its next version.
    pub(super) fn set_members(
        &mut self,
        settings: &config::TargetGroup,
        members: &[GroupMember],
        before: &[Registered],
        now: Instant,
    ) -> Vec<Registered> {
        let id = &settings.id;
        let registered = self.group(id).set_members(settings, members, before, now);
        self.note_draining(id);
        registered
    }

    /// A group is not configured any more: its targets drain by its last configuration.
    pub(super) fn remove(
        &mut self,
        last: &config::TargetGroup,
        targets: &[Registered],
        now: Instant,
    ) {
        let Some(record) = self.groups.get_mut(&last.id) else {
            return;
        };
        record.is_configured = false;
        record.live.maintenance = None;
        for registered in targets {
            record.begin_drain(registered, last, now);
            registered.target.set_listed(false);
        }
        record.forget_targets(&HashSet::new());
        self.note_draining(&last.id);
    }

    /// Releases targets that have drained or had their time. Returns the groups that have to
    /// be built anew for it.
    pub(super) fn release_drained(&mut self, now: Instant) -> Vec<TargetGroupId> {
        let mut changed = Vec::new();
        for id in self.draining.clone() {
            if let Some(record) = self.groups.get_mut(&id)
                && record.draining.release_drained(now)
                && record.is_configured
            {
                changed.push(id.clone());
            }
            self.note_draining(&id);
        }
        changed
    }

    /// Whether a target drains that has left its group.
    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// A table for a group, unless it has been forgotten.
    pub(super) fn set_table(&mut self, id: &TargetGroupId, table: KeyTable) {
        if let Some(record) = self.groups.get_mut(id) {
            record.table = Some(Arc::new(table));
        }
    }

    /// Notes whether targets drain that have left a group, and forgets a group that is not
    /// configured and has none.
    fn note_draining(&mut self, id: &TargetGroupId) {
        let Some(record) = self.groups.get(id) else {
            return;
        };
        if !record.draining.is_empty() {
            self.draining.insert(id.clone());
            return;
        }
        self.draining.remove(id);
        if !record.is_configured {
            // Requests that wait for it fail.
            record.admission.open(None, &[], false);
            self.groups.remove(id);
        }
    }

    /// The slot of a listener: the one it has, or a new one.
    ///
    /// A slot is not given to another listener: connections of the old one may still
    /// be draining, and they must not be answered by another listener's rules.
    pub(super) fn slot(&mut self, id: &ListenerId) -> ListenerSlot {
        if let Some(slot) = self.slots.get(id) {
            return *slot;
        }
        let slot = ListenerSlot(self.slot_count);
        self.slot_count += 1;
        self.slots.insert(id.clone(), slot);
        slot
    }

    /// The limiter of a listener: the one it has, or a new one if its settings have changed.
    pub(super) fn limiter(&mut self, id: &ListenerId, limit: &RateLimit) -> Arc<RateLimiter> {
        let kept = self.limiters.get(id).filter(|kept| kept.limit() == limit);
        if let Some(kept) = kept {
            return Arc::clone(kept);
        }
        let limiter = Arc::new(RateLimiter::new(limit.clone()));
        self.limiters.insert(id.clone(), Arc::clone(&limiter));
        limiter
    }

    /// Forgets listeners that are not in `kept`: empties their slots.
    pub(super) fn retain_listeners(&mut self, kept: &HashSet<&ListenerId>) {
        self.limiters.retain(|id, _| kept.contains(id));
        self.slots.retain(|id, _| kept.contains(id));
    }

    /// How many slots there are, empty ones included.
    pub(super) fn slots(&self) -> usize {
        self.slot_count
    }
}

impl Default for GroupRecord {
    fn default() -> Self {
        Self {
            admission: Arc::default(),
            live: Live::new(Instant::now()),
            table: None,
            targets: HashMap::new(),
            draining: DrainingTargets::default(),
            is_configured: true,
        }
    }
}

impl GroupRecord {
    /// Begins a maintenance, changes the one that has begun, or ends it. Returns what is in force.
    pub(super) fn maintain(&mut self, wanted: Option<Maintenance>) -> Option<Maintenance> {
        let before = self.live.maintenance;
        let since = |new: Maintenance| before.map_or(new.since, |before| before.since);
        self.live.maintenance = wanted.map(|new| Maintenance {
            since: since(new),
            ..new
        });
        self.live.maintenance
    }

    fn set_members(
        &mut self,
        settings: &config::TargetGroup,
        members: &[GroupMember],
        before: &[Registered],
        now: Instant,
    ) -> Vec<Registered> {
        let mut registered: Vec<Registered> = members
            .iter()
            .map(|member| Registered {
                target: self.target(&settings.id, &member.addr),
                weight: member.weight,
                registration: member.registration,
            })
            .collect();
        let stay: HashSet<&Endpoint> = members.iter().map(|member| &member.addr).collect();
        for registered in before {
            if !stay.contains(&registered.target.id.addr) {
                self.begin_drain(registered, settings, now);
            }
        }
        registered.extend(self.draining.show());
        for registered in before {
            let (target, addr) = (&registered.target, &registered.target.id.addr);
            target.set_listed(stay.contains(addr) || self.draining.shows(addr));
        }
        for registered in &registered {
            registered.target.set_listed(true);
        }
        self.forget_targets(&stay);
        registered
    }

    /// The live target at an address, which drains no longer, or a new one.
    fn target(&mut self, group: &TargetGroupId, addr: &Endpoint) -> Arc<Target> {
        let target = self.targets.entry(addr.clone()).or_insert_with(|| {
            let id = TargetId {
                group: group.clone(),
                addr: addr.clone(),
            };
            Arc::new(Target::with_admission(id, Arc::clone(&self.admission)))
        });
        self.draining.cancel_drain(&target.id);
        Arc::clone(target)
    }

    /// Drains a target that is no member any more, unless it drains already.
    fn begin_drain(
        &mut self,
        registered: &Registered,
        settings: &config::TargetGroup,
        now: Instant,
    ) {
        if !registered.registration.is_leaving() {
            self.draining.drain_removed(registered, settings, now);
        }
    }

    /// Forgets targets that are neither members nor draining. Requests in flight on one hold
    /// a reference of their own and are not disturbed.
    fn forget_targets(&mut self, members: &HashSet<&Endpoint>) {
        let draining = &self.draining;
        self.targets
            .retain(|addr, _| members.contains(addr) || draining.has(addr));
    }
}
