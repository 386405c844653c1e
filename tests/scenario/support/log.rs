//! The access log of every Weir in this process, as a test can read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::eventually;

/// One line of the access log, as fields with their text.
#[derive(Clone, Debug, Default)]
pub struct LogEntry(BTreeMap<&'static str, String>);

impl LogEntry {
    /// The value of a field; empty if the line does not have it.
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// Status and reason, which most tests compare.
    pub fn status_and_reason(&self) -> (&str, &str) {
        (self.get("status"), self.get("reason"))
    }
}

static ENTRIES: Mutex<Vec<LogEntry>> = Mutex::new(Vec::new());

/// Begins to keep the access log of the whole process, because workers have threads of their
/// own. Tests find their entries by the name of the listener.
pub fn keep_access_log() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let access = Targets::new().with_target("access", tracing::Level::INFO);
        let kept = tracing_subscriber::registry().with(LogCapture.with_filter(access));
        // Fails if the test program has installed another subscriber, which it must not.
        kept.try_init().unwrap();
    });
}

/// The entries of a listener so far.
fn logged(listener: &str) -> Vec<LogEntry> {
    let entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = entries.iter().filter(|e| e.get("listener") == listener);
    ours.cloned().collect()
}

/// Waits until `count` requests of a listener are logged, and fails if there are more.
pub async fn until_logged(listener: &str, count: usize) -> Vec<LogEntry> {
    let entries = eventually("the requests are logged", || async {
        let entries = logged(listener);
        if entries.len() >= count {
            return Ok(entries);
        }
        Err(format!("{} of {count}: {entries:?}", entries.len()))
    })
    .await;
    assert_eq!(entries.len(), count, "too many records: {entries:#?}");
    entries
}

struct LogCapture;

impl<S: Subscriber> Layer<S> for LogCapture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = LogEntry::default();
        event.record(&mut entry);
        let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
    }
}

impl Visit for LogEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
