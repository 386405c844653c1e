//! HTTP/1.1 on one client's connection.
//!
//! ```text
//! idle ──► head ──► exchange ──► idle        no buffer and a small future while idle
//!            │          ├──────► tunnel      after a 101
//!            ├──────────┴──────► linger, close
//!            └─────────────────► HTTP/2      after its preface, in the place of the first head
//! ```

mod connection;
mod departure;
mod exchange;
mod read_head;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tracing::{debug, info};

use super::drain::{DrainSignal, IdleGuard};
use super::http2;
use super::linger::linger;
use crate::clock;
use crate::downstream::accepted::{Accepted, FIRST_REQUEST_TIMEOUT, Terms, WARM_INTERVAL};
use crate::http1::{Limits, Reason};
use crate::message::RequestHead;
use crate::model::{ClientLimits, Failure, Peer};
use crate::net::Timer;
use crate::observe::Transport;
use crate::proxy::{Client, Proxy};
use crate::tunnel::Tunnel;
use connection::Connection;
use exchange::{After, Http1Exchange};
use read_head::{HeadError, read_head};

/// Bytes of text that a head keeps room for between two requests.
const KEPT_HEAD: usize = 4 * 1024;

/// A connection for as long as it lives. It has nothing that only a request needs: that is in the
/// boxed future of [`HttpConnection::session`].
struct HttpConnection<H> {
    connection: Connection,
    peer: Peer,
    local: Option<SocketAddr>,
    terms: Rc<Terms>,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    timer: Timer,
    /// Whether no request has come yet.
    is_new: bool,
    /// Its place in the order of idle connections.
    idle: u64,
    held: H,
}

/// What a connection has while requests are served, and for a moment after one.
struct Session<'s> {
    connection: &'s mut Connection,
    client: Client,
    proxy: &'s Proxy,
    limits: &'s ClientLimits,
    parsing: Limits,
    drain: &'s DrainSignal,
    /// Whether the task is woken when the listener drains.
    is_told: bool,
    /// The first request of a connection finds so many left.
    allowance: u32,
    /// Whether the client may speak HTTP/2.
    http2: bool,
    timer: &'s mut Timer,
}

/// What follows after a request, or after [`Session::run`].
enum Next {
    /// Nothing yet: the next request may come.
    Idle,
    /// The connection has ended, or is to be closed.
    Over,
    /// Another protocol.
    Tunnel(Box<Tunnel>),
    /// The client speaks HTTP/2.
    Http2,
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

/// Serves every request of a connection, in order, until the connection ends, and drops `held` then.
///
/// Cancel safety: dropping the future closes the connection, and abandons its request.
pub(super) fn serve<H>(
    accepted: Accepted,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    held: H,
) -> impl Future<Output = ()> {
    let Accepted {
        stream,
        peer,
        local,
        terms,
    } = accepted;
    let allowance = terms.allowance();
    let (buffers, closing) = (proxy.buffers().clone(), Rc::clone(drain.closing()));
    let mut connection = HttpConnection {
        connection: Connection::new(stream, buffers, closing, allowance),
        peer,
        local,
        terms,
        proxy,
        drain,
        timer: Timer::default(),
        is_new: true,
        idle: 0,
        held,
    };
    // Not an `async fn`, which would keep a copy of its arguments beside it.
    async move {
        // Boxed, like a session: most connections have neither.
        let rest: Pin<Box<dyn Future<Output = ()> + '_>> = match connection.run().await {
            Next::Tunnel(tunnel) => Box::pin(connection.relay(tunnel)),
            Next::Http2 => Box::pin(connection.speak_http2()),
            Next::Idle | Next::Over => {
                connection.connection.stream.announce_close();
                return;
            }
        };
        rest.await;
    }
}

/// Answers a request of plain HTTP to a listener that speaks TLS, and closes. What is left of the
/// request is read and discarded.
pub(super) async fn refuse_plain(accepted: Accepted, proxy: &Rc<Proxy>, drain: &Rc<DrainSignal>) {
    let Accepted {
        stream,
        peer,
        local,
        terms,
    } = accepted;
    let (buffers, closing) = (proxy.buffers().clone(), Rc::clone(drain.closing()));
    let mut session = Session {
        connection: &mut Connection::new(stream, buffers, closing, 0),
        client: Client::new(
            terms.socket,
            terms.listener.clone(),
            peer,
            local,
            Transport::default(),
        ),
        proxy,
        limits: &terms.limits,
        parsing: terms.parsing(),
        allowance: terms.allowance(),
        http2: false,
        drain,
        is_told: false,
        timer: &mut Timer::default(),
    };
    session.refuse(Failure::PlainHttp, None).await;
}

impl<H> HttpConnection<H> {
    /// Serves requests until the connection ends, becomes a tunnel, or turns out to be one of HTTP/2.
    async fn run(&mut self) -> Next {
        loop {
            // Boxed, because the future of every idle connection would be as large otherwise.
            match Box::pin(self.session()).await {
                Next::Idle => {}
                next => return next,
            }
            if !self.has_next().await {
                return Next::Over;
            }
            self.is_new = false;
        }
    }

    /// Serves requests until none has come for a moment, or the connection ends.
    async fn session(&mut self) -> Next {
        let Terms {
            socket,
            listener,
            limits,
            ..
        } = &*self.terms;
        let transport = self.terms.transport(&self.connection.stream);
        let client = Client::new(*socket, listener.clone(), self.peer, self.local, transport);
        let session = Session {
            connection: &mut self.connection,
            client,
            proxy: &self.proxy,
            limits,
            parsing: self.terms.parsing(),
            drain: &self.drain,
            is_told: false,
            allowance: self.terms.allowance(),
            http2: self.terms.http2,
            timer: &mut self.timer,
        };
        session.run(&mut self.is_new, &mut self.idle).await
    }

    /// Runs the tunnel that the connection has become. The future has nothing that a tunnel does not
    /// need.
    fn relay(self, tunnel: Box<Tunnel>) -> impl Future<Output = ()> {
        let (drain, held) = (self.drain, self.held);
        let (stream, early) = self.connection.into_parts();
        async move {
            let _guard = drain.guard_tunnel();
            let closing = Box::pin(drain.closed());
            tunnel.run(stream, early, closing).await;
            drop(held);
        }
    }

    /// Serves the rest of a connection that has begun with the preface of HTTP/2.
    fn speak_http2(self) -> impl Future<Output = ()> {
        let (stream, early) = self.connection.into_parts();
        let accepted = Accepted {
            stream,
            peer: self.peer,
            local: self.local,
            terms: self.terms,
        };
        http2::serve(accepted, early, self.proxy, self.drain, self.held)
    }

    /// Waits for the first bytes of the next request. Returns whether they have come.
    async fn has_next(&mut self) -> bool {
        let timeout = self.terms.limits.idle_timeout;
        let idle = Idle {
            guard: Some(self.drain.idle(self.idle)),
            until: clock::now() + timeout.saturating_sub(WARM_INTERVAL),
            http: self,
        };
        match idle.await {
            Waited::Received => true,
            // A request came at the same time, so another connection has to give way.
            Waited::Evicted if self.connection.has_unread() => {
                self.drain.decline();
                true
            }
            Waited::Draining | Waited::Evicted | Waited::Ended | Waited::TimedOut => false,
        }
    }
}

/// Waits for the next bytes of an idle connection, or for a reason to end it. Cancel-safe.
struct Idle<'s, H> {
    http: &'s mut HttpConnection<H>,
    /// `None` once the listener drains.
    guard: Option<IdleGuard>,
    until: Instant,
}

// Not an `async fn`, of which the future of every connection would have to keep more.
impl<H> Future for Idle<'_, H> {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited> {
        let Self { http, guard, until } = &mut *self;
        let received = http.connection.poll_received(cx);
        if received.is_ready() {
            return received.map(waited);
        }
        if http.drain.is_draining() && guard.take().is_some() {
            if !http.is_new {
                return Poll::Ready(Waited::Draining);
            }
            // The first request of a connection is waited for.
            *until = clock::now() + FIRST_REQUEST_TIMEOUT;
        }
        if let Some(guard) = guard
            && guard.poll_evicted(cx).is_ready()
        {
            return Poll::Ready(Waited::Evicted);
        }
        http.timer.poll(cx, *until).map(|()| Waited::TimedOut)
    }
}

fn waited(has_bytes: bool) -> Waited {
    if has_bytes {
        Waited::Received
    } else {
        Waited::Ended
    }
}

impl Session<'_> {
    /// Serves requests until none has begun for a moment, or the connection ends.
    async fn run(mut self, is_new: &mut bool, idle: &mut u64) -> Next {
        let mut draining = pin!(self.drain.draining());
        let mut head = RequestHead::default();
        if *is_new {
            *idle = self.drain.next_idle();
            // Its first request is on its way, most likely: it does not give way yet.
            match self.wait(clock::now(), draining.as_mut()).await {
                Waited::Received => *is_new = false,
                Waited::Ended => return Next::Over,
                Waited::Draining | Waited::Evicted | Waited::TimedOut => return Next::Idle,
            }
        }
        *is_new = false;
        loop {
            match self.serve_one(&mut head).await {
                Next::Idle => {}
                next => return next,
            }
            if !self.connection.input.is_empty() {
                continue;
            }
            self.connection.release();
            head.shrink(KEPT_HEAD);
            *idle = self.drain.next_idle();
            // The exchange has read the clock at its end.
            match self.wait(clock::last(), draining.as_mut()).await {
                Waited::Received => {}
                Waited::Ended => return Next::Over,
                Waited::Draining | Waited::Evicted | Waited::TimedOut => return Next::Idle,
            }
        }
    }

    /// Waits for the next bytes until a moment after `since`, or until the listener drains. The
    /// connection does not have to give way to a new client meanwhile. Cancel-safe.
    async fn wait(
        &mut self,
        since: Instant,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> Waited {
        let until = since + WARM_INTERVAL.min(self.limits.idle_timeout);
        poll_fn(|cx| {
            let received = self.connection.poll_received(cx);
            if received.is_ready() {
                return received.map(waited);
            }
            // Once is enough for the task to be woken, and then the drain has begun.
            let is_told = std::mem::replace(&mut self.is_told, true);
            if self.drain.is_draining() || (!is_told && draining.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Waited::Draining);
            }
            self.timer.poll(cx, until).map(|()| Waited::TimedOut)
        })
        .await
    }

    async fn serve_one(&mut self, head: &mut RequestHead) -> Next {
        let (connection, timer) = (&mut *self.connection, &mut *self.timer);
        let read = read_head(connection, head, &self.parsing, self.limits, timer).await;
        let parsed = match read {
            Ok(parsed) => parsed,
            Err(HeadError::Ended) => return Next::Over,
            Err(HeadError::TimedOut) => {
                return self.refuse(Failure::RequestHeadTimeout, None).await;
            }
            Err(HeadError::Malformed(Reason::Http2Preface)) if self.may_be_http2() => {
                return Next::Http2;
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
        let handled = proxy.handle(&self.client, head, reason, &mut exchange, self.timer);
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

    /// Whether the preface of HTTP/2 may come, in the place of the first request.
    fn may_be_http2(&self) -> bool {
        self.http2 && self.connection.allowance == self.allowance
    }

    /// Answers a head that cannot be read, and closes.
    async fn refuse(&mut self, failure: Failure, reason: Option<Reason>) -> Next {
        let mut exchange = Http1Exchange::refused(self.connection, *self.limits);
        let proxy = self.proxy;
        proxy
            .refuse(&self.client, failure, reason, &mut exchange)
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
            "a client speaks TLS to a listener that has no `tls`; its connection is closed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As large as what the accept loop adds.
    type Held = [usize; 5];

    fn size<F>(_: fn(Accepted, Rc<Proxy>, Rc<DrainSignal>, Held) -> F) -> usize {
        size_of::<F>()
    }

    /// The runtime adds 104 bytes and takes a multiple of 128.
    #[test]
    fn the_future_of_an_idle_connection_is_small() {
        let size = size(serve::<Held>);
        assert!(size <= 408, "{size} bytes");
    }
}
