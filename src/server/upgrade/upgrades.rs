//! The daemon's view of upgrades: the process that it took over from, and the one that may
//! take over from it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, kill_process};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::child::Child;
use super::hand_over::Handover;
use super::message::{self, HandoverMessage, Outbox};
use super::notice::{Notice, SocketRequest};
use super::request_socket::RequestSocket;
use super::state::HandoverState;
use super::take_over::{self, Inherited, Predecessor, ServingProof, TakeOverError};
use super::timing::STEP_TIMEOUT;
use crate::observe::kind;
use crate::server::signals::Signals;

/// What the daemon has to do for an upgrade.
#[derive(Debug)]
pub(in crate::server) enum UpgradeEvent {
    /// A new process asks for the sockets, to be given by [`Upgrades::hand_over`].
    Asked(SocketRequest),
    /// A new process serves on them: this one is to shut down.
    Replaced,
    /// The predecessor has confirmed this process: it is to scale, and to call
    /// [`Upgrades::take_place`].
    Confirmed,
    /// The predecessor goes on: this process is to end.
    Refused,
}

/// The daemon's side of upgrades.
#[derive(Debug)]
pub(in crate::server) struct Upgrades {
    sender: mpsc::UnboundedSender<Notice>,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// Set until it has confirmed this process.
    predecessor: Option<Predecessor>,
    init: Option<InitProcess>,
    /// The configured path of the request socket.
    path: Option<PathBuf>,
    request_socket: Option<RequestSocket>,
    /// A process that this one has started.
    child: Option<Child>,
    /// Why that process has given up, until it has ended.
    failure: Option<io::Error>,
    /// The handover to a process that is not confirmed yet.
    handover: Option<PendingHandover>,
    /// The id of the process that serves in this one's place.
    successor: Option<i32>,
}

fn log_failure(error: &io::Error) {
    warn!(event = kind::HANDOVER, %error, "the new process gave up; this one goes on");
}

/// A handover that may still fail.
#[derive(Debug)]
struct PendingHandover {
    outbox: Outbox,
    task: AbortHandle,
    is_child: bool,
}

/// The connection to the first process of a container, on which successors report to it.
#[derive(Debug)]
enum InitProcess {
    /// It is the predecessor, which knows this process anyway.
    Predecessor(OwnedFd),
    /// It was there before the predecessor.
    Earlier(OwnedFd),
}

impl Default for Upgrades {
    fn default() -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        Self {
            sender,
            notices,
            predecessor: None,
            init: None,
            path: None,
            request_socket: None,
            child: None,
            failure: None,
            handover: None,
            successor: None,
        }
    }
}

impl Upgrades {
    /// Takes the sockets of the process that listens at `path`.
    pub(in crate::server) async fn take_over(
        &mut self,
        path: Option<&Path>,
    ) -> Result<Inherited, TakeOverError> {
        let path = path.ok_or(TakeOverError::NoSocket)?;
        let taken = take_over::take_over(path, self.sender.clone()).await?;
        self.predecessor = Some(taken.predecessor);
        self.init = Some(match taken.init {
            Some(init) => InitProcess::Earlier(init),
            None => InitProcess::Predecessor(taken.connection),
        });
        Ok(taken.inherited)
    }

    /// To be called when this process serves. Without a predecessor it listens for new
    /// processes; otherwise it reports to the predecessor and gets the answer as an event.
    pub(in crate::server) fn serving(&mut self, path: Option<&Path>, proof: ServingProof) {
        self.path = path.map(Path::to_owned);
        match &mut self.predecessor {
            Some(predecessor) => predecessor.serving(proof),
            None => self.listen(),
        }
    }

    /// Takes the place of the predecessor.
    pub(in crate::server) async fn take_place(&mut self) {
        info!("taking the place of the Weir that ran before");
        self.predecessor = None;
        self.listen();
        let pid = std::process::id();
        if let Some(InitProcess::Earlier(connection)) = &self.init {
            // An error means that it has ended, as it does outside of a container.
            let _ = introduce(connection, pid.cast_signed()).await;
        }
    }

    /// Whether this process has a predecessor that has not retired.
    pub(in crate::server) fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Listens for new processes at another path, or no longer.
    pub(in crate::server) fn move_to(&mut self, path: Option<&Path>) {
        self.path = path.map(Path::to_owned);
        if self.predecessor.is_none() {
            self.listen();
        }
    }

    fn listen(&mut self) {
        if self.request_socket.as_ref().map(|socket| &socket.path) == self.path.as_ref() {
            return;
        }
        self.request_socket = None;
        let Some(path) = &self.path else { return };
        match RequestSocket::bind(path, self.sender.clone()) {
            Ok(socket) => self.request_socket = Some(socket),
            Err(error) => {
                let path = path.display();
                error!(%path, %error, "cannot listen for an upgrade; SIGUSR2 and --upgrade do nothing");
            }
        }
    }

    /// The next event. Cancel-safe.
    pub(in crate::server) async fn next(&mut self) -> UpgradeEvent {
        loop {
            // Never `None`, because `self` has a sender.
            let Some(notice) = self.notices.recv().await else {
                continue;
            };
            match notice {
                Notice::Asked(request) => return UpgradeEvent::Asked(request),
                Notice::Replaced(pid) => {
                    self.replaced(pid);
                    return UpgradeEvent::Replaced;
                }
                Notice::Confirmed if self.predecessor.is_some() => {
                    return UpgradeEvent::Confirmed;
                }
                Notice::Refused(reason) => {
                    warn_of_refusal(&reason);
                    return UpgradeEvent::Refused;
                }
                Notice::Failed(error) => self.failed(error),
                Notice::ChildEnded => self.child_ended(),
                Notice::Current(_) | Notice::SuccessorsEnded | Notice::Confirmed => {}
            }
        }
    }

    fn replaced(&mut self, pid: i32) {
        info!(
            event = kind::HANDOVER,
            pid, "a new process serves in this one's place"
        );
        self.successor = Some(pid);
        self.handover = None;
        self.request_socket = None;
        if let Some(child) = &self.child {
            child.release();
        }
    }

    fn failed(&mut self, error: io::Error) {
        let handover = self.handover.take();
        let is_child = handover.is_some_and(|handover| handover.is_child);
        match self.child.as_ref().filter(|_| is_child) {
            Some(child) => {
                child.kill();
                self.failure = Some(error);
            }
            None => log_failure(&error),
        }
    }

    /// From now on another process may be started, and the log says so only now.
    fn child_ended(&mut self) {
        self.child = None;
        if let Some(error) = self.failure.take() {
            log_failure(&error);
        }
    }

    /// Gives the sockets to a process that asks, unless another is about to start on them.
    pub(in crate::server) fn hand_over(
        &mut self,
        request: SocketRequest,
        state: io::Result<HandoverState>,
    ) {
        let refuse = |reason: &str| {
            let message = HandoverMessage::Refused(reason.to_owned());
            request.outbox.try_send(message);
        };
        if self.handover.is_some() || self.successor.is_some() {
            warn!(
                pid = request.pid,
                "an upgrade is under way already; another process is refused"
            );
            return refuse("another process is taking its place already");
        }
        let copies = state.and_then(|state| Ok((state, self.connection_to_init()?)));
        let (state, init) = match copies {
            Ok(copies) => copies,
            Err(error) => {
                error!(event = kind::HANDOVER, %error, "cannot hand the sockets over");
                return refuse(&format!("it cannot hand the sockets over: {error}"));
            }
        };
        let child = self.child.as_ref().filter(|child| child.is(request.pid));
        if let Some(child) = child {
            child.asked();
        }
        let is_child = child.is_some();
        info!(
            event = kind::HANDOVER,
            pid = request.pid,
            "handing the listening sockets over to a new process"
        );
        let outbox = request.outbox.clone();
        let handover = Handover::run(request, state, init, self.sender.clone());
        let task = tokio::spawn(handover).abort_handle();
        self.handover = Some(PendingHandover {
            outbox,
            task,
            is_child,
        });
    }

    fn connection_to_init(&self) -> io::Result<Option<OwnedFd>> {
        let Some(InitProcess::Predecessor(connection) | InitProcess::Earlier(connection)) =
            &self.init
        else {
            return Ok(None);
        };
        connection.as_fd().try_clone_to_owned().map(Some)
    }

    /// Starts a new process, which then asks for the sockets.
    pub(in crate::server) fn start_successor(&mut self, command: fn() -> Command) {
        if self.handover.is_some() || self.child.is_some() || self.predecessor.is_some() {
            warn!("an upgrade is under way already; the signal starts no other process");
            return;
        }
        if self.request_socket.is_none() {
            let reason = match self.path {
                Some(_) => "it cannot listen at its `upgrade_socket`",
                None => "the configuration has no `upgrade_socket`",
            };
            error!("cannot be upgraded: {reason}");
            return;
        }
        let mut command = command();
        // With this variable the watchdog of systemd would be for the old process alone.
        command.env_remove("WATCHDOG_PID");
        match Child::spawn(command, self.sender.clone()) {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                error!(event = kind::HANDOVER, %error, "cannot start the new process; this one goes on");
            }
        }
    }

    /// Ends an upgrade that is not confirmed yet, and the new process with it: this process is
    /// to stop.
    pub(in crate::server) fn abort(&mut self) {
        self.request_socket = None;
        let Some(handover) = self.handover.take() else {
            if let Some(child) = self.child.as_ref().filter(|_| self.successor.is_none()) {
                child.kill();
            }
            return;
        };
        handover.task.abort();
        let reason = "it was told to stop".to_owned();
        handover.outbox.try_send(HandoverMessage::Refused(reason));
    }

    /// In the first process of a container, which must not end before it, waits for the last
    /// of its successors, and sends signals on to the one that serves. Returns at once in any
    /// other process.
    pub(in crate::server) async fn outlive_successors(mut self, signals: &mut Signals) {
        let Some(mut current) = self.successor.filter(|_| std::process::id() == 1) else {
            return;
        };
        info!("staying as the first process until the new one ends");
        loop {
            let signal = tokio::select! {
                notice = self.notices.recv() => match notice {
                    Some(Notice::Current(pid)) => {
                        current = pid;
                        continue;
                    }
                    Some(Notice::SuccessorsEnded) | None => return,
                    Some(_) => continue,
                },
                signal = signals.next() => signal,
            };
            if let Some(pid) = Pid::from_raw(current)
                && let Err(error) = kill_process(pid, signal)
            {
                warn!(pid = current, ?signal, %error, "cannot send a signal on to the process that serves");
            }
        }
    }
}

fn warn_of_refusal(reason: &str) {
    warn!(
        event = kind::HANDOVER,
        "the Weir that ran before goes on, and this one ends: {reason}"
    );
}

/// Tells the first process of a container which process serves now.
async fn introduce(connection: &OwnedFd, pid: i32) -> io::Result<()> {
    let stream = std::os::unix::net::UnixStream::from(connection.as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let message = HandoverMessage::Serving(pid);
    timeout(STEP_TIMEOUT, message::send(&stream, &message, &[])).await?
}

#[cfg(test)]
mod tests;
