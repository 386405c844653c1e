//! One worker: a thread with its own runtime, sockets and pools.

mod command;
mod ping;
mod state;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::error;

use super::supervision::Supervision;
use crate::config::Config;
use crate::model::SocketId;
use crate::net::descriptors::DescriptorPool;
use crate::observe::Metrics;
use crate::state::Reader;

use command::Command;
pub(super) use command::{Accepting, LATE_HANDSHAKE_TIMEOUT, Leaving, Opening, TunnelsClosed};
pub(super) use ping::WorkerPing;
use state::WorkerState;

/// How long a worker has to drop its connections and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The handle of a worker thread.
#[derive(Debug)]
pub(super) struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// How many workers a configuration has: as many as the process may use cores, unless the
/// configuration has a number.
pub(super) fn count(config: &Config) -> usize {
    config.workers.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    )
}

impl Worker {
    /// Starts a worker without sockets. It calls `housekeeping` once a second.
    pub(super) fn spawn(
        index: usize,
        reader: &Reader,
        metrics: &Arc<Metrics>,
        housekeeping: fn(),
        supervision: Supervision,
        descriptors: DescriptorPool,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (reader, metrics) = (reader.data_plane(), Arc::clone(metrics));
        let (started, result) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name(format!("weir-worker-{index}"))
            .spawn(move || {
                // Built here, because it is bound to the thread.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = started.send(Ok(()));
                        supervision.require_thread("worker", move || {
                            // Dropped with its sockets before the panic is reported.
                            let runtime = runtime;
                            let state = WorkerState::new(reader, &metrics, descriptors);
                            runtime.block_on(state.run(receiver, housekeeping));
                        });
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
        let started = result.recv().map_err(io::Error::other)?;
        started.map(|()| Self { commands, thread })
    }

    /// Accepts from a socket.
    pub(super) fn listen(&self, opening: Opening) {
        self.send(Command::Listen(opening));
    }

    /// Lets every response from now on close its connection.
    pub(super) fn close_after_responses(&self) {
        self.send(Command::CloseAfterResponses);
    }

    /// Leaves a socket.
    pub(super) fn leave(&self, id: SocketId, leaving: Leaving) {
        self.send(Command::Leave(id, leaving));
    }

    /// Ends all accept loops. The receiver resolves when their requests are finished.
    pub(super) fn drain_all(&self) -> oneshot::Receiver<()> {
        let (done, drained) = oneshot::channel();
        self.send(Command::DrainAll(done));
        drained
    }

    /// Ends all tunnels. The receiver resolves when they have ended, or their time is over.
    pub(super) fn close_tunnels(&self) -> oneshot::Receiver<TunnelsClosed> {
        let (done, closed) = oneshot::channel();
        self.send(Command::CloseTunnels(done));
        closed
    }

    /// Drops the connections that are left and waits for the thread, for at most
    /// [`STOP_TIMEOUT`].
    pub(super) async fn stop(self) {
        self.send(Command::Stop);
        let join = tokio::task::spawn_blocking(move || self.thread.join());
        match timeout(STOP_TIMEOUT, join).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => error!("a worker ended in a panic"),
            Err(_) => error!("a worker does not end within {STOP_TIMEOUT:?}; leaving it behind"),
        }
    }

    /// A ping of all these workers.
    pub(super) fn ping(workers: &[Self]) -> WorkerPing {
        WorkerPing::new(
            workers
                .iter()
                .map(|worker| worker.commands.clone())
                .collect(),
        )
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            error!("a worker has ended; it gets no more commands");
        }
    }
}
