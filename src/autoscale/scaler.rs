//! One group's policies with their memory: a sample goes in, a decision comes out.
//!
//! Pure but for what it remembers: datapoints, cooldowns, and how many replicas it said there
//! should be. From that number it goes on, and not from the engine's, which follows late.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Autoscaling, Metric};

use super::decision::{AlarmState, Decision, Kind, Opinion, Outcome, Reason, settle};
use super::history::{History, Measure};
use super::predictive::{Forecast, HistoryError, Predictor};
use super::sample::{Capacity, Now, Sample};
use super::schedule::{Bounds, Schedule};
use super::stepping::Stepping;
use super::tracking::Tracking;
use super::verdict::{Situation, Vote, judge, outcome, why_hold};
use super::zero::{self, Zero, reading};

/// Decides for one group.
#[derive(Debug)]
pub struct Scaler {
    group: String,
    policy: Autoscaling,
    tracking: Vec<Tracking>,
    stepping: Vec<Stepping>,
    schedule: Schedule,
    predictor: Option<Predictor>,
    zero: Zero,
    /// In service at the last sample.
    running: Option<u32>,
    /// What it decided last, or what the engine said while another Weir decides; `None`
    /// before the first sample.
    wish: Option<u32>,
    /// When it last scaled out, and to how many.
    scaled_out: Option<(Duration, u32)>,
    /// When it last scaled.
    scaled: Option<Duration>,
}

impl Scaler {
    /// For the target group `group`.
    pub fn new(group: &str, policy: Autoscaling) -> Self {
        let mut scaler = Self {
            group: group.to_owned(),
            policy: policy.clone(),
            tracking: Vec::new(),
            stepping: Vec::new(),
            schedule: Schedule::new(Bounds { min: 0, max: 0 }, &[]),
            predictor: None,
            zero: Zero::default(),
            running: None,
            wish: None,
            scaled_out: None,
            scaled: None,
        };
        scaler.configure(policy);
        scaler
    }

    /// Goes on with another policy. Datapoints of a metric stay if their period is the same,
    /// and so do cooldowns, and the history of a forecast.
    pub fn configure(&mut self, policy: Autoscaling) {
        let timing = policy.timing;
        let tracked = self.tracking.drain(..).map(Tracking::into_history);
        let mut old: Vec<(Metric, History)> = tracked.collect();
        for tracking in &policy.target_tracking {
            let history = keep(&mut old, &tracking.metric, timing.period);
            let tracking = Tracking::new(tracking.clone(), timing, policy.profile, history);
            self.tracking.push(tracking);
        }
        self.configure_steps(&policy);
        let bounds = Bounds {
            min: policy.min,
            max: policy.max.max(policy.min),
        };
        self.schedule = Schedule::new(bounds, &policy.schedule);
        let predictive = policy.predictive.clone();
        self.predictor = predictive.map(|predictive| match self.predictor.take() {
            Some(old) => old.configure(predictive),
            None => Predictor::new(predictive),
        });
        self.policy = policy;
    }

    /// A policy that has not changed keeps its last action as well.
    fn configure_steps(&mut self, policy: &Autoscaling) {
        let mut old = std::mem::take(&mut self.stepping);
        let mut changed = Vec::new();
        for step in &policy.step_scaling {
            let same = old.iter().position(|old| old.policy() == step);
            changed.push(same.map(|index| old.swap_remove(index)));
        }
        let mut old: Vec<_> = old.into_iter().map(Stepping::into_history).collect();
        let steps = changed.into_iter().zip(&policy.step_scaling);
        let steps = steps.map(|(same, step)| {
            same.unwrap_or_else(|| {
                let history = keep(&mut old, &step.metric, step.period);
                Stepping::new(step.clone(), history)
            })
        });
        self.stepping = steps.collect();
    }

    /// What a sample must have: each metric of the policies once, and where the bounds may
    /// allow no replicas also what shows whether somebody asks.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics: Vec<Metric> = Vec::new();
        let watched = zero::WATCHED.iter();
        let watched = watched.filter(|_| self.policy.may_be_zero());
        let tracked = self.tracking.iter().map(Tracking::metric);
        let stepped = self.stepping.iter().map(Stepping::metric);
        let predicted = self.predictor.iter().map(Predictor::metric);
        for metric in tracked.chain(stepped).chain(predicted).chain(watched) {
            if !metrics.contains(metric) {
                metrics.push(metric.clone());
            }
        }
        metrics
    }

    /// What `predictive` expects of the hour now and the 48 after it; empty without it, and
    /// until it has 24 hours of data.
    pub fn forecast(&self) -> Vec<Forecast> {
        let predictor = self.predictor.as_ref();
        predictor.map(Predictor::forecast).unwrap_or_default()
    }

    /// What `predictive` has learned, as JSON of at most 14 days, to be kept over restarts; it
    /// changes once an hour. `None` without it.
    pub fn export_history(&self) -> Option<String> {
        self.predictor.as_ref().map(Predictor::export)
    }

    /// Takes in what was exported. Fails, and changes nothing, if it is not that, or of
    /// another metric.
    pub fn import_history(&mut self, text: &str) -> Result<(), HistoryError> {
        let predictor = self.predictor.as_mut();
        predictor.map_or(Ok(()), |predictor| predictor.import(text))
    }

    /// Goes on from the engine's number instead of its own: somebody else has changed it.
    pub fn follow_engine(&mut self) {
        self.wish = None;
    }

    /// Takes in one sample and says how many replicas there should be. When another Weir
    /// decides (`is_scaler` is false) it only says what it thinks of it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a sample is made for one decision"
    )]
    pub fn decide(&mut self, sample: Sample, is_scaler: bool) -> Decision {
        self.take(&sample);
        let Sample { now, capacity, .. } = sample;
        let Bounds { min, max } = self.schedule.bounds(now.wall);
        let before = self.wish.filter(|_| is_scaler).unwrap_or(capacity.desired);
        let situation = self.situation(now.uptime, capacity, before.clamp(min, max), (min, max));
        let mut votes = self.votes(&situation, now);
        if before != situation.base {
            votes.insert(0, bounds(before, &situation, self.schedule.by()));
        }
        judge(&mut votes, &situation);
        let why = why_hold(&votes, &situation);
        let opinions: Vec<Opinion> = votes.into_iter().map(|vote| vote.opinion).collect();
        let mut decision = Decision {
            at: now.wall,
            group: self.group.clone(),
            capacity,
            before,
            min,
            max,
            desired: before,
            outcome: Outcome::Hold(Reason::NotScaler),
            opinions,
            out_cooldown: None,
            in_cooldown: None,
        };
        if is_scaler {
            decision.desired = settle(&decision.opinions, before, min, max);
            decision.outcome = outcome(before, decision.desired, || why);
            self.remember(&decision, &situation);
        } else {
            self.follow(capacity.desired, now.uptime);
        }
        self.tell_cooldowns(&mut decision, now);
        decision
    }

    fn take(&mut self, sample: &Sample) {
        let now = sample.now;
        // A reading is over the time since the sample before, in which those carried the load
        // that were in service then.
        let running = self.running.replace(sample.capacity.running);
        let running = running.unwrap_or(sample.capacity.running);
        let measured = measured(sample.capacity).min(running);
        let measure = |metric: &Metric| Measure {
            value: reading(sample, metric),
            measured,
            running,
        };
        for tracking in &mut self.tracking {
            let measure = measure(tracking.metric());
            tracking.history().take(now.uptime, measure);
        }
        for stepping in &mut self.stepping {
            let measure = measure(stepping.metric());
            stepping.history().take(now.uptime, measure);
        }
        if let Some(predictor) = &mut self.predictor {
            let value = reading(sample, predictor.metric());
            predictor.take(now, value.map(|value| value * f64::from(running)));
        }
        self.zero.take(sample, &self.policy.timing);
    }

    fn situation(
        &self,
        now: Duration,
        capacity: Capacity,
        base: u32,
        (min, max): (u32, u32),
    ) -> Situation {
        Situation {
            now,
            base,
            min,
            max,
            running: capacity.running,
            is_warming: capacity.warming > 0,
            out_cooldown: self.out_cooldown().filter(|(until, _)| now < *until),
            scaled: self.scaled,
        }
    }

    fn votes(&self, situation: &Situation, now: Now) -> Vec<Vote> {
        let timing = &self.policy.timing;
        let tracking = self.tracking.iter().map(|tracking| Vote {
            opinion: tracking.opinion(),
            scale_in: self.policy.scale_in && tracking.may_scale_in(),
            in_cooldown: timing.in_cooldown,
        });
        let zero = (situation.min == 0).then(|| Vote {
            opinion: self.zero.opinion(situation.base, situation.now, timing),
            scale_in: self.policy.scale_in,
            in_cooldown: timing.in_cooldown,
        });
        let stepping = self.stepping.iter().map(|stepping| Vote {
            opinion: stepping.opinion(situation.base, now.uptime, situation.is_warming),
            scale_in: true,
            in_cooldown: stepping.policy().cooldown,
        });
        let predictor = self.predictor.iter().map(|predictor| Vote {
            opinion: predictor.opinion(situation.base, now.wall),
            scale_in: false,
            in_cooldown: Duration::ZERO,
        });
        let policies = tracking.chain(stepping).chain(predictor);
        policies.chain(zero).collect()
    }

    /// Scheduled actions and new bounds start no cooldown, and wait for none.
    fn remember(&mut self, decision: &Decision, situation: &Situation) {
        let (desired, base, now) = (decision.desired, situation.base, situation.now);
        self.wish = Some(desired);
        if desired != base {
            self.begin_cooldowns(base, desired, now);
            self.tell_steps(decision, situation);
        }
    }

    /// Cooldowns begin. A scale-out within the one for scale-in has not waited for it: "the
    /// scale-in cooldown period stops and doesn't complete" (Application Auto Scaling, "How
    /// target tracking scaling works"), and begins anew.
    fn begin_cooldowns(&mut self, from: u32, to: u32, now: Duration) {
        self.scaled = Some(now);
        if to > from {
            self.scaled_out = Some((now, to));
        }
    }

    /// Another Weir scales: its cooldowns hold here too, should this one take over.
    fn follow(&mut self, desired: u32, now: Duration) {
        let before = self.wish.replace(desired).unwrap_or(desired);
        if desired != before {
            self.begin_cooldowns(before, desired, now);
        }
    }

    /// Tells the step policies that were followed.
    fn tell_steps(&mut self, decision: &Decision, situation: &Situation) {
        let opinions = decision.opinions.iter();
        let steps = opinions.filter(|opinion| opinion.kind == Kind::StepScaling);
        for (stepping, opinion) in self.stepping.iter_mut().zip(steps) {
            let wants = opinion.wants.filter(|_| opinion.reason.is_none());
            let base = situation.base;
            let is_out = decision.desired > base;
            if wants.is_some_and(|wants| wants != base && (wants > base) == is_out) {
                stepping.acted(base, is_out, situation.now, situation.is_warming);
            }
        }
    }

    fn out_cooldown(&self) -> Option<(Duration, u32)> {
        let (at, desired) = self.scaled_out?;
        Some((at.saturating_add(self.policy.timing.out_cooldown), desired))
    }

    fn tell_cooldowns(&self, decision: &mut Decision, now: Now) {
        let timing = &self.policy.timing;
        let scaled = self.scaled.map(|at| at.saturating_add(timing.in_cooldown));
        decision.in_cooldown = scaled.and_then(|until| wall(now, until));
        let out = self.out_cooldown().map(|(until, _)| until);
        decision.out_cooldown = out.and_then(|until| wall(now, until));
    }
}

/// Of the replicas in service, those that the metric is an average over: not the ones that
/// warm up. `warming` counts those as well that are starting, which are what is missing to the
/// desired number. A value is an average over at least one.
fn measured(capacity: Capacity) -> u32 {
    let starting = capacity.desired.saturating_sub(capacity.running);
    let warm_up = capacity.warming.saturating_sub(starting);
    let measured = capacity.running.saturating_sub(warm_up);
    measured.max(capacity.running.min(1))
}

/// The bounds have moved past the number, by a scheduled action or a configuration.
fn bounds(before: u32, situation: &Situation, by: Option<&str>) -> Vote {
    let Situation { base, min, max, .. } = *situation;
    let name = by.map_or_else(|| format!("bounds {min} to {max}"), str::to_owned);
    let mut opinion = Opinion::new(Kind::Bounds, name, AlarmState::Ok);
    opinion.wants = Some(base);
    opinion.formula = format!("clamp({before}, {min}, {max}) = {base}");
    Vote {
        opinion,
        scale_in: true,
        in_cooldown: Duration::ZERO,
    }
}

/// When a moment that is ahead will be, by the wall clock.
fn wall(now: Now, until: Duration) -> Option<Timestamp> {
    let left = until
        .checked_sub(now.uptime)
        .filter(|left| !left.is_zero())?;
    now.wall
        .checked_add(SignedDuration::try_from(left).ok()?)
        .ok()
}

/// The datapoints of a metric out of those of the policies before.
fn keep(old: &mut Vec<(Metric, History)>, wanted: &Metric, period: Duration) -> Option<History> {
    let is_same =
        |(metric, history): &(Metric, History)| metric == wanted && history.period() == period;
    let index = old.iter().position(is_same)?;
    Some(old.swap_remove(index).1)
}

#[cfg(test)]
mod tests;
