//! Two distinct members by chance, the one that will have answered sooner, going by the
//! peaks of its times (Finagle's and linkerd's load balancer).
//!
//! The cost of a member is peak time x (requests in flight + 1) / weight. A peak counts at
//! once and fades within seconds, so a member that stalls is left alone at once and tried
//! again later; a failure counts as a peak of 5 s. Draws are those of
//! `power_of_two_choices`.

use std::sync::Arc;
use std::time::Instant;

use super::power_of_two_choices::{Choice, TwoChoices};
use super::{Member, Picker, Roster, UNKNOWN_TIME};
use crate::model::Moment;

/// The picker for this roster.
pub(super) fn build(roster: Arc<Roster>) -> Box<dyn Picker> {
    Box::new(TwoChoices::new(roster, Sooner))
}

#[derive(Debug)]
struct Sooner;

impl Choice for Sooner {
    fn is_better(&self, second: &Member, first: &Member, now: Instant) -> bool {
        let now = Moment::from(now);
        let weight = |member: &Member| f64::from(member.weight.get());
        wait(second, now) * weight(first) < wait(first, now) * weight(second)
    }
}

/// Nanoseconds until the member will have answered what it has and one request more.
fn wait(member: &Member, now: Moment) -> f64 {
    let load = member.target.load();
    let time = match member.target.peak_time(now) {
        Some(time) => time,
        None if load == 0 => 0.0,
        None => UNKNOWN_TIME.as_nanos() as f64,
    };
    time * (f64::from(load) + 1.0)
}
