//! The access log of every Weir in this process, as a test can read it.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tracing_subscriber::util::SubscriberInitExt;
use weir::observe::{keep_access_lines, take_access_lines};

use super::eventually;

/// One line of the access log, as fields with their text.
#[derive(Clone, Debug, Default)]
pub struct LogEntry(BTreeMap<String, String>);

impl LogEntry {
    fn read(line: &str) -> Self {
        let fields: BTreeMap<String, Value> = serde_json::from_str(line).expect("a line is JSON");
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let fields = fields.into_iter().map(|(name, value)| (name, text(value)));
        Self(fields.collect())
    }

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
        keep_access_lines();
        // Events of workers go nowhere, but they are asked for: see `Logs::capture`. Fails if the
        // test program has installed another subscriber, which it must not.
        tracing_subscriber::registry().try_init().unwrap();
    });
}

/// The entries of a listener so far.
fn logged(listener: &str) -> Vec<LogEntry> {
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = String::from_utf8(take_access_lines()).expect("lines are text");
    entries.extend(lines.lines().map(LogEntry::read));
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
