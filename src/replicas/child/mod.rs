//! A replica's process: how it is started, and that it never outlives Weir.
//!
//! Each replica leads a process group of its own, so a terminal's Ctrl-C reaches Weir
//! alone, and what the replica starts can be signalled with it. When Weir is killed
//! with SIGKILL the kernel kills the replica at once (`PR_SET_PDEATHSIG`), and the guardian
//! ends the rest of its group. A program that gains privileges when it is executed
//! (set-user-id) gets no signal from the kernel, and perhaps none from the guardian.

mod environment;
mod guardian;

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::config::ProcessRunner;
use crate::net::descriptors;
pub(super) use environment::command;
use guardian::Line;
pub use guardian::{Guardian, guard};

/// What stands for the replica's port in its command.
const PORT: &str = "{port}";

/// After SIGKILL the processes of a group end as soon as they are scheduled.
const REAP_INTERVAL: Duration = Duration::from_millis(10);
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a replica could not be started.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum SpawnError {
    /// The command is empty.
    #[error("the command is empty")]
    NoCommand,
    /// There is no such program.
    #[error("command `{0}` not found")]
    NotFound(String),
    /// The program may not be executed.
    #[error("command `{0}` is not executable: permission denied")]
    NotExecutable(String),
    /// The working directory is missing.
    #[error("directory `{0}` not found")]
    NoDirectory(String),
    /// Whatever else the system says.
    #[error("cannot start `{0}`: {1}")]
    Other(String, String),
}

/// A process and all that it has started in its process group. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    group: Pid,
    guardian: Guardian,
    is_left: bool,
}

impl Process {
    /// Starts a replica that is to listen on `port`.
    pub(super) fn spawn(
        settings: &ProcessRunner,
        port: u16,
        guardian: &Guardian,
    ) -> Result<Self, SpawnError> {
        let fill = |part: &String| part.replace(PORT, &port.to_string());
        let mut words = settings.command.iter().map(fill);
        let program = words.next().ok_or(SpawnError::NoCommand)?;
        let mut command = environment::command(&program, &settings.secrets);
        command
            .args(words)
            .envs(settings.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &settings.directory {
            command.current_dir(directory);
        }
        Self::start(&mut command, guardian).map_err(|error| explain(settings, program, &error))
    }

    /// Starts a command in a process group of its own, which `guardian` ends with Weir.
    pub(super) fn start(command: &mut Command, guardian: &Guardian) -> io::Result<Self> {
        command.process_group(0).kill_on_drop(true);
        die_with_parent(command, guardian.line());
        descriptors::restore_limit(command.as_std_mut());
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let group = pid.expect("a child that was not waited for has an id");
        guardian.add(group);
        Ok(Self {
            child,
            group,
            guardian: guardian.clone(),
            is_left: false,
        })
    }

    /// Signals the process and all it has started.
    pub(super) fn signal(&self, signal: Signal) {
        // They may all be gone: then there is nothing to do.
        let _ = rustix::process::kill_process_group(self.group, signal);
    }

    /// Lets what it has started live on, after it has ended itself.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }

    /// Whether any process of the group is left after the first one, which was waited for.
    pub(super) fn has_rest(&self) -> bool {
        reap(self.group);
        rustix::process::test_kill_process_group(self.group).is_ok()
    }
}

/// Takes note of those of a group that have ended, as the parent of every orphan must: the first
/// process of a container is. Their own parent was waited for. Says whether more will end.
fn reap(group: Pid) -> bool {
    loop {
        match rustix::process::waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            // They are children of another process, or gone.
            Err(_) => return false,
        }
    }
}

/// The same for a group that was killed.
async fn reap_all(group: Pid) {
    let deadline = Instant::now() + REAP_TIMEOUT;
    while reap(group) && Instant::now() < deadline {
        sleep(REAP_INTERVAL).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_left {
            // After the leader was reaped its id could in theory belong to another group: it
            // would have to be given away in the microseconds since, out of millions of ids.
            self.signal(Signal::KILL);
            let was_waited_for = self.child.id().is_none();
            if was_waited_for
                && reap(self.group)
                && let Ok(runtime) = Handle::try_current()
            {
                // Ends by itself, or with the runtime and all else.
                drop(runtime.spawn(reap_all(self.group)));
            }
        }
        self.guardian.remove(self.group);
    }
}

/// Lets the kernel kill the process when the thread that starts it ends, which is the
/// control thread and ends with Weir. Announces its group to the guardian before it can start
/// anything itself.
fn die_with_parent(command: &mut Command, guardian: Option<Arc<Line>>) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        if let Some(guardian) = &guardian {
            guardian.announce();
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Weir may have died before the signal was set; it would never be sent.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls
    // are allowed. It makes a few system calls, takes no lock and allocates nothing: the
    // errors are plain numbers, and the line is shared with Weir, not dropped here.
    #[allow(
        unsafe_code,
        reason = "the only way to make a system call between fork and exec"
    )]
    unsafe {
        command.pre_exec(in_child);
    }
}

fn explain(settings: &ProcessRunner, program: String, error: &io::Error) -> SpawnError {
    if let Some(directory) = &settings.directory
        && !directory.is_dir()
    {
        return SpawnError::NoDirectory(directory.display().to_string());
    }
    match error.kind() {
        io::ErrorKind::NotFound => SpawnError::NotFound(program),
        io::ErrorKind::PermissionDenied => SpawnError::NotExecutable(program),
        _ => SpawnError::Other(program, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::ManuallyDrop;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    fn settings(command: &[&str]) -> ProcessRunner {
        ProcessRunner {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            env: vec![("NAME".to_owned(), "from the file".to_owned())],
            directory: Some("/".into()),
            secrets: BTreeSet::new(),
            stop_timeout: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_replica_learns_port_environment_and_directory() {
        let script = r#"test "$1 $2 $NAME $PWD" = "--port=4711 4711 from the file /""#;
        let settings = settings(&["sh", "-c", script, "sh", "--port={port}", "{port}"]);
        let mut process = Process::spawn(&settings, 4711, &Guardian::default()).unwrap();
        assert!(process.child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let error = |settings: &ProcessRunner| {
            Process::spawn(settings, 1, &Guardian::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&settings(&["/no/such"])),
            "command `/no/such` not found"
        );
        let denied = "command `/etc/passwd` is not executable: permission denied";
        assert_eq!(error(&settings(&["/etc/passwd"])), denied);
        assert_eq!(error(&settings(&[])), "the command is empty");
        let mut nowhere = settings(&["true"]);
        nowhere.directory = Some("/no/such".into());
        assert_eq!(error(&nowhere), "directory `/no/such` not found");
    }

    #[tokio::test]
    async fn dropping_a_process_kills_what_it_has_started() {
        let settings = settings(&["sh", "-c", "sleep 1000 & echo $!; wait"]);
        let mut process = Process::spawn(&settings, 1, &Guardian::default()).unwrap();
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
        let settings = settings(&["sh", "-c", "sleep 1000 & exit 0"]);
        let mut process = Process::spawn(&settings, 1, &Guardian::default()).unwrap();
        process.child.wait().await.unwrap();
        assert!(process.has_rest());
        let group = process.group;
        drop(process);
        let gone = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            // A zombie counts.
            while rustix::process::test_kill_process_group(group).is_ok() {
                tick.tick().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.unwrap();
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let starter = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let process =
                    Process::spawn(&settings(&["sleep", "1000"]), 1, &Guardian::default()).unwrap();
                // Nobody is to kill it but the kernel.
                ManuallyDrop::new(process).group
            })
        });
        let pid = starter.join().unwrap();
        let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.terminating_signal(), Some(9));
    }
}
