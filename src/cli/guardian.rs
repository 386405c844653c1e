//! `weir guardian`: the second process of a Weir that runs replicas.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::replicas::guard;

/// Starts the program that runs, whatever has become of its file.
const PROGRAM: &str = "/proc/self/exe";

/// Under another name than `weir`: what kills every process of that name must leave the guardian
/// the time to do its work.
const NAME: &str = "replica-guardian";

/// Starts a guardian.
pub(super) fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg0(NAME).arg("guardian");
    command
}

/// Exit code 0 once Weir has ended and nothing is left of its replicas.
pub(super) fn guardian() -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let guarded = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let _ignored = ignored_signals()?;
            guard(io::stdin().as_fd()).await
        })
    });
    match guarded {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

/// Signals to a whole service or terminal are Weir's to obey: the guardian ends after it.
fn ignored_signals() -> io::Result<Vec<Signal>> {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().map(signal).collect()
}
