//! The metrics of the model, and what the policies make of them at a glance.

use super::{Moment, Service};
use crate::autoscale::Reading;
use crate::config::{Autoscaling, Comparison, Metric, StepScaling};

/// Whether the model knows a metric. The memory of the replicas and what they say of
/// themselves do not follow from the requests.
pub fn is_simulated(metric: &Metric) -> bool {
    match metric {
        Metric::Cpu
        | Metric::RequestsPerTarget
        | Metric::InFlightPerTarget
        | Metric::QueueLength
        | Metric::LatencyP95 => true,
        Metric::Memory | Metric::Custom(_) => false,
    }
}

/// The first metric of a group's policies that the model knows, with its target or threshold.
pub fn tracked(policy: &Autoscaling) -> Option<(&Metric, f64)> {
    let targets = policy.target_tracking.iter().map(|p| (&p.metric, p.target));
    let steps = policy.step_scaling.iter().map(|p| (&p.metric, p.threshold));
    targets
        .chain(steps)
        .find(|(metric, _)| is_simulated(metric))
}

/// A metric in a second of the simulation.
pub(super) fn reading(metric: &Metric, moment: &Moment, running: u32, load: f64) -> Reading {
    // What waits while nothing runs counts as if for one target, as it does in production.
    let per_target = |value: f64| value / f64::from(running.max(1));
    let value = match metric {
        Metric::Cpu => moment.utilisation.map(|part| part * 100.0),
        Metric::RequestsPerTarget => Some(per_target(load)),
        Metric::InFlightPerTarget => Some(per_target(moment.in_flight)),
        Metric::QueueLength => Some(per_target(moment.waiting)),
        Metric::LatencyP95 => (load > 0.0).then(|| moment.response.quantile(0.95) * 1000.0),
        Metric::Memory | Metric::Custom(_) => {
            return Reading::Missing("it is not simulated".to_owned());
        }
    };
    match (value, running) {
        (Some(value), _) => Reading::Value(value),
        (None, 0) => Reading::Missing("no replica runs".to_owned()),
        (None, _) => Reading::Missing("no requests".to_owned()),
    }
}

/// So many times its target a metric is above it for everybody: `fast` and Kubernetes let less
/// than that pass.
const CLEARLY_ABOVE: f64 = 1.1;

/// Whether so many replicas are too few for a steady load: a metric would be clearly above its
/// target, or beyond a threshold that asks for more.
pub(super) fn is_short(policy: &Autoscaling, service: &Service, replicas: u32, load: f64) -> bool {
    if replicas == 0 {
        return load > 0.0;
    }
    let moment = service.steady(replicas, load);
    let value = |metric: &Metric| match reading(metric, &moment, replicas, load) {
        Reading::Value(value) => Some(value),
        Reading::Missing(_) => None,
    };
    let mut targets = policy.target_tracking.iter();
    let mut steps = policy.step_scaling.iter();
    targets.any(|p| value(&p.metric).is_some_and(|value| value > p.target * CLEARLY_ABOVE))
        || steps.any(|p| value(&p.metric).is_some_and(|value| asks_for_more(p, value)))
}

fn asks_for_more(policy: &StepScaling, value: f64) -> bool {
    match policy.comparison {
        Comparison::Greater => value > policy.threshold,
        Comparison::GreaterOrEqual => value >= policy.threshold,
        Comparison::Less | Comparison::LessOrEqual => false,
    }
}
