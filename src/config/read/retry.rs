//! `retry` and `outlier`: what becomes of requests and targets that fail.

use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::units::display_duration;
use crate::config::{bounds, defaults};
use crate::model::{Outlier, Retry};

/// Statuses that say the target could not do it, and another one may.
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
    let Some(section) = node.section(Place::Retry) else {
        return default;
    };
    let max_body = section.size("max_body", &bounds::REPLAYED_BODY, default.max_body as u64);
    let flag = section.get("non_idempotent");
    let retry = Retry {
        attempts: section.integer("attempts", bounds::ATTEMPTS, default.attempts),
        statuses: section
            .get("status")
            .and_then(|node| statuses(&node))
            .unwrap_or_default(),
        non_idempotent: flag
            .and_then(|node| node.boolean())
            .unwrap_or(default.non_idempotent),
        max_body: usize::try_from(max_body).unwrap_or(default.max_body),
        budget: section.percent("budget", &bounds::PERCENT, default.budget),
        min_concurrency: section.integer(
            "min_concurrency",
            bounds::RETRIES,
            default.min_concurrency,
        ),
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
    let status = node.integer(100..=599)?;
    if STATUSES.contains(&status) {
        return Some(status);
    }
    let message = format!("a request that was answered with {status} is not tried again");
    let help = "only 502, 503 and 504 say that another target may do better";
    node.error(Code::InvalidValue, message, help);
    None
}

/// `None` never takes a target out.
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
    let section = node.section(Place::Outlier)?;
    let failures = |key, default: Option<u32>| {
        let count = section.integer(key, bounds::FAILURES, default.unwrap_or(0));
        Some(count).filter(|count| *count > 0)
    };
    let ratio = default.error_ratio.unwrap_or(0);
    let ratio = section.percent("error_ratio", &bounds::PERCENT, ratio);
    let ejection = section.duration("ejection", &bounds::TIMEOUT, default.ejection);
    // A long ejection needs no second key.
    let most = default.max_ejection.max(ejection);
    let outlier = Outlier {
        consecutive_errors: failures("consecutive_errors", default.consecutive_errors),
        consecutive_gateway_errors: failures(
            "consecutive_gateway_errors",
            default.consecutive_gateway_errors,
        ),
        error_ratio: Some(ratio).filter(|ratio| *ratio > 0),
        min_requests: section.integer("min_requests", bounds::RATIO_REQUESTS, default.min_requests),
        interval: section.duration("interval", &bounds::INTERVAL, default.interval),
        ejection,
        max_ejection: section.duration("max_ejection", &bounds::TIMEOUT, most),
        max_ejected: section.percent("max_ejected", &bounds::SOME_PERCENT, default.max_ejected),
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
