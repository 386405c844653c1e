//! HTTP/2 on one client's connection (RFC 9113), over the `h2` crate.
//!
//! `h2` reads and writes the frames, and keeps the rules of the protocol; its explicit flow control
//! fits an [`Exchange`](crate::message::Exchange): a byte of a window is given back when the target
//! has taken the byte before it, and a byte of a response is taken from the target when the client
//! has a window for it. `connection` opens a task for each stream and decides when the connection
//! ends; `stream` serves one request; `request` and `response` turn heads into HTTP/1.1's and back.
//!
//! Priorities are ignored (RFC 9113 section 5.3.2 deprecates them), and nothing is pushed.

mod connection;
mod exchange;
mod request;
mod response;
mod settings;
mod socket;
mod stream;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use h2::server;
use tracing::debug;

use super::accepted::Accepted;
use super::drain::DrainSignal;
use super::linger::linger;
use crate::clock;
use crate::model::Protocol;
use crate::net::{Input, Timer};
use crate::proxy::{Client, Proxy};
use connection::{Closed, Connection};
use socket::{Io, Socket};
use stream::Shared;

/// Serves every request of a connection until the connection ends, and drops `held` then. `early` is
/// what was read of it.
///
/// Cancel safety: dropping the future closes the connection, and abandons its requests.
pub(super) async fn serve<H>(
    accepted: Accepted,
    early: Input,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    _held: H,
) {
    let Accepted {
        stream,
        peer,
        local,
        terms,
    } = accepted;
    let buffers = proxy.buffers().clone();
    let transport = terms.transport(&stream);
    let client = Client::new(terms.socket, terms.listener.clone(), peer, local, transport);
    let shared = Rc::new(Shared {
        client: client.speaking(Protocol::Http2),
        parsing: terms.parsing(),
        socket: Rc::new(Socket::new(stream, early, buffers.clone())),
        proxy,
        drain,
        terms,
    });
    // Boxed, because an open connection does not need the room of its handshake.
    let closed = match Box::pin(handshake(&shared)).await {
        Some(h2) => run(h2, &shared).await,
        None => Closed::Cleanly,
    };
    let Some(mut stream) = shared.socket.take() else {
        return;
    };
    match closed {
        Closed::Broken => stream.reset_on_close(),
        Closed::Cleanly => {
            if let Err(error) = linger(&mut stream, &buffers).await {
                debug!(%peer, %error, "last response may be lost");
            }
        }
    }
}

/// Reads the preface. `None` if it does not come in time, or is none.
async fn handshake(shared: &Shared) -> Option<server::Connection<Io, Bytes>> {
    let io = Io(Rc::clone(&shared.socket));
    let mut handshake = pin!(settings::builder(&shared.parsing).handshake(io));
    let until = clock::now() + shared.terms.limits.head_timeout;
    let mut timer = Timer::default();
    poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(h2) => Poll::Ready(h2.ok()),
        Poll::Pending => {
            ready!(timer.poll(cx, until));
            Poll::Ready(None)
        }
    })
    .await
}

/// Serves it until it has ended. Not an `async fn`, which would keep a copy of it.
fn run(h2: server::Connection<Io, Bytes>, shared: &Rc<Shared>) -> impl Future<Output = Closed> {
    let mut connection = Connection::new(h2, Rc::clone(shared));
    let drain = Rc::clone(&shared.drain);
    async move {
        let mut draining = pin!(drain.draining());
        poll_fn(|cx| connection.poll(cx, draining.as_mut())).await
    }
}
