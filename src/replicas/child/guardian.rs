//! What Weir has started ends with Weir, however Weir ends.
//!
//! A process that is killed cannot clean up, and the kernel's own help reaches its direct
//! children alone. So a small second process, the guardian, is told the id of each process
//! group that is to end with Weir. The other end of the line it is told on is Weir's alone: when
//! that closes, Weir has ended, and the guardian ends every group that is still on its list.
//! Weir starts another guardian when one dies, and tells it the list again.
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
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks at whether all of it is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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
    list: Mutex<List>,
    phase: watch::Sender<Phase>,
    /// The guardian does not take in what it is told.
    is_stuck: Notify,
}

#[derive(Debug, Default)]
struct List {
    groups: BTreeSet<i32>,
    /// While a guardian runs. Closing it makes the guardian end every group.
    line: Option<Arc<Line>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to guard yet.
    Idle,
    Guarding,
    /// Everything has been stopped.
    Closed,
}

/// The way to tell the guardian.
#[derive(Debug)]
pub(super) struct Line(UnixStream);

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
    /// Runs the guardian from the first [`Self::prepare`] to [`Self::close`], and again when it
    /// dies. `command` starts a process that calls [`guard`] with its standard input.
    pub(in crate::replicas) async fn keep(&self, command: fn() -> Command) {
        let mut phase = self.0.phase.subscribe();
        let mut backoff = Backoff::default();
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
                    warn!(%error, "cannot start the guardian of the replicas, trying again: what they have started would outlive a Weir that is killed");
                }
                Err(_) => {}
            }
            // Either way the loop looks again.
            let _ = timeout(backoff.after(started.elapsed()), closed(&mut phase)).await;
        }
    }

    /// Starts a guardian and tells it the whole list.
    fn start(&self, command: fn() -> Command) -> io::Result<Child> {
        let (ours, theirs) = UnixStream::pair()?;
        let line = Line(ours);
        let mut list = self.list();
        // Before there is a guardian: one that knew half of it would end that half.
        line.send(&list.messages())?;
        let mut command = tokio::process::Command::from(command());
        command
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn()?;
        list.line = Some(Arc::new(line));
        Ok(child)
    }

    /// Until the guardian has ended.
    async fn watch(&self, mut guardian: Child, phase: &mut watch::Receiver<Phase>) {
        tokio::select! {
            status = guardian.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                warn!(%status, "the guardian of the replicas ended, starting another");
            }
            () = self.0.is_stuck.notified() => {
                warn!("the guardian of the replicas does not listen, starting another");
                // Before the line closes: it would end every group.
                let _ = guardian.kill().await;
            }
            () = closed(phase) => {
                self.list().line = None;
                let _ = timeout(CLOSE_TIMEOUT, guardian.wait()).await;
            }
        }
        self.list().line = None;
    }

    /// There will be processes to guard.
    pub(in crate::replicas) fn prepare(&self) {
        self.0.phase.send_if_modified(|phase| {
            let is_first = *phase == Phase::Idle;
            if is_first {
                *phase = Phase::Guarding;
            }
            is_first
        });
    }

    /// Everything has been stopped.
    pub(in crate::replicas) fn close(&self) {
        self.0.phase.send_replace(Phase::Closed);
    }

    /// What a new process announces itself on, if a guardian runs.
    pub(super) fn line(&self) -> Option<Arc<Line>> {
        self.list().line.clone()
    }

    /// The group ends with Weir.
    pub(super) fn add(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut list = self.list();
        list.groups.insert(group);
        self.tell(&list, ADD, group);
    }

    /// The group has ended, or may outlive Weir.
    pub(super) fn remove(&self, group: Pid) {
        let group = group.as_raw_nonzero().get();
        let mut list = self.list();
        list.groups.remove(&group);
        self.tell(&list, REMOVE, group);
    }

    fn tell(&self, list: &List, operation: u8, group: i32) {
        // Without a line the next guardian is told the whole list.
        if let Some(line) = &list.line
            && line.tell(operation, group).is_err()
        {
            self.0.is_stuck.notify_one();
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Each change of the list is one step.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// What tells a guardian all of it.
    fn messages(&self) -> Vec<u8> {
        let groups = self.groups.iter();
        groups.flat_map(|group| message(ADD, *group)).collect()
    }
}

impl Line {
    /// Announces the process group that the calling process leads. Async-signal-safe, for the
    /// time between fork and exec: two system calls, no lock, no allocation.
    pub(super) fn announce(&self) {
        let group = rustix::process::getpid().as_raw_nonzero().get();
        // The parent says it again, and notices what is wrong with the line.
        let _ = self.tell(ADD, group);
    }

    /// Does not wait, and raises no signal.
    fn tell(&self, operation: u8, group: i32) -> io::Result<()> {
        self.send(&message(operation, group))
    }

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
    // Nothing can close it any more when the sender is gone.
    drop(phase.wait_for(|phase| *phase == Phase::Closed).await);
}

/// The guardian's side, for a process of its own that ignores signals: listens until Weir ends,
/// then ends what Weir has left behind. Fails when `standard_input` is no socket.
pub async fn guard(standard_input: BorrowedFd<'_>) -> io::Result<()> {
    let stream = UnixStream::from(standard_input.try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let groups = listen(tokio::net::UnixStream::from_std(stream)?).await;
    end(&groups).await;
    Ok(())
}

/// The groups on the list when the line closes.
async fn listen(line: impl AsyncRead + Unpin) -> BTreeSet<i32> {
    let mut line = BufReader::new(line);
    let mut groups = BTreeSet::new();
    let mut message: Message = Default::default();
    while line.read_exact(&mut message).await.is_ok() {
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
            // It may be gone by now.
            let _ = rustix::process::kill_process_group(*group, signal);
        }
    };
    let is_alive = |group: &Pid| rustix::process::test_kill_process_group(*group).is_ok();
    let all_gone = async {
        while groups.iter().any(is_alive) {
            sleep(LOOK_INTERVAL).await;
        }
    };
    signal(Signal::TERM);
    // Whoever is left after that has had its time.
    let _ = timeout(GRACE, all_gone).await;
    signal(Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: i32) -> Pid {
        Pid::from_raw(id).unwrap()
    }

    /// A guardian whose other end the test holds.
    fn connected() -> (Guardian, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let guardian = Guardian::default();
        guardian.list().line = Some(Arc::new(Line(ours)));
        (guardian, tokio::net::UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn the_list_holds_what_was_added_and_not_removed() {
        let (guardian, line) = connected();
        guardian.add(group(7));
        guardian.add(group(8));
        guardian.add(group(8));
        guardian.remove(group(8));
        guardian.add(group(9));
        drop(guardian);
        assert_eq!(listen(line).await, BTreeSet::from([7, 9]));
    }

    #[tokio::test]
    async fn a_process_announces_itself() {
        let (guardian, line) = connected();
        guardian.line().unwrap().announce();
        drop(guardian);
        let own = std::process::id().cast_signed();
        assert_eq!(listen(line).await, BTreeSet::from([own]));
    }

    #[tokio::test]
    async fn a_guardian_that_does_not_listen_keeps_nothing_waiting_and_is_noticed() {
        let (guardian, _line) = connected();
        for id in 1..100_000 {
            guardian.add(group(id));
        }
        guardian.0.is_stuck.notified().await;
        assert_eq!(guardian.list().groups.len(), 99_999, "for the next one");
    }

    #[tokio::test]
    async fn a_guardian_that_has_died_is_noticed_without_a_signal() {
        let (guardian, line) = connected();
        drop(line);
        guardian.add(group(1));
        guardian.0.is_stuck.notified().await;
    }

    #[tokio::test]
    async fn without_anything_to_guard_none_is_started() {
        let guardian = Guardian::default();
        guardian.close();
        guardian.keep(|| panic!("started")).await;
    }
}
