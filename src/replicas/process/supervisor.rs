//! Runs one replica process: starts it, waits until its port is open, starts it again when it
//! exits, and stops it in the end.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{error, info, warn};

use super::output::Output;
use super::port::{Port, Ports};
use super::spawn::spawn;
use crate::config::ProcessRunner;
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::backoff::Backoff;
use crate::replicas::child::{ChildProcess, Guardian};
use crate::replicas::last_error::LastError;
use crate::replicas::panic::caught;
use crate::replicas::port_probe::until_open;
use crate::replicas::{LastExit, Replica, ReplicaId, ReplicaState, StopReason, Stopped};

/// A replica that has not opened its port by then probably listens on another one.
const SLOW_START: Duration = Duration::from_secs(10);

/// Between two checks whether what a stopped replica had started has ended too.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// What the supervisors of a group share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) group: TargetGroupId,
    pub(super) ports: Ports,
    pub(super) guardian: Guardian,
    /// Notified when a replica changes.
    pub(super) changes: Arc<Notify>,
    /// Runs that have ended, until they are listed.
    pub(super) stopped: Arc<StoppedRuns>,
}

/// Runs that have ended, until they are listed.
#[derive(Debug, Default)]
pub(super) struct StoppedRuns(Mutex<Vec<Stopped>>);

/// Most of them: a list is asked for whenever one has ended.
const MAX_STOPPED_RUNS: usize = 1000;

impl StoppedRuns {
    fn add(&self, stopped: Stopped) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() < MAX_STOPPED_RUNS {
            runs.push(stopped);
        }
    }

    pub(super) fn take(&self) -> Vec<Stopped> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task that runs one replica.
#[derive(Debug)]
pub(super) struct ProcessSupervisor {
    shared: Shared,
    id: ReplicaId,
    settings: Arc<ProcessRunner>,
    report: Report,
    stop: oneshot::Receiver<StopReason>,
    backoff: Backoff,
    /// Why the replica did not start, or what it printed before it exited.
    last_error: LastError,
}

/// Publishes the state of the replica. Dropping it reports that the replica is gone.
#[derive(Debug)]
struct Report {
    replica: Option<watch::Sender<Replica>>,
    changes: Arc<Notify>,
}

/// The owner's end: the state of the replica, and the order to stop.
#[derive(Debug)]
pub(super) struct Handle {
    replica: watch::Receiver<Replica>,
    stop: Option<oneshot::Sender<StopReason>>,
}

/// How one run of the process ended.
enum RunEnd {
    /// It was told to stop.
    Stopped,
    /// It could not be started; the error is logged.
    NotStarted,
    Exited(Exit),
}

/// How the wait for the end of a process ended.
enum WaitEnd {
    Exited(std::io::Result<ExitStatus>),
    /// It is to be stopped.
    Stop(StopReason),
}

/// An exit without an order to stop.
struct Exit {
    pid: Option<u32>,
    status: std::io::Result<ExitStatus>,
    lifetime: Duration,
    /// The last lines that it printed.
    output_tail: Vec<String>,
}

impl ProcessSupervisor {
    pub(super) fn new(
        shared: Shared,
        id: ReplicaId,
        settings: Arc<ProcessRunner>,
    ) -> (Self, Handle) {
        let (sender, replica) = watch::channel(Replica {
            id,
            name: None,
            pid: None,
            address: None,
            state: ReplicaState::Starting,
            restarts: 0,
            since: SystemTime::now(),
            started: None,
            last_exit: None,
        });
        let (stop, stopped) = oneshot::channel();
        let report = Report {
            replica: Some(sender),
            changes: shared.changes.clone(),
        };
        let supervisor = Self {
            shared,
            id,
            settings,
            report,
            stop: stopped,
            backoff: Backoff::of_restarts(),
            last_error: LastError::default(),
        };
        let stop = Some(stop);
        (supervisor, Handle { replica, stop })
    }

    /// Runs until told to stop and until the process is reaped then. Dropping the future kills
    /// the process.
    pub(super) async fn run(mut self) {
        loop {
            let wait = match self.run_once_or_panic().await {
                RunEnd::Stopped => return,
                RunEnd::NotStarted => self.backoff.next_wait(),
                RunEnd::Exited(exit) => {
                    let wait = self.backoff.after_exit(exit.lifetime);
                    self.note_exit(&exit);
                    self.log_exit(exit, wait);
                    wait
                }
            };
            self.report.set(|replica| {
                replica.state = ReplicaState::Starting;
                replica.pid = None;
                replica.address = None;
                replica.started = None;
                replica.restarts += 1;
            });
            tokio::select! {
                () = sleep(wait) => {}
                _ = &mut self.stop => return,
            }
        }
    }

    /// A panic counts as a failed start.
    async fn run_once_or_panic(&mut self) -> RunEnd {
        caught(self.run_once()).await.unwrap_or_else(|panic| {
            if self.last_error.is_new(&panic) {
                error!(group = %self.shared.group, replica = self.id.0, "supervisor of a replica {panic}; starting the replica again");
            }
            RunEnd::NotStarted
        })
    }

    async fn run_once(&mut self) -> RunEnd {
        let Some((mut process, port)) = self.start() else {
            return RunEnd::NotStarted;
        };
        let started = Instant::now();
        let pid = process.child.id();
        let to = &self.settings.output;
        let output = Output::follow(&self.shared.group, self.id, to, &mut process.child);
        self.report.set(|replica| {
            replica.pid = pid;
            replica.address = Some(port.address());
            replica.started = Some(SystemTime::now());
        });
        let status = match self.wait(&mut process, port.address()).await {
            WaitEnd::Exited(status) => status,
            WaitEnd::Stop(reason) => {
                let status = self.terminate(process).await;
                output.finish().await;
                self.note_end(reason, &status);
                return RunEnd::Stopped;
            }
        };
        // What it has started must not go on answering in its place.
        drop(process);
        let lifetime = started.elapsed();
        RunEnd::Exited(Exit {
            pid,
            status,
            lifetime,
            output_tail: output.finish().await.into(),
        })
    }

    fn start(&mut self) -> Option<(ChildProcess, Port)> {
        let started = match self.shared.ports.reserve() {
            Ok(port) => match spawn(&self.settings, port.number(), &self.shared.guardian) {
                Ok(process) => return Some((process, port)),
                Err(error) => error.to_string(),
            },
            Err(error) => format!("no port of the loopback interface: {error}"),
        };
        if self.last_error.is_new(&started) {
            error!(event = kind::REPLICA, group = %self.shared.group, replica = self.id.0, error = started, "cannot start a replica, trying again");
        }
        None
    }

    /// Waits until the process exits or is to be stopped.
    async fn wait(&mut self, process: &mut ChildProcess, address: SocketAddr) -> WaitEnd {
        tokio::select! {
            status = process.child.wait() => return WaitEnd::Exited(status),
            reason = &mut self.stop => return WaitEnd::stop(reason.ok()),
            () = port_opens(&self.shared.group, self.id, address) => {}
        }
        let pid = process.child.id();
        info!(event = kind::REPLICA, group = %self.shared.group, replica = self.id.0, pid, %address, "replica accepts connections");
        self.last_error.clear();
        self.report
            .set(|replica| replica.state = ReplicaState::Running);
        tokio::select! {
            status = process.child.wait() => WaitEnd::Exited(status),
            reason = &mut self.stop => WaitEnd::stop(reason.ok()),
        }
    }

    /// Asks the process to end, and kills it when `stop_timeout` has passed. Returns how it ended.
    async fn terminate(&mut self, mut process: ChildProcess) -> std::io::Result<ExitStatus> {
        let (group, replica, pid) = (&self.shared.group, self.id.0, process.child.id());
        self.report
            .set(|replica| replica.state = ReplicaState::Stopping);
        let deadline = Instant::now() + self.settings.stop_timeout;
        process.signal(Signal::TERM);
        let all_ended = async {
            let _ = process.child.wait().await;
            while process.has_descendants() {
                sleep(CHECK_INTERVAL).await;
            }
        };
        if timeout_at(deadline, all_ended).await.is_err() {
            let stop_timeout = self.settings.stop_timeout;
            warn!(event = kind::REPLICA, %group, replica, pid, ?stop_timeout, "replica did not stop in time, killing it");
            process.signal(Signal::KILL);
        }
        // Cannot fail for a child of ours, nor take long after SIGKILL; a second call has the status
        // of the first.
        process.child.wait().await
    }

    /// Notes that the process has ended by itself.
    fn note_exit(&self, exit: &Exit) {
        self.note_end(StopReason::Exited, &exit.status);
        let last = LastExit {
            at: SystemTime::now(),
            status: described(&exit.status),
        };
        self.report.set(|replica| replica.last_exit = Some(last));
    }

    /// Notes that a run of the process has ended, before its number and address are forgotten.
    fn note_end(&self, reason: StopReason, status: &std::io::Result<ExitStatus>) {
        let Some(replica) = self.report.current() else {
            return;
        };
        self.shared.stopped.add(Stopped {
            id: self.id,
            name: replica.name,
            pid: replica.pid,
            address: replica.address,
            restarts: replica.restarts,
            started: replica.started,
            stopped: SystemTime::now(),
            reason,
            exit: Some(described(status)),
        });
    }

    /// Logs an exit and, unless they are the same as the last time, the last lines before it.
    fn log_exit(&mut self, exit: Exit, wait: Duration) {
        let (group, replica, pid) = (&self.shared.group, self.id.0, exit.pid);
        let status = match exit.status {
            // As of the first process of a program that puts itself into the background.
            Ok(status) if status.success() => {
                format!("{status} (a service must stay in the foreground)")
            }
            status => described(&status),
        };
        let lifetime = exit.lifetime;
        warn!(event = kind::REPLICA, %group, replica, pid, %status, ?lifetime, "replica exited, restarting in {wait:?}");
        if self.last_error.is_new(&exit.output_tail.join("\n")) {
            for line in exit.output_tail {
                warn!(%group, replica, pid, "last output of the replica: {line}");
            }
        }
    }
}

impl WaitEnd {
    /// An owner that is gone wants no replica any more.
    fn stop(reason: Option<StopReason>) -> Self {
        Self::Stop(reason.unwrap_or(StopReason::Shutdown))
    }
}

fn described(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

impl Report {
    /// The replica as it is listed.
    fn current(&self) -> Option<Replica> {
        Some(self.replica.as_ref()?.borrow().clone())
    }

    fn set(&self, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = &self.replica {
            replica.send_modify(|replica| {
                let before = replica.state;
                change(replica);
                if replica.state != before {
                    replica.since = SystemTime::now();
                }
            });
        }
        self.changes.notify_one();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Before the notification: what it wakes must not find the replica.
        self.replica = None;
        self.changes.notify_one();
    }
}

impl Handle {
    /// The replica; `None` once it is gone.
    pub(super) fn replica(&self) -> Option<Replica> {
        self.replica.has_changed().ok()?;
        Some(self.replica.borrow().clone())
    }

    /// Tells the replica to stop. Later calls change nothing.
    pub(super) fn stop(&mut self, reason: StopReason) {
        if let Some(stop) = self.stop.take() {
            // Fails if the supervisor has ended.
            let _ = stop.send(reason);
        }
    }
}

/// Waits until a connection to the replica's address is accepted.
async fn port_opens(group: &TargetGroupId, replica: ReplicaId, address: SocketAddr) {
    let started = Instant::now();
    let mut is_reported = false;
    until_open(address, |error| {
        if !is_reported && started.elapsed() >= SLOW_START {
            is_reported = true;
            warn!(event = kind::REPLICA, %group, replica = replica.0, %address, %error, "replica runs but does not listen on the port it was given, waiting");
        }
    })
    .await;
}
