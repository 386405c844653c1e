//! `retry` and `outlier`: what follows when a request fails.

use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::units::display_duration;
use crate::config::{defaults, keys};
use crate::model::{Outlier, Retry};

/// Statuses that mean that the target could not answer, and another one may.
const STATUSES: [u16; 3] = [502, 503, 504];

pub(super) fn retry(group: &Section<'_>) -> Retry {
    let default = defaults::RETRY;
    let Some(node) = group.get("retry") else {
        return default;
    };
    match node.value {
        DeValue::Boolean(true) => return default,
        DeValue::Boolean(false) => {
            return Retry {
                attempts: 1,
                ..default
            };
        }
        _ => {}
    }
    let Some(section) = node.section(&keys::RETRY) else {
        return default;
    };
    let statuses = section.get("status").and_then(|node| statuses(&node));
    let retry = Retry {
        attempts: section.count("attempts"),
        statuses: statuses.unwrap_or_default(),
        non_idempotent: section.flag("non_idempotent"),
        max_body: section.size("max_body"),
        budget: section.percent("budget"),
        min_concurrency: section.count("min_concurrency"),
    };
    if retry.attempts == 1
        && let Some(node) = section.get("status")
    {
        let message = "`status` says what is tried again, and with one attempt nothing is";
        let help = "write attempts = 2 or more, or take `status` out";
        node.warn(Code::NoEffect, message, help);
    }
    retry
}

fn statuses(node: &Node<'_>) -> Option<Vec<u16>> {
    let mut statuses = node.items_of(status)?;
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}

fn status(node: &Node<'_>) -> Option<u16> {
    let status = node.count_within(&(100..=599))?;
    if STATUSES.contains(&status) {
        return Some(status);
    }
    let message = format!("a request that was answered with {status} is not tried again");
    let help = "only 502, 503 and 504 say that another target may do better";
    node.refuse(Code::InvalidValue, message, help)
}

/// Returns `None` if no target is ever ejected.
pub(super) fn outlier(group: &Section<'_>) -> Option<Outlier> {
    let default = defaults::OUTLIER;
    let Some(node) = group.get("outlier") else {
        return Some(default);
    };
    match node.value {
        DeValue::Boolean(true) => return Some(default),
        DeValue::Boolean(false) => return None,
        _ => {}
    }
    let section = node.section(&keys::OUTLIER)?;
    let ejection = section.duration("ejection");
    // A long ejection needs no second key.
    let max_ejection = default.max_ejection.max(ejection);
    let outlier = Outlier {
        consecutive_errors: Some(section.count("consecutive_errors")).filter(|count| *count > 0),
        consecutive_gateway_errors: Some(section.count("consecutive_gateway_errors"))
            .filter(|count| *count > 0),
        error_ratio: Some(section.percent("error_ratio")).filter(|ratio| *ratio > 0),
        min_requests: section.count("min_requests"),
        interval: section.duration("interval"),
        ejection,
        max_ejection: section.duration_or("max_ejection", max_ejection),
        max_ejected: section.percent("max_ejected"),
    };
    check_outlier(&section, &node, &outlier);
    Some(outlier)
}

fn check_outlier(section: &Section<'_>, node: &Node<'_>, outlier: &Outlier) {
    if outlier.max_ejection < outlier.ejection
        && let Some(at) = section.get("max_ejection")
    {
        let (most, first) = (
            display_duration(outlier.max_ejection),
            display_duration(outlier.ejection),
        );
        let message = format!("`max_ejection` ({most}) is below `ejection` ({first})");
        let help = format!("the first ejection is the shortest: write \"{first}\" or more");
        at.error(Code::OutOfRange, message, help);
    }
    let by_ratio = outlier.error_ratio.is_some();
    let by_run = outlier
        .consecutive_errors
        .or(outlier.consecutive_gateway_errors);
    if !by_ratio && by_run.is_none() {
        let message = "every way to find an outlier is off: no target is ever ejected";
        node.warn(Code::NoEffect, message, "write outlier = false");
        return;
    }
    for key in ["min_requests", "interval"] {
        if let Some(at) = section.get(key).filter(|_| !by_ratio) {
            let message = format!("`{key}` belongs to `error_ratio`, which is off");
            at.warn(Code::NoEffect, message, "take one of the two out");
        }
    }
}
