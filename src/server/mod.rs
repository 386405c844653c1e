//! Assembles the house and runs it: start, reload, shutdown.
//!
//! A start is a reload from the empty configuration: everything that can fail (sockets) is
//! done before anything changes; then the configuration is published, new listeners are
//! opened and removed ones drained. At the start each listener opens by itself, when the
//! groups it names are ready or have had their time; until then its clients wait in the
//! kernel's queue. A reload waits for its groups before it switches: see `reload`.
//!
//! Nothing here waits inside of the event loop: `Server::next` is polled by it.

mod control;
mod descriptors;
mod listeners;
mod moves;
mod published;
mod ready;
mod reload;
mod run;
mod service_manager;
mod signals;
mod source;
mod supervision;
mod upgrade;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::admin;
use crate::config::{self, Config};
use crate::model::ListenerId;
use crate::net::BindError;
use crate::observe::Metrics;
use crate::state::{Diff, Lifecycle, Phase, Publisher, Reader};

use control::ControlPlane;
use descriptors::Descriptors;
use listeners::{Listeners, Orders};
use published::{Retired, with_incoming, with_retired};
use ready::{Awaited, Notices, group, named, unknown};
use reload::{Next, Reload};
pub use run::{Outcome, Program, StartError, run};
use supervision::{Defect, Supervision};
pub use upgrade::{Inherited, TakeOverError};
use worker::{Pulse, Worker};

/// How long a listener waits for its groups at the start, and a reload for the groups that it
/// brings: a process starts in seconds, and a client waits about as long.
const TARGETS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often what is waited for is looked at. A first failed check changes no health and so
/// publishes nothing that could be waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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
    /// The one that runs.
    config: Config,
    /// Listeners that are gone and have connections.
    retired: Vec<Retired>,
    /// Listeners that the workers do not accept for yet.
    closed: Vec<Closed>,
    /// The configuration that is waited for.
    reload: Option<Reload>,
    /// The configuration that is being published, and what is to be done then.
    switching: Option<Switch>,
    /// A publication that is not visible yet.
    publication: Option<JoinHandle<Option<Diff>>>,
    /// Whether something is published that has no use any more.
    is_stale: bool,
    events: VecDeque<Event>,
    /// What the process before has left, until this one serves.
    inherited: Inherited,
    defects: mpsc::UnboundedReceiver<Defect>,
}

/// A listener that waits for its groups.
#[derive(Debug)]
struct Closed {
    listener: ListenerId,
    deadline: Instant,
    notices: Notices,
}

/// What follows when a configuration is visible.
#[derive(Debug)]
struct Switch {
    orders: Orders,
    diff: Diff,
    /// How long listeners that are new wait for their groups.
    patience: Duration,
}

/// Something that has happened to the server.
#[derive(Debug)]
enum Event {
    /// The first configuration is published.
    Started,
    /// Every listener is open.
    Serving,
    /// A reload is over.
    Reloaded(Result<Diff, ApplyError>),
    /// A part of Weir has ended that cannot be started again.
    Broken(Defect),
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
        let mut server = Self::begin(config, Inherited::default(), || {}, None)?;
        loop {
            match server.next().await {
                Event::Serving => return Ok(server),
                Event::Reloaded(Err(error)) => return Err(error),
                Event::Broken(_) => return Err(ApplyError::PublisherGone),
                Event::Started | Event::Reloaded(Ok(_)) => {}
            }
        }
    }

    /// Begins to start on a checked configuration, with sockets of the process before as far
    /// as the configuration has them. The admin listener answers at once, the others open as
    /// [`Self::next`] is polled. For `guardian` see [`crate::replicas::run`].
    fn begin(
        config: Config,
        mut inherited: Inherited,
        tidy: fn(),
        guardian: Option<fn() -> Command>,
    ) -> Result<Self, ApplyError> {
        let (publisher, task, reader) = Publisher::new(fastrand::u64(..));
        let metrics = Arc::new(Metrics::default());
        let lifecycle = Arc::new(Lifecycle::default());
        let (found, defects) = mpsc::unbounded_channel();
        let supervision = Supervision::new(&metrics, found);
        let descriptors = Descriptors::new(&config);
        let workers: Vec<Worker> = (0..worker_count(&config))
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
            config: Config::empty(),
            retired: Vec::new(),
            closed: Vec::new(),
            reload: None,
            switching: None,
            publication: None,
            is_stale: false,
            events: VecDeque::new(),
            inherited,
            defects,
        };
        let workers = server.workers.len();
        server.listeners.inherit(&mut server.inherited, workers)?;
        let prepared = server.listeners.prepare(&config, workers)?;
        let first = Reload::new(config, prepared, Vec::new(), Duration::ZERO);
        server.switch(first, TARGETS_TIMEOUT)?;
        server.serve_admin();
        Ok(server)
    }

    /// Makes `config` the running configuration, or changes nothing and says why: returns once
    /// its groups are ready and its rules are in force.
    pub async fn reload(&mut self, config: Config) -> Result<Diff, ApplyError> {
        while self.is_switching() {
            // The caller of an earlier one is gone.
            let _ = self.next().await;
        }
        self.begin_reload(config)?;
        loop {
            match self.next().await {
                Event::Reloaded(outcome) => return outcome,
                Event::Broken(_) => return Err(ApplyError::PublisherGone),
                Event::Started | Event::Serving => {}
            }
        }
    }

    /// Binds what is new and begins to wait for groups; a reload that waits already is given
    /// up for this one. Fails without having changed anything. Not while one is
    /// [switching](Self::is_switching).
    fn begin_reload(&mut self, config: Config) -> Result<(), ApplyError> {
        let begun = self.try_begin_reload(config);
        if begun.is_err() {
            self.metrics.reloaded(false);
        }
        begun
    }

    fn try_begin_reload(&mut self, config: Config) -> Result<(), ApplyError> {
        let from = self.workers.len();
        // Without a number in the file, the one taken at the start stands, whatever
        // became of the machine since.
        if let Some(to) = config.workers.map(usize::from).filter(|to| *to != from) {
            return Err(ApplyError::Workers { from, to });
        }
        if self
            .reload
            .as_ref()
            .is_some_and(|reload| reload.config == config)
        {
            info!("the configuration has not changed since the reload that waits");
            return Ok(());
        }
        if let Some(earlier) = self.reload.take() {
            // Its sockets may be in the way of the new ones.
            self.is_stale |= earlier.is_warming;
            info!("a reload that waited is given up for a newer one");
        }
        let prepared = self.listeners.prepare(&config, from)?;
        let awaited = Awaited::of(&self.config, &config, &self.reader.load());
        self.reload = Some(Reload::new(config, prepared, awaited, TARGETS_TIMEOUT));
        Ok(())
    }

    /// Whether a reload is past the point where a newer one can take its place; it is over in
    /// a moment.
    fn is_switching(&self) -> bool {
        self.switching.is_some()
    }

    /// What happens next. Cancel-safe; nothing happens while it is not polled.
    async fn next(&mut self) -> Event {
        loop {
            self.step();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let is_idle = self.publication.is_none();
            let is_waiting = self.reload.is_some() || !self.closed.is_empty();
            let retired = self.retired.iter().map(|retired| retired.until).min();
            tokio::select! {
                published = published(&mut self.publication) => self.published(published),
                () = self.listeners.ended() => {}
                () = sleep(LOOK_INTERVAL), if is_idle && is_waiting => {}
                () = until(retired), if is_idle => {}
                Some(defect) = self.defects.recv() => return Event::Broken(defect),
            }
        }
    }

    /// Does what can be done without waiting.
    fn step(&mut self) {
        let now = Instant::now();
        if self.publication.is_none() {
            self.advance_reload(now);
        }
        if self.publication.is_none() {
            self.open_ready(now);
            self.forget_retired(now);
        }
        if self.publication.is_none() && self.is_stale {
            self.publish();
        }
        self.lifecycle.wait_for(self.waits());
    }

    fn advance_reload(&mut self, now: Instant) {
        let Some(mut reload) = self.reload.take() else {
            return;
        };
        let snapshot = self.reader.load_full();
        let is_open = |id: &ListenerId| self.listeners.is_open(id);
        match reload.look(&self.config, &snapshot, is_open, now) {
            Next::Wait => self.reload = Some(reload),
            Next::Warm => {
                reload.is_warming = true;
                self.reload = Some(reload);
                self.publish();
            }
            Next::Switch => {
                let was_warming = reload.is_warming;
                if let Err(error) = self.switch(reload, Duration::ZERO) {
                    self.is_stale |= was_warming;
                    self.metrics.reloaded(false);
                    self.events.push_back(Event::Reloaded(Err(error)));
                }
            }
        }
    }

    /// Lets clients in and publishes: after this nothing can fail.
    fn switch(&mut self, reload: Reload, patience: Duration) -> Result<(), ApplyError> {
        reload.prepared.listen()?;
        let before = std::mem::replace(&mut self.config, reload.config);
        self.descriptors.adapt(&self.config);
        let drain = self.config.shutdown.drain;
        let orders = self.listeners.commit(reload.prepared, &self.config, drain);
        // Clients that have just connected may still have their first request.
        let until = Instant::now() + drain.max(worker::MOMENT);
        let gone = orders.gone.iter();
        self.retired
            .extend(gone.filter_map(|id| Retired::of(&before, id, until)));
        self.switching = Some(Switch {
            orders,
            diff: Diff::between(&before, &self.config),
            patience,
        });
        self.publish();
        Ok(())
    }

    /// Publishes the configuration that runs with what there has to be beside it.
    fn publish(&mut self) {
        self.is_stale = false;
        let mut config = with_retired(self.config.clone(), &self.retired);
        if let Some(reload) = self.reload.as_ref().filter(|reload| reload.is_warming) {
            config = with_incoming(config, &reload.config);
        }
        let (publisher, served) = (self.publisher.clone(), self.listeners.served());
        let publication = async move { publisher.configure_on(config, served).await };
        self.publication = Some(tokio::spawn(publication));
    }

    /// Goes on when a publication is visible.
    fn published(&mut self, published: Option<Diff>) {
        let Some(switch) = self.switching.take() else {
            return;
        };
        let Some(published) = published else {
            let gone = Err(ApplyError::PublisherGone);
            self.events.push_back(Event::Reloaded(gone));
            return;
        };
        self.carry_out(switch.orders);
        self.serve_admin();
        let now = Instant::now();
        let closed = self.listeners.closed();
        self.closed
            .retain(|waiting| closed.contains(&waiting.listener));
        for listener in closed {
            if !self
                .closed
                .iter()
                .any(|waiting| waiting.listener == listener)
            {
                self.closed.push(Closed {
                    listener,
                    deadline: now + switch.patience,
                    notices: Notices::since(now),
                });
            }
        }
        let is_first = switch.patience > Duration::ZERO;
        if is_first {
            self.inherited.count_in(&self.reader);
            self.events.push_back(Event::Started);
        }
        self.open_ready(now);
        if !is_first {
            self.metrics.reloaded(true);
            self.events.push_back(Event::Reloaded(Ok(Diff {
                contradictions: published.contradictions,
                ..switch.diff
            })));
        }
    }

    fn carry_out(&mut self, orders: Orders) {
        self.hand_out(orders.open);
        for (id, leaving) in orders.leave {
            for worker in &self.workers {
                worker.leave(id, leaving);
            }
        }
        for (id, accepting) in orders.leave_admin {
            self.control.leave_admin(id, accepting);
        }
    }

    fn hand_out(&self, sockets: Vec<worker::Opening>) {
        for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
            worker.listen(socket);
        }
    }

    fn serve_admin(&mut self) {
        let context = admin::Context {
            reader: self.reader.clone(),
            metrics: Arc::clone(&self.metrics),
            lifecycle: Arc::clone(&self.lifecycle),
            replicas: self.control.replicas().clone(),
            autoscaling: Arc::clone(self.control.journal()),
            publisher: self.publisher.clone(),
        };
        let sockets = self.listeners.hand_out_admin();
        if sockets.is_empty() {
            return;
        }
        for socket in sockets {
            self.control.serve_admin(socket, context.clone());
        }
        if let Some(addr) = self.admin_address() {
            info!("admin on http://{addr}");
        }
    }

    /// Opens listeners whose groups are ready, or have had their time.
    fn open_ready(&mut self, now: Instant) {
        let mut closed = std::mem::take(&mut self.closed);
        closed.retain_mut(|waiting| {
            let lack = self.lack(&waiting.listener);
            if let Some((group, reason)) = lack {
                let listener = &waiting.listener;
                if now < waiting.deadline {
                    if waiting.notices.is_due(now) {
                        info!(%listener, %group, reason, "listener waits for its target groups");
                    }
                    return true;
                }
                warn!(%listener, %group, reason, "listener opens without a target group");
            }
            self.open(&waiting.listener);
            false
        });
        self.closed = closed;
        let is_published = self.switching.is_none();
        let is_starting = self.lifecycle.phase() == Phase::Starting;
        if is_published && is_starting && self.closed.is_empty() {
            self.lifecycle.enter(Phase::Serving);
            self.events.push_back(Event::Serving);
        }
    }

    /// A group that a listener waits for, and why.
    fn lack(&self, listener: &ListenerId) -> Option<(crate::model::TargetGroupId, String)> {
        let mut listeners = self.config.listeners.iter();
        let listener = listeners.find(|other| other.id == *listener)?;
        let snapshot = self.reader.load();
        named(listener).into_iter().find_map(|id| {
            let reason = unknown(&snapshot, group(&self.config, id)?)?;
            Some((id.clone(), reason))
        })
    }

    fn open(&mut self, listener: &ListenerId) {
        let sockets = self.listeners.hand_out(listener);
        self.hand_out(sockets);
        if let Some(addr) = self.listeners.addresses(&self.config).get(listener) {
            let name = if *listener.0 == addr.to_string() {
                String::new()
            } else {
                format!(" ({listener})")
            };
            info!("listening on http://{addr}{name}");
        }
    }

    /// Takes listeners out of what is published whose last connection has ended.
    fn forget_retired(&mut self, now: Instant) {
        let before = self.retired.len();
        let (listeners, config) = (&self.listeners, &self.config);
        self.retired.retain(|retired| {
            let id = &retired.listener.id;
            let is_back = config.listeners.iter().any(|listener| listener.id == *id);
            !is_back && now < retired.until && listeners.has_left(id)
        });
        self.is_stale |= self.retired.len() < before;
    }

    fn waits(&self) -> Vec<String> {
        let closed = self.closed.iter().filter_map(|waiting| {
            let (group, reason) = self.lack(&waiting.listener)?;
            let listener = &waiting.listener;
            Some(format!("listener {listener} waits for {group}: {reason}"))
        });
        let mut waits: Vec<String> = closed.collect();
        if let Some(reload) = &self.reload {
            waits.extend(reload.waits(&self.reader.load()));
        }
        waits
    }

    /// Where each listener listens; differs from the configuration for port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerId, SocketAddr)> {
        self.listeners.addresses(&self.config).into_iter()
    }

    /// Where the admin listener listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners
            .admin_address(self.config.admin.as_ref()?.bind)
    }

    /// Prepares for an end that is to come soon. Sockets of a worker that has ended are closed
    /// at once: the clients in their queues shall not wait for nothing.
    fn give_up(&mut self) {
        self.listeners.close_copies();
        self.config.shutdown.lame_duck = Duration::ZERO;
        self.config.shutdown.drain = self.config.shutdown.drain.min(LAST_DRAIN);
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
        let admin = self.listeners.admin_socket();
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
        let config::Shutdown { lame_duck, drain } = self.config.shutdown;
        // Without a listener that was opened there is no client to turn away.
        if !lame_duck.is_zero() && self.listeners.is_any_open() {
            info!("lame duck for {lame_duck:?}: not ready, still accepting");
            sleep(lame_duck).await;
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

/// The publication that is under way, once it is visible. Cancel-safe.
async fn published(publication: &mut Option<JoinHandle<Option<Diff>>>) -> Option<Diff> {
    let Some(task) = publication else {
        return std::future::pending().await;
    };
    let published = task.await;
    *publication = None;
    published.ok().flatten()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The cores the process may use, unless the configuration says otherwise.
fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.workers.map_or_else(cores, usize::from)
}

#[cfg(test)]
mod tests;
