//! The accept loop of one listener on one worker.
//!
//! Accepting pauses at the listener's connection limit: the next client of each worker waits
//! unserved, further ones wait in the kernel's queue, and idle connections are closed for them.
//! Accepting backs off when the process runs out of descriptors. The loop owns its connections: it
//! ends when they have ended, and drops them when its future is dropped.

mod limit;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::downstream::{Accepted, Backlog, DrainSignal, Terms, note_end, serve};
use crate::model::{ListenerId, Peer, SocketId};
use crate::net::{Acceptor, Stream};
use crate::observe::kind;
use crate::proxy::Proxy;
use crate::state::{CompiledListener, DataPlaneReader};

pub use limit::{ConnectionLimit, Permit};

/// Pause between attempts while accepting fails: long enough for descriptors to be freed,
/// short compared with the time that clients wait for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A shortage is over after this time without a failed attempt. While descriptors are used
/// up, every connection that ends lets one in and the next attempt fails again; that is one
/// shortage and not many.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(5);

/// One listener on one worker.
#[derive(Debug)]
pub struct Listener {
    /// The key under which the snapshot names the listener that serves this socket.
    pub id: SocketId,
    /// The listener that the socket was opened for; for the log.
    pub name: ListenerId,
    /// This worker's socket, or its copy of the one that all workers share.
    pub socket: Acceptor,
    /// Shared with the other workers.
    pub limit: Arc<ConnectionLimit>,
    /// An accepted client that waits for a permit.
    pub waiting: RefCell<Option<(Stream, Peer)>>,
    /// Ends the accept loop and its connections.
    pub drain: Rc<DrainSignal>,
    /// Serves the requests of the connections.
    pub proxy: Rc<Proxy>,
    /// For limits that a reload may have changed.
    pub reader: DataPlaneReader,
    /// When an attempt to accept failed last; `None` while accepting works. The begin and the
    /// end of a shortage are logged once each.
    pub starved: Cell<Option<Instant>>,
    /// The terms of the last connection.
    pub terms: RefCell<Option<Rc<Terms>>>,
}

impl Listener {
    /// Accepts until the drain signal stops it, then waits for the connections that are left.
    ///
    /// Cancel safety: dropping the future drops every connection.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        let (metrics, id) = (Rc::clone(self.proxy.metrics()), self.name.clone());
        let mut waiting = self.limit.waiting();
        let backlog = {
            // One future until it has accepted: a client that waits counts as one for as long.
            let mut accept = pin!(self.accept());
            loop {
                tokio::select! {
                    biased;
                    backlog = self.drain.stopped() => break backlog,
                    Some(ended) = connections.join_next() => {
                        note_end(ended, &id, &metrics);
                    }
                    Ok(()) = waiting.changed() => self.drain.press(*waiting.borrow_and_update()),
                    accepted = &mut accept => {
                        accept.set(self.accept());
                        if let Some((accepted, permit)) = accepted {
                            connections.spawn_local(self.serve(accepted, permit));
                        }
                    }
                }
            }
        };
        for accepted in self.queued(backlog) {
            let limit = Arc::clone(&self.limit);
            let (proxy, drain) = (Rc::clone(&self.proxy), Rc::clone(&self.drain));
            let guard = drain.guard_connection();
            connections.spawn_local(async move {
                let permit = limit.acquire().await;
                serve(accepted, proxy, drain, (permit, guard)).await;
            });
        }
        drop(self.socket);
        while let Some(ended) = connections.join_next().await {
            note_end(ended, &id, &metrics);
        }
    }

    fn serve(&self, accepted: Accepted, permit: Permit) -> impl Future<Output = ()> + use<> {
        let (proxy, drain) = (Rc::clone(&self.proxy), Rc::clone(&self.drain));
        let guard = drain.guard_connection();
        // Nothing around it: the future of each idle connection would have a copy of it.
        serve(accepted, proxy, drain, (permit, guard))
    }

    /// Accepts one connection under a permit. Returns `None` if the attempt failed and is to be
    /// repeated. Cancel-safe.
    async fn accept(&self) -> Option<(Accepted, Permit)> {
        match self.next_client().await {
            Ok(None) => None,
            Ok(Some((stream, peer, permit))) => {
                self.note_success();
                Some((self.accepted(stream, peer)?, permit))
            }
            Err(error) => {
                self.recover(&error).await;
                None
            }
        }
    }

    /// The client that waits for a permit and, unless another loop accepts them, those in the
    /// kernel's queue. Each is served as soon as the limit permits it.
    fn queued(&self, backlog: Backlog) -> Vec<Accepted> {
        let mut clients: Vec<_> = self.waiting.take().into_iter().collect();
        while backlog == Backlog::Accept
            && let Some(accepted) = self.socket.accept().now_or_never()
        {
            match accepted {
                Ok(client) => clients.push(client),
                Err(error) if is_client_gone(&error) => {}
                Err(error) => {
                    warn!(
                        listener = %self.name,
                        %error,
                        "cannot accept the clients that wait in the queue; they are reset"
                    );
                    break;
                }
            }
        }
        clients
            .into_iter()
            .filter_map(|(stream, peer)| self.accepted(stream, peer))
            .collect()
    }

    fn accepted(&self, stream: Stream, peer: Peer) -> Option<Accepted> {
        self.proxy.metrics().connected();
        let snapshot = self.reader.load();
        let listener = snapshot.serving(self.id)?;
        // Already reset if it has no address.
        let local = stream.local_address().ok()?;
        Some(Accepted {
            stream: prepared(stream),
            peer,
            local,
            terms: self.terms(listener),
        })
    }

    /// The terms of the connections that are accepted now, which share them until a reload.
    fn terms(&self, listener: &CompiledListener) -> Rc<Terms> {
        let mut terms = self.terms.borrow_mut();
        if let Some(terms) = &*terms
            && terms.listener == (listener.slot, listener.id.clone())
            && terms.protocol == listener.protocol
            && terms.proxy_protocol == listener.proxy_protocol
            && is_same(terms.tls.as_ref(), listener.tls.as_ref())
            && terms.limits == listener.client
            && terms.field_names == listener.http.field_names
            && terms.http2 == listener.http.http2
        {
            return Rc::clone(terms);
        }
        Rc::clone(terms.insert(Rc::new(Terms {
            socket: self.id,
            listener: (listener.slot, listener.id.clone()),
            protocol: listener.protocol,
            proxy_protocol: listener.proxy_protocol,
            tls: listener.tls.clone(),
            limits: listener.client,
            field_names: listener.http.field_names,
            proxied: None,
            http2: listener.http.http2,
        })))
    }

    /// The next client, with a permit. The permit is acquired after the client was accepted:
    /// acquired before, every worker would hold one without using it, and the clients of other
    /// workers would wait for it.
    ///
    /// Cancel-safe: a client that waits for its permit stays in `waiting` for the next call.
    async fn next_client(&self) -> io::Result<Option<(Stream, Peer, Permit)>> {
        let waiting = self.waiting.take();
        let client = match waiting {
            Some(client) => client,
            None => self.socket.accept().await?,
        };
        self.waiting.replace(Some(client));
        let permit = if let Some(permit) = self.limit.acquire().now_or_never() {
            permit
        } else {
            self.limit.note_reached(self.name.0.as_ref());
            self.limit.acquire().await
        };
        let client = self.waiting.take();
        Ok(client.map(|(stream, peer)| (stream, peer, permit)))
    }

    /// Waits after a failed attempt. A client that left before it was accepted needs no wait;
    /// any other error means that the process is at its limits.
    async fn recover(&self, error: &io::Error) {
        if is_client_gone(error) {
            debug!(listener = %self.name, %error, "client left before it was accepted");
            return;
        }
        if self.starved.replace(Some(Instant::now())).is_none() {
            warn!(
                event = kind::LIMIT, listener = %self.name,
                %error,
                "cannot accept connections; trying again every {BACK_OFF:?}"
            );
        }
        sleep(BACK_OFF).await;
    }

    fn note_success(&self) {
        let failed = self.starved.get();
        if failed.is_some_and(|failed| failed.elapsed() >= RECOVERY_INTERVAL) {
            self.starved.set(None);
            info!(event = kind::LIMIT, listener = %self.name, "accepting connections again");
        }
    }
}

/// Whether an error of `accept` means that the client closed its connection before.
fn is_client_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    let kind = error.kind();
    matches!(kind, ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether a reload has left the listener its TLS.
fn is_same<T>(terms: Option<&Arc<T>>, listener: Option<&Arc<T>>) -> bool {
    match (terms, listener) {
        (None, None) => true,
        (Some(terms), Some(listener)) => Arc::ptr_eq(terms, listener),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn prepared(stream: Stream) -> Stream {
    if let Err(error) = stream.set_nodelay() {
        debug!(%error, "client left at once");
    }
    stream
}
