//! HTTP/1.1 on one client's connection.
//!
//! ```text
//! idle ──► head ──► exchange ──► idle        no buffer and a small future while idle
//!            │          ├──────► tunnel      after a 101
//!            └──────────┴──────► linger, close
//! ```

mod connection;
mod departure;
mod exchange;
mod read_head;

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::drain::{DrainSignal, IdleGuard};
use super::linger::linger;
use crate::downstream::accepted::Accepted;
use crate::http1::{Limits, Reason};
use crate::message::RequestHead;
use crate::model::{ClientLimits, Failure, FieldNames, HttpPolicy};
use crate::net::Timer;
use crate::proxy::{Client, Proxy};
use crate::tunnel::Tunnel;
use connection::Connection;
use exchange::{After, Http1Exchange};
use read_head::{HeadError, read_head};

/// How long a connection without a request stays open when its listener begins to drain:
/// most clients send their first request as soon as they are connected.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection keeps its memory after a request: the next one often follows at once.
const WARM_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of text that a head keeps room for between two requests.
const KEPT_HEAD: usize = 4 * 1024;

/// What a connection has while requests are served, and not while it is idle: it is in the boxed
/// future of [`Session::run`].
struct Session<'s> {
    connection: &'s mut Connection,
    client: &'s Client,
    proxy: &'s Proxy,
    limits: &'s ClientLimits,
    parsing: Limits,
}

/// What follows after a request, or after [`Session::run`].
enum Next {
    /// Nothing yet: the next request may come.
    Idle,
    /// The connection has ended, or is to be closed.
    Over,
    /// Another protocol.
    Tunnel(Box<Tunnel>),
}

/// What an idle connection has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// Bytes have come.
    Received,
    /// The client has ended the connection.
    Ended,
    /// The listener drains.
    Draining,
    /// The connection has to give way to a new client.
    Evicted,
    /// The deadline has passed.
    TimedOut,
}

/// Serves every request of a connection, in order, until the connection ends.
///
/// Cancel safety: dropping the future closes the connection, and abandons its request.
pub(super) async fn serve(accepted: Accepted, proxy: Rc<Proxy>, drain: Rc<DrainSignal>) {
    let Accepted {
        stream,
        peer,
        local,
        socket,
        listener,
        limits,
        policy,
        protocol: _,
    } = accepted;
    let client = Client::new(socket, listener, peer, local);
    let allowance = limits.max_requests.map_or(u32::MAX, NonZeroU32::get);
    let buffers = proxy.buffers().clone();
    let closing = Rc::clone(drain.closing());
    let mut connection = Connection::new(stream, buffers.clone(), closing, allowance);
    let mut timer = Timer::default();
    let mut draining = pin!(drain.draining());
    let (guard, drain) = (&drain, &*drain);
    loop {
        let is_first = connection.allowance == allowance;
        let signal = draining.as_mut();
        if !has_next(
            &mut connection,
            &mut timer,
            &limits,
            drain,
            signal,
            is_first,
        )
        .await
        {
            return;
        }
        let session = Session {
            connection: &mut connection,
            client: &client,
            proxy: &proxy,
            limits: &limits,
            parsing: parsing_limits(&limits, &policy),
        };
        // Boxed, because the future of every idle connection would be as large otherwise.
        match Box::pin(session.run(drain, draining.as_mut())).await {
            Next::Idle => {}
            Next::Over => return,
            Next::Tunnel(tunnel) => {
                let _guard = guard.guard_tunnel();
                let (stream, early) = connection.into_parts();
                let closed = Box::pin(guard.closed());
                return Box::pin(tunnel.run(stream, early, closed)).await;
            }
        }
    }
}

/// Waits for the first bytes of the next request. Returns whether they have come.
async fn has_next(
    connection: &mut Connection,
    timer: &mut Timer,
    limits: &ClientLimits,
    drain: &DrainSignal,
    mut draining: Pin<&mut impl Future<Output = ()>>,
    is_first: bool,
) -> bool {
    let begun = Instant::now();
    let mut waited = Waited::TimedOut;
    if is_first {
        // Its first request is on its way, most likely: it does not give way yet.
        let until = begun + FIRST_REQUEST_TIMEOUT.min(limits.idle_timeout);
        waited = wait(connection, timer, until, drain, draining.as_mut(), None).await;
    }
    if waited == Waited::TimedOut {
        let (until, idle) = (begun + limits.idle_timeout, drain.idle());
        waited = wait(connection, timer, until, drain, draining, Some(&idle)).await;
    }
    match waited {
        Waited::Received => true,
        Waited::Draining if is_first => {
            let until = Instant::now() + FIRST_REQUEST_TIMEOUT;
            wait_for_bytes(connection, timer, until).await == Waited::Received
        }
        // A request came at the same time, so another connection has to give way.
        Waited::Evicted if connection.has_unread() => {
            drain.decline();
            true
        }
        Waited::Draining | Waited::Evicted | Waited::Ended | Waited::TimedOut => false,
    }
}

/// Waits for the next bytes on an idle connection, or for a reason to end it. Without `idle` it
/// does not have to end for a new client. Cancel-safe.
async fn wait(
    connection: &mut Connection,
    timer: &mut Timer,
    until: Instant,
    drain: &DrainSignal,
    mut draining: Pin<&mut impl Future<Output = ()>>,
    idle: Option<&IdleGuard<'_>>,
) -> Waited {
    poll_fn(|cx| {
        let received = connection.poll_received(cx);
        if received.is_ready() {
            return received.map(waited);
        }
        // The future is polled no more once it was ready.
        if drain.is_draining() || draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Waited::Draining);
        }
        if idle.is_some_and(|idle| idle.poll_evicted(cx).is_ready()) {
            return Poll::Ready(Waited::Evicted);
        }
        timer.poll(cx, until).map(|()| Waited::TimedOut)
    })
    .await
}

/// As [`wait`], for the first request on a connection whose listener drains already.
async fn wait_for_bytes(connection: &mut Connection, timer: &mut Timer, until: Instant) -> Waited {
    poll_fn(|cx| {
        let received = connection.poll_received(cx);
        if received.is_ready() {
            return received.map(waited);
        }
        timer.poll(cx, until).map(|()| Waited::TimedOut)
    })
    .await
}

fn waited(has_bytes: bool) -> Waited {
    if has_bytes {
        Waited::Received
    } else {
        Waited::Ended
    }
}

impl Session<'_> {
    /// Serves requests until none has begun for a while, or the connection ends.
    async fn run(
        mut self,
        drain: &DrainSignal,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> Next {
        let mut head = RequestHead::default();
        let mut timer = Timer::default();
        loop {
            match self.serve_one(&mut head, &mut timer).await {
                Next::Idle => {}
                next => return next,
            }
            if !self.connection.input.is_empty() {
                continue;
            }
            self.connection.release();
            head.shrink(KEPT_HEAD);
            let until = Instant::now() + WARM_INTERVAL.min(self.limits.idle_timeout);
            let draining = draining.as_mut();
            match wait(self.connection, &mut timer, until, drain, draining, None).await {
                Waited::Received => {}
                Waited::Ended => return Next::Over,
                Waited::Draining | Waited::Evicted | Waited::TimedOut => return Next::Idle,
            }
        }
    }

    async fn serve_one(&mut self, head: &mut RequestHead, timer: &mut Timer) -> Next {
        let read = read_head(self.connection, head, &self.parsing, self.limits, timer).await;
        let parsed = match read {
            Ok(parsed) => parsed,
            Err(HeadError::Ended) => return Next::Over,
            Err(HeadError::TimedOut) => {
                return self.refuse(Failure::RequestHeadTimeout, None).await;
            }
            Err(HeadError::Malformed(reason)) => {
                if reason == Reason::TlsHello {
                    self.log_tls();
                }
                return self.refuse(Failure::from(reason), Some(reason)).await;
            }
        };
        self.connection.allowance = self.connection.allowance.saturating_sub(1);
        let mut exchange =
            Http1Exchange::new(self.connection, head, &parsed, &self.parsing, *self.limits);
        let reason = parsed.reason;
        let proxy = self.proxy;
        let handled = proxy.handle(self.client, head, reason, &mut exchange, timer);
        if let Some(tunnel) = handled.await {
            return Next::Tunnel(tunnel);
        }
        match exchange.after() {
            After::KeepAlive => Next::Idle,
            // A close with unread bytes would be a reset, which may destroy the response.
            After::Close if self.connection.has_unread() => self.linger().await,
            After::Close => Next::Over,
            After::Linger => self.linger().await,
            After::Abort => {
                self.connection.stream.reset_on_close();
                Next::Over
            }
        }
    }

    /// Answers a head that cannot be read, and closes.
    async fn refuse(&mut self, failure: Failure, reason: Option<Reason>) -> Next {
        let mut exchange = Http1Exchange::refused(self.connection, *self.limits);
        let proxy = self.proxy;
        proxy
            .refuse(self.client, failure, reason, &mut exchange)
            .await;
        self.linger().await
    }

    async fn linger(&mut self) -> Next {
        self.connection.input.clear();
        let buffers = self.proxy.buffers();
        if let Err(error) = linger(&mut self.connection.stream, buffers).await {
            debug!(peer = %self.client.peer, %error, "last response may be lost");
        }
        Next::Over
    }

    fn log_tls(&self) {
        let (listener, peer) = (&self.client.listener.1, self.client.peer);
        info!(
            %listener,
            %peer,
            "a client speaks TLS, which the listener does not support; its connection is closed"
        );
    }
}

fn parsing_limits(limits: &ClientLimits, policy: &HttpPolicy) -> Limits {
    Limits {
        max_head: limits.max_head,
        max_fields: limits.max_fields,
        field_names: match policy.field_names {
            FieldNames::Strict => crate::http1::FieldNames::Strict,
            FieldNames::Pass => crate::http1::FieldNames::Pass,
        },
        ..Limits::REQUEST
    }
}
