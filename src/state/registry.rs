//! The live state of every target, kept while a group lists it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::fact::Entry;
use super::leaving::Leaving;
use crate::balance::KeyTable;
use crate::config;
use crate::model::{ListenerId, ListenerSlot, RateLimit, TargetGroupId, TargetId};
use crate::rate_limit::RateLimiter;
use crate::target::{Admission, Target};
use crate::target_group::{Live, Registered};

/// What outlives a snapshot: groups with their targets, slots by listener.
#[derive(Debug, Default)]
pub(super) struct Registry {
    groups: HashMap<TargetGroupId, GroupRecord>,
    /// Groups that a target leaves.
    draining: BTreeSet<TargetGroupId>,
    limiters: HashMap<ListenerId, Arc<RateLimiter>>,
    /// Of the listeners there are.
    slots: HashMap<ListenerId, ListenerSlot>,
    /// Slots ever given out; an empty one stays empty.
    slot_count: usize,
}

/// What outlives a group's versions.
#[derive(Debug)]
pub(super) struct GroupRecord {
    /// What its targets may take.
    pub(super) admission: Arc<Admission<Target>>,
    /// What it has learned and spent so far.
    pub(super) live: Live,
    /// Where its keys went last, if it is large and hashes.
    pub(super) table: Option<Arc<KeyTable>>,
    /// Those that it lists and those that leave.
    targets: HashMap<SocketAddr, Arc<Target>>,
    leaving: Leaving,
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
    pub(super) fn enroll(
        &mut self,
        settings: &config::TargetGroup,
        members: &[Entry],
        before: &[Registered],
        now: Instant,
    ) -> Vec<Registered> {
        let id = &settings.id;
        let registered = self.group(id).enroll(settings, members, before, now);
        self.note_draining(id);
        registered
    }

    /// A group is not configured any more: its targets drain as they were to drain last.
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
        for registered in targets {
            record.begin_drain(registered, last, now);
            registered.target.set_listed(false);
        }
        record.forget_targets(&HashSet::new());
        self.note_draining(&last.id);
    }

    /// Releases targets that have drained or had their time; returns the groups that show it.
    pub(super) fn release_drained(&mut self, now: Instant) -> Vec<TargetGroupId> {
        let mut changed = Vec::new();
        for id in self.draining.clone() {
            if let Some(record) = self.groups.get_mut(&id)
                && record.leaving.release_drained(now)
                && record.is_configured
            {
                changed.push(id.clone());
            }
            self.note_draining(&id);
        }
        changed
    }

    /// Whether a target leaves a group.
    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// A table for a group, unless it has been forgotten.
    pub(super) fn set_table(&mut self, id: &TargetGroupId, table: KeyTable) {
        if let Some(record) = self.groups.get_mut(id) {
            record.table = Some(Arc::new(table));
        }
    }

    /// Remembers whether a target leaves a group, and forgets a group that has none any more.
    fn note_draining(&mut self, id: &TargetGroupId) {
        let Some(record) = self.groups.get(id) else {
            return;
        };
        if !record.leaving.is_empty() {
            self.draining.insert(id.clone());
            return;
        }
        self.draining.remove(id);
        if !record.is_configured {
            // What waits for it waits no longer.
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

    /// The limiter of a listener: the one it has, or a new one if its settings are new.
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
            leaving: Leaving::default(),
            is_configured: true,
        }
    }
}

impl GroupRecord {
    fn enroll(
        &mut self,
        settings: &config::TargetGroup,
        members: &[Entry],
        before: &[Registered],
        now: Instant,
    ) -> Vec<Registered> {
        let mut registered: Vec<Registered> = members
            .iter()
            .map(|entry| Registered {
                target: self.target(&settings.id, entry.addr),
                weight: entry.weight,
                registration: entry.registration,
            })
            .collect();
        let stay: HashSet<SocketAddr> = members.iter().map(|entry| entry.addr).collect();
        for registered in before {
            if !stay.contains(&registered.target.id.addr) {
                self.begin_drain(registered, settings, now);
            }
        }
        registered.extend(self.leaving.show());
        for registered in before {
            let (target, addr) = (&registered.target, registered.target.id.addr);
            target.set_listed(stay.contains(&addr) || self.leaving.shows(addr));
        }
        for registered in &registered {
            registered.target.set_listed(true);
        }
        self.forget_targets(&stay);
        registered
    }

    /// The live target at an address, which drains no longer, or a new one.
    fn target(&mut self, group: &TargetGroupId, addr: SocketAddr) -> Arc<Target> {
        let target = self.targets.entry(addr).or_insert_with(|| {
            let id = TargetId {
                group: group.clone(),
                addr,
            };
            Arc::new(Target::with_admission(id, Arc::clone(&self.admission)))
        });
        self.leaving.cancel_drain(&target.id);
        Arc::clone(target)
    }

    /// A target is no member any more. It may have begun to drain before.
    fn begin_drain(
        &mut self,
        registered: &Registered,
        settings: &config::TargetGroup,
        now: Instant,
    ) {
        if !registered.registration.is_leaving() {
            self.leaving.begin(registered, settings, now);
        }
    }

    /// Forgets targets that neither are members nor leave. Requests in flight on one hold
    /// their own reference and end in peace.
    fn forget_targets(&mut self, members: &HashSet<SocketAddr>) {
        let leaving = &self.leaving;
        let is_known = |addr: &SocketAddr| members.contains(addr) || leaving.has(*addr);
        self.targets.retain(|addr, _| is_known(addr));
    }
}
