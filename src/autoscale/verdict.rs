//! Which opinions count, and why the others do not.
//!
//! Scale-out: every policy may, and the largest wins. In the scale-out cooldown only a number
//! larger than the one that started it proceeds.
//!
//! Scale-in: all target tracking policies that take part in it must have a low alarm and fit
//! into fewer replicas, and the largest of what they want wins. A step policy scales in
//! although target tracking is not ready to ("the scale-in activity will not be blocked",
//! `PutScalingPolicy`), but not while any policy wants more. AWS says nothing of several
//! policies of which one has no data: here it is not known to agree, so nothing is taken away.

use std::time::Duration;

use super::decision::{AlarmState, Kind, Opinion, Outcome, Reason};

/// A policy's opinion and what the policy allows.
#[derive(Debug)]
pub(super) struct Vote {
    pub(super) opinion: Opinion,
    /// Whether it takes part in scaling in.
    pub(super) scale_in: bool,
    /// For so long after any scaling it takes no replicas away.
    pub(super) in_cooldown: Duration,
}

/// What the votes are counted against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) now: Duration,
    /// How many there should be if no policy says otherwise: within the bounds.
    pub(super) base: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    /// In service.
    pub(super) running: u32,
    pub(super) is_warming: bool,
    /// Until when only more than so many proceed.
    pub(super) out_cooldown: Option<(Duration, u32)>,
    /// When the number last changed.
    pub(super) scaled: Option<Duration>,
}

/// Gives each opinion that does not count its reason.
pub(super) fn judge(votes: &mut [Vote], situation: &Situation) {
    for vote in votes.iter_mut() {
        if vote.opinion.reason.is_none() {
            vote.opinion.reason = situation.against_out(&vote.opinion);
        }
    }
    let agreement = Agreement::of(votes, situation);
    for vote in votes.iter_mut() {
        if vote.opinion.reason.is_none() && situation.wants_in(&vote.opinion) {
            vote.opinion.reason = situation.against_in(vote, &agreement);
        }
    }
}

/// Why the number stays, of opinions that have been judged.
pub(super) fn why_hold(votes: &[Vote], situation: &Situation) -> Reason {
    let reasons = |alarm: AlarmState| {
        let with =
            move |vote: &&Vote| vote.opinion.alarm == alarm && vote.opinion.kind != Kind::Forecast;
        votes
            .iter()
            .filter(with)
            .filter_map(|vote| vote.opinion.reason)
    };
    // What is further from the target is the better answer to "why not?".
    let high = reasons(AlarmState::High).min_by_key(|reason| *reason == Reason::InRange);
    let is_at_min = situation.base == situation.min;
    let low = || reasons(AlarmState::Low).min_by_key(|reason| *reason == Reason::AllMustAgree);
    high.or_else(|| reasons(AlarmState::InsufficientData).next())
        .or_else(low)
        .or_else(|| (is_at_min && situation.max == situation.min).then_some(Reason::AtMin))
        .unwrap_or(Reason::InRange)
}

/// What comes of going from one number to another.
pub(super) fn outcome(before: u32, desired: u32, hold: impl FnOnce() -> Reason) -> Outcome {
    match desired.cmp(&before) {
        std::cmp::Ordering::Greater => Outcome::ScaleOut,
        std::cmp::Ordering::Less => Outcome::ScaleIn,
        std::cmp::Ordering::Equal => Outcome::Hold(hold()),
    }
}

/// What target tracking and the others say together about scaling in.
struct Agreement {
    /// Somebody wants more, or would if there were fewer.
    is_high: bool,
    /// Somebody who has a say in it has no data.
    is_blind: bool,
    /// All of target tracking that takes part has a low alarm.
    is_low: bool,
    /// The most that target tracking needs.
    needs: Option<u32>,
}

impl Agreement {
    fn of(votes: &[Vote], situation: &Situation) -> Self {
        let alarm = |vote: &Vote, state| vote.opinion.alarm == state;
        let trackers = || {
            let is_tracker =
                |vote: &&Vote| vote.opinion.kind == Kind::TargetTracking && vote.scale_in;
            votes.iter().filter(is_tracker)
        };
        let steps = || {
            votes
                .iter()
                .filter(|vote| vote.opinion.kind == Kind::StepScaling)
        };
        let wants_out = |vote: &Vote| {
            let wants = vote.opinion.wants;
            wants.is_some_and(|wants| wants > situation.base)
        };
        let blind = |vote: &Vote| alarm(vote, AlarmState::InsufficientData);
        let tracks = |vote: &Vote| vote.opinion.kind == Kind::TargetTracking;
        Self {
            is_high: votes.iter().any(|vote| {
                (tracks(vote) && alarm(vote, AlarmState::High))
                    || (vote.opinion.kind == Kind::StepScaling && wants_out(vote))
            }),
            is_blind: trackers().any(blind) || steps().any(blind),
            is_low: trackers().all(|vote| alarm(vote, AlarmState::Low)),
            needs: trackers().filter_map(|vote| vote.opinion.wants).max(),
        }
    }
}

impl Situation {
    fn wants_in(&self, opinion: &Opinion) -> bool {
        let is_low = opinion.alarm == AlarmState::Low;
        is_low || opinion.kind == Kind::StepScaling && opinion.wants.is_some_and(|n| n < self.base)
    }

    /// Why an opinion that may want more does not get it.
    fn against_out(&self, opinion: &Opinion) -> Option<Reason> {
        let wants = opinion.wants.filter(|_| opinion.alarm != AlarmState::Low);
        let Some(wants) = wants else {
            let is_blind = opinion.alarm == AlarmState::InsufficientData;
            return is_blind.then_some(Reason::InsufficientData);
        };
        match opinion.kind {
            // These hold at once, and hold others up otherwise.
            Kind::Bounds | Kind::Zero | Kind::Predictive | Kind::Forecast => {
                let is_over = wants > self.base && self.base == self.max;
                is_over.then_some(Reason::AtMax)
            }
            Kind::TargetTracking | Kind::StepScaling => self.against_more(wants),
        }
    }

    fn against_more(&self, wants: u32) -> Option<Reason> {
        if wants < self.base {
            return None;
        }
        if wants > self.base && self.base == self.max {
            return Some(Reason::AtMax);
        }
        let started = self.out_cooldown.map(|(_, desired)| desired);
        if wants == self.base {
            let waits = if self.is_warming {
                Some(Reason::Warming)
            } else {
                None
            };
            return waits
                .or(started.map(|_| Reason::Cooldown))
                .or(Some(Reason::InRange));
        }
        let is_larger = started.is_none_or(|desired| wants.min(self.max) > desired);
        (!is_larger).then_some(Reason::Cooldown)
    }

    /// Why an opinion that wants fewer does not get it.
    fn against_in(&self, vote: &Vote, agreement: &Agreement) -> Option<Reason> {
        let tracks = vote.opinion.kind == Kind::TargetTracking;
        if self.base <= self.min {
            return Some(Reason::AtMin);
        }
        if !vote.scale_in {
            return Some(Reason::ScaleInDisabled);
        }
        if tracks && !self.fits(vote.opinion.wants) {
            return Some(Reason::NoFlap);
        }
        if agreement.is_high || agreement.is_blind || !self.agrees(&vote.opinion, agreement) {
            return Some(Reason::AllMustAgree);
        }
        if self.is_warming {
            return Some(Reason::Warming);
        }
        let until = self.scaled.map(|scaled| scaled + vote.in_cooldown);
        until
            .filter(|until| self.now < *until)
            .map(|_| Reason::Cooldown)
    }

    /// `ceil(n * m / T) <= n - 1`, where `n` are those in service; with more of them than
    /// there should be, those there should be.
    fn fits(&self, needs: Option<u32>) -> bool {
        needs.is_none_or(|needs| needs < self.base.min(self.running))
    }

    /// Whether target tracking lets `opinion` take replicas away.
    fn agrees(&self, opinion: &Opinion, agreement: &Agreement) -> bool {
        match opinion.kind {
            Kind::TargetTracking => agreement.is_low && self.fits(agreement.needs),
            // The last one goes when nobody asks, whatever it does on its own account.
            Kind::Zero => agreement.is_low && (self.base == 1 || agreement.needs.is_some()),
            Kind::StepScaling | Kind::Bounds | Kind::Predictive | Kind::Forecast => true,
        }
    }
}
