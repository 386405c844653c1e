//! The live state of every target, kept while anybody lists it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::leaving::Leaving;
use super::rate_limiter::RateLimiter;
use super::snapshot::Snapshot;
use crate::config::Config;
use crate::model::{
    Admission, ListenerId, ListenerSlot, RateLimit, Target, TargetGroupId, TargetId,
};
use crate::target_group::{Live, Registered, TargetGroup};

/// What outlives a snapshot: targets by group and address, slots by listener.
#[derive(Debug, Default)]
pub struct Registry {
    targets: HashMap<TargetId, Arc<Target>>,
    leaving: Leaving,
    admissions: HashMap<TargetGroupId, Arc<Admission>>,
    limiters: HashMap<ListenerId, Arc<RateLimiter>>,
    live: HashMap<TargetGroupId, Live>,
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

    /// What a group has learned and spent so far.
    pub fn live(&mut self, group: &TargetGroupId) -> Live {
        let begun = || Live::new(Instant::now());
        self.live.entry(group.clone()).or_insert_with(begun).clone()
    }

    /// Sees off the targets that `old` has and the groups of `config` do not: `members`.
    pub(super) fn part(
        &mut self,
        old: &Snapshot,
        config: &Config,
        members: &[Vec<Registered>],
        now: Instant,
    ) {
        let stay: HashSet<&TargetId> = members.iter().flatten().map(|t| &t.target.id).collect();
        for id in &stay {
            self.leaving.back(id);
        }
        for (group, last) in old.groups.iter().zip(&old.config.target_groups) {
            let mut configured = config.target_groups.iter();
            let settings = configured.find(|g| g.id == group.id).unwrap_or(last);
            for registered in &group.targets {
                let is_leaving = registered.registration.is_leaving();
                if !is_leaving && !stay.contains(&registered.target.id) {
                    self.leaving.begin(registered, settings, now);
                }
            }
        }
    }

    /// Those who leave a group and still have requests.
    pub(super) fn leaving(&mut self, group: &TargetGroupId) -> Vec<Registered> {
        self.leaving.show(group)
    }

    /// Releases those who have drained or had their time; says whether that shows.
    pub(super) fn let_go(&mut self, config: &Config, now: Instant) -> bool {
        self.leaving.let_go(config, now)
    }

    /// Whether somebody leaves.
    pub(super) fn is_draining(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets every group and every target that neither is in these groups nor leaves.
    /// Requests in flight on it hold their own reference and end in peace.
    pub(super) fn retain(&mut self, config: &Config, groups: &[Arc<TargetGroup>]) {
        let listed = groups.iter().flat_map(|group| &group.targets);
        let listed: HashSet<&TargetId> = listed.map(|t| &t.target.id).collect();
        let leaving = &self.leaving;
        self.targets
            .retain(|id, _| listed.contains(id) || leaving.has(id));
        // Who comes back in time finds the places it has taken.
        let mut kept = leaving.groups();
        kept.extend(config.target_groups.iter().map(|group| &group.id));
        self.admissions.retain(|id, admission| {
            let stays = kept.contains(id);
            if !stays {
                // Who waits for it waits no longer.
                admission.open(None, &[], false);
            }
            stays
        });
        self.live.retain(|id, _| kept.contains(id));
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
    ///
    /// A slot is not given to another listener: connections of the old one may still
    /// be draining, and they must not be answered by somebody else's rules.
    pub fn retain_listeners(&mut self, kept: &[ListenerId]) {
        self.limiters.retain(|id, _| kept.contains(id));
        for slot in &mut self.slots {
            slot.take_if(|id| !kept.contains(id));
        }
    }

    /// How many slots there are, empty ones included.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
}
