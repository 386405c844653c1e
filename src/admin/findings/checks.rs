//! What the checks of a group's targets say.

use super::super::status::GroupStatus;
use super::super::target_status::{CheckRequestStatus, CheckStatus, HEALTHY, TargetStatus};
use crate::model::HealthReason;

/// Targets that are not to drain.
pub(super) fn active(group: &GroupStatus) -> impl Iterator<Item = &TargetStatus> {
    let targets = group.targets.iter();
    targets.filter(|target| target.draining.is_none())
}

/// Whether no target of a group that has some is healthy: then that is said instead of a sentence
/// for each.
pub(super) fn is_down(group: &GroupStatus) -> bool {
    let mut active = active(group).peekable();
    group.checked && active.peek().is_some() && active.all(|target| target.state != HEALTHY)
}

/// Why the last check failed, in words.
pub(super) fn check_failure(target: &TargetStatus) -> Option<String> {
    let failed = last_failure(target)?;
    let detail = failed.detail.as_ref().or(failed.reason.as_ref());
    let why = detail.map_or("no reason is known", String::as_str);
    Some(match &target.check {
        Some(check) => format!("{} {}: {why}", check.method, check.url),
        None => why.to_owned(),
    })
}

/// The last check that failed.
fn last_failure(target: &TargetStatus) -> Option<&CheckStatus> {
    target.last_checks.iter().find(|check| !check.ok)
}

/// The status that every active target answers its check with, which wants another one.
pub(super) fn mismatch(group: &GroupStatus) -> Option<(u16, &CheckRequestStatus)> {
    let mut statuses = active(group).map(|target| {
        let failed = last_failure(target)?;
        let is_mismatch =
            failed.reason.as_deref() == Some(HealthReason::ResponseCodeMismatch.code());
        failed.status.filter(|_| is_mismatch)
    });
    let first = statuses.next()??;
    let is_same = statuses.all(|status| status == Some(first));
    // A server that is broken says so with 5xx; the check is right then.
    let is_wrong = is_same && first < 500;
    let check = active(group).find_map(|target| target.check.as_ref())?;
    is_wrong.then_some((first, check))
}
