//! Which of some files have changed.
//!
//! What decides is a look: the stamp of what a path leads to, beside the one it had when it was
//! read. There is a look about every second, which sees through any link and any mount. Notices
//! of the kernel (inotify) would come sooner, and not for every kind of change; and to stop
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

/// Between two looks: with [`QUIET`], a change is told within two seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long files must stay as they are before a change is told: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// The longest time from the first change until it is told, however many follow.
const QUIET_TIMEOUT: Duration = Duration::from_secs(2);

/// Until a file system that does not answer is no longer waited for.
const STAMP_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells which of some files differ from what was read of them.
#[derive(Debug)]
pub struct Watcher {
    files: HashMap<PathBuf, File>,
    /// Counts the calls of [`Self::watch`]: an answer to a question of before may be older than
    /// what has been read since.
    generation: u64,
    questions: Arc<Mutex<Vec<Question>>>,
    answers: UnboundedReceiver<Answer>,
    answer_to: UnboundedSender<Answer>,
    stamp: fn(&Path) -> Stamp,
    looked: Instant,
    next_look: Instant,
    changed: BTreeSet<PathBuf>,
    /// The first and the last change that is not told yet.
    unrest: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct File {
    seen: Stamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Answered,
    Asked,
    /// It was asked for and is no longer waited for.
    Hangs,
}

#[derive(Debug)]
struct Question {
    path: PathBuf,
    generation: u64,
}

#[derive(Debug)]
struct Answer {
    path: PathBuf,
    generation: u64,
    stamp: Stamp,
}

impl Default for Watcher {
    fn default() -> Self {
        let (answer_to, answers) = mpsc::unbounded_channel();
        let now = Instant::now();
        Self {
            files: HashMap::new(),
            generation: 0,
            questions: Arc::default(),
            answers,
            answer_to,
            stamp: Stamp::of,
            looked: now,
            next_look: now,
            changed: BTreeSet::new(),
            unrest: None,
        }
    }
}

impl Watcher {
    /// Watches these files and no others. Each comes with its stamp from before it was read: a
    /// change since then is told, also one of before this call. Needs a runtime.
    pub fn watch(&mut self, files: impl IntoIterator<Item = (PathBuf, Stamp)>) {
        self.generation += 1;
        let before = std::mem::take(&mut self.files);
        for (path, seen) in files {
            let known = before.get(&path);
            let file = File {
                seen,
                state: known.map_or(State::Answered, |file| file.state),
            };
            self.files.insert(path, file);
        }
        self.changed.clear();
        self.unrest = None;
        self.next_look = Instant::now();
    }

    /// The files that have changed, once they stay as they are or have changed for long enough.
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        if self.files.is_empty() {
            return pending().await;
        }
        loop {
            let Some((first, last)) = self.unrest else {
                sleep_until(self.next_look).await;
                self.look().await;
                continue;
            };
            let told = (last + QUIET).min(first + QUIET_TIMEOUT);
            if self.looked >= told {
                break;
            }
            sleep_until(told).await;
            self.look().await;
        }
        self.unrest = None;
        std::mem::take(&mut self.changed).into_iter().collect()
    }

    /// Compares every file that answers with what was seen of it.
    async fn look(&mut self) {
        while let Ok(late) = self.answers.try_recv() {
            self.take_in(late);
        }
        self.ask();
        let asked = |file: &&File| file.state == State::Asked;
        let mut awaited = self.files.values().filter(asked).count();
        while awaited > 0 {
            match timeout(STAMP_TIMEOUT, self.answers.recv()).await {
                Ok(Some(answer)) => awaited -= usize::from(self.take_in(answer)),
                Ok(None) | Err(_) => awaited = self.pass_over(),
            }
        }
        self.looked = Instant::now();
        self.next_look = self.looked + LOOK_INTERVAL;
    }

    fn ask(&mut self) {
        let mut questions = lock(&self.questions);
        for (path, file) in &mut self.files {
            if file.state != State::Answered {
                continue;
            }
            file.state = State::Asked;
            questions.push(Question {
                path: path.clone(),
                generation: self.generation,
            });
        }
        drop(questions);
        self.start_thread();
    }

    /// Goes on without the file that does not answer; returns how many others have yet to.
    fn pass_over(&mut self) -> usize {
        let questions = lock(&self.questions);
        let waiting: BTreeSet<_> = questions.iter().map(|q| q.path.clone()).collect();
        drop(questions);
        for (path, file) in &mut self.files {
            if file.state == State::Asked && !waiting.contains(path) {
                file.state = State::Hangs;
            }
        }
        if !waiting.is_empty() {
            self.start_thread();
        }
        let asked = |file: &&File| file.state == State::Asked;
        self.files.values().filter(asked).count()
    }

    fn start_thread(&self) {
        let (questions, answers) = (Arc::clone(&self.questions), self.answer_to.clone());
        let stamp = self.stamp;
        spawn_blocking(move || answer_all(stamp, &questions, &answers));
    }

    /// Whether the answer was waited for.
    fn take_in(&mut self, answer: Answer) -> bool {
        let Some(file) = self.files.get_mut(&answer.path) else {
            return false;
        };
        let was_awaited = file.state == State::Asked;
        file.state = State::Answered;
        if answer.generation == self.generation && answer.stamp != file.seen {
            file.seen = answer.stamp;
            let now = Instant::now();
            let first = self.unrest.map_or(now, |(first, _)| first);
            self.unrest = Some((first, now));
            self.changed.insert(answer.path);
        }
        was_awaited
    }
}

/// Blocks.
fn answer_all(
    stamp: fn(&Path) -> Stamp,
    questions: &Mutex<Vec<Question>>,
    answers: &UnboundedSender<Answer>,
) {
    let next = || lock(questions).pop();
    while let Some(question) = next() {
        let answer = Answer {
            stamp: stamp(&question.path),
            path: question.path,
            generation: question.generation,
        };
        if answers.send(answer).is_err() {
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

    /// Far beyond any test's needs; real time, because the file system's is.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Waits until a change is told, of this file alone.
    async fn tells(watcher: &mut Watcher, path: &Path) {
        let told = timeout(PATIENCE, watcher.changed()).await;
        assert_eq!(told.unwrap(), [path]);
    }

    fn watch(watcher: &mut Watcher, paths: &[&Path]) {
        watcher.watch(
            paths
                .iter()
                .map(|path| (path.to_path_buf(), Stamp::of(path))),
        );
    }

    /// A link in one step, as deployments turn it.
    fn turn(folder: &TempDir, link: &str, to: &str) {
        let next = folder.path().join("next");
        symlink(to, &next).unwrap();
        fs::rename(next, folder.path().join(link)).unwrap();
    }

    #[tokio::test]
    async fn a_change_is_told_through_links_of_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for release in ["1", "2"] {
            fs::create_dir_all(path("releases").join(release)).unwrap();
            fs::write(path("releases").join(release).join("weir.toml"), release).unwrap();
        }
        turn(&folder, "current", "releases/1");
        turn(&folder, "weir.toml", "current/weir.toml");
        let mut watcher = Watcher::default();
        let link = path("weir.toml");
        watch(&mut watcher, &[&link]);
        fs::write(path("releases/1/weir.toml"), "in place").unwrap();
        tells(&mut watcher, &link).await;
        turn(&folder, "current", "releases/2");
        tells(&mut watcher, &link).await;
        fs::remove_file(path("releases/2/weir.toml")).unwrap();
        tells(&mut watcher, &link).await;
        fs::write(path("releases/2/weir.toml"), "again").unwrap();
        tells(&mut watcher, &link).await;
    }

    #[tokio::test]
    async fn a_change_between_reading_and_watching_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "1").unwrap();
        let stamp = Stamp::of(&path);
        fs::write(&path, "22").unwrap();
        let mut watcher = Watcher::default();
        watcher.watch([(path.clone(), stamp)]);
        tells(&mut watcher, &path).await;
    }

    #[tokio::test]
    async fn files_that_never_rest_are_told_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let mut watcher = Watcher::default();
        watch(&mut watcher, &[&path]);
        let mut writes = tokio::time::interval(QUIET / 4);
        let mut written = 0;
        let told = loop {
            tokio::select! {
                told = watcher.changed() => break told,
                _ = writes.tick() => {
                    written += 1;
                    fs::write(&path, "a".repeat(written)).unwrap();
                }
            }
            assert!(written < 1000);
        };
        assert_eq!(told, [path]);
        // It was not the first pause that was taken for an end.
        assert!(written > 4, "{written}");
    }

    /// Until then there is no answer for one of the files.
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
        let mut watcher = Watcher {
            stamp: stamp_that_hangs,
            ..Watcher::default()
        };
        watch(&mut watcher, &[&hung, &a, &b]);
        for changed in [&a, &b] {
            fs::write(changed, "1").unwrap();
            tells(&mut watcher, changed).await;
        }
        fs::write(&hung, "1").unwrap();
        MOUNT_IS_BACK.set(()).unwrap();
        tells(&mut watcher, &hung).await;
    }
}
