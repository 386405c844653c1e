//! The tasks of the control plane, with one owner that ends them.

mod admin_loops;
mod parts;
mod scaling;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::error;

use super::housekeeping;
use super::notices;
use super::sockets::AdminOpening;
use super::supervision::Supervision;
use super::worker::Accepting;
use crate::acme;
use crate::admin;
use crate::autoscale;
use crate::discovery;
use crate::health;
use crate::model::SocketId;
use crate::replicas::{self, ReplicaControl, ReplicaCounts};
use crate::spans;
use crate::state::PublisherTask;

use admin_loops::AdminLoops;
pub(super) use parts::ControlParts;
use scaling::Scaling;

/// For the last spans; a little more than what their task takes itself.
const SPANS_TIMEOUT: Duration = Duration::from_secs(3);

/// All tasks of the control plane. They end with it.
#[derive(Debug)]
pub(super) struct ControlPlane {
    tasks: JoinSet<()>,
    admin: AdminLoops,
    scaling: Scaling,
    certificates: Arc<acme::Report>,
    discovery: Arc<discovery::Report>,
    spans: SpanExport,
    supervision: Supervision,
}

/// The task that exports spans, which ends after all others of its kind.
#[derive(Debug)]
struct SpanExport {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl SpanExport {
    fn start(parts: &ControlParts) -> Self {
        let (ending, is_ending) = watch::channel(false);
        let reader = parts.reader.clone();
        let task = move || spans::run(reader.clone(), is_ending.clone());
        let task = tokio::spawn(parts.supervision.clone().restart("spans", task));
        Self { task, ending }
    }

    /// Exports what is left.
    async fn stop(mut self) {
        self.ending.send_replace(true);
        if timeout(SPANS_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl ControlPlane {
    /// Starts all tasks but the admin listener. Groups begin with `counts` replicas.
    pub(super) fn start(task: PublisherTask, counts: ReplicaCounts, parts: &ControlParts) -> Self {
        let (certificates, discovery) = (Arc::default(), Arc::default());
        let mut tasks = start_observers(parts, &certificates, &discovery);
        tasks.spawn(parts.supervision.clone().require("publisher", task.run()));
        Self {
            tasks,
            admin: AdminLoops::default(),
            scaling: Scaling::start(parts, counts),
            certificates,
            discovery,
            spans: SpanExport::start(parts),
            supervision: parts.supervision.clone(),
        }
    }

    /// Accepts admin clients on a socket.
    pub(super) fn serve_admin(&mut self, opening: AdminOpening, context: admin::Context) {
        let supervision = self.supervision.clone();
        self.admin
            .serve(opening, context, supervision, &mut self.tasks);
    }

    /// Leaves sockets of the admin listener; its connections go on to their end.
    pub(super) fn leave_admin(&mut self, id: SocketId, accepting: Accepting) {
        self.admin.leave(id, accepting, &mut self.tasks);
    }

    /// Leaves the clients of the admin listener to the process that has its sockets now.
    pub(super) fn close_admin(&mut self) {
        self.admin.close();
    }

    /// The state of all replicas, for the status page.
    pub(super) fn replicas(&self) -> &watch::Receiver<replicas::Status> {
        self.scaling.status()
    }

    /// Changes what is wanted of the replicas, for the admin API.
    pub(super) fn replica_control(&self) -> &ReplicaControl {
        self.scaling.control()
    }

    /// The decisions of the autoscaler, for the status page.
    pub(super) fn journal(&self) -> &Arc<autoscale::Journal> {
        self.scaling.journal()
    }

    /// The state of certificates that are ordered, for the status page.
    pub(super) fn certificates(&self) -> &Arc<acme::Report> {
        &self.certificates
    }

    /// The state of names and files that targets come from, for the status page.
    pub(super) fn discovery(&self) -> &Arc<discovery::Report> {
        &self.discovery
    }

    /// The desired count of each group, for a successor.
    pub(super) fn counts(&self) -> ReplicaCounts {
        self.scaling.counts()
    }

    /// Lets the autoscaler decide from now on.
    pub(super) fn begin_scaling(&mut self) {
        self.scaling.begin();
    }

    /// Stops the autoscaler: another process scales from now on.
    pub(super) fn leave_scaling(&mut self) {
        self.scaling.leave();
    }

    /// Ends the autoscaler and the replicas, then every other task.
    pub(super) async fn stop(mut self) {
        self.scaling.stop().await;
        self.spans.stop().await;
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_err_and(|error| error.is_panic()) {
                error!("a control task ended in a panic");
            }
        }
    }
}

/// Starts health checks, outlier detection, discovery, orders of certificates, notices and
/// housekeeping.
fn start_observers(
    parts: &ControlParts,
    certificates: &Arc<acme::Report>,
    discovery: &Arc<discovery::Report>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let view = (parts.reader.clone(), parts.publisher.clone());
    let task = move || health::run(view.0.clone(), view.1.clone());
    tasks.spawn(parts.supervision.clone().restart("health", task));
    let view = (parts.reader.clone(), parts.publisher.clone());
    let task = move || health::monitor(view.0.clone(), view.1.clone());
    tasks.spawn(parts.supervision.clone().restart("outlier_detection", task));
    let view = (parts.reader.clone(), parts.publisher.clone());
    let report = Arc::clone(discovery);
    let task = move || discovery::run(view.0.clone(), view.1.clone(), Arc::clone(&report));
    tasks.spawn(parts.supervision.clone().restart("discovery", task));
    let view = (parts.reader.clone(), Arc::clone(certificates));
    let task = move || acme::run(view.0.clone(), Arc::clone(&view.1));
    tasks.spawn(parts.supervision.clone().restart("acme", task));
    let view = (parts.reader.clone(), Arc::clone(&parts.metrics));
    let task = move || notices::run(view.0.clone(), Arc::clone(&view.1));
    tasks.spawn(parts.supervision.clone().restart("notices", task));
    let (view, hook) = (parts.reader.clone(), parts.housekeeping);
    let task = move || housekeeping::run(view.clone(), hook);
    tasks.spawn(parts.supervision.clone().restart("housekeeping", task));
    tasks
}
