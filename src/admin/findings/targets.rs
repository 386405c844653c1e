//! What is wrong with single targets.

use jiff::Timestamp;

use super::super::finding::{Finding, Severity};
use super::super::status::GroupStatus;
use super::super::target_status::{ANOMALOUS, DrainingStatus, TargetStatus};
use super::super::time::{age, between};
use super::checks::{active, check_failure, is_down};
use super::words::{plural, window};
use crate::model::Health;

/// Fewer requests of the last minute say nothing about response times.
const LEAST_REQUESTS: u64 = 10;
/// A target is slow whose p95 is so many times that of its peers,
const SLOW_FACTOR: f64 = 3.0;
/// and so many milliseconds above it.
const SLOW_MS: f64 = 50.0;

/// So many errors of the last minute, and so many percent of its requests, are a problem.
const LEAST_ERRORS: u64 = 5;
const ERRORS_PERCENT: u64 = 10;
/// So many percent are a severe one.
const MANY_ERRORS_PERCENT: u64 = 50;

pub(super) fn find(group: &GroupStatus, now: Timestamp) -> Vec<Finding> {
    let is_down = is_down(group);
    let mut found = Vec::new();
    for target in &group.targets {
        let own = match &target.draining {
            Some(draining) => vec![drains(target, draining, now)],
            None => of_active(target, group, is_down, now),
        };
        let of_target = own
            .into_iter()
            .map(|one| one.of_group(&group.name).of_target(&target.address));
        found.extend(of_target);
    }
    found
}

fn drains(target: &TargetStatus, draining: &DrainingStatus, now: Timestamp) -> Finding {
    let text = format!(
        "it drains for {}: it gets no new requests, and {} {} left",
        age(between(draining.since, now)),
        plural(target.in_flight as usize, "request"),
        if target.in_flight == 1 { "is" } else { "are" }
    );
    Finding::info("target_draining", text)
}

fn of_active(
    target: &TargetStatus,
    group: &GroupStatus,
    is_down: bool,
    now: Timestamp,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if !is_down {
        found.extend(unhealthy(target, now));
    }
    found.extend(ejected(target, now));
    found.extend(withheld(target));
    found.extend(errors(target));
    // Else it is told already.
    if found.is_empty() {
        found.extend(anomalous(target));
    }
    found.extend(slow(target, group));
    found.extend(without_weight(target));
    found
}

fn unhealthy(target: &TargetStatus, now: Timestamp) -> Option<Finding> {
    if target.state != Health::Unhealthy.name() {
        return None;
    }
    let since = target.since.map_or(String::new(), |since| {
        format!(" for {}", age(between(since, now)))
    });
    let why = check_failure(target).unwrap_or_default();
    let text = format!("it fails its checks{since}: {why}");
    Some(Finding::warning("target_unhealthy", text))
}

fn ejected(target: &TargetStatus, now: Timestamp) -> Option<Finding> {
    let ejected = target.ejected.as_ref()?;
    let left = age(between(now, ejected.until));
    let text = format!("it is ejected for another {left}: {}", ejected.detail);
    Some(Finding::warning("target_ejected", text))
}

fn withheld(target: &TargetStatus) -> Option<Finding> {
    let why = target.ejection_withheld.as_ref()?;
    let text = format!("it is to be ejected and is not, so it still gets requests: {why}");
    let hint =
        "`max_ejected` of `outlier` and `min_healthy` of the group bound how many may be out";
    Some(Finding::warning("ejection_withheld", text).hint(hint))
}

fn errors(target: &TargetStatus) -> Option<Finding> {
    let (errors, requests) = (target.minute.errors, target.minute.requests);
    let percent = (errors * 100).checked_div(requests)?;
    if errors < LEAST_ERRORS || percent < ERRORS_PERCENT {
        return None;
    }
    let window = window(target.minute.seconds);
    let text = format!("it answers 5xx to {errors} of {requests} requests of {window}");
    let is_severe = percent >= MANY_ERRORS_PERCENT && target.ejected.is_none();
    let severity = if is_severe {
        Severity::Error
    } else {
        Severity::Warning
    };
    Some(Finding::warning("target_errors", text).with_severity(severity))
}

fn anomalous(target: &TargetStatus) -> Option<Finding> {
    let anomaly = &target.anomaly_detection;
    if anomaly.result != ANOMALOUS {
        return None;
    }
    let share = if anomaly.mitigation_in_effect {
        format!("it gets {}% of its share of requests", target.share)
    } else {
        "it gets its whole share of requests".to_owned()
    };
    let text = format!("it fails more requests than its peers; {share}");
    Some(Finding::warning("target_anomalous", text))
}

fn slow(target: &TargetStatus, group: &GroupStatus) -> Option<Finding> {
    let own = p95(target)?;
    let peers = active(group).filter(|peer| peer.address != target.address);
    let mut peers: Vec<f64> = peers.filter_map(p95).collect();
    peers.sort_by(f64::total_cmp);
    let middle = *peers.get(peers.len() / 2)?;
    if own < middle * SLOW_FACTOR || own < middle + SLOW_MS {
        return None;
    }
    let window = window(target.minute.seconds);
    let text = format!(
        "it is slow: p95 {own:.0} ms in {window}, {middle:.0} ms at the median of its peers"
    );
    Some(Finding::warning("target_slow", text))
}

fn without_weight(target: &TargetStatus) -> Option<Finding> {
    let text = "it has weight 0 and gets no new requests";
    (target.weight == 0).then(|| Finding::info("target_without_weight", text))
}

/// The 95th percentile of the last minute, if there were requests enough.
fn p95(target: &TargetStatus) -> Option<f64> {
    let has_enough = target.minute.requests >= LEAST_REQUESTS;
    target.minute.p95_ms.filter(|_| has_enough)
}
