//! Keeps one replica process alive: starts it, sees it open its port, starts it again
//! when it dies, and stops it in the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, error, info, warn};

use super::output::Output;
use super::port::{Port, Ports};
use crate::config::ProcessRunner;
use crate::model::TargetGroupId;
use crate::replicas::backoff::Backoff;
use crate::replicas::child::Guardian;
use crate::replicas::child::Process;
use crate::replicas::panic::caught;
use crate::replicas::{Replica, ReplicaId, ReplicaState};

/// Between attempts to connect to a replica that has not opened its port: doubling from
/// the first to the last.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// A replica that has not opened its port by then probably listens elsewhere.
const SLOW_START: Duration = Duration::from_secs(10);

/// Between looks at whether what a stopped replica had started has ended too.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The task that keeps one replica.
#[derive(Debug)]
pub(super) struct Keeper {
    group: TargetGroupId,
    id: ReplicaId,
    settings: Arc<ProcessRunner>,
    ports: Ports,
    guardian: Guardian,
    report: Report,
    stop: oneshot::Receiver<()>,
    backoff: Backoff,
    /// What was last said about why the replica does not live: said once.
    complaint: Option<String>,
}

/// Where a keeper says how its replica is. Dropping it says that there is none any more.
#[derive(Debug)]
struct Report {
    replica: Option<watch::Sender<Replica>>,
    news: Arc<Notify>,
}

/// What the owner of a keeper holds.
#[derive(Debug)]
pub(super) struct Handle {
    replica: watch::Receiver<Replica>,
    stop: Option<oneshot::Sender<()>>,
}

enum Ended {
    /// It was told to.
    Stopped,
    /// It lived so long.
    Died(Duration),
}

impl Keeper {
    /// A keeper for a new replica. `news` is notified whenever the replica changes.
    pub(super) fn new(
        group: TargetGroupId,
        id: ReplicaId,
        settings: Arc<ProcessRunner>,
        (ports, guardian): (Ports, Guardian),
        news: Arc<Notify>,
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
        let keeper = Self {
            group,
            id,
            settings,
            ports,
            guardian,
            report: Report {
                replica: Some(sender),
                news,
            },
            stop: stopped,
            backoff: Backoff::default(),
            complaint: None,
        };
        let stop = Some(stop);
        (keeper, Handle { replica, stop })
    }

    /// Runs until told to stop, and until the process is reaped then. Aborting it kills
    /// the process.
    pub(super) async fn run(mut self) {
        while let Ended::Died(lived) = self.live_or_panic().await {
            let wait = self.backoff.after(lived);
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

    /// A panic is a death at once.
    async fn live_or_panic(&mut self) -> Ended {
        match caught(self.live()).await {
            Ok(ended) => ended,
            Err(panic) => {
                if self.is_new(&panic) {
                    error!(group = %self.group, replica = self.id.0, "running a replica {panic}, trying again");
                }
                Ended::Died(Duration::ZERO)
            }
        }
    }

    /// One life of the replica.
    async fn live(&mut self) -> Ended {
        let Some((mut process, port)) = self.start() else {
            return Ended::Died(Duration::ZERO);
        };
        let born = Instant::now();
        let pid = process.child.id();
        let output = Output::follow(&self.group, self.id, &mut process.child);
        self.report.set(|replica| {
            replica.pid = pid;
            replica.address = Some(port.address());
        });
        let ended = self.wait(&mut process, port.address()).await;
        let Some(status) = ended else {
            self.terminate(process).await;
            output.finish().await;
            return Ended::Stopped;
        };
        // What it has started must not go on answering in its place.
        drop(process);
        let lived = born.elapsed();
        let last_lines = output.finish().await;
        self.log_exit(pid, status, lived, last_lines);
        Ended::Died(lived)
    }

    fn start(&mut self) -> Option<(Process, Port)> {
        let started = match self.ports.reserve() {
            Ok(port) => match Process::spawn(&self.settings, port.number(), &self.guardian) {
                Ok(process) => Ok((process, port)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(format!("no port of the loopback interface: {error}")),
        };
        match started {
            Ok(started) => Some(started),
            Err(error) => {
                if self.is_new(&error) {
                    error!(group = %self.group, %error, "cannot start a replica, trying again");
                }
                None
            }
        }
    }

    /// Until the process ends, or `None` when it is to be stopped.
    async fn wait(
        &mut self,
        process: &mut Process,
        address: SocketAddr,
    ) -> Option<std::io::Result<ExitStatus>> {
        tokio::select! {
            status = process.child.wait() => return Some(status),
            _ = &mut self.stop => return None,
            () = port_opens(&self.group, address) => {}
        }
        let pid = process.child.id();
        info!(group = %self.group, replica = self.id.0, pid, %address, "replica runs");
        self.complaint = None;
        self.report
            .set(|replica| replica.state = ReplicaState::Running);
        tokio::select! {
            status = process.child.wait() => Some(status),
            _ = &mut self.stop => None,
        }
    }

    /// Asks the process to end, and makes it when its time is over.
    async fn terminate(&mut self, mut process: Process) {
        let pid = process.child.id();
        self.report
            .set(|replica| replica.state = ReplicaState::Stopping);
        let deadline = Instant::now() + self.settings.stop_timeout;
        process.signal(Signal::TERM);
        let all_gone = async {
            let _ = process.child.wait().await;
            while process.has_rest() {
                sleep(LOOK_AGAIN).await;
            }
        };
        if timeout_at(deadline, all_gone).await.is_err() {
            warn!(
                group = %self.group,
                replica = self.id.0,
                pid,
                stop_timeout = ?self.settings.stop_timeout,
                "replica did not stop in time, killing it"
            );
            process.signal(Signal::KILL);
            // Cannot fail for a child of ours, and cannot take long after SIGKILL.
            let _ = process.child.wait().await;
        }
        debug!(group = %self.group, replica = self.id.0, pid, "replica stopped");
    }

    fn log_exit(
        &mut self,
        pid: Option<u32>,
        status: std::io::Result<ExitStatus>,
        lived: Duration,
        last_lines: VecDeque<String>,
    ) {
        let (group, replica) = (self.group.clone(), self.id.0);
        let status = status.map_or_else(
            |error| error.to_string(),
            |status| match status.code() {
                // That of the process which a daemon leaves behind at once.
                Some(0) => format!("{status} (a service must stay in the foreground)"),
                Some(_) | None => status.to_string(),
            },
        );
        warn!(%group, replica, pid, %status, ?lived, "replica died, starting another");
        let last_lines = Vec::from(last_lines);
        if self.is_new(&last_lines.join("\n")) {
            for line in last_lines {
                warn!(%group, replica, pid, "it said: {line}");
            }
        }
    }

    fn is_new(&mut self, complaint: &str) -> bool {
        let is_new = self.complaint.as_deref() != Some(complaint);
        self.complaint = Some(complaint.to_owned());
        is_new
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
        self.news.notify_one();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // First gone, then news of it.
        self.replica = None;
        self.news.notify_one();
    }
}

impl Handle {
    /// How the replica is; `None` once there is none any more.
    pub(super) fn replica(&self) -> Option<Replica> {
        self.replica.has_changed().ok()?;
        Some(self.replica.borrow().clone())
    }

    /// Tells the replica to stop. Later calls change nothing.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The keeper may have ended by itself.
            let _ = stop.send(());
        }
    }
}

/// Waits until something accepts connections at the replica's address.
async fn port_opens(group: &TargetGroupId, address: SocketAddr) {
    let born = Instant::now();
    let mut warned = false;
    let mut wait = CONNECT_AGAIN.0;
    while let Err(error) = TcpStream::connect(address).await {
        if !warned && born.elapsed() >= SLOW_START {
            warned = true;
            warn!(%group, %address, %error, "replica runs but does not listen on the port it was given");
        }
        sleep(wait).await;
        wait = CONNECT_AGAIN.1.min(wait * 2);
    }
}
