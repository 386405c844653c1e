//! A socket that is connected to a client or a target.
//!
//! The poll methods register the task's waker, and count against tokio's budget of a task, so
//! that no peer keeps a worker from the others.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// Reads what has arrived into `buffer`. Ready without a byte more in it is the end of the
    /// stream. Makes no system call if the runtime knows of nothing to read.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// Reads what has arrived into `memory`, as [`Self::poll_read`]. Cheaper, and does not count
    /// against the task's budget: for the first read after the task has waited.
    pub fn poll_read_woken(
        &mut self,
        cx: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.try_receive(memory) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut room = ReadBuf::new(memory);
                self.poll_read(cx, &mut room)
                    .map_ok(|()| room.filled().len())
            }
            read => Poll::Ready(read),
        }
    }

    /// Less than there was room for is all that has arrived, and the runtime learns that without
    /// another system call.
    fn try_receive(&self, memory: &mut [u8]) -> io::Result<usize> {
        let mut part = None;
        let received = self.try_io(Interest::READABLE, || {
            let (_, count) = rustix::net::recv(self, &mut *memory, RecvFlags::empty())?;
            if count > 0 && count < memory.len() {
                part = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        part.map_or(received, Ok)
    }

    /// Ready when there is something to read, or the end. The runtime may say so too early.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Writes as much as the socket takes, and returns how many bytes that were. Cheaper than
    /// [`Self::poll_write`], and does not count against the task's budget: for a few bytes, after
    /// which nothing is left to write.
    pub fn poll_write_few(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.try_send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.poll_write(cx, bytes),
            written => Poll::Ready(written),
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
        })
    }

    /// Writes as much as the socket takes, and returns how many bytes that were.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// As [`Self::poll_write`], from several buffers in one system call.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    /// Appends what has arrived to `buffer`, at most as much as fits. `Some(0)` is the end, `None`
    /// says that [`Self::readable`] was wrong. Does not wait.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let read = match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// As [`Self::try_read`], into memory that is initialized. An error of kind
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) says that there is nothing.
    pub fn try_read_into(&self, memory: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(memory),
            Self::Unix(stream) => stream.try_read(memory),
        }
    }

    /// Writes as much as the socket takes, from several buffers in one system call. An error of
    /// kind [`WouldBlock`](io::ErrorKind::WouldBlock) says that it takes nothing now.
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(buffers),
            Self::Unix(stream) => stream.try_write_vectored(buffers),
        }
    }

    /// Waits until the socket takes something. The runtime may say so too early. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Waits until there is something to read, or the end. The runtime may say so too early.
    /// Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Tries a system call on the socket. If it would block, the runtime learns that the socket is
    /// not ready.
    pub(super) fn try_io<T>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, call),
            Self::Unix(stream) => stream.try_io(interest, call),
        }
    }

    /// Writes as much as the socket takes, at least a byte. Cancel-safe.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Self::Tcp(stream) => stream.try_write(bytes),
                Self::Unix(stream) => stream.try_write(bytes),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                written => return written,
            }
        }
    }

    /// The IP address of the other end; `None` for a Unix socket, or if it has closed already.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(|peer| peer.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The address of this end; `None` for a Unix socket.
    pub fn local_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    /// Turns Nagle's algorithm off: every write is a whole message or the start of one. A Unix
    /// socket has none.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    /// How many bytes have arrived and were not read yet. One system call.
    pub fn received(&self) -> io::Result<usize> {
        let count = rustix::io::ioctl_fionread(self)?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Whether the peer has ended its side or the whole connection, as the kernel knows it now.
    /// Says so although bytes are left to be read, unlike [`Self::peek`]. One system call.
    pub fn hang_up(&self) -> HangUp {
        let mut polled = [PollFd::new(self, PollFlags::RDHUP)];
        // An error means that the kernel is out of memory: it is asked again later.
        if rustix::event::poll(&mut polled, Some(&Timespec::default())).is_err() {
            return HangUp::None;
        }
        let events = polled[0].revents();
        if events.intersects(PollFlags::HUP | PollFlags::ERR) {
            HangUp::Closed
        } else if events.contains(PollFlags::RDHUP) {
            HangUp::SendingSide
        } else {
            HangUp::None
        }
    }

    /// Whether bytes that were written have not been sent yet, or many of them have not arrived.
    /// Not told of a Unix domain socket, the peer of which has them at once. Two system calls.
    pub fn is_sending(&self) -> bool {
        if let Self::Unix(_) = self {
            return false;
        }
        // Without this, a socket is writable as long as there is room for more. An error means that
        // the peer has closed the connection already.
        if SockRef::from(self).set_tcp_notsent_lowat(1).is_err() {
            return false;
        }
        let mut polled = [PollFd::new(self, PollFlags::OUT)];
        matches!(
            rustix::event::poll(&mut polled, Some(&Timespec::default())),
            Ok(0)
        )
    }

    /// What a read would find now, without taking it. One system call.
    pub fn peek(&self) -> Peek {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self).peek(&mut byte) {
            Ok(0) => Peek::Closed,
            Ok(_) => Peek::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Peek::Nothing,
            Err(_) => Peek::Closed,
        }
    }

    /// Ends the direction towards the peer, which reads everything written before and then the
    /// end. An error means that the peer has closed the connection already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }

    /// Makes the next close a reset, by which the peer can tell that something is missing. Bytes
    /// that were written and not sent yet are lost.
    pub fn reset_on_close(&self) {
        // Fails only for a socket that is closed already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// The state of a connection without bytes to read, or that there are some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Nothing to read, and the connection is open.
    Nothing,
    /// At least one byte to read.
    Bytes,
    /// Nothing to read any more: the peer has ended its side, or the connection was reset.
    Closed,
}

/// Which directions of a connection its peer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// None is known to have ended.
    None,
    /// The peer sends no more; it may still read.
    SendingSide,
    /// The connection was reset, or ended in both directions.
    Closed,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_sending_until_its_peer_has_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let (sender, peer) = tokio::join!(TcpStream::connect(to), listener.accept());
        let (sender, peer) = (Socket::from(sender.unwrap()), Socket::from(peer.unwrap().0));
        assert!(!sender.is_sending());
        let chunk = vec![0; 1 << 20];
        let mut left = 0;
        while let Ok(Ok(count)) =
            tokio::time::timeout(Duration::from_millis(100), sender.write(&chunk)).await
        {
            left += count;
        }
        assert!(
            sender.is_sending(),
            "{left} bytes are taken, and none is read"
        );
        while left > 0 {
            peer.readable().await.unwrap();
            let mut buffer = BytesMut::with_capacity(1 << 16);
            left -= peer.try_read(&mut buffer).unwrap().unwrap_or(0);
        }
        assert!(!sender.is_sending());
        sender.shutdown_write().unwrap();
        drop(peer);
        assert!(!sender.is_sending());
    }
}
