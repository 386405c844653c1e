//! A target's stream that tells what hyper does not.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::descriptors::Taken;

/// What a stream and its user tell each other. One thread has both; the atomics are there
/// because hyper may hand the stream on when a connection is upgraded.
#[derive(Debug, Default)]
pub(super) struct Signals {
    heard: AtomicBool,
    look: AtomicBool,
}

impl Signals {
    /// A request is about to be written.
    pub(super) fn begin(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether a byte came since the request began.
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Asks for a look at the socket before the next read, and so before the next write:
    /// hyper reads first.
    pub(super) fn look(&self) {
        self.look.store(true, Ordering::Relaxed);
    }
}

/// A target's stream. See the module.
#[derive(Debug)]
pub(super) struct TargetIo {
    stream: TcpStream,
    signals: Arc<Signals>,
    descriptor: Taken,
}

impl TargetIo {
    pub(super) fn new(stream: TcpStream, descriptor: Taken) -> Self {
        Self {
            stream,
            signals: Arc::default(),
            descriptor,
        }
    }

    /// The bare stream, after the last message of HTTP, and its descriptor in the books.
    pub(super) fn into_parts(self) -> (TcpStream, Taken) {
        (self.stream, self.descriptor)
    }

    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Whether the target has closed, as the kernel knows it now. The runtime learns that
    /// only between two rounds of its tasks, which may be too late.
    #[cold]
    fn is_closed(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&self.stream).peek(&mut byte);
        // A byte that nobody asked for is for hyper to refuse, once the runtime knows of it.
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
        if self.signals.look.load(Ordering::Relaxed) {
            self.signals.look.store(false, Ordering::Relaxed);
            if self.is_closed() {
                return Poll::Ready(Ok(()));
            }
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.signals.heard.store(true, Ordering::Relaxed);
        }
        outcome
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
    use crate::net::descriptors::Share;

    /// Nothing here gives the runtime a chance to learn of the closing.
    #[tokio::test]
    async fn a_look_finds_a_closing_that_the_runtime_has_not_heard_of() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut io = TargetIo::new(
            TcpStream::connect(addr).await.unwrap(),
            Share::new(1).try_take().unwrap(),
        );
        let (accepted, _) = listener.accept().unwrap();
        let mut buf = [0; 8];
        assert!(io.read(&mut buf).now_or_never().is_none());
        io.signals().look();
        assert!(io.read(&mut buf).now_or_never().is_none(), "still open");
        drop(accepted);
        assert!(io.read(&mut buf).now_or_never().is_none(), "not heard of");
        io.signals().look();
        let read = io.read(&mut buf).now_or_never();
        assert_eq!(read.expect("closed").unwrap(), 0);
        assert!(!io.signals().heard());
    }
}
