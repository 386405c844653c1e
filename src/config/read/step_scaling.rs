//! `step_scaling`: an alarm, and what happens how far beyond its threshold.

use toml::de::DeValue;

use super::autoscaling::{check_alarm, period};
use super::metric;
use super::steps;
use crate::config::autoscaling::{Adjustment, Comparison, Metric, Step, StepScaling, Timing};
use crate::config::bounds;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::units;

const COMPARISONS: [(&str, Comparison); 4] = [
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
];

/// Understood, not advertised: CloudWatch's words.
const COMPARISON_ALIASES: [(&str, Comparison); 4] = [
    ("GreaterThanThreshold", Comparison::Greater),
    ("GreaterThanOrEqualToThreshold", Comparison::GreaterOrEqual),
    ("LessThanThreshold", Comparison::Less),
    ("LessThanOrEqualToThreshold", Comparison::LessOrEqual),
];

const ADJUSTMENTS: [(&str, Adjustment); 3] = [
    ("change", Adjustment::Change),
    ("exact", Adjustment::Exact),
    ("percent", Adjustment::Percent),
];

/// Understood, not advertised: AWS's words.
const ADJUSTMENT_ALIASES: [(&str, Adjustment); 3] = [
    ("ChangeInCapacity", Adjustment::Change),
    ("ExactCapacity", Adjustment::Exact),
    ("PercentChangeInCapacity", Adjustment::Percent),
];

/// What is not written follows the group's timing: that of a scale-in for a policy that only
/// takes away, that of a scale-out for every other.
pub(super) fn read(node: &Node<'_>, timing: &Timing) -> Option<StepScaling> {
    let section = node.section(Place::StepScaling)?;
    let metric = metric::metric(&section);
    let comparison = section
        .require("comparison", "write comparison = \">=\"")
        .and_then(|node| word(&node, &COMPARISONS, &COMPARISON_ALIASES));
    let threshold = section
        .require(
            "threshold",
            "write the value that raises the alarm: threshold = 70",
        )
        .and_then(|node| metric::threshold(&node, metric.as_ref()?));
    let adjustment = match section.get("adjustment") {
        Some(node) => word(&node, &ADJUSTMENTS, &ADJUSTMENT_ALIASES),
        None => Some(Adjustment::Change),
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
    let periods = section.integer("periods", bounds::PERIODS, periods);
    let period = period(&section, timing.period);
    check_alarm(&section, "periods", periods, period);
    let cooldown = section.duration("cooldown", &bounds::COOLDOWN, cooldown);
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

/// One of Weir's words, or somebody else's.
fn word<T: Copy>(node: &Node<'_>, words: &[(&str, T)], aliases: &[(&str, T)]) -> Option<T> {
    let alias = match node.value {
        DeValue::String(text) => aliases.iter().find(|(alias, _)| alias == text),
        _ => None,
    };
    match alias {
        Some((_, value)) => Some(*value),
        None => node.word(words),
    }
}

fn min_magnitude(section: &Section<'_>, adjustment: Option<Adjustment>) -> Option<u32> {
    let node = section.get("min_magnitude")?;
    let read = node.integer(1..=bounds::ENGINE_REPLICAS);
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
    if items.len() > bounds::STEPS {
        let most = bounds::STEPS;
        let message = format!(
            "`steps` has {} entries, and {most} are the most",
            items.len()
        );
        node.error(Code::OutOfRange, message, "take some out");
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
    let section = node.section(Place::Step)?;
    let bound = |key| section.get(key).map(|node| offset(&node, metric));
    let (lower, upper) = (bound("lower"), bound("upper"));
    let range = match adjustment {
        Some(Adjustment::Percent) => bounds::STEP_PERCENT,
        Some(Adjustment::Exact) => 0..=*bounds::STEP_CHANGE.end(),
        Some(Adjustment::Change) | None => bounds::STEP_CHANGE,
    };
    let by = section
        .require("by", "write how many replicas more: by = 1")
        .and_then(|node| node.integer(range));
    Some(Step {
        lower: match lower {
            Some(lower) => Some(lower?),
            None => None,
        },
        upper: match upper {
            Some(upper) => Some(upper?),
            None => None,
        },
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
                Err(error) => {
                    node.error(Code::Unit, error.message, error.help);
                    None
                }
            }
        }
        // Zero is the threshold in every unit.
        (Metric::LatencyP95, DeValue::Integer(zero)) if zero.as_str() == "0" => Some(0.0),
        // No number has a unit: that is what this says.
        (Metric::LatencyP95, _) => node.duration(&bounds::PHASE).map(|_| 0.0),
        _ => node.number(&(-bounds::METRIC..=bounds::METRIC)),
    }
}
