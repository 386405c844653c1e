//! What a forecast has learned, in a file, so that it outlives a restart.
//!
//! Read once at the start; written when it has changed, which is once an hour, and at the end:
//! to a new file that then takes the place of the old, so that a crash leaves one of both. A
//! file that is not such a history is left as it is, and nothing is kept.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{HistoryError, Scaler};

/// Most bytes of a file that is read: 14 days of hours take a hundredth of it.
const LIMIT: u64 = 1024 * 1024;

/// Between two looks at whether there is something new to keep.
const LOOK: Duration = Duration::from_secs(60);

/// The file of one group.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    stage: Stage,
    /// Held by the one that writes: a disk that hangs takes one thread and not one an hour.
    writing: Arc<Semaphore>,
    /// When it was looked at last.
    looked: Option<Duration>,
}

#[derive(Debug)]
enum Stage {
    /// What is in the file is on its way.
    Reading(oneshot::Receiver<io::Result<String>>),
    /// This is in the file; `None` while there is none.
    Kept(Option<String>),
    /// What is in the file is somebody else's.
    Foreign,
}

impl Archive {
    /// Begins to read the file.
    pub(super) fn open(path: PathBuf) -> Self {
        let (sender, receiver) = oneshot::channel();
        let from = path.clone();
        spawn_blocking(move || {
            // Nobody may want to know any more.
            let _ = sender.send(read(&from));
        });
        Self {
            path,
            stage: Stage::Reading(receiver),
            writing: Arc::new(Semaphore::new(1)),
            looked: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the scaler what was read, once it is there.
    pub(super) fn load(&mut self, scaler: &mut Scaler) {
        let Stage::Reading(receiver) = &mut self.stage else {
            return;
        };
        match receiver.try_recv() {
            Ok(read) => self.take_in(read, scaler),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => self.take_in(unread(), scaler),
        }
    }

    /// The same, and waits for it.
    pub(super) async fn loaded(&mut self, scaler: &mut Scaler) {
        if let Stage::Reading(receiver) = &mut self.stage {
            let read = receiver.await.unwrap_or_else(|_| unread());
            self.take_in(read, scaler);
        }
    }

    fn take_in(&mut self, read: io::Result<String>, scaler: &mut Scaler) {
        let path = self.path.display();
        self.stage = match read.map(|text| (scaler.import_history(&text), text)) {
            Ok((Ok(()), text)) => {
                info!(%path, "history of the forecast loaded");
                Stage::Kept(Some(text))
            }
            Ok((Err(error @ HistoryError::Metric { .. }), _)) => {
                warn!(%path, %error, "history of the forecast begins anew");
                Stage::Kept(None)
            }
            Ok((Err(error), _)) => {
                warn!(%path, %error, "no history of the forecast is kept: the file is not one");
                Stage::Foreign
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stage::Kept(None),
            Err(error) => {
                warn!(%path, %error, "no history of the forecast is kept: cannot read the file");
                Stage::Foreign
            }
        };
    }

    /// Whether a minute is over since this was so last.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self
            .looked
            .is_none_or(|looked| now.saturating_sub(looked) >= LOOK);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// What is to be done to keep what the scaler has learned; `None` if nothing is new, or
    /// what was new before is still being written.
    pub(super) fn keep(&mut self, scaler: &Scaler) -> Option<impl Future<Output = ()> + use<>> {
        let Stage::Kept(kept) = &mut self.stage else {
            return None;
        };
        let turn = Arc::clone(&self.writing).try_acquire_owned().ok()?;
        let text = scaler.export_history()?;
        if kept.as_ref() == Some(&text) {
            return None;
        }
        *kept = Some(text.clone());
        let path = self.path.clone();
        Some(async move {
            let shown = path.display().to_string();
            let written = spawn_blocking(move || {
                let _turn = turn;
                replace(&path, &text)
            });
            let written = written.await;
            if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                warn!(path = %shown, %error, "cannot keep the history of the forecast");
            }
        })
    }
}

/// The thread that should have read has panicked.
fn unread() -> io::Result<String> {
    Err(io::Error::other("not read"))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// Puts a file in the place of another, whole or not at all.
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

    use super::super::{Capacity, Now, Reading, Sample};
    use super::*;
    use crate::config::{Autoscaling, Metric, Predictive, Profile, Timing};

    /// For whatever is waited for: only a broken test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    fn scaler(metric: Metric) -> Scaler {
        let policy = Autoscaling {
            min: 1,
            max: 4,
            profile: Profile::Fast,
            timing: Timing::of(Profile::Fast),
            scale_in: true,
            target_tracking: Vec::new(),
            step_scaling: Vec::new(),
            schedule: Vec::new(),
            predictive: Some(Predictive {
                metric,
                target: 20.0,
                scale: false,
                buffer: Duration::ZERO,
                history: None,
            }),
            record: None,
        };
        Scaler::new("todo", policy)
    }

    /// One that has seen an hour and a bit.
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

    async fn opened(path: &Path, scaler: &mut Scaler) -> Archive {
        let mut archive = Archive::open(path.to_owned());
        timeout(LONG, archive.loaded(scaler)).await.unwrap();
        archive
    }

    #[tokio::test]
    async fn what_was_learned_outlives_a_restart() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut before = learned();
        let mut archive = opened(&path, &mut before).await;
        assert!(!path.exists());
        archive.keep(&before).expect("something new").await;
        assert!(archive.keep(&before).is_none(), "nothing new");
        let mut after = scaler(Metric::Cpu);
        assert_ne!(after.export_history(), before.export_history());
        let mut archive = opened(&path, &mut after).await;
        assert_eq!(after.export_history(), before.export_history());
        assert!(archive.keep(&after).is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        std::fs::write(&path, "dear diary").unwrap();
        let mut scaler = learned();
        let mut archive = opened(&path, &mut scaler).await;
        assert!(archive.keep(&scaler).is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear diary");
    }

    #[tokio::test]
    async fn a_history_of_another_metric_is_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut before = learned();
        let mut archive = opened(&path, &mut before).await;
        archive.keep(&before).unwrap().await;
        let mut other = scaler(Metric::Memory);
        let mut archive = opened(&path, &mut other).await;
        archive.keep(&other).expect("another one").await;
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(Some(kept), other.export_history());
    }

    #[tokio::test]
    async fn it_is_looked_at_once_a_minute() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("history.json");
        let mut archive = opened(&path, &mut learned()).await;
        let due = |archive: &mut Archive, second| archive.is_due(Duration::from_secs(second));
        assert!(due(&mut archive, 0));
        assert!(!due(&mut archive, 59));
        assert!(due(&mut archive, 60));
        assert!(!due(&mut archive, 61));
    }
}
