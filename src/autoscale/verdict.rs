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

/// Why the number stays, of opinions that have been judged. What wants more is the better
/// answer, then what is not known.
pub(super) fn why_hold(votes: &[Vote], situation: &Situation) -> Reason {
    let reasons = |alarm: AlarmState| {
        let heard = votes.iter().filter(move |vote| match vote.opinion.kind {
            Kind::TargetTracking | Kind::StepScaling | Kind::Zero => true,
            Kind::Predictive => alarm == AlarmState::High,
            Kind::Bounds | Kind::Forecast => false,
        });
        let with = heard.filter(move |vote| vote.opinion.alarm == alarm);
        with.filter_map(|vote| vote.opinion.reason)
    };
    let high = reasons(AlarmState::High).min_by_key(|reason| *reason == Reason::InRange);
    let low = || reasons(AlarmState::Low).min_by_key(|reason| *reason == Reason::AllMustAgree);
    let is_asleep = situation.base == 0;
    high.or_else(|| is_asleep.then_some(Reason::AtMin))
        .or_else(|| reasons(AlarmState::InsufficientData).next())
        .or_else(low)
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
    /// Somebody wants more, or has a high alarm.
    is_high: bool,
    /// Somebody who has a say in it has no data.
    is_blind: bool,
    /// All of target tracking that takes part has a low alarm.
    is_low: bool,
    /// The most that target tracking needs.
    needs: Option<u32>,
    /// What a forecast, or requests, keep.
    floor: u32,
}

impl Agreement {
    fn of(votes: &[Vote], situation: &Situation) -> Self {
        let (mut is_high, mut is_blind, mut is_low) = (false, false, true);
        let (mut needs, mut floor) = (None, 0);
        for Vote {
            opinion, scale_in, ..
        } in votes
        {
            let alarm = opinion.alarm;
            let has_no_data = alarm == AlarmState::InsufficientData;
            match opinion.kind {
                Kind::TargetTracking => {
                    is_high |= alarm == AlarmState::High;
                    is_blind |= has_no_data && *scale_in;
                    is_low &= alarm == AlarmState::Low || !scale_in;
                    needs = needs.max(opinion.wants.filter(|_| *scale_in));
                }
                Kind::StepScaling => {
                    is_high |= situation.wants_out(opinion);
                    is_blind |= has_no_data;
                }
                Kind::Zero if alarm == AlarmState::Low => {}
                Kind::Zero | Kind::Predictive => floor = floor.max(opinion.wants.unwrap_or(0)),
                Kind::Bounds | Kind::Forecast => {}
            }
        }
        Self {
            is_high,
            is_blind,
            is_low,
            needs,
            floor,
        }
    }
}

impl Situation {
    fn wants_out(&self, opinion: &Opinion) -> bool {
        opinion.wants.is_some_and(|wants| wants > self.base)
    }

    fn wants_in(&self, opinion: &Opinion) -> bool {
        match opinion.kind {
            Kind::TargetTracking | Kind::Zero => opinion.alarm == AlarmState::Low,
            Kind::StepScaling => opinion.wants.is_some_and(|wants| wants < self.base),
            Kind::Bounds | Kind::Predictive | Kind::Forecast => false,
        }
    }

    /// Why an opinion that may want more does not get it.
    fn against_out(&self, opinion: &Opinion) -> Option<Reason> {
        match opinion.kind {
            // These hold at once, and hold others up otherwise.
            Kind::Bounds | Kind::Zero | Kind::Predictive | Kind::Forecast => {
                let is_over = self.wants_out(opinion) && self.base == self.max;
                is_over.then_some(Reason::AtMax)
            }
            _ if opinion.alarm == AlarmState::InsufficientData => Some(Reason::InsufficientData),
            Kind::TargetTracking if opinion.alarm != AlarmState::High => None,
            Kind::StepScaling if self.wants_in(opinion) => None,
            Kind::TargetTracking | Kind::StepScaling => self.against_more(opinion.wants?),
        }
    }

    fn against_more(&self, wants: u32) -> Option<Reason> {
        let started = self.out_cooldown.map(|(_, desired)| desired);
        if wants <= self.base {
            // What is there, or on its way, is enough.
            let warms = self.is_warming.then_some(Reason::Warming);
            let cools = started.map(|_| Reason::Cooldown);
            return warms.or(cools).or(Some(Reason::InRange));
        }
        if self.base == self.max {
            return Some(Reason::AtMax);
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
        if !self.agrees(&vote.opinion, agreement) {
            return Some(Reason::AllMustAgree);
        }
        if self.is_warming {
            return Some(Reason::Warming);
        }
        let until = self
            .scaled
            .map(|scaled| scaled.saturating_add(vote.in_cooldown));
        until
            .filter(|until| self.now < *until)
            .map(|_| Reason::Cooldown)
    }

    /// `ceil(n * m / T) <= n - 1`, where `n` are those in service; with more of them than
    /// there should be, those there should be.
    fn fits(&self, needs: Option<u32>) -> bool {
        needs.is_none_or(|needs| needs < self.base.min(self.running))
    }

    /// Whether the others let `opinion` take replicas away.
    fn agrees(&self, opinion: &Opinion, agreement: &Agreement) -> bool {
        let tracking = agreement.is_low && self.fits(agreement.needs);
        let is_let = match opinion.kind {
            Kind::TargetTracking => tracking,
            // The last one goes when nobody asks, whatever it does on its own account.
            Kind::Zero if self.base == 1 => agreement.is_low,
            Kind::Zero => tracking && agreement.needs.is_some(),
            Kind::StepScaling | Kind::Bounds | Kind::Predictive | Kind::Forecast => true,
        };
        is_let && !agreement.is_high && !agreement.is_blind && agreement.floor < self.base
    }
}
