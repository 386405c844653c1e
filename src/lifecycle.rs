//! The phase of the process, from its start to its end, and what it waits for.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

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
    /// The name in `/api/status` and in logs.
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

/// The current phase, and what a start or a reload waits for: published by the server and
/// read by the admin listener.
#[derive(Debug)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    waits: watch::Sender<Vec<String>>,
    is_reload_refused: AtomicBool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Starting),
            waits: watch::Sender::default(),
            is_reload_refused: AtomicBool::new(false),
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
        self.is_reload_refused.load(Ordering::Relaxed)
    }

    /// Notes whether the last reload was refused.
    pub fn reloaded(&self, is_refused: bool) {
        self.is_reload_refused.store(is_refused, Ordering::Relaxed);
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
