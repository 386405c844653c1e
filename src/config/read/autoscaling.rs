//! `autoscaling`: bounds, timings, and what changes the number of replicas.

use std::path::PathBuf;

use super::{metric, schedule, step_scaling, timing};
use crate::config::autoscaling::{Autoscaling, Metric, Predictive, TargetTracking};
use crate::config::keys::{self, PredictiveMode};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;

pub(super) fn read(node: &Node<'_>) -> Option<Autoscaling> {
    let section = node.section(&keys::AUTOSCALING)?;
    let min = section
        .require("min", "write the fewest replicas: min = 1")
        .and_then(|node| node.count());
    let max = section
        .require("max", "write the most replicas: max = 4")
        .and_then(|node| node.count());
    let bounds = min.zip(max);
    check_bounds(&section, bounds);
    let profile = section.word("profile");
    let timing = timing::read(&section, profile);
    let scale_in = section.flag("scale_in");
    let target_tracking = list(&section, "target_tracking", target_tracking);
    check_twins(&section, target_tracking.as_deref());
    let step_scaling = list(&section, "step_scaling", |node| {
        step_scaling::read(node, &timing)
    });
    let schedule = list(&section, "schedule", |node| schedule::read(node, bounds));
    let predictive = section.optional("predictive", predictive);
    let record = section.optional("record", file);
    let (min, max) = bounds?;
    Some(Autoscaling {
        min,
        max,
        profile,
        timing,
        scale_in,
        target_tracking: target_tracking?,
        step_scaling: step_scaling?,
        schedule: schedule?,
        predictive: predictive?,
        record: record?,
    })
}

fn check_bounds(section: &Section<'_>, bounds: Option<(u32, u32)>) {
    if let Some((min, max)) = bounds
        && min > max
        && let Some(node) = section.get("min")
    {
        let message = format!("`min` ({min}) is above `max` ({max})");
        let help = format!("write min = {max}, max = {min}?");
        node.error(Code::OutOfRange, message, help);
    }
}

/// A list that may be empty, or one value. Returns `None` if an entry is wrong.
fn list<'a, T>(
    section: &Section<'a>,
    key: &str,
    read: impl Fn(&Node<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(node) = section.get(key) else {
        return Some(Vec::new());
    };
    let items = node.items();
    if node.has_too_many(&items) {
        return None;
    }
    let read: Vec<_> = items.iter().map(read).collect();
    read.into_iter().collect()
}

fn target_tracking(node: &Node<'_>) -> Option<TargetTracking> {
    let section = node.section(&keys::TARGET_TRACKING)?;
    let metric = metric::metric(&section);
    let target = metric::target(&section, metric.as_ref());
    let scale_in = section.flag("scale_in");
    Some(TargetTracking {
        metric: metric?,
        target: target?,
        scale_in,
    })
}

/// Most policies that are compared with each other, in pairs because metrics have no order.
const MAX_COMPARED: usize = 1000;

/// AWS's rule: each policy has a metric of its own. Of two targets the lower one would always
/// scale out and the higher one never in.
fn check_twins(section: &Section<'_>, policies: Option<&[TargetTracking]>) {
    let nodes = section.get("target_tracking").map(|node| node.items());
    let (Some(policies), Some(nodes)) = (policies, nodes) else {
        return;
    };
    for (n, policy) in policies.iter().enumerate().take(MAX_COMPARED) {
        if policies[..n]
            .iter()
            .any(|other| other.metric == policy.metric)
        {
            let message = format!("`{}` has two targets", policy.metric.name());
            let help = "one metric has one target; take one of them out";
            nodes[n].error(Code::Duplicate, message, help);
        }
    }
}

fn predictive(node: &Node<'_>) -> Option<Predictive> {
    let section = node.section(&keys::PREDICTIVE)?;
    let metric = metric::metric(&section);
    let target = metric::target(&section, metric.as_ref());
    if let Some(Metric::LatencyP95) = metric
        && let Some(node) = section.get("metric")
    {
        let message =
            "nothing can be forecast from a latency: it is not a load that replicas share";
        let help = "write \"requests_per_target\", \"in_flight_per_target\" or \"cpu\"";
        node.error(Code::InvalidValue, message, help);
    }
    let mode: PredictiveMode = section.word("mode");
    let buffer = section.duration("buffer");
    let history = section.optional("history", file);
    Some(Predictive {
        metric: metric?,
        target: target?,
        scale: mode == PredictiveMode::ForecastAndScale,
        buffer,
        history: history?,
    })
}

/// A file that Weir writes, which nothing else in this configuration may write.
fn file(node: &Node<'_>) -> Option<PathBuf> {
    let text = node.text()?;
    if text.ends_with('/') || text.contains('\0') {
        let message = format!("`{}` is not the path of a file", text.escape_default());
        return node.refuse(Code::InvalidValue, message, "");
    }
    let path = PathBuf::from(text);
    node.cx
        .note(|notes| notes.written.push(node.mark(path.clone())));
    Some(path)
}
