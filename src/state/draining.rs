//! Targets that have left their group and may still have requests.
//!
//! A target leaves for several reasons: a configuration, a deregistration, another DNS
//! response, fewer replicas. It drains until nothing is in flight or its group's
//! deregistration delay is over (ALB, "Deregistration delay"). Then it is released, which is
//! final.
//!
//! It stays here for a moment even when it is idle, because a worker that loaded the
//! snapshot before may be about to pick it; only those with requests are shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::config;
use crate::model::{DrainReason, Draining, Endpoint, Registration, StickyDraining, TargetId};
use crate::observe::kind;
use crate::target::Target;
use crate::target_group::Registered;

/// Between checks of which targets have drained. Far longer than the moment from loading a
/// snapshot to picking from it, and short enough that no replica is kept for nothing.
pub(super) const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The targets that have left one group and are not released yet.
#[derive(Debug, Default)]
pub(super) struct DrainingTargets(BTreeMap<Endpoint, DrainingTarget>);

#[derive(Debug)]
struct DrainingTarget {
    target: Arc<Target>,
    weight: u16,
    draining: Draining,
    /// Its sessions may come back to it, so it does not end early.
    keeps_sessions: bool,
    /// Whether the last snapshot has it.
    shown: bool,
}

impl DrainingTarget {
    fn is_busy(&self) -> bool {
        self.keeps_sessions || self.target.load().in_flight() > 0
    }

    fn is_over(&self, now: Instant) -> bool {
        self.draining.until.is_some_and(|until| until <= now)
    }
}

impl DrainingTargets {
    /// Starts to drain a target that has left; `group` is its group as configured now, or as
    /// it was last.
    pub(super) fn drain_removed(
        &mut self,
        registered: &Registered,
        group: &config::TargetGroup,
        now: Instant,
    ) {
        let target = &registered.target;
        let delay = group.deregistration_delay;
        if delay.is_zero() {
            target.release();
            return;
        }
        let draining = DrainingTarget {
            target: Arc::clone(target),
            weight: registered.weight,
            draining: Draining {
                reason: DrainReason::Deregistered,
                since: now,
                until: Some(now + delay),
            },
            keeps_sessions: group
                .sticky
                .as_ref()
                .is_some_and(|sticky| sticky.when_draining == StickyDraining::Stay),
            shown: false,
        };
        if draining.is_busy() {
            let TargetId { group, addr } = &target.id;
            let requests = target.load().in_flight();
            info!(event = kind::DRAIN, %group, target = %addr, requests, "target drains for at most {delay:?}");
        }
        self.0.insert(target.id.addr.clone(), draining);
    }

    /// Stops draining a target that is in its group again.
    pub(super) fn cancel_drain(&mut self, id: &TargetId) {
        if self
            .0
            .remove(&id.addr)
            .is_some_and(|draining| draining.shown)
        {
            info!(event = kind::DRAIN, group = %id.group, target = %id.addr, "target is back before it has drained");
        }
    }

    /// The targets to be shown in the next snapshot.
    pub(super) fn show(&mut self) -> impl Iterator<Item = Registered> {
        self.0.values_mut().filter_map(|draining| {
            draining.shown = draining.is_busy();
            draining.shown.then(|| Registered {
                target: Arc::clone(&draining.target),
                weight: draining.weight,
                registration: Registration::Draining(draining.draining),
            })
        })
    }

    /// Releases the targets that have drained or had their time. Returns whether a snapshot
    /// would show others now.
    pub(super) fn release_drained(&mut self, now: Instant) -> bool {
        let mut changed = false;
        self.0.retain(|_, draining| {
            let requests = draining.target.load().in_flight();
            let TargetId { group, addr } = &draining.target.id;
            if draining.is_busy() && !draining.is_over(now) {
                changed |= !draining.shown;
                return true;
            }
            if requests > 0 {
                warn!(
                    event = kind::DRAIN, %group, target = %addr, requests,
                    "deregistration delay is over: upgraded and TCP connections are closed"
                );
            } else if draining.shown {
                info!(event = kind::DRAIN, %group, target = %addr, "target has drained");
            }
            changed |= draining.shown;
            draining.target.release();
            false
        });
        changed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, addr: &Endpoint) -> bool {
        self.0.contains_key(addr)
    }

    /// Whether the last snapshot shows a target as draining.
    pub(super) fn shows(&self, addr: &Endpoint) -> bool {
        self.0.get(addr).is_some_and(|draining| draining.shown)
    }
}
