//! `metric`, and the values it is compared with.

use toml::de::DeValue;

use super::health;
use crate::config::autoscaling::{CustomMetric, Metric};
use crate::config::keys::{self, Words, names};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::suggest::nearest;

/// The metric of a policy, a word or a table.
pub(super) fn metric(section: &Section<'_>) -> Option<Metric> {
    let node = section.require("metric", "write metric = \"cpu\"")?;
    if let DeValue::Table(_) = node.value {
        return custom(&node.section(&keys::CUSTOM_METRIC)?).map(Metric::Custom);
    }
    let known = format!(
        "known are \"{}\", and {{ name = \"...\" }} for one of the replicas' own",
        names::<Metric>().join("\", \"")
    );
    if !matches!(node.value, DeValue::String(_)) {
        return node.refuse_type("a string or a table", known);
    }
    let text = node.text()?;
    if let Some(metric) = Metric::of(&text) {
        return Some(metric);
    }
    let message = format!("`{text}` is not a metric");
    let help = match nearest(&text, names::<Metric>()) {
        _ if text == "ALBRequestCountPerTarget" => {
            "write \"requests_per_target\": requests per second, a sixtieth of AWS's number".into()
        }
        Some(name) => format!("did you mean \"{name}\"?\n{known}"),
        None => known,
    };
    node.refuse(Code::InvalidValue, message, help)
}

fn custom(section: &Section<'_>) -> Option<CustomMetric> {
    let name = section
        .require(
            "name",
            "write the name of the series: { name = \"jobs_waiting\" }",
        )
        .and_then(|node| series(&node, "a metric of Prometheus", "_:"));
    let labels = section.optional("labels", labels);
    let path = section.text("path", health::path);
    let port = section.get("port").and_then(|node| node.count());
    let rate = section.flag("rate");
    Some(CustomMetric {
        name: name?,
        labels: labels?.unwrap_or_default(),
        path: path?,
        port,
        rate,
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
        return node.refuse(Code::InvalidValue, message, help);
    }
    Some(text)
}

/// Labels in the order of their names, so that the same labels are the same metric.
fn labels(node: &Node<'_>) -> Option<Vec<(String, String)>> {
    if !matches!(node.value, DeValue::Table(_)) {
        return node.refuse_type(
            "a table of names and values",
            "write labels = { state = \"waiting\" }",
        );
    }
    let read = Section::names(node).into_iter().map(|(name, span, value)| {
        let at = Node {
            span,
            ..value.clone()
        };
        let name = if name.is_empty() || name.contains(':') {
            at.refuse(
                Code::InvalidValue,
                format!("no label is called `{name}`"),
                "",
            )
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
        return at.refuse(Code::InvalidValue, message, "");
    }
    Some(name.to_owned())
}

/// The value that a metric is kept near: above zero.
pub(super) fn target(section: &Section<'_>, metric: Option<&Metric>) -> Option<f64> {
    let node = section.require(
        "target",
        "write the value to keep the metric near: target = 20",
    )?;
    let target = value(&node, metric?, -keys::METRIC)?;
    if target <= 0.0 {
        let message = "`target` must be above 0";
        let help = "no number of replicas brings a metric to nothing; to let all of them go when nothing happens, write min = 0";
        return node.refuse(Code::OutOfRange, message, help);
    }
    Some(target)
}

/// The value that a metric is compared with: Weir's own metrics are never below zero.
pub(super) fn threshold(node: &Node<'_>, metric: &Metric) -> Option<f64> {
    let least = match metric {
        Metric::Custom(_) => -keys::METRIC,
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

/// Whether a metric is a percentage.
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
        return node.refuse(Code::WrongType, message, help);
    }
    node.number_within(&(least..=keys::METRIC))
}

/// A latency as a duration, in milliseconds.
fn milliseconds(node: &Node<'_>) -> Option<f64> {
    let read = node.duration_within(&keys::PHASE)?;
    Some(read.as_secs_f64() * 1000.0)
}
