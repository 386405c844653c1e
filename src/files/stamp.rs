//! Tells one version of a file from another without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A version of what a path leads to, through every link. A missing file has a stamp too.
///
/// Take it before the file is read: a file that changes while it is read has another one then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<Facts>);

/// Files with their stamps from before they were read.
pub type Versions = Vec<(PathBuf, Stamp)>;

/// The time of the last change of the inode reveals a file which was written with the times of
/// another one, and one which was made readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Takes the stamp of what `path` leads to now. Blocks for as long as the file system does not
    /// answer.
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
