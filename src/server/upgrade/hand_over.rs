//! The old process: how it gives its sockets to a new one, and goes on until that one has
//! answered its checks.
//!
//! Nothing is given up before [`HandoverMessage::Confirmed`]: the sockets that are handed over
//! are copies, both processes accept from the same queues, and the control plane of the old
//! one runs on. A new process that ends, hangs or sends nothing changes nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info};

use super::in_flight::{RemoteCounts, Reporter};
use super::message::{HandoverMessage, Inbox, Outbox};
use super::notice::{Notice, SocketRequest};
use super::state::HandoverState;
use super::timing::{REPORT_INTERVAL, START_TIMEOUT, STEP_TIMEOUT};
use crate::net::pass_sockets::MAX_DESCRIPTORS;
use crate::state::Reader;

/// How long a new process that serves is watched before it is confirmed: one that fails under
/// its first requests mostly does so at once.
const PROBATION: Duration = Duration::from_secs(3);

/// Time between checks during probation.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// A handover in progress.
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
    /// Hands the sockets to the process that asks, and sends a notice of the result. If it
    /// serves, reports to it the requests that are still in flight here, until one of the two
    /// processes ends.
    pub(super) async fn run(
        request: SocketRequest,
        state: HandoverState,
        init: Option<OwnedFd>,
        notices: mpsc::UnboundedSender<Notice>,
    ) {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut handover = Self {
            outbox: request.outbox,
            inbox: request.inbox,
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
            handover.report_until_end().await;
        }
    }

    /// Returns the id of the new process once it is confirmed.
    async fn hand_over(&mut self, state: HandoverState, init: Option<OwnedFd>) -> io::Result<i32> {
        self.send_state(state, init).await?;
        let until = Instant::now() + START_TIMEOUT;
        let pid = self
            .receive(until, |message| match message {
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
    async fn send_state(&mut self, state: HandoverState, init: Option<OwnedFd>) -> io::Result<()> {
        let HandoverState {
            listeners,
            admin,
            replicas,
            reader: _,
        } = state;
        for listener in listeners {
            let mut sockets = listener.sockets.into_iter().map(OwnedFd::from).peekable();
            while sockets.peek().is_some() {
                let part = sockets.by_ref().take(MAX_DESCRIPTORS).collect();
                let (id, bind) = (listener.id.to_string(), listener.bind.clone());
                let message = HandoverMessage::Listener(id, bind);
                self.outbox.send(message, part).await?;
            }
            if let Some(file) = listener.file {
                let id = listener.id.to_string();
                let message = HandoverMessage::SocketFile(id, listener.bind, file);
                self.outbox.send(message, Vec::new()).await?;
            }
        }
        if let Some(admin) = admin {
            let message = HandoverMessage::Admin(admin.bind);
            self.outbox.send(message, vec![admin.socket.into()]).await?;
        }
        for (group, count) in replicas {
            let message = HandoverMessage::Replicas(group.to_string(), count);
            self.outbox.send(message, Vec::new()).await?;
        }
        if let Some(init) = init {
            self.outbox
                .send(HandoverMessage::InitProcess, vec![init])
                .await?;
        }
        for report in self.reporter.report(&self.reader, &self.remote) {
            self.outbox
                .send(HandoverMessage::InFlight(report), Vec::new())
                .await?;
        }
        self.send_used_tokens().await?;
        self.outbox.send(HandoverMessage::Done, Vec::new()).await
    }

    async fn send_used_tokens(&mut self) -> io::Result<()> {
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

    /// Watches the new process during probation. Fails if its workers do not answer a check in
    /// time, or if it ends.
    async fn watch(&mut self) -> io::Result<()> {
        let end = Instant::now() + PROBATION;
        for number in 0.. {
            let began = Instant::now();
            let check = HandoverMessage::Check(number);
            self.outbox.send(check, Vec::new()).await?;
            self.receive(began + STEP_TIMEOUT, |message| {
                (*message == HandoverMessage::Alive(number)).then_some(())
            })
            .await?;
            let until = end.min(began + CHECK_INTERVAL);
            self.wait(until).await?;
            if until == end {
                break;
            }
        }
        Ok(())
    }

    /// Waits until `until`. Fails if the other process ends meanwhile.
    async fn wait(&mut self, until: Instant) -> io::Result<()> {
        match self.receive(until, |_| None::<()>).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    /// Waits for a message that `wanted` recognises, and meanwhile exchanges the requests in
    /// flight. Fails with `TimedOut` at `until`, and if the other process ends.
    async fn receive<T>(
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
                    self.handle(message);
                }
                _ = self.ticks.tick() => self.report(),
                () = sleep_until(until) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn handle(&self, message: HandoverMessage) {
        match message {
            HandoverMessage::InFlight(report) => {
                self.remote.update(report);
                self.remote.apply(&self.reader);
            }
            HandoverMessage::Alive(_) => {}
            other => debug!(message = ?other, "not expected from a new process"),
        }
    }

    fn report(&mut self) {
        self.reporter.send(&self.reader, &self.remote, &self.outbox);
    }

    /// Reports requests in flight to the new process while this one drains. The successors of
    /// the new process report on this connection that they serve, see
    /// [`super::Upgrades::outlive_successors`].
    async fn report_until_end(&mut self) {
        loop {
            tokio::select! {
                message = self.inbox.next() => match message {
                    Some((HandoverMessage::Serving(pid), _)) => self.notify(Notice::Current(pid)),
                    Some((message, _)) => debug!(?message, "ignored: the handover is complete"),
                    None => break,
                },
                _ = self.ticks.tick() => self.report(),
            }
        }
        self.notify(Notice::SuccessorsEnded);
    }

    fn notify(&self, notice: Notice) {
        // Fails only when the daemon ends.
        let _ = self.notices.send(notice);
    }
}
