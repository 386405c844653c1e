//! Messages to the service manager: that this process serves, reloads, stops, and is alive
//! (`sd_notify(3)`). None are sent if `NOTIFY_SOCKET` is not set.
//!
//! Of several processes in an upgrade only one sends messages: the new one from the moment it
//! is confirmed, with its process id. The one that it replaces sends none after that, because
//! the service goes on.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use super::worker::WorkerPing;

/// The connection to the service manager, if the process has one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    messages: Option<mpsc::UnboundedSender<Message>>,
    watchdog: Option<AbortHandle>,
}

/// One notification.
#[derive(Debug)]
struct Message {
    states: Vec<NotifyState<'static>>,
    /// A line for the operator, which `systemctl status` shows.
    line: Option<String>,
}

impl ServiceManager {
    /// The service manager at `NOTIFY_SOCKET`.
    pub(super) fn of_environment() -> Self {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some();
        let messages = is_there.then(|| {
            let (messages, to_send) = mpsc::unbounded_channel();
            tokio::spawn(send_all(to_send));
            messages
        });
        Self {
            messages,
            watchdog: None,
        }
    }

    /// This process serves. Feeds the watchdog from now on, while all workers answer.
    pub(super) fn ready(&mut self, status: String, ping: WorkerPing) {
        self.send(vec![NotifyState::Ready], Some(status));
        let messages = self.messages.clone();
        if let Some((messages, timeout)) = messages.zip(sd_notify::watchdog_enabled()) {
            // Twice in the time, as sd_watchdog_enabled(3) advises.
            let watchdog = feed_watchdog(messages, timeout / 2, ping);
            self.watchdog = Some(tokio::spawn(watchdog).abort_handle());
        }
    }

    /// This process serves in the place of its predecessor.
    pub(super) fn took_place(&mut self, status: String, ping: WorkerPing) {
        self.send(vec![NotifyState::MainPid(std::process::id())], None);
        self.ready(status, ping);
    }

    /// A reload begins; [`Self::reloaded`] follows.
    pub(super) fn reloading(&self) {
        if self.messages.is_none() {
            return;
        }
        // Without the time the manager would take the end of an earlier reload for this one's.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.send(vec![NotifyState::Reloading, now], None);
        }
    }

    /// A reload has ended, with the new configuration or without.
    pub(super) fn reloaded(&self, status: String) {
        self.send(vec![NotifyState::Ready], Some(status));
    }

    /// This process is about to end, and the service with it.
    pub(super) fn stopping(&self) {
        let status = "finishing the requests that are in progress".to_owned();
        self.send(vec![NotifyState::Stopping], Some(status));
    }

    /// Sends no more messages: another process sends them from now on.
    pub(super) fn leave(&mut self) {
        self.messages = None;
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
    }

    fn send(&self, states: Vec<NotifyState<'static>>, line: Option<String>) {
        if let Some(messages) = &self.messages {
            // Fails only when the daemon ends.
            let _ = messages.send(Message { states, line });
        }
    }
}

impl Message {
    fn send(&self) -> io::Result<()> {
        let line = self.line.as_deref().map(NotifyState::Status);
        let states: Vec<_> = self.states.iter().cloned().chain(line).collect();
        sd_notify::notify(&states)
    }
}

/// Sends messages one after the other on a blocking thread: a service manager that is slow
/// delays nothing else.
async fn send_all(mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut has_failed = false;
    while let Some(message) = messages.recv().await {
        let sent = spawn_blocking(move || message.send()).await;
        if let Ok(Err(error)) = sent
            && !std::mem::replace(&mut has_failed, true)
        {
            warn!(%error, "cannot notify the service manager; further failures are not logged");
        }
    }
}

/// Feeds the watchdog once a period if all workers answer within it.
async fn feed_watchdog(
    messages: mpsc::UnboundedSender<Message>,
    period: Duration,
    ping: WorkerPing,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if timeout(period, ping.all_answer()).await == Ok(true) {
            // Fails only when the daemon ends.
            let _ = messages.send(Message {
                states: vec![NotifyState::Watchdog],
                line: None,
            });
        } else {
            warn!(
                "a worker does not answer within {period:?}; the watchdog of the service manager is not fed"
            );
        }
    }
}
