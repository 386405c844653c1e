//! Words and numbers of the tables.

use std::time::Duration;

use jiff::Timestamp;

use crate::admin::{CheckStatus, TargetStatus, age, between};

/// `healthy`, `healthy, draining for at most 299s`, `healthy, ejected for another 25s`.
pub(crate) fn state(target: &TargetStatus, now: Timestamp) -> String {
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
pub(crate) fn since(target: &TargetStatus) -> Option<Timestamp> {
    target
        .draining
        .as_ref()
        .map_or(target.since, |d| Some(d.since))
}

/// Why it drains or fails its checks, then the reasons of outlier detection.
pub(crate) fn reason(target: &TargetStatus) -> String {
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
pub(crate) fn check(check: &CheckStatus, now: Timestamp) -> String {
    let outcome = match (check.status, check.ok) {
        (Some(status), _) => status.to_string(),
        (None, true) => "passed".to_owned(),
        (None, false) => "failed".to_owned(),
    };
    let (millis, ago) = (check.elapsed.as_millis(), age(between(check.at, now)));
    format!("{outcome} in {millis} ms, {ago} ago")
}

/// `1.5 s`, `20 ms`; a dash if it is not known.
pub(crate) fn millis(millis: Option<f64>) -> String {
    match millis {
        None => dash(),
        Some(millis) if millis >= 1000.0 => format!("{:.1} s", millis / 1000.0),
        Some(millis) if millis >= 10.0 => format!("{millis:.0} ms"),
        Some(millis) => format!("{millis:.1} ms"),
    }
}

/// `40.2 MiB`.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// `3s ago`; a dash if it never was.
pub(crate) fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or(dash(), |at| format!("{} ago", age(between(at, now))))
}

pub(crate) fn plural(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}

pub(crate) fn dash() -> String {
    "-".to_owned()
}
