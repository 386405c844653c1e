//! A connection while it is served: what opens its streams, and what ends it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::settings::MAX_STREAMS;
use super::socket::Io;
use super::stream::{self, Ended, Shared};
use crate::clock;
use crate::downstream::accepted::{FIRST_REQUEST_TIMEOUT, WARM_INTERVAL};
use crate::downstream::drain::IdleGuard;
use crate::downstream::ends::note_end;
use crate::net::Timer;

/// After so long without a byte of a client that waits for responses it is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection without streams stays open after its client was told that it ends: new
/// requests may be on their way (RFC 9113 section 6.8).
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests that a client may take back before most of them count: a browser takes back dozens at
/// once when its user goes elsewhere.
const FREE_RESETS: u32 = 200;

/// Requests that are begun before others have their turn: thousands may come at once.
const MAX_OPENED_AT_ONCE: u32 = 16;

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Both sides know what was served.
    Cleanly,
    /// The client does not take what is there for it, or does not answer.
    Broken,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The listener drains, and the first request is waited for until then.
    AwaitsFirst(Instant),
    /// The client was told to open no more streams, at this time.
    GoingAway(Instant),
    /// It was told that the connection closes now.
    Closing,
}

/// A connection and its streams. Each stream is a task of its own: a panic ends only that one, the
/// runtime gives turns to streams as it does to connections, and one that waits for its target is
/// not looked at when another has something to do.
pub(super) struct Connection {
    h2: server::Connection<Io, Bytes>,
    ping: Option<PingPong>,
    /// Since when an answer to a ping is waited for.
    pinged: Option<Instant>,
    shared: Rc<Shared>,
    streams: JoinSet<Ended>,
    opened: u32,
    abandoned: u32,
    phase: Phase,
    /// Since when there is no stream.
    idle_since: Instant,
    /// Its place in the order of idle connections.
    idle: u64,
    guard: Option<IdleGuard>,
    timer: Timer,
}

impl Connection {
    pub(super) fn new(mut h2: server::Connection<Io, Bytes>, shared: Rc<Shared>) -> Self {
        Self {
            ping: h2.ping_pong(),
            h2,
            pinged: None,
            streams: JoinSet::new(),
            opened: 0,
            abandoned: 0,
            phase: Phase::Open,
            idle_since: clock::now(),
            idle: shared.drain.next_idle(),
            guard: None,
            timer: Timer::default(),
            shared,
        }
    }

    /// Serves streams until the connection has ended. `draining` resolves when the listener drains.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut draining: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Closed> {
        // Once is enough for the task to be woken.
        if self.phase == Phase::Open && !self.shared.drain.is_draining() {
            let _ = draining.as_mut().poll(cx);
        }
        self.shared.socket.begin_turn();
        loop {
            self.poll_streams(cx);
            if self.poll_requests(cx).is_ready() {
                return Poll::Ready(Closed::Cleanly);
            }
            self.poll_pong(cx);
            if self.note_abuse() || self.note_end() {
                continue;
            }
            match self.poll_idle(cx) {
                Poll::Ready(Some(closed)) => return Poll::Ready(closed),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes streams that have ended.
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
            let (listener, metrics) = (&self.shared.client.listener.1, self.shared.proxy.metrics());
            match note_end(ended, listener, metrics) {
                Some(Ended::Abandoned) => self.abandoned += 1,
                Some(Ended::Served) | None => {}
            }
            if self.streams.is_empty() {
                self.idle_since = clock::now();
                self.idle = self.shared.drain.next_idle();
            }
        }
    }

    /// Reads and writes frames, and opens streams. Ready when the connection has ended.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // More streams than that are some whose client has given them up, and which have not
        // noticed it yet: until they have, no other is begun in their place.
        let most = self.opened.saturating_add(MAX_OPENED_AT_ONCE);
        while self.streams.len() < MAX_STREAMS as usize {
            if self.opened >= most {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.open(request, respond),
                // An error was told to the client, if it can be told anything.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.h2.poll_closed(cx).map(drop)
    }

    fn open(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.is_used_up() && matches!(self.phase, Phase::GoingAway(_)) {
            // It was told, and could know it.
            let allowed = self.shared.terms.allowance().saturating_add(MAX_STREAMS);
            if self.opened >= allowed {
                respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
        }
        if self.guard.take().is_some_and(|guard| guard.is_evicted()) {
            // A request came at the same time, so another connection has to give way.
            self.shared.drain.decline();
        }
        self.opened = self.opened.saturating_add(1);
        let shared = Rc::clone(&self.shared);
        self.streams
            .spawn_local(stream::serve(shared, request, respond));
    }

    fn is_used_up(&self) -> bool {
        self.opened >= self.shared.terms.allowance()
    }

    /// Closes the connection of a client that takes most of its requests back, or sends frames that
    /// carry nothing. Returns whether it was told just now.
    fn note_abuse(&mut self) -> bool {
        let takes_back = self.abandoned > FREE_RESETS && self.abandoned > self.opened / 2;
        if self.phase == Phase::Closing || !(takes_back || self.shared.socket.is_flooded()) {
            return false;
        }
        self.close(Reason::ENHANCE_YOUR_CALM);
        true
    }

    /// Begins the end of the connection if it has to end. Returns whether it begins just now.
    fn note_end(&mut self) -> bool {
        let drain = &self.shared.drain;
        let has_served = self.opened > 0;
        let is_due = self.is_used_up() || (has_served && drain.closing().get());
        match self.phase {
            Phase::Open if is_due || (has_served && drain.is_draining()) => {}
            Phase::AwaitsFirst(until) if has_served || until <= clock::now() => {}
            Phase::Open if drain.is_draining() => {
                self.guard = None;
                self.phase = Phase::AwaitsFirst(clock::now() + FIRST_REQUEST_TIMEOUT);
                return true;
            }
            Phase::Open | Phase::AwaitsFirst(_) | Phase::GoingAway(_) | Phase::Closing => {
                return false;
            }
        }
        self.guard = None;
        self.phase = Phase::GoingAway(clock::now());
        self.h2.graceful_shutdown();
        true
    }

    /// Closes the connection, whatever is under way on it.
    fn close(&mut self, reason: Reason) {
        self.guard = None;
        self.phase = Phase::Closing;
        self.h2.abrupt_shutdown(reason);
    }

    /// Waits for the next deadline. Ready with `None` if something has changed.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Closed>> {
        if let Some(guard) = &self.guard
            && guard.poll_evicted(cx).is_ready()
        {
            self.close(Reason::NO_ERROR);
            return Poll::Ready(None);
        }
        let now = clock::now();
        let timeout = self.shared.terms.limits.body_timeout;
        let stalled = self.shared.socket.stalled().map(|since| since + timeout);
        let unanswered = self.pinged.map(|since| since + PING_TIMEOUT);
        let broken = [stalled, unanswered].into_iter().flatten().min();
        if broken.is_some_and(|at| at <= now) {
            return Poll::Ready(Some(Closed::Broken));
        }
        let next = self.next_step();
        if next.is_some_and(|at| at <= now) {
            self.step(now);
            return Poll::Ready(None);
        }
        match [broken, next].into_iter().flatten().min() {
            Some(deadline) => self.timer.poll(cx, deadline).map(|()| None),
            None => Poll::Pending,
        }
    }

    /// When something is to be done if nothing happens.
    fn next_step(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closing => None,
            Phase::AwaitsFirst(until) => Some(until),
            _ if !self.streams.is_empty() => {
                let quiet = self.shared.socket.received() + PING_AFTER;
                (self.ping.is_some() && self.pinged.is_none()).then_some(quiet)
            }
            Phase::GoingAway(since) => Some(since.max(self.idle_since) + GOAWAY_TIMEOUT),
            Phase::Open if self.guard.is_none() => {
                let warm = WARM_INTERVAL.min(self.shared.terms.limits.idle_timeout);
                Some(self.idle_since + warm)
            }
            Phase::Open => Some(self.idle_since + self.shared.terms.limits.idle_timeout),
        }
    }

    fn step(&mut self, now: Instant) {
        match self.phase {
            Phase::Closing | Phase::AwaitsFirst(_) => {}
            _ if !self.streams.is_empty() => self.send_ping(now),
            Phase::Open if self.guard.is_none() => {
                self.guard = Some(self.shared.drain.idle(self.idle));
            }
            Phase::Open | Phase::GoingAway(_) => self.close(Reason::NO_ERROR),
        }
    }

    fn send_ping(&mut self, now: Instant) {
        if let Some(ping) = &mut self.ping {
            // Fails only if the connection has ended, or one is under way.
            let _ = ping.send_ping(Ping::opaque());
            self.pinged = Some(now);
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) {
        let (Some(ping), Some(since)) = (&mut self.ping, self.pinged) else {
            return;
        };
        // Whatever has come shows that the client is there.
        if ping.poll_pong(cx).is_ready() || self.shared.socket.received() > since {
            self.pinged = None;
        }
    }
}
