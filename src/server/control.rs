//! The tasks of the control plane, with one owner that ends them.
//!
//! The replicas and the autoscaler are ended first and never aborted: the replicas have
//! processes to stop, the autoscaler has its history to write.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::housekeeping;
use super::sockets::AdminOpening;
use super::supervision::Supervision;
use super::worker::{Accepting, LATE_HANDSHAKE_TIMEOUT};
use crate::admin;
use crate::autoscale;
use crate::discovery;
use crate::health;
use crate::model::SocketId;
use crate::observe::Metrics;
use crate::replicas;
use crate::state::{Publisher, PublisherTask, Reader};

/// How long the autoscaler has to write its history when the process ends.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// All tasks of the control plane. They end with it.
#[derive(Debug)]
pub(super) struct ControlPlane {
    tasks: JoinSet<()>,
    admin: Vec<AdminLoop>,
    /// Ended before `tasks`.
    replicas: JoinHandle<()>,
    stop_replicas: oneshot::Sender<()>,
    replica_status: watch::Receiver<replicas::Status>,
    /// The desired counts that the autoscaler has decided.
    desired: watch::Sender<replicas::DesiredCounts>,
    /// Lets the autoscaler decide; sent when this process is the one that scales.
    begin_scaling: Option<oneshot::Sender<()>>,
    /// Ended before the replicas, so that it starts no others while they stop.
    autoscaler: JoinHandle<()>,
    stop_autoscaler: Option<watch::Sender<()>>,
    journal: Arc<autoscale::Journal>,
    supervision: Supervision,
}

/// The accept loop of one socket of the admin listener.
#[derive(Debug)]
struct AdminLoop {
    id: SocketId,
    stop: watch::Sender<Option<StopAdmin>>,
}

/// How an accept loop of the admin listener ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopAdmin {
    /// It accepts the clients that wait in the socket's queue.
    AcceptQueue,
    /// Another accept loop has the same socket and accepts them.
    LeaveQueue,
}

impl ControlPlane {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of Weir that the tasks need"
    )]
    pub(super) fn start(
        task: PublisherTask,
        publisher: &Publisher,
        reader: &Reader,
        metrics: &Arc<Metrics>,
        counts: replicas::ReplicaCounts,
        housekeeping: fn(),
        guardian: Option<fn() -> Command>,
        supervision: Supervision,
    ) -> Self {
        let watched = || supervision.clone();
        let mut tasks = start_observers(publisher, reader, housekeeping, &supervision);
        tasks.spawn(watched().require("publisher", task.run()));
        let (status, replica_status) = watch::channel(replicas::Status::default());
        let (desired, wanted) = watch::channel(inherited(counts));
        let (stop_replicas, stopped) = oneshot::channel();
        let stopped = async {
            // Never sent: the sender is dropped.
            let _ = stopped.await;
        };
        let (shown, left) = (desired.clone(), desired.clone());
        let (known, scaler) = (reader.clone(), watched());
        let replicas = replicas::run(
            reader.clone(),
            publisher.clone(),
            wanted,
            status,
            guardian,
            stopped,
        );
        let journal = Arc::new(autoscale::Journal::default());
        let (stop_autoscaler, stopped) = watch::channel(());
        let (begin_scaling, begun) = oneshot::channel();
        let scaling = {
            let (reader, metrics) = (reader.clone(), Arc::clone(metrics));
            let (replicas, journal) = (replica_status.clone(), Arc::clone(&journal));
            move || {
                let mut stopped = stopped.clone();
                let stopped = async move { while stopped.changed().await.is_ok() {} };
                autoscale::run(
                    reader.clone(),
                    Arc::clone(&metrics),
                    replicas.clone(),
                    desired.clone(),
                    Arc::clone(&journal),
                    stopped,
                )
            }
        };
        Self {
            tasks,
            admin: Vec::new(),
            replicas: tokio::spawn(watched().require("replicas", replicas)),
            stop_replicas,
            replica_status,
            desired: shown,
            begin_scaling: Some(begin_scaling),
            autoscaler: tokio::spawn(async move {
                // An error means that the process ends and never was to scale.
                if begun.await.is_ok() {
                    scaler.restart("autoscaler", scaling).await;
                }
                release_engines(&left, &known);
            }),
            stop_autoscaler: Some(stop_autoscaler),
            journal,
            supervision,
        }
    }

    /// Accepts admin clients on a socket.
    pub(super) fn serve_admin(&mut self, opening: AdminOpening, context: admin::Context) {
        let (stop, stopped) = watch::channel(None);
        let id = opening.id;
        self.admin.push(AdminLoop { id, stop });
        let task = serve_again(opening.socket, context, stopped);
        let task = self.supervision.clone().restart("admin", task);
        self.tasks.spawn(async move {
            task.await;
            drop(opening.alive);
        });
    }

    /// Leaves sockets of the admin listener; its connections go on to their end.
    pub(super) fn leave_admin(&mut self, id: SocketId, accepting: Accepting) {
        for AdminLoop { stop, .. } in self.admin.extract_if(.., |admin| admin.id == id) {
            match accepting {
                Accepting::Queued => drop(stop.send_replace(Some(StopAdmin::AcceptQueue))),
                Accepting::Nothing => drop(stop.send_replace(Some(StopAdmin::LeaveQueue))),
                Accepting::LateHandshakes => {
                    self.tasks.spawn(async move {
                        sleep(LATE_HANDSHAKE_TIMEOUT).await;
                        stop.send_replace(Some(StopAdmin::AcceptQueue));
                    });
                }
            }
        }
    }

    /// The state of all replicas, for the status page.
    pub(super) fn replicas(&self) -> &watch::Receiver<replicas::Status> {
        &self.replica_status
    }

    /// The desired count of each group: the autoscaler's decision, which a provider follows
    /// with a delay, and in other groups the provider's own count.
    pub(super) fn counts(&self) -> replicas::ReplicaCounts {
        let status = self.replica_status.borrow();
        let desired = self.desired.borrow();
        // The number of a provider that has never answered is not known.
        let is_known = |group: &replicas::GroupReplicas| group.fault.is_none() || group.desired > 0;
        let seen = status.iter().filter(|(_, group)| is_known(group));
        let wanted = desired.iter();
        seen.map(|(id, group)| (id.clone(), group.desired))
            .chain(wanted.filter_map(|(id, desired)| Some((id.clone(), desired.count()?))))
            .collect()
    }

    /// Lets the autoscaler decide from now on.
    pub(super) fn begin_scaling(&mut self) {
        if let Some(begin) = self.begin_scaling.take() {
            // Fails only if the autoscaler has panicked.
            let _ = begin.send(());
        }
    }

    /// Stops the autoscaler: another process scales from now on. The replicas of this one run
    /// until it ends.
    pub(super) fn leave_scaling(&mut self) {
        self.stop_autoscaler = None;
    }

    /// The decisions of the autoscaler, for the status page.
    pub(super) fn journal(&self) -> &Arc<autoscale::Journal> {
        &self.journal
    }

    /// Ends the autoscaler, stops the replicas and waits for their processes, then ends every
    /// other task.
    pub(super) async fn stop(mut self) {
        drop((self.begin_scaling, self.stop_autoscaler));
        match timeout(JOURNAL_TIMEOUT, &mut self.autoscaler).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => error!("the autoscaler's task ended in a panic"),
            Err(_) => {
                warn!(
                    "the autoscaler's history is not written: the disk takes longer than {JOURNAL_TIMEOUT:?}"
                );
                self.autoscaler.abort();
            }
        }
        drop(self.stop_replicas);
        if self.replicas.await.is_err() {
            error!("the replicas' task ended in a panic");
        }
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_err_and(|error| error.is_panic()) {
                error!("a control task ended in a panic");
            }
        }
    }

    /// Leaves the clients of the admin listener to the process that has its sockets now.
    pub(super) fn close_admin(&mut self) {
        for admin in self.admin.drain(..) {
            admin.stop.send_replace(Some(StopAdmin::LeaveQueue));
        }
    }
}

/// Starts health checks, outlier detection, discovery and housekeeping.
fn start_observers(
    publisher: &Publisher,
    reader: &Reader,
    housekeeping: fn(),
    supervision: &Supervision,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let view = (reader.clone(), publisher.clone());
    let task = move || health::run(view.0.clone(), view.1.clone());
    tasks.spawn(supervision.clone().restart("health", task));
    let view = (reader.clone(), publisher.clone());
    let task = move || health::monitor(view.0.clone(), view.1.clone());
    tasks.spawn(supervision.clone().restart("outlier_detection", task));
    let view = (reader.clone(), publisher.clone());
    let task = move || discovery::run(view.0.clone(), view.1.clone());
    tasks.spawn(supervision.clone().restart("discovery", task));
    let view = reader.clone();
    let task = move || housekeeping::run(view.clone(), housekeeping);
    tasks.spawn(supervision.clone().restart("housekeeping", task));
    tasks
}

/// Serves the admin listener on a copy of its socket until it is stopped; after a panic on
/// another copy.
fn serve_again(
    socket: TcpListener,
    context: admin::Context,
    stopped: watch::Receiver<Option<StopAdmin>>,
) -> impl FnMut() -> BoxFuture<'static, ()> + use<> {
    move || {
        let copy = socket.try_clone();
        let copy = copy.and_then(tokio::net::TcpListener::from_std);
        let (context, stopped) = (context.clone(), admin_stopped(stopped.clone()));
        Box::pin(async move {
            match copy {
                Ok(socket) => admin::serve(socket, context, stopped).await,
                Err(error) => error!(%error, "the admin listener cannot be opened"),
            }
        })
    }
}

/// Resolves when an accept loop of the admin listener has to end. Returns whether it accepts
/// the clients in its queue.
async fn admin_stopped(mut stopped: watch::Receiver<Option<StopAdmin>>) -> bool {
    // An error means that the process ends, and every connection with it.
    let stopped = stopped.wait_for(Option::is_some).await;
    stopped.is_ok_and(|stop| *stop == Some(StopAdmin::AcceptQueue))
}

/// The counts that the predecessor had come to, as those to go on from.
fn inherited(counts: replicas::ReplicaCounts) -> replicas::DesiredCounts {
    counts
        .into_iter()
        .map(|(id, count)| (id, replicas::DesiredCount::of(count)))
        .collect()
}

/// Withdraws the desired counts of groups with replicas that an engine runs: while this process
/// drains, another may scale them.
fn release_engines(desired: &watch::Sender<replicas::DesiredCounts>, reader: &Reader) {
    let snapshot = reader.load_full();
    let groups = snapshot.config.target_groups.iter();
    let own: Vec<_> = groups
        .filter(|group| group.replicas.as_ref().is_some_and(|r| r.runner.is_own()))
        .map(|group| &group.id)
        .collect();
    desired.send_modify(|desired| desired.retain(|group, _| own.contains(&group)));
}
