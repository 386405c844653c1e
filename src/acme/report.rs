//! What is known about each domain, for operators.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The state of all domains, by the files of their certificates.
#[derive(Debug, Default)]
pub struct Report(Mutex<BTreeMap<PathBuf, DomainReport>>);

/// The state of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainReport {
    /// What is done about it now, or is waited for.
    pub state: &'static str,
    /// Orders that have failed since the last that did not.
    pub failures: u32,
    /// Why the last has failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// When it is looked at again: to order, or to ask the authority whether to.
    pub next_try: SystemTime,
}

impl Report {
    /// The state of the domain with this file; `None` in the first moment of the process.
    pub fn domain(&self, file: &Path) -> Option<DomainReport> {
        self.domains().get(file).cloned()
    }

    pub(super) fn set(&self, file: &Path, report: DomainReport) {
        self.domains().insert(file.to_owned(), report);
    }

    pub(super) fn retain(&self, is_known: impl Fn(&Path) -> bool) {
        self.domains().retain(|file, _| is_known(file));
    }

    fn domains(&self) -> MutexGuard<'_, BTreeMap<PathBuf, DomainReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
