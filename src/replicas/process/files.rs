//! Files that get what replicas print: one for each replica, renamed when it is full.
//!
//! A thread of its own writes them all, so that a disk that hangs holds up nothing else. What it does
//! not keep up with is dropped and counted, and its file says so when it goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tracing::warn;

use crate::model::{LogFile, TargetGroupId};
use crate::observe::LineFile;
use crate::replicas::ReplicaId;

/// The bytes at which a file is renamed, and how many renamed ones are kept: 20 MiB of a replica.
const MAX_SIZE: u64 = 10 * 1024 * 1024;
const KEEP: u32 = 1;

/// Pieces that wait, each of the lines of one read: some megabytes.
const QUEUE: usize = 256;

/// Files that are open at a time.
const MAX_OPEN: usize = 256;

/// Lines for a file.
struct Piece {
    path: PathBuf,
    lines: Vec<u8>,
}

/// `None` if the system gives no thread.
static WRITER: LazyLock<Option<SyncSender<Piece>>> = LazyLock::new(|| {
    let (sender, pieces) = sync_channel(QUEUE);
    let thread = thread::Builder::new().name("weir-replica-files".to_owned());
    thread
        .spawn(move || write_all(&pieces))
        .ok()
        .map(|_| sender)
});

/// The file of one replica.
#[derive(Debug)]
pub(super) struct ReplicaFile {
    path: PathBuf,
    /// Lines of the read that goes on, and their number.
    lines: Vec<u8>,
    count: u64,
    /// Lines that were dropped.
    dropped: u64,
}

impl ReplicaFile {
    /// `GROUP.REPLICA.log` in a folder.
    pub(super) fn new(folder: &Path, group: &TargetGroupId, replica: ReplicaId) -> Self {
        // A name may have what a path must not.
        let group = group.0.replace(['/', '\0'], "_");
        Self {
            path: folder.join(format!("{group}.{}.log", replica.0)),
            lines: Vec::new(),
            count: 0,
            dropped: 0,
        }
    }

    /// Adds a line, which [`Self::send`] passes on.
    pub(super) fn add(&mut self, line: &str) {
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
        self.count += 1;
    }

    /// Passes the lines on, without waiting.
    pub(super) fn send(&mut self) {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        let mut lines = std::mem::take(&mut self.lines);
        if self.dropped > 0 {
            let text = format!(
                "… {} lines were dropped: the disk was too slow\n",
                self.dropped
            );
            lines.splice(0..0, text.into_bytes());
        }
        let path = self.path.clone();
        let sent = WRITER
            .as_ref()
            .map(|writer| writer.try_send(Piece { path, lines }));
        match sent {
            Some(Ok(())) => self.dropped = 0,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => {
                self.dropped += count;
            }
        }
    }
}

fn write_all(pieces: &Receiver<Piece>) {
    let mut files: BTreeMap<PathBuf, LineFile> = BTreeMap::new();
    let mut failing: Option<PathBuf> = None;
    while let Ok(Piece { path, lines }) = pieces.recv() {
        if files.len() >= MAX_OPEN && !files.contains_key(&path) {
            // Each is opened again when it is written to.
            files.clear();
        }
        let file = files.entry(path.clone()).or_insert_with(|| {
            LineFile::new(LogFile {
                path: path.clone(),
                max_size: Some(MAX_SIZE),
                keep: KEEP,
            })
        });
        match file.write_all(&lines) {
            Ok(()) => failing = failing.filter(|failed| *failed != path),
            Err(error) if failing.is_none() => {
                warn!(file = %path.display(), %error, "what a replica prints cannot be written; it is lost until it can");
                failing = Some(path);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_group_and_replica_and_gets_whole_reads() {
        let folder = tempfile::tempdir().unwrap();
        let group = TargetGroupId::from("a/b");
        let mut file = ReplicaFile::new(folder.path(), &group, ReplicaId(3));
        file.add("one");
        file.add("two");
        file.send();
        file.send();
        let path = folder.path().join("a_b.3.log");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        while read().len() < 8 {
            thread::yield_now();
        }
        assert_eq!(read(), "one\ntwo\n");
    }
}
