//! The tasks of the control plane, with one owner that ends them.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::TIDY;
use super::listeners::AdminOpening;
use super::supervision::Supervision;
use super::worker::{Accepting, MOMENT};
use crate::admin;
use crate::autoscale;
use crate::discovery;
use crate::health;
use crate::model::SocketId;
use crate::observe::Metrics;
use crate::replicas;
use crate::state::{Publisher, PublisherTask, Reader};

/// How long the autoscaler has at the end to write down what it knows.
const WRITE_DOWN: Duration = Duration::from_secs(5);

/// Every task of the control plane. They end with it.
#[derive(Debug)]
pub(super) struct ControlPlane {
    tasks: JoinSet<()>,
    /// Tells the accept loops of the admin listener to end, and whether they still take what
    /// waits in the queue.
    admin: Vec<(SocketId, watch::Sender<Option<bool>>)>,
    /// Ended before the others, and never aborted: it has processes to stop.
    replicas: JoinHandle<()>,
    stop_replicas: oneshot::Sender<()>,
    replica_status: watch::Receiver<replicas::Status>,
    /// What the autoscaler asks of the replicas.
    wishes: watch::Sender<replicas::Wishes>,
    /// Holds the autoscaler back, until this process is the one that scales.
    begin_scaling: Option<oneshot::Sender<()>>,
    /// Ended before the replicas, so that it does not ask for others while they stop, and
    /// never aborted: it has something to write down.
    autoscaler: JoinHandle<()>,
    stop_autoscaler: Option<watch::Sender<()>>,
    journal: Arc<autoscale::Journal>,
    supervision: Supervision,
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
        wishes: replicas::Wishes,
        tidy: fn(),
        guardian: Option<fn() -> Command>,
        supervision: Supervision,
    ) -> Self {
        let watched = || supervision.clone();
        let mut tasks = watch_and_find(publisher, reader, tidy, &supervision);
        tasks.spawn(watched().require("publisher", task.run()));
        let (status, replica_status) = watch::channel(replicas::Status::default());
        let (wishes, orders) = watch::channel(wishes);
        let (stop_replicas, stopped) = oneshot::channel();
        let stopped = async {
            // A dropped sender means the same.
            let _ = stopped.await;
        };
        let (asked, left) = (wishes.clone(), wishes.clone());
        let (known, scaler) = (reader.clone(), watched());
        let replicas = replicas::run(
            reader.clone(),
            publisher.clone(),
            orders,
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
                    wishes.clone(),
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
            wishes: asked,
            begin_scaling: Some(begin_scaling),
            autoscaler: tokio::spawn(async move {
                // An error is the end of a process that was never to scale.
                if begun.await.is_ok() {
                    scaler.restart("autoscaler", scaling).await;
                }
                leave_to_engines(&left, &known);
            }),
            stop_autoscaler: Some(stop_autoscaler),
            journal,
            supervision,
        }
    }

    /// Accepts admin clients on a socket.
    pub(super) fn serve_admin(&mut self, opening: AdminOpening, context: admin::Context) {
        let (stop, stopped) = watch::channel(None);
        self.admin.push((opening.id, stop));
        let task = serve_again(opening.socket, context, stopped);
        let task = self.supervision.clone().restart("admin", task);
        self.tasks.spawn(async move {
            task.await;
            drop(opening.alive);
        });
    }

    /// Parts with sockets of the admin listener; its connections go on to their end.
    pub(super) fn leave_admin(&mut self, id: SocketId, accepting: Accepting) {
        for (_, stop) in self.admin.extract_if(.., |(other, _)| *other == id) {
            match accepting {
                Accepting::Queued => drop(stop.send_replace(Some(true))),
                Accepting::Nothing => drop(stop.send_replace(Some(false))),
                Accepting::Moment => {
                    self.tasks.spawn(async move {
                        sleep(MOMENT).await;
                        stop.send_replace(Some(true));
                    });
                }
            }
        }
    }

    /// The replicas that run, for the status page.
    pub(super) fn replicas(&self) -> &watch::Receiver<replicas::Status> {
        &self.replica_status
    }

    /// How many replicas each group is to have: as the autoscaler wishes, which a provider
    /// follows late, and elsewhere as the provider has it.
    pub(super) fn counts(&self) -> replicas::Wishes {
        let status = self.replica_status.borrow();
        // Of a provider that never answered nobody knows the number.
        let is_known = |group: &replicas::GroupReplicas| group.fault.is_none() || group.desired > 0;
        let counts = status.iter().filter(|(_, group)| is_known(group));
        let mut counts: replicas::Wishes = counts
            .map(|(id, group)| (id.clone(), group.desired))
            .collect();
        counts.extend(self.wishes.borrow().clone());
        counts
    }

    /// Lets the autoscaler decide from now on.
    pub(super) fn begin_scaling(&mut self) {
        if let Some(begin) = self.begin_scaling.take() {
            // The autoscaler waits for it, unless it has panicked.
            let _ = begin.send(());
        }
    }

    /// Another process scales from now on. The replicas of this one stay until it ends.
    pub(super) fn leave_scaling(&mut self) {
        self.stop_autoscaler = None;
    }

    /// What the autoscaler has decided, for the status page.
    pub(super) fn journal(&self) -> &Arc<autoscale::Journal> {
        &self.journal
    }

    /// Ends the autoscaler, stops the replicas and waits for their processes, then ends every
    /// other task.
    pub(super) async fn stop(mut self) {
        drop((self.begin_scaling, self.stop_autoscaler));
        match timeout(WRITE_DOWN, &mut self.autoscaler).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => error!("the autoscaler's task ended in a panic"),
            Err(_) => {
                warn!(
                    "the autoscaler's history is not written: the disk takes longer than {WRITE_DOWN:?}"
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
        for (_, stop) in self.admin.drain(..) {
            stop.send_replace(Some(false));
        }
    }
}

/// Starts the tasks that find out how things are.
fn watch_and_find(
    publisher: &Publisher,
    reader: &Reader,
    tidy: fn(),
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
    let task = move || keep_tidy(view.clone(), tidy);
    tasks.spawn(supervision.clone().restart("housekeeping", task));
    tasks
}

/// Serves the admin listener on copies of its socket, until it is stopped.
fn serve_again(
    socket: TcpListener,
    context: admin::Context,
    stopped: watch::Receiver<Option<bool>>,
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

/// Resolves when an accept loop of the admin listener has to end, and says whether it takes
/// what waits in its queue.
async fn admin_stopped(mut stopped: watch::Receiver<Option<bool>>) -> bool {
    // Without a sender Weir ends, and every connection with it.
    let stopped = stopped.wait_for(Option::is_some).await;
    stopped.is_ok_and(|takes_queue| *takes_queue == Some(true))
}

/// Asks nothing more of engines: while this process drains, another may scale what they run.
fn leave_to_engines(wishes: &watch::Sender<replicas::Wishes>, reader: &Reader) {
    let snapshot = reader.load_full();
    let groups = snapshot.config.target_groups.iter();
    let own: Vec<_> = groups
        .filter(|group| group.replicas.as_ref().is_some_and(|r| r.runner.is_own()))
        .map(|group| &group.id)
        .collect();
    wishes.send_modify(|wishes| wishes.retain(|group, _| own.contains(&group)));
}

/// Forgets what nobody needs any more, about once a second.
async fn keep_tidy(reader: Reader, tidy: fn()) {
    let mut tidied = tokio::time::interval(TIDY);
    loop {
        tidied.tick().await;
        let snapshot = reader.load_full();
        let limiters = snapshot.listeners().filter_map(|l| l.rate_limit.as_ref());
        limiters.for_each(|limiter| limiter.tidy(std::time::Instant::now()));
        tidy();
    }
}
