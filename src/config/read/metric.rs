//! `metric`, and the values it is compared with.

use toml::de::DeValue;

use super::health;
use crate::config::autoscaling::{CustomMetric, Metric};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::config::{bounds, defaults};

/// Weir's own metrics and the one of AWS that means the same.
const NAMES: [(&str, Metric); 6] = [
    ("cpu", Metric::Cpu),
    ("memory", Metric::Memory),
    ("requests_per_target", Metric::RequestsPerTarget),
    ("in_flight_per_target", Metric::InFlightPerTarget),
    ("queue_length", Metric::QueueLength),
    ("latency_p95", Metric::LatencyP95),
];

/// Understood, not advertised: AWS's names.
const ALIASES: [(&str, Metric); 2] = [
    ("ECSServiceAverageCPUUtilization", Metric::Cpu),
    ("ECSServiceAverageMemoryUtilization", Metric::Memory),
];

/// The metric of a policy, a word or a table.
pub(super) fn metric(section: &Section<'_>) -> Option<Metric> {
    let node = section.require("metric", "write metric = \"cpu\"")?;
    if let DeValue::Table(_) = node.value {
        return custom(&node.section(Place::CustomMetric)?).map(Metric::Custom);
    }
    let names: Vec<_> = NAMES
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let known = format!(
        "known are {}, and {{ name = \"...\" }} for one of the replicas' own",
        names.join(", ")
    );
    if !matches!(node.value, DeValue::String(_)) {
        node.wrong_type("a string or a table", known);
        return None;
    }
    let text = node.text()?;
    let mut all = NAMES.iter().chain(&ALIASES);
    if let Some((_, metric)) = all.find(|(name, _)| *name == text) {
        return Some(metric.clone());
    }
    let message = format!("`{text}` is not a metric");
    let help = match nearest(&text, NAMES.map(|(name, _)| name)) {
        _ if text == "ALBRequestCountPerTarget" => {
            "write \"requests_per_target\": requests per second, a sixtieth of AWS's number".into()
        }
        Some(name) => format!("did you mean \"{name}\"?\n{known}"),
        None => known,
    };
    node.error(Code::InvalidValue, message, help);
    None
}

fn custom(section: &Section<'_>) -> Option<CustomMetric> {
    let name = section
        .require(
            "name",
            "write the name of the series: { name = \"jobs_waiting\" }",
        )
        .and_then(|node| series(&node, "a metric of Prometheus", "_:"));
    let labels = section.get("labels").map(|node| labels(&node));
    let path = match section.get("path") {
        Some(node) => health::path(&node),
        None => Some(defaults::METRICS_PATH.to_owned()),
    };
    let port = section.get("port").map(|node| node.integer(bounds::PORT));
    let rate = section.get("rate").map(|node| node.boolean());
    Some(CustomMetric {
        name: name?,
        labels: labels.unwrap_or(Some(Vec::new()))?,
        path: path?,
        port: port.flatten(),
        rate: rate.flatten().unwrap_or(false),
    })
}

/// A name in Prometheus' text format.
fn series(node: &Node<'_>, what: &str, besides: &str) -> Option<String> {
    let text = node.text()?;
    let legal = |c: char| c.is_ascii_alphanumeric() || besides.contains(c);
    if text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(legal) {
        let message = format!("{what} is never called `{}`", text.escape_default());
        let help = if text.contains('{') {
            "write its labels apart: { name = \"jobs\", labels = { state = \"waiting\" } }"
        } else {
            "write the name as the page has it, without labels and functions"
        };
        node.error(Code::InvalidValue, message, help);
        return None;
    }
    Some(text)
}

/// In the order of their names, so that the same labels are the same metric.
fn labels(node: &Node<'_>) -> Option<Vec<(String, String)>> {
    if !matches!(node.value, DeValue::Table(_)) {
        node.wrong_type(
            "a table of names and values",
            "write labels = { state = \"waiting\" }",
        );
        return None;
    }
    let read = Section::names(node).into_iter().map(|(name, span, value)| {
        let at = Node {
            span,
            ..value.clone()
        };
        let name = if name.is_empty() || name.contains(':') {
            at.error(
                Code::InvalidValue,
                format!("no label is called `{name}`"),
                "",
            );
            None
        } else {
            label(&at, &name)
        };
        Some((name?, value.string()?))
    });
    let read: Vec<_> = read.collect();
    let mut labels: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    labels.sort();
    Some(labels)
}

fn label(at: &Node<'_>, name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
        let message = format!("no label is called `{}`", name.escape_default());
        at.error(Code::InvalidValue, message, "");
        return None;
    }
    Some(name.to_owned())
}

/// What a metric is to be kept near: above zero.
pub(super) fn target(section: &Section<'_>, metric: Option<&Metric>) -> Option<f64> {
    let node = section.require(
        "target",
        "write the value to keep the metric near: target = 20",
    )?;
    let target = value(&node, metric?, -bounds::METRIC)?;
    if target <= 0.0 {
        let message = "`target` must be above 0";
        let help = "no number of replicas brings a metric to nothing; to let all of them go when nothing happens, write min = 0";
        node.error(Code::OutOfRange, message, help);
        return None;
    }
    Some(target)
}

/// What a metric is compared with: below zero there is none of Weir's own.
pub(super) fn threshold(node: &Node<'_>, metric: &Metric) -> Option<f64> {
    let least = match metric {
        Metric::Custom(_) => -bounds::METRIC,
        _ => 0.0,
    };
    value(node, metric, least)
}

/// A value of a metric in its own unit: a duration of a latency, a number of all others.
fn value(node: &Node<'_>, metric: &Metric, least: f64) -> Option<f64> {
    let value = match metric {
        Metric::LatencyP95 => milliseconds(node)?,
        _ => plain(node, metric, least)?,
    };
    if is_percent(metric) && value > 100.0 {
        let name = metric.name();
        let message = format!("`{name}` is a percentage, and hardly ever above 100");
        let help = "100 is all that a replica may use";
        node.warn(Code::Suspicious, message, help);
    }
    Some(value)
}

/// Whether 100 is all there is.
fn is_percent(metric: &Metric) -> bool {
    match metric {
        Metric::Cpu | Metric::Memory => true,
        Metric::RequestsPerTarget
        | Metric::InFlightPerTarget
        | Metric::QueueLength
        | Metric::LatencyP95
        | Metric::Custom(_) => false,
    }
}

fn plain(node: &Node<'_>, metric: &Metric, least: f64) -> Option<f64> {
    if let DeValue::String(text) = node.value
        && let Some(number) = text.strip_suffix('%')
        && is_percent(metric)
        && number.parse::<f64>().is_ok()
    {
        let message = format!("`{}` of \"{}\" is a number", node.name(), metric.name());
        let help = format!(
            "write it without quotes and sign: {} = {number}",
            node.name()
        );
        node.error(Code::WrongType, message, help);
        return None;
    }
    node.number(&(least..=bounds::METRIC))
}

/// A latency, with a unit as all durations.
fn milliseconds(node: &Node<'_>) -> Option<f64> {
    let read = node.duration(&bounds::PHASE)?;
    Some(read.as_secs_f64() * 1000.0)
}
