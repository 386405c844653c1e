//! A stream of bytes to a client or a target, whatever carries it.
//!
//! The poll methods register the task's waker, and count against tokio's budget of a task, so
//! that no peer keeps a worker from the others.
//!
//! What was written to a socket is with the kernel. What was written to an encrypted stream may be
//! kept in part until the peer reads, so nothing counts as sent before it is flushed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::socket::{HangUp, Peek, Socket};
use super::tls::TlsStream;
use crate::model::TlsFacts;

/// A connected stream.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are on the wire.
    Plain(Socket),
    /// Encrypted on the wire. Boxed, because it is large.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// What is known of the encryption; `None` if there is none.
    pub fn tls(&self) -> Option<&Arc<TlsFacts>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.facts()),
        }
    }

    /// Reads what has arrived into `buffer`. Ready without a byte more in it is the end of the
    /// stream. Makes no system call if the runtime knows of nothing to read.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Reads what has arrived into `memory`, as [`Self::poll_read`], and returns how many bytes that
    /// were. Cheaper, and may not count against the task's budget: for the first read after the
    /// task has waited.
    pub fn poll_read_woken(
        &mut self,
        cx: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read_woken(cx, memory),
            Self::Tls(stream) => {
                let mut room = ReadBuf::new(memory);
                stream
                    .poll_read(cx, &mut room)
                    .map_ok(|()| room.filled().len())
            }
        }
    }

    /// Ready when there is something to read, or the end. The runtime may say so too early.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Writes as much as the stream takes, and returns how many bytes that were. Cheaper than
    /// [`Self::poll_write`], and does not count against the task's budget: for a few bytes, after
    /// which nothing is left to write.
    pub fn poll_write_few(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_few(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// Writes as much as the stream takes, and returns how many bytes that were.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// As [`Self::poll_write`], from several buffers in one system call.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_vectored(cx, buffers),
            Self::Tls(stream) => stream.poll_write(cx, buffers),
        }
    }

    /// Ready when the kernel has all that was written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Whether the kernel has all that was written.
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.is_flushed(),
        }
    }

    /// Appends what has arrived to `buffer`, at most as much as fits. `Some(0)` is the end, `None`
    /// says that [`Self::readable`] was wrong. Does not wait.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(stream) => stream.try_read(buffer),
        }
    }

    /// Waits until there is something to read, or the end. The runtime may say so too early.
    /// Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.readable().await,
            Self::Tls(stream) => stream.readable().await,
        }
    }

    /// Writes as much as the stream takes, at least a byte. Cancel-safe.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
        }
    }

    /// Waits until the kernel has all that was written, and the end of it if
    /// [`Self::shutdown_write`] was called. Cancel-safe.
    pub async fn flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }

    /// The address of this end; `None` for a Unix socket.
    pub fn local_address(&self) -> io::Result<Option<SocketAddr>> {
        self.socket().local_address()
    }

    /// Turns Nagle's algorithm off: every write is a whole message or the start of one. A Unix
    /// socket has none.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.socket().set_nodelay()
    }

    /// How many bytes have arrived and were not read yet; of an encrypted stream, about how many.
    /// One system call.
    pub fn received(&self) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.received(),
            Self::Tls(stream) => stream.received(),
        }
    }

    /// Whether the peer has ended its side or the whole connection, as the kernel knows it now.
    /// Says so although bytes are left to be read, unlike [`Self::peek`]. One system call.
    pub fn hang_up(&self) -> HangUp {
        self.socket().hang_up()
    }

    /// Whether bytes that were written have not been sent yet, or many of them have not arrived.
    /// Not told of a Unix domain socket, the peer of which has them at once. Two system calls.
    pub fn is_sending(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_sending(),
            Self::Tls(stream) => stream.is_sending(),
        }
    }

    /// What a read would find now, without taking it. One system call.
    pub fn peek(&self) -> Peek {
        match self {
            Self::Plain(socket) => socket.peek(),
            Self::Tls(stream) => stream.peek(),
        }
    }

    /// Ends the direction towards the peer, which reads everything written before and then the
    /// end. An encrypted stream that is not flushed ends when it is. An error means that the peer
    /// has closed the connection already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Tells the peer of an encrypted stream that the close which follows is no truncation. Not
    /// after [`Self::reset_on_close`].
    pub fn announce_close(&self) {
        if let Self::Tls(stream) = self {
            stream.announce_close();
        }
    }

    /// Makes the next close a reset, by which the peer can tell that something is missing. Bytes
    /// that were written and not sent yet are lost.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => socket.reset_on_close(),
            Self::Tls(stream) => stream.reset_on_close(),
        }
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// For libraries that bring a protocol of their own.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Stream::poll_read(&mut self, cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(&mut self, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_vectored(&mut self, cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.shutdown_write();
        ready!(Stream::poll_flush(&mut self, cx))?;
        Poll::Ready(ended)
    }
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream.into())
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Plain(stream.into())
    }
}
