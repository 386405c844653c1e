//! What tells one version of a file from another without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A version of what a path leads to, through every link. No file is a version too.
///
/// Take it before the file is read: what changes while it is read then has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<Facts>);

/// Files, each with its stamp from before it was read.
pub type Versions = Vec<(PathBuf, Stamp)>;

/// The time of the last change of the inode tells a file that was written with the times of
/// another one, and one that was made readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what `path` leads to now. Blocks, for as long as the file system does not answer.
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| Facts::of(&found)))
    }
}

impl Facts {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}
