//! The accept loop of one listener on one worker.
//!
//! Accepting pauses at the listener's connection cap (the next client of each worker
//! waits unserved, further ones in the kernel's queue) and backs off when the process
//! runs out of descriptors. The loop owns its connections: it ends when they have ended,
//! or drops them when told to.

mod cap;

use std::cell::{Cell, RefCell};
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::connection::{Accepted, Gate, Queue, serve};
use crate::model::{ListenerId, SocketId};
use crate::observe::{WorkerMetrics, panic_message};
use crate::proxy::Proxy;
use crate::state::Reader;

pub use cap::{Cap, Place};

/// Between attempts while accepting fails: long enough for descriptors to come back,
/// short enough that a queue of clients does not notice.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Without a failed attempt for this long the shortage is over. At the limit every
/// connection that ends lets one in and the next attempt fails again, which is one
/// shortage and not many.
const RECOVERED: Duration = Duration::from_secs(5);

/// One listener on one worker.
#[derive(Debug)]
pub struct Listener {
    /// Tells which listener serves what the socket accepts.
    pub id: SocketId,
    /// The listener it was opened for; for the log.
    pub name: ListenerId,
    /// This worker's socket.
    pub socket: TcpListener,
    /// Shared with the other workers.
    pub cap: Arc<Cap>,
    /// A client for whom there is no room yet.
    pub waiting: RefCell<Option<(TcpStream, SocketAddr)>>,
    /// Its way out.
    pub gate: Rc<Gate>,
    /// What answers.
    pub proxy: Rc<Proxy>,
    /// For limits that a reload may have changed.
    pub reader: Reader,
    /// When an attempt to accept failed last, while that is the state of affairs: its
    /// begin and its end are said once each.
    pub starved: Cell<Option<Instant>>,
}

impl Listener {
    /// Accepts until the gate says stop, then waits for the connections that are left.
    ///
    /// Cancel safety: dropping the future drops every connection.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        let (metrics, id) = (Rc::clone(self.proxy.metrics()), self.name.clone());
        let queue = loop {
            tokio::select! {
                biased;
                queue = self.gate.stopped() => break queue,
                Some(ended) = connections.join_next() => note(ended, &id, &metrics),
                accepted = self.accept() => {
                    if let Some((accepted, place)) = accepted {
                        connections.spawn_local(self.serve(accepted, ready(place)));
                    }
                }
            }
        };
        for accepted in self.queued(queue) {
            let cap = Arc::clone(&self.cap);
            let served = self.serve(accepted, async move { cap.enter().await });
            connections.spawn_local(served);
        }
        drop(self.socket);
        while let Some(ended) = connections.join_next().await {
            note(ended, &id, &metrics);
        }
    }

    fn serve<P>(&self, accepted: Accepted, place: P) -> impl Future<Output = ()> + use<P>
    where
        P: Future<Output = Place>,
    {
        let (proxy, gate) = (Rc::clone(&self.proxy), Rc::clone(&self.gate));
        let inside = gate.enter();
        async move {
            let place = place.await;
            serve(accepted, proxy, gate).await;
            drop((place, inside));
        }
    }

    /// One connection, and the place it takes; `None` is worth another try. Cancel-safe.
    async fn accept(&self) -> Option<(Accepted, Place)> {
        match self.next_client().await {
            Ok(None) => None,
            Ok(Some((stream, peer, place))) => {
                self.note_success();
                Some((self.accepted(stream, peer)?, place))
            }
            Err(error) => {
                self.survive(&error).await;
                None
            }
        }
    }

    /// The client that waits here and, unless they are left to another loop, those in the
    /// kernel's queue. In here, connections for which there is no room yet get in as others leave.
    fn queued(&self, queue: Queue) -> Vec<Accepted> {
        let mut clients: Vec<_> = self.waiting.take().into_iter().collect();
        while queue == Queue::Accepted
            && let Some(accepted) = self.socket.accept().now_or_never()
        {
            match accepted {
                Ok(client) => clients.push(client),
                Err(error) if has_left(&error) => {}
                Err(error) => {
                    warn!(listener = %self.name, %error, "clients that wait are turned away");
                    break;
                }
            }
        }
        let clients = clients.into_iter();
        clients
            .filter_map(|(stream, peer)| self.accepted(stream, peer))
            .collect()
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) -> Option<Accepted> {
        self.proxy.metrics().connected();
        let snapshot = self.reader.load();
        let listener = snapshot.serving(self.id)?;
        Some(Accepted {
            stream: prepared(stream),
            peer,
            socket: self.id,
            listener: (listener.slot, listener.id.clone()),
            limits: listener.client,
        })
    }

    /// A place is taken once a client is there: taken before, every worker would hold
    /// one for nobody, and the clients of other workers would wait for it.
    ///
    /// Cancel-safe: a client that waits for its place stays where the next call finds it.
    async fn next_client(&self) -> io::Result<Option<(TcpStream, SocketAddr, Place)>> {
        let waiting = self.waiting.take();
        let client = match waiting {
            Some(client) => client,
            None => self.socket.accept().await?,
        };
        self.waiting.replace(Some(client));
        let place = self.cap.enter().await;
        let client = self.waiting.take();
        Ok(client.map(|(stream, peer)| (stream, peer, place)))
    }

    /// A client that left before it was accepted is nobody's business; anything else
    /// is the process at its limits.
    async fn survive(&self, error: &io::Error) {
        if has_left(error) {
            debug!(listener = %self.name, %error, "client left before it was accepted");
            return;
        }
        if self.starved.replace(Some(Instant::now())).is_none() {
            warn!(
                listener = %self.name,
                %error,
                "cannot accept connections; trying again every {BACK_OFF:?}"
            );
        }
        sleep(BACK_OFF).await;
    }

    fn note_success(&self) {
        let failed = self.starved.get();
        if failed.is_some_and(|failed| failed.elapsed() >= RECOVERED) {
            self.starved.set(None);
            info!(listener = %self.name, "accepting connections again");
        }
    }
}

/// Takes in how a connection has ended. A panic hurts no other connection.
fn note(ended: Result<(), JoinError>, listener: &ListenerId, metrics: &WorkerMetrics) {
    // Anything else was dropped with its worker.
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        metrics.panicked();
        let panic = panic_message(&*panic);
        error!(%listener, panic, "a connection ended in a panic, which is a defect of Weir");
    }
}

/// Whether an error of `accept` is the end of the client that was next.
fn has_left(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    let kind = error.kind();
    matches!(kind, ConnectionAborted | ConnectionReset | Interrupted)
}

fn prepared(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "client left at once");
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;
    use crate::observe::openmetrics::ParsedPage;

    #[tokio::test]
    async fn a_connection_that_panics_is_counted_and_one_that_ends_is_not() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let mut connections = JoinSet::new();
        connections.spawn(async { panic!("a defect") });
        connections.spawn(async {});
        connections.spawn(std::future::pending()).abort();
        while let Some(ended) = connections.join_next().await {
            note(ended, &"http".into(), &worker);
        }
        let page = ParsedPage::of(metrics);
        let series = r#"weir_panics_total{place="connection"}"#;
        assert_eq!(page.value(series), Some(1.0));
    }
}
