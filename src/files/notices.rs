//! Notices of the kernel that something has happened to a file.
//!
//! Only hints: they name no file, and where there are none (a file behind a swapped folder, a
//! network file system, no more instances for this user) the next look finds the change. They
//! are read by the runtime itself, so that no thread is needed for them.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Of a folder: an entry has come, gone or been replaced. What is written into other files does
/// not count, however busy they are.
const ENTRIES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE);

/// Of a file, wherever its path leads: also one that is mounted alone, whose folder never tells.
const CONTENT: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Reads of one turn, each of dozens of notices.
const READS: usize = 64;

#[derive(Debug)]
pub(super) struct Notices(AsyncFd<OwnedFd>);

impl Notices {
    /// Needs a runtime. Fails where the user has no instance left.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe for the sake of types that could close the descriptor"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        AsyncFd::new(inotify::init(flags)?).map(Self)
    }

    /// Asks for notices of the file and its folder, as far as they are there. Blocks.
    pub(super) fn add(&self, path: &Path) {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        for (path, kinds) in [(folder, ENTRIES), (path, CONTENT)] {
            // Without it, the next look finds what changes.
            let _ = inotify::add_watch(&self.0, path, kinds | WatchFlags::MASK_ADD);
        }
    }

    /// Resolves when something has happened. Cancel-safe.
    pub(super) async fn next(&self) {
        let Ok(mut ready) = self.0.readable().await else {
            return pending().await;
        };
        let mut notices = [0_u8; 4096];
        for _ in 0..READS {
            let read = |fd: &AsyncFd<OwnedFd>| Ok(rustix::io::read(fd, &mut notices)?);
            if ready.try_io(read).is_err() {
                return;
            }
        }
    }
}
