//! `weir guardian`: the second process of a Weir that runs replicas.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::replicas::guard;

/// The running program, even if its file was replaced or removed.
const PROGRAM: &str = "/proc/self/exe";

/// The process name. It is not `weir`, because a signal to all processes of that name must leave
/// the guardian time for its work.
const NAME: &str = "replica-guardian";

/// The command that starts a guardian.
pub(super) fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg0(NAME).arg("guardian");
    command
}

/// Runs the guardian: exit code 0 after Weir has ended and all of its replicas are gone.
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

/// Ignores signals to a whole service or terminal: Weir handles them, and the guardian ends after
/// it.
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
