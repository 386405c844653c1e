//! Stores the history of a forecast in a file over restarts.
//!
//! The file is read once at the start. It is written after a change, which is once an hour, and
//! at the end: to a new file that then replaces the old one, so that a crash leaves either of
//! them. A file that is not a history is left alone, and nothing is stored.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::predictive::HistoryError;
use super::scaler::Scaler;

/// Longest file that is read, bytes: 14 days of hours take a hundredth of it.
const LIMIT: u64 = 1024 * 1024;

/// Time between two checks whether the history has changed.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// The history file of one group.
#[derive(Debug)]
pub(super) struct HistoryFile {
    path: PathBuf,
    content: Content,
    /// Held while the file is written: a disk that hangs blocks one thread, not one an hour.
    writing: Arc<Semaphore>,
    /// Uptime of the last check for a change.
    checked: Option<Duration>,
}

#[derive(Debug)]
enum Content {
    /// The file is being read.
    Reading(oneshot::Receiver<io::Result<String>>),
    /// The file has this history; `None` if there is no file.
    Stored(Option<String>),
    /// The file is not a history.
    Foreign,
}

impl HistoryFile {
    /// Begins to read the file in the background.
    pub(super) fn open(path: PathBuf) -> Self {
        let (sender, receiver) = oneshot::channel();
        let from = path.clone();
        spawn_blocking(move || {
            // The receiver is gone if the configuration has changed.
            let _ = sender.send(read(&from));
        });
        Self {
            path,
            content: Content::Reading(receiver),
            writing: Arc::new(Semaphore::new(1)),
            checked: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the history into the scaler if it has been read.
    pub(super) fn load(&mut self, scaler: &mut Scaler) {
        let Content::Reading(receiver) = &mut self.content else {
            return;
        };
        match receiver.try_recv() {
            Ok(read) => self.import(read, scaler),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => self.import(unread(), scaler),
        }
    }

    /// Waits until the history has been read, and loads it into the scaler.
    pub(super) async fn wait_and_load(&mut self, scaler: &mut Scaler) {
        if let Content::Reading(receiver) = &mut self.content {
            let read = receiver.await.unwrap_or_else(|_| unread());
            self.import(read, scaler);
        }
    }

    fn import(&mut self, read: io::Result<String>, scaler: &mut Scaler) {
        let path = self.path.display();
        self.content = match read.map(|text| (scaler.import_history(&text), text)) {
            Ok((Ok(()), text)) => {
                info!(%path, "forecast history loaded");
                Content::Stored(Some(text))
            }
            Ok((Err(error @ HistoryError::Metric { .. }), _)) => {
                warn!(%path, %error, "forecast history is of another metric; it will be replaced");
                Content::Stored(None)
            }
            Ok((Err(error), _)) => {
                warn!(%path, %error, "file is not a forecast history; it is left alone and nothing is stored");
                Content::Foreign
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Stored(None),
            Err(error) => {
                warn!(%path, %error, "cannot read the forecast history; nothing is stored");
                Content::Foreign
            }
        };
    }

    /// Whether [`SAVE_INTERVAL`] has passed since this was true last.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self
            .checked
            .is_none_or(|checked| now.saturating_sub(checked) >= SAVE_INTERVAL);
        if is_due {
            self.checked = Some(now);
        }
        is_due
    }

    /// Returns the task that stores the scaler's history; `None` if it has not changed, or is still
    /// being written.
    pub(super) fn save(&mut self, scaler: &Scaler) -> Option<impl Future<Output = ()> + use<>> {
        let Content::Stored(stored) = &mut self.content else {
            return None;
        };
        let permit = Arc::clone(&self.writing).try_acquire_owned().ok()?;
        let text = scaler.export_history()?;
        if stored.as_ref() == Some(&text) {
            return None;
        }
        *stored = Some(text.clone());
        let path = self.path.clone();
        Some(async move {
            let shown = path.display().to_string();
            let written = spawn_blocking(move || {
                let _permit = permit;
                replace(&path, &text)
            });
            let written = written.await;
            if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                warn!(path = %shown, %error, "cannot store the forecast history");
            }
        })
    }
}

/// The error after a panic of the thread that reads.
fn unread() -> io::Result<String> {
    Err(io::Error::other("not read"))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces a file atomically.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::super::fixture::no_policies;
    use super::super::sample::{Capacity, Now, Reading, Sample};
    use super::*;
    use crate::config::{Autoscaling, Metric, Predictive};

    /// Deadline of every wait: only a broken test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    fn scaler(metric: Metric) -> Scaler {
        let policy = Autoscaling {
            predictive: Some(Predictive {
                metric,
                target: 20.0,
                scale: false,
                buffer: Duration::ZERO,
                history: None,
            }),
            ..no_policies(1, 4)
        };
        Scaler::new("todo", policy)
    }

    /// A scaler with two hours of data.
    fn learned() -> Scaler {
        let mut scaler = scaler(Metric::Cpu);
        let capacity = Capacity {
            desired: 1,
            running: 1,
            warming: 0,
        };
        for minute in 0..=125 {
            let uptime = Duration::from_secs(60 * minute);
            scaler.decide(
                Sample {
                    now: Now {
                        uptime,
                        wall: Timestamp::UNIX_EPOCH + uptime,
                    },
                    capacity,
                    readings: vec![(Metric::Cpu, Reading::Value(10.0))],
                },
                true,
            );
        }
        scaler
    }

    async fn opened(path: &Path, scaler: &mut Scaler) -> HistoryFile {
        let mut file = HistoryFile::open(path.to_owned());
        timeout(LONG, file.wait_and_load(scaler)).await.unwrap();
        file
    }

    #[tokio::test]
    async fn a_history_outlives_a_restart() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut before = learned();
        let mut file = opened(&path, &mut before).await;
        assert!(!path.exists());
        file.save(&before).expect("something new").await;
        assert!(file.save(&before).is_none(), "nothing new");
        let mut after = scaler(Metric::Cpu);
        assert_ne!(after.export_history(), before.export_history());
        let mut file = opened(&path, &mut after).await;
        assert_eq!(after.export_history(), before.export_history());
        assert!(file.save(&after).is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_no_history_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        std::fs::write(&path, "dear diary").unwrap();
        let mut scaler = learned();
        let mut file = opened(&path, &mut scaler).await;
        assert!(file.save(&scaler).is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary");
    }

    #[tokio::test]
    async fn a_history_of_another_metric_is_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut before = learned();
        let mut file = opened(&path, &mut before).await;
        file.save(&before).unwrap().await;
        let mut other = scaler(Metric::Memory);
        let mut file = opened(&path, &mut other).await;
        file.save(&other).expect("another one").await;
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(Some(kept), other.export_history());
    }

    #[tokio::test]
    async fn it_is_checked_once_a_minute() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut file = opened(&path, &mut learned()).await;
        let due = |file: &mut HistoryFile, second| file.is_due(Duration::from_secs(second));
        assert!(due(&mut file, 0));
        assert!(!due(&mut file, 59));
        assert!(due(&mut file, 60));
        assert!(!due(&mut file, 61));
    }
}
