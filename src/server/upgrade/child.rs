//! The process that SIGUSR2 starts: one at a time. It is killed if it does not serve in time.

use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::notice::Notice;
use super::timing::START_TIMEOUT;
use crate::net::descriptors;

/// Longest wait for a new process to ask for the sockets, which is the first thing it does
/// once it has read its configuration.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

/// A new process that this one has started.
#[derive(Debug)]
pub(super) struct Child {
    group: Pid,
    permission: watch::Sender<RunPermission>,
}

/// For how long the process may run.
#[derive(Clone, Copy, Debug)]
enum RunPermission {
    /// It is killed at this time.
    Until(Instant),
    /// It is killed now.
    Denied,
    /// It runs on when this process ends.
    Forever,
}

impl Child {
    /// Starts it in a process group of its own, so that its children can be killed with it.
    pub(super) fn spawn(
        mut command: Command,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        descriptors::restore_limit(&mut command);
        let mut command = tokio::process::Command::from(command);
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let group = pid.ok_or_else(|| io::Error::other("it has ended already"))?;
        let until = RunPermission::Until(Instant::now() + ASK_TIMEOUT);
        let (permission, changes) = watch::channel(until);
        tokio::spawn(async move {
            match supervise(child, group, changes).await {
                Ok(status) => info!("the new process ended: {status}"),
                Err(error) => warn!(%error, "the new process cannot be waited for"),
            }
            // Fails only when the daemon ends.
            let _ = notices.send(Notice::ChildEnded);
        });
        Ok(Self { group, permission })
    }

    /// Whether a process is in the process group of this one.
    pub(super) fn is(&self, pid: Option<i32>) -> bool {
        let group = pid.and_then(Pid::from_raw).map(|pid| getpgid(Some(pid)));
        group.is_some_and(|group| group == Ok(self.group))
    }

    /// Extends its time by that of a start: it has asked for the sockets.
    pub(super) fn asked(&self) {
        self.permission
            .send_replace(RunPermission::Until(Instant::now() + 2 * START_TIMEOUT));
    }

    /// Kills it and its children.
    pub(super) fn kill(&self) {
        self.permission.send_replace(RunPermission::Denied);
    }

    /// Lets it run on when this process ends: it serves.
    pub(super) fn release(&self) {
        self.permission.send_replace(RunPermission::Forever);
    }
}

/// Waits until the process ends, and kills it when its permission ends.
async fn supervise(
    mut child: tokio::process::Child,
    group: Pid,
    mut changes: watch::Receiver<RunPermission>,
) -> io::Result<ExitStatus> {
    loop {
        let permission = *changes.borrow_and_update();
        let permission_ended = async {
            match permission {
                RunPermission::Until(at) => sleep_until(at).await,
                RunPermission::Denied => {}
                RunPermission::Forever => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            status = child.wait() => return status,
            () = permission_ended => {
                if matches!(permission, RunPermission::Until(_)) {
                    let pid = group.as_raw_nonzero();
                    warn!(pid, "the new process does not serve in time; killing it");
                }
                break;
            }
            result = changes.changed() => if result.is_err() {
                // The daemon ends, and its last permission was carried out.
                return child.wait().await;
            },
        }
    }
    // Fails if the whole group has ended already.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().await
}
