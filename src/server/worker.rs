//! One worker: a thread with its own runtime, sockets and pools.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, error};

use super::TIDY;
use super::supervision::Supervision;
use crate::connection::{Backlog, DrainSignal};
use crate::listener::{ConnectionLimit, Listener};
use crate::model::{Failure, ListenerId, SocketId, Target};
use crate::net::descriptors::Share;
use crate::observe::Metrics;
use crate::proxy::Proxy;
use crate::state::Reader;
use crate::upstream::Pool;

/// A worker thread, as the server sees it.
#[derive(Debug)]
pub(super) struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// What the server tells a worker. Few and rare: reloads, checks and shutdown.
#[derive(Debug)]
enum Command {
    Listen(Opening),
    CloseAfterResponses,
    Leave(SocketId, Leaving),
    DrainAll(oneshot::Sender<()>),
    Close(oneshot::Sender<Closed>),
    /// To be answered at once.
    Ping(oneshot::Sender<()>),
    Stop,
}

/// Tells whether all workers turn.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Vec<mpsc::UnboundedSender<Command>>);

/// A socket on its way to a worker.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: SocketId,
    /// The listener it is opened for.
    pub(super) name: ListenerId,
    pub(super) socket: TcpListener,
    pub(super) limit: Arc<ConnectionLimit>,
    /// Dropped when the last connection of the socket has ended.
    pub(super) alive: mpsc::Sender<Infallible>,
}

/// How a worker parts with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) accepting: Accepting,
    /// Whether idle connections end now, and its tunnels after this time. Without it every
    /// connection may have one more response: another listener serves them.
    pub(super) drain: Option<Duration>,
}

/// What a socket that is left still accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    /// What waits in its queue.
    Queued,
    /// What comes for a moment: new connections go to another socket now, but some have
    /// begun on this one.
    Moment,
    /// Nothing: another accept loop has the same socket.
    Nothing,
}

/// What a worker has closed, and what it could not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closed {
    /// Upgraded connections that Weir ended.
    pub(super) tunnels: usize,
    /// Connections that are still open.
    pub(super) left: usize,
}

/// How long a socket whose clients another one takes is still listened on: from its first
/// packet to its last a handshake takes a round trip, and a lost packet comes again after a
/// second (RFC 6298).
pub(super) const MOMENT: Duration = Duration::from_millis(1500);

/// How long tunnels have for their end: both sides are told, and have a second to answer.
const CLOSE: Duration = Duration::from_secs(2);

/// How long a worker has to drop what is left.
const STOP: Duration = Duration::from_secs(5);

impl Worker {
    /// Starts a worker without listeners.
    pub(super) fn spawn(
        index: usize,
        reader: &Reader,
        metrics: &Arc<Metrics>,
        tidy: fn(),
        supervision: Supervision,
        descriptors: Share,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (reader, metrics) = (reader.clone(), Arc::clone(metrics));
        let (started, outcome) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("weir-worker-{index}"))
            .spawn(move || {
                // Bound to the thread it is built on.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = started.send(Ok(()));
                        supervision.require_thread("worker", move || {
                            // Dropped with its sockets before anything is said of its end.
                            let runtime = runtime;
                            let room = Room::new(reader, &metrics, descriptors);
                            runtime.block_on(room.run(receiver, tidy));
                        });
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
        let started = outcome.recv().map_err(io::Error::other)?;
        started.map(|()| Self { commands, thread })
    }

    pub(super) fn listen(&self, opening: Opening) {
        self.tell(Command::Listen(opening));
    }

    /// From now on every response closes its connection.
    pub(super) fn close_after_responses(&self) {
        self.tell(Command::CloseAfterResponses);
    }

    /// Parts with a socket.
    pub(super) fn leave(&self, id: SocketId, leaving: Leaving) {
        self.tell(Command::Leave(id, leaving));
    }

    /// Ends all listeners; the receiver is told when their requests are finished.
    pub(super) fn drain_all(&self) -> oneshot::Receiver<()> {
        let (done, drained) = oneshot::channel();
        self.tell(Command::DrainAll(done));
        drained
    }

    /// Ends all tunnels; the receiver is told when they have ended, or their time is over.
    pub(super) fn close(&self) -> oneshot::Receiver<Closed> {
        let (done, closed) = oneshot::channel();
        self.tell(Command::Close(done));
        closed
    }

    /// Drops whatever is left and waits for the thread, but not for one that hangs.
    pub(super) async fn stop(self) {
        self.tell(Command::Stop);
        let join = tokio::task::spawn_blocking(move || self.thread.join());
        match timeout(STOP, join).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => error!("a worker ended in a panic"),
            Err(_) => error!("a worker does not end; leaving it behind after {STOP:?}"),
        }
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_err() {
            error!("a worker is gone");
        }
    }
}

impl Pulse {
    pub(super) fn of(workers: &[Worker]) -> Self {
        Self(workers.iter().map(|w| w.commands.clone()).collect())
    }

    /// Resolves when every worker has answered; to `false` when one is gone.
    pub(super) async fn all_answer(&self) -> bool {
        let ask = |worker: &mpsc::UnboundedSender<Command>| {
            let (answer, answered) = oneshot::channel();
            // An error drops the sender, which is noticed below.
            let _ = worker.send(Command::Ping(answer));
            answered
        };
        let asked: Vec<_> = self.0.iter().map(ask).collect();
        for answered in asked {
            if answered.await.is_err() {
                return false;
            }
        }
        true
    }
}

/// What lives on the worker's thread.
struct Room {
    reader: Reader,
    pool: Rc<Pool<crate::proxy::RequestBody>>,
    proxy: Rc<Proxy>,
    /// One for each socket, until its last connection has ended.
    listeners: Vec<Open>,
    /// The version whose targets the pools were last looked through for.
    targets_since: u64,
    /// Of all these listeners.
    drains: Vec<Rc<DrainSignal>>,
    closing: bool,
    /// Accept loops that have panicked: a worker without one of them is none.
    panics: (mpsc::UnboundedSender<Panic>, mpsc::UnboundedReceiver<Panic>),
}

/// What a panic has said.
type Panic = Box<dyn Any + Send>;

struct Open {
    id: SocketId,
    drain: Rc<DrainSignal>,
    task: tokio::task::JoinHandle<()>,
}

impl Room {
    fn new(reader: Reader, metrics: &Metrics, descriptors: Share) -> Self {
        let pool = Rc::new(Pool::new(descriptors));
        let proxy = Proxy::new(reader.clone(), Rc::clone(&pool), metrics.worker());
        Self {
            reader,
            pool,
            proxy: Rc::new(proxy),
            listeners: Vec::new(),
            targets_since: 0,
            drains: Vec::new(),
            closing: false,
            panics: mpsc::unbounded_channel(),
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>, tidy: fn()) {
        let mut tidied = interval(TIDY);
        tidied.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => {
                        self.proxy.metrics().end();
                        return;
                    }
                    Some(command) => self.obey(command),
                },
                true = self.reader.changed() => self.forget_removed_targets(),
                Some(panic) = self.panics.1.recv() => resume_unwind(panic),
                _ = tidied.tick() => {
                    self.pool.reap();
                    tidy();
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen(opening) => self.listen(opening),
            Command::CloseAfterResponses => {
                self.closing = true;
                for open in &self.listeners {
                    open.drain.close_after_responses();
                }
            }
            Command::Leave(id, leaving) => {
                self.listeners.retain(|open| !open.task.is_finished());
                for open in self.listeners.iter().filter(|open| open.id == id) {
                    leave(&open.drain, leaving);
                }
                // The accept loop and every connection hold theirs.
                self.drains.retain(|drain| Rc::strong_count(drain) > 1);
            }
            Command::DrainAll(done) => {
                let mut tasks = Vec::new();
                for open in self.listeners.drain(..) {
                    open.drain.drain();
                    tasks.push(open.task);
                }
                tokio::task::spawn_local(async move {
                    for task in tasks {
                        if task.await.is_err() {
                            error!("an accept loop ended in a panic");
                        }
                    }
                    // The server may have stopped waiting.
                    let _ = done.send(());
                });
            }
            Command::Close(done) => {
                let drains = self.drains.clone();
                tokio::task::spawn_local(async move {
                    // The server may have stopped waiting.
                    let _ = done.send(close(&drains).await);
                });
            }
            Command::Ping(answer) => {
                // The server may have stopped waiting.
                let _ = answer.send(());
            }
            Command::Stop => {}
        }
    }

    fn listen(&mut self, opening: Opening) {
        let Opening {
            id,
            name,
            socket,
            limit,
            alive,
        } = opening;
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                error!(listener = %name, %error, "cannot poll the listening socket");
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
        };
        let panics = self.panics.0.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(listener.run()).catch_unwind().await {
                // The worker looks for it as long as it runs.
                let _ = panics.send(panic);
            }
            drop(alive);
        });
        self.drains.push(Rc::clone(&drain));
        self.listeners.push(Open { id, drain, task });
    }

    /// Pools and series of targets that have left the picture are dropped.
    fn forget_removed_targets(&mut self) {
        let snapshot = self.reader.load();
        let since = std::mem::replace(&mut self.targets_since, snapshot.targets_since);
        if since == snapshot.targets_since {
            return;
        }
        self.pool.retain(Target::is_listed);
        self.proxy.metrics().retain(Target::is_listed);
        debug!(idle = self.pool.idle(), "pools looked through");
    }
}

/// Tells an accept loop and its connections how they end.
fn leave(drain: &Rc<DrainSignal>, leaving: Leaving) {
    drain.close_after_responses();
    match leaving.accepting {
        Accepting::Queued => drain.stop_accepting(Backlog::Accept),
        Accepting::Nothing => drain.stop_accepting(Backlog::Leave),
        Accepting::Moment => {
            let drain = Rc::clone(drain);
            tokio::task::spawn_local(async move {
                sleep(MOMENT).await;
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

/// Ends the tunnels behind these drains, and counts what is open after that.
async fn close(drains: &[Rc<DrainSignal>]) -> Closed {
    let tunnels = drains
        .iter()
        .map(|drain| drain.close(Failure::ShuttingDown))
        .sum();
    let ended = async {
        for drain in drains {
            drain.without_tunnels().await;
        }
    };
    // Those that do not end are dropped with the worker.
    let _ = timeout(CLOSE, ended).await;
    let left = drains.iter().map(|drain| drain.connections()).sum();
    Closed { tunnels, left }
}
