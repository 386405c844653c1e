//! What lives on a worker's thread, and how it handles its commands.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error};

use super::command::{Accepting, Command, LATE_HANDSHAKE_TIMEOUT, Leaving, Opening, TunnelsClosed};
use crate::downstream::{Backlog, DrainSignal};
use crate::listener::Listener;
use crate::model::{Failure, SocketId};
use crate::net::descriptors::DescriptorPool;
use crate::net::{Acceptor, Buffers};
use crate::observe::Metrics;
use crate::proxy::Proxy;
use crate::server::housekeeping;
use crate::state::DataPlaneReader;
use crate::target::Target;
use crate::upstream::{Pool, Terms};

/// How long tunnels have to end: both sides get a Close frame or the end, and have a second to
/// answer.
const TUNNEL_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The worker's proxy, pool and accept loops.
pub(super) struct WorkerState {
    reader: DataPlaneReader,
    pool: Rc<Pool>,
    proxy: Rc<Proxy>,
    /// One for each socket, until its last connection has ended.
    accept_loops: Vec<AcceptLoop>,
    /// The drain signals of all sockets, also of those that were left, while a connection
    /// holds them.
    drains: Vec<Rc<DrainSignal>>,
    /// The version of the snapshot's targets that the pools were last compared with.
    targets_since: u64,
    closing: bool,
    panic_sender: mpsc::UnboundedSender<Panic>,
    /// Panics of accept loops. A worker with a dead accept loop must end as well: the clients
    /// in the socket's queue would not be served.
    panics: mpsc::UnboundedReceiver<Panic>,
}

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// The accept loop of one socket.
struct AcceptLoop {
    id: SocketId,
    drain: Rc<DrainSignal>,
    task: tokio::task::JoinHandle<()>,
}

impl WorkerState {
    pub(super) fn new(
        reader: DataPlaneReader,
        metrics: &Metrics,
        descriptors: DescriptorPool,
    ) -> Self {
        let buffers = Buffers::default();
        let pool = Rc::new(Pool::new(descriptors, buffers.clone()));
        let proxy = Proxy::new(reader.clone(), Rc::clone(&pool), buffers, metrics.worker());
        let (panic_sender, panics) = mpsc::unbounded_channel();
        Self {
            reader,
            pool,
            proxy: Rc::new(proxy),
            accept_loops: Vec::new(),
            drains: Vec::new(),
            targets_since: 0,
            closing: false,
            panic_sender,
            panics,
        }
    }

    /// Runs until it is stopped, or the server is gone. Calls `housekeeping` once a second.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        housekeeping: fn(),
    ) {
        let mut ticks = interval(housekeeping::INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pool = Rc::clone(&self.pool);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => {
                        self.proxy.metrics().end();
                        return;
                    }
                    Some(command) => self.handle(command),
                },
                true = self.reader.changed() => self.adopt_targets(),
                Some(panic) = self.panics.recv() => resume_unwind(panic),
                () = pool.watch() => {}
                tick = ticks.tick() => {
                    self.pool.reap();
                    self.proxy.buffers().trim();
                    let metrics = self.proxy.metrics();
                    metrics.unsolicited(self.pool.take_unsolicited());
                    metrics.retain(tick.into_std(), Target::is_listed);
                    housekeeping();
                }
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Listen(opening) => self.listen(opening),
            Command::CloseAfterResponses => {
                self.closing = true;
                for accept_loop in &self.accept_loops {
                    accept_loop.drain.close_after_responses();
                }
            }
            Command::Leave(id, leaving) => self.leave(id, leaving),
            Command::DrainAll(done) => self.drain_all(done),
            Command::CloseTunnels(done) => {
                let drains = self.drains.clone();
                tokio::task::spawn_local(async move {
                    // An error means that the server waits no longer.
                    let _ = done.send(close_tunnels(&drains).await);
                });
            }
            Command::Ping(answer) => {
                // An error means that the server waits no longer.
                let _ = answer.send(());
            }
            Command::Stop => {}
        }
    }

    fn leave(&mut self, id: SocketId, leaving: Leaving) {
        self.accept_loops
            .retain(|accept_loop| !accept_loop.task.is_finished());
        for accept_loop in self.accept_loops.iter().filter(|other| other.id == id) {
            leave(&accept_loop.drain, leaving);
        }
        // The accept loop and every connection hold a reference.
        self.drains.retain(|drain| Rc::strong_count(drain) > 1);
    }

    fn drain_all(&mut self, done: oneshot::Sender<()>) {
        let mut tasks = Vec::new();
        for accept_loop in self.accept_loops.drain(..) {
            accept_loop.drain.drain();
            tasks.push(accept_loop.task);
        }
        tokio::task::spawn_local(async move {
            for task in tasks {
                if task.await.is_err() {
                    error!("an accept loop ended in a panic");
                }
            }
            // An error means that the server waits no longer.
            let _ = done.send(());
        });
    }

    fn listen(&mut self, opening: Opening) {
        let Opening {
            id,
            name,
            socket,
            limit,
            alive,
        } = opening;
        let socket = match Acceptor::new(socket) {
            Ok(socket) => socket,
            Err(error) => {
                error!(
                    listener = %name,
                    %error,
                    "cannot poll the listening socket; this worker does not accept from it"
                );
                return;
            }
        };
        let drain = Rc::new(DrainSignal::default());
        if self.closing {
            drain.close_after_responses();
        }
        let listener = Listener {
            id,
            name,
            socket,
            limit,
            waiting: RefCell::default(),
            drain: Rc::clone(&drain),
            proxy: Rc::clone(&self.proxy),
            reader: self.reader.clone(),
            starved: Cell::default(),
            terms: RefCell::default(),
        };
        let panics = self.panic_sender.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(listener.run()).catch_unwind().await {
                // Fails only when the worker ends already.
                let _ = panics.send(panic);
            }
            drop(alive);
        });
        self.drains.push(Rc::clone(&drain));
        self.accept_loops.push(AcceptLoop { id, drain, task });
    }

    /// Drops the pools of targets that have left the snapshot, and pools of connections that were
    /// made in other terms than those of now.
    fn adopt_targets(&mut self) {
        let snapshot = self.reader.load();
        let since = std::mem::replace(&mut self.targets_since, snapshot.targets_since());
        if since == snapshot.targets_since() {
            return;
        }
        self.pool.retain(|target| {
            let group = snapshot.group_named(&target.id.group)?;
            target.is_listed().then_some(Terms {
                policy: &group.upstream,
                tls: group.tls.as_ref(),
            })
        });
        debug!(
            idle = self.pool.idle(),
            "pools compared with the targets of now"
        );
    }
}

/// Tells an accept loop and its connections how they end.
fn leave(drain: &Rc<DrainSignal>, leaving: Leaving) {
    drain.close_after_responses();
    match leaving.accepting {
        Accepting::Queued => drain.stop_accepting(Backlog::Accept),
        Accepting::Nothing => drain.stop_accepting(Backlog::Leave),
        Accepting::LateHandshakes => {
            let drain = Rc::clone(drain);
            tokio::task::spawn_local(async move {
                sleep(LATE_HANDSHAKE_TIMEOUT).await;
                drain.stop_accepting(Backlog::Accept);
            });
        }
    }
    if let Some(tunnels) = leaving.drain {
        drain.drain();
        let drain = Rc::clone(drain);
        tokio::task::spawn_local(async move {
            sleep(tunnels).await;
            drain.close(Failure::ListenerGone);
        });
    }
}

/// Ends all tunnels, and counts what is open after that.
async fn close_tunnels(drains: &[Rc<DrainSignal>]) -> TunnelsClosed {
    let tunnels = drains
        .iter()
        .map(|drain| drain.close(Failure::ShuttingDown))
        .sum();
    let ended = async {
        for drain in drains {
            drain.without_tunnels().await;
        }
    };
    // Those that do not end in time are dropped with the worker.
    let _ = timeout(TUNNEL_CLOSE_TIMEOUT, ended).await;
    TunnelsClosed {
        tunnels,
        connections_left: drains.iter().map(|drain| drain.connections()).sum(),
    }
}
