//! Target tracking: as many replicas as bring a metric to its target.
//!
//! Out: if the last `out_periods` datapoints are all above `out_above` times the target, it asks
//! for `ceil(n * m / T)`, where `m` is their mean and `n` the number of replicas that `m` is an
//! average over: those in service that are not warming up. The product of both is taken for each
//! datapoint, so `n` may change within the datapoints.
//!
//! In: if the last `in_periods` datapoints are all below `in_below` times the target, likewise,
//! where `n` are all replicas in service. AWS does not scale in if "removing a minimum unit of
//! capacity would likely bring the metric back above the target" (Application Auto Scaling, "How
//! target tracking scaling works"). In AWS's profiles the mean decides what is likely, as in AWS's
//! examples. In Weir's own, with its short and noisy datapoints, the mean plus three standard
//! deviations must stay below the limit of the next scale-out.

use crate::config::{Metric, Profile, TargetTracking, Timing};

use super::datapoints::{Datapoint, Datapoints};
use super::decision::{AlarmState, Inputs, PolicyKind, PolicyResult};

/// One policy with its datapoints.
#[derive(Debug)]
pub(super) struct Tracking {
    policy: TargetTracking,
    timing: Timing,
    /// Whether scale-in considers the standard deviation of the datapoints.
    uses_spread: bool,
    name: String,
    datapoints: Datapoints,
}

impl Tracking {
    /// A policy that continues with `old` datapoints, which have its period.
    pub(super) fn new(
        policy: TargetTracking,
        timing: Timing,
        profile: Profile,
        old: Option<Datapoints>,
    ) -> Self {
        let keep = timing.out_periods.max(timing.in_periods);
        let mut datapoints = old.unwrap_or_else(|| Datapoints::new(timing.period, keep));
        datapoints.resize(keep);
        Self {
            name: format!("target_tracking {} {}", policy.metric.name(), policy.target),
            policy,
            timing,
            uses_spread: profile == Profile::Fast,
            datapoints,
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    pub(super) fn datapoints(&mut self) -> &mut Datapoints {
        &mut self.datapoints
    }

    pub(super) fn into_datapoints(self) -> (Metric, Datapoints) {
        (self.policy.metric, self.datapoints)
    }

    /// Whether it takes part in scale-in.
    pub(super) fn may_scale_in(&self) -> bool {
        self.policy.scale_in
    }

    /// The result for its datapoints.
    pub(super) fn evaluate(&self) -> PolicyResult {
        let alarm = self.alarm();
        let mut result = PolicyResult::new(PolicyKind::TargetTracking, self.name.clone(), alarm);
        let numbers = match alarm {
            AlarmState::High => self.scale_out_inputs(),
            AlarmState::Low => self.scale_in_inputs(),
            AlarmState::Ok | AlarmState::InsufficientData => {
                result.metric = self.latest();
                result.formula = self.explain(alarm);
                None
            }
        };
        if let Some((metric, inputs)) = numbers {
            result.metric = Some(metric);
            result.formula = formula(metric, &inputs);
            result.wants = Some(inputs.wants(metric));
            result.inputs = Some(inputs);
        }
        result
    }

    /// The state of the alarm. `InsufficientData` also while the last datapoints are low, but
    /// fewer than `in_periods`.
    fn alarm(&self) -> AlarmState {
        let (high, low) = (self.high_limit(), self.low_limit());
        let Some(mut recent) = self.datapoints.last(self.timing.out_periods) else {
            return AlarmState::InsufficientData;
        };
        let is_low = recent.clone().all(|point| point.value < low);
        if recent.all(|point| point.value > high) {
            return AlarmState::High;
        }
        let all = self.datapoints.last(self.timing.in_periods);
        match all.map(|mut all| all.all(|point| point.value < low)) {
            Some(true) => AlarmState::Low,
            None if is_low => AlarmState::InsufficientData,
            Some(false) | None => AlarmState::Ok,
        }
    }

    fn high_limit(&self) -> f64 {
        self.timing.out_above * self.policy.target
    }

    fn low_limit(&self) -> f64 {
        self.timing.in_below * self.policy.target
    }

    /// Mean of the datapoints of the high alarm.
    fn latest(&self) -> Option<f64> {
        let values = self.datapoints.last(self.timing.out_periods)?;
        Some(mean(values.map(|point| point.value)))
    }

    fn scale_out_inputs(&self) -> Option<(f64, Inputs)> {
        let points = self.datapoints.last(self.timing.out_periods)?;
        let load = mean(points.clone().map(|point| point.measured));
        Some(self.inputs(points, load, 0.0))
    }

    fn scale_in_inputs(&self) -> Option<(f64, Inputs)> {
        let points = self.datapoints.last(self.timing.in_periods)?;
        let load = mean(points.clone().map(|point| point.carried));
        let spread = if self.uses_spread {
            deviation(points.clone(), load)
        } else {
            0.0
        };
        Some(self.inputs(points, load, spread))
    }

    /// The mean of the datapoints and the inputs of the calculation. `load` and `spread` are those
    /// of all replicas together.
    fn inputs<'a>(
        &self,
        points: impl Iterator<Item = &'a Datapoint> + Clone,
        load: f64,
        spread: f64,
    ) -> (f64, Inputs) {
        let metric = mean(points.clone().map(|point| point.value));
        let replicas = if metric > 0.0 {
            load / metric
        } else {
            mean(points.clone().map(|point| point.running))
        };
        let inputs = Inputs {
            replicas,
            target: self.policy.target,
            datapoints: points.count() as u32,
            spread: if replicas > 0.0 {
                spread / replicas
            } else {
                0.0
            },
            limit: self.high_limit(),
        };
        (metric, inputs)
    }

    fn explain(&self, alarm: AlarmState) -> String {
        let Timing {
            out_periods,
            in_periods,
            ..
        } = self.timing;
        if alarm == AlarmState::InsufficientData {
            return format!("needs {out_periods} datapoints for out, {in_periods} for in");
        }
        format!(
            "not {out_periods} above {} and not {in_periods} below {}",
            short(self.high_limit()),
            short(self.low_limit())
        )
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// Standard deviation of the load; 0 if it is no more than the error of floating point numbers.
fn deviation<'a>(points: impl Iterator<Item = &'a Datapoint> + Clone, mean: f64) -> f64 {
    let count = points.clone().count().max(2) - 1;
    let squares: f64 = points.map(|point| (point.carried - mean).powi(2)).sum();
    let deviation = (squares / count as f64).sqrt();
    if deviation > 1e-9 * mean {
        deviation
    } else {
        0.0
    }
}

fn formula(metric: f64, inputs: &Inputs) -> String {
    let (n, m, t) = (short(inputs.replicas), short(metric), short(inputs.target));
    let (by_mean, by_spread) = (inputs.by_mean(metric), inputs.by_spread(metric));
    if by_spread <= by_mean {
        return format!("ceil({n} * {m} / {t}) = {by_mean}");
    }
    let (spread, limit) = (short(inputs.spread), short(inputs.limit));
    format!("ceil({n} * ({m} + 3 * {spread}) / {limit}) = {by_spread}")
}

/// Formats a number with at most three decimals and without trailing zeros.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
