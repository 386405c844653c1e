//! A target group: its state in a few lines, its targets and its replicas.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::super::screen::{Screen, Style};
use super::super::table::{Cell, Column, Table, printable};
use super::words::{check, dash, millis, plural, reason, since, state};
use crate::admin::{
    GroupStatus, ReadingStatus, ReplicaStatus, ScalingStatus, TargetStatus, age, between,
};

/// The group in one line: `todo: round_robin, 3 of 4 targets healthy`.
pub(crate) fn heading(group: &GroupStatus) -> String {
    let mut line = format!(
        "{}: {}, ",
        printable(&group.name),
        printable(&group.algorithm)
    );
    let active = || group.targets.iter().filter(|t| t.draining.is_none());
    let (count, targets) = (active().count(), plural(active().count(), "target"));
    let healthy = active().filter(|t| t.state == "healthy").count();
    let draining = group.targets.len() - count;
    // Writing into a String does not fail.
    let _ = match (count, group.checked) {
        (0, _) => write!(line, "no targets"),
        (_, true) => write!(line, "{healthy} of {targets} healthy"),
        (_, false) => write!(line, "{targets}, unchecked"),
    };
    if draining > 0 {
        let _ = write!(line, ", {draining} draining");
    }
    let ejected = active().filter(|t| t.ejected.is_some()).count();
    if ejected > 0 {
        let _ = write!(line, ", {ejected} ejected");
    }
    if group.maintenance.is_some() {
        line.push_str("; IN MAINTENANCE: no request is forwarded");
    }
    if group.failing_open {
        let _ = write!(
            line,
            "; FAILING OPEN: fewer than {} healthy, requests go to all of them",
            printable(&group.min_healthy)
        );
    }
    line.push('\n');
    line
}

/// How its limits are used: the queue, the retries, what failed.
pub(crate) fn facts(group: &GroupStatus) -> String {
    let mut facts = Vec::new();
    if group.queue_length > 0 {
        facts.push(format!("queue {} of {}", group.waiting, group.queue_length));
    }
    if let Some(most) = group.max_concurrency {
        facts.push(format!("at most {most} requests on a target"));
    }
    let open = if group.fail_open { "on" } else { "off" };
    facts.push(format!(
        "fail open {open} below {} healthy",
        group.min_healthy
    ));
    let retries = &group.retries;
    facts.push(format!(
        "retries {} of {} requests in 10s, budget {} %, {} in flight",
        retries.recent_retries, retries.recent_requests, retries.budget_percent, retries.in_flight
    ));
    let failures = group.minute.failures.iter();
    let failures: Vec<String> = failures
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    if !failures.is_empty() {
        facts.push(format!(
            "failed in the last minute: {}",
            failures.join(", ")
        ));
    }
    facts.join("; ")
}

pub(crate) fn targets(targets: &[TargetStatus], now: Timestamp, screen: &Screen) -> String {
    if targets.is_empty() {
        return String::new();
    }
    target_table(targets, now).render_on(screen, "  ")
}

/// A row for each target.
pub(crate) fn target_table<'t>(
    targets: impl IntoIterator<Item = &'t TargetStatus>,
    now: Timestamp,
) -> Table<13> {
    let mut table = Table::new([
        Column::from("TARGET"),
        Column::from("STATE").shrinking_to(9),
        Column::ranked("SINCE", 5),
        Column::from("REASON").shrinking_to(12),
        Column::ranked("REQ/MIN", 1),
        Column::from("ERRORS"),
        Column::ranked("P50", 8),
        Column::from("P95"),
        Column::ranked("P99", 4),
        Column::ranked("IN FLIGHT", 3),
        Column::ranked("REQUESTS", 9),
        Column::ranked("WEIGHT", 7),
        Column::ranked("LAST CHECK", 6).shrinking_to(10),
    ]);
    for target in targets {
        let minute = &target.minute;
        let is_failing = minute.errors > 0;
        let errors = if is_failing { Style::Bad } else { Style::Plain };
        table.row([
            Cell::from(target.address.to_string()),
            Cell::styled(health(target), state(target, now)),
            Cell::from(since(target).map_or(dash(), |since| age(between(since, now)))),
            Cell::from(reason(target)),
            Cell::from(minute.requests.to_string()),
            Cell::styled(errors, minute.errors.to_string()),
            Cell::from(millis(minute.p50_ms)),
            Cell::from(millis(minute.p95_ms)),
            Cell::from(millis(minute.p99_ms)),
            Cell::from(target.in_flight.to_string()),
            Cell::from(target.requests.to_string()),
            Cell::from(target.weight.to_string()),
            Cell::from(
                target
                    .last_checks
                    .first()
                    .map_or(dash(), |last| check(last, now)),
            ),
        ]);
    }
    table
}

/// How the state of a target is shown.
fn health(target: &TargetStatus) -> Style {
    let is_out = target.draining.is_some() || target.ejected.is_some();
    match target.state.as_str() {
        "unhealthy" => Style::Bad,
        "healthy" if !is_out => Style::Good,
        _ => Style::Warning,
    }
}

/// The replica counts of a group, the reason of the last decision, and the provider's fault.
pub(crate) fn scaling(group: &GroupStatus, now: Timestamp) -> String {
    let mut lines = String::new();
    if let Some(scaling) = &group.autoscaling {
        lines.push_str(&autoscaling(scaling, now));
    } else if let Some(desired) = group.desired {
        let running = group.replicas.iter().filter(|r| r.state == "running");
        // Writing into a String does not fail.
        let _ = writeln!(
            lines,
            "  replicas: {desired} desired, {} running",
            running.count()
        );
    }
    if let Some(fault) = &group.fault {
        let age = age(between(fault.since, now));
        let message = printable(&fault.message);
        let _ = writeln!(lines, "  PROVIDER FAILS for {age}: {message}");
    }
    lines
}

/// `replicas: 4 desired, 2 running, 2 warming; 1 to 4, alarm high; hold: cooldown`, then the
/// readings and the last change.
fn autoscaling(scaling: &ScalingStatus, now: Timestamp) -> String {
    let desired = scaling
        .desired
        .map_or("not decided yet".to_owned(), |d| format!("{d} desired"));
    let mut text = format!("  replicas: {desired}, {} running", scaling.running);
    // As above.
    let _ = match scaling.warming {
        0 => Ok(()),
        warming => write!(text, ", {warming} warming"),
    };
    let (min, max, alarm) = (scaling.min, scaling.max, printable(&scaling.alarm));
    let _ = write!(text, "; {min} to {max}, alarm {alarm}");
    if let Some(outcome) = &scaling.outcome {
        let _ = write!(text, "; {}", printable(outcome));
    }
    if let Some(reason) = &scaling.reason {
        let _ = write!(text, ": {}", printable(reason));
    }
    text.push('\n');
    // Without replicas there is nothing to measure.
    if scaling.running > 0 && !scaling.metrics.is_empty() {
        let metrics: Vec<String> = scaling.metrics.iter().map(reading).collect();
        let _ = writeln!(text, "  metrics: {}", metrics.join("; "));
    }
    if let Some(change) = &scaling.last_change {
        let (from, to) = (change.from, change.to);
        let (ago, formula) = (age(between(change.at, now)), printable(&change.formula));
        let _ = writeln!(
            text,
            "  last change: {from} to {to}, {ago} ago, by {formula}"
        );
    }
    text
}

/// `cpu 35.0`, or `no data of memory: last measured 7 s ago`.
fn reading(reading: &ReadingStatus) -> String {
    let metric = printable(&reading.metric);
    match (reading.value, &reading.missing) {
        (Some(value), _) => format!("{metric} {value:.1}"),
        (None, Some(missing)) => format!("no data of {metric}: {}", printable(missing)),
        (None, None) => format!("no data of {metric}"),
    }
}

pub(crate) fn replicas(replicas: &[ReplicaStatus], now: Timestamp, screen: &Screen) -> String {
    if replicas.is_empty() {
        return String::new();
    }
    format!("\n{}", replica_table(replicas, now).render_on(screen, "  "))
}

/// A row for each replica.
pub(crate) fn replica_table(replicas: &[ReplicaStatus], now: Timestamp) -> Table<9> {
    let mut table = Table::new([
        Column::from("REPLICA"),
        Column::from("NAME"),
        Column::ranked("PID", 3),
        Column::from("STATE"),
        Column::ranked("SINCE", 1),
        Column::from("RESTARTS"),
        Column::ranked("CPU", 2),
        Column::ranked("MEMORY", 2),
        Column::from("LAST EXIT").shrinking_to(9),
    ]);
    let percent = |value: Option<f64>| value.map_or(dash(), |value| format!("{value:.1} %"));
    for replica in replicas {
        let is_running = replica.state == "running";
        let style = if is_running {
            Style::Good
        } else {
            Style::Warning
        };
        let address = replica.address.map(|address| address.to_string());
        table.row([
            Cell::from(address.unwrap_or_else(dash)),
            Cell::from(replica.name.clone().unwrap_or_else(dash)),
            Cell::from(replica.pid.map_or(dash(), |pid| pid.to_string())),
            Cell::styled(style, &*replica.state),
            Cell::from(age(between(replica.since, now))),
            Cell::from(replica.restarts.to_string()),
            Cell::from(percent(replica.cpu)),
            Cell::from(percent(replica.memory)),
            Cell::from(last_exit(replica, now)),
        ]);
    }
    table
}

/// `exit status: 1, 3s ago`.
fn last_exit(replica: &ReplicaStatus, now: Timestamp) -> String {
    let exit = replica.last_exit.as_ref();
    exit.map_or(dash(), |exit| {
        format!("{}, {} ago", exit.status, age(between(exit.at, now)))
    })
}
