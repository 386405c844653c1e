//! Which policies' results take part in a decision, and why the others are rejected.
//!
//! Scale-out: every policy may scale out, and the largest count wins. In the scale-out cooldown
//! only a count larger than the one that started the cooldown proceeds.
//!
//! Scale-in: all target tracking policies with scale-in must have a low alarm and fit into fewer
//! replicas; the largest of their counts wins. A step policy scales in even if target tracking
//! is not ready to ("the scale-in activity will not be blocked", `PutScalingPolicy`), but not
//! while any policy asks for more. AWS does not define what happens if one of several policies
//! has no data: here its agreement is unknown, so nothing is removed.

use std::cmp::Ordering;
use std::time::Duration;

use super::decision::{AlarmState, PolicyKind, PolicyResult, Reason, ScalingOutcome};

/// The result of a policy with what the policy's configuration allows.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) result: PolicyResult,
    /// Whether the policy may remove replicas.
    pub(super) scale_in: bool,
    /// Time after any scaling in which the policy removes no replicas.
    pub(super) in_cooldown: Duration,
}

/// The state of the group that candidates are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) now: Duration,
    /// The count that holds unless a policy changes it; within the bounds.
    pub(super) base: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Replicas in service.
    pub(super) running: u32,
    pub(super) is_warming: bool,
    /// The scale-out cooldown, if it has not ended.
    pub(super) out_cooldown: Option<OutCooldown>,
    /// When the count changed last.
    pub(super) scaled: Option<Duration>,
}

/// The cooldown of a scale-out, in which only larger counts proceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutCooldown {
    pub(super) until: Duration,
    /// The count that it scaled out to.
    pub(super) desired: u32,
}

/// Sets the reason of each result that is rejected.
pub(super) fn set_reasons(candidates: &mut [Candidate], situation: &Situation) {
    for candidate in candidates.iter_mut() {
        if candidate.result.reason.is_none() {
            candidate.result.reason = situation.against_out(&candidate.result);
        }
    }
    let agreement = Agreement::of(candidates, situation);
    for candidate in candidates.iter_mut() {
        if candidate.result.reason.is_none() && situation.scales_in(&candidate.result) {
            candidate.result.reason = situation.against_in(candidate, &agreement);
        }
    }
}

/// Why the count stays, from candidates with their reasons. A policy that asks for more explains
/// it best, then one without data.
pub(super) fn hold_reason(candidates: &[Candidate], situation: &Situation) -> Reason {
    let reasons = |alarm: AlarmState| {
        candidates
            .iter()
            .map(|candidate| &candidate.result)
            .filter(move |result| match result.kind {
                PolicyKind::TargetTracking | PolicyKind::StepScaling | PolicyKind::Zero => true,
                PolicyKind::Predictive => alarm == AlarmState::High,
                PolicyKind::Bounds | PolicyKind::Forecast => false,
            })
            .filter(move |result| result.alarm == alarm)
            .filter_map(|result| result.reason)
    };
    reasons(AlarmState::High)
        .min_by_key(|reason| *reason == Reason::InRange)
        .or_else(|| (situation.base == 0).then_some(Reason::AtMin))
        .or_else(|| reasons(AlarmState::InsufficientData).next())
        .or_else(|| reasons(AlarmState::Low).min_by_key(|reason| *reason == Reason::AllMustAgree))
        .unwrap_or(Reason::InRange)
}

/// The outcome of a change from one count to another; `hold` is the reason if they are equal.
pub(super) fn outcome(before: u32, desired: u32, hold: Reason) -> ScalingOutcome {
    match desired.cmp(&before) {
        Ordering::Greater => ScalingOutcome::ScaleOut,
        Ordering::Less => ScalingOutcome::ScaleIn,
        Ordering::Equal => ScalingOutcome::Hold(hold),
    }
}

/// What all policies together allow for scaling in.
struct Agreement {
    /// A policy asks for more, or has a high alarm.
    is_high: bool,
    /// A policy that takes part has no data.
    is_blind: bool,
    /// All target tracking policies with scale-in have a low alarm.
    is_low: bool,
    /// The largest count of target tracking.
    needs: Option<u32>,
    /// The count that a forecast, or recent requests, keep.
    floor: u32,
}

impl Agreement {
    fn of(candidates: &[Candidate], situation: &Situation) -> Self {
        let mut agreement = Self {
            is_high: false,
            is_blind: false,
            is_low: true,
            needs: None,
            floor: 0,
        };
        for candidate in candidates {
            agreement.add(candidate, situation);
        }
        agreement
    }

    fn add(&mut self, candidate: &Candidate, situation: &Situation) {
        let Candidate {
            result, scale_in, ..
        } = candidate;
        let has_no_data = result.alarm == AlarmState::InsufficientData;
        match result.kind {
            PolicyKind::TargetTracking => {
                self.is_high |= result.alarm == AlarmState::High;
                self.is_blind |= has_no_data && *scale_in;
                self.is_low &= result.alarm == AlarmState::Low || !scale_in;
                self.needs = self.needs.max(result.wants.filter(|_| *scale_in));
            }
            PolicyKind::StepScaling => {
                self.is_high |= situation.scales_out(result);
                self.is_blind |= has_no_data;
            }
            PolicyKind::Zero if result.alarm == AlarmState::Low => {}
            PolicyKind::Zero | PolicyKind::Predictive => {
                self.floor = self.floor.max(result.wants.unwrap_or(0));
            }
            PolicyKind::Bounds | PolicyKind::Forecast => {}
        }
    }
}

impl Situation {
    fn scales_out(&self, result: &PolicyResult) -> bool {
        result.wants.is_some_and(|wants| wants > self.base)
    }

    fn scales_in(&self, result: &PolicyResult) -> bool {
        match result.kind {
            PolicyKind::TargetTracking | PolicyKind::Zero => result.alarm == AlarmState::Low,
            PolicyKind::StepScaling => result.wants.is_some_and(|wants| wants < self.base),
            PolicyKind::Bounds | PolicyKind::Predictive | PolicyKind::Forecast => false,
        }
    }

    /// Why a result that may ask for more is rejected.
    fn against_out(&self, result: &PolicyResult) -> Option<Reason> {
        match result.kind {
            // These wait for no cooldown.
            PolicyKind::Bounds
            | PolicyKind::Zero
            | PolicyKind::Predictive
            | PolicyKind::Forecast => {
                (self.scales_out(result) && self.base == self.max).then_some(Reason::AtMax)
            }
            _ if result.alarm == AlarmState::InsufficientData => Some(Reason::InsufficientData),
            PolicyKind::TargetTracking if result.alarm != AlarmState::High => None,
            PolicyKind::StepScaling if self.scales_in(result) => None,
            PolicyKind::TargetTracking | PolicyKind::StepScaling => {
                self.against_more(result.wants?)
            }
        }
    }

    fn against_more(&self, wants: u32) -> Option<Reason> {
        let cooldown = self.out_cooldown;
        if wants <= self.base {
            // The replicas that run or start are enough.
            return Some(match cooldown {
                _ if self.is_warming => Reason::Warming,
                Some(_) => Reason::Cooldown,
                None => Reason::InRange,
            });
        }
        if self.base == self.max {
            return Some(Reason::AtMax);
        }
        cooldown
            .filter(|cooldown| wants.min(self.max) <= cooldown.desired)
            .map(|_| Reason::Cooldown)
    }

    /// Why a result that asks for fewer is rejected.
    fn against_in(&self, candidate: &Candidate, agreement: &Agreement) -> Option<Reason> {
        let result = &candidate.result;
        let cooldown_end = self
            .scaled
            .map(|scaled| scaled.saturating_add(candidate.in_cooldown));
        if self.base <= self.min {
            Some(Reason::AtMin)
        } else if !candidate.scale_in {
            Some(Reason::ScaleInDisabled)
        } else if result.kind == PolicyKind::TargetTracking && !self.fits(result.wants) {
            Some(Reason::NoFlap)
        } else if !self.allows(result.kind, agreement) {
            Some(Reason::AllMustAgree)
        } else if self.is_warming {
            Some(Reason::Warming)
        } else if cooldown_end.is_some_and(|end| self.now < end) {
            Some(Reason::Cooldown)
        } else {
            None
        }
    }

    /// Whether `ceil(n * m / T) <= n - 1`, where `n` are the replicas in service, or the desired
    /// ones if those are fewer.
    fn fits(&self, needs: Option<u32>) -> bool {
        needs.is_none_or(|needs| needs < self.base.min(self.running))
    }

    /// Whether the other policies let one of this kind remove replicas.
    fn allows(&self, kind: PolicyKind, agreement: &Agreement) -> bool {
        let tracking = agreement.is_low && self.fits(agreement.needs);
        let is_allowed = match kind {
            PolicyKind::TargetTracking => tracking,
            // Without requests the last replica stops, whatever load it makes by itself.
            PolicyKind::Zero if self.base == 1 => agreement.is_low,
            PolicyKind::Zero => tracking && agreement.needs.is_some(),
            PolicyKind::StepScaling
            | PolicyKind::Bounds
            | PolicyKind::Predictive
            | PolicyKind::Forecast => true,
        };
        is_allowed && !agreement.is_high && !agreement.is_blind && agreement.floor < self.base
    }
}
