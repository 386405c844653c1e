//! The socket of a connection, as the `h2` crate reads and writes it, and what is noticed there.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::clock;
use crate::net::{Buffers, Input, Stream};
use crate::tunnel::Owner;

/// In this time the bytes of frames are compared with what they carried.
const FLOOD_WINDOW: Duration = Duration::from_secs(60);

/// Bytes that a client may send in [`FLOOD_WINDOW`] without carrying anything: pings, settings and
/// window updates of a connection that is slow to use what it has.
const FREE_BYTES: u64 = 1024 * 1024;

/// How many bytes beyond [`FREE_BYTES`] one byte of heads and bodies, in either direction, makes up
/// for.
const BYTES_PER_USEFUL: u64 = 8;

/// Bytes that are read in one turn of a connection: these may be thousands of frames, and other
/// connections have their turns in between.
const BYTES_PER_TURN: usize = 32 * 1024;

/// The socket, shared by what drives the connection and by its streams.
#[derive(Debug)]
pub(super) struct Socket {
    /// `None` once the connection was taken apart.
    stream: RefCell<Option<Stream>>,
    early: RefCell<Input>,
    buffers: Buffers,
    /// When bytes came last.
    received: Cell<Instant>,
    /// Since when the client takes none of the bytes that are there for it.
    stalled: Cell<Option<Instant>>,
    /// When the counts of bytes began.
    counted: Cell<Instant>,
    /// Bytes received in this turn.
    turn: Cell<usize>,
    /// Bytes received.
    total: Cell<u64>,
    /// Bytes of heads and bodies, in both directions.
    useful: Cell<u64>,
}

impl Socket {
    /// `early` is what was read before it was known that the client speaks HTTP/2.
    pub(super) fn new(stream: Stream, early: Input, buffers: Buffers) -> Self {
        let now = clock::now();
        Self {
            stream: RefCell::new(Some(stream)),
            early: RefCell::new(early),
            buffers,
            received: Cell::new(now),
            stalled: Cell::default(),
            counted: Cell::new(now),
            turn: Cell::default(),
            total: Cell::default(),
            useful: Cell::default(),
        }
    }

    /// The stream, of which nothing is read or written here any more.
    pub(super) fn take(&self) -> Option<Stream> {
        self.stream.take()
    }

    /// When bytes came last.
    pub(super) fn received(&self) -> Instant {
        self.received.get()
    }

    /// Since when the client takes none of the bytes that are there for it.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled.get()
    }

    /// Notes that the connection has its turn.
    pub(super) fn begin_turn(&self) {
        self.turn.set(0);
    }

    /// Notes bytes of a head or a body.
    pub(super) fn note_useful(&self, count: usize) {
        self.useful.set(self.useful.get() + count as u64);
    }

    /// Whether the client sends much and hardly anything in it: whatever kind of frames it floods
    /// the connection with.
    pub(super) fn is_flooded(&self) -> bool {
        let allowance = FREE_BYTES + BYTES_PER_USEFUL * self.useful.get();
        self.total.get() > allowance
    }

    fn note_received(&self, count: usize) {
        let now = clock::now();
        self.received.set(now);
        if now - self.counted.get() > FLOOD_WINDOW {
            self.counted.set(now);
            self.total.set(0);
            self.useful.set(0);
        }
        self.turn.set(self.turn.get() + count);
        self.total.set(self.total.get() + count as u64);
    }

    fn with<T>(
        &self,
        operation: impl FnOnce(&mut Stream) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.stream.borrow_mut() {
            Some(stream) => operation(stream),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Moves what was read early into `buffer`. Returns whether there was something.
    fn read_early(&self, buffer: &mut ReadBuf<'_>) -> bool {
        let mut early = self.early.borrow_mut();
        if early.is_empty() {
            return false;
        }
        let count = early.len().min(buffer.remaining());
        buffer.put_slice(&early.unread()[..count]);
        early.consume(count);
        early.release(&self.buffers);
        true
    }

    fn note_written<T>(&self, written: &Poll<io::Result<T>>) {
        match written {
            Poll::Pending if self.stalled.get().is_none() => self.stalled.set(Some(clock::now())),
            Poll::Pending => {}
            Poll::Ready(_) => self.stalled.set(None),
        }
    }
}

impl Owner for Socket {
    fn moved(&self, count: usize) {
        self.note_useful(count);
    }
}

/// The socket for the `h2` crate.
#[derive(Debug)]
pub(super) struct Io(pub(super) Rc<Socket>);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &self.0;
        if socket.read_early(buffer) {
            return Poll::Ready(Ok(()));
        }
        if socket.turn.get() >= BYTES_PER_TURN {
            // Pending, and woken after the runtime has looked at the other sockets.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = socket.with(|stream| Pin::new(stream).poll_read(cx, buffer));
        if read.is_ready() {
            socket.note_received(buffer.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        let written = socket.with(|stream| Pin::new(stream).poll_write(cx, bytes));
        socket.note_written(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        let written = socket.with(|stream| Pin::new(stream).poll_write_vectored(cx, buffers));
        socket.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.0;
        let flushed = socket.with(|stream| Pin::new(stream).poll_flush(cx));
        socket.note_written(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.with(|stream| Pin::new(stream).poll_shutdown(cx))
    }
}
