//! The task of a connection: reads and writes for its streams, and finds out whether its target is
//! still there.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::Instant;
use tracing::warn;

use super::monitor::Monitored;
use super::vitals::Vitals;
use crate::clock;
use crate::model::TargetId;
use crate::net::Timer;
use crate::net::descriptors::DescriptorPermit;

/// How often it is looked whether anything came while streams wait: a host that vanishes sends
/// no end of the connection.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long a target has to answer a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Least time between two PINGs of a silent connection. Servers of gRPC take more than one in five
/// minutes for an attack, and end the connection (gRFC A8).
const PING_INTERVAL: Duration = Duration::from_secs(310);

/// Drives a connection until it has ended. It ends by itself when nothing refers to it any more.
pub(super) struct Driver {
    connection: Connection<Monitored, Bytes>,
    pings: Option<PingPong>,
    /// A PING was sent and not answered.
    is_pinged: bool,
    vitals: Rc<Vitals>,
    target: TargetId,
    timer: Timer,
    next_look: Instant,
    /// When the next PING may be sent because of silence.
    may_ping_at: Instant,
    /// [`Vitals::reads`] at the last look.
    seen: u64,
    /// The same when it was told last.
    told: u64,
    /// Whether the next look decides.
    is_suspect: bool,
    _descriptor: DescriptorPermit,
}

impl Driver {
    pub(super) fn new(
        mut connection: Connection<Monitored, Bytes>,
        vitals: Rc<Vitals>,
        target: TargetId,
        descriptor: DescriptorPermit,
    ) -> Self {
        let now = clock::now();
        Self {
            pings: connection.ping_pong(),
            connection,
            is_pinged: false,
            vitals,
            target,
            timer: Timer::default(),
            next_look: now + LOOK_INTERVAL,
            may_ping_at: now,
            seen: 0,
            told: 0,
            is_suspect: false,
            _descriptor: descriptor,
        }
    }

    fn ping(&mut self) {
        if let Some(pings) = &mut self.pings
            && !self.is_pinged
        {
            self.is_pinged = pings.send_ping(Ping::opaque()).is_ok();
        }
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) {
        if self.is_pinged
            && let Some(pings) = &mut self.pings
            && pings.poll_pong(cx).is_ready()
        {
            self.is_pinged = false;
        }
    }

    /// Looks whether the target is still there; `false` if it is not.
    fn look(&mut self, now: Instant) -> bool {
        let reads = self.vitals.reads();
        let is_silent = reads == self.seen && self.vitals.open() > 0;
        if is_silent && self.is_suspect {
            return false;
        }
        self.seen = reads;
        self.is_suspect = is_silent && now >= self.may_ping_at;
        if self.is_suspect {
            self.ping();
            self.may_ping_at = now + PING_INTERVAL;
        }
        self.next_look = now
            + if self.is_suspect {
                PING_TIMEOUT
            } else {
                LOOK_INTERVAL
            };
        true
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.vitals.set_driver(cx.waker());
        if this.vitals.takes_ping() {
            this.ping();
        }
        let driven = Pin::new(&mut this.connection).poll(cx);
        this.poll_pong(cx);
        if this.vitals.reads() != this.told {
            this.told = this.vitals.reads();
            this.vitals.tell();
        }
        // How it ended is what its streams are told.
        if driven.is_ready() {
            return Poll::Ready(());
        }
        loop {
            ready!(this.timer.poll(cx, this.next_look));
            if !this.look(clock::now()) {
                warn!(
                    target = %this.target,
                    "a target answers nothing on an HTTP/2 connection; the connection is closed, and its \
                     requests fail"
                );
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.vitals.end();
    }
}
