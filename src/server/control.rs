//! The tasks of the control plane, with one owner that ends them.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::error;

use super::TIDY;
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

/// After a panic of the autoscaler: doubling from the first to the last.
const RESTART_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// An autoscaler that ran for so long did not panic for the same reason as the one before.
const RECOVERED: Duration = Duration::from_secs(60);

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
    wishes: watch::Receiver<replicas::Wishes>,
    /// Ended before the replicas, so that it does not ask for others while they stop, and
    /// never aborted: it has something to write down.
    autoscaler: JoinHandle<()>,
    stop_autoscaler: watch::Sender<()>,
    journal: Arc<autoscale::Journal>,
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
    pub(super) fn start(
        task: PublisherTask,
        publisher: &Publisher,
        reader: &Reader,
        metrics: &Arc<Metrics>,
        wishes: replicas::Wishes,
        tidy: fn(),
        guardian: Option<fn() -> Command>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        tasks.spawn(health::run(reader.clone(), publisher.clone()));
        tasks.spawn(health::watch(reader.clone(), publisher.clone()));
        tasks.spawn(discovery::run(reader.clone(), publisher.clone()));
        tasks.spawn(keep_tidy(reader.clone(), tidy));
        let (status, replica_status) = watch::channel(replicas::Status::default());
        let (wishes, orders) = watch::channel(wishes);
        let (stop_replicas, stopped) = oneshot::channel();
        let stopped = async {
            // A dropped sender means the same.
            let _ = stopped.await;
        };
        let asked = orders.clone();
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
            replicas: tokio::spawn(replicas),
            stop_replicas,
            replica_status,
            wishes: asked,
            autoscaler: tokio::spawn(keep_scaling(scaling)),
            stop_autoscaler,
            journal,
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
        let task = self.tasks.spawn(admin::serve(socket, context.clone()));
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
        drop(self.stop_autoscaler);
        if self.autoscaler.await.is_err() {
            error!("the autoscaler's task ended in a panic");
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

/// Starts the autoscaler, and again should it panic: nothing else would scale. Ever more slowly,
/// and said once in a row.
async fn keep_scaling<F>(scaling: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut wait = RESTART_AFTER.0;
    let mut is_said = false;
    loop {
        let started = Instant::now();
        if tokio::spawn(scaling()).await.is_ok() {
            return;
        }
        if started.elapsed() >= RECOVERED {
            wait = RESTART_AFTER.0;
            is_said = false;
        }
        if !is_said {
            is_said = true;
            error!("the autoscaler panicked, starting again");
        }
        sleep(wait).await;
        wait = RESTART_AFTER.1.min(2 * wait);
    }
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
