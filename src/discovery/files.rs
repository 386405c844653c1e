//! The files of the snapshots that list targets, from one loop.
//!
//! A file is read when it changes, and every few seconds all the same: not every filesystem
//! tells of changes, and a folder may come later than Weir.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::listing::{self, Defaults};
use crate::config::TargetAddress;
use crate::model::TargetGroupId;
use crate::state::{Change, Publisher, Reader, Snapshot, Source};

/// After a change, how long until it is read: writers write in several steps. A file that is
/// half written by then keeps its last list, and is read again.
const SETTLE: Duration = Duration::from_millis(200);

/// Between two looks at files that nobody says have changed.
const POLL: Duration = Duration::from_secs(10);

/// Until a file system that does not answer is no longer waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a file: ten thousand targets with a comment each.
const MAX_BYTES: u64 = 1024 * 1024;

/// Owns the watches; dropping it ends them.
pub(super) struct Files {
    publisher: Publisher,
    entries: HashMap<Key, Entry>,
    watch: Watch,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    group: TargetGroupId,
    path: PathBuf,
}

struct Entry {
    defaults: Defaults,
    /// The last good list.
    targets: Vec<(SocketAddr, u16)>,
    /// What is wrong with the file now.
    fault: Option<String>,
    /// A read that the file system has not answered.
    pending: Option<JoinHandle<io::Result<String>>>,
}

impl Files {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            entries: HashMap::new(),
            watch: Watch::default(),
        }
    }

    /// Follows the snapshots until there will be no more.
    pub(super) async fn run(mut self, mut reader: Reader) {
        let (sender, mut changes) = mpsc::channel(1);
        self.watch.sender = Some(sender);
        self.follow(&reader.load_full()).await;
        let mut next = Instant::now() + POLL;
        loop {
            let idle = self.entries.is_empty();
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                more = reader.changed() => {
                    if !more {
                        return;
                    }
                    self.follow(&reader.load_full()).await;
                }
                Some(()) = changes.recv() => next = next.min(Instant::now() + SETTLE),
                () = sleep_until(next), if !idle => {
                    self.read_all().await;
                    next = Instant::now() + POLL;
                }
            }
        }
    }

    /// Reads new files and those with other defaults, and forgets removed ones.
    async fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.entries);
        let mut fresh = Vec::new();
        for (key, defaults) in listed_files(snapshot) {
            if self.entries.contains_key(&key) {
                continue;
            }
            let known = before.remove(&key);
            let is_same = known
                .as_ref()
                .is_some_and(|entry| entry.defaults == defaults);
            let entry = Entry {
                defaults,
                ..known.unwrap_or_else(|| Entry::new(defaults))
            };
            self.entries.insert(key.clone(), entry);
            if !is_same {
                fresh.push(key);
            }
        }
        if fresh.is_empty() && before.is_empty() {
            return;
        }
        // Before they are read: a change after that must not be missed.
        self.watch
            .set(self.entries.keys().map(|key| key.path.as_path()));
        for key in fresh {
            self.read(&key).await;
        }
    }

    async fn read_all(&mut self) {
        // A folder that was not there may have come.
        self.watch
            .set(self.entries.keys().map(|key| key.path.as_path()));
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            self.read(&key).await;
        }
    }

    async fn read(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let text = entry.text(&key.path).await;
        let read = text.and_then(|text| {
            listing::read(&text, entry.defaults).map_err(|error| error.to_string())
        });
        if !entry.take_in(key, read) {
            return;
        }
        let change = Change::Members {
            group: key.group.clone(),
            source: Source::File(key.path.clone()),
            members: entry.targets.clone(),
        };
        // Without a publisher there are no snapshots, and `run` ends.
        let _ = self.publisher.send(change).await;
    }
}

impl Entry {
    fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            targets: Vec::new(),
            fault: None,
            pending: None,
        }
    }

    /// What the file says now. One read at a time: a file system that hangs holds one thread.
    async fn text(&mut self, path: &Path) -> Result<String, String> {
        let path = path.to_owned();
        let started = self.pending.take();
        let mut reading = started.unwrap_or_else(|| spawn_blocking(move || read_text(&path)));
        match timeout(READ_TIMEOUT, &mut reading).await {
            Ok(Ok(read)) => read.map_err(|error| error.to_string()),
            Ok(Err(_)) => Err("reading it panicked".to_owned()),
            Err(_) => {
                self.pending = Some(reading);
                Err(format!("no answer within {READ_TIMEOUT:?}"))
            }
        }
    }

    /// Whether there is another list than before.
    fn take_in(&mut self, key: &Key, read: Result<Vec<(SocketAddr, u16)>, String>) -> bool {
        let (group, path) = (&key.group, key.path.display());
        let targets = match read {
            Ok(targets) => targets,
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    let kept = self.targets.len();
                    warn!(%group, file = %path, error = %fault, kept, "cannot use the file of targets, keeping its last ones");
                }
                self.fault = Some(fault);
                return false;
            }
        };
        let recovered = self.fault.take().is_some();
        let changed = targets != self.targets;
        if changed {
            info!(%group, file = %path, targets = targets.len(), "file lists other targets");
            self.targets = targets;
        } else if recovered {
            info!(%group, file = %path, "file of targets can be used again");
        }
        changed
    }
}

/// The files of a snapshot; the first of several for one path.
fn listed_files(snapshot: &Snapshot) -> impl Iterator<Item = (Key, Defaults)> {
    let groups = snapshot.config.target_groups.iter();
    groups.flat_map(|group| {
        group.targets.iter().filter_map(|spec| {
            let TargetAddress::File { path, port } = &spec.address else {
                return None;
            };
            let key = Key {
                group: group.id.clone(),
                path: path.clone(),
            };
            let defaults = Defaults {
                port: *port,
                weight: spec.weight,
            };
            Some((key, defaults))
        })
    })
}

/// Blocks.
fn read_text(path: &Path) -> io::Result<String> {
    // To open a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text"))
}

/// Tells when something happens to files. Their folders are watched: editors and
/// orchestrators replace a file rather than write into it.
#[derive(Default)]
struct Watch {
    sender: Option<mpsc::Sender<()>>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// The names that matter.
    names: Arc<Mutex<BTreeSet<OsString>>>,
    warned: bool,
}

impl Watch {
    /// Watches these files and no others.
    fn set<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) {
        let mut folders = BTreeSet::new();
        let mut names = BTreeSet::new();
        for path in paths {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            folders.insert(folder.unwrap_or(Path::new(".")).to_owned());
            names.extend(path.file_name().map(ToOwned::to_owned));
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        if self.watcher.is_none() && !folders.is_empty() {
            self.watcher = self.start();
        }
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.folders.difference(&folders) {
            // It may be gone itself.
            let _ = watcher.unwatch(gone);
        }
        // One that cannot be watched now is tried again with the next look, which reads too.
        // A folder that was replaced by another of its name has to be watched anew.
        folders.retain(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok());
        self.folders = folders;
    }

    fn start(&mut self) -> Option<RecommendedWatcher> {
        let sender = self.sender.clone()?;
        let names = Arc::clone(&self.names);
        let handler = move |event: notify::Result<notify::Event>| {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            // Kubernetes swaps a folder `..data` that symbolic links lead into.
            let concerns = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default();
                names.contains(name) || name.as_encoded_bytes().starts_with(b"..")
            };
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(concerns))
            {
                // One waiting notice is enough.
                let _ = sender.try_send(());
            }
        };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    warn!(%error, "cannot watch files of targets; they are read every {POLL:?}");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::task::JoinSet;

    use super::super::fixture::{member, members};
    use super::*;
    use crate::config::{TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    /// Far beyond any test's needs; real time, because the kernel's notices are.
    const PATIENCE: Duration = Duration::from_secs(30);

    struct Rig {
        folder: TempDir,
        publisher: Publisher,
        reader: Reader,
        _tasks: JoinSet<()>,
    }

    fn group(path: &Path, weight: u16) -> TargetGroup {
        TargetGroup {
            targets: vec![TargetSpec {
                address: TargetAddress::File {
                    path: path.to_owned(),
                    port: Some(6400),
                },
                weight,
            }],
            ..empty_group()
        }
    }

    impl Rig {
        /// Follows `targets.txt` of a folder, which holds this at the beginning.
        async fn start(text: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            if let Some(text) = text {
                fs::write(folder.path().join("targets.txt"), text).unwrap();
            }
            let (publisher, reader) =
                publish(vec![group(&folder.path().join("targets.txt"), 1)]).await;
            let mut tasks = JoinSet::new();
            tasks.spawn(Files::new(publisher.clone()).run(reader.clone()));
            Self {
                folder,
                publisher,
                reader,
                _tasks: tasks,
            }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("targets.txt")
        }

        /// Replaces the file in one step.
        fn replace(&self, text: &str) {
            let next = self.folder.path().join("next");
            fs::write(&next, text).unwrap();
            fs::rename(next, self.file()).unwrap();
        }

        async fn until(&mut self, expected: &[(String, u16)]) {
            let waited = timeout(PATIENCE, async {
                while members(&self.reader) != expected {
                    self.reader.changed().await;
                }
            });
            assert!(
                waited.await.is_ok(),
                "{expected:?}, not {:?}",
                members(&self.reader)
            );
        }
    }

    #[tokio::test]
    async fn a_file_is_read_at_start_and_when_it_is_replaced_or_written() {
        let mut rig = Rig::start(Some("10.0.0.1\n10.0.0.2:80 weight=3\n")).await;
        rig.until(&[member("10.0.0.1:6400", 1), member("10.0.0.2:80", 3)])
            .await;
        rig.replace("10.0.0.3\n");
        rig.until(&[member("10.0.0.3:6400", 1)]).await;
        fs::write(rig.file(), "10.0.0.4 weight=9\n").unwrap();
        rig.until(&[member("10.0.0.4:6400", 9)]).await;
    }

    /// Without the loop: each look is one of the test's.
    #[tokio::test]
    async fn a_file_that_vanishes_breaks_or_is_emptied_keeps_its_last_targets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.txt");
        let (publisher, mut reader) = publish(vec![group(&path, 1)]).await;
        let mut files = Files::new(publisher);
        fs::write(&path, "10.0.0.1\n").unwrap();
        files.follow(&reader.load_full()).await;
        reader.changed().await;
        let long = vec![b'#'; MAX_BYTES as usize + 1];
        let broken: [(&[u8], &str); 5] = [
            (b"", "line 1: no target in the whole file"),
            (
                b"10.0.0.9\n10.0.0",
                "line 2: `10.0.0` is not an address like 10.0.0.1:6400",
            ),
            (&[0xff; 64], "it is not text"),
            (&long, "it is longer than 1 MiB"),
            (b"gone", "No such file or directory (os error 2)"),
        ];
        for (n, (bytes, fault)) in (2..).zip(broken) {
            let version = reader.load_full().version;
            fs::write(&path, bytes).unwrap();
            if bytes == b"gone" {
                fs::remove_file(&path).unwrap();
            }
            files.read_all().await;
            let entry = files.entries.values().next().unwrap();
            assert_eq!(
                (entry.fault.as_deref(), entry.targets.len()),
                (Some(fault), 1)
            );
            fs::write(&path, format!("10.0.0.{n}\n")).unwrap();
            files.read_all().await;
            reader.changed().await;
            // Nothing else has been published since.
            assert_eq!(reader.load_full().version, version + 1);
            assert_eq!(members(&reader), [member(&format!("10.0.0.{n}:6400"), 1)]);
        }
    }

    #[tokio::test]
    async fn a_file_may_come_later_and_a_symbolic_link_may_be_turned() {
        let mut rig = Rig::start(None).await;
        rig.until(&[]).await;
        let root = rig.folder.path().to_owned();
        // As Kubernetes mounts a ConfigMap.
        for n in [1, 2] {
            let data = root.join(format!("..{n}"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join("targets.txt"), format!("10.0.0.{n}\n")).unwrap();
            let link = root.join("..next");
            std::os::unix::fs::symlink(&data, &link).unwrap();
            fs::rename(link, root.join("..data")).unwrap();
            if n == 1 {
                std::os::unix::fs::symlink("..data/targets.txt", rig.file()).unwrap();
            }
            rig.until(&[member(&format!("10.0.0.{n}:6400"), 1)]).await;
        }
    }

    #[tokio::test]
    async fn a_reload_changes_what_lines_leave_out_and_forgets_files() {
        let mut rig = Rig::start(Some("10.0.0.1\n")).await;
        rig.until(&[member("10.0.0.1:6400", 1)]).await;
        let heavier = group(&rig.file(), 5);
        rig.publisher
            .configure(config(vec![heavier]))
            .await
            .unwrap();
        rig.until(&[member("10.0.0.1:6400", 5)]).await;
        rig.publisher
            .configure(config(vec![empty_group()]))
            .await
            .unwrap();
        rig.until(&[]).await;
    }

    #[tokio::test]
    async fn what_is_no_file_or_too_long_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| read_text(path).unwrap_err().to_string();
        assert_eq!(said(folder.path()), "it is not a file");
        assert_eq!(said(Path::new("/dev/zero")), "it is not a file");
        let long = folder.path().join("long");
        fs::write(&long, vec![b'#'; MAX_BYTES as usize]).unwrap();
        assert!(read_text(&long).is_ok());
        fs::write(&long, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        assert_eq!(said(&long), "it is longer than 1 MiB");
    }
}
