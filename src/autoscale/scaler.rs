//! The policies of one group with their state: a sample goes in, a decision comes out.
//!
//! A state machine without clock, randomness or I/O. It keeps datapoints, cooldowns and the
//! count that it decided last, and continues from that count rather than from the provider's,
//! which follows with a delay.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Autoscaling, Metric};

use super::candidate::{Candidate, OutCooldown, Situation, hold_reason, outcome, set_reasons};
use super::datapoints::{Datapoints, Measurement};
use super::decision::{
    AlarmState, Decision, PolicyKind, PolicyResult, Reason, ScalingOutcome, resolve,
};
use super::predictive::{Forecast, HistoryError, Predictor};
use super::sample::{Capacity, Now, Sample};
use super::scale_to_zero::{self, ScaleToZero};
use super::schedule::{Bounds, Schedule};
use super::stepping::Stepping;
use super::tracking::Tracking;

/// Decides for one group.
#[derive(Debug)]
pub struct Scaler {
    group: String,
    policy: Autoscaling,
    tracking: Vec<Tracking>,
    stepping: Vec<Stepping>,
    schedule: Schedule,
    predictor: Option<Predictor>,
    zero: ScaleToZero,
    /// Replicas in service at the last sample.
    running: Option<u32>,
    /// The count that was decided last, or the provider's while another process scales; `None`
    /// before the first sample.
    desired: Option<u32>,
    last_scale_out: Option<ScaleOut>,
    /// When the count changed last.
    scaled: Option<Duration>,
}

/// When the count rose, and to which one.
#[derive(Clone, Copy, Debug)]
struct ScaleOut {
    at: Duration,
    desired: u32,
}

impl Scaler {
    /// A scaler of the target group `group`, without datapoints.
    pub fn new(group: &str, policy: Autoscaling) -> Self {
        let mut scaler = Self {
            group: group.to_owned(),
            policy: policy.clone(),
            tracking: Vec::new(),
            stepping: Vec::new(),
            schedule: Schedule::new(Bounds { min: 0, max: 0 }, &[]),
            predictor: None,
            zero: ScaleToZero::default(),
            running: None,
            desired: None,
            last_scale_out: None,
            scaled: None,
        };
        scaler.configure(policy);
        scaler
    }

    /// Continues with another policy. Datapoints of a metric stay if their period is the same;
    /// cooldowns and the history of a forecast stay.
    pub fn configure(&mut self, policy: Autoscaling) {
        let timing = policy.timing;
        let mut old: Vec<(Metric, Datapoints)> = self
            .tracking
            .drain(..)
            .map(Tracking::into_datapoints)
            .collect();
        for tracking in &policy.target_tracking {
            let points = take_matching(&mut old, &tracking.metric, timing.period);
            let tracking = Tracking::new(tracking.clone(), timing, policy.profile, points);
            self.tracking.push(tracking);
        }
        self.configure_steps(&policy);
        let bounds = Bounds {
            min: policy.min,
            max: policy.max.max(policy.min),
        };
        self.schedule = Schedule::new(bounds, &policy.schedule);
        self.predictor = match (self.predictor.take(), policy.predictive.clone()) {
            (_, None) => None,
            (None, Some(predictive)) => Some(Predictor::new(predictive)),
            (Some(old), Some(predictive)) => Some(old.configure(predictive)),
        };
        self.policy = policy;
    }

    /// A policy that did not change keeps its last action as well.
    fn configure_steps(&mut self, policy: &Autoscaling) {
        let mut old = std::mem::take(&mut self.stepping);
        let mut unchanged = Vec::new();
        for step in &policy.step_scaling {
            let same = old.iter().position(|old| old.policy() == step);
            unchanged.push(same.map(|index| old.swap_remove(index)));
        }
        let mut old: Vec<_> = old.into_iter().map(Stepping::into_datapoints).collect();
        for (unchanged, step) in unchanged.into_iter().zip(&policy.step_scaling) {
            self.stepping.push(unchanged.unwrap_or_else(|| {
                let points = take_matching(&mut old, &step.metric, step.period);
                Stepping::new(step.clone(), points)
            }));
        }
    }

    /// The metrics that a sample must have: each metric of the policies once and, if the bounds
    /// may allow no replicas, those which show whether requests come.
    pub fn metrics(&self) -> Vec<Metric> {
        let of_requests: &[Metric] = if self.policy.may_be_zero() {
            &scale_to_zero::METRICS
        } else {
            &[]
        };
        let all = (self.tracking.iter().map(Tracking::metric))
            .chain(self.stepping.iter().map(Stepping::metric))
            .chain(self.predictor.iter().map(Predictor::metric))
            .chain(of_requests);
        let mut metrics: Vec<Metric> = Vec::new();
        for metric in all {
            if !metrics.contains(metric) {
                metrics.push(metric.clone());
            }
        }
        metrics
    }

    /// The forecast of `predictive` for this hour and the 48 after it; empty without that policy
    /// and until it has 24 hours of data.
    pub fn forecast(&self) -> Vec<Forecast> {
        self.predictor
            .as_ref()
            .map(Predictor::forecast)
            .unwrap_or_default()
    }

    /// The history of `predictive`, as JSON of at most 14 days, to be stored over restarts. It
    /// changes once an hour. `None` without that policy.
    pub fn export_history(&self) -> Option<String> {
        self.predictor.as_ref().map(Predictor::export)
    }

    /// Adds an exported history. Fails and changes nothing if `text` is no export, or one of
    /// another metric.
    pub fn import_history(&mut self, text: &str) -> Result<(), HistoryError> {
        match &mut self.predictor {
            Some(predictor) => predictor.import(text),
            None => Ok(()),
        }
    }

    /// Continues from the provider's count instead of its own, after it was changed from
    /// outside.
    pub fn follow_provider(&mut self) {
        self.desired = None;
    }

    /// Records a sample and decides the count. While another process scales the group
    /// (`is_scaler` is false) it evaluates the policies and leaves the count as it is.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a sample is made for one decision"
    )]
    pub fn decide(&mut self, sample: Sample, is_scaler: bool) -> Decision {
        self.record(&sample);
        let Sample { now, capacity, .. } = sample;
        let Bounds { min, max } = self.schedule.bounds(now.wall);
        let before = self
            .desired
            .filter(|_| is_scaler)
            .unwrap_or(capacity.desired);
        let situation = Situation {
            now: now.uptime,
            base: before.clamp(min, max),
            min,
            max,
            running: capacity.running,
            is_warming: capacity.warming > 0,
            out_cooldown: self
                .out_cooldown()
                .filter(|cooldown| now.uptime < cooldown.until),
            scaled: self.scaled,
        };
        let mut candidates = self.candidates(&situation, now);
        if before != situation.base {
            candidates.insert(0, bounds(before, &situation, self.schedule.last_action()));
        }
        set_reasons(&mut candidates, &situation);
        let hold = hold_reason(&candidates, &situation);
        let results = candidates.into_iter().map(|candidate| candidate.result);
        let mut decision = Decision {
            at: now.wall,
            group: self.group.clone(),
            capacity,
            before,
            min,
            max,
            desired: before,
            outcome: ScalingOutcome::Hold(Reason::NotScaler),
            results: results.collect(),
            out_cooldown: None,
            in_cooldown: None,
        };
        if is_scaler {
            decision.desired = resolve(&decision.results, before, min, max);
            decision.outcome = outcome(before, decision.desired, hold);
            self.apply(&decision, &situation);
        } else {
            self.follow(capacity.desired, now.uptime);
        }
        self.set_cooldowns(&mut decision, now);
        decision
    }

    fn record(&mut self, sample: &Sample) {
        let now = sample.now;
        // A reading covers the time since the previous sample, in which the replicas of that
        // sample carried the load.
        let running = self
            .running
            .replace(sample.capacity.running)
            .unwrap_or(sample.capacity.running);
        let measured = measured(sample.capacity).min(running);
        let measurement = |metric: &Metric| Measurement {
            value: sample.value(metric),
            measured,
            running,
        };
        for tracking in &mut self.tracking {
            let measurement = measurement(tracking.metric());
            tracking.datapoints().record(now.uptime, measurement);
        }
        for stepping in &mut self.stepping {
            let measurement = measurement(stepping.metric());
            stepping.datapoints().record(now.uptime, measurement);
        }
        if let Some(predictor) = &mut self.predictor {
            let value = sample.value(predictor.metric());
            predictor.record(now, value.map(|value| value * f64::from(running)));
        }
        self.zero.record(sample, &self.policy.timing);
    }

    fn candidates(&self, situation: &Situation, now: Now) -> Vec<Candidate> {
        let timing = &self.policy.timing;
        let tracking = self.tracking.iter().map(|tracking| Candidate {
            result: tracking.evaluate(),
            scale_in: self.policy.scale_in && tracking.may_scale_in(),
            in_cooldown: timing.in_cooldown,
        });
        let zero = (situation.min == 0).then(|| Candidate {
            result: self.zero.evaluate(situation.base, situation.now, timing),
            scale_in: self.policy.scale_in,
            in_cooldown: timing.in_cooldown,
        });
        let stepping = self.stepping.iter().map(|stepping| Candidate {
            result: stepping.evaluate(situation.base, now.uptime, situation.is_warming),
            scale_in: true,
            in_cooldown: stepping.policy().cooldown,
        });
        let predictor = self.predictor.iter().map(|predictor| Candidate {
            result: predictor.evaluate(situation.base, now.wall),
            scale_in: false,
            in_cooldown: Duration::ZERO,
        });
        tracking
            .chain(stepping)
            .chain(predictor)
            .chain(zero)
            .collect()
    }

    /// Scheduled actions and new bounds start no cooldown and wait for none.
    fn apply(&mut self, decision: &Decision, situation: &Situation) {
        let (desired, base, now) = (decision.desired, situation.base, situation.now);
        self.desired = Some(desired);
        if desired != base {
            self.begin_cooldowns(base, desired, now);
            self.record_steps(decision, situation);
        }
    }

    /// Begins the cooldowns. A scale-out does not wait for the scale-in cooldown: "the scale-in
    /// cooldown period stops and doesn't complete" (Application Auto Scaling, "How target
    /// tracking scaling works"); it begins again.
    fn begin_cooldowns(&mut self, from: u32, to: u32, now: Duration) {
        self.scaled = Some(now);
        if to > from {
            self.last_scale_out = Some(ScaleOut {
                at: now,
                desired: to,
            });
        }
    }

    /// Follows the count of another process that scales the group, or of an operator. The cooldowns
    /// hold as after an action of its own.
    pub(super) fn follow(&mut self, desired: u32, now: Duration) {
        let before = self.desired.replace(desired).unwrap_or(desired);
        if desired != before {
            self.begin_cooldowns(before, desired, now);
        }
    }

    /// Records the action of each step policy that the decision followed.
    fn record_steps(&mut self, decision: &Decision, situation: &Situation) {
        let steps = decision
            .results
            .iter()
            .filter(|result| result.kind == PolicyKind::StepScaling);
        let base = situation.base;
        let is_out = decision.desired > base;
        for (stepping, result) in self.stepping.iter_mut().zip(steps) {
            let wants = result.wants.filter(|_| result.reason.is_none());
            if wants.is_some_and(|wants| wants != base && (wants > base) == is_out) {
                stepping.record_action(base, is_out, situation.now, situation.is_warming);
            }
        }
    }

    /// The cooldown of the last scale-out; may have ended.
    fn out_cooldown(&self) -> Option<OutCooldown> {
        let last = self.last_scale_out?;
        Some(OutCooldown {
            until: last.at.saturating_add(self.policy.timing.out_cooldown),
            desired: last.desired,
        })
    }

    fn set_cooldowns(&self, decision: &mut Decision, now: Now) {
        let in_cooldown = self.policy.timing.in_cooldown;
        decision.in_cooldown = self
            .scaled
            .and_then(|at| wall(now, at.saturating_add(in_cooldown)));
        decision.out_cooldown = self
            .out_cooldown()
            .and_then(|cooldown| wall(now, cooldown.until));
    }
}

/// The replicas in service that a metric is an average over: those that are not warming up.
/// `warming` also counts replicas that are starting, which are what `running` lacks to the
/// desired count. A value is an average over at least one replica.
fn measured(capacity: Capacity) -> u32 {
    let starting = capacity.desired.saturating_sub(capacity.running);
    let warm_up = capacity.warming.saturating_sub(starting);
    let measured = capacity.running.saturating_sub(warm_up);
    measured.max(capacity.running.min(1))
}

/// The candidate for a count that a scheduled action, or a new configuration, has put outside of
/// the bounds.
fn bounds(before: u32, situation: &Situation, action: Option<&str>) -> Candidate {
    let Situation { base, min, max, .. } = *situation;
    let name = action.map_or_else(|| format!("bounds {min} to {max}"), str::to_owned);
    let mut result = PolicyResult::new(PolicyKind::Bounds, name, AlarmState::Ok);
    result.wants = Some(base);
    result.formula = format!("clamp({before}, {min}, {max}) = {base}");
    Candidate {
        result,
        scale_in: true,
        in_cooldown: Duration::ZERO,
    }
}

/// Converts a future uptime to the wall clock; `None` if it is not in the future.
fn wall(now: Now, until: Duration) -> Option<Timestamp> {
    let left = until
        .checked_sub(now.uptime)
        .filter(|left| !left.is_zero())?;
    now.wall
        .checked_add(SignedDuration::try_from(left).ok()?)
        .ok()
}

/// Takes the datapoints with this metric and period out of those of the previous policies.
fn take_matching(
    old: &mut Vec<(Metric, Datapoints)>,
    wanted: &Metric,
    period: Duration,
) -> Option<Datapoints> {
    let index = old
        .iter()
        .position(|(metric, points)| metric == wanted && points.period() == period)?;
    Some(old.swap_remove(index).1)
}

#[cfg(test)]
mod tests;
