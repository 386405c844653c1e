//! `step_scaling`: an alarm, and its steps by the distance from its threshold.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::timing::{check_alarm, period};
use super::{metric, steps};
use crate::config::autoscaling::{Adjustment, Comparison, Metric, Step, StepScaling, Timing};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::units;

/// Percent by which a step changes the number of replicas: at most all of them go.
const PERCENT: RangeInclusive<i64> = -100..=keys::MOST_REPLICAS;

/// Defaults are those of the group's timing: of a scale-in for a policy that only takes replicas
/// away, of a scale-out for every other.
pub(super) fn read(node: &Node<'_>, timing: &Timing) -> Option<StepScaling> {
    let section = node.section(&keys::STEP_SCALING)?;
    let metric = metric::metric(&section);
    let comparison = section
        .require("comparison", "write comparison = \">=\"")
        .and_then(|node| node.word());
    let threshold = section
        .require(
            "threshold",
            "write the value that raises the alarm: threshold = 70",
        )
        .and_then(|node| metric::threshold(&node, metric.as_ref()?));
    let adjustment = match section.get("adjustment") {
        Some(node) => node.word(),
        None => Some(section.default_word("adjustment")),
    };
    let steps = section
        .require("steps", "write steps = [{ lower = 0, by = 1 }]")
        .and_then(|node| steps(&node, metric.as_ref(), adjustment, comparison));
    let min_magnitude = min_magnitude(&section, adjustment);
    let takes_away = steps.as_deref().is_some_and(takes_away);
    let (periods, cooldown) = if takes_away {
        (timing.in_periods, timing.in_cooldown)
    } else {
        (timing.out_periods, timing.out_cooldown)
    };
    let periods = section.count_or("periods", periods);
    let period = period(&section, timing.period);
    check_alarm(&section, "periods", periods, period);
    let cooldown = section.duration_or("cooldown", cooldown);
    Some(StepScaling {
        metric: metric?,
        comparison: comparison?,
        threshold: threshold?,
        periods,
        period,
        adjustment: adjustment?,
        steps: steps?,
        min_magnitude,
        cooldown,
    })
}

fn takes_away(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.by <= 0)
}

fn min_magnitude(section: &Section<'_>, adjustment: Option<Adjustment>) -> Option<u32> {
    let node = section.get("min_magnitude")?;
    let read = node.count();
    if let Some(Adjustment::Change | Adjustment::Exact) = adjustment {
        let message = "`min_magnitude` does nothing: the steps are replicas already";
        let help = "it belongs to adjustment = \"percent\"";
        node.warn(Code::NoEffect, message, help);
    }
    read
}

fn steps(
    node: &Node<'_>,
    metric: Option<&Metric>,
    adjustment: Option<Adjustment>,
    comparison: Option<Comparison>,
) -> Option<Vec<Step>> {
    let items = node.items();
    if node.has_too_many(&items) {
        return None;
    }
    let read = node.items_of(|node| step(node, metric, adjustment))?;
    let mut placed: Vec<_> = read.into_iter().zip(items).collect();
    placed.sort_by(|(a, _), (b, _)| start(a).total_cmp(&start(b)));
    let (steps, nodes): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
    let wrong = steps::check(&steps, comparison?);
    for wrong in &wrong {
        nodes[wrong.at].error(Code::InvalidValue, &*wrong.message, &*wrong.help);
    }
    wrong.is_empty().then_some(steps)
}

fn start(step: &Step) -> f64 {
    step.lower.unwrap_or(f64::NEG_INFINITY)
}

fn step(node: &Node<'_>, metric: Option<&Metric>, adjustment: Option<Adjustment>) -> Option<Step> {
    let section = node.section(&keys::STEP)?;
    let lower = section.optional("lower", |node| offset(node, metric));
    let upper = section.optional("upper", |node| offset(node, metric));
    let by = section
        .require("by", "write how many replicas more: by = 1")
        .and_then(|node| match adjustment {
            Some(Adjustment::Percent) => node.count_within(&PERCENT),
            Some(Adjustment::Exact) => node.count_within(&(0..=keys::MOST_REPLICAS)),
            Some(Adjustment::Change) | None => node.count(),
        });
    Some(Step {
        lower: lower?,
        upper: upper?,
        by: by?,
    })
}

/// How far from the threshold, in the metric's unit: a number, of a latency a duration that
/// may have a minus before it.
fn offset(node: &Node<'_>, metric: Option<&Metric>) -> Option<f64> {
    match (metric?, node.value) {
        (Metric::LatencyP95, DeValue::String(text)) => {
            let (sign, text) = match text.strip_prefix('-') {
                Some(text) => (-1.0, text),
                None => (1.0, &**text),
            };
            match units::duration(text) {
                Ok(read) => Some(sign * read.as_secs_f64() * 1000.0),
                Err(error) => node.refuse(Code::Unit, error.message, error.help),
            }
        }
        // Zero is the threshold in every unit.
        (Metric::LatencyP95, DeValue::Integer(zero)) if zero.as_str() == "0" => Some(0.0),
        // Reports the missing unit.
        (Metric::LatencyP95, _) => node.duration_within(&keys::PHASE).map(|_| 0.0),
        _ => node.number_within(&(-keys::METRIC..=keys::METRIC)),
    }
}
