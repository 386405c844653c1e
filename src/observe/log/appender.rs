//! A file of lines: written at its end, opened again when it was renamed or removed, and renamed when
//! it has grown too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::OFlags;
use tracing::warn;

use crate::model::LogFile;

/// Those that may read it beside its owner: the group.
const MODE: u32 = 0o640;

/// Most bytes of one write.
const WRITE_BYTES: usize = 64 * 1024;

/// A file of lines, while it is open.
#[derive(Debug)]
pub(super) struct Appender {
    settings: LogFile,
    open: Option<Open>,
}

/// A file of lines for others than the log.
#[derive(Debug)]
pub struct LineFile(Appender);

impl LineFile {
    /// Is opened with the first write.
    pub fn new(settings: LogFile) -> Self {
        Self(Appender::new(settings))
    }

    /// Writes whole lines. What was written before an error stays.
    pub fn write_all(&mut self, mut lines: &[u8]) -> io::Result<()> {
        self.0.look()?;
        while !lines.is_empty() {
            match self.0.write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => lines = lines.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and number of the file.
    identity: (u64, u64),
    size: u64,
    /// Whether it is one that can be renamed when it is full: no pipe and no device.
    is_regular: bool,
    /// Whether the last write has ended within a line.
    is_within_line: bool,
}

impl Appender {
    pub(super) fn new(settings: LogFile) -> Self {
        Self {
            settings,
            open: None,
        }
    }

    /// Opens the file again at the next write.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    /// Opens the file if it is not open, or is another one than that at its path. Returns whether
    /// it was opened.
    pub(super) fn look(&mut self) -> io::Result<bool> {
        let path = &self.settings.path;
        let is_same = |open: &Open| {
            fs::metadata(path).is_ok_and(|found| open.identity == (found.dev(), found.ino()))
        };
        if self.open.as_ref().is_some_and(is_same) {
            return Ok(false);
        }
        self.open = None;
        self.open = Some(Open::at(&self.settings)?);
        Ok(true)
    }

    /// Writes as many bytes as a write takes, and returns their number.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.is_full(lines) {
            self.rotate();
            self.look()?;
        }
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let most = self.settings.max_size.filter(|_| open.is_regular);
        let room = most.map_or(u64::MAX, |most| most.saturating_sub(open.size));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let chunk = whole_lines(lines, room.min(WRITE_BYTES));
        let count = open.file.write(chunk)?;
        open.size += count as u64;
        open.is_within_line = count > 0 && chunk.get(count - 1) != Some(&b'\n');
        Ok(count)
    }

    /// Whether the next line has no room.
    fn is_full(&self, lines: &[u8]) -> bool {
        let Some((open, most)) = self.open.as_ref().zip(self.settings.max_size) else {
            return false;
        };
        let next = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        let is_used = open.is_regular && open.size > 0 && !open.is_within_line;
        is_used && open.size + next as u64 > most
    }

    /// Renames the file and those before it. If it cannot be renamed, it grows on.
    fn rotate(&mut self) {
        for number in (1..self.settings.keep).rev() {
            // One that is not there yet.
            let _ = fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        match fs::rename(&self.settings.path, self.numbered(1)) {
            Ok(()) => self.open = None,
            Err(error) => {
                let file = self.settings.path.display();
                warn!(%file, %error, "the file is full and cannot be renamed; it grows on");
                // Asked again when it has grown by as much.
                if let Some(open) = &mut self.open {
                    open.size = 0;
                }
            }
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut path = self.settings.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Open {
    fn at(settings: &LogFile) -> io::Result<Self> {
        // A pipe without a reader is an error then, and is not waited for.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(flags)
            .open(&settings.path)?;
        let found = file.metadata()?;
        let kind = found.file_type();
        Ok(Self {
            identity: (found.dev(), found.ino()),
            size: found.len(),
            is_regular: !kind.is_fifo() && !kind.is_char_device(),
            is_within_line: false,
            file,
        })
    }
}

/// As many whole lines as fit in so many bytes; the first alone if it does not.
fn whole_lines(lines: &[u8], most: usize) -> &[u8] {
    let fitting = lines.get(..most).unwrap_or(lines);
    let end = match memchr::memrchr(b'\n', fitting) {
        Some(end) => end + 1,
        None => memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1),
    };
    lines.get(..end).unwrap_or(lines)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn appender(path: &Path, max_size: Option<u64>, keep: u32) -> Appender {
        Appender::new(LogFile {
            path: path.to_owned(),
            max_size,
            keep,
        })
    }

    /// Writes lines as the thread does.
    fn append(appender: &mut Appender, mut lines: &[u8]) {
        appender.look().unwrap();
        while !lines.is_empty() {
            let count = appender.write(lines).unwrap();
            lines = &lines[count..];
        }
    }

    #[test]
    fn a_file_that_was_renamed_or_removed_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = appender(&path, None, 1);
        append(&mut log, b"a\n");
        fs::rename(&path, folder.path().join("old")).unwrap();
        append(&mut log, b"b\n");
        assert_eq!(fs::read(&path).unwrap(), b"b\n");
        fs::remove_file(&path).unwrap();
        append(&mut log, b"c\n");
        assert_eq!(fs::read(&path).unwrap(), b"c\n");
        assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"a\n");
    }

    #[test]
    fn a_full_file_is_renamed_between_lines_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = appender(&path, Some(20), 2);
        for n in 10..19 {
            append(&mut log, format!("line {n}\n").as_bytes());
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("access.log").as_deref(), Some("line 18\n"));
        assert_eq!(read("access.log.1").as_deref(), Some("line 16\nline 17\n"));
        assert_eq!(read("access.log.2").as_deref(), Some("line 14\nline 15\n"));
        assert_eq!(read("access.log.3"), None);
        append(&mut log, &b"one that is longer than all\n".repeat(2));
        assert_eq!(
            read("access.log.1").as_deref(),
            Some("one that is longer than all\n")
        );
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_pipe_without_a_reader_too() {
        let mut log = appender(Path::new("/dev/full"), Some(1), 1);
        log.look().unwrap();
        let error = log.write(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(Path::new("/dev/full").exists());
    }
}
