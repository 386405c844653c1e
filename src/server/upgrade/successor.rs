//! The old process: how it gives its sockets to a new one, and goes on until that one has
//! answered for itself.
//!
//! Nothing is given up before [`HandoverMessage::Confirmed`]: the sockets that are handed over
//! are copies, both processes accept from the same queues, and the control plane of the old
//! one runs on. A new process that ends, hangs or says nothing changes nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info};

use super::in_flight::{RemoteCounts, Reporter};
use super::message::{HandoverMessage, Inbox, Outbox};
use super::offer::Asking;
use super::{Notice, REPORT_INTERVAL, START_TIMEOUT, STEP_TIMEOUT};
use crate::model::ListenerId;
use crate::net::handover::MAX_DESCRIPTORS;
use crate::replicas::Wishes;
use crate::state::Reader;

/// For how long a new process is watched that says it serves: one that fails under its first
/// requests mostly does so at once.
const PROBATION: Duration = Duration::from_secs(3);

/// Between checks meanwhile.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Copies of the sockets a process listens on, and how many replicas its groups have.
#[derive(Debug)]
pub(in crate::server) struct HandoverState {
    pub(in crate::server) listeners: Vec<(ListenerId, SocketAddr, Vec<TcpListener>)>,
    pub(in crate::server) admin: Option<(SocketAddr, TcpListener)>,
    pub(in crate::server) replicas: Wishes,
    pub(in crate::server) reader: Reader,
}

/// A handover that is under way.
pub(super) struct Handover {
    outbox: Outbox,
    inbox: Inbox,
    reader: Reader,
    notices: mpsc::UnboundedSender<Notice>,
    remote: RemoteCounts,
    reporter: Reporter,
    ticks: Interval,
}

impl Handover {
    /// Hands the sockets to the process that asks, and reports what becomes of it; after that
    /// tells it which requests are still in flight here, until one of the two ends.
    pub(super) async fn run(
        asking: Asking,
        state: HandoverState,
        init: Option<OwnedFd>,
        notices: mpsc::UnboundedSender<Notice>,
    ) {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut handover = Self {
            outbox: asking.outbox,
            inbox: asking.inbox,
            reader: state.reader.clone(),
            notices,
            remote: RemoteCounts::default(),
            reporter: Reporter::default(),
            ticks,
        };
        let notice = match handover.hand_over(state, init).await {
            Ok(pid) => Notice::Replaced(pid),
            Err(error) => {
                let reason =
                    format!("this process did not take over in time or broke off: {error}");
                handover.outbox.try_send(HandoverMessage::Refused(reason));
                Notice::Failed(error)
            }
        };
        let is_replaced = matches!(notice, Notice::Replaced(_));
        handover.notify(notice);
        if is_replaced {
            handover.accompany().await;
        }
    }

    /// Returns the id of the new process once it has answered for itself.
    async fn hand_over(&mut self, state: HandoverState, init: Option<OwnedFd>) -> io::Result<i32> {
        self.give(state, init).await?;
        let until = Instant::now() + START_TIMEOUT;
        let pid = self
            .hear(until, |message| match message {
                HandoverMessage::Serving(pid) => Some(*pid),
                _ => None,
            })
            .await?;
        info!(
            pid,
            "the new process says that it serves; watching it for {PROBATION:?}"
        );
        self.watch().await?;
        self.remote.clear();
        let confirmed = self.outbox.send(HandoverMessage::Confirmed, Vec::new());
        confirmed.await?;
        Ok(pid)
    }

    /// Sends all that a start needs.
    async fn give(&mut self, state: HandoverState, init: Option<OwnedFd>) -> io::Result<()> {
        let HandoverState {
            listeners,
            admin,
            replicas,
            reader: _,
        } = state;
        for (id, bind, sockets) in listeners {
            let mut sockets = sockets.into_iter().map(OwnedFd::from).peekable();
            while sockets.peek().is_some() {
                let some = sockets.by_ref().take(MAX_DESCRIPTORS).collect();
                let message = HandoverMessage::Listener(id.to_string(), bind);
                self.outbox.send(message, some).await?;
            }
        }
        if let Some((bind, socket)) = admin {
            let message = HandoverMessage::Admin(bind);
            self.outbox.send(message, vec![socket.into()]).await?;
        }
        for (group, count) in replicas {
            let message = HandoverMessage::Replicas(group.to_string(), count);
            self.outbox.send(message, Vec::new()).await?;
        }
        if let Some(init) = init {
            let message = HandoverMessage::InitProcess;
            self.outbox.send(message, vec![init]).await?;
        }
        for report in self.reporter.report(&self.reader, &self.remote) {
            let message = HandoverMessage::InFlight(report);
            self.outbox.send(message, Vec::new()).await?;
        }
        self.give_rate_limits().await?;
        self.outbox.send(HandoverMessage::Done, Vec::new()).await
    }

    async fn give_rate_limits(&mut self) -> io::Result<()> {
        let snapshot = self.reader.load_full();
        let now = std::time::Instant::now();
        for listener in snapshot.listeners() {
            let Some(limiter) = &listener.rate_limit else {
                continue;
            };
            for part in limiter.used(now).parts() {
                let message = HandoverMessage::UsedTokens(listener.id.to_string(), part);
                self.outbox.send(message, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// Checks the new process for a while: that its workers turn, and that it is still there.
    async fn watch(&mut self) -> io::Result<()> {
        let end = Instant::now() + PROBATION;
        for number in 0.. {
            let began = Instant::now();
            let check = HandoverMessage::Check(number);
            self.outbox.send(check, Vec::new()).await?;
            let is_answer = |message: &HandoverMessage| {
                (*message == HandoverMessage::Alive(number)).then_some(())
            };
            self.hear(began + STEP_TIMEOUT, is_answer).await?;
            let until = end.min(began + CHECK_INTERVAL);
            self.pass(until).await?;
            if until == end {
                break;
            }
        }
        Ok(())
    }

    /// Lets time pass; fails if the other process ends meanwhile.
    async fn pass(&mut self, until: Instant) -> io::Result<()> {
        match self.hear(until, |_| None::<()>).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Waits for a message, and meanwhile exchanges what is in flight.
    async fn hear<T>(
        &mut self,
        until: Instant,
        mut wanted: impl FnMut(&HandoverMessage) -> Option<T>,
    ) -> io::Result<T> {
        loop {
            tokio::select! {
                message = self.inbox.next() => {
                    let (message, _) = message.ok_or(io::ErrorKind::UnexpectedEof)?;
                    if let Some(found) = wanted(&message) {
                        return Ok(found);
                    }
                    self.take(message);
                }
                _ = self.ticks.tick() => self.report(),
                () = sleep_until(until) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn take(&self, message: HandoverMessage) {
        match message {
            HandoverMessage::InFlight(report) => {
                self.remote.take(report);
                self.remote.apply(&self.reader);
            }
            HandoverMessage::Alive(_) => {}
            other => debug!(message = ?other, "not expected from a new process"),
        }
    }

    fn report(&mut self) {
        self.reporter.send(&self.reader, &self.remote, &self.outbox);
    }

    /// Tells the new process what is in flight while this one drains. Its own successors
    /// introduce themselves here, see [`super::Upgrades::outlive`].
    async fn accompany(&mut self) {
        loop {
            tokio::select! {
                message = self.inbox.next() => match message {
                    Some((HandoverMessage::Serving(pid), _)) => self.notify(Notice::Current(pid)),
                    Some((message, _)) => debug!(?message, "too late to be of use"),
                    None => break,
                },
                _ = self.ticks.tick() => self.report(),
            }
        }
        self.notify(Notice::Outlived);
    }

    fn notify(&self, notice: Notice) {
        // Fails only when the daemon ends.
        let _ = self.notices.send(notice);
    }
}
