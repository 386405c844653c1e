//! Assembles the house and runs it: start, reload, shutdown.
//!
//! A start is a reload from the empty snapshot. A reload builds everything that can
//! fail (sockets) before it changes anything; then it publishes, starts the new
//! listeners and drains the removed ones.

mod control;
mod descriptors;
mod listeners;
mod ready;
mod run;
mod service_manager;
mod signals;
mod source;
mod supervision;
mod upgrade;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::admin;
use crate::config::{self, Config};
use crate::model::ListenerId;
use crate::observe::Metrics;
use crate::state::{Diff, Lifecycle, Phase, Publisher, Reader};
use crate::transport::BindError;

use control::ControlPlane;
use descriptors::Descriptors;
use listeners::{Bound, Listeners};
pub use run::{Outcome, Program, StartError, run};
use supervision::{Defect, Supervision};
pub use upgrade::{Inherited, TakeOverError};
use worker::{Pulse, Worker};

/// Longest wait for the first health checks before requests are let in.
const FIRST_CHECKS: Duration = Duration::from_secs(10);

/// How often each thread puts its things in order: closes idle upstream connections,
/// gives memory back.
const TIDY: Duration = Duration::from_secs(1);

/// How long requests have to finish after a part of Weir has ended that must not.
const LAST_DRAIN: Duration = Duration::from_secs(5);

/// A running Weir.
#[derive(Debug)]
pub struct Server {
    publisher: Publisher,
    reader: Reader,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    workers: Vec<Worker>,
    listeners: Listeners,
    descriptors: Descriptors,
    control: ControlPlane,
    shutdown: config::Shutdown,
    defects: mpsc::UnboundedReceiver<Defect>,
}

/// A configuration that is published, and whose sockets no worker has yet.
struct Applied {
    diff: Diff,
    bound: Vec<(ListenerId, Bound)>,
    listeners: Vec<config::Listener>,
}

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A socket could not be bound; nothing has changed.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no more threads.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// The system takes no signal handlers.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The publisher has ended, which only a defect can cause.
    #[error("the publisher is gone; restart Weir")]
    PublisherGone,
    /// The number of workers is fixed at start.
    #[error("workers cannot change from {from} to {to} without a restart")]
    Workers {
        /// Running.
        from: usize,
        /// Asked for.
        to: usize,
    },
}

impl Server {
    /// Starts Weir on a checked configuration: returns once it serves. Needs a tokio
    /// runtime that lives as long as the server; workers bring their own.
    pub async fn start(config: Config) -> Result<Self, ApplyError> {
        let inherited = Inherited::default();
        Self::start_unless(config, inherited, std::future::pending(), || {}, None).await
    }

    /// The same on sockets of the process before, as far as the configuration has them. Lets
    /// nobody in when `hurry` resolves before the first health checks are done: what it
    /// returns then is only good for a shutdown. For `guardian` see [`crate::replicas::run`].
    pub async fn start_unless(
        config: Config,
        mut inherited: Inherited,
        hurry: impl Future<Output = ()>,
        tidy: fn(),
        guardian: Option<fn() -> Command>,
    ) -> Result<Self, ApplyError> {
        let (publisher, task, reader) = Publisher::new(fastrand::u64(..));
        let metrics = Arc::new(Metrics::default());
        let lifecycle = Arc::new(Lifecycle::default());
        let (found, defects) = mpsc::unbounded_channel();
        let supervision = Supervision::new(&metrics, found);
        let descriptors = Descriptors::new(&config);
        let workers = (0..worker_count(&config))
            .map(|index| {
                let targets = descriptors.targets.clone();
                Worker::spawn(index, &reader, &metrics, tidy, supervision.clone(), targets)
            })
            .collect::<Result<_, _>>()
            .map_err(ApplyError::Worker)?;
        let wishes = inherited.wishes(&config);
        let mut control = ControlPlane::start(
            task,
            &publisher,
            &reader,
            &metrics,
            wishes,
            tidy,
            guardian,
            supervision,
        );
        if !inherited.is_successor() {
            control.begin_scaling();
        }
        let mut server = Self {
            publisher,
            reader,
            metrics,
            lifecycle,
            workers,
            listeners: Listeners::new(descriptors.clients.clone()),
            descriptors,
            control,
            shutdown: config.shutdown,
            defects,
        };
        let applied = server.prepare(config, &mut inherited).await?;
        inherited.count_in_flight(&server.reader);
        drop(inherited);
        tokio::select! {
            () = server.first_checks() => {
                server.open(applied);
                server.lifecycle.enter(Phase::Serving);
            }
            // Nobody was let in, so there is nobody to turn away.
            () = hurry => server.shutdown.lame_duck = Duration::ZERO,
        }
        Ok(server)
    }

    /// Makes `config` the running configuration, or changes nothing and says why.
    pub async fn reload(&mut self, config: Config) -> Result<Diff, ApplyError> {
        let applied = self.prepare(config, &mut Inherited::default()).await;
        self.metrics.reloaded(applied.is_ok());
        applied.map(|applied| self.open(applied))
    }

    /// Binds what is new, then publishes: after this nothing can fail.
    async fn prepare(
        &mut self,
        config: Config,
        inherited: &mut Inherited,
    ) -> Result<Applied, ApplyError> {
        let from = self.workers.len();
        // Without a number in the file, the one taken at the start stands, whatever
        // became of the machine since.
        if let Some(to) = config.workers.map(usize::from).filter(|to| *to != from) {
            return Err(ApplyError::Workers { from, to });
        }
        let bound = self
            .listeners
            .bind_new(&config.listeners, from, inherited)?;
        let admin = self.control.bind_admin(config.admin.as_ref(), inherited)?;
        self.shutdown = config.shutdown;
        self.descriptors.adapt(&config);
        let listeners = config.listeners.clone();
        let published = self.publisher.configure(config).await;
        let diff = published.ok_or(ApplyError::PublisherGone)?;
        let context = admin::Context {
            reader: self.reader.clone(),
            metrics: Arc::clone(&self.metrics),
            lifecycle: Arc::clone(&self.lifecycle),
            replicas: self.control.replicas().clone(),
            autoscaling: Arc::clone(self.control.journal()),
            publisher: self.publisher.clone(),
        };
        self.control.serve_admin(admin, &context);
        Ok(Applied {
            diff,
            bound,
            listeners,
        })
    }

    /// Hands the new sockets to the workers and drains what is gone.
    fn open(&mut self, applied: Applied) -> Diff {
        let removed = self.listeners.update(applied.bound, &applied.listeners);
        let snapshot = self.reader.load_full();
        for listener in snapshot.listeners() {
            let Some(bound) = self.listeners.get_mut(&listener.id) else {
                continue;
            };
            let workers = self.workers.iter().cycle();
            for (worker, socket) in workers.zip(bound.sockets.drain(..)) {
                let id = (listener.slot, listener.id.clone());
                worker.listen(bound.key, id, socket, &bound.cap);
            }
        }
        for bound in removed {
            for worker in &self.workers {
                worker.drain(bound.key, self.shutdown.drain);
            }
        }
        applied.diff
    }

    /// Waits until the targets have been checked once, so that the first requests do
    /// not meet targets nobody knows anything about. Clients wait in the accept queue.
    async fn first_checks(&self) {
        let checked = ready::targets_known(&self.reader);
        if timeout(FIRST_CHECKS, checked).await.is_err() {
            warn!("some targets have not been checked after {FIRST_CHECKS:?}; serving anyway");
        }
    }

    /// Where each listener listens; differs from the configuration for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerId, SocketAddr)> {
        self.listeners.iter().map(|(id, bound)| (id, bound.addr))
    }

    /// Where the admin listener listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.control.admin_address()
    }

    /// Resolves when a part of Weir has ended that cannot be started again. Cancel-safe.
    async fn defect(&mut self) -> Defect {
        match self.defects.recv().await {
            Some(defect) => defect,
            None => std::future::pending().await,
        }
    }

    /// Prepares for an end that is to come soon. Sockets of a worker that has ended are closed
    /// at once: the clients in their queues shall not wait for nothing.
    fn give_up(&mut self) {
        self.listeners.close_copies();
        self.shutdown.lame_duck = Duration::ZERO;
        self.shutdown.drain = self.shutdown.drain.min(LAST_DRAIN);
    }

    /// What another process that takes this one's place watches and answers with.
    fn live(&self) -> upgrade::Live {
        upgrade::Live {
            reader: self.reader.clone(),
            pulse: Pulse::of(&self.workers),
        }
    }

    /// Another process serves, scales and is asked for its status from now on.
    fn retire(&mut self) {
        self.control.close_admin();
        self.control.leave_scaling();
    }

    /// Copies of every listening socket, by the address in the configuration, and of the
    /// admin listener's; and how many replicas there are to be.
    fn handover_state(&self) -> io::Result<upgrade::HandoverState> {
        let copies = |sockets: &[TcpListener]| -> io::Result<Vec<_>> {
            sockets.iter().map(TcpListener::try_clone).collect()
        };
        let listeners = self.listeners.sockets();
        let admin = self.control.admin_socket();
        Ok(upgrade::HandoverState {
            reader: self.reader.clone(),
            replicas: self.control.counts(),
            listeners: listeners
                .map(|(id, bind, sockets)| Ok((id.clone(), bind, copies(sockets)?)))
                .collect::<io::Result<_>>()?,
            admin: admin
                .map(|(bind, socket)| Ok::<_, io::Error>((bind, socket.try_clone()?)))
                .transpose()?,
        })
    }

    /// The picture the data plane reads.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Client connections now open.
    pub fn connections(&self) -> usize {
        self.listeners.connections()
    }

    /// Goes through the phases of a shutdown; `hurry` resolves when the rest should be
    /// skipped. Returns whether every request was finished.
    pub async fn shutdown(mut self, hurry: impl Future<Output = ()>) -> bool {
        let drained = tokio::select! {
            drained = self.drain() => drained,
            () = hurry => false,
        };
        self.lifecycle.enter(Phase::Closing);
        let connections = if drained { 0 } else { self.close().await };
        if connections > 0 {
            warn!(connections, "closing now: open connections are dropped");
        }
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
        self.control.stop().await;
        self.lifecycle.enter(Phase::Stopped);
        connections == 0
    }

    async fn drain(&mut self) -> bool {
        self.lifecycle.enter(Phase::LameDuck);
        for worker in &self.workers {
            worker.close_after_responses();
        }
        let (lame_duck, drain) = (self.shutdown.lame_duck, self.shutdown.drain);
        if !lame_duck.is_zero() {
            info!("lame duck for {lame_duck:?}: not ready, still accepting");
            tokio::time::sleep(lame_duck).await;
        }
        self.lifecycle.enter(Phase::Draining);
        self.listeners.close_copies();
        let connections = self.listeners.connections();
        info!(connections, "draining for at most {drain:?}");
        // All are told before one is waited for: none accepts while another drains.
        let draining: Vec<_> = self.workers.iter().map(Worker::drain_all).collect();
        let drained = async {
            for drained in draining {
                // An error means that the worker is gone, and its connections with it.
                let _ = drained.await;
            }
        };
        timeout(drain, drained).await.is_ok()
    }

    /// Ends what nobody else would end: upgraded connections, each in its own words.
    /// Returns how many connections are left.
    async fn close(&self) -> usize {
        let closing: Vec<_> = self.workers.iter().map(Worker::close).collect();
        let (mut tunnels, mut left) = (0, 0);
        for closed in closing {
            // An error means that the worker is gone, and its connections with it.
            let closed = closed.await.unwrap_or_default();
            tunnels += closed.tunnels;
            left += closed.left;
        }
        if tunnels > 0 {
            info!(tunnels, "upgraded connections are told to go");
        }
        left
    }
}

/// The cores the process may use, unless the configuration says otherwise.
fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.workers.map_or_else(cores, usize::from)
}

#[cfg(test)]
mod tests;
