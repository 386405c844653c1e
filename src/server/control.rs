//! The tasks of the control plane, with one owner that ends them.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{error, warn};

use super::TIDY;
use super::supervision::Supervision;
use super::upgrade::Inherited;
use crate::admin;
use crate::autoscale;
use crate::config;
use crate::discovery;
use crate::health;
use crate::observe::Metrics;
use crate::replicas;
use crate::state::{Publisher, PublisherTask, Reader};
use crate::transport::{BindError, bind};

/// How long the autoscaler has at the end to write down what it knows.
const WRITE_DOWN: Duration = Duration::from_secs(5);

/// Every task of the control plane. They end with it.
#[derive(Debug)]
pub(super) struct ControlPlane {
    tasks: JoinSet<()>,
    admin: Option<Admin>,
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

/// The admin listener that runs.
#[derive(Debug)]
struct Admin {
    configured: SocketAddr,
    addr: SocketAddr,
    task: AbortHandle,
    /// For the process that takes over.
    copy: std::net::TcpListener,
}

/// What a new configuration does to the admin listener.
#[derive(Debug)]
pub(super) enum AdminChange {
    Keep,
    Close,
    Open(SocketAddr, std::net::TcpListener, tokio::net::TcpListener),
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
            admin: None,
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

    /// Binds the admin listener if it is new or has moved.
    pub(super) fn bind_admin(
        &self,
        config: Option<&config::Admin>,
        inherited: &mut Inherited,
    ) -> Result<AdminChange, BindError> {
        let running = self.admin.as_ref().map(|admin| admin.configured);
        let Some(config) = config else {
            return Ok(AdminChange::Close);
        };
        if running == Some(config.bind) {
            return Ok(AdminChange::Keep);
        }
        let failed = |source: io::Error| BindError {
            addr: config.bind,
            source,
        };
        let socket = match inherited.take_admin(config.bind) {
            Some(socket) => socket,
            None => bind(config.bind, 1)?
                .pop()
                .ok_or_else(|| failed(io::Error::other("no socket")))?,
        };
        let copy = socket.try_clone().map_err(failed)?;
        let socket = tokio::net::TcpListener::from_std(socket).map_err(failed)?;
        Ok(AdminChange::Open(config.bind, copy, socket))
    }

    /// Carries out what [`Self::bind_admin`] found.
    pub(super) fn serve_admin(&mut self, change: AdminChange, context: &admin::Context) {
        let (configured, copy, socket) = match change {
            AdminChange::Keep => return,
            AdminChange::Close => {
                self.close_admin();
                return;
            }
            AdminChange::Open(configured, copy, socket) => (configured, copy, socket),
        };
        self.close_admin();
        let addr = socket.local_addr().unwrap_or(configured);
        let task = serve_again(socket, &copy, context);
        let task = self.supervision.clone().restart("admin", task);
        let task = self.tasks.spawn(task);
        self.admin = Some(Admin {
            configured,
            addr,
            task,
            copy,
        });
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

    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.addr)
    }

    /// The socket of the admin listener, by the address in the configuration.
    pub(super) fn admin_socket(&self) -> Option<(SocketAddr, &std::net::TcpListener)> {
        let admin = self.admin.as_ref()?;
        Some((admin.configured, &admin.copy))
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

    pub(super) fn close_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.task.abort();
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
    let task = move || health::watch(view.0.clone(), view.1.clone());
    tasks.spawn(supervision.clone().restart("outlier_detection", task));
    let view = (reader.clone(), publisher.clone());
    let task = move || discovery::run(view.0.clone(), view.1.clone());
    tasks.spawn(supervision.clone().restart("discovery", task));
    let view = reader.clone();
    let task = move || keep_tidy(view.clone(), tidy);
    tasks.spawn(supervision.clone().restart("housekeeping", task));
    tasks
}

/// Serves the admin listener, and again on a copy of its socket.
fn serve_again(
    socket: tokio::net::TcpListener,
    copy: &std::net::TcpListener,
    context: &admin::Context,
) -> impl FnMut() -> BoxFuture<'static, ()> + use<> {
    let (mut first, context) = (Some(socket), context.clone());
    let copy = copy.try_clone();
    move || {
        let again = || {
            let copy = copy
                .as_ref()
                .map_err(|error| io::Error::from(error.kind()))?;
            tokio::net::TcpListener::from_std(copy.try_clone()?)
        };
        let socket = first.take().map_or_else(again, Ok);
        let context = context.clone();
        Box::pin(async move {
            match socket {
                Ok(socket) => admin::serve(socket, context).await,
                Err(error) => error!(%error, "the admin listener cannot be opened again"),
            }
        })
    }
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
        limiters.for_each(|limiter| limiter.tidy());
        tidy();
    }
}
