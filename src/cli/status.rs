//! `weir status`: prints `/api/v1/status` of a running Weir as a table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::admin::AdminArguments;
use super::fetch;
use super::format::FormatArguments;
use super::table::{Table, printable};
use crate::admin::{
    CheckStatus, GroupStatus, ListenerStatus, ReadingStatus, ReplicaStatus, ScalingStatus, Status,
    TargetStatus, paths,
};
use crate::model::escape_json;

/// `weir status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    format: FormatArguments,
}

/// Prints the status, in JSON as `/api/v1/status` has it: exit code 0, or 2 and one line on standard
/// error if it cannot be read.
pub(super) fn status(arguments: &StatusArguments) -> ExitCode {
    match report(&arguments.admin.admin, arguments.format.is_json()) {
        Ok(text) => {
            // The output may be closed early.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            print_problem(&problem);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn print_problem(problem: &str) {
    eprintln!("weir status: {problem}");
}

fn report(admin: &str, json: bool) -> Result<String, String> {
    let answer = fetch::get(admin, paths::STATUS).map_err(|error| error.explained())?;
    let strange =
        |why: &str| format!("what answers at {admin} is not this Weir's admin listener: {why}");
    if answer.status != StatusCode::OK {
        return Err(strange(&answer.status.to_string()));
    }
    let status: Status =
        serde_json::from_slice(&answer.body).map_err(|error| strange(&error.to_string()))?;
    if json {
        let json = String::from_utf8_lossy(&answer.body);
        return Ok(format!("{}\n", escape_json(&json)));
    }
    Ok(table(&status))
}

fn table(status: &Status) -> String {
    let mut text = format!(
        "weir {}  {}  up {}  snapshot {}\n\n",
        printable(&status.version),
        printable(&status.phase),
        age(status.uptime),
        status.snapshot
    );
    if status.reload_refused {
        text.push_str(
            "RELOAD REFUSED: the files were changed and are not in force; the log says why\n\n",
        );
    }
    text.push_str(&listeners(&status.listeners));
    text.push_str(&certificates(&status.listeners, status.now));
    text.push_str(&acme(&status.listeners, status.now));
    for group in &status.target_groups {
        text.push('\n');
        text.push_str(&heading(group));
        text.push_str(&scaling(group, status.now));
        text.push_str(&targets(&group.targets, status.now));
        text.push_str(&replicas(&group.replicas, status.now));
    }
    text
}

fn listeners(listeners: &[ListenerStatus]) -> String {
    let mut table = Table::new([
        "LISTENER",
        "BIND",
        "RULES",
        "DEFAULT ACTION",
        "MAX CONNECTIONS",
    ]);
    for listener in listeners {
        table.row([
            listener.name.clone(),
            listener.bind.to_string(),
            listener.rules.to_string(),
            listener.default_action.clone(),
            listener.max_connections.to_string(),
        ]);
    }
    table.render("")
}

fn certificates(listeners: &[ListenerStatus], now: Timestamp) -> String {
    let mut table = Table::new(["CERTIFICATE", "LISTENER", "HOSTS", "EXPIRES"]);
    let mut is_empty = true;
    for listener in listeners {
        for certificate in &listener.certificates {
            is_empty = false;
            table.row([
                certificate.file.clone(),
                listener.name.clone(),
                certificate.names.join(" "),
                expiry(certificate.expires, now),
            ]);
        }
    }
    if is_empty {
        return String::new();
    }
    format!("\n{}", table.render(""))
}

fn acme(listeners: &[ListenerStatus], now: Timestamp) -> String {
    let mut table = Table::new([
        "ACME",
        "LISTENER",
        "STATE",
        "NEXT TRY",
        "FAILURES",
        "LAST ERROR",
    ]);
    let mut is_empty = true;
    for listener in listeners {
        for acme in &listener.acme {
            is_empty = false;
            table.row([
                acme.domain.clone(),
                listener.name.clone(),
                acme.state.clone(),
                format!("in {}", age(between(now, acme.next_try))),
                acme.failures.to_string(),
                acme.last_error.clone().unwrap_or_else(dash),
            ]);
        }
    }
    if is_empty {
        return String::new();
    }
    format!("\n{}", table.render(""))
}

/// `2026-12-24, in 25d`, or `2026-11-24, EXPIRED`.
fn expiry(expires: Timestamp, now: Timestamp) -> String {
    let day = expires.strftime("%Y-%m-%d");
    if expires <= now {
        return format!("{day}, EXPIRED");
    }
    format!("{day}, in {}", age(between(now, expires)))
}

/// The group in one line: `todo: round_robin, 3 of 4 targets healthy`.
fn heading(group: &GroupStatus) -> String {
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

fn targets(targets: &[TargetStatus], now: Timestamp) -> String {
    if targets.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "TARGET",
        "STATE",
        "SINCE",
        "REASON",
        "IN-FLIGHT",
        "REQUESTS",
        "WEIGHT",
        "LAST CHECK",
    ]);
    for target in targets {
        table.row([
            target.address.to_string(),
            state(target, now),
            since(target).map_or(dash(), |since| age(between(since, now))),
            reason(target),
            target.in_flight.to_string(),
            target.requests.to_string(),
            target.weight.to_string(),
            target
                .last_checks
                .first()
                .map_or(dash(), |last| check(last, now)),
        ]);
    }
    table.render("  ")
}

/// The replica counts of a group, the reason of the last decision, and the provider's fault.
fn scaling(group: &GroupStatus, now: Timestamp) -> String {
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

fn replicas(replicas: &[ReplicaStatus], now: Timestamp) -> String {
    if replicas.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "REPLICA", "NAME", "PID", "STATE", "SINCE", "RESTARTS", "CPU", "MEMORY",
    ]);
    let percent = |value: Option<f64>| value.map_or(dash(), |value| format!("{value:.1} %"));
    for replica in replicas {
        table.row([
            replica
                .address
                .map_or(dash(), |address| address.to_string()),
            replica.name.clone().unwrap_or_else(dash),
            replica.pid.map_or(dash(), |pid| pid.to_string()),
            replica.state.clone(),
            age(between(replica.since, now)),
            replica.restarts.to_string(),
            percent(replica.cpu),
            percent(replica.memory),
        ]);
    }
    format!("\n{}", table.render("  "))
}

/// `healthy`, `healthy, draining for at most 299s`, `healthy, ejected for another 25s`.
fn state(target: &TargetStatus, now: Timestamp) -> String {
    let mut state = target.state.clone();
    if let Some(draining) = &target.draining {
        let left = draining.seconds_left.map_or(String::new(), |seconds| {
            format!(" for at most {}", age(Duration::from_secs(seconds)))
        });
        state = format!("{state}, {}{left}", target.registration);
    }
    if let Some(ejected) = &target.ejected {
        let left = age(between(now, ejected.until));
        state = format!("{state}, ejected for another {left}");
    }
    if target.share < 100 {
        state = format!("{state}, at {} %", target.share);
    }
    state
}

/// Since when the target has its state, or has been draining.
fn since(target: &TargetStatus) -> Option<Timestamp> {
    target
        .draining
        .as_ref()
        .map_or(target.since, |d| Some(d.since))
}

/// Why it drains or fails its checks, then the reasons of outlier detection.
fn reason(target: &TargetStatus) -> String {
    let draining = target.draining.as_ref().map(|draining| &draining.reason);
    let ejected = target.ejected.as_ref().map(|ejected| &ejected.detail);
    let reasons: Vec<&str> = draining
        .or(target.reason.as_ref())
        .into_iter()
        .chain(ejected)
        .chain(&target.ejection_withheld)
        .map(String::as_str)
        .collect();
    if reasons.is_empty() {
        return dash();
    }
    reasons.join("; ")
}

/// `200 in 3 ms, 2s ago`.
fn check(check: &CheckStatus, now: Timestamp) -> String {
    let outcome = match (check.status, check.ok) {
        (Some(status), _) => status.to_string(),
        (None, true) => "passed".to_owned(),
        (None, false) => "failed".to_owned(),
    };
    let (millis, ago) = (check.elapsed.as_millis(), age(between(check.at, now)));
    format!("{outcome} in {millis} ms, {ago} ago")
}

/// The time from `earlier` to `later`; zero if the clock was set back in between.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// The two largest units: `2d 4h`, `3h 5m`, `12m 40s`, `7s`.
fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        (_, _, _) => format!("{days}d {}h", hours % 24),
    }
}

fn plural(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests;
