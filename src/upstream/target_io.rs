//! A target's stream, with the facts about it that hyper does not tell.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::descriptors::DescriptorPermit;

/// Flags that a stream shares with the checkout that uses it. One thread has both; they are
/// atomic because hyper requires the stream of an upgraded connection to be `Send`.
#[derive(Debug, Default)]
pub(super) struct Signals {
    received: AtomicBool,
    check_closed: AtomicBool,
}

impl Signals {
    /// To be called before a request is written.
    pub(super) fn begin(&self) {
        self.received.store(false, Ordering::Relaxed);
    }

    /// Whether a byte came since the request began.
    pub(super) fn has_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    /// Lets the stream check whether the target has closed before the next read, and so before
    /// the next write: hyper reads first.
    pub(super) fn check_closed(&self) {
        self.check_closed.store(true, Ordering::Relaxed);
    }
}

/// A target's stream which notes in its [`Signals`] that bytes came, and checks on request
/// whether the target has closed.
#[derive(Debug)]
pub(super) struct TargetIo {
    stream: TcpStream,
    signals: Arc<Signals>,
    descriptor: DescriptorPermit,
}

impl TargetIo {
    pub(super) fn new(stream: TcpStream, descriptor: DescriptorPermit) -> Self {
        Self {
            stream,
            signals: Arc::default(),
            descriptor,
        }
    }

    /// The bare stream, after the last message of HTTP, and the descriptor counted for it.
    pub(super) fn into_parts(self) -> (TcpStream, DescriptorPermit) {
        (self.stream, self.descriptor)
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Whether the target has closed, as the kernel knows it now. The runtime learns that
    /// only between two rounds of its tasks, when a request may have been written already.
    #[cold]
    fn is_closed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        // hyper refuses a byte without a request, once the runtime knows of it.
        match peeked {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

impl AsyncRead for TargetIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.signals.check_closed.load(Ordering::Relaxed) {
            self.signals.check_closed.store(false, Ordering::Relaxed);
            if self.is_closed() {
                return Poll::Ready(Ok(()));
            }
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.signals.received.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for TargetIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::net::descriptors::DescriptorPool;

    /// No await in this test lets the runtime learn that the connection was closed.
    #[tokio::test]
    async fn a_check_finds_a_close_before_the_runtime_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut io = TargetIo::new(
            TcpStream::connect(addr).await.unwrap(),
            DescriptorPool::new(1).try_take().unwrap(),
        );
        let (accepted, _) = listener.accept().unwrap();
        let mut buf = [0; 8];
        assert!(io.read(&mut buf).now_or_never().is_none());
        io.signals().check_closed();
        assert!(io.read(&mut buf).now_or_never().is_none(), "still open");
        drop(accepted);
        assert!(io.read(&mut buf).now_or_never().is_none(), "not noticed");
        io.signals().check_closed();
        let read = io.read(&mut buf).now_or_never();
        assert_eq!(read.expect("closed").unwrap(), 0);
        assert!(!io.signals().has_received());
    }
}
