//! Lines that say the same again and again: a few are written, the others are counted, and
//! one line says how many there were.
//!
//! Two lines are the same if they come from one place in the code with the same message and
//! name the same listener, group, target, reason and so on; what else they tell (errors,
//! times, addresses of clients) may differ.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::writer::MODULE;
use super::{ACCESS, Shared};
use crate::model::Failure;

/// Lines of one kind that are written in a [`WINDOW`].
const BURST: u64 = 10;

/// How long lines are counted before it is said how many there were.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Most kinds that are told apart at a time. More share one limit and one summary.
const KINDS: usize = 4096;

/// The key of those.
const OTHERS: u64 = 0;

/// Longest text that a summary repeats.
const TEXT_CHARS: usize = 200;

/// Fields that tell lines apart; a summary repeats them.
const IDENTITY: [&str; 13] = [
    "message", "listener", "group", "target", "reason", "replica", "name", "metric", "file",
    "line", "column", "code", "key",
];

/// What all lines of one kind have in common.
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

/// How many lines of a kind were left out in the last [`WINDOW`].
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) subject: Subject,
    pub(super) more: u64,
    pub(super) window: Duration,
}

/// The kinds of lines of the last [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Floods {
    kinds: Mutex<HashMap<u64, Kind>>,
    /// With keys of its own: no client can choose names that collide.
    hasher: RandomState,
}

#[derive(Debug)]
struct Kind {
    subject: Subject,
    since: Instant,
    lines: u64,
}

impl Floods {
    /// Whether a line of the access log is to be written, by what failed and where.
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

    /// Whether an event is to be written.
    fn admit_event(&self, event: &Event<'_>) -> bool {
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
        let count = |kind: &mut Kind| {
            kind.lines += 1;
            kind.lines <= BURST
        };
        if let Some(kind) = self.lock().get_mut(&key) {
            return count(kind);
        }
        // Without the lock: a value may panic when it is shown, and panics are logged too.
        let subject = subject();
        let mut kinds = self.lock();
        let is_crowded = kinds.len() >= KINDS && !kinds.contains_key(&key);
        let (key, subject) = if is_crowded {
            (OTHERS, others())
        } else {
            (key, subject)
        };
        count(kinds.entry(key).or_insert_with(|| Kind {
            subject,
            since: Instant::now(),
            lines: 0,
        }))
    }

    /// Forgets the kinds whose window is over, or all of them, and tells what was left out.
    pub(super) fn sweep(&self, now: Instant, all: bool) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.lock().retain(|_, kind| {
            let window = now.saturating_duration_since(kind.since);
            let is_over = all || window >= WINDOW;
            if is_over && kind.lines > BURST {
                summaries.push(Summary {
                    subject: kind.subject.clone(),
                    more: kind.lines - BURST,
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

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kind>> {
        // Each entry is whole whenever a panic may have happened.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn others() -> Subject {
    Subject {
        level: Level::WARN,
        is_access: false,
        fields: vec![("message", "lines of many different kinds".to_owned())],
    }
}

/// Hashes what tells an event apart.
struct Hashing<H>(H);

impl<H: Hasher> Visit for Hashing<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if IDENTITY.contains(&field.name()) {
            self.0.write(field.name().as_bytes());
            // A value that cannot be shown is no part of the line either.
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

/// Keeps it, for a summary.
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

/// Targets of events that have limits of their own: the access log asks itself, and what
/// replicas print is theirs.
const LIMITED: [&str; 2] = [ACCESS, "replica"];

/// The life of the process itself (starts, reloads, handovers, phases): each line answers to
/// something that an operator did.
const LIFE: &str = "weir::server";

/// Asks before each event whether it is to be written. Events below `INFO` always are: they
/// are off unless they are being looked for.
pub(super) struct FloodLayer(pub(super) Arc<Shared>);

impl<S: Subscriber> Layer<S> for FloodLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO
            || LIMITED.contains(&metadata.target())
            || metadata.target().starts_with(LIFE)
            || metadata.module_path() == Some(MODULE)
            || self.0.floods.admit_event(event)
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
            panic!("one kind was limited: {summaries:?}");
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
    fn memory_is_bounded_and_what_has_no_room_is_counted() {
        let floods = Floods::default();
        let total = 2 * KINDS;
        let written = (0..total)
            .filter(|n| floods.admit_failure(Failure::NoTarget, Some(&n.to_string())))
            .count();
        assert_eq!(written, KINDS + BURST as usize);
        assert_eq!(floods.lock().len(), KINDS + 1);
        let more: u64 = floods
            .sweep(Instant::now(), true)
            .iter()
            .map(|s| s.more)
            .sum();
        assert_eq!(more as usize + written, total);
    }
}
