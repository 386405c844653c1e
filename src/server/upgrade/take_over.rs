//! The new process: what it takes over from the one that runs, and how it answers checks
//! until that one retires.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::in_flight::{RemoteCounts, Reporter};
use super::message::{HandoverMessage, Inbox, Outbox, exchange};
use super::notice::Notice;
use super::request_socket::check_peer;
use super::state::{AdminSocket, ListenerSockets};
use super::timing::{REPORT_INTERVAL, START_TIMEOUT, STEP_TIMEOUT};
use crate::config::{Config, TargetGroup};
use crate::model::{Endpoint, ListenerId};
use crate::net::ListeningSocket;
use crate::rate_limit::UsedTokens;
use crate::replicas::ReplicaCounts;
use crate::server::worker::WorkerPing;
use crate::state::Reader;

/// What a process has taken over from its predecessor: sockets, of which those that its
/// configuration does not use are closed; desired counts of replicas; requests in flight; and
/// used tokens of rate limits. Empty in a process without a predecessor.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<ListenerSockets>,
    admin: Option<AdminSocket>,
    replicas: ReplicaCounts,
    in_flight: RemoteCounts,
    /// Tokens that clients have used of the rate limits of listeners, in parts.
    used_tokens: Vec<(ListenerId, UsedTokens)>,
    /// Whether the process has a predecessor.
    is_successor: bool,
}

/// The new process's side of the connection to the old one.
#[derive(Debug)]
pub(super) struct Predecessor {
    proof: Option<oneshot::Sender<ServingProof>>,
}

/// What a process that serves needs to answer the checks of its predecessor.
#[derive(Debug)]
pub(in crate::server) struct ServingProof {
    pub(in crate::server) reader: Reader,
    pub(in crate::server) ping: WorkerPing,
}

/// Why no process could be taken over from.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// The configuration names no socket.
    #[error("the configuration has no `upgrade_socket`, so there is no process to take over from")]
    NoSocket,
    /// No process listens at the socket, or it does not keep to the protocol.
    #[error("cannot take over from the Weir at {path}: {source}")]
    Io {
        /// The configured socket.
        path: PathBuf,
        /// The error of the connection.
        source: io::Error,
    },
    /// The process does not give its sockets away.
    #[error("cannot take over from the Weir at {path}: {reason}")]
    Refused {
        /// The configured socket.
        path: PathBuf,
        /// In the words of that process.
        reason: String,
    },
}

impl Inherited {
    /// Takes the sockets of all listeners.
    pub(in crate::server) fn take_listeners(&mut self) -> Vec<ListenerSockets> {
        std::mem::take(&mut self.listeners)
    }

    /// Takes the socket of the admin listener.
    pub(in crate::server) fn take_admin(&mut self) -> Option<AdminSocket> {
        self.admin.take()
    }

    /// The count of replicas with which groups that scale begin: the one they had, because the
    /// load comes along with the sockets. Replicas of an engine run on anyway, and a process
    /// that has never seen them does not know their number.
    pub(in crate::server) fn replica_counts(&mut self, config: &Config) -> ReplicaCounts {
        let mut inherited = std::mem::take(&mut self.replicas);
        let is_own = |group: &&TargetGroup| {
            let replicas = group.replicas.as_ref();
            replicas.is_some_and(|replicas| replicas.runner.is_own())
        };
        // The autoscaler applies bounds, also those of a schedule.
        config
            .target_groups
            .iter()
            .filter(|group| group.autoscaling.is_some())
            .filter(is_own)
            .filter_map(|group| inherited.remove_entry(&group.id))
            .collect()
    }

    /// Whether the process has a predecessor, which scales until it has retired.
    pub(in crate::server) fn is_successor(&self) -> bool {
        self.is_successor
    }

    /// Adds the requests that the predecessor has in flight to their targets, and the tokens
    /// that clients have used to their rate limits. To be called before the first request is
    /// accepted.
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

    fn add(&mut self, id: ListenerId, bind: Endpoint, descriptors: Vec<OwnedFd>) {
        let received = |descriptor| ListeningSocket::received(descriptor, &bind);
        let sockets: Vec<_> = descriptors.into_iter().map(received).collect();
        match self.known(&id, &bind) {
            Some(known) => known.sockets.extend(sockets),
            None => self.listeners.push(ListenerSockets {
                id,
                bind,
                sockets,
                file: None,
            }),
        }
    }

    fn known(&mut self, id: &ListenerId, bind: &Endpoint) -> Option<&mut ListenerSockets> {
        let mut known = self.listeners.iter_mut();
        known.find(|known| known.id == *id && known.bind == *bind)
    }
}

/// The result of [`take_over`].
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
        Ok(Err(ReceiveError::Io(source))) => return Err(failed(source)),
        Ok(Err(ReceiveError::Refused(reason))) => {
            let path = path.to_owned();
            return Err(TakeOverError::Refused { path, reason });
        }
        Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
    };
    let (proof, serving) = oneshot::channel();
    let probation = Probation {
        inbox,
        outbox,
        remote: inherited.in_flight.clone(),
        notices,
        proof: None,
        reporter: Reporter::default(),
        is_decided: false,
    };
    tokio::spawn(probation.run(serving));
    Ok(Taken {
        inherited,
        predecessor: Predecessor { proof: Some(proof) },
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

/// Why the sockets were not received.
enum ReceiveError {
    Io(io::Error),
    Refused(String),
}

/// Receives all that a start needs. Returns the connection to the first process of a container.
async fn receive(
    inbox: &mut Inbox,
    inherited: &mut Inherited,
) -> Result<Option<OwnedFd>, ReceiveError> {
    let mut init = None;
    loop {
        let (message, mut descriptors) = inbox.next_in_time().await.map_err(ReceiveError::Io)?;
        match message {
            HandoverMessage::Listener(name, bind) => {
                inherited.add(name.as_str().into(), bind, descriptors);
            }
            HandoverMessage::SocketFile(name, bind, file) => {
                if let Some(known) = inherited.known(&name.as_str().into(), &bind) {
                    known.file = Some(file);
                }
            }
            HandoverMessage::Admin(bind) => {
                let socket = descriptors.pop().map(TcpListener::from);
                inherited.admin = socket.map(|socket| AdminSocket { bind, socket });
            }
            HandoverMessage::Replicas(group, count) => {
                inherited.replicas.insert(group.as_str().into(), count);
            }
            HandoverMessage::InitProcess => init = descriptors.pop(),
            HandoverMessage::InFlight(report) => inherited.in_flight.update(report),
            HandoverMessage::UsedTokens(listener, part) => {
                inherited.used_tokens.push((listener.as_str().into(), part));
            }
            HandoverMessage::Done => return Ok(init),
            HandoverMessage::Refused(reason) => return Err(ReceiveError::Refused(reason)),
            HandoverMessage::Hello
            | HandoverMessage::Serving(_)
            | HandoverMessage::Check(_)
            | HandoverMessage::Alive(_)
            | HandoverMessage::Confirmed => {
                return Err(ReceiveError::Io(io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

impl Predecessor {
    /// Reports that this process serves.
    pub(super) fn serving(&mut self, proof: ServingProof) {
        if let Some(sender) = self.proof.take() {
            // Fails if the predecessor has ended, which is a confirmation.
            let _ = sender.send(proof);
        }
    }
}

/// The task that answers the old process until that has ended.
struct Probation {
    inbox: Inbox,
    outbox: Outbox,
    remote: RemoteCounts,
    notices: mpsc::UnboundedSender<Notice>,
    /// `None` until this process serves.
    proof: Option<ServingProof>,
    reporter: Reporter,
    /// Whether it is decided which of the two processes goes on.
    is_decided: bool,
}

impl Probation {
    async fn run(mut self, mut serving: oneshot::Receiver<ServingProof>) {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waits_for_start = true;
        let mut overdue: Pin<Box<Sleep>> = Box::pin(sleep(START_TIMEOUT));
        loop {
            tokio::select! {
                message = self.inbox.next() => match message {
                    Some((message, _)) => self.handle(message),
                    None => break,
                },
                proof = &mut serving, if waits_for_start => {
                    waits_for_start = false;
                    // An error means that the start has failed; the process ends.
                    let Ok(proof) = proof else { return };
                    self.proof = Some(proof);
                    let pid = std::process::id().cast_signed();
                    self.outbox.try_send(HandoverMessage::Serving(pid));
                    overdue.as_mut().reset(Instant::now() + START_TIMEOUT);
                }
                _ = ticks.tick() => self.tick(),
                () = &mut overdue, if self.proof.is_some() && !self.is_decided => {
                    warn!("the Weir that ran before neither retires nor ends; going on without it");
                    self.decide(Notice::Confirmed);
                }
            }
        }
        self.remote.clear();
        self.decide(Notice::Confirmed);
    }

    fn handle(&mut self, message: HandoverMessage) {
        match message {
            HandoverMessage::InFlight(report) => {
                self.remote.update(report);
                if let Some(proof) = &self.proof {
                    self.remote.apply(&proof.reader);
                }
            }
            HandoverMessage::Check(number) => self.answer(number),
            HandoverMessage::Confirmed => self.decide(Notice::Confirmed),
            HandoverMessage::Refused(reason) => self.decide(Notice::Refused(reason)),
            other => debug!(message = ?other, "not expected from the predecessor"),
        }
    }

    /// Answers a check once every worker has answered.
    fn answer(&self, number: u64) {
        let Some(proof) = &self.proof else { return };
        let (ping, outbox) = (proof.ping.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let until = Instant::now() + STEP_TIMEOUT;
            if timeout_at(until, ping.all_answer()).await == Ok(true) {
                outbox.try_send(HandoverMessage::Alive(number));
            }
        });
    }

    /// Adds the predecessor's counts to targets that have become known since the last tick.
    /// Reports requests in flight while both processes accept.
    fn tick(&mut self) {
        let Some(proof) = &self.proof else { return };
        self.remote.apply(&proof.reader);
        if !self.is_decided {
            self.reporter
                .send(&proof.reader, &self.remote, &self.outbox);
        }
    }

    fn decide(&mut self, notice: Notice) {
        if !self.is_decided {
            self.is_decided = true;
            // Fails only when the daemon ends.
            let _ = self.notices.send(notice);
        }
    }
}
