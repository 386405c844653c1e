//! Accepts connections and serves one request on each.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};
use tower::service_fn;
use tracing::{debug, error, warn};

use super::connections::Connections;
use super::context::Context;
use super::{pages, paths, targets};

/// Connections at a time: some scrapers, some probes, some operators.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// For a request head to arrive. Clients are near and send it at once.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For a whole connection, to the last byte of the response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of a request head.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// After a failed accept, which mostly means that there are no descriptors left.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Accepts until `stopped` resolves, and then waits for the connections that are left. If it
/// resolves to `true`, the connections in the socket's queue are accepted first. Dropping the
/// future closes all connections.
pub async fn serve(listener: TcpListener, context: Context, stopped: impl Future<Output = bool>) {
    let mut connections = Connections::new(MAX_CONNECTIONS);
    let mut is_failing = false;
    let mut stopped = std::pin::pin!(stopped);
    let takes_queue = loop {
        // All waits are cancel-safe: no connection and no result is lost.
        tokio::select! {
            takes_queue = &mut stopped => break takes_queue,
            Some(ended) = connections.ended() => log_panic(&ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    admit(&mut connections, stream, peer, &context);
                }
                Err(error) => retry_later(&error, &mut is_failing).await,
            }
        }
    };
    while takes_queue && let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        admit(&mut connections, stream, peer, &context);
    }
    drop(listener);
    while let Some(ended) = connections.ended().await {
        log_panic(&ended);
    }
}

fn admit(connections: &mut Connections, stream: TcpStream, peer: SocketAddr, context: &Context) {
    let connection = serve_connection(stream, peer, context.clone());
    if let Some(client) = connections.admit(peer.ip(), connection) {
        warn!(
            %client, most = MAX_CONNECTIONS,
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

async fn serve_connection(stream: TcpStream, peer: SocketAddr, context: Context) {
    let service = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(if request.uri().path().starts_with(paths::TARGET_GROUPS) {
            targets::respond(request, peer, &context).await
        } else {
            pages::respond(&request, &context)
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "admin connection failed"),
        Err(_) => debug!("admin connection timed out"),
    }
}
