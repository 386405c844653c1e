//! Target tracking: as many replicas as bring a metric to its target, by the rule of three.
//!
//! Out: when the last `out_periods` datapoints are all above `out_above` times the target, it
//! wants `ceil(n * m / T)`, where `m` is their mean and `n` the number of replicas that it is
//! an average over: those in service without those that warm up. Since the product of both is
//! taken for each datapoint, a number that changed within the datapoints does no harm.
//!
//! In: when the last `in_periods` are all below `in_below` times the target, likewise, where
//! `n` is all that are in service. AWS does not scale in when "removing a minimum unit of
//! capacity would likely bring the metric back above the target" (Application Auto Scaling,
//! "How target tracking scaling works"). In AWS's profiles the mean says what is likely, as in
//! AWS's examples. In Weir's own, whose datapoints are short and restless, they all do: three
//! times their standard deviation above the mean must stay below what would scale out again.

use crate::config::{Metric, Profile, TargetTracking, Timing};

use super::decision::{AlarmState, Inputs, Kind, Opinion};
use super::history::{Datapoint, History};

/// One policy with its datapoints.
#[derive(Debug)]
pub(super) struct Tracking {
    policy: TargetTracking,
    timing: Timing,
    /// Whether scale-in also goes by how restless the datapoints are.
    heeds_spread: bool,
    name: String,
    history: History,
}

impl Tracking {
    /// Goes on with `old` datapoints, which have the right length.
    pub(super) fn new(
        policy: TargetTracking,
        timing: Timing,
        profile: Profile,
        old: Option<History>,
    ) -> Self {
        let keep = timing.out_periods.max(timing.in_periods);
        let mut history = old.unwrap_or_else(|| History::new(timing.period, keep));
        history.resize(keep);
        Self {
            name: format!("target_tracking {} {}", policy.metric.name(), policy.target),
            policy,
            timing,
            heeds_spread: profile == Profile::Fast,
            history,
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    pub(super) fn history(&mut self) -> &mut History {
        &mut self.history
    }

    pub(super) fn into_history(self) -> (Metric, History) {
        (self.policy.metric, self.history)
    }

    /// Whether it takes part in scaling in.
    pub(super) fn may_scale_in(&self) -> bool {
        self.policy.scale_in
    }

    /// What it says of its datapoints.
    pub(super) fn opinion(&self) -> Opinion {
        let alarm = self.alarm();
        let mut opinion = Opinion::new(Kind::TargetTracking, self.name.clone(), alarm);
        let numbers = match alarm {
            AlarmState::High => self.out(),
            AlarmState::Low => self.r#in(),
            AlarmState::Ok | AlarmState::InsufficientData => {
                opinion.metric = self.latest();
                opinion.formula = self.explain(alarm);
                None
            }
        };
        if let Some((metric, inputs)) = numbers {
            opinion.metric = Some(metric);
            opinion.formula = formula(metric, &inputs);
            opinion.wants = Some(inputs.wants(metric));
            opinion.inputs = Some(inputs);
        }
        opinion
    }

    /// `InsufficientData` also while the last datapoints are low and there are too few yet to
    /// know whether they stay so.
    fn alarm(&self) -> AlarmState {
        let (high, low) = (self.above(), self.below());
        let Some(mut recent) = self.history.last(self.timing.out_periods) else {
            return AlarmState::InsufficientData;
        };
        let is_low = recent.clone().all(|point| point.value < low);
        if recent.all(|point| point.value > high) {
            return AlarmState::High;
        }
        let all = self.history.last(self.timing.in_periods);
        match all.map(|mut all| all.all(|point| point.value < low)) {
            Some(true) => AlarmState::Low,
            None if is_low => AlarmState::InsufficientData,
            Some(false) | None => AlarmState::Ok,
        }
    }

    fn above(&self) -> f64 {
        self.timing.out_above * self.policy.target
    }

    fn below(&self) -> f64 {
        self.timing.in_below * self.policy.target
    }

    /// Mean of the datapoints that the high alarm looks at.
    fn latest(&self) -> Option<f64> {
        let values = self.history.last(self.timing.out_periods)?;
        Some(mean(values.map(|point| point.value)))
    }

    fn out(&self) -> Option<(f64, Inputs)> {
        let points = self.history.last(self.timing.out_periods)?;
        let load = mean(points.clone().map(|point| point.measured));
        Some(self.numbers(points, load, 0.0))
    }

    fn r#in(&self) -> Option<(f64, Inputs)> {
        let points = self.history.last(self.timing.in_periods)?;
        let load = mean(points.clone().map(|point| point.carried));
        let spread = self.heeds_spread.then(|| deviation(points.clone(), load));
        Some(self.numbers(points, load, spread.unwrap_or(0.0)))
    }

    /// Mean of the datapoints, and what goes with it. `load` and `spread` are of all replicas
    /// together.
    fn numbers<'a>(
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
            limit: self.above(),
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
            short(self.above()),
            short(self.below())
        )
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// Standard deviation of the load of a sample; nothing when it is only what floating point
/// leaves over.
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

/// At most three decimals, none that are zero.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
