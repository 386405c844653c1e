//! Child processes that never outlive Weir.
//!
//! Each leads a process group of its own, so that a terminal's Ctrl-C reaches Weir alone, and
//! what the child starts can be signalled with it. When Weir is killed with SIGKILL the kernel
//! kills the child at once (`PR_SET_PDEATHSIG`), and the guardian ends the rest of its group. A
//! program that gains privileges when it is executed (set-user-id) gets no signal from the
//! kernel, and perhaps none from the guardian.

mod environment;
mod guardian;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::net::descriptors;
pub(super) use environment::command;
use guardian::GuardianSocket;
pub use guardian::{Guardian, guard};

/// Between two attempts to reap a killed group, and for all of them: after SIGKILL its processes
/// end as soon as they are scheduled.
const REAP_INTERVAL: Duration = Duration::from_millis(10);
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// A process and all that it has started in its process group. Dropping it kills them.
#[derive(Debug)]
pub(super) struct ChildProcess {
    pub(super) child: Child,
    group: Pid,
    guardian: Guardian,
    is_detached: bool,
}

impl ChildProcess {
    /// Starts a command in a process group of its own, which `guardian` ends with Weir.
    pub(super) fn start(command: &mut Command, guardian: &Guardian) -> io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        die_with_parent(command, guardian.socket());
        descriptors::restore_limit(command.as_std_mut());
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let group = pid.expect("a child that was not waited for has an id");
        guardian.add(group);
        Ok(Self {
            child,
            group,
            guardian: guardian.clone(),
            is_detached: false,
        })
    }

    /// Signals the process and all that it has started.
    pub(super) fn signal(&self, signal: Signal) {
        // Fails if all of them have ended: then there is nothing to signal.
        let _ = rustix::process::kill_process_group(self.group, signal);
    }

    /// Lets what the process has started go on, after it has ended itself.
    pub(super) fn detach(mut self) {
        self.is_detached = true;
    }

    /// Whether the group still has a process after the first one was waited for.
    pub(super) fn has_descendants(&self) -> bool {
        reap(self.group);
        rustix::process::test_kill_process_group(self.group).is_ok()
    }
}

/// Waits for those of a group that have ended, as the parent of every orphan must: the first
/// process of a container is. Returns whether more of them are going to end.
fn reap(group: Pid) -> bool {
    loop {
        match rustix::process::waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            // They are children of another process, or none is left.
            Err(_) => return false,
        }
    }
}

/// Reaps a group that was killed.
async fn reap_all(group: Pid) {
    let deadline = Instant::now() + REAP_TIMEOUT;
    while reap(group) && Instant::now() < deadline {
        sleep(REAP_INTERVAL).await;
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if !self.is_detached {
            // After the leader was reaped its id could in theory belong to another group: it
            // would have to be given away in the microseconds since, out of millions of ids.
            self.signal(Signal::KILL);
            let was_waited_for = self.child.id().is_none();
            if was_waited_for
                && reap(self.group)
                && let Ok(runtime) = Handle::try_current()
            {
                // Not joined: it ends by itself within `REAP_TIMEOUT`, or with the runtime.
                drop(runtime.spawn(reap_all(self.group)));
            }
        }
        self.guardian.remove(self.group);
    }
}

/// Lets the kernel kill the process when the thread that starts it ends, which is the control
/// thread and ends with Weir. Announces its group to the guardian before it can start anything
/// itself.
fn die_with_parent(command: &mut Command, guardian: Option<Arc<GuardianSocket>>) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        if let Some(guardian) = &guardian {
            guardian.announce();
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // If Weir ended before the signal was set, it would never be sent.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls
    // are allowed. It makes a few system calls, takes no lock and allocates nothing: the
    // errors are plain numbers, and the socket is shared with Weir, not dropped here.
    #[allow(
        unsafe_code,
        reason = "the only way to make a system call between fork and exec"
    )]
    unsafe {
        command.pre_exec(in_child);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::process::Stdio;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    fn start(command: &[&str]) -> ChildProcess {
        let mut words = command.iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdout(Stdio::piped());
        ChildProcess::start(&mut command, &Guardian::default()).unwrap()
    }

    #[tokio::test]
    async fn dropping_a_process_kills_what_it_has_started() {
        let mut process = start(&["sh", "-c", "sleep 1000 & echo $!; wait"]);
        let mut grandchild = String::new();
        let mut stdout = process.child.stdout.take().unwrap();
        while !grandchild.ends_with('\n') {
            grandchild.push(char::from(stdout.read_u8().await.unwrap()));
        }
        drop(process);
        // Both hold the pipe open for as long as they live.
        let rest = stdout.read_to_string(&mut grandchild).await.unwrap();
        assert_eq!(rest, 0);
    }

    #[tokio::test]
    async fn orphans_of_a_group_are_reaped_where_weir_is_their_new_parent() {
        // As the first process of a container is.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let mut process = start(&["sh", "-c", "sleep 1000 & exit 0"]);
        process.child.wait().await.unwrap();
        assert!(process.has_descendants());
        let group = process.group;
        drop(process);
        let reaped = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            // A zombie counts.
            while rustix::process::test_kill_process_group(group).is_ok() {
                tick.tick().await;
            }
        };
        timeout(Duration::from_secs(20), reaped).await.unwrap();
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let starter = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                // Only the kernel is to kill it.
                ManuallyDrop::new(start(&["sleep", "1000"])).group
            })
        });
        let pid = starter.join().unwrap();
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.terminating_signal(), Some(9));
    }
}
