//! Reading a file of which only the path is known.

use std::fmt::Display;
use std::fs::{self, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// In case the path turns into something else after its type was checked: without these flags
/// opening a pipe waits for its writer, and a terminal becomes the controlling terminal.
const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Reads a regular file of at most `limit` bytes. Anything else is refused unopened: a writer
/// notices when its pipe is opened, and opening a device may do anything.
///
/// Blocks, for as long as the file system does not answer.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    refuse_special(fs::metadata(path)?.file_type())?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(FLAGS.bits().cast_signed())
        .open(path)?;
    refuse_special(file.metadata()?.file_type())?;
    read_from(file, limit)
}

/// Like [`read`], for UTF-8 text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text"))
}

/// Reads all of `source`. Fails with [`FileTooLarge`](ErrorKind::FileTooLarge) beyond `limit`
/// bytes.
///
/// Blocks until the source ends.
pub fn read_from(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file of exactly the limit from a longer one.
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is longer than {}", size(limit));
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn refuse_special(found: FileType) -> io::Result<()> {
    let what = match found {
        found if found.is_file() => return Ok(()),
        found if found.is_dir() => "a folder",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    };
    let message = format!("it is {what}, not a regular file");
    Err(io::Error::new(ErrorKind::InvalidInput, message))
}

fn size(bytes: u64) -> impl Display {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn refused(path: &Path) -> String {
        read(path, 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn anything_but_a_regular_file_is_refused_by_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // It never has a writer.
        let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("link")).unwrap();
        let refusal_of = |what| format!("it is {what}, not a regular file");
        assert_eq!(refused(folder.path()), refusal_of("a folder"));
        assert_eq!(refused(&path("pipe")), refusal_of("a pipe"));
        assert_eq!(refused(&path("socket")), refusal_of("a socket"));
        assert_eq!(refused(Path::new("/dev/zero")), refusal_of("a device"));
        assert_eq!(refused(&path("link")), refusal_of("a device"));
    }

    #[test]
    fn a_file_of_the_limit_is_read_and_a_longer_one_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (limit, said) in [(1 << 20, "1 MiB"), (4 << 10, "4 KiB"), (1000, "1000 bytes")] {
            fs::write(&path, vec![b'a'; limit]).unwrap();
            assert_eq!(read_text(&path, limit as u64).unwrap().len(), limit);
            fs::write(&path, vec![b'a'; limit + 1]).unwrap();
            let error = read(&path, limit as u64).unwrap_err();
            assert_eq!(error.to_string(), format!("it is longer than {said}"));
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [0xff; 4]).unwrap();
        assert_eq!(
            read_text(&path, 100).unwrap_err().to_string(),
            "it is not text"
        );
    }
}
