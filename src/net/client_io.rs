//! A client's stream with deadlines that depend on the phase of the request.
//!
//! hyper has one deadline for idling and reading a head, and answers an invalid head by itself
//! with an empty body. This wrapper has a deadline for each, and discards hyper's own responses so
//! that the connection can send a better one. Timers are lazy: a deadline that moves on costs a
//! clock reading, not a timer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Between requests.
    pub idle: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// To accept a byte of the response.
    pub write: Duration,
}

/// The phase of a connection. Shared by the stream, which sees bytes, and the service, which sees
/// requests.
#[derive(Debug, Default)]
pub struct ClientState {
    phase: Cell<Phase>,
    answered: Cell<bool>,
    timed_out: Cell<bool>,
    refusal: Cell<Option<StatusCode>>,
    lingers: Cell<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No byte of a request yet.
    #[default]
    Idle,
    /// Inside a head.
    Head,
    /// From the end of a head until its response is flushed.
    Busy,
}

impl ClientState {
    /// A request's head is complete, and its response is being made.
    pub fn request(&self) {
        self.phase.set(Phase::Busy);
        self.answered.set(false);
        self.lingers.set(false);
    }

    /// The last byte of the response was given to hyper.
    pub fn answered(&self) {
        self.answered.set(true);
    }

    /// Whether no part of a request has arrived since the last response.
    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Whether a head did not arrive in time. Its first bytes may have arrived with the request
    /// before; only hyper's buffer shows that: then `is_partial` is set.
    pub fn head_timed_out(&self, is_partial: bool) -> bool {
        let began = match self.phase.get() {
            Phase::Head => true,
            Phase::Idle => is_partial,
            Phase::Busy => false,
        };
        self.timed_out.get() && began
    }

    /// The client may still be sending a part of this request that will not be read.
    pub fn linger(&self) {
        self.lingers.set(true);
    }

    /// Whether to wait for the client before the connection is closed.
    pub fn lingers(&self) -> bool {
        self.lingers.get()
    }

    /// The status with which hyper would have answered an invalid head.
    pub fn refusal(&self) -> Option<StatusCode> {
        self.refusal.get()
    }
}

/// A client's stream with deadlines.
#[derive(Debug)]
pub struct ClientIo {
    stream: TcpStream,
    state: Rc<ClientState>,
    deadlines: Deadlines,
    read_deadline: Instant,
    write_deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    /// Wraps an accepted stream.
    pub fn new(stream: TcpStream, deadlines: Deadlines) -> Self {
        Self {
            stream,
            state: Rc::default(),
            deadlines,
            read_deadline: Instant::now() + deadlines.idle,
            write_deadline: None,
            timer: None,
        }
    }

    /// The state it shares with the service.
    pub fn state(&self) -> &Rc<ClientState> {
        &self.state
    }

    /// The bare stream, for a response without hyper.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Ready with an error once `deadline` has passed; otherwise wakes the task then at the latest.
    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<io::Error> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A timer that is due too early costs one wake-up and is then set again; a timer that is
        // due too late must be moved at once.
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                self.state.timed_out.set(true);
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// The next byte begins a new request.
    ///
    /// hyper may wait on a read that began in the last request, when reading had no deadline: the
    /// timer must be set without another call of `poll_read`.
    fn go_idle(&mut self, cx: &mut Context<'_>) {
        self.state.phase.set(Phase::Idle);
        let deadline = Instant::now() + self.deadlines.idle;
        self.read_deadline = deadline;
        let is_set = self
            .timer
            .as_ref()
            .is_some_and(|timer| !timer.is_elapsed() && timer.deadline() <= deadline);
        if !is_set {
            // A deadline just set has not passed; `poll_read` checks it again.
            let _ = self.poll_deadline(cx, deadline);
        }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.write_deadline = None;
            return result;
        }
        let within = self.deadlines.write;
        let deadline = *self
            .write_deadline
            .get_or_insert_with(|| Instant::now() + within);
        self.poll_deadline(cx, deadline).map(Err)
    }

    /// Discards bytes that hyper writes outside of a request: its own response to an invalid head.
    /// The connection responds instead. Returns whether they are discarded.
    fn discards(&self, start: &[u8]) -> bool {
        if self.state.phase.get() == Phase::Busy {
            return false;
        }
        let status = start
            .get(9..12)
            .and_then(|s| StatusCode::from_bytes(s).ok());
        self.state.refusal.set(status);
        true
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let phase = self.state.phase.get();
        if result.is_pending() && phase != Phase::Busy {
            let deadline = self.read_deadline;
            return self.poll_deadline(cx, deadline).map(Err);
        }
        // Empty lines before a request are no part of it (RFC 9112 section 2.2).
        let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if phase == Phase::Idle && !buf.filled()[before..].iter().all(is_blank) {
            self.state.phase.set(Phase::Head);
            self.read_deadline = Instant::now() + self.deadlines.head;
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.discards(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty());
        if self.discards(first.map_or(&[], |buf| buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        // hyper flushes after it has written everything it had: the response is sent.
        if self.state.answered.replace(false) {
            self.go_idle(cx);
        }
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.refusal.get().is_some() {
            // The connection still sends its own response.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
