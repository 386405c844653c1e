//! The process that SIGUSR2 starts: one at a time, and none that stays without serving.

use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{Notice, START_TIMEOUT};
use crate::net::descriptors;

/// Longest wait for a new process to ask for the sockets, which is the first thing it does
/// once it has read its configuration.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// A new process that this one has started.
#[derive(Debug)]
pub(super) struct Child {
    group: Pid,
    fate: watch::Sender<Fate>,
}

/// What is to become of it.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Killed then.
    Until(Instant),
    /// Killed now.
    Killed,
    /// It lives on when this process ends.
    Left,
}

impl Child {
    /// Starts it in a process group of its own, so that all of it can be killed.
    pub(super) fn spawn(
        command: Command,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let mut command = command;
        descriptors::restore_limit(&mut command);
        let mut command = tokio::process::Command::from(command);
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let group = pid.ok_or_else(|| io::Error::other("it has ended already"))?;
        let (fate, told) = watch::channel(Fate::Until(Instant::now() + ASK_TIMEOUT));
        tokio::spawn(async move {
            let status = mind(child, group, told).await;
            match status {
                Ok(status) => info!("the new process ended: {status}"),
                Err(error) => warn!(%error, "the new process cannot be waited for"),
            }
            // Fails only when the daemon ends.
            let _ = notices.send(Notice::ChildEnded);
        });
        Ok(Self { group, fate })
    }

    /// Whether a process is this one, or one that it has started as itself.
    pub(super) fn is(&self, pid: Option<i32>) -> bool {
        let group = pid.and_then(Pid::from_raw).map(|pid| getpgid(Some(pid)));
        group.is_some_and(|group| group == Ok(self.group))
    }

    /// It has asked for the sockets: now it has the time that a start takes.
    pub(super) fn asked(&self) {
        self.fate
            .send_replace(Fate::Until(Instant::now() + 2 * START_TIMEOUT));
    }

    /// Kills it, and what it has started.
    pub(super) fn kill(&self) {
        self.fate.send_replace(Fate::Killed);
    }

    /// Lets it live: it is the one that runs.
    pub(super) fn leave(&self) {
        self.fate.send_replace(Fate::Left);
    }
}

/// Waits for its end, and sees to it if need be.
async fn mind(
    mut child: tokio::process::Child,
    group: Pid,
    mut told: watch::Receiver<Fate>,
) -> io::Result<ExitStatus> {
    loop {
        let fate = *told.borrow_and_update();
        let doomed = async {
            match fate {
                Fate::Until(at) => sleep_until(at).await,
                Fate::Killed => {}
                Fate::Left => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            status = child.wait() => return status,
            () = doomed => {
                if matches!(fate, Fate::Until(_)) {
                    let pid = group.as_raw_nonzero();
                    warn!(pid, "the new process does not serve in time; killing it");
                }
                break;
            }
            told = told.changed() => if told.is_err() {
                // The daemon ends, and has said what is to become of it.
                return child.wait().await;
            },
        }
    }
    // Fails if all of it has ended by itself.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().await
}
