//! Accepts connections and serves the requests on them.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{interval, sleep};
use tower::ServiceExt;
use tracing::{debug, error, warn};

use super::call::{Connected, closed};
use super::connections::Connections;
use super::context::Context;
use super::history::POINT_INTERVAL;
use super::router::router;
use super::stalling::Stalling;
use super::status_feed::StatusFeed;
use super::{points, status_stream};
use crate::net::descriptors;
use crate::observe::READING_INTERVAL;

/// Connections at a time: some scrapers, some probes, and some hundred dashboards.
const MAX_CONNECTIONS: usize = 384;

/// So many are served however few descriptors there are.
const MIN_CONNECTIONS: usize = 64;

/// Descriptors of the process for each connection: an eighth of all is kept back for this listener,
/// for checks and for files.
const DESCRIPTORS_PER_CONNECTION: usize = 16;

/// For a request head to arrive, and for a connection to be kept without a request. Clients are
/// near and send it at once.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a request head.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// After a failed accept, which mostly means that there are no descriptors left.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Connections at a time, by the descriptors that there are.
pub(super) fn max_connections() -> usize {
    let affordable = descriptors::limit() / DESCRIPTORS_PER_CONNECTION;
    affordable.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

/// Accepts until `stopped` resolves, and then waits for the connections that are left. If it
/// resolves to `true`, the connections in the socket's queue are accepted first. Dropping the
/// future closes all connections.
pub async fn serve(listener: TcpListener, context: Context, stopped: impl Future<Output = bool>) {
    let mut connections = Connections::new(max_connections());
    let (closing, is_closing) = watch::channel(false);
    let router = router(&context);
    let feed = Arc::<StatusFeed>::default();
    let admit = |connections: &mut Connections, stream: TcpStream, peer: SocketAddr| {
        let connected = Connected {
            peer,
            closing: is_closing.clone(),
            feed: Arc::clone(&feed),
        };
        let connection = serve_connection(stream, connected, router.clone());
        admit(connections, peer, connection);
    };
    let (mut readings, mut points) = (interval(READING_INTERVAL), interval(POINT_INTERVAL));
    let mut feeding = pin!(status_stream::run(&feed, &context));
    let mut is_failing = false;
    let mut stopped = pin!(stopped);
    let takes_queue = loop {
        // All waits are cancel-safe: no connection and no result is lost.
        tokio::select! {
            takes_queue = &mut stopped => break takes_queue,
            Some(ended) = connections.ended() => log_panic(&ended),
            never = &mut feeding => match never {},
            _ = points.tick() => points::take(&context, Instant::now()),
            _ = readings.tick() => context.metrics.read_traffic(Instant::now()),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    admit(&mut connections, stream, peer);
                }
                Err(error) => retry_later(&error, &mut is_failing).await,
            }
        }
    };
    while takes_queue && let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        admit(&mut connections, stream, peer);
    }
    drop(listener);
    closing.send_replace(true);
    while let Some(ended) = connections.ended().await {
        log_panic(&ended);
    }
}

fn admit(
    connections: &mut Connections,
    peer: SocketAddr,
    connection: impl Future<Output = ()> + Send + 'static,
) {
    if let Some(client) = connections.admit(peer.ip(), connection) {
        warn!(
            %client, most = max_connections(),
            "too many connections to the admin listener; closed the oldest one of the client \
             with the most"
        );
    }
}

fn log_panic(ended: &Result<(), JoinError>) {
    // A connection that was closed for another one was cancelled.
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        error!("admin connection panicked");
    }
}

/// Waits after a failed accept. Logs the first of several failures in a row.
async fn retry_later(error: &io::Error, is_failing: &mut bool) {
    if !std::mem::replace(is_failing, true) {
        warn!(%error, "admin listener cannot accept connections; trying again every {RETRY_INTERVAL:?}");
    }
    sleep(RETRY_INTERVAL).await;
}

async fn serve_connection(stream: TcpStream, connected: Connected, router: Router) {
    let mut closing = connected.closing.clone();
    let (asking, mut is_asked) = watch::channel(false);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asking.send_replace(true);
        request.extensions_mut().insert(connected.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Stalling::new(stream)), service);
    let mut connection = pin!(connection);
    // A connection without a request yet waits for it: its client cannot know that it comes late.
    let may_close = async {
        closed(&mut closing).await;
        let _ = is_asked.wait_for(|is_asked| *is_asked).await;
    };
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = may_close => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        debug!(%error, "admin connection failed");
    }
}
