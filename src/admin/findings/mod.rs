//! What is wrong, in words: found in the status document alone, so that the dashboard, `weir status`
//! and `weir top` say the same.
//!
//! Thresholds are here and nowhere else. What is found is at least of use to an operator in an
//! incident: states that pass by themselves, and are of no consequence, are left out.

mod checks;
mod failures;
mod groups;
mod listeners;
mod process;
mod replicas;
mod targets;
mod words;

use std::collections::BTreeMap;

use super::context::Context;
use super::finding::Finding;
use super::status::Status;

/// Most findings of a kind for one group: a thousand dead targets are one problem.
const MOST_ALIKE: usize = 10;

/// The status at this moment, with what is wrong.
pub(super) fn status(context: &Context) -> Status {
    let mut status = Status::of(context);
    status.problems = of(&status);
    status
}

/// What is wrong, the most severe first; in the order of the file otherwise.
fn of(status: &Status) -> Vec<Finding> {
    let mut found = process::find(status);
    let listeners = status.listeners.iter();
    found.extend(listeners.flat_map(|listener| listeners::find(listener, status)));
    for group in &status.target_groups {
        found.extend(groups::find(group, status.now));
        found.extend(targets::find(group, status.now));
        found.extend(replicas::find(group, status.now));
    }
    let mut found = fold(found);
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Replaces the last of many alike by their number.
fn fold(found: Vec<Finding>) -> Vec<Finding> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    let mut kept = Vec::with_capacity(found.len());
    let mut first_left_out = BTreeMap::new();
    for finding in found {
        let key = (finding.group.clone(), finding.kind.clone());
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        if *count <= MOST_ALIKE {
            kept.push(finding);
        } else {
            first_left_out.entry(key).or_insert(finding);
        }
    }
    for (key, finding) in first_left_out {
        let more = counts.get(&key).copied().unwrap_or_default() - MOST_ALIKE;
        kept.push(Finding {
            target: None,
            replica: None,
            hint: None,
            text: format!("{more} more like this"),
            ..finding
        });
    }
    kept
}

#[cfg(test)]
mod tests;
