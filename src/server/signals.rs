//! The signals that the daemon handles.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of the daemon.
#[derive(Debug)]
pub(super) struct Signals {
    /// Request a shutdown.
    pub(super) stop: StopSignals,
    /// SIGHUP, which requests a reload.
    pub(super) hangup: Signal,
    /// SIGUSR2, which requests an upgrade.
    pub(super) upgrade: Signal,
}

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            },
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal of any kind, to be sent on to the process that serves. Cancel-safe.
    pub(super) async fn next(&mut self) -> rustix::process::Signal {
        use rustix::process::Signal;
        tokio::select! {
            _ = self.stop.interrupt.recv() => Signal::INT,
            _ = self.stop.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.upgrade.recv() => Signal::USR2,
        }
    }
}

impl StopSignals {
    /// Resolves at the next signal that requests a shutdown. Cancel-safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
