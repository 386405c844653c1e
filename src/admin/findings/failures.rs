//! Requests of a group that fail.

use std::cmp::Reverse;

use super::super::finding::{Finding, Severity};
use super::super::status::GroupStatus;
use super::checks::{active, is_down};
use super::words::{plural, window};
use crate::model::{Failure, Stage};

/// So many percent of the requests of the last minute are a severe problem.
const MANY_FAILURES_PERCENT: u64 = 1;

/// What no other finding tells: not what clients are to blame for, what waits in vain for a
/// target that is full, and what an operator has ended.
pub(super) const TOLD: [Failure; 17] = [
    Failure::NoTarget,
    Failure::AllTried,
    Failure::ConnectError,
    Failure::TargetTimeout(Stage::Connect),
    Failure::TargetTimeout(Stage::ResponseHead),
    Failure::TargetTimeout(Stage::ResponseBody),
    Failure::TargetTimeout(Stage::Request),
    Failure::TargetClosed,
    Failure::TargetBodyBroken,
    Failure::TargetReset,
    Failure::MalformedResponse,
    Failure::NotHttp2,
    Failure::StreamRefused,
    Failure::UpgradeNotForwarded,
    Failure::TargetReleased,
    Failure::OutOfResources,
    Failure::Internal,
];

pub(super) fn find(group: &GroupStatus) -> Option<Finding> {
    let reasons = reasons(group);
    let failed: u64 = reasons.iter().map(|(count, _)| count).sum();
    if failed == 0 {
        return None;
    }
    let named = reasons.iter().map(|(count, failure)| {
        let (reason, explanation) = (failure.code(), failure.explanation());
        format!("{count} {reason} ({explanation})")
    });
    let text = format!(
        "{} of {} failed: {}",
        plural(failed as usize, "request"),
        window(group.minute.seconds),
        named.collect::<Vec<_>>().join(", ")
    );
    let is_severe = failed.saturating_mul(100) >= requests(group, failed) * MANY_FAILURES_PERCENT;
    let severity = if is_severe {
        Severity::Error
    } else {
        Severity::Warning
    };
    let hint = "the access log has each with its reason, and with the targets that were tried";
    let finding = Finding::warning("requests_failing", text).with_severity(severity);
    Some(finding.hint(hint))
}

/// The most frequent first.
fn reasons(group: &GroupStatus) -> Vec<(u64, Failure)> {
    let told = TOLD.iter().filter(|failure| !is_told(**failure, group));
    let mut reasons: Vec<_> = told
        .filter_map(|failure| {
            let count = *group.minute.failures.get(failure.code())?;
            (count > 0).then_some((count, *failure))
        })
        .collect();
    reasons.sort_by_key(|(count, _)| Reverse(*count));
    reasons
}

/// Whether another finding has said so: of a group without targets, or without healthy ones.
fn is_told(failure: Failure, group: &GroupStatus) -> bool {
    failure == Failure::NoTarget && (active(group).next().is_none() || is_down(group))
}

/// The requests of the last minute, as far as targets know them.
fn requests(group: &GroupStatus, failed: u64) -> u64 {
    let targets = group.targets.iter().map(|target| target.minute.requests);
    targets.sum::<u64>().max(failed)
}
