//! What is wanted of one provider, what it was asked for, and what was seen of it. Pure but for
//! log lines: time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use super::count_mismatch::CountMismatch;
use super::driver::{Answer, CallError, CallKind};
use super::leadership::Leadership;
use super::listing::{Listing, Running};
use super::membership::{Membership, Rules, TargetView, Targets};
use super::retry::RetryState;
use crate::config::{Replicas, Scaler};
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::{Fault, Fleet, GroupReplicas, ReplicaId, StopReason, Stopped, Usage};

/// A list is asked for although nothing is reported to have changed: events get lost.
pub(super) const RELIST_INTERVAL: Duration = Duration::from_secs(30);

/// What the replicas are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve.
    Serve,
    /// To go when they have drained.
    Retire,
    /// To go now.
    Stop,
}

/// What is wanted of a provider.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) settings: Replicas,
    /// `None` leaves the number as the provider has it.
    pub(super) count: Option<u32>,
    pub(super) purpose: Purpose,
    /// Whether the autoscaler goes by what the replicas use.
    pub(super) is_measured: bool,
}

/// What the provider has accepted.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// `None` before the first settings: a provider without any has no replicas.
    pub(super) settings: Option<Box<Replicas>>,
    /// `None` if it is to be asked for again.
    pub(super) count: Option<u32>,
}

/// What the provider has told.
#[derive(Debug)]
pub(super) struct Seen {
    /// The last list; `None` before the first.
    fleet: Option<Fleet>,
    /// What of it can be used; empty before the first.
    pub(super) listing: Listing,
    pub(super) listed_at: Instant,
    /// Whether the list may be another one by now.
    pub(super) is_stale: bool,
    usage: BTreeMap<ReplicaId, Usage>,
    measured_at: Option<Instant>,
}

/// Failures by what was asked for.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// For settings, lease, count and releases together: each goes before the next.
    pub(super) requests: RetryState,
    pub(super) lists: RetryState,
    pub(super) measurements: RetryState,
    pub(super) watches: RetryState,
}

/// All that is known of one provider of a group.
#[derive(Debug)]
pub(super) struct ProviderState {
    pub(super) group: TargetGroupId,
    /// Whether the replicas end with Weir.
    pub(super) is_own: bool,
    pub(super) wanted: Wanted,
    pub(super) asked: Asked,
    pub(super) seen: Seen,
    pub(super) leadership: Leadership,
    pub(super) mismatch: CountMismatch,
    pub(super) retries: Retries,
    /// When to measure next.
    pub(super) measure_at: Instant,
    pub(super) membership: Membership,
    /// Those that are to be replaced by others.
    pub(super) replaced: BTreeSet<ReplicaId>,
    /// Those that have stopped and were not asked for yet.
    stopped: Vec<Stopped>,
}

impl ProviderState {
    /// Of a provider that has not been asked for anything.
    pub(super) fn new(group: TargetGroupId, is_own: bool, wanted: Wanted, now: Instant) -> Self {
        Self {
            group,
            is_own,
            wanted,
            asked: Asked::default(),
            seen: Seen {
                fleet: None,
                listing: Listing::default(),
                listed_at: now,
                is_stale: true,
                usage: BTreeMap::new(),
                measured_at: None,
            },
            leadership: Leadership::default(),
            mismatch: CountMismatch::default(),
            retries: Retries::default(),
            measure_at: now,
            membership: Membership::default(),
            replaced: BTreeSet::new(),
            stopped: Vec::new(),
        }
    }

    /// Wants replicas that serve, with these settings and so many. Other settings are tried at
    /// once, whatever failed before.
    pub(super) fn serve(&mut self, settings: &Replicas, count: Option<u32>) {
        if self.wanted.settings != *settings {
            self.wanted.settings.clone_from(settings);
            self.retries.requests.retry_now();
        }
        self.wanted.count = count;
        self.set_purpose(Purpose::Serve);
    }

    /// Wants the replicas to drain and to stop, unless they are to stop at once.
    pub(super) fn retire(&mut self) {
        if self.wanted.purpose == Purpose::Serve {
            self.set_purpose(Purpose::Retire);
        }
    }

    /// Wants the replicas to stop at once.
    pub(super) fn stop(&mut self) {
        self.set_purpose(Purpose::Stop);
    }

    /// Wants another replica in place of one, if it is one that Weir runs and is to go on.
    pub(super) fn replace(&mut self, id: ReplicaId) {
        let fleet = self.seen.fleet.iter();
        let mut listed = fleet.flat_map(|fleet| &fleet.replicas);
        let is_staying = listed.any(|replica| replica.id == id && replica.state.is_staying());
        if self.is_own && is_staying && self.wanted.purpose == Purpose::Serve {
            self.replaced.insert(id);
        }
    }

    /// Those that have stopped since the last call.
    pub(super) fn take_stopped(&mut self) -> Vec<Stopped> {
        std::mem::take(&mut self.stopped)
    }

    fn set_purpose(&mut self, purpose: Purpose) {
        if self.wanted.purpose != purpose {
            self.wanted.purpose = purpose;
            if purpose != Purpose::Serve {
                self.replaced.clear();
            }
            self.retries.requests.retry_now();
        }
    }

    /// Brings what depends on the time alone up to date: what was accepted and does not come is
    /// a fault and to be asked for again, and a list gets old.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.compare_counts(now);
        if self.mismatch.is_over(now) {
            if let Some(fault) = self.mismatch.fault() {
                warn!(
                    event = kind::REPLICA, group = %self.group, error = %fault.message,
                    "replicas are not as many as were asked for; asking again"
                );
            }
            self.asked.count = None;
        }
        self.seen.is_stale |= now >= self.seen.listed_at + RELIST_INTERVAL;
        if !self.is_measured() {
            self.retries.measurements.succeeded();
            self.seen.usage.clear();
            self.seen.measured_at = None;
        }
    }

    /// Compares what was accepted with what exists. Where another Weir decides, its number is
    /// none that was asked for here.
    fn compare_counts(&mut self, now: Instant) {
        if self.count_to_ask(now).is_none() {
            self.mismatch = CountMismatch::default();
        } else if let Some(fleet) = &self.seen.fleet {
            self.mismatch.note(self.asked.count, fleet.staying(), now);
        }
    }

    /// The count that this Weir may ask for.
    pub(super) fn count_to_ask(&self, now: Instant) -> Option<u32> {
        match self.wanted.purpose {
            Purpose::Serve => {
                // A Weir that does not scale runs its own replicas all the same.
                let is_alone = self.is_own && self.wanted.settings.scaler == Scaler::No;
                let may_scale = is_alone || self.leadership.may_scale(now);
                self.wanted.count.filter(|_| may_scale)
            }
            Purpose::Retire | Purpose::Stop => Some(0),
        }
    }

    pub(super) fn is_measured(&self) -> bool {
        self.wanted.is_measured && self.wanted.purpose == Purpose::Serve && self.is_configured()
    }

    /// Takes in what became of a call.
    pub(super) fn note(&mut self, answer: Result<Answer, CallError>, now: Instant) {
        match answer {
            Ok(answer) => self.note_answer(answer, now),
            Err(error) => self.note_error(&error, now),
        }
    }

    fn note_answer(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Configured(settings) => {
                match settings.scaler {
                    Scaler::Yes => self.set_leader(true, now),
                    Scaler::No => self.set_leader(false, now),
                    Scaler::Lease => {}
                }
                self.asked.settings = Some(settings);
                self.seen.is_stale = true;
            }
            Answer::MayScale(may_scale) => self.set_leader(may_scale, now),
            Answer::CountSet(count) => {
                self.asked.count = Some(count);
                self.seen.is_stale = true;
            }
            Answer::Released(replica) => {
                self.membership.note_release(replica);
                self.seen.is_stale = true;
            }
            Answer::Replaced(replica) => {
                self.replaced.remove(&replica);
                self.seen.is_stale = true;
            }
            Answer::Listed(mut fleet) => {
                self.note_stopped(&mut fleet);
                self.seen.listing = Listing::of(&fleet);
                self.seen.fleet = Some(fleet);
                self.seen.is_stale = false;
                self.seen.listed_at = now;
                note_success(&mut self.retries.lists, &self.group);
            }
            Answer::Measured(usage) => {
                self.seen.usage = usage.into_iter().collect();
                self.seen.measured_at = Some(now);
                note_success(&mut self.retries.measurements, &self.group);
            }
            Answer::Changed => {
                self.seen.is_stale = true;
                note_success(&mut self.retries.watches, &self.group);
            }
        }
    }

    /// Notes which replicas have stopped by a new list.
    fn note_stopped(&mut self, next: &mut Fleet) {
        let purpose = self.wanted.purpose;
        let own = next.stopped.drain(..).map(|stopped| Stopped {
            reason: match (stopped.reason, purpose) {
                // Its provider knows only that none is wanted any more.
                (StopReason::ScaleIn, Purpose::Retire) => StopReason::Removed,
                (StopReason::ScaleIn, Purpose::Stop) => StopReason::Shutdown,
                (reason, Purpose::Serve | Purpose::Retire | Purpose::Stop) => reason,
            },
            ..stopped
        });
        self.stopped.extend(own);
        if let Some(before) = self.seen.fleet.as_ref().filter(|_| !self.is_own) {
            self.stopped.extend(gone(before, next));
        }
        let stays = |id: &ReplicaId| next.replicas.iter().any(|replica| replica.id == *id);
        self.replaced.retain(stays);
    }

    fn set_leader(&mut self, is_leader: bool, now: Instant) {
        if self.leadership.set(is_leader, now) {
            // The leader before may have changed the count.
            self.asked.count = None;
        }
    }

    fn note_error(&mut self, error: &CallError, now: Instant) {
        if error.kind == CallKind::SetCount {
            // It may have been accepted all the same: a call without an answer is no refusal.
            self.asked.count = None;
        }
        let retry = match error.kind {
            CallKind::Configure | CallKind::SetCount | CallKind::Release | CallKind::Replace => {
                &mut self.retries.requests
            }
            CallKind::MayScale => {
                self.leadership.failed(now);
                &mut self.retries.requests
            }
            CallKind::List => &mut self.retries.lists,
            CallKind::Measure => {
                self.seen.usage.clear();
                &mut self.retries.measurements
            }
            CallKind::Watch => {
                self.seen.is_stale = true;
                &mut self.retries.watches
            }
        };
        if let Some(message) = error.message()
            && retry.failed(message.clone(), now)
        {
            warn!(
                event = kind::REPLICA, group = %self.group, error = %message,
                "the provider of the replicas fails; they stay as they are, trying again"
            );
        }
    }

    /// Decides which replicas are targets: of those that run the ones for which `is_warm` says
    /// so.
    pub(super) fn choose_members(
        &mut self,
        view: &TargetView<'_>,
        is_warm: impl Fn(&Running) -> bool,
    ) {
        let Some(fleet) = &self.seen.fleet else {
            return;
        };
        let serves = self.wanted.purpose == Purpose::Serve;
        let should_run = fleet.desired > 0 || self.wanted.count.is_some_and(|count| count > 0);
        let rules = Rules {
            awaits_successors: self.is_own && serves,
            doubts_empty_lists: !self.is_own && serves && should_run,
        };
        let listing = &self.seen.listing;
        self.membership
            .choose(&self.group, listing, view, rules, is_warm);
    }

    /// Drains the replicas that are told to go and are no targets any more. Takes their targets
    /// out of `targets`. An engine drains its own.
    pub(super) fn drain(&mut self, targets: &mut Targets) {
        if self.is_own {
            let at_once = self.wanted.purpose == Purpose::Stop;
            let listing = &self.seen.listing;
            self.membership
                .drain(&self.group, listing, targets, at_once);
        }
    }

    /// Whether the provider has ever accepted settings.
    pub(super) fn is_configured(&self) -> bool {
        self.asked.settings.is_some()
    }

    /// Every address of a replica or a target.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let listed = self.seen.listing.addresses.iter();
        listed.chain(&self.membership.members).copied()
    }

    /// Whether it can take over from the provider before: one of its replicas serves, or none
    /// is to.
    pub(super) fn can_take_over(&self, view: &TargetView<'_>) -> bool {
        let Some(fleet) = &self.seen.fleet else {
            return false;
        };
        self.wanted.count.unwrap_or(fleet.desired) == 0 || self.membership.serves(view)
    }

    /// The last list; `None` before the first.
    pub(super) fn fleet(&self) -> Option<&Fleet> {
        self.seen.fleet.as_ref()
    }

    /// Whether its last replica is gone after it was told to retire or stop.
    pub(super) fn is_gone(&self) -> bool {
        let is_empty = |fleet: &Fleet| fleet.replicas.is_empty();
        self.wanted.purpose != Purpose::Serve
            && (!self.is_configured()
                || self.asked.count == Some(0)
                    && !self.seen.is_stale
                    && self.fleet().is_some_and(is_empty))
    }

    /// Whether the provider, told to stop, fails to, or does not even begin.
    pub(super) fn is_stuck(&self) -> bool {
        self.fault().is_some() || self.fleet().is_some_and(|fleet| fleet.staying() > 0)
    }

    /// What the provider fails at, the most important first.
    fn fault(&self) -> Option<&Fault> {
        let Retries {
            requests,
            lists,
            measurements,
            watches,
        } = &self.retries;
        requests
            .fault()
            .or(lists.fault())
            .or(self.mismatch.fault())
            .or(measurements.fault())
            .or(watches.fault())
    }

    /// What is shown of it; `None` before its first list, unless something is wrong.
    pub(super) fn status(&self) -> Option<GroupReplicas> {
        let fault = self
            .fault()
            .or(self.membership.doubt.as_ref())
            .cloned()
            .or_else(|| self.fleet()?.crash_loop());
        if self.fleet().is_none() && fault.is_none() {
            return None;
        }
        // Without a list it is not known how many there are, so nothing can be decided.
        let is_scaler = self.leadership.is_leader() && self.fleet().is_some();
        let fleet = self.fleet().cloned().unwrap_or_default();
        Some(GroupReplicas {
            desired: fleet.desired,
            replicas: fleet.replicas,
            usage: self.seen.usage.clone(),
            measured: self.seen.measured_at.map(Instant::into_std),
            fault,
            is_scaler,
            is_own: self.is_own,
            stopped: Arc::default(),
        })
    }
}

/// The replicas of an engine's list that its next one has not.
fn gone(before: &Fleet, next: &Fleet) -> impl Iterator<Item = Stopped> {
    let listed: HashSet<ReplicaId> = next.replicas.iter().map(|replica| replica.id).collect();
    let is_fewer = next.desired < before.staying();
    let gone = before.replicas.iter();
    gone.filter(move |replica| !listed.contains(&replica.id))
        .map(move |replica| Stopped {
            id: replica.id,
            name: replica.name.clone(),
            pid: replica.pid,
            address: replica.address,
            restarts: replica.restarts,
            started: replica.started,
            stopped: SystemTime::now(),
            reason: if is_fewer {
                StopReason::ScaleIn
            } else {
                StopReason::Engine
            },
            exit: None,
        })
}

/// Notes a success, and logs it after a failure.
pub(super) fn note_success(retry: &mut RetryState, group: &TargetGroupId) {
    if retry.succeeded() {
        info!(event = kind::REPLICA, %group, "the provider of the replicas works again");
    }
}
