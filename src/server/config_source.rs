//! Reads the configuration file again when it or a file that it names changes.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::config::Loaded;
use crate::files::{Blocking, FileWatcher, Unfinished, Versions};

/// A reading that takes longer is logged. It goes on.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the configuration on a blocking thread, when it changes or a signal requests it.
pub(super) struct ConfigSource<L> {
    load: Arc<L>,
    reading: Blocking<Loaded>,
    /// Whether another reading was requested and has not begun.
    is_asked: bool,
    /// Whether the log has an error about the current reading.
    is_late: bool,
    watcher: FileWatcher,
}

impl<L: Fn() -> Loaded + Send + Sync + 'static> ConfigSource<L> {
    /// `files` are those that the running configuration was read from. Needs a runtime.
    pub(super) fn new(load: L, files: Versions) -> Self {
        let mut watcher = FileWatcher::default();
        watcher.watch(files);
        Self {
            load: Arc::new(load),
            reading: Blocking::default(),
            is_asked: false,
            is_late: false,
            watcher,
        }
    }

    /// Requests one more reading, even if no file has changed.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// The result of the next reading. A file system that does not answer is logged once and
    /// waited for. Cancel-safe.
    pub(super) async fn next(&mut self) -> Loaded {
        if !self.reading.is_running() && !self.is_asked {
            self.watcher.changed().await;
            // Kept if this future is dropped before the reading has begun.
            self.is_asked = true;
        }
        loop {
            if !self.reading.is_running() {
                self.is_asked = false;
            }
            let load = Arc::clone(&self.load);
            match self.reading.run(READ_TIMEOUT, move || load()).await {
                Ok(mut loaded) => {
                    self.is_late = false;
                    self.watcher.watch(std::mem::take(&mut loaded.files));
                    return loaded;
                }
                Err(Unfinished::Panicked) => {
                    error!("reading the configuration panicked; trying again when it changes");
                    self.watcher.changed().await;
                }
                Err(late @ Unfinished::TimedOut(_)) => {
                    if !std::mem::replace(&mut self.is_late, true) {
                        error!(
                            "cannot read the configuration yet: {late}; the previous one stays active"
                        );
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Mutex, mpsc};

    use crate::files::Stamp;

    use super::*;

    /// A source with readings that end when the test sends their result.
    fn source() -> (mpsc::Sender<Loaded>, ConfigSource<impl Fn() -> Loaded>) {
        let (sender, results) = mpsc::channel();
        let results = Mutex::new(results);
        let load = move || results.lock().unwrap().recv().unwrap();
        (sender, ConfigSource::new(load, Vec::new()))
    }

    fn loaded(files: Versions) -> Loaded {
        let result = crate::config::load(Path::new("/nonexistent"));
        Loaded {
            result,
            renewed: None,
            files,
        }
    }

    #[tokio::test]
    async fn a_reading_that_hangs_blocks_nothing_and_is_used_when_it_ends() {
        let (results, mut source) = source();
        source.ask();
        for _ in 0..3 {
            // Another branch of the daemon's loop.
            tokio::select! {
                biased;
                _ = source.next() => panic!("nothing was read"),
                () = tokio::task::yield_now() => {}
            }
        }
        results.send(loaded(Vec::new())).unwrap();
        assert!(source.next().await.result.is_err());
        assert!(!source.reading.is_running() && !source.is_asked);
    }

    #[tokio::test]
    async fn the_files_of_the_last_reading_are_watched() {
        let (results, mut source) = source();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        source.ask();
        results
            .send(loaded(vec![(path.clone(), Stamp::of(&path))]))
            .unwrap();
        assert!(source.next().await.result.is_err());
        std::fs::write(&path, "secret").unwrap();
        results.send(loaded(Vec::new())).unwrap();
        assert!(source.next().await.result.is_err());
    }
}
