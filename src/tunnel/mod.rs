//! An upgraded connection: bytes in both directions until both sides have ended (RFC 9110
//! section 7.8).
//!
//! Each direction has backpressure and one buffer, which exists only while bytes are in
//! flight, so that an idle WebSocket costs two sockets and little else. The end of one
//! direction is passed on and leaves the other open. A tunnel that neither side ends is ended
//! here: after the idle timeout, when the target is released, or when Weir shuts down. Both
//! ends of a WebSocket get a Close frame then.

mod websocket;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use crate::clock;
use crate::model::Failure;
use crate::net::descriptors::DescriptorPermit;
use crate::net::{Input, Stream, Timer};
use crate::observe::{OpenTunnel, Record};
use crate::target::Lease;
use websocket::Frames;

/// Bytes in flight in one direction, beyond the sockets' own buffers.
const BUFFER: usize = 16 * 1024;

/// How often a tunnel checks whether its target was released.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long both sides have to take what was begun and their Close frames, and to end, when
/// Weir ends a tunnel.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The target's side of an upgraded connection; [`Tunnel::run`] gets the client's. It has all that
/// must last as long: the lease on the target and the record of the request.
#[derive(Debug)]
pub struct Tunnel {
    target: Stream,
    /// Counted for `target`.
    _descriptor: DescriptorPermit,
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
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        self.record.received = self.received.get();
        self.record.sent = self.sent.get();
    }
}

impl Tunnel {
    /// A tunnel to a target that has switched protocols: its stream, what it has sent beyond the
    /// head of its 101, and the descriptor counted for the stream. `idle` is the longest time
    /// without a byte in either direction.
    pub fn new(
        (target, early, descriptor): (Stream, Input, DescriptorPermit),
        lease: Lease,
        record: Record,
        idle: Duration,
        is_websocket: bool,
    ) -> Self {
        Self {
            target,
            early,
            _descriptor: descriptor,
            lease,
            idle,
            is_websocket,
            record: TunnelRecord {
                _open: record.tunnel(),
                record,
                received: Cell::new(0),
                sent: Cell::new(0),
                last: Cell::new(clock::now()),
            },
        }
    }

    /// Copies bytes until both sides have ended, or one breaks, or the tunnel has to end;
    /// `closing` resolves with the reason when Weir ends it. `early` are bytes that the client
    /// sent before it had the 101.
    ///
    /// Cancel safety: dropping the future resets both sides.
    pub fn run(
        self: Box<Self>,
        client: Stream,
        early: Input,
        closing: impl Future<Output = Failure>,
    ) -> impl Future<Output = ()> {
        let unsent = BytesMut::from(early.unread());
        // A tunnel may be idle for long, and needs no memory while it is.
        drop(early);
        // Not an `async fn`, which would keep a copy of its arguments beside it.
        async move { self.relay(&client, unsent, closing).await }
    }

    async fn relay(
        mut self: Box<Self>,
        client: &Stream,
        unsent: BytesMut,
        closing: impl Future<Output = Failure>,
    ) {
        let record = &self.record;
        let frames = || self.is_websocket.then(Frames::default);
        let mut up = Direction {
            from: client,
            to: &self.target,
            frames: frames(),
            read_failure: Failure::ClientGone,
            write_failure: Failure::TargetBodyBroken,
            copied: &record.received,
            last: &record.last,
            unsent,
            is_over: false,
            failure: None,
        };
        let mut down = Direction {
            from: &self.target,
            to: client,
            frames: frames(),
            read_failure: Failure::TargetBodyBroken,
            write_failure: Failure::ClientGone,
            copied: &record.sent,
            last: &record.last,
            unsent: std::mem::take(&mut self.early).unread().into(),
            is_over: false,
            failure: None,
        };
        let (failure, is_ended_by_weir) = tokio::select! {
            biased;
            copied = copy(&mut up, &mut down) => (copied.err(), false),
            failure = must_end(closing, &self.lease, record, self.idle) => (Some(failure), true),
        };
        if is_ended_by_weir {
            // Boxed, because the future of every tunnel would be as large otherwise.
            Box::pin(close(&mut up, &mut down)).await;
        }
        let record = &mut self.record.record;
        match failure {
            None => record.complete = true,
            Some(_) => record.failure = failure,
        }
    }
}

/// Copies in both directions until both are over, or reading fails in one.
async fn copy(up: &mut Direction<'_>, down: &mut Direction<'_>) -> Result<(), Failure> {
    tokio::try_join!(up.copy(), down.copy())?;
    up.failure.or(down.failure).map_or(Ok(()), Err)
}

/// Ends both directions. A side that neither reads nor ends in time is closed all the same.
async fn close(up: &mut Direction<'_>, down: &mut Direction<'_>) {
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
    closing: impl Future<Output = Failure>,
    lease: &Lease,
    record: &TunnelRecord,
    idle: Duration,
) -> Failure {
    let mut closing = pin!(closing);
    let mut timer = Timer::default();
    let mut next_check = clock::now() + CHECK_INTERVAL;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(reason) = closing.as_mut().poll(cx) {
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
struct Direction<'a> {
    from: &'a Stream,
    to: &'a Stream,
    /// Where in a frame the written bytes end; `None` if it is not a WebSocket.
    frames: Option<Frames>,
    /// What a failed read means.
    read_failure: Failure,
    /// What a failed write means.
    write_failure: Failure,
    copied: &'a Cell<u64>,
    last: &'a Cell<Instant>,
    /// Read and not yet written.
    unsent: BytesMut,
    /// The end of the reading side was passed on, or could not be.
    is_over: bool,
    /// Set when writing has failed.
    failure: Option<Failure>,
}

impl Direction<'_> {
    /// Copies bytes to the end, then passes the end on.
    ///
    /// Cancel-safe: bytes that were read and not written are in `unsent`.
    async fn copy(&mut self) -> Result<(), Failure> {
        while !self.is_over {
            if self.send().await.is_err() {
                // A side that reads no more may have sent something before. The other
                // direction goes on copying that until it fails or ends too.
                self.is_over = true;
                self.failure = Some(self.write_failure);
                return Ok(());
            }
            self.is_over = !self.receive().await.map_err(|_| self.read_failure)?;
        }
        // An error means that the other side has closed already.
        let _ = self.to.shutdown_write();
        Ok(())
    }

    /// Writes all unsent bytes. Cancel-safe.
    async fn send(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        while !self.unsent.is_empty() {
            let len = self.to.write(&self.unsent).await?;
            if let Some(frames) = &mut self.frames {
                frames.follow(&self.unsent[..len]);
            }
            self.unsent.advance(len);
            self.copied.set(self.copied.get() + len as u64);
        }
        self.last.set(clock::now());
        self.unsent = BytesMut::new();
        Ok(())
    }

    /// Waits for bytes; returns `false` at the end. Cancel-safe.
    async fn receive(&mut self) -> io::Result<bool> {
        // Without this, a side that sends without end would keep the worker from everything else.
        consume_budget().await;
        loop {
            self.from.readable().await?;
            let mut buffer = BytesMut::with_capacity(BUFFER);
            let len = match self.from.try_read(&mut buffer) {
                // The buffer is not kept while nothing comes.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            self.unsent = buffer;
            self.last.set(clock::now());
            return Ok(len > 0);
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

async fn write_all(to: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = to.write(bytes).await?;
        bytes = &bytes[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::Pending;
    use std::pin::Pin;

    use super::*;

    /// As large as what a connection gives to it.
    type Closing = Pin<Box<Pending<Failure>>>;

    fn size<F>(_: fn(Box<Tunnel>, Stream, Input, Closing) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_an_idle_tunnel_is_small() {
        let size = size(Tunnel::run);
        assert!(size <= 2048, "{size} bytes");
    }
}
