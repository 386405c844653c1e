//! `autoscaling`: bounds, timings, and what changes the number of replicas.

use std::path::PathBuf;
use std::time::Duration;

use super::{metric, schedule, step_scaling};
use crate::config::autoscaling::{
    Autoscaling, Metric, Predictive, Profile, TargetTracking, Timing,
};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::units::display_duration;
use crate::config::{bounds, defaults};

const MODES: [(&str, bool); 2] = [("forecast_only", false), ("forecast_and_scale", true)];

pub(super) fn read(node: &Node<'_>) -> Option<Autoscaling> {
    let section = node.section(Place::Autoscaling)?;
    let most = bounds::ENGINE_REPLICAS;
    let min = section
        .require("min", "write the fewest replicas: min = 1")
        .and_then(|node| node.integer(0..=most));
    let max = section
        .require("max", "write the most replicas: max = 4")
        .and_then(|node| node.integer(1..=most));
    let bounds = min.zip(max);
    check_bounds(&section, bounds);
    let profile = profile(&section);
    let timing = timing(&section, profile);
    let scale_in = section.get("scale_in").and_then(|node| node.boolean());
    let target_tracking = list(
        &section,
        "target_tracking",
        bounds::POLICIES,
        target_tracking,
    );
    check_twins(&section, target_tracking.as_deref());
    let step_scaling = list(&section, "step_scaling", bounds::POLICIES, |node| {
        step_scaling::read(node, &timing)
    });
    let schedule = list(&section, "schedule", bounds::SCHEDULE, |node| {
        schedule::read(node, bounds)
    });
    let predictive = section.get("predictive").map(|node| predictive(&node));
    let record = section.get("record").map(|node| file(&node));
    let (min, max) = bounds?;
    Some(Autoscaling {
        min,
        max,
        profile,
        timing,
        scale_in: scale_in.unwrap_or(true),
        target_tracking: target_tracking?,
        step_scaling: step_scaling?,
        schedule: schedule?,
        predictive: match predictive {
            Some(predictive) => Some(predictive?),
            None => None,
        },
        record: match record {
            Some(record) => Some(record?),
            None => None,
        },
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

fn profile(section: &Section<'_>) -> Profile {
    let names = Profile::ALL.map(|profile| (profile.name(), profile));
    let read = section.get("profile").and_then(|node| node.word(&names));
    read.unwrap_or(defaults::PROFILE)
}

/// The profile's, but for what is written.
fn timing(section: &Section<'_>, profile: Profile) -> Timing {
    let default = Timing::of(profile);
    let number = |key, bounds, default| {
        let given = section.get(key).and_then(|node| node.number(bounds));
        given.unwrap_or(default)
    };
    let cooldown = |key, default| section.duration(key, &bounds::COOLDOWN, default);
    let timing = Timing {
        period: period(section, default.period),
        out_periods: section.integer("out_periods", bounds::PERIODS, default.out_periods),
        in_periods: section.integer("in_periods", bounds::PERIODS, default.in_periods),
        out_above: number("out_above", &bounds::OUT_ABOVE, default.out_above),
        in_below: number("in_below", &bounds::IN_BELOW, default.in_below),
        out_cooldown: cooldown("out_cooldown", default.out_cooldown),
        in_cooldown: cooldown("in_cooldown", default.in_cooldown),
        warm_up: cooldown("warm_up", default.warm_up),
    };
    check_alarm(section, "out_periods", timing.out_periods, timing.period);
    check_alarm(section, "in_periods", timing.in_periods, timing.period);
    timing
}

/// A whole number of seconds: samples come once a second.
pub(super) fn period(section: &Section<'_>, default: Duration) -> Duration {
    let read = section.duration("period", &bounds::PERIOD, default);
    if read.subsec_nanos() == 0 {
        return read;
    }
    if let Some(node) = section.get("period") {
        let message = "`period` must be a whole number of seconds: samples come once a second";
        let help = format!("write \"{}s\"", read.as_secs() + 1);
        node.error(Code::InvalidValue, message, help);
    }
    default
}

/// CloudWatch's limit: all datapoints of an alarm within a day.
pub(super) fn check_alarm(section: &Section<'_>, key: &str, periods: u32, period: Duration) {
    let node = section.get(key).or_else(|| section.get("period"));
    if let Some(node) = node
        && period.saturating_mul(periods) > bounds::ALARM
    {
        let message = format!(
            "{periods} periods of {} are longer than a day",
            display_duration(period)
        );
        node.error(
            Code::OutOfRange,
            message,
            "no load is answered after so long",
        );
    }
}

/// A list that may be empty, or one value. `None` if one of them is broken.
fn list<'a, T>(
    section: &Section<'a>,
    key: &str,
    most: usize,
    read: impl Fn(&Node<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(node) = section.get(key) else {
        return Some(Vec::new());
    };
    let items = node.items();
    if items.len() > most {
        let message = format!(
            "`{key}` has {} entries, and {most} are the most",
            items.len()
        );
        node.error(Code::OutOfRange, message, "take some out");
        return None;
    }
    let read: Vec<_> = items.iter().map(read).collect();
    read.into_iter().collect()
}

fn target_tracking(node: &Node<'_>) -> Option<TargetTracking> {
    let section = node.section(Place::TargetTracking)?;
    let metric = metric::metric(&section);
    let target = metric::target(&section, metric.as_ref());
    let scale_in = section.get("scale_in").and_then(|node| node.boolean());
    Some(TargetTracking {
        metric: metric?,
        target: target?,
        scale_in: scale_in.unwrap_or(true),
    })
}

/// Most policies that are compared with each other; a metric cannot be sorted.
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
    let section = node.section(Place::Predictive)?;
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
    let mode = section.get("mode").and_then(|node| node.word(&MODES));
    let buffer = section.duration("buffer", &bounds::BUFFER, defaults::PREDICTIVE_BUFFER);
    let history = section.get("history").map(|node| file(&node));
    Some(Predictive {
        metric: metric?,
        target: target?,
        scale: mode.unwrap_or(false),
        buffer,
        history: match history {
            Some(history) => Some(history?),
            None => None,
        },
    })
}

/// A file that Weir writes, and nobody else in this configuration.
fn file(node: &Node<'_>) -> Option<PathBuf> {
    let text = node.text()?;
    if text.ends_with('/') || text.contains('\0') {
        let message = format!("`{}` is not the path of a file", text.escape_default());
        node.error(Code::InvalidValue, message, "");
        return None;
    }
    let path = PathBuf::from(text);
    node.cx
        .note(|notes| notes.written.push(node.mark(path.clone())));
    Some(path)
}
