//! Which of some files have changed.
//!
//! A change is found by comparison: the stamp of what a path leads to with the one it had when it
//! was read. The stamps are taken about every second, through any link and any mount. Notices
//! of the kernel (inotify) would come sooner, but not for every kind of change; and to stop
//! listening for them waits for workers of the kernel, which can take many seconds on a busy
//! machine. A file system that does not answer hides the changes of its own files alone.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::stamp::Stamp;

/// Between two comparisons: with [`QUIET_INTERVAL`], a change is reported within two seconds.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long files must stay as they are before a change is reported: editors write in several
/// steps.
const QUIET_INTERVAL: Duration = Duration::from_millis(200);

/// The longest time from the first change to its report, however many follow.
const QUIET_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a comparison waits for a file system that does not answer.
const STAMP_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports which of some files differ from what was read of them.
#[derive(Debug)]
pub struct FileWatcher {
    files: HashMap<PathBuf, File>,
    /// Counts the calls of [`Self::watch`]: a reply to an earlier request may be older than
    /// what was read since.
    generation: u64,
    requests: Arc<Mutex<Vec<StampRequest>>>,
    replies: UnboundedReceiver<StampReply>,
    reply_to: UnboundedSender<StampReply>,
    stamp: fn(&Path) -> Stamp,
    checked: Instant,
    next_check: Instant,
    changed: BTreeSet<PathBuf>,
    unreported: Option<Unreported>,
}

#[derive(Debug)]
struct File {
    seen: Stamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No request is open.
    Idle,
    /// A reply is waited for.
    Requested,
    /// A reply is outstanding, and not waited for any longer.
    Hangs,
}

/// When the changes came which are not reported yet.
#[derive(Clone, Copy, Debug)]
struct Unreported {
    first: Instant,
    last: Instant,
}

#[derive(Debug)]
struct StampRequest {
    path: PathBuf,
    generation: u64,
}

#[derive(Debug)]
struct StampReply {
    path: PathBuf,
    generation: u64,
    stamp: Stamp,
}

impl Default for FileWatcher {
    fn default() -> Self {
        let (reply_to, replies) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            files: HashMap::new(),
            generation: 0,
            requests: Arc::default(),
            replies,
            reply_to,
            stamp: Stamp::of,
            checked: now,
            next_check: now,
            changed: BTreeSet::new(),
            unreported: None,
        }
    }
}

impl FileWatcher {
    /// Watches these files and no others. Each comes with its stamp from before it was read: a
    /// change since then is reported, also one from before this call. Needs a runtime.
    pub fn watch(&mut self, files: impl IntoIterator<Item = (PathBuf, Stamp)>) {
        self.generation += 1;
        let before = std::mem::take(&mut self.files);
        for (path, seen) in files {
            let known = before.get(&path);
            let file = File {
                seen,
                state: known.map_or(State::Idle, |file| file.state),
            };
            self.files.insert(path, file);
        }
        self.changed.clear();
        self.unreported = None;
        self.next_check = Instant::now();
    }

    /// The files that have changed, once they stay as they are or have changed for long enough.
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        if self.files.is_empty() {
            return pending().await;
        }
        loop {
            let Some(Unreported { first, last }) = self.unreported else {
                sleep_until(self.next_check).await;
                self.check().await;
                continue;
            };
            let report_at = (last + QUIET_INTERVAL).min(first + QUIET_TIMEOUT);
            if self.checked >= report_at {
                break;
            }
            sleep_until(report_at).await;
            self.check().await;
        }
        self.unreported = None;
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Compares every file that answers with what was seen of it.
    async fn check(&mut self) {
        while let Ok(late) = self.replies.try_recv() {
            self.receive(late);
        }
        self.request_stamps();
        let mut awaited = self.requested();
        while awaited > 0 {
            if let Ok(Some(reply)) = timeout(STAMP_TIMEOUT, self.replies.recv()).await {
                awaited -= usize::from(self.receive(reply));
            } else {
                self.skip_hanging();
                awaited = self.requested();
            }
        }
        self.checked = Instant::now();
        self.next_check = self.checked + CHECK_INTERVAL;
    }

    /// How many replies are waited for.
    fn requested(&self) -> usize {
        let files = self.files.values();
        files.filter(|file| file.state == State::Requested).count()
    }

    fn request_stamps(&mut self) {
        let mut requests = lock(&self.requests);
        for (path, file) in &mut self.files {
            if file.state != State::Idle {
                continue;
            }
            file.state = State::Requested;
            requests.push(StampRequest {
                path: path.clone(),
                generation: self.generation,
            });
        }
        drop(requests);
        self.start_thread();
    }

    /// Stops waiting for the file that does not answer. The requests behind it get another
    /// thread.
    fn skip_hanging(&mut self) {
        let requests = lock(&self.requests);
        let queued: BTreeSet<_> = requests
            .iter()
            .map(|request| request.path.clone())
            .collect();
        drop(requests);
        for (path, file) in &mut self.files {
            if file.state == State::Requested && !queued.contains(path) {
                file.state = State::Hangs;
            }
        }
        if !queued.is_empty() {
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let (requests, reply_to) = (Arc::clone(&self.requests), self.reply_to.clone());
        let stamp = self.stamp;
        spawn_blocking(move || serve_requests(stamp, &requests, &reply_to));
    }

    /// Returns whether the reply was waited for.
    fn receive(&mut self, reply: StampReply) -> bool {
        let Some(file) = self.files.get_mut(&reply.path) else {
            return false;
        };
        let was_awaited = file.state == State::Requested;
        file.state = State::Idle;
        if reply.generation == self.generation && reply.stamp != file.seen {
            file.seen = reply.stamp;
            let now = Instant::now();
            let first = self.unreported.map_or(now, |unreported| unreported.first);
            self.unreported = Some(Unreported { first, last: now });
            self.changed.insert(reply.path);
        }
        was_awaited
    }
}

/// Blocks.
fn serve_requests(
    stamp: fn(&Path) -> Stamp,
    requests: &Mutex<Vec<StampRequest>>,
    reply_to: &UnboundedSender<StampReply>,
) {
    let next = || lock(requests).pop();
    while let Some(request) = next() {
        let reply = StampReply {
            stamp: stamp(&request.path),
            path: request.path,
            generation: request.generation,
        };
        if reply_to.send(reply).is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::OnceLock;

    use tempfile::TempDir;

    use super::*;

    /// Longer than any test needs; real time, because the file system has no other.
    const TEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// Waits until a change is reported, of this file alone.
    async fn reports(watcher: &mut FileWatcher, path: &Path) {
        let reported = timeout(TEST_TIMEOUT, watcher.changed()).await;
        assert_eq!(reported.unwrap(), [path]);
    }

    fn watch(watcher: &mut FileWatcher, paths: &[&Path]) {
        watcher.watch(
            paths
                .iter()
                .map(|path| (path.to_path_buf(), Stamp::of(path))),
        );
    }

    /// Replaces a link in one step, as deployments do.
    fn relink(folder: &TempDir, link: &str, to: &str) {
        let next = folder.path().join("next");
        symlink(to, &next).unwrap();
        fs::rename(next, folder.path().join(link)).unwrap();
    }

    #[tokio::test]
    async fn a_change_is_reported_through_links_of_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for release in ["1", "2"] {
            fs::create_dir_all(path("releases").join(release)).unwrap();
            fs::write(path("releases").join(release).join("weir.toml"), release).unwrap();
        }
        relink(&folder, "current", "releases/1");
        relink(&folder, "weir.toml", "current/weir.toml");
        let mut watcher = FileWatcher::default();
        let link = path("weir.toml");
        watch(&mut watcher, &[&link]);
        fs::write(path("releases/1/weir.toml"), "in place").unwrap();
        reports(&mut watcher, &link).await;
        relink(&folder, "current", "releases/2");
        reports(&mut watcher, &link).await;
        fs::remove_file(path("releases/2/weir.toml")).unwrap();
        reports(&mut watcher, &link).await;
        fs::write(path("releases/2/weir.toml"), "again").unwrap();
        reports(&mut watcher, &link).await;
    }

    #[tokio::test]
    async fn a_change_between_reading_and_watching_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "1").unwrap();
        let stamp = Stamp::of(&path);
        fs::write(&path, "22").unwrap();
        let mut watcher = FileWatcher::default();
        watcher.watch([(path.clone(), stamp)]);
        reports(&mut watcher, &path).await;
    }

    #[tokio::test]
    async fn files_that_change_all_the_time_are_reported_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let mut watcher = FileWatcher::default();
        watch(&mut watcher, &[&path]);
        let mut writes = tokio::time::interval(QUIET_INTERVAL / 4);
        let mut written = 0;
        let reported = loop {
            tokio::select! {
                reported = watcher.changed() => break reported,
                _ = writes.tick() => {
                    written += 1;
                    fs::write(&path, "a".repeat(written)).unwrap();
                }
            }
            assert!(written < 1000);
        };
        assert_eq!(reported, [path]);
        // The first pause between two writes was not taken for the end.
        assert!(written > 4, "{written}");
    }

    /// Until this is set there is no stamp of one of the files.
    static MOUNT_IS_BACK: OnceLock<()> = OnceLock::new();

    fn stamp_that_hangs(path: &Path) -> Stamp {
        if path.ends_with("hung") {
            MOUNT_IS_BACK.wait();
        }
        Stamp::of(path)
    }

    #[tokio::test]
    async fn a_file_that_does_not_answer_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (hung, a, b) = (path("hung"), path("a"), path("b"));
        let mut watcher = FileWatcher {
            stamp: stamp_that_hangs,
            ..FileWatcher::default()
        };
        watch(&mut watcher, &[&hung, &a, &b]);
        for changed in [&a, &b] {
            fs::write(changed, "1").unwrap();
            reports(&mut watcher, changed).await;
        }
        fs::write(&hung, "1").unwrap();
        MOUNT_IS_BACK.set(()).unwrap();
        reports(&mut watcher, &hung).await;
    }
}
