//! The phase of the process, from its start to its end, and what it waits for.

use std::time::SystemTime;

use tokio::sync::{Notify, watch};

/// The phases of the process, in order. A second signal skips to `Closing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Sockets are bound; targets are being started and checked.
    Starting,
    /// Accepting and answering.
    Serving,
    /// Not ready, still accepting; every response closes its connection.
    LameDuck,
    /// No longer accepting; requests in flight go on.
    Draining,
    /// The drain deadline is over: what is left is dropped.
    Closing,
    /// Nothing is left.
    Stopped,
}

impl Phase {
    /// The name in `/api/v1/status` and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a load balancer in front should send requests here (`/readyz`).
    pub fn is_ready(self) -> bool {
        self == Self::Serving
    }
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended.
    pub at: SystemTime,
    /// Whether it is in force.
    pub accepted: bool,
    /// What it changed, or why it was refused.
    pub summary: String,
    /// What is wrong with the files, and where what was set at run time contradicts them.
    pub problems: Vec<String>,
}

impl LastReload {
    /// One that ends now.
    pub fn now(accepted: bool, summary: String, problems: Vec<String>) -> Self {
        Self {
            at: SystemTime::now(),
            accepted,
            summary,
            problems,
        }
    }
}

/// The current phase, and what a start or a reload waits for: published by the server and
/// read by the admin listener.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    waits: watch::Sender<Vec<String>>,
    last_reload: watch::Sender<Option<LastReload>>,
    reload_asked: Notify,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            waits: watch::Sender::default(),
            last_reload: watch::Sender::default(),
            reload_asked: Notify::new(),
        }
    }
}

impl Lifecycle {
    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Enters a phase. Phases only go forward.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        });
    }

    /// What is waited for, one sentence each.
    pub fn waits(&self) -> Vec<String> {
        self.waits.borrow().clone()
    }

    /// Whether the last reload was refused, so that the files do not say what is in force.
    pub fn is_reload_refused(&self) -> bool {
        let last = self.last_reload.borrow();
        last.as_ref().is_some_and(|last| !last.accepted)
    }

    /// The last reload; `None` before the first.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.borrow().clone()
    }

    /// Notes the result of a reload.
    pub fn reloaded(&self, reload: LastReload) {
        self.last_reload.send_replace(Some(reload));
    }

    /// Asks for a reload. One that was asked for and has not begun is the same.
    pub fn ask_reload(&self) {
        self.reload_asked.notify_one();
    }

    /// Resolves when a reload was asked for. Cancel-safe.
    pub async fn reload_asked(&self) {
        self.reload_asked.notified().await;
    }

    /// Replaces what is waited for.
    pub fn wait_for(&self, waits: Vec<String>) {
        self.waits.send_if_modified(|current| {
            let is_other = *current != waits;
            *current = waits;
            is_other
        });
    }
}
