//! Unix sockets that listen, and the files which stand for them.
//!
//! A file outlives its socket. One that was left over is replaced; one behind which a process
//! listens is not, and no file that is anything else is touched. What this process has made it
//! removes, unless another process has put something else there or takes the socket over.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::debug;

/// Why a file is in the way.
const NO_SOCKET: &str = "there is a file that is no socket, and it is not replaced";

/// The file of a Unix socket. Dropping it removes the file, if that is this process's to do.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
    is_owned: bool,
}

/// What tells a file from another one at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Binds a Unix socket, in the place of a file that was left over. It does not listen yet.
pub(super) fn reserve(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    check_replaceable(path)?;
    match is_live(path) {
        Ok(true) => {
            let message = "another process listens there, or this one does by another name";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(false) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = bind_file(path, mode)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: FileIdentity::of(path)?,
        is_owned: true,
    };
    Ok((socket, file))
}

/// Fails if there is a file that is no socket.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, NO_SOCKET))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Binds a Unix socket, which does not block and does not listen yet. With a mode, no other user
/// can connect to it at any time: the mode of the socket becomes that of its file, as far as the
/// umask leaves it, and the rest is added before it listens.
pub fn bind_file(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Some(mode) = mode {
        let file = File::from(OwnedFd::from(socket));
        file.set_permissions(Permissions::from_mode(mode))?;
        socket = Socket::from(OwnedFd::from(file));
    }
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode)).inspect_err(|_| {
            // The first error is the one to report.
            let _ = fs::remove_file(path);
        })?;
    }
    socket.set_nonblocking(true)?;
    Ok(OwnedFd::from(socket).into())
}

/// Whether a process listens behind the file. It gets a connection on which nothing is said.
fn is_live(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue is to be an error, and not to be waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::CONNREFUSED) => Ok(false),
            // The queue is full, or the socket is of another type.
            Some(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
            _ => Err(error),
        },
    }
}

impl SocketFile {
    /// The file of a socket that another process has bound and still answers for.
    pub fn of_predecessor(path: &Path, identity: FileIdentity) -> Self {
        Self {
            path: path.to_owned(),
            identity,
            is_owned: false,
        }
    }

    /// What tells it from another file at its path.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Whether this process is to remove it.
    pub fn is_owned(&self) -> bool {
        self.is_owned
    }

    /// Leaves it to this process to remove it, or to another one.
    pub fn set_owned(&mut self, is_owned: bool) {
        self.is_owned = is_owned;
    }

    /// Changes its permissions, unless there is something else in its place.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    fn is_there(&self) -> bool {
        FileIdentity::of(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_owned
            && self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            debug!(%path, %error, "cannot remove the file of a Unix socket; the next start replaces it");
        }
    }
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        (folder, path)
    }

    fn listening(path: &Path) -> (UnixListener, SocketFile) {
        let (socket, file) = reserve(path, None).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        (socket, file)
    }

    #[test]
    fn a_file_that_was_left_over_is_replaced_and_removed_in_the_end() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        let (socket, file) = listening(&path);
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_a_process_listens_on_is_left_alone() {
        let (_folder, path) = folder();
        let other = UnixListener::bind(&path).unwrap();
        let error = reserve(&path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains("another process listens"),
            "{error}"
        );
        // A full queue is no absence.
        let mut waiting = Vec::new();
        let waits = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(&path)?).map(|()| socket)
        };
        while let Ok(socket) = waits() {
            waiting.push(socket);
        }
        assert!(is_live(&path).unwrap());
        drop(other);
        assert!(!is_live(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert!(reserve(&path, None).is_err());
    }

    #[test]
    fn what_is_no_socket_is_never_touched() {
        let (folder, path) = folder();
        fs::write(&path, "not to be lost").unwrap();
        let error = reserve(&path, None).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(reserve(&link, None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "not to be lost");
    }

    #[test]
    fn a_file_that_another_process_has_put_there_is_not_removed() {
        let (folder, path) = folder();
        let (_socket, file) = listening(&path);
        // Bound beside it: the system gives no two files at a time the same number.
        let beside = folder.path().join("beside");
        let _other = UnixListener::bind(&beside).unwrap();
        fs::rename(&beside, &path).unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_left_to_another_process_is_not_removed() {
        let (_folder, path) = folder();
        let (_socket, mut file) = listening(&path);
        let mut inherited = SocketFile::of_predecessor(&path, file.identity());
        file.set_owned(false);
        drop(file);
        assert!(path.exists());
        assert!(!inherited.is_owned());
        inherited.set_owned(true);
        drop(inherited);
        assert!(!path.exists());
    }

    #[test]
    fn the_mode_is_the_configured_one_whatever_the_umask() {
        let (_folder, path) = folder();
        let (_socket, file) = reserve(&path, Some(0o666)).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o666);
        file.set_mode(0o600).unwrap();
        assert_eq!(mode(), 0o600);
    }
}
