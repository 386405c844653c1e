//! The simulated metrics, and whether a count of replicas is too small for a load.

use super::{ServedSecond, Service};
use crate::autoscale::Reading;
use crate::config::{Autoscaling, Comparison, Metric, StepScaling};

/// Whether a metric is simulated. Memory and custom metrics do not follow from the requests.
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

/// The first simulated metric of a group's policies, with its target or threshold.
pub fn tracked(policy: &Autoscaling) -> Option<(&Metric, f64)> {
    let targets = policy.target_tracking.iter().map(|p| (&p.metric, p.target));
    let steps = policy.step_scaling.iter().map(|p| (&p.metric, p.threshold));
    targets
        .chain(steps)
        .find(|(metric, _)| is_simulated(metric))
}

/// The reading of a metric in one second of the simulation.
pub(super) fn reading(metric: &Metric, served: &ServedSecond, running: u32, load: f64) -> Reading {
    // Without replicas the queue counts as that of one target, as in production.
    let per_target = |value: f64| value / f64::from(running.max(1));
    let value = match metric {
        Metric::Cpu => served.utilisation.map(|part| part * 100.0),
        Metric::RequestsPerTarget => Some(per_target(load)),
        Metric::InFlightPerTarget => Some(per_target(served.in_flight)),
        Metric::QueueLength => Some(per_target(served.waiting)),
        Metric::LatencyP95 => (load > 0.0).then(|| served.response.quantile(0.95) * 1000.0),
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

/// Multiple of its target from which a metric is above it for all rules: `fast` and Kubernetes
/// tolerate less than that.
const CLEARLY_ABOVE: f64 = 1.1;

/// Whether this count is too small for a steady load: a metric would be clearly above its target,
/// or beyond a threshold of scale-out.
pub(super) fn is_short(policy: &Autoscaling, service: &Service, replicas: u32, load: f64) -> bool {
    if replicas == 0 {
        return load > 0.0;
    }
    let served = service.steady(replicas, load);
    let value = |metric: &Metric| match reading(metric, &served, replicas, load) {
        Reading::Value(value) => Some(value),
        Reading::Missing(_) => None,
    };
    let is_above_target = policy.target_tracking.iter().any(|policy| {
        value(&policy.metric).is_some_and(|value| value > policy.target * CLEARLY_ABOVE)
    });
    is_above_target
        || policy
            .step_scaling
            .iter()
            .any(|policy| value(&policy.metric).is_some_and(|value| asks_for_more(policy, value)))
}

fn asks_for_more(policy: &StepScaling, value: f64) -> bool {
    match policy.comparison {
        Comparison::Greater => value > policy.threshold,
        Comparison::GreaterOrEqual => value >= policy.threshold,
        Comparison::Less | Comparison::LessOrEqual => false,
    }
}
