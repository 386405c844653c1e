//! Where the configuration comes from: its file, read again when it or a file it names changes.

use std::sync::Arc;
use std::time::Duration;

use tracing::error;

use crate::config::{LoadError, Loaded, Parsed};
use crate::files::{Blocking, FileWatcher, Unfinished, Versions};

/// After so long without an answer, the operator is told.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the configuration on a blocking thread, whenever it changes or a signal asks for it.
pub(super) struct Source<L> {
    load: Arc<L>,
    reading: Blocking<Loaded>,
    is_asked: bool,
    is_late: bool,
    watcher: FileWatcher,
}

impl<L: Fn() -> Loaded + Send + Sync + 'static> Source<L> {
    /// `files` are what the running configuration was read from. Needs a runtime.
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

    /// Lets it be read once more, whether it has changed or not.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// What comes of the next reading. A file system that does not answer is told once and waited
    /// for. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Parsed, LoadError> {
        if !self.reading.is_running() && !self.is_asked {
            self.watcher.changed().await;
            // To be read, even if this future is dropped before the reading has begun.
            self.is_asked = true;
        }
        loop {
            if !self.reading.is_running() {
                self.is_asked = false;
            }
            let load = Arc::clone(&self.load);
            match self.reading.run(READ_TIMEOUT, move || load()).await {
                Ok(loaded) => {
                    self.is_late = false;
                    self.watcher.watch(loaded.files);
                    return loaded.result;
                }
                Err(Unfinished::Panicked) => {
                    error!("reading the configuration panicked; it is read again when it changes");
                    self.watcher.changed().await;
                }
                Err(late @ Unfinished::TimedOut(_)) => {
                    if !std::mem::replace(&mut self.is_late, true) {
                        error!("cannot read the configuration yet: {late}");
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

    /// A reading that ends when the test says so.
    fn source() -> (mpsc::Sender<Loaded>, Source<impl Fn() -> Loaded>) {
        let (sender, results) = mpsc::channel();
        let results = Mutex::new(results);
        let load = move || results.lock().unwrap().recv().unwrap();
        (sender, Source::new(load, Vec::new()))
    }

    fn loaded(files: Versions) -> Loaded {
        let result = crate::config::load(Path::new("/nonexistent"));
        Loaded { result, files }
    }

    #[tokio::test]
    async fn a_reading_that_hangs_holds_up_nothing_and_is_taken_when_it_ends() {
        let (results, mut source) = source();
        source.ask();
        for _ in 0..3 {
            // What else there is to do, such as an end.
            tokio::select! {
                biased;
                _ = source.next() => panic!("nothing was read"),
                () = tokio::task::yield_now() => {}
            }
        }
        results.send(loaded(Vec::new())).unwrap();
        assert!(source.next().await.is_err());
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
        assert!(source.next().await.is_err());
        std::fs::write(&path, "secret").unwrap();
        results.send(loaded(Vec::new())).unwrap();
        assert!(source.next().await.is_err());
    }
}
