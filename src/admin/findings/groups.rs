//! What is wrong with a target group as a whole.

use jiff::Timestamp;

use super::super::finding::{Finding, Severity};
use super::super::status::GroupStatus;
use super::super::target_status::HEALTHY;
use super::super::time::{age, between};
use super::checks::{active, check_failure, is_down, mismatch};
use super::failures;
use super::words::{plural, window};
use crate::model::{Failure, Health};

/// Waiting requests, in percent of the queue, that are nearly too many.
const MANY_WAITING_PERCENT: usize = 80;

pub(super) fn find(group: &GroupStatus, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(maintenance(group, now));
    found.extend(health(group));
    found.extend(queue(group));
    found.extend(failures::find(group));
    found.extend(retries(group));
    found.extend(discovery(group, now));
    found.extend(provider(group, now));
    found.extend(scaling(group));
    let name = &group.name;
    found.into_iter().map(|one| one.of_group(name)).collect()
}

fn maintenance(group: &GroupStatus, now: Timestamp) -> Option<Finding> {
    let since = group.maintenance.as_ref()?.since;
    let ago = age(between(since, now));
    let text = format!("it is in maintenance for {ago}: no request is forwarded to it");
    Some(Finding::info("maintenance", text))
}

fn health(group: &GroupStatus) -> Option<Finding> {
    let count = active(group).count();
    if count == 0 {
        return no_targets(group);
    }
    if is_down(group) {
        return Some(down(group, count));
    }
    group.failing_open.then(|| {
        let healthy = active(group).filter(|target| target.state == HEALTHY);
        let text = format!(
            "{} of {count} targets are healthy, fewer than {}: it fails open, and requests go to \
             all of them",
            healthy.count(),
            group.min_healthy
        );
        Finding::warning("failing_open", text)
    })
}

fn no_targets(group: &GroupStatus) -> Option<Finding> {
    let failed = failed(group, Failure::NoTarget);
    // A group that is scaled to zero waits for its first request.
    if failed == 0 && group.desired == Some(0) {
        return None;
    }
    let text = "it has no targets";
    Some(match failed {
        0 => Finding::warning("no_targets", text),
        failed => {
            let window = window(group.minute.seconds);
            let text = format!("{text}: {failed} requests of {window} failed");
            Finding::error("no_targets", text)
        }
    })
}

/// No target is healthy.
fn down(group: &GroupStatus, count: usize) -> Finding {
    let consequence = if group.failing_open {
        "it fails open: requests go to all of them"
    } else {
        "requests fail"
    };
    let is_new = active(group).any(|target| target.state == Health::Initial.name());
    if is_new {
        let text = "no target is healthy yet: the first checks are not done";
        return Finding::warning("no_healthy_target", text);
    }
    let all = match count {
        1 => "its only target fails its checks".to_owned(),
        count => format!("all {count} targets fail their checks"),
    };
    if let Some((status, check)) = mismatch(group) {
        let text = format!(
            "{all} with status {status}: {} {} is to answer {}; {consequence}",
            check.method, check.url, check.wanted
        );
        let hint =
            "the targets answer, but not as `health` wants: are its path and statuses right?";
        return Finding::error("wrong_health_check", text).hint(hint);
    }
    let why = active(group).find_map(check_failure).unwrap_or_default();
    let text = format!("{all}{}; {consequence}", colon(&why));
    Finding::error("no_healthy_target", text)
}

fn colon(why: &str) -> String {
    if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    }
}

fn failed(group: &GroupStatus, failure: Failure) -> u64 {
    let failures = &group.minute.failures;
    failures.get(failure.code()).copied().unwrap_or(0)
}

fn queue(group: &GroupStatus) -> Option<Finding> {
    let (waiting, most) = (group.waiting, group.queue_length);
    let [full, late, refused] = [
        Failure::QueueFull,
        Failure::QueueTimeout,
        Failure::Overloaded,
    ]
    .map(|failure| failed(group, failure));
    let failed = full + late + refused;
    let window = window(group.minute.seconds);
    let hint = "targets are slower than requests come: add some, or raise `max_concurrency` or \
                `queue_length`";
    if failed > 0 {
        let text = format!(
            "{failed} requests of {window} found every target at its limit{}; {waiting} of {most} wait",
            if full > 0 { " and the queue full" } else { "" }
        );
        return Some(Finding::error("queue_full", text).hint(hint));
    }
    let is_full = most > 0 && waiting >= most;
    let is_near =
        most > 0 && waiting.saturating_mul(100) >= most.saturating_mul(MANY_WAITING_PERCENT);
    is_near.then(|| {
        let text = format!("{waiting} of {most} requests wait in the queue");
        let severity = if is_full {
            Severity::Error
        } else {
            Severity::Warning
        };
        Finding::warning("queue_full", text)
            .with_severity(severity)
            .hint(hint)
    })
}

fn retries(group: &GroupStatus) -> Option<Finding> {
    let refused = group.minute.retries.get("budget_exhausted")?;
    let (percent, window) = (group.retries.budget_percent, window(group.minute.seconds));
    let text = format!(
        "{refused} retries of {window} were not made: the budget of {percent} retries for a \
         hundred requests is spent"
    );
    let hint = "many requests fail at their first target; the retries of the group say why";
    Some(Finding::warning("retry_budget", text).hint(hint))
}

/// Names and files whose last attempt has failed.
fn discovery(group: &GroupStatus, now: Timestamp) -> Vec<Finding> {
    let failing = group.discovery.iter().filter(|one| one.failures > 0);
    let found = failing.map(|one| {
        let error = one.last_error.as_deref().unwrap_or("no reason is known");
        let since = one.last_success.map_or("never worked".to_owned(), |at| {
            format!("worked last {} ago", age(between(at, now)))
        });
        let text = format!(
            "{} {} gives no targets: {error}; it {since}{}",
            one.kind,
            one.name,
            kept(one.targets.len())
        );
        let severity = if one.targets.is_empty() {
            Severity::Error
        } else {
            Severity::Warning
        };
        Finding::warning("discovery", text).with_severity(severity)
    });
    found.collect()
}

fn kept(targets: usize) -> String {
    match targets {
        0 => String::new(),
        1 => ", and its last target stays".to_owned(),
        count => format!(", and its last {count} targets stay"),
    }
}

fn provider(group: &GroupStatus, now: Timestamp) -> Option<Finding> {
    let fault = group.fault.as_ref()?;
    let since = age(between(fault.since, now));
    let text = format!(
        "replicas cannot be started or stopped for {since}: {}",
        fault.message
    );
    Some(Finding::error("provider_fault", text))
}

fn scaling(group: &GroupStatus) -> Vec<Finding> {
    let Some(scaling) = &group.autoscaling else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if scaling.alarm == "high" && scaling.desired == Some(scaling.max) {
        let text = format!(
            "it has {} replicas, the most that it may, and the alarm is still high",
            scaling.max
        );
        found.push(Finding::warning("at_max", text).hint("raise `max` of its autoscaling"));
    }
    if scaling.running > 0 {
        let missing = scaling.metrics.iter().filter_map(|reading| {
            let why = reading.missing.as_ref()?;
            let text = format!("no data of the metric {}: {why}", reading.metric);
            Some(Finding::warning("metric_missing", text))
        });
        found.extend(missing);
    }
    if scaling.unrecorded > 0 {
        let decisions = plural(scaling.unrecorded as usize, "decision");
        let text = format!("{decisions} of its autoscaling could not be recorded since the start");
        let hint = "the file of `record` cannot be written: is the disk full, are rights missing?";
        found.push(Finding::warning("decisions_unrecorded", text).hint(hint));
    }
    found
}
