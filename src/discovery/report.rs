//! What is known of each name and file that targets come from, for operators.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::model::{Endpoint, TargetGroupId};
use crate::state::Source;

/// The state of all sources of targets, by group.
#[derive(Debug, Default)]
pub struct Report(Mutex<BTreeMap<(TargetGroupId, Source), SourceReport>>);

/// The state of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// The targets of the last answer, or of the last valid version of a file.
    pub targets: Vec<Endpoint>,
    /// When that came; `None` before the first.
    pub last_success: Option<SystemTime>,
    /// When it is looked up again; `None` while a lookup runs, and of a file, which is read when it
    /// changes.
    pub next_lookup: Option<SystemTime>,
    /// Why the last attempt has failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// Attempts that have failed in a row.
    pub failures: u64,
    /// Attempts that have failed since the start.
    pub failures_total: u64,
}

impl Report {
    /// The sources of a group, in a stable order.
    pub fn of_group(&self, group: &TargetGroupId) -> Vec<(Source, SourceReport)> {
        let sources = self.sources();
        let own = sources.iter().filter(|((of, _), _)| of == group);
        own.map(|((_, source), report)| (source.clone(), report.clone()))
            .collect()
    }

    /// An attempt is made.
    pub(super) fn begun(&self, group: &TargetGroupId, source: Source) {
        self.change(group, source, |report| report.next_lookup = None);
    }

    /// An attempt has succeeded. The next is made at `next`, or when a file changes.
    pub(super) fn succeeded(
        &self,
        group: &TargetGroupId,
        source: Source,
        targets: Vec<Endpoint>,
        next: Option<SystemTime>,
    ) {
        self.change(group, source, |report| {
            *report = SourceReport {
                targets,
                last_success: Some(SystemTime::now()),
                next_lookup: next,
                failures_total: report.failures_total,
                ..SourceReport::default()
            };
        });
    }

    /// An attempt has failed: the last targets stay.
    pub(super) fn failed(
        &self,
        group: &TargetGroupId,
        source: Source,
        error: String,
        next: Option<SystemTime>,
    ) {
        self.change(group, source, |report| {
            report.last_error = Some(error);
            report.next_lookup = next;
            report.failures += 1;
            report.failures_total += 1;
        });
    }

    /// A source is named no more.
    pub(super) fn forget(&self, group: &TargetGroupId, source: Source) {
        self.sources().remove(&(group.clone(), source));
    }

    fn change(
        &self,
        group: &TargetGroupId,
        source: Source,
        change: impl FnOnce(&mut SourceReport),
    ) {
        change(self.sources().entry((group.clone(), source)).or_default());
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<(TargetGroupId, Source), SourceReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
