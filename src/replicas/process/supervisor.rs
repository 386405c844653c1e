//! Runs one replica process: starts it, waits until its port is open, starts it again when it
//! exits, and stops it in the end.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, error, info, warn};

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
use crate::replicas::{Replica, ReplicaId, ReplicaState};

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
}

/// The task that runs one replica.
#[derive(Debug)]
pub(super) struct ProcessSupervisor {
    shared: Shared,
    id: ReplicaId,
    settings: Arc<ProcessRunner>,
    report: Report,
    stop: oneshot::Receiver<()>,
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
    stop: Option<oneshot::Sender<()>>,
}

/// How one run of the process ended.
enum RunEnd {
    /// It was told to stop.
    Stopped,
    /// It could not be started; the error is logged.
    NotStarted,
    Exited(Exit),
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
                    self.log_exit(exit, wait);
                    wait
                }
            };
            self.report.set(|replica| {
                replica.state = ReplicaState::Starting;
                replica.pid = None;
                replica.address = None;
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
        let output = Output::follow(&self.shared.group, self.id, &mut process.child);
        self.report.set(|replica| {
            replica.pid = pid;
            replica.address = Some(port.address());
        });
        let exited = self.wait(&mut process, port.address()).await;
        let Some(status) = exited else {
            self.terminate(process).await;
            output.finish().await;
            return RunEnd::Stopped;
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

    /// Waits until the process exits. Returns `None` if it is to be stopped.
    async fn wait(
        &mut self,
        process: &mut ChildProcess,
        address: SocketAddr,
    ) -> Option<std::io::Result<ExitStatus>> {
        tokio::select! {
            status = process.child.wait() => return Some(status),
            _ = &mut self.stop => return None,
            () = port_opens(&self.shared.group, self.id, address) => {}
        }
        let pid = process.child.id();
        info!(event = kind::REPLICA, group = %self.shared.group, replica = self.id.0, pid, %address, "replica accepts connections");
        self.last_error.clear();
        self.report
            .set(|replica| replica.state = ReplicaState::Running);
        tokio::select! {
            status = process.child.wait() => Some(status),
            _ = &mut self.stop => None,
        }
    }

    /// Asks the process to end, and kills it when `stop_timeout` has passed.
    async fn terminate(&mut self, mut process: ChildProcess) {
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
            // Cannot fail for a child of ours, and cannot take long after SIGKILL.
            let _ = process.child.wait().await;
        }
        debug!(%group, replica, pid, "replica stopped");
    }

    /// Logs an exit and, unless they are the same as the last time, the last lines before it.
    fn log_exit(&mut self, exit: Exit, wait: Duration) {
        let (group, replica, pid) = (&self.shared.group, self.id.0, exit.pid);
        let status = match exit.status {
            // As of the first process of a program that puts itself into the background.
            Ok(status) if status.success() => {
                format!("{status} (a service must stay in the foreground)")
            }
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
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

impl Report {
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
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails if the supervisor has ended.
            let _ = stop.send(());
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
