//! A set of targets with one policy, and how a request gets one of them.
//!
//! A [`TargetGroup`] is immutable: a change of membership, weights or health builds another
//! one. Roster and picker change together or not at all.

mod budget;
mod eligibility;
mod pick_request;
mod registered;
mod selection;
mod slow_start;
mod sticky;
mod traffic_share;

use std::sync::Arc;
use std::time::Instant;

use crate::model::{Failure, HashKey, Maintenance, Overload, Retry, TargetGroupId, UpstreamLimits};
use crate::target::{Admission, KeepAlive, Lease, Serial, Target, Waiter, Wants};
use crate::tls;

pub use crate::balance::{hash_client, hash_key, hash_target};
pub use budget::{Budget, Permit};
pub use eligibility::{EligibleRoster, FailOpenPolicy, choose};
pub use pick_request::{MAX_ATTEMPTS, PickRequest, Tried, Unavailable};
pub use registered::Registered;
pub use selection::Selection;
pub use slow_start::advance;
pub use sticky::{
    ApplicationCookie, Choices, CookieUpdate, Nonce, Seal, Session, Sessions, draining,
};
pub use traffic_share::TrafficShare;

/// A set of targets with one policy, as requests see it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // four facts that have nothing to do with each other
pub struct TargetGroup {
    /// Its name.
    pub id: TargetGroupId,
    /// Deadlines and pools towards its targets.
    pub upstream: UpstreamLimits,
    /// In what its targets are spoken to; `None` for plain bytes.
    pub tls: Option<tls::Client>,
    /// When a failed request goes to another target.
    pub retry: Retry,
    /// How many requests its targets take at a time, and how many wait.
    pub overload: Overload,
    /// Whether requests wait in its queue while it has no eligible target: its first replica
    /// starts because of them.
    pub scales_to_zero: bool,
    /// The limit of its targets and the queue, shared with the targets.
    pub admission: Arc<Admission<Target>>,
    /// The part of a request that is hashed; `None` when the algorithm does not hash.
    pub hash_key: Option<HashKey>,
    /// Its targets, eligible or not; then those which have left it and have requests.
    pub targets: Arc<[Registered]>,
    /// Whether its algorithm compares response times: only then is [`Target::latency`]
    /// recorded.
    pub measures_time: bool,
    /// The targets a request may get; `None` when no target is eligible.
    pub selection: Option<Selection>,
    /// Whether requests go to targets that fail their checks, because too few pass.
    pub failing_open: bool,
    /// Whether a target may be picked that passes its checks, if there are any. Clients that
    /// stay with a group leave it otherwise.
    pub is_alive: bool,
    /// How clients stay on a target; `None` chooses anew for every request.
    pub sticky: Option<Sessions>,
    /// Live state which outlives it.
    pub live: Live,
}

/// The live state of a group. Kept by `state::Registry`, so that the next version of the group
/// goes on with it.
#[derive(Clone, Debug)]
pub struct Live {
    /// Limits its retries.
    pub budget: Arc<Budget>,
    /// For how long its targets keep idle connections.
    pub keep_alive: Arc<KeepAlive>,
    /// Its maintenance, while it is in one: it gets no requests.
    pub maintenance: Option<Maintenance>,
}

impl Live {
    /// Of a group that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            budget: Arc::new(Budget::new(now)),
            keep_alive: Arc::new(KeepAlive::new(now)),
            maintenance: None,
        }
    }
}

impl TargetGroup {
    /// Refuses what has just come if the group is in maintenance. What came before goes on.
    pub fn admit(&self) -> Result<(), Failure> {
        match self.live.maintenance {
            Some(maintenance) => Err(Failure::Maintenance(maintenance.retry_after)),
            None => Ok(()),
        }
    }

    /// Whether there may be a target that was not tried yet.
    pub fn has_another(&self, tried: &Tried) -> bool {
        !tried.is_full()
            && self
                .selection
                .as_ref()
                .is_some_and(|selection| tried.as_slice().len() < selection.roster.members().len())
    }

    /// Picks a target and starts a request on it. `tried` grows by the member that
    /// was picked, so a retry with the same list goes elsewhere.
    pub fn acquire(&self, request: &PickRequest, tried: &mut Tried) -> Result<Lease, Unavailable> {
        if let (Some(session), Some(sessions)) = (request.session, &self.sticky)
            && let Some(lease) = sessions.resume(session, tried)?
        {
            return Ok(lease);
        }
        let selection = self.selection.as_ref().ok_or(Unavailable::NoTarget)?;
        if tried.is_full() {
            return Err(Unavailable::AllTried);
        }
        let picked = selection
            .picker
            .pick(&request.context(tried.as_slice()))
            .ok_or(Unavailable::AllTried)?;
        if self.admission.waiting() > 0 {
            // Requests that wait come first.
            return Err(Unavailable::Full);
        }
        selection.acquire(picked, request, tried)
    }

    /// The target that a request with this key would be sent to first, if no limit and no slow
    /// start is in its way; `None` if none is eligible, or the algorithm looks at no key.
    pub fn target_of_key(&self, key: u64, now: Instant) -> Option<&Arc<Target>> {
        self.hash_key.as_ref()?;
        let selection = self.selection.as_ref()?;
        let request = PickRequest {
            key: Some(key),
            session: None,
            entropy: 0,
            now,
        };
        let picked = selection.picker.pick(&request.context(&[]))?;
        Some(&selection.roster.members()[picked].target)
    }

    /// Whether a request that has tried these may wait for a target that is to come.
    pub fn waits_when_empty(&self, tried: &Tried) -> bool {
        self.scales_to_zero && self.selection.is_none() && !tried.is_full()
    }

    /// Joins the queue of requests that wait for a slot: on the target of the session if it
    /// is to be waited for, otherwise on any target that was not tried. Returns `None` if the
    /// queue is full.
    pub fn enqueue(&self, session: Option<u64>, tried: &Tried) -> Option<Waiter<Target>> {
        let own = match (session, &self.sticky) {
            (Some(session), Some(sessions)) => sessions.waits_for(session),
            (None, _) | (_, None) => None,
        };
        let wants = match own {
            Some(target) => Wants::Only(target.serial),
            None => Wants::AnyBut(self.tried(tried)),
        };
        self.admission.enqueue(wants, self.overload.queue_length)
    }

    fn tried(&self, tried: &Tried) -> Vec<Serial> {
        self.selection
            .iter()
            .flat_map(|selection| selection.roster.members())
            .enumerate()
            .filter(|(index, _)| tried.as_slice().contains(index))
            .map(|(_, member)| member.target.serial)
            .collect()
    }

    /// Adds a target to `tried` that a request was given without [`Self::acquire`]. One that
    /// joined after this roster was built takes up a try all the same.
    pub fn mark_tried(&self, target: &Target, tried: &mut Tried) {
        let index = self
            .selection
            .iter()
            .flat_map(|selection| selection.roster.members())
            .position(|member| member.target.serial == target.serial);
        tried.push(index.unwrap_or(usize::MAX));
    }
}
