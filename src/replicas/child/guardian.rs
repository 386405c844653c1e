//! What Weir has started ends with Weir, however Weir ends.
//!
//! A process that is killed cannot clean up, and the kernel's own help reaches its direct
//! children alone. So a small second process, the guardian, receives the id of each process
//! group that is to end with Weir, over a socket. Only Weir holds the other end: when that
//! closes, Weir has ended, and the guardian ends every group that is still on its list. Weir
//! starts another guardian when one ends, and sends it the whole list.
//!
//! What leaves its process group (`setsid`) is out of reach. A guardian that is killed in the
//! same moment as Weir ends nothing; its process is not called `weir`, so that no command which
//! kills by that name takes both.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::SendFlags;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::replicas::backoff::Backoff;

/// Between SIGTERM and SIGKILL, for what Weir has left behind.
const TERM_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two checks whether all of it has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How long Weir waits at its end for its guardian, which has nothing to do by then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An operation and the id of a group: short enough to be sent whole or not at all.
type Message = [u8; 5];

const ADD: u8 = b'+';
const REMOVE: u8 = b'-';

fn message(operation: u8, group: i32) -> Message {
    let [a, b, c, d] = group.to_ne_bytes();
    [operation, a, b, c, d]
}

/// Weir's side: keeps the list of process groups that end with Weir. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Guardian(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    list: Mutex<GroupList>,
    phase: watch::Sender<Phase>,
    /// Notified when the guardian does not read what it is sent.
    is_stuck: Notify,
}

#[derive(Debug, Default)]
struct GroupList {
    groups: BTreeSet<i32>,
    /// While a guardian runs. Closing it makes the guardian end every group.
    socket: Option<Arc<GuardianSocket>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to guard yet.
    Idle,
    Guarding,
    /// Everything has been stopped.
    Closed,
}

/// Weir's end of the socket to the guardian process.
#[derive(Debug)]
pub(super) struct GuardianSocket(UnixStream);

impl Default for Shared {
    fn default() -> Self {
        Self {
            list: Mutex::default(),
            phase: watch::Sender::new(Phase::Idle),
            is_stuck: Notify::new(),
        }
    }
}

impl Guardian {
    /// Runs the guardian process from the first [`Self::prepare`] to [`Self::close`], and starts
    /// it again when it ends. `command` starts a process that calls [`guard`] with its standard
    /// input.
    pub(crate) async fn run(&self, command: fn() -> Command) {
        let mut phase = self.0.phase.subscribe();
        let mut backoff = Backoff::of_restarts();
        let mut is_reported = false;
        // The sender is in `self`: it does not fail.
        drop(phase.wait_for(|phase| *phase != Phase::Idle).await);
        while *phase.borrow_and_update() != Phase::Closed {
            let started = Instant::now();
            match self.start(command) {
                Ok(child) => {
                    is_reported = false;
                    self.watch(child, &mut phase).await;
                }
                Err(error) if !is_reported => {
                    is_reported = true;
                    warn!(%error, "cannot start the guardian process, trying again; until then what replicas have started outlives a Weir that is killed");
                }
                Err(_) => {}
            }
            // After the wait and after a close the loop checks the phase.
            let _ = timeout(backoff.after_exit(started.elapsed()), closed(&mut phase)).await;
        }
    }

    /// Starts a guardian process and sends it the whole list.
    fn start(&self, command: fn() -> Command) -> io::Result<Child> {
        let (ours, theirs) = UnixStream::pair()?;
        let socket = GuardianSocket(ours);
        let mut list = self.list();
        // Before the process starts: with half of the list it would end that half.
        socket.send(&list.messages())?;
        let mut command = tokio::process::Command::from(command());
        command
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn()?;
        list.socket = Some(Arc::new(socket));
        Ok(child)
    }

    /// Returns when the guardian process has ended.
    async fn watch(&self, mut guardian: Child, phase: &mut watch::Receiver<Phase>) {
        tokio::select! {
            status = guardian.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                warn!(%status, "guardian process exited, starting another");
            }
            () = self.0.is_stuck.notified() => {
                warn!("guardian process does not read its socket, starting another");
                // Before the socket closes: it would end every group.
                let _ = guardian.kill().await;
            }
            () = closed(phase) => {
                self.list().socket = None;
                let _ = timeout(CLOSE_TIMEOUT, guardian.wait()).await;
            }
        }
        self.list().socket = None;
    }

    /// Starts the guardian process if it does not run: there will be processes to guard.
    pub(crate) fn prepare(&self) {
        self.0.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Idle;
            if is_first {
                *phase = Phase::Guarding;
            }
            is_first
        });
    }

    /// Ends the guardian process: everything has been stopped.
    pub(crate) fn close(&self) {
        self.0.phase.send_replace(Phase::Closed);
    }

    /// What a new process announces itself on, while a guardian runs.
    pub(super) fn socket(&self) -> Option<Arc<GuardianSocket>> {
        self.list().socket.clone()
    }

    /// The group ends with Weir from now on.
    pub(super) fn add(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut list = self.list();
        list.groups.insert(group);
        self.send(&list, ADD, group);
    }

    /// The group has ended, or may outlive Weir.
    pub(super) fn remove(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut list = self.list();
        list.groups.remove(&group);
        self.send(&list, REMOVE, group);
    }

    fn send(&self, list: &GroupList, operation: u8, group: i32) {
        // Without a socket: the next guardian is sent the whole list.
        if let Some(socket) = &list.socket
            && socket.send(&message(operation, group)).is_err()
        {
            self.0.is_stuck.notify_one();
        }
    }

    fn list(&self) -> MutexGuard<'_, GroupList> {
        // Each change of the list is one step.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupList {
    /// The messages that add all groups.
    fn messages(&self) -> Vec<u8> {
        self.groups
            .iter()
            .flat_map(|group| message(ADD, *group))
            .collect()
    }
}

impl GuardianSocket {
    /// Announces the process group that the calling process leads. Async-signal-safe, for the
    /// time between fork and exec: two system calls, no lock, no allocation.
    pub(super) fn announce(&self) {
        let group = rustix::process::getpid().as_raw_nonzero().get();
        // The parent sends it again, and notices if that fails.
        let _ = self.send(&message(ADD, group));
    }

    /// Does not wait, and raises no signal. Fails if not all bytes fit.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::net::send(self.0.as_fd(), bytes, flags)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

async fn closed(phase: &mut watch::Receiver<Phase>) {
    // Without a sender it cannot be closed any more.
    drop(phase.wait_for(|phase| *phase == Phase::Closed).await);
}

/// The guardian's side, for a process of its own that ignores signals: reads until Weir ends,
/// then ends what Weir has left behind. Fails if `standard_input` is not a socket.
pub async fn guard(standard_input: BorrowedFd<'_>) -> io::Result<()> {
    let stream = UnixStream::from(standard_input.try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let groups = receive(tokio::net::UnixStream::from_std(stream)?).await;
    end(&groups).await;
    Ok(())
}

/// Returns the groups on the list when the socket closes.
async fn receive(socket: impl AsyncRead + Unpin) -> BTreeSet<i32> {
    let mut socket = BufReader::new(socket);
    let mut groups = BTreeSet::new();
    let mut message: Message = Default::default();
    while socket.read_exact(&mut message).await.is_ok() {
        let [operation, a, b, c, d] = message;
        let group = i32::from_ne_bytes([a, b, c, d]);
        match operation {
            ADD => groups.insert(group),
            _ => groups.remove(&group),
        };
    }
    groups
}

async fn end(groups: &BTreeSet<i32>) {
    let groups: Vec<Pid> = groups.iter().filter_map(|id| Pid::from_raw(*id)).collect();
    let signal = |signal| {
        for group in &groups {
            // Fails if it has ended by now.
            let _ = rustix::process::kill_process_group(*group, signal);
        }
    };
    let is_alive = |group: &Pid| rustix::process::test_kill_process_group(*group).is_ok();
    let all_ended = async {
        while groups.iter().any(is_alive) {
            sleep(CHECK_INTERVAL).await;
        }
    };
    signal(Signal::TERM);
    let _ = timeout(TERM_TIMEOUT, all_ended).await;
    signal(Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: i32) -> Pid {
        Pid::from_raw(id).unwrap()
    }

    /// A guardian with the other end of its socket.
    fn connected() -> (Guardian, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let guardian = Guardian::default();
        guardian.list().socket = Some(Arc::new(GuardianSocket(ours)));
        (guardian, tokio::net::UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn the_list_holds_what_was_added_and_not_removed() {
        let (guardian, socket) = connected();
        guardian.add(group(7));
        guardian.add(group(8));
        guardian.add(group(8));
        guardian.remove(group(8));
        guardian.add(group(9));
        drop(guardian);
        assert_eq!(receive(socket).await, BTreeSet::from([7, 9]));
    }

    #[tokio::test]
    async fn a_process_announces_itself() {
        let (guardian, socket) = connected();
        guardian.socket().unwrap().announce();
        drop(guardian);
        let own = std::process::id().cast_signed();
        assert_eq!(receive(socket).await, BTreeSet::from([own]));
    }

    #[tokio::test]
    async fn a_guardian_that_does_not_read_blocks_nothing_and_is_noticed() {
        let (guardian, _socket) = connected();
        for id in 1..100_000 {
            guardian.add(group(id));
        }
        guardian.0.is_stuck.notified().await;
        assert_eq!(
            guardian.list().groups.len(),
            99_999,
            "kept for the next one"
        );
    }

    #[tokio::test]
    async fn a_guardian_that_has_ended_is_noticed_without_a_signal() {
        let (guardian, socket) = connected();
        drop(socket);
        guardian.add(group(1));
        guardian.0.is_stuck.notified().await;
    }

    #[tokio::test]
    async fn without_a_process_to_guard_none_is_started() {
        let guardian = Guardian::default();
        guardian.close();
        guardian.run(|| panic!("started")).await;
    }
}
