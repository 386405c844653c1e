//! An upgraded connection (RFC 9110 section 7.8), or one of protocol `tcp`: bytes in both
//! directions until both sides have ended.
//!
//! Each direction has backpressure and one buffer, which exists only while bytes are in
//! flight, so that an idle WebSocket costs two sockets and little else. The end of one
//! direction is passed on and leaves the other open; a reset of protocol `tcp` is passed on too. A
//! tunnel that neither side ends is ended here: after the idle timeout, when the target is
//! released, or when Weir shuts down. Both ends of a WebSocket get a Close frame then.

mod end;
mod stream_end;
mod target_end;
mod websocket;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use crate::clock;
use crate::model::{Failure, Protocol};
use crate::net::{Input, Timer};
use crate::observe::{OpenTunnel, Record, Side};
use crate::target::Lease;
use websocket::Frames;

pub use end::End;
pub use stream_end::{Owner, StreamEnd};
pub use target_end::TargetEnd;

/// Bytes in flight in one direction, beyond the sockets' own buffers.
const BUFFER: usize = 16 * 1024;

/// How often a tunnel checks whether its target was released.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often a side that is to be reset is asked whether it has sent everything.
const SENDING_CHECK: Duration = Duration::from_millis(10);

/// How long both sides have to take what was begun and their Close frames, and to end, when
/// Weir ends a tunnel.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The target's side of a tunnel; [`Tunnel::run`] gets the client's. It has all that must last as
/// long: the lease on the target, and the record of the request or connection.
#[derive(Debug)]
pub struct Tunnel {
    target: TargetEnd,
    /// Bytes that the target has sent beyond the head of its 101.
    early: Input,
    lease: Lease,
    idle: Duration,
    is_websocket: bool,
    record: TunnelRecord,
}

/// The record of a tunnel, with the bytes copied so far. They are added to the record however
/// the tunnel ends.
#[derive(Debug)]
struct TunnelRecord {
    record: Record,
    _open: OpenTunnel,
    received: Cell<u64>,
    sent: Cell<u64>,
    /// When a byte came last, in either direction.
    last: Cell<Instant>,
    /// Which side has ended its direction first.
    ended_by: Cell<Option<Side>>,
    /// Set when writing has failed in one direction; the other may go on.
    broken: Cell<Option<Failure>>,
}

impl TunnelRecord {
    /// The bytes that this side has sent, and the other has got.
    fn copied(&self, from: Side) -> &Cell<u64> {
        match from {
            Side::Client => &self.received,
            Side::Target => &self.sent,
        }
    }

    /// Notes that a side sends no more.
    fn ended(&self, side: Side) {
        self.ended_by.set(self.ended_by.get().or(Some(side)));
    }

    /// Whether a side is to learn that the other was reset. A WebSocket tells by its frames, and
    /// keeps what is on its way.
    fn passes_resets(&self) -> bool {
        self.record.protocol == Protocol::Tcp
    }

    /// What it means that a side has broken off.
    fn failure_of(&self, side: Side) -> Failure {
        match (side, self.record.protocol) {
            (Side::Client, _) => Failure::ClientGone,
            (Side::Target, Protocol::Http1 | Protocol::Http2) => Failure::TargetBodyBroken,
            (Side::Target, Protocol::Tcp) => Failure::TargetReset,
        }
    }
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        self.record.received = self.received.get();
        self.record.sent = self.sent.get();
        if self.passes_resets() {
            self.record.ended_by = self.ended_by.get();
        }
    }
}

impl Tunnel {
    /// A tunnel to a target: its end, and what it has sent beyond the head of its 101 if it has
    /// switched protocols. `idle` is the longest time without a byte in either direction.
    pub fn new(
        (target, early): (TargetEnd, Input),
        lease: Lease,
        record: Record,
        idle: Duration,
        is_websocket: bool,
    ) -> Self {
        Self {
            target,
            early,
            lease,
            idle,
            is_websocket,
            record: TunnelRecord {
                _open: record.tunnel(),
                record,
                received: Cell::new(0),
                sent: Cell::new(0),
                last: Cell::new(clock::now()),
                ended_by: Cell::default(),
                broken: Cell::default(),
            },
        }
    }

    /// Copies bytes until both sides have ended, or one breaks, or the tunnel has to end;
    /// `closing` resolves with the reason when Weir ends it. `early` are bytes that the client
    /// sent before it had the 101, if it waited for one.
    ///
    /// The future is as small as can be, because there is one for each tunnel: what takes room and
    /// lasts for a moment is boxed.
    ///
    /// Cancel safety: dropping the future resets both sides.
    pub fn run<C: End>(
        mut self: Box<Self>,
        client: C,
        early: Input,
        closing: impl Future<Output = Failure> + Unpin,
    ) -> impl Future<Output = ()> {
        let from_client = BytesMut::from(early.unread());
        let from_target = BytesMut::from(std::mem::take(&mut self.early).unread());
        // A tunnel may be idle for long, and needs no memory while it is.
        drop(early);
        // Not an `async fn`, which would keep a copy of its arguments beside it.
        async move { self.relay(&client, from_client, from_target, closing).await }
    }

    async fn relay(
        mut self: Box<Self>,
        client: &impl End,
        from_client: BytesMut,
        from_target: BytesMut,
        mut closing: impl Future<Output = Failure> + Unpin,
    ) {
        let (record, lease) = (&self.record, &self.lease);
        let frames = self.is_websocket.then(Frames::default);
        let target = &self.target;
        let (up, down) = ((client, target), (target, client));
        let mut up = Direction::new(Side::Client, up, record, frames.clone(), from_client);
        let mut down = Direction::new(Side::Target, down, record, frames, from_target);
        let (failure, is_ended_by_weir) = tokio::select! {
            biased;
            copied = copy(&mut up, &mut down) => (copied.err(), false),
            failure = must_end(&mut closing, lease, record, self.idle) => (Some(failure), true),
        };
        if is_ended_by_weir {
            // Boxed, because the future of every tunnel would be as large otherwise.
            Box::pin(close(&mut up, &mut down)).await;
        } else if failure.is_some() && record.passes_resets() {
            Box::pin(async { tokio::join!(reset(client), reset(&self.target)) }).await;
        }
        let record = &mut self.record.record;
        match failure {
            None => record.complete = true,
            Some(_) => record.failure = failure,
        }
    }
}

/// Copies in both directions until both are over, or reading fails in one.
async fn copy<C: End, T: End>(
    up: &mut Direction<'_, C, T>,
    down: &mut Direction<'_, T, C>,
) -> Result<(), Failure> {
    tokio::try_join!(up.copy(), down.copy())?;
    up.record.broken.get().map_or(Ok(()), Err)
}

/// Prepares for a reset, by which the other end can tell that something is missing, after what was
/// sent before.
async fn reset(stream: &impl End) {
    let until = clock::now() + CLOSE_TIMEOUT;
    // One that does not read in time loses the rest.
    while stream.is_sending() && clock::now() < until {
        Timer::until(clock::now() + SENDING_CHECK).await;
    }
    stream.reset_on_close();
}

/// Ends both directions, in the way of their protocol if it has one. A side that neither reads nor
/// ends in time is closed all the same.
async fn close<C: End, T: End>(up: &mut Direction<'_, C, T>, down: &mut Direction<'_, T, C>) {
    let to_target = websocket::close_for_target(fastrand::u32(..).to_ne_bytes());
    let to_client = websocket::close_for_client();
    let closed = async { tokio::join!(up.close(&to_target), down.close(&to_client)) };
    tokio::select! {
        biased;
        _ = closed => {}
        () = Timer::until(clock::now() + CLOSE_TIMEOUT) => {}
    }
    let _ = (up.to.shutdown_write(), down.to.shutdown_write());
}

/// Resolves when Weir has to end a tunnel, with the reason.
async fn must_end(
    closing: &mut (impl Future<Output = Failure> + Unpin),
    lease: &Lease,
    record: &TunnelRecord,
    idle: Duration,
) -> Failure {
    let mut timer = Timer::default();
    let mut next_check = clock::now() + CHECK_INTERVAL;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(reason) = Pin::new(&mut *closing).poll(cx) {
                return Poll::Ready(reason);
            }
            let idle_end = record.last.get() + idle;
            ready!(timer.poll(cx, next_check.min(idle_end)));
            if lease.target().is_released() {
                return Poll::Ready(Failure::TargetReleased);
            }
            let now = clock::now();
            if record.last.get() + idle <= now {
                return Poll::Ready(Failure::TunnelTimeout);
            }
            next_check = now + CHECK_INTERVAL;
        }
    })
    .await
}

/// One direction of a tunnel.
struct Direction<'a, F, T> {
    /// Which side sends the bytes.
    side: Side,
    from: &'a F,
    to: &'a T,
    /// Where in a frame the written bytes end; `None` if it is not a WebSocket.
    frames: Option<Frames>,
    record: &'a TunnelRecord,
    /// Read and not yet written.
    unsent: BytesMut,
    /// The end of the reading side was passed on, or could not be.
    is_over: bool,
}

impl<'a, F: End, T: End> Direction<'a, F, T> {
    fn new(
        side: Side,
        (from, to): (&'a F, &'a T),
        record: &'a TunnelRecord,
        frames: Option<Frames>,
        unsent: BytesMut,
    ) -> Self {
        Self {
            side,
            from,
            to,
            frames,
            record,
            unsent,
            is_over: false,
        }
    }

    /// Copies bytes to the end, then passes the end on.
    ///
    /// Cancel-safe: bytes that were read and not written are in `unsent`.
    async fn copy(&mut self) -> Result<(), Failure> {
        while !self.is_over {
            if self.send().await.is_err() {
                // A side that reads no more may have sent something before. The other
                // direction goes on copying that until it fails or ends too.
                self.is_over = true;
                let failure = self.record.failure_of(self.side.other());
                self.record.broken.set(Some(failure));
                return Ok(());
            }
            let received = self.receive().await;
            self.is_over = !received.map_err(|_| self.record.failure_of(self.side))?;
        }
        // Of a side that was reset, the system reports one error, and after it the end.
        if let Some(failure) = self
            .record
            .broken
            .get()
            .filter(|_| self.record.passes_resets())
        {
            return Err(failure);
        }
        self.record.ended(self.side);
        // An error means that the other side has closed already.
        if self.to.shutdown_write().is_ok() {
            let _ = self.to.flush().await;
        }
        Ok(())
    }

    /// Writes all unsent bytes, and waits until the kernel has them. Cancel-safe.
    async fn send(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return self.to.flush().await;
        }
        while !self.unsent.is_empty() {
            let len = self.to.write(&self.unsent).await?;
            if let Some(frames) = &mut self.frames {
                frames.follow(&self.unsent[..len]);
            }
            self.unsent.advance(len);
            let copied = self.record.copied(self.side);
            copied.set(copied.get() + len as u64);
        }
        self.record.last.set(clock::now());
        self.unsent = BytesMut::new();
        self.to.flush().await
    }

    /// Waits for bytes; returns `false` at the end. Cancel-safe.
    async fn receive(&mut self) -> io::Result<bool> {
        loop {
            // Without this, a side that sends without end would keep the worker from everything
            // else.
            consume_budget().await;
            self.from.readable().await?;
            let mut buffer = BytesMut::with_capacity(BUFFER);
            // If there is nothing yet, the buffer goes: there may be nothing for long.
            if let Some(len) = self.from.try_read(&mut buffer)? {
                self.unsent = buffer;
                self.record.last.set(clock::now());
                return Ok(len > 0);
            }
        }
    }

    /// Ends this direction: a frame that was begun is copied to its end, `close_frame` follows
    /// on a WebSocket, and the rest is read and discarded until the reading side ends too.
    async fn close(&mut self, close_frame: &[u8]) -> io::Result<()> {
        if self.is_over {
            return Ok(());
        }
        self.finish_frame().await?;
        match &self.frames {
            None => self.to.shutdown_write()?,
            // Nothing may follow a Close frame (RFC 6455 section 5.5.1).
            Some(frames) if frames.is_closed() => {}
            Some(_) => write_all(self.to, close_frame).await?,
        }
        loop {
            if let Some(frames) = &mut self.frames {
                frames.follow(&self.unsent);
                if frames.is_closed() {
                    return Ok(());
                }
            }
            if !self.receive().await? {
                return Ok(());
            }
        }
    }

    /// Copies the rest of the frame that was begun; without frames, the bytes that were read.
    async fn finish_frame(&mut self) -> io::Result<()> {
        loop {
            let begun = match &self.frames {
                Some(frames) => frames.rest_of_frame(&self.unsent),
                None => self.unsent.len(),
            };
            let rest = self.unsent.split_off(begun);
            self.send().await?;
            self.unsent = rest;
            let is_between = self.frames.as_ref().is_none_or(Frames::is_between);
            if is_between || !self.receive().await? {
                return Ok(());
            }
        }
    }
}

async fn write_all(to: &impl End, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = to.write(bytes).await?;
        bytes = &bytes[len..];
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use std::future::Pending;
    use std::pin::Pin;

    use super::*;
    use crate::net::Stream;

    /// As large as what a connection gives to it.
    type Closing = Pin<Box<Pending<Failure>>>;

    fn size<F>(_: fn(Box<Tunnel>, Stream, Input, Closing) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_an_idle_tunnel_is_small() {
        let size = size(Tunnel::run::<Stream>);
        assert!(size <= 2048, "{size} bytes");
    }
}
