//! `weir status`: what a running Weir says at `/api/status`, as a table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::format::FormatArguments;
use super::table::{Table, printable};
use super::{AdminArguments, fetch};
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

/// Prints the status, for programs as `/api/status` gives it: exit code 0, or 2 and one line on
/// standard error when there is none to be had.
pub(super) fn status(arguments: &StatusArguments) -> ExitCode {
    match report(&arguments.admin.admin, arguments.format.is_json()) {
        Ok(text) => {
            // A reader that went away has seen enough.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            complain(&problem);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn complain(problem: &str) {
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
    text.push_str(&listeners(&status.listeners));
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

/// How many replicas there are and should be, why, and what whoever runs them cannot do.
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

/// `replicas: 4 desired, 2 running, 2 warming; 1 to 4, alarm high; hold: cooldown`, then what
/// was measured, and the last change.
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
        let left = draining.seconds_left.map(Duration::from_secs);
        let left = left.map_or(String::new(), |left| format!(" for at most {}", age(left)));
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

/// While it drains, that is what matters.
fn since(target: &TargetStatus) -> Option<Timestamp> {
    target
        .draining
        .as_ref()
        .map_or(target.since, |d| Some(d.since))
}

/// Why it drains or what its checks say, then what its requests say.
fn reason(target: &TargetStatus) -> String {
    let draining = target.draining.as_ref().map(|draining| &draining.reason);
    let ejected = target.ejected.as_ref().map(|ejected| &ejected.detail);
    let withheld = target.ejection_withheld.as_ref();
    let reasons = draining
        .or(target.reason.as_ref())
        .into_iter()
        .chain(ejected)
        .chain(withheld);
    let reasons: Vec<&str> = reasons.map(String::as_str).collect();
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

/// Zero when a clock was set back in between.
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
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::thread;

    use super::*;
    use crate::admin::{self, Context};
    use crate::state::Publisher;
    use tokio::sync::watch;

    /// The admin listener of a Weir that has nothing to do, until the test ends.
    fn running() -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (publisher, _, reader) = Publisher::new(0);
        let (_, replicas) = watch::channel(crate::replicas::Status::default());
        let context = Context {
            replicas,
            autoscaling: Arc::default(),
            publisher,
            reader,
            metrics: Arc::default(),
            lifecycle: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        thread::spawn(move || {
            runtime.block_on(async {
                let socket = tokio::net::TcpListener::from_std(socket).unwrap();
                admin::serve(socket, context, std::future::pending()).await;
            });
        });
        address
    }

    #[test]
    fn a_running_weir_is_shown() {
        let address = running().to_string();
        let table = report(&address, false).unwrap();
        let line = concat!(
            "weir ",
            env!("CARGO_PKG_VERSION"),
            "  starting  up 0s  snapshot 0\n"
        );
        assert!(table.starts_with(line), "{table}");
        let json = report(&address, true).unwrap();
        serde_json::from_str::<Status>(&json).unwrap();
    }

    #[test]
    fn what_is_not_a_weir_is_said_to_be_none() {
        let other = fetch::tests::server;
        let answers = [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ];
        for answer in answers {
            let problem = report(&other(answer), true).unwrap_err();
            assert!(
                problem.contains("is not this Weir's admin listener"),
                "{problem}"
            );
        }
    }

    const SAMPLE: &str = r#"{
        "version": "1.2.3", "pid": 7, "phase": "serving", "snapshot": 7,
        "started": "2026-01-02T03:04:05Z", "now": "2026-01-02T06:09:05.5Z",
        "uptime_seconds": 11100.5,
        "listeners": [{ "name": "http", "bind": "127.0.0.1:8080", "max_connections": 10000,
            "rules": 2, "default_action": "forward todo" }],
        "target_groups": [
            { "name": "todo", "algorithm": "round_robin", "checked": true, "fail_open": true,
              "failing_open": false, "min_healthy": "1", "max_concurrency": null, "waiting": 0,
              "queue_length": 0, "targets": [
                { "address": "127.0.0.1:6400", "weight": 1, "registration": "active",
                  "draining": null, "state": "healthy", "reason": null, "since": "2026-01-02T03:04:05Z",
                  "share": 40,
                  "ejected": { "reason": "consecutive_errors", "detail": "5 errors in a row",
                    "until": "2026-01-02T06:09:30.5Z", "times": 1 },
                  "ejections": { "consecutive_errors": 1 },
                  "anomaly_detection": { "result": "anomalous", "mitigation_in_effect": true },
                  "in_flight": 3, "requests": 1234, "checks": 9, "failed_checks": 0,
                  "last_checks": [
                    { "at": "2026-01-02T06:09:03Z", "ok": true, "status": 200, "ms": 3.25,
                      "reason": null, "detail": null }] },
                { "address": "[::1]:6400", "weight": 10, "registration": "draining",
                  "draining": { "reason": "Target.DeregistrationInProgress",
                    "since": "2026-01-02T06:08:05Z", "seconds_left": 240 },
                  "state": "unhealthy", "reason": "Target.Timeout",
                  "since": "2026-01-02T06:08:00Z", "share": 100, "ejected": null, "ejections": {},
                  "anomaly_detection": { "result": "normal", "mitigation_in_effect": false },
                  "in_flight": 0, "requests": 5, "checks": 9, "failed_checks": 2, "last_checks": [
                    { "at": "2026-01-02T06:09:00Z", "ok": false, "status": null, "ms": 5000.0,
                      "reason": "Target.Timeout", "detail": "no answer" }] }],
              "desired": 2, "fault": { "message": "the engine does not answer",
                "since": "2026-01-02T06:08:05Z" },
              "autoscaling": { "profile": "fast", "min": 1, "max": 4, "desired": 2, "running": 1,
                "warming": 1, "is_scaler": true, "alarm": "high", "outcome": "hold",
                "reason": "cooldown",
                "metrics": [{ "metric": "cpu", "value": 35.0, "missing": null },
                  { "metric": "memory", "value": null, "missing": "last measured 7 s ago" }],
                "out_cooldown": "2026-01-02T06:09:10Z",
                "in_cooldown": null, "fault": null,
                "last_change": { "at": "2026-01-02T06:08:55Z", "from": 1, "to": 2,
                  "formula": "target_tracking cpu 20: ceil(1 * 35 / 20) = 2" },
                "evaluations": [{ "outcome": "hold", "reason": "cooldown", "count": 3 }] },
              "replicas": [
                { "name": "todo.1", "pid": 4242, "address": "127.0.0.1:6400", "state": "running",
                  "restarts": 1, "since": "2026-01-02T03:04:05Z", "cpu": 35.04, "memory": 9.0 },
                { "name": null, "pid": null, "address": null, "state": "starting", "restarts": 0,
                  "since": "2026-01-02T06:09:05Z", "cpu": null, "memory": null }] },
            { "name": "empty", "algorithm": "random", "checked": false, "fail_open": true,
              "failing_open": false, "min_healthy": "50%", "max_concurrency": null, "waiting": 0,
              "queue_length": 0, "targets": [], "desired": null, "fault": null,
              "autoscaling": null, "replicas": [] }]
    }"#;

    fn sample() -> Status {
        serde_json::from_str(SAMPLE).unwrap()
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "\
weir 1.2.3  serving  up 3h 5m  snapshot 7

LISTENER  BIND            RULES  DEFAULT ACTION  MAX CONNECTIONS
http      127.0.0.1:8080  2      forward todo    10000

todo: round_robin, 1 of 1 target healthy, 1 draining, 1 ejected
  replicas: 2 desired, 1 running, 1 warming; 1 to 4, alarm high; hold: cooldown
  metrics: cpu 35.0; no data of memory: last measured 7 s ago
  last change: 1 to 2, 10s ago, by target_tracking cpu 20: ceil(1 * 35 / 20) = 2
  PROVIDER FAILS for 1m 0s: the engine does not answer
  TARGET          STATE                                      SINCE  REASON                           IN-FLIGHT  REQUESTS  WEIGHT  LAST CHECK
  127.0.0.1:6400  healthy, ejected for another 25s, at 40 %  3h 5m  5 errors in a row                3          1234      1       200 in 3 ms, 2s ago
  [::1]:6400      unhealthy, draining for at most 4m 0s      1m 0s  Target.DeregistrationInProgress  0          5         10      failed in 5000 ms, 5s ago

  REPLICA         NAME    PID   STATE     SINCE  RESTARTS  CPU     MEMORY
  127.0.0.1:6400  todo.1  4242  running   3h 5m  1         35.0 %  9.0 %
  -               -       -     starting  0s     0         -       -

empty: random, no targets
";
        assert_eq!(table(&sample()), expected);
    }

    #[test]
    fn replicas_that_do_not_scale_are_counted() {
        let mut group = sample().target_groups.remove(0);
        (group.autoscaling, group.fault) = (None, None);
        let now = sample().now;
        assert_eq!(scaling(&group, now), "  replicas: 2 desired, 1 running\n");
    }

    #[test]
    fn a_group_that_fails_open_says_so() {
        let mut group = sample().target_groups.remove(0);
        group.failing_open = true;
        assert!(heading(&group).contains("FAILING OPEN: fewer than 1 healthy"));
    }

    #[test]
    fn a_clock_that_went_back_is_no_problem() {
        let status = sample();
        assert_eq!(between(status.now, status.started), Duration::ZERO);
    }

    #[test]
    fn without_an_admin_listener_it_says_how_to_switch_it_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let problem = report(&address, false).unwrap_err();
        assert!(problem.contains(&address), "{problem}");
        assert!(problem.contains("admin = { bind"), "{problem}");
        assert_eq!(problem.lines().count(), 1);
    }
}
