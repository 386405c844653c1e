//! A new process takes the place of a running one, and no client notices.
//!
//! The running process listens at the `upgrade_socket`. A new one connects and asks, is given
//! copies of every listening socket, starts on them, and says when it serves. Both accept from
//! the same queues then. The old one watches the new one for a few seconds, and only then
//! confirms it and shuts down as it always does. Until that moment the old process has given
//! up nothing: it accepts, checks, scales and runs its replicas, so a new process that fails,
//! hangs or dies leaves everything as it was.
//!
//! Each process runs the replicas of its own `command` groups. The old process scales until it
//! has confirmed the new one, which keeps to the counts that were handed over until then.
//! Requests in flight are told to the other process, and take places on their targets there,
//! so that `max_concurrency` holds over both.
//!
//! Every step has a deadline on both sides, and nothing here blocks: a peer that is silent or
//! slow is in the way of no other, nor of the end of the process.
//!
//! In a container the first process is the one whose end ends the container. It stays as the
//! init process when everything else of it is over: it hands its signals on, and ends with
//! the last of its successors, each of which gets the connection to it from the one before.

mod child;
mod in_flight;
mod message;
mod offer;
mod predecessor;
mod successor;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::signals::Signals;
use child::Child;
use message::{HandoverMessage, Outbox};
use offer::{Asking, Offer};
pub(super) use predecessor::Live;
use predecessor::Predecessor;
pub use predecessor::{Inherited, TakeOverError};
use successor::Handover;
pub(super) use successor::HandoverState;

/// Longest wait for one message, or for one to be written.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a new process between the sockets and its word that it serves: its
/// targets are checked first.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Between reports of the requests in flight.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Between attempts to accept while that fails.
const BACK_OFF: Duration = Duration::from_secs(1);

/// What the tasks of a handover tell the daemon.
#[derive(Debug)]
enum Notice {
    /// A process wants the sockets.
    Asked(Asking),
    /// It does not take over.
    Failed(io::Error),
    /// It serves, under this process id, and was confirmed.
    Replaced(i32),
    /// A later process serves, under this id.
    Current(i32),
    /// The last process after this one has ended.
    Outlived,
    /// The process that was started here has ended.
    ChildEnded,
    /// The process before this one retires, or has ended.
    Confirmed,
    /// The process before this one goes on.
    Refused(String),
}

/// Something an upgrade asks of the daemon.
#[derive(Debug)]
pub(super) enum Event {
    /// A new process wants the sockets.
    Asked(Asking),
    /// A new process has them and serves: this one is to shut down.
    Replaced,
    /// This process is the one that runs.
    Confirmed,
    /// The process before this one goes on: this one is to end.
    Refused,
}

/// The daemon's side of upgrades: what it took over from, what may take over from it.
#[derive(Debug)]
pub(super) struct Upgrades {
    notices: mpsc::UnboundedSender<Notice>,
    heard: mpsc::UnboundedReceiver<Notice>,
    predecessor: Option<Predecessor>,
    init: Option<InitProcess>,
    /// Where new processes are to ask.
    path: Option<PathBuf>,
    offer: Option<Offer>,
    /// The one that this process has started.
    child: Option<Child>,
    /// The one that asked and is not confirmed yet.
    handover: Option<UnderWay>,
    /// The one that serves in this one's place.
    successor: Option<i32>,
}

/// A handover that may still fail.
#[derive(Debug)]
struct UnderWay {
    outbox: Outbox,
    task: AbortHandle,
    is_child: bool,
}

/// The connection on which the first process of a container hears of its successors.
#[derive(Debug)]
enum InitProcess {
    /// It is the predecessor, and hears of this process anyway.
    Predecessor(OwnedFd),
    /// It was there before the predecessor.
    Earlier(OwnedFd),
}

impl Default for Upgrades {
    fn default() -> Self {
        let (notices, heard) = mpsc::unbounded_channel();
        Self {
            notices,
            heard,
            predecessor: None,
            init: None,
            path: None,
            offer: None,
            child: None,
            handover: None,
            successor: None,
        }
    }
}

impl Upgrades {
    /// The sockets of the process that runs now.
    pub(super) async fn take_over(
        &mut self,
        path: Option<&Path>,
    ) -> Result<Inherited, TakeOverError> {
        let path = path.ok_or(TakeOverError::NoSocket)?;
        let taken = predecessor::take_over(path, self.notices.clone()).await?;
        self.predecessor = Some(taken.predecessor);
        self.init = Some(match taken.init {
            Some(init) => InitProcess::Earlier(init),
            None => InitProcess::Predecessor(taken.connection),
        });
        Ok(taken.inherited)
    }

    /// This process serves. One without a predecessor is the one that runs; any other tells
    /// its predecessor, and is [`Event::Confirmed`] by that.
    pub(super) fn serving(&mut self, path: Option<&Path>, live: Live) {
        self.path = path.map(Path::to_owned);
        match &mut self.predecessor {
            Some(predecessor) => predecessor.serving(live),
            None => self.listen(),
        }
    }

    /// Takes the place of the process before.
    pub(super) async fn take_place(&mut self) {
        info!("taking the place of the Weir that ran before");
        self.predecessor = None;
        self.listen();
        let pid = std::process::id();
        if let Some(InitProcess::Earlier(connection)) = &self.init {
            // Outside of a container it has ended long ago.
            let _ = introduce(connection, pid.cast_signed()).await;
        }
    }

    /// Whether there is a process before this one that has not retired.
    pub(super) fn is_successor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Offers the sockets at another place, or no longer.
    pub(super) fn move_to(&mut self, path: Option<&Path>) {
        self.path = path.map(Path::to_owned);
        if self.predecessor.is_none() {
            self.listen();
        }
    }

    fn listen(&mut self) {
        if self.offer.as_ref().map(|offer| &offer.path) == self.path.as_ref() {
            return;
        }
        self.offer = None;
        let Some(path) = &self.path else { return };
        match Offer::at(path, self.notices.clone()) {
            Ok(offer) => self.offer = Some(offer),
            Err(error) => {
                let path = path.display();
                error!(%path, %error, "cannot listen for an upgrade; SIGUSR2 and --upgrade do nothing");
            }
        }
    }

    /// What happens next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            // Never `None`: one sender is here.
            let Some(notice) = self.heard.recv().await else {
                continue;
            };
            match notice {
                Notice::Asked(asking) => return Event::Asked(asking),
                Notice::Replaced(pid) => {
                    self.replaced(pid);
                    return Event::Replaced;
                }
                Notice::Confirmed if self.predecessor.is_some() => return Event::Confirmed,
                Notice::Refused(reason) => {
                    warn_of_refusal(&reason);
                    return Event::Refused;
                }
                Notice::Failed(error) => self.failed(&error),
                Notice::ChildEnded => self.child = None,
                Notice::Current(_) | Notice::Outlived | Notice::Confirmed => {}
            }
        }
    }

    fn replaced(&mut self, pid: i32) {
        info!(pid, "a new process serves in this one's place");
        self.successor = Some(pid);
        self.handover = None;
        self.offer = None;
        if let Some(child) = &self.child {
            child.leave();
        }
    }

    fn failed(&mut self, error: &io::Error) {
        warn!(%error, "the new process gave up; this one goes on");
        let handover = self.handover.take();
        if handover.is_some_and(|handover| handover.is_child)
            && let Some(child) = &self.child
        {
            child.kill();
        }
    }

    /// Gives the sockets to the process that asks, unless another is about to start on them.
    pub(super) fn hand_over(&mut self, asking: Asking, state: io::Result<HandoverState>) {
        let refuse = |reason: &str| {
            let message = HandoverMessage::Refused(reason.to_owned());
            asking.outbox.try_send(message);
        };
        if self.handover.is_some() || self.successor.is_some() {
            warn!(
                pid = asking.pid,
                "an upgrade is under way already; another process is refused"
            );
            return refuse("another process is taking its place already");
        }
        let copies = state.and_then(|state| Ok((state, self.connection_to_init()?)));
        let (state, init) = match copies {
            Ok(copies) => copies,
            Err(error) => {
                error!(%error, "cannot hand the sockets over");
                return refuse(&format!("it cannot hand the sockets over: {error}"));
            }
        };
        let child = self.child.as_ref().filter(|child| child.is(asking.pid));
        if let Some(child) = child {
            child.asked();
        }
        let is_child = child.is_some();
        info!(
            pid = asking.pid,
            "handing the listening sockets over to a new process"
        );
        let outbox = asking.outbox.clone();
        let handover = Handover::run(asking, state, init, self.notices.clone());
        let task = tokio::spawn(handover).abort_handle();
        self.handover = Some(UnderWay {
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

    /// Starts the program anew; it asks for the sockets by itself.
    pub(super) fn start_successor(&mut self, command: fn() -> Command) {
        if self.handover.is_some() || self.child.is_some() || self.predecessor.is_some() {
            warn!("an upgrade is under way already; the signal starts no other process");
            return;
        }
        if self.offer.is_none() {
            let reason = match self.path {
                Some(_) => "it cannot listen at its `upgrade_socket`",
                None => "the configuration has no `upgrade_socket`",
            };
            error!("cannot be upgraded: {reason}");
            return;
        }
        let mut command = command();
        // The watchdog of systemd is meant for whichever process serves.
        command.env_remove("WATCHDOG_PID");
        match Child::spawn(command, self.notices.clone()) {
            Ok(child) => self.child = Some(child),
            Err(error) => error!(%error, "cannot start the new process; this one goes on"),
        }
    }

    /// Ends what is under way: this process is to stop, and a new one that is not confirmed
    /// yet with it.
    pub(super) fn abort(&mut self) {
        self.offer = None;
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

    /// The end of the first process of a container ends the container: it waits for its
    /// successors and hands its signals on. Any other ends at once.
    pub(super) async fn outlive(mut self, signals: &mut Signals) {
        let Some(mut current) = self.successor.filter(|_| std::process::id() == 1) else {
            return;
        };
        info!("staying as the first process until the new one ends");
        loop {
            let signal = tokio::select! {
                notice = self.heard.recv() => match notice {
                    Some(Notice::Current(pid)) => {
                        current = pid;
                        continue;
                    }
                    Some(Notice::Outlived) | None => return,
                    Some(_) => continue,
                },
                signal = signals.next() => signal,
            };
            if let Some(pid) = Pid::from_raw(current)
                && let Err(error) = kill_process(pid, signal)
            {
                warn!(%error, "cannot hand a signal on");
            }
        }
    }
}

fn warn_of_refusal(reason: &str) {
    warn!("the Weir that ran before goes on, and this one ends: {reason}");
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
