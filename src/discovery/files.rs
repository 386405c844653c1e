//! Reads the files of the snapshots that list targets, in one loop.
//!
//! A file is read when it changes, on a blocking thread. If the file system does not answer, the
//! file keeps its last targets and is read again once it does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};

use super::listing::{self, Defaults};
use super::report::Report;
use crate::config::{Config, TargetAddress};
use crate::files::{FileWatcher, Stamp, Unfinished, read_text};
use crate::model::{Endpoint, TargetGroupId};
use crate::observe::kind;
use crate::state::{Change, Publisher, Reader, Source};

/// How long a file system that does not answer is waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of a file: ten thousand targets with a comment each.
const MAX_BYTES: u64 = 1024 * 1024;

/// Owns the reads; dropping it ends the waits for them.
pub(super) struct FileSource {
    publisher: Publisher,
    report: Arc<Report>,
    /// The configuration that names the files.
    config: Option<Arc<Config>>,
    files: HashMap<Key, ListFile>,
    watcher: FileWatcher,
    /// Reads that did not end in time.
    late: JoinSet<(Key, Result<Listing, JoinError>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    group: TargetGroupId,
    path: PathBuf,
}

struct ListFile {
    defaults: Defaults,
    /// The version that was read last.
    seen: Stamp,
    /// The last valid list.
    targets: Targets,
    /// What is wrong with the file now.
    fault: Option<String>,
    /// Whether a read is among the late ones. Then no other is started: a file system that hangs
    /// holds one thread.
    is_late: bool,
}

type Targets = Vec<(Endpoint, u16)>;

/// The result of a read.
struct Listing {
    /// From before it was read.
    stamp: Stamp,
    targets: Result<Targets, String>,
}

impl FileSource {
    pub(super) fn new(publisher: Publisher, report: Arc<Report>) -> Self {
        Self {
            publisher,
            report,
            config: None,
            files: HashMap::new(),
            watcher: FileWatcher::default(),
            late: JoinSet::new(),
        }
    }

    /// Follows the snapshots until the publisher ends.
    pub(super) async fn run(mut self, mut reader: Reader) {
        let first = Arc::clone(&reader.load().config);
        self.follow(first).await;
        loop {
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                more = reader.changed() => {
                    if !more {
                        return;
                    }
                    let config = Arc::clone(&reader.load().config);
                    self.follow(config).await;
                }
                changed = self.watcher.changed() => self.read_all(&changed).await,
                Some(Ok((key, ended))) = self.late.join_next() => self.finish(&key, ended).await,
            }
        }
    }

    /// Reads new files and those with other defaults, and forgets removed ones.
    async fn follow(&mut self, config: Arc<Config>) {
        if self
            .config
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &config))
        {
            return;
        }
        let mut before = std::mem::take(&mut self.files);
        let mut fresh = Vec::new();
        for (key, defaults) in listed_files(&config) {
            if self.files.contains_key(&key) {
                continue;
            }
            let known = before.remove(&key);
            let is_same = known.as_ref().is_some_and(|file| file.defaults == defaults);
            let file = ListFile {
                defaults,
                ..known.unwrap_or_else(|| ListFile::new(defaults))
            };
            self.files.insert(key.clone(), file);
            if !is_same {
                fresh.push(key);
            }
        }
        for key in before.keys() {
            self.report.forget(&key.group, key.source());
        }
        self.config = Some(config);
        if fresh.is_empty() && before.is_empty() {
            return;
        }
        for key in fresh {
            self.read(&key).await;
        }
        self.watcher.watch(
            self.files
                .iter()
                .map(|(key, file)| (key.path.clone(), file.seen)),
        );
    }

    /// Reads these files for all groups that name them.
    async fn read_all(&mut self, paths: &[PathBuf]) {
        let keys: Vec<Key> = self
            .files
            .keys()
            .filter(|key| paths.contains(&key.path))
            .cloned()
            .collect();
        for key in keys {
            self.read(&key).await;
        }
    }

    async fn read(&mut self, key: &Key) {
        let Some(file) = self.files.get_mut(key).filter(|file| !file.is_late) else {
            return;
        };
        let (path, defaults) = (key.path.clone(), file.defaults);
        let mut reading = spawn_blocking(move || Listing::read(&path, defaults));
        if let Ok(ended) = timeout(READ_TIMEOUT, &mut reading).await {
            self.apply(key, ended).await;
        } else {
            file.is_late = true;
            file.fail(key, Unfinished::TimedOut(READ_TIMEOUT).to_string());
            file.note(&self.report, key);
            let key = key.clone();
            self.late.spawn(async move { (key, reading.await) });
        }
    }

    /// Applies a late read, and reads again: its result may be old by now.
    async fn finish(&mut self, key: &Key, ended: Result<Listing, JoinError>) {
        if let Some(file) = self.files.get_mut(key) {
            file.is_late = false;
            self.apply(key, ended).await;
            self.read(key).await;
        }
    }

    async fn apply(&mut self, key: &Key, ended: Result<Listing, JoinError>) {
        let Some(file) = self.files.get_mut(key) else {
            return;
        };
        let is_other = file.adopt(key, ended);
        file.note(&self.report, key);
        if !is_other {
            return;
        }
        let change = Change::Members {
            group: key.group.clone(),
            source: key.source(),
            members: file.targets.clone(),
        };
        // Fails when the publisher has ended: then `run` ends too.
        let _ = self.publisher.send(change).await;
    }
}

impl Key {
    fn source(&self) -> Source {
        Source::File(self.path.clone())
    }
}

impl ListFile {
    /// Reports what a read has come to. The next follows when the file changes.
    fn note(&self, report: &Report, key: &Key) {
        if let Some(fault) = &self.fault {
            report.failed(&key.group, key.source(), fault.clone(), None);
        } else {
            let targets = self.targets.iter().map(|(addr, _)| addr.clone());
            report.succeeded(&key.group, key.source(), targets.collect(), None);
        }
    }

    fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            seen: Stamp::default(),
            targets: Vec::new(),
            fault: None,
            is_late: false,
        }
    }

    /// Adopts the result of a read. Returns whether the targets have changed.
    fn adopt(&mut self, key: &Key, ended: Result<Listing, JoinError>) -> bool {
        let targets = match ended {
            Ok(listing) => {
                self.seen = listing.stamp;
                listing.targets
            }
            Err(_) => Err(Unfinished::Panicked.to_string()),
        };
        let targets = match targets {
            Ok(targets) => targets,
            Err(fault) => {
                self.fail(key, fault);
                return false;
            }
        };
        let (group, path) = (&key.group, key.path.display());
        let recovered = self.fault.take().is_some();
        let changed = targets != self.targets;
        if changed {
            info!(event = kind::DISCOVERY, %group, file = %path, targets = targets.len(), "file lists other targets");
            self.targets = targets;
        } else if recovered {
            info!(event = kind::DISCOVERY, %group, file = %path, "file of targets can be used again");
        }
        changed
    }

    fn fail(&mut self, key: &Key, fault: String) {
        if self.fault.as_ref() != Some(&fault) {
            let (group, path, kept) = (&key.group, key.path.display(), self.targets.len());
            warn!(event = kind::DISCOVERY, %group, file = %path, error = %fault, kept, "cannot use the file of targets; keeping its last ones");
        }
        self.fault = Some(fault);
    }
}

impl Listing {
    /// Blocks.
    fn read(path: &Path, defaults: Defaults) -> Self {
        let stamp = Stamp::of(path);
        let targets = read_text(path, MAX_BYTES)
            .map_err(|error| error.to_string())
            .and_then(|text| listing::read(&text, defaults).map_err(|error| error.to_string()));
        Self { stamp, targets }
    }
}

/// The files of a configuration; of several specifications for one path the first counts.
fn listed_files(config: &Config) -> impl Iterator<Item = (Key, Defaults)> {
    config.target_groups.iter().flat_map(|group| {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::task::JoinSet;

    use super::super::fixture::{member, members};
    use super::*;
    use crate::config::{TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    /// Longer than any test needs; real time, because the file system has no other.
    const TEST_TIMEOUT: Duration = Duration::from_secs(30);

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
        /// Follows `targets.txt` of a folder, which has this content at first.
        async fn start(text: Option<&str>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            if let Some(text) = text {
                fs::write(folder.path().join("targets.txt"), text).unwrap();
            }
            let (publisher, reader) =
                publish(vec![group(&folder.path().join("targets.txt"), 1)]).await;
            let mut tasks = JoinSet::new();
            tasks.spawn(FileSource::new(publisher.clone(), Arc::default()).run(reader.clone()));
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
            let waited = timeout(TEST_TIMEOUT, async {
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

    /// Without the loop: the test makes each read.
    #[tokio::test]
    async fn a_file_that_vanishes_breaks_or_is_emptied_keeps_its_last_targets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.txt");
        let (publisher, mut reader) = publish(vec![group(&path, 1)]).await;
        let mut files = FileSource::new(publisher, Arc::default());
        fs::write(&path, "10.0.0.1\n").unwrap();
        files.follow(Arc::clone(&reader.load_full().config)).await;
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
            files.read_all(std::slice::from_ref(&path)).await;
            let file = files.files.values().next().unwrap();
            assert_eq!(
                (file.fault.as_deref(), file.targets.len()),
                (Some(fault), 1)
            );
            fs::write(&path, format!("10.0.0.{n}\n")).unwrap();
            files.read_all(std::slice::from_ref(&path)).await;
            reader.changed().await;
            // No other change was published since.
            assert_eq!(reader.load_full().version, version + 1);
            assert_eq!(members(&reader), [member(&format!("10.0.0.{n}:6400"), 1)]);
        }
    }

    #[tokio::test]
    async fn a_file_may_be_created_later_and_a_symbolic_link_may_be_replaced() {
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
    async fn a_reload_changes_the_defaults_of_lines_and_forgets_files() {
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
}
