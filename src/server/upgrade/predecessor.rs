//! The new process: what it takes over from the one that runs, and how it answers for itself
//! until that one retires.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::in_flight::{RemoteCounts, Reporter};
use super::message::{HandoverMessage, Inbox, Outbox, exchange};
use super::offer::check_peer;
use super::{Notice, REPORT_INTERVAL, START_TIMEOUT, STEP_TIMEOUT};
use crate::config::{Config, TargetGroup};
use crate::model::ListenerId;
use crate::replicas::Wishes;
use crate::server::worker::Pulse;
use crate::state::{Reader, UsedTokens};

/// Sockets of the process before this one, of which those that a configuration does not use
/// are closed; how many replicas it had come to; and the requests it still has.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<(ListenerId, SocketAddr, Vec<TcpListener>)>,
    admin: Option<(SocketAddr, TcpListener)>,
    replicas: Wishes,
    in_flight: RemoteCounts,
    /// What clients have used of the rate limits of listeners, in parts.
    used_tokens: Vec<(ListenerId, UsedTokens)>,
    /// Whether there is a process before this one.
    is_successor: bool,
}

/// What the new process holds of the old one.
#[derive(Debug)]
pub(super) struct Predecessor {
    live: Option<oneshot::Sender<Live>>,
}

/// What a process that serves answers for itself with.
#[derive(Debug)]
pub(in crate::server) struct Live {
    pub(in crate::server) reader: Reader,
    pub(in crate::server) pulse: Pulse,
}

/// Why no process could be taken over from.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The configuration names no socket.
    #[error("the configuration has no `upgrade_socket`, so there is no process to take over from")]
    NoSocket,
    /// No process listens there, or it does not speak as it should.
    #[error("cannot take over from the Weir at {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It keeps its place.
    #[error("cannot take over from the Weir at {path}: {reason}")]
    Refused {
        /// The socket.
        path: PathBuf,
        /// As it says.
        reason: String,
    },
}

impl Inherited {
    /// The sockets of every listener, by its name and its address in the configuration. None
    /// are left for the next call.
    pub(in crate::server) fn listeners(
        &mut self,
    ) -> Vec<(ListenerId, SocketAddr, Vec<TcpListener>)> {
        std::mem::take(&mut self.listeners)
    }

    /// The socket of the admin listener, likewise.
    pub(in crate::server) fn admin(&mut self) -> Option<(SocketAddr, TcpListener)> {
        self.admin.take()
    }

    /// With how many replicas groups that scale begin: as many as they had come to, for the
    /// load that made it so many comes along with the sockets. What an engine runs goes on
    /// anyway, and a process that has never seen it does not know how many it is.
    pub(in crate::server) fn wishes(&mut self, config: &Config) -> Wishes {
        let mut left = std::mem::take(&mut self.replicas);
        let groups = config.target_groups.iter();
        let scaled = groups.filter_map(|group| group.autoscaling.as_ref().map(|_| group));
        let is_own = |group: &&TargetGroup| {
            let replicas = group.replicas.as_ref();
            replicas.is_some_and(|replicas| replicas.runner.is_own())
        };
        let own = scaled.filter(is_own);
        // Bounds, those of the schedule too, are the autoscaler's business.
        own.filter_map(|group| left.remove_entry(&group.id))
            .collect()
    }

    /// Whether another process scales until it has retired.
    pub(in crate::server) fn is_successor(&self) -> bool {
        self.is_successor
    }

    /// Counts the requests that the process before still has on their targets, and what
    /// clients have used of their rate limits. To be called before the first request is let
    /// in.
    pub(in crate::server) fn count_in(&self, reader: &Reader) {
        self.in_flight.apply(reader);
        let snapshot = reader.load_full();
        let now = std::time::Instant::now();
        for (id, used) in &self.used_tokens {
            let listener = snapshot.listeners().find(|listener| listener.id == *id);
            if let Some(limiter) = listener.and_then(|l| l.rate_limit.as_ref()) {
                limiter.resume(used, now);
            }
        }
    }

    fn add(&mut self, id: ListenerId, bind: SocketAddr, descriptors: Vec<OwnedFd>) {
        let sockets = descriptors.into_iter().map(TcpListener::from);
        let mut known = self.listeners.iter_mut();
        match known.find(|(name, addr, _)| *name == id && *addr == bind) {
            Some((_, _, known)) => known.extend(sockets),
            None => self.listeners.push((id, bind, sockets.collect())),
        }
    }
}

/// What the process before has handed over.
pub(super) struct Taken {
    pub(super) inherited: Inherited,
    pub(super) predecessor: Predecessor,
    /// The connection to the first process of a container, unless that is the predecessor.
    pub(super) init: Option<OwnedFd>,
    /// The connection to the predecessor itself.
    pub(super) connection: OwnedFd,
}

/// Asks the process that listens at `path` for its sockets.
pub(super) async fn take_over(
    path: &Path,
    notices: mpsc::UnboundedSender<Notice>,
) -> Result<Taken, TakeOverError> {
    let failed = |source| TakeOverError::Io {
        path: path.to_owned(),
        source,
    };
    let stream = connect(path).await.map_err(failed)?;
    let connection = stream.as_fd().try_clone_to_owned().map_err(failed)?;
    let (outbox, mut inbox) = exchange(stream);
    let hello = outbox.send(HandoverMessage::Hello, Vec::new()).await;
    hello.map_err(failed)?;
    let mut inherited = Inherited {
        is_successor: true,
        ..Inherited::default()
    };
    let init = match timeout(START_TIMEOUT, receive(&mut inbox, &mut inherited)).await {
        Ok(Ok(init)) => init,
        Ok(Err(Missed::Io(source))) => return Err(failed(source)),
        Ok(Err(Missed::Refused(reason))) => {
            let path = path.to_owned();
            return Err(TakeOverError::Refused { path, reason });
        }
        Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
    };
    let (live, goes_live) = oneshot::channel();
    let following = Following {
        inbox,
        outbox,
        remote: inherited.in_flight.clone(),
        notices,
        live: None,
        reporter: Reporter::default(),
        is_settled: false,
    };
    tokio::spawn(following.run(goes_live));
    Ok(Taken {
        inherited,
        predecessor: Predecessor { live: Some(live) },
        init,
        connection,
    })
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let connected = timeout(STEP_TIMEOUT, UnixStream::connect(path)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    check_peer(&stream)?;
    Ok(stream)
}

/// Why the sockets did not come.
enum Missed {
    Io(io::Error),
    Refused(String),
}

/// Takes all that a start needs. Returns the connection to the first process of a container.
async fn receive(inbox: &mut Inbox, inherited: &mut Inherited) -> Result<Option<OwnedFd>, Missed> {
    let mut init = None;
    loop {
        let (message, mut descriptors) = inbox.next_in_time().await.map_err(Missed::Io)?;
        match message {
            HandoverMessage::Listener(name, bind) => {
                inherited.add(name.as_str().into(), bind, descriptors);
            }
            HandoverMessage::Admin(bind) => {
                let socket = descriptors.pop().map(TcpListener::from);
                inherited.admin = socket.map(|socket| (bind, socket));
            }
            HandoverMessage::Replicas(group, count) => {
                inherited.replicas.insert(group.as_str().into(), count);
            }
            HandoverMessage::InitProcess => init = descriptors.pop(),
            HandoverMessage::InFlight(report) => inherited.in_flight.take(report),
            HandoverMessage::UsedTokens(listener, part) => {
                inherited.used_tokens.push((listener.as_str().into(), part));
            }
            HandoverMessage::Done => return Ok(init),
            HandoverMessage::Refused(reason) => return Err(Missed::Refused(reason)),
            HandoverMessage::Hello
            | HandoverMessage::Serving(_)
            | HandoverMessage::Check(_)
            | HandoverMessage::Alive(_)
            | HandoverMessage::Confirmed => {
                return Err(Missed::Io(io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

impl Predecessor {
    /// Tells it that this process serves.
    pub(super) fn serving(&mut self, live: Live) {
        if let Some(sender) = self.live.take() {
            // It may have ended: then this process is the one that runs in any case.
            let _ = sender.send(live);
        }
    }
}

/// The task that hears the old process out, until that has ended.
struct Following {
    inbox: Inbox,
    outbox: Outbox,
    remote: RemoteCounts,
    notices: mpsc::UnboundedSender<Notice>,
    /// `None` until this process serves.
    live: Option<Live>,
    reporter: Reporter,
    /// Whether it is known which of the two goes on.
    is_settled: bool,
}

impl Following {
    async fn run(mut self, mut goes_live: oneshot::Receiver<Live>) {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waits_for_start = true;
        let mut overdue: Pin<Box<Sleep>> = Box::pin(sleep(START_TIMEOUT));
        loop {
            tokio::select! {
                message = self.inbox.next() => match message {
                    Some((message, _)) => self.obey(message),
                    None => break,
                },
                live = &mut goes_live, if waits_for_start => {
                    waits_for_start = false;
                    // An error is a start that failed, and the end of this process.
                    let Ok(live) = live else { return };
                    self.live = Some(live);
                    let pid = std::process::id().cast_signed();
                    self.outbox.try_send(HandoverMessage::Serving(pid));
                    overdue.as_mut().reset(Instant::now() + START_TIMEOUT);
                }
                _ = ticks.tick() => self.tick(),
                () = &mut overdue, if self.live.is_some() && !self.is_settled => {
                    warn!("the Weir that ran before neither retires nor ends; going on without it");
                    self.settle(Notice::Confirmed);
                }
            }
        }
        self.remote.clear();
        self.settle(Notice::Confirmed);
    }

    fn obey(&mut self, message: HandoverMessage) {
        match message {
            HandoverMessage::InFlight(report) => {
                self.remote.take(report);
                if let Some(live) = &self.live {
                    self.remote.apply(&live.reader);
                }
            }
            HandoverMessage::Check(number) => self.answer(number),
            HandoverMessage::Confirmed => self.settle(Notice::Confirmed),
            HandoverMessage::Refused(reason) => self.settle(Notice::Refused(reason)),
            other => debug!(message = ?other, "not expected from the process before"),
        }
    }

    /// Answers a check once every worker has.
    fn answer(&self, number: u64) {
        let Some(live) = &self.live else { return };
        let (pulse, outbox) = (live.pulse.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let until = Instant::now() + STEP_TIMEOUT;
            if timeout_at(until, pulse.all_answer()).await == Ok(true) {
                outbox.try_send(HandoverMessage::Alive(number));
            }
        });
    }

    /// Targets may have become known since the last report. What this process has in flight
    /// is of interest only while both let requests in.
    fn tick(&mut self) {
        let Some(live) = &self.live else { return };
        self.remote.apply(&live.reader);
        if !self.is_settled {
            self.reporter.send(&live.reader, &self.remote, &self.outbox);
        }
    }

    fn settle(&mut self, notice: Notice) {
        if !self.is_settled {
            self.is_settled = true;
            // Fails only when the daemon ends.
            let _ = self.notices.send(notice);
        }
    }
}
