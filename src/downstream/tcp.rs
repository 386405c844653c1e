//! A connection of a client that speaks no HTTP, or none that is to be read: bytes in both
//! directions between it and one target, from the first to the last.
//!
//! Nothing is read before the target is there, so that a client that waits holds no memory; a TLS hello
//! is looked at before, where rules ask for hosts. A connection for which there is no target is reset. It counts as a tunnel from its beginning: it
//! outlives a reload and a drain, and ends when tunnels do.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::accepted::{Accepted, CHECK_INTERVAL, Terms};
use super::drain::DrainSignal;
use super::server_name;
use crate::clock;
use crate::model::Failure;
use crate::net::{HangUp, Input, Stream, Timer};
use crate::proxy::{Arrival, Presence, Proxy};
use crate::tunnel::Tunnel;

/// Serves a connection until it ends, and drops what is held then.
///
/// What is needed to begin is boxed, because the future of every open connection would have room for
/// it otherwise.
pub(super) async fn serve<H>(
    accepted: Box<Accepted>,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    _held: H,
) {
    let _guard = drain.guard_tunnel();
    let tunnel = Box::pin(connect(&accepted, &proxy, &drain)).await;
    let Accepted { stream, .. } = *accepted;
    match tunnel {
        Some(tunnel) => {
            let closed = Box::pin(drain.closed());
            tunnel.run(stream, Input::default(), closed).await;
        }
        None => stream.reset_on_close(),
    }
}

async fn connect(accepted: &Accepted, proxy: &Proxy, drain: &DrainSignal) -> Option<Box<Tunnel>> {
    let host = server_name::find(accepted, proxy, drain).await.ok()?;
    let mut client = Waiting {
        stream: &accepted.stream,
        closed: pin!(drain.closed()),
        check_at: clock::now() + CHECK_INTERVAL,
        timer: Timer::default(),
    };
    let Terms {
        socket, listener, ..
    } = &*accepted.terms;
    let addresses = (accepted.peer, accepted.local);
    let transport = accepted.terms.transport(&accepted.stream);
    let arrival = Arrival {
        socket: *socket,
        listener,
        addresses,
        transport,
        host: host.as_deref(),
    };
    proxy.connect(arrival, &mut client).await
}

/// A client that waits for its target.
struct Waiting<'a, C> {
    stream: &'a Stream,
    /// Resolves when the connection has to end, with the reason.
    closed: Pin<&'a mut C>,
    check_at: Instant,
    timer: Timer,
}

impl<C: Future<Output = Failure>> Presence for Waiting<'_, C> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if let Poll::Ready(reason) = self.closed.as_mut().poll(cx) {
            return Poll::Ready(reason);
        }
        loop {
            ready!(self.timer.poll(cx, self.check_at));
            self.check_at = clock::now() + CHECK_INTERVAL;
            if self.has_left() {
                return Poll::Ready(Failure::ClientGone);
            }
        }
    }

    /// A client that has ended its sending side may be waiting for an answer to what it has sent;
    /// one that has sent nothing has closed.
    fn has_left(&self) -> bool {
        match self.stream.hang_up() {
            HangUp::None => false,
            HangUp::SendingSide => self.stream.received().is_ok_and(|count| count == 0),
            HangUp::Closed => true,
        }
    }
}
