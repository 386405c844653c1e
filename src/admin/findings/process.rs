//! What is wrong with the process.

use super::super::finding::Finding;
use super::super::status::{ProcessStatus, ReloadStatus, Status};
use super::super::time::{age, between};
use super::words::plural;
use crate::lifecycle::Phase;

/// Descriptors in use, in percent of the limit, that leave too few.
const MANY_FILES_PERCENT: usize = 90;

/// The part of the limit (1/8, at most 1024) that is left for everything but clients and targets.
const RESERVE_DIVISOR: usize = 8;
const MAX_RESERVE: usize = 1024;

pub(super) fn find(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(phase(status));
    found.extend(reload(status));
    found.extend(log(&status.process));
    found.extend(descriptors(status));
    found
}

fn phase(status: &Status) -> Vec<Finding> {
    let is = |phase: Phase| status.phase == phase.name();
    if is(Phase::Starting) || is(Phase::Serving) {
        let waits = status.waits.iter();
        return waits
            .map(|wait| Finding::warning("waiting", format!("waits: {wait}")))
            .collect();
    }
    let phase = status.phase.replace('_', " ");
    vec![Finding::warning(
        "stopping",
        format!("the process ends: {phase}"),
    )]
}

fn reload(status: &Status) -> Option<Finding> {
    if !status.reload_refused {
        return None;
    }
    let last = status.last_reload.as_ref();
    let text = last.map_or("the last reload was refused".to_owned(), |last| {
        refusal(last, &age(between(last.at, status.now)))
    });
    let hint = "the configuration before it stays in force; `weir check FILE` shows each mistake";
    Some(Finding::error("reload_refused", text).hint(hint))
}

fn refusal(last: &ReloadStatus, ago: &str) -> String {
    let why = last.problems.first().unwrap_or(&last.summary);
    let more = match last.problems.len() {
        0 | 1 => String::new(),
        count => format!(", and {} more", plural(count - 1, "mistake")),
    };
    format!("the reload {ago} ago was refused: {why}{more}")
}

fn log(process: &ProcessStatus) -> Option<Finding> {
    let dropped = process.recent_lines_dropped;
    let all = process.access_lines_dropped + process.event_lines_dropped;
    let lost =
        format!("{dropped} lines were dropped within the last minute, {all} since the start");
    let finding = match &process.log_fault {
        Some(fault) => Finding::error("log_dropped", format!("cannot write {fault}; {lost}"))
            .hint("is the disk full? Lines wait in memory, and are dropped when they are too many"),
        None if dropped > 0 => {
            Finding::warning("log_dropped", format!("the log is too slow: {lost}"))
                .hint("what reads the log, or its disk, does not keep up")
        }
        None => return None,
    };
    Some(finding)
}

fn descriptors(status: &Status) -> Option<Finding> {
    let (limit, open) = (status.process.max_open_files, status.process.open_files);
    let hint = "raise the limit: LimitNOFILE of systemd, `ulimit -n`, `ulimits` of a container";
    if limit == 0 {
        return None;
    }
    if let Some(open) =
        open.filter(|open| open.saturating_mul(100) >= limit.saturating_mul(MANY_FILES_PERCENT))
    {
        let text = format!("{open} of {limit} file descriptors are in use");
        return Some(Finding::error("descriptors_low", text).hint(hint));
    }
    let wanted: usize = status
        .listeners
        .iter()
        .map(|listener| listener.max_connections)
        .fold(0, usize::saturating_add);
    let reserve = (limit / RESERVE_DIVISOR).min(MAX_RESERVE);
    let clients = limit.saturating_sub(reserve) / 2;
    // A tenth less deserves no warning.
    if clients >= wanted - wanted / 10 {
        return None;
    }
    let text = format!(
        "{limit} file descriptors are too few: about {clients} clients at a time, and \
         `max_connections` of all listeners allow {wanted}"
    );
    Some(Finding::warning("descriptors_low", text).hint(hint))
}
