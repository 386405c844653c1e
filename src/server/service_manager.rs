//! What the service manager is told: that this process serves, reloads, stops, and lives
//! (`sd_notify(3)`). Nothing at all where `NOTIFY_SOCKET` is not set.
//!
//! Of several processes in an upgrade only the one that runs says anything: a new one from
//! the moment it is confirmed, with its process id; the one it replaces not a word more, for
//! the service goes on.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use super::worker::Pulse;

/// The connection to the service manager, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    messages: Option<mpsc::UnboundedSender<Message>>,
    watchdog: Option<AbortHandle>,
}

/// What is told at a time.
#[derive(Debug)]
struct Message {
    states: Vec<NotifyState<'static>>,
    /// A line for people.
    status: Option<String>,
}

impl ServiceManager {
    /// The one that has started this process.
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

    /// This process serves, and tells so for as long as its workers turn.
    pub(super) fn ready(&mut self, status: String, pulse: Pulse) {
        self.tell(vec![NotifyState::Ready], Some(status));
        let messages = self.messages.clone();
        if let Some((messages, every)) = messages.zip(sd_notify::watchdog_enabled()) {
            // Twice in the time, as sd_watchdog_enabled(3) advises.
            let watchdog = keep_alive(messages, every / 2, pulse);
            self.watchdog = Some(tokio::spawn(watchdog).abort_handle());
        }
    }

    /// The same of a process that has taken the place of another.
    pub(super) fn took_place(&mut self, status: String, pulse: Pulse) {
        self.tell(vec![NotifyState::MainPid(std::process::id())], None);
        self.ready(status, pulse);
    }

    /// A configuration is read; [`Self::reloaded`] follows.
    pub(super) fn reloading(&self) {
        if self.messages.is_none() {
            return;
        }
        // Without the time the manager would take the end of an earlier reload for this one's.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.tell(vec![NotifyState::Reloading, now], None);
        }
    }

    /// It was read, and applied or not.
    pub(super) fn reloaded(&self, status: String) {
        self.tell(vec![NotifyState::Ready], Some(status));
    }

    /// This process is about to end, and the service with it.
    pub(super) fn stopping(&self) {
        let status = "finishing the requests that are under way".to_owned();
        self.tell(vec![NotifyState::Stopping], Some(status));
    }

    /// Another process speaks for the service from now on.
    pub(super) fn leave(&mut self) {
        self.messages = None;
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.abort();
        }
    }

    fn tell(&self, states: Vec<NotifyState<'static>>, line: Option<String>) {
        if let Some(messages) = &self.messages {
            // Fails only when the daemon ends.
            let _ = messages.send(Message {
                states,
                status: line,
            });
        }
    }
}

impl Message {
    fn send(&self) -> io::Result<()> {
        let line = self.status.as_deref().map(NotifyState::Status);
        let states: Vec<_> = self.states.iter().cloned().chain(line).collect();
        sd_notify::notify(&states)
    }
}

/// One after the other, on threads that may wait: a service manager that is busy holds
/// nothing up.
async fn send_all(mut messages: mpsc::UnboundedReceiver<Message>) {
    let mut has_failed = false;
    while let Some(message) = messages.recv().await {
        let sent = spawn_blocking(move || message.send()).await;
        if let Ok(Err(error)) = sent
            && !std::mem::replace(&mut has_failed, true)
        {
            warn!(%error, "cannot tell the service manager anything");
        }
    }
}

/// Says that this process lives, each time its workers have said so.
async fn keep_alive(messages: mpsc::UnboundedSender<Message>, every: Duration, pulse: Pulse) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if timeout(every, pulse.all_answer()).await == Ok(true) {
            // Fails only when the daemon ends.
            let _ = messages.send(Message {
                states: vec![NotifyState::Watchdog],
                status: None,
            });
        } else {
            warn!(
                "a worker does not answer within {every:?}; the watchdog is not told that Weir lives"
            );
        }
    }
}
