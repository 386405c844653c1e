//! Lines which repeat: a few are written, the others are counted, and one line tells the count.
//!
//! Two lines are equal if they come from one place in the code with the same message and name
//! the same listener, group, target, reason and so on. Their other fields (errors, times,
//! addresses of clients) may differ.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::model::Failure;

/// Equal lines that are written in a [`WINDOW`].
const BURST: u64 = 10;

/// How long lines are counted before their count is logged.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Most floods that are told apart at a time. More share one limit and one summary.
const MAX_FLOODS: usize = 4096;

/// The key of those that share.
const OTHERS: u64 = 0;

/// Longest text that a summary repeats.
const TEXT_CHARS: usize = 200;

/// Fields which make lines different; a summary repeats them.
const IDENTITY: [&str; 13] = [
    "message", "listener", "group", "target", "reason", "replica", "name", "metric", "file",
    "line", "column", "code", "key",
];

/// What equal lines have in common.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) level: Level,
    pub(super) is_access: bool,
    /// Values of [`IDENTITY`].
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Subject {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How many equal lines were left out in the last [`WINDOW`].
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) subject: Subject,
    pub(super) more: u64,
    pub(super) window: Duration,
}

/// The lines of the last [`WINDOW`], equal ones together.
#[derive(Debug, Default)]
pub(super) struct Floods {
    floods: Mutex<HashMap<u64, Flood>>,
    /// Randomly keyed: no client can choose names that collide.
    hasher: RandomState,
}

/// Equal lines.
#[derive(Debug)]
struct Flood {
    subject: Subject,
    since: Instant,
    lines: u64,
}

impl Floods {
    /// Whether a line of the access log is written, by its failure and group.
    pub(super) fn admit_failure(&self, failure: Failure, group: Option<&str>) -> bool {
        let group = group.unwrap_or_default();
        let key = self.hasher.hash_one((failure.code(), group));
        self.admit(key, || Subject {
            level: Level::INFO,
            is_access: true,
            fields: vec![
                ("message", failure.explanation().to_owned()),
                ("reason", failure.code().to_owned()),
                ("group", group.to_owned()),
            ],
        })
    }

    /// Whether an event is written.
    pub(super) fn admit_event(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let mut hasher = Hashing(self.hasher.build_hasher());
        metadata.callsite().hash(&mut hasher.0);
        event.record(&mut hasher);
        self.admit(hasher.0.finish(), || {
            let mut fields = Texts(Vec::new());
            event.record(&mut fields);
            Subject {
                level: *metadata.level(),
                is_access: false,
                fields: fields.0,
            }
        })
    }

    fn admit(&self, key: u64, subject: impl FnOnce() -> Subject) -> bool {
        if let Some(flood) = self.lock().get_mut(&key) {
            return flood.count();
        }
        // Without the lock: a value may panic when it is shown, and panics are logged too.
        let subject = subject();
        let mut floods = self.lock();
        let is_full = floods.len() >= MAX_FLOODS && !floods.contains_key(&key);
        let (key, subject) = if is_full {
            (OTHERS, others())
        } else {
            (key, subject)
        };
        let flood = floods.entry(key).or_insert_with(|| Flood {
            subject,
            since: Instant::now(),
            lines: 0,
        });
        flood.count()
    }

    /// Forgets the lines of windows that are over, or all of them. Returns what was left out.
    pub(super) fn sweep(&self, now: Instant, all: bool) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.lock().retain(|_, flood| {
            let window = now.saturating_duration_since(flood.since);
            let is_over = all || window >= WINDOW;
            if is_over && flood.lines > BURST {
                summaries.push(Summary {
                    subject: flood.subject.clone(),
                    more: flood.lines - BURST,
                    window,
                });
            }
            !is_over
        });
        summaries
    }

    /// Whether there is something to sweep, now or later.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Flood>> {
        // A panic leaves every entry consistent.
        self.floods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flood {
    /// Counts a line. Returns whether it is written.
    fn count(&mut self) -> bool {
        self.lines += 1;
        self.lines <= BURST
    }
}

fn others() -> Subject {
    Subject {
        level: Level::WARN,
        is_access: false,
        fields: vec![("message", "lines of many different kinds".to_owned())],
    }
}

/// Hashes the fields of [`IDENTITY`].
struct Hashing<H>(H);

impl<H: Hasher> Visit for Hashing<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if IDENTITY.contains(&field.name()) {
            self.0.write(field.name().as_bytes());
            // A value which fails to be formatted is not part of the line either.
            let _ = write!(self, "{value:?}");
            self.0.write_u8(0xff);
        }
    }
}

impl<H: Hasher> Write for Hashing<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Keeps the fields of [`IDENTITY`], for a summary.
struct Texts(Vec<(&'static str, String)>);

impl Texts {
    fn keep(&mut self, field: &Field, text: &str) {
        if IDENTITY.contains(&field.name()) {
            self.0
                .push((field.name(), text.chars().take(TEXT_CHARS).collect()));
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_failures_are_limited_and_counted() {
        let floods = Floods::default();
        let written = (0..1000)
            .filter(|_| floods.admit_failure(Failure::NoTarget, Some("todo")))
            .count() as u64;
        assert_eq!(written, BURST);
        assert!(floods.admit_failure(Failure::NoTarget, Some("other")));
        assert!(floods.admit_failure(Failure::ClientGone, Some("todo")));
        assert!(
            floods.sweep(Instant::now(), false).is_empty(),
            "the window is open"
        );
        let summaries = floods.sweep(Instant::now() + WINDOW, false);
        let [summary] = summaries.as_slice() else {
            panic!("one flood was limited: {summaries:?}");
        };
        assert_eq!(summary.more + written, 1000, "no line is uncounted");
        assert_eq!(summary.subject.field("group"), Some("todo"));
        assert_eq!(
            summary.subject.field("reason"),
            Some(Failure::NoTarget.code())
        );
        assert!(floods.is_empty());
        assert!(floods.admit_failure(Failure::NoTarget, Some("todo")));
    }

    #[test]
    fn memory_is_bounded_and_the_lines_beyond_it_are_counted() {
        let floods = Floods::default();
        let total = 2 * MAX_FLOODS;
        let written = (0..total)
            .filter(|n| floods.admit_failure(Failure::NoTarget, Some(&n.to_string())))
            .count();
        assert_eq!(written, MAX_FLOODS + BURST as usize);
        assert_eq!(floods.lock().len(), MAX_FLOODS + 1);
        let more: u64 = floods
            .sweep(Instant::now(), true)
            .iter()
            .map(|s| s.more)
            .sum();
        assert_eq!(more as usize + written, total);
    }
}
