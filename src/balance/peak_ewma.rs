//! Two distinct members by chance, the one that is expected to respond sooner, by the peaks
//! of its response times (Finagle's and linkerd's load balancer).
//!
//! The cost of a member is peak time x (requests in flight + 1) / weight. A peak counts at
//! once and fades within seconds, so a member that stalls is avoided at once and tried
//! again later; a failure counts as a peak of 5 s. Draws are those of
//! `power_of_two_choices`.

use std::sync::Arc;
use std::time::Instant;

use super::picker::Picker;
use super::power_of_two_choices::{Choice, TwoChoices};
use super::response_time::{NOISE_PARTS, UNKNOWN_TIME};
use super::roster::{Member, Roster};
use crate::target::Moment;

/// The picker for this roster.
pub(super) fn build(roster: Arc<Roster>) -> Box<dyn Picker> {
    Box::new(TwoChoices::new(roster, Sooner))
}

#[derive(Debug)]
struct Sooner;

impl Choice for Sooner {
    fn is_better(&self, second: &Member, first: &Member, now: Instant) -> bool {
        let now = Moment::from(now);
        let (mut times, loads) = (
            [time(second, now), time(first, now)],
            [second, first].map(load),
        );
        let [shorter, longer] = [times[0].min(times[1]), times[0].max(times[1])];
        if longer <= shorter * (1.0 + 1.0 / NOISE_PARTS as f64) {
            times = [shorter; 2];
        }
        let weight = |member: &Member| f64::from(member.weight.get());
        times[0] * loads[0] * weight(first) < times[1] * loads[1] * weight(second)
    }
}

/// The load of a member with one request more.
fn load(member: &Member) -> f64 {
    f64::from(member.target.load().score()) + 1.0
}

/// Nanoseconds in which the member is expected to respond to one request.
fn time(member: &Member, now: Moment) -> f64 {
    match member.target.latency().peak(now) {
        _ if member.target.load().score() == 0 && !member.target.latency().is_tried_out() => 0.0,
        Some(time) => time,
        None => UNKNOWN_TIME.as_nanos() as f64,
    }
}
