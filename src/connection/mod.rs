//! HTTP/1.1 on one accepted stream, from the first byte to the last; after a switch of
//! protocols, the bytes of the tunnel.
//!
//! hyper parses and frames; this module gives it limits and deadlines, answers heads
//! that hyper cannot read, ends the connection when its listener drains, and closes
//! in a way that lets the last response arrive.

mod drain;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::model::{ClientLimits, Failure, ListenerId, ListenerSlot, SocketId};
use crate::net::{ClientIo, ClientState, Deadlines};
use crate::proxy::{Client, Proxy};

pub use drain::{Backlog, ConnectionGuard, DrainSignal};

/// How long a connection without a request stays open when its listener begins to drain:
/// most clients send their first request as soon as they are connected.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long bytes of a client that still sends are read and discarded after the last
/// response. Closing at once would reset its connection and could destroy the response on
/// its way. Long enough to send some megabytes to the end, for clients that read only then.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause between two reads while lingering: a client that sends nothing more and does
/// not close either is not waited for.
const LINGER_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream as the accept loop hands it over.
#[derive(Debug)]
pub struct Accepted {
    /// The client's stream.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// The socket that accepted it.
    pub socket: SocketId,
    /// The listener that serves it at first, by slot and by name.
    pub listener: (ListenerSlot, ListenerId),
    /// The listener's limits.
    pub limits: ClientLimits,
}

/// Serves every request of a connection, in order, until it ends.
pub async fn serve(accepted: Accepted, proxy: Rc<Proxy>, drain: Rc<DrainSignal>) {
    let limits = accepted.limits;
    let Ok(local) = accepted.stream.local_addr() else {
        return; // already reset
    };
    let (peer, allowance) = (accepted.peer, requests_allowed(&limits));
    let io = ClientIo::new(accepted.stream, deadlines(&limits));
    let client_state = Rc::clone(io.state());
    let client = Rc::new(Client {
        socket: accepted.socket,
        listener: accepted.listener,
        peer,
        local,
        state: Rc::clone(&client_state),
        closing: Rc::clone(drain.closing()),
        allowance: Cell::new(allowance),
        forwarded: Client::forwarded_fields(peer, local),
        tunnel: RefCell::default(),
    });
    let handler = (Rc::clone(&proxy), Rc::clone(&client));
    let service = tower::service_fn(move |request: http::Request<Incoming>| {
        let (proxy, client) = handler.clone();
        async move { Ok::<_, Infallible>(proxy.handle(&client, request).await) }
    });
    let mut connection =
        builder(&limits).serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = drain.draining() => {
            // Ends a connection between two requests. hyper would also end one without any
            // request so far, for which `FIRST_REQUEST_TIMEOUT` is there.
            if client.allowance.get() < allowance {
                Pin::new(&mut connection).graceful_shutdown();
            }
            match timeout(FIRST_REQUEST_TIMEOUT, &mut connection).await {
                Ok(ended) => ended,
                Err(_) if client_state.is_idle() => return,
                Err(_) => (&mut connection).await,
            }
        }
    };
    if let Err(error) = &ended {
        debug!(peer = %client.peer, %error, "connection ended early");
    }
    let parts = connection.into_parts();
    let tunnel = client.tunnel.take().filter(|_| ended.is_ok());
    if let Some(tunnel) = tunnel {
        let _guard = drain.guard_tunnel();
        let stream = parts.io.into_inner().into_stream();
        // Boxed, because the future of every connection would be as large otherwise.
        return Box::pin(tunnel.run(stream, parts.read_buf, drain.closed())).await;
    }
    let failure = failure(&ended, &client_state, &parts.read_buf);
    if failure.is_some() && parts.read_buf.starts_with(&TLS_HANDSHAKE) {
        log_tls(&client);
    }
    let answer = failure.map(|failure| proxy.refuse(&client, failure));
    let stream = parts.io.into_inner().into_stream();
    if let Err(error) = finish(stream, answer, client_state.lingers()).await {
        debug!(peer = %client.peer, %error, "last response may be lost");
    }
}

/// Why hyper could not read a head; `None` if there is nothing to answer.
fn failure(
    ended: &hyper::Result<()>,
    client_state: &ClientState,
    unread: &[u8],
) -> Option<Failure> {
    let is_partial = !unread.trim_ascii().is_empty();
    match client_state.refusal() {
        Some(status) => Some(crate::proxy::refusal(status)),
        None if client_state.head_timed_out(is_partial) => Some(Failure::RequestHeadTimeout),
        // The preface of HTTP/2, to which hyper says nothing.
        None if ended.as_ref().is_err_and(hyper::Error::is_parse) => {
            Some(Failure::MalformedRequest)
        }
        None => None,
    }
}

/// How a TLS connection begins: a handshake record of version 3 (RFC 8446 section 5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];

fn log_tls(client: &Client) {
    let (listener, peer) = (&client.listener.1, client.peer);
    info!(
        %listener,
        %peer,
        "a client speaks TLS, which the listener does not support; its connection is closed"
    );
}

fn requests_allowed(limits: &ClientLimits) -> u32 {
    limits.max_requests.map_or(u32::MAX, NonZeroU32::get)
}

fn deadlines(limits: &ClientLimits) -> Deadlines {
    Deadlines {
        idle: limits.idle_timeout,
        head: limits.head_timeout,
        write: limits.body_timeout,
    }
}

fn builder(limits: &ClientLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(limits.max_head.max(MIN_BUFFER))
        .max_header_size(limits.max_head)
        // Both deadlines are the stream's: see `net::ClientIo`.
        .header_read_timeout(None);
    if limits.max_fields != HYPER_FIELDS {
        builder.max_headers(limits.max_fields);
    }
    builder
}

/// hyper's own limit of fields in a head, for which it uses the stack; any other limit costs
/// an allocation per head.
const HYPER_FIELDS: usize = 100;

/// Bytes; hyper refuses smaller buffers.
const MIN_BUFFER: usize = 8 * 1024;

/// Ends a connection after hyper has: writes the answer to a head that hyper could not read,
/// if there is one, then closes, after lingering if the client may still be sending.
async fn finish(mut stream: TcpStream, answer: Option<String>, lingers: bool) -> io::Result<()> {
    if let Some(answer) = &answer {
        timeout(LINGER_READ_TIMEOUT, stream.write_all(answer.as_bytes())).await??;
    } else if !lingers {
        return Ok(());
    }
    // Already shut down if hyper ended without an error.
    stream.shutdown().await?;
    timeout(LINGER_TIMEOUT, discard(&mut stream)).await?
}

/// Reads until the client ends its side, or pauses for too long.
async fn discard(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = vec![0; DISCARD_BUFFER];
    while timeout(LINGER_READ_TIMEOUT, stream.read(&mut sink)).await?? > 0 {}
    Ok(())
}

/// Bytes, a few packets: lingering is rare, and what comes is thrown away.
const DISCARD_BUFFER: usize = 16 * 1024;
