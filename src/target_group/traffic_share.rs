//! Members that get less than they are picked for: those in slow start, and under
//! `weighted_random` those that do worse than their peers.
//!
//! Whatever the algorithm, a member is picked as if it had its whole share, and then a
//! part of the requests passes it over, as if it were full. Which requests they are is left
//! to chance, or to the request's key: a key then moves to the member once and stays.
//! Algorithms that compare loads would pick a member that is passed over again and again,
//! because it has less to do than the others; for them its share is also one of the requests
//! in flight.

use std::time::{Duration, Instant};

use super::pick_request::PickRequest;
use crate::balance::{self, Roster};
use crate::model::Algorithm;
use crate::target::{Ramp, WHOLE_SHARE};

/// How much the members of one roster get of what they are picked for.
#[derive(Debug)]
pub struct TrafficShare {
    /// How long a ramp takes.
    over: Duration,
    /// By member.
    ramps: Box<[Ramp]>,
    /// Whether anomaly mitigation lowers the shares of targets.
    is_automatic: bool,
    /// Whether the algorithm prefers members with less to do.
    is_by_load: bool,
}

impl TrafficShare {
    /// The shares of a roster. Returns `None` if every member gets its whole share.
    pub fn new(
        roster: &Roster,
        algorithm: Algorithm,
        over: Duration,
        now: Instant,
    ) -> Option<Self> {
        let ramps: Box<[Ramp]> = roster
            .members()
            .iter()
            .map(|member| member.target.ramp().get())
            .collect();
        let is_automatic = algorithm == Algorithm::WeightedRandom;
        let all_whole = ramps
            .iter()
            .all(|ramp| ramp.share(over, now) == WHOLE_SHARE);
        (is_automatic || !all_whole).then(|| Self {
            over,
            ramps,
            is_automatic,
            is_by_load: algorithm.goes_by_load(),
        })
    }

    /// Whether a request passes this member over.
    pub(super) fn skips(&self, index: usize, roster: &Roster, request: &PickRequest) -> bool {
        let target = &roster.members()[index].target;
        let mut share = self.ramps[index].share(self.over, request.now);
        if self.is_automatic {
            share = share * target.share().get() / WHOLE_SHARE;
        }
        if share == WHOLE_SHARE {
            return false;
        }
        let bits = request.key.unwrap_or(request.entropy);
        balance::lot(bits, &target.id.addr, WHOLE_SHARE) >= share
            || (self.is_by_load && has_its_share(index, roster, share))
    }
}

/// Whether a member has as many requests in flight as `share` of what its weight stands for.
fn has_its_share(index: usize, roster: &Roster, share: u32) -> bool {
    let (mut requests, mut weights) = (1, 0);
    for member in roster.members() {
        requests += u64::from(member.target.load().in_flight());
        weights += u64::from(member.weight.get());
    }
    let member = &roster.members()[index];
    let allowed = requests * u64::from(member.weight.get()) * u64::from(share);
    let has = u64::from(member.target.load().in_flight());
    has * weights * u64::from(WHOLE_SHARE) >= allowed
}
