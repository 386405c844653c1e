//! The Unix socket at which a new process asks for the listening sockets.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::message::{HandoverMessage, exchange};
use super::notice::{Notice, SocketRequest};
use crate::net::{bind_file, check_replaceable};

/// Mode of the socket's file: for processes of the same user only.
const MODE: u32 = 0o600;

/// Connections that may wait to be accepted; there is seldom more than one.
const BACKLOG: i32 = 16;

/// Pause between attempts to accept while that fails.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A socket at which new processes ask. Dropping it closes the socket.
#[derive(Debug)]
pub(super) struct RequestSocket {
    pub(super) path: PathBuf,
    accepting: AbortHandle,
}

impl RequestSocket {
    /// Listens at `path` and reports each process that asks for the sockets.
    pub(super) fn bind(path: &Path, notices: mpsc::UnboundedSender<Notice>) -> io::Result<Self> {
        let listener = listen(path)?;
        Ok(Self {
            path: path.to_owned(),
            accepting: tokio::spawn(accept(listener, notices)).abort_handle(),
        })
    }
}

impl Drop for RequestSocket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens in the place of an earlier process, for processes of the same user. Refuses to replace a
/// file that is no socket.
fn listen(path: &Path) -> io::Result<UnixListener> {
    check_replaceable(path)?;
    // Bound beside the old socket and renamed over it, so that one can always be connected to.
    let next = path.with_extension(format!("{}.next", std::process::id()));
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = bind_file(&next, Some(MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    std::fs::rename(&next, path).inspect_err(|_| {
        // A file that stays is replaced by the next attempt.
        let _ = std::fs::remove_file(&next);
    })?;
    UnixListener::from_std(socket)
}

async fn accept(listener: UnixListener, notices: mpsc::UnboundedSender<Notice>) {
    // Aborted with this task.
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = requests.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                requests.spawn(receive_request(stream, notices.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept at the upgrade socket; trying again in {BACK_OFF:?}");
                sleep(BACK_OFF).await;
            }
        }
    }
}

/// Waits for the first message of a process, in a task of its own: a process that sends nothing
/// delays no other.
async fn receive_request(stream: UnixStream, notices: mpsc::UnboundedSender<Notice>) {
    let pid = match check_peer(&stream) {
        Ok(pid) => pid,
        Err(error) => {
            warn!(%error, "a process that asks for the sockets is refused");
            return;
        }
    };
    let (outbox, mut inbox) = exchange(stream);
    match inbox.next_in_time().await {
        Ok((HandoverMessage::Hello, _)) => {
            // Fails only when the daemon ends.
            let _ = notices.send(Notice::Asked(SocketRequest { outbox, inbox, pid }));
        }
        Ok((message, _)) => debug!(?pid, ?message, "not expected as a first message"),
        Err(error) => {
            warn!(?pid, %error, "a process connected to the upgrade socket and did not ask for the sockets");
        }
    }
}

/// Fails unless the process at the other end runs as the same user, or as root. Returns its
/// process id, where the system tells.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<Option<i32>> {
    let peer = stream.peer_cred()?;
    let (theirs, own) = (peer.uid(), geteuid().as_raw());
    if theirs == own || theirs == 0 {
        return Ok(peer.pid());
    }
    let message = format!("it runs as user {theirs}, and this one as user {own}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        for _ in 0..2 {
            let _listener = listen(&path).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "not to be lost").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not to be lost");
        // Nor is a link to one.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(listen(&link).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_sends_nothing_delays_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let (sender, mut notices) = mpsc::unbounded_channel();
        let _socket = RequestSocket::bind(&path, sender).unwrap();
        let silent = UnixStream::connect(&path).await.unwrap();
        let (outbox, _inbox) = exchange(UnixStream::connect(&path).await.unwrap());
        outbox
            .send(HandoverMessage::Hello, Vec::new())
            .await
            .unwrap();
        let Some(Notice::Asked(request)) = notices.recv().await else {
            panic!("asked");
        };
        assert_eq!(request.pid, Some(std::process::id().cast_signed()));
        // In the end the silent one is disconnected.
        silent.readable().await.unwrap();
        assert_eq!(silent.try_read(&mut [0]).unwrap(), 0);
    }
}
