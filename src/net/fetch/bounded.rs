//! A stream which limits what a peer may send.
//!
//! A deadline alone bounds how long a peer keeps the control thread busy, not how busy: a peer that
//! sends without end would cost a core until then. Here reading fails after a number of bytes,
//! whatever they are (heads, interim responses, framing, bodies), and yields to other tasks after
//! each [`SLICE`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

/// Bytes that are read before other tasks run: some tens of microseconds of work.
const SLICE: u64 = 64 * 1024;

/// A stream with a limit of bytes. Reading more is an error of the kind
/// [`io::ErrorKind::FileTooLarge`].
#[derive(Debug)]
pub(super) struct Bounded<S> {
    /// Limited to the rest of the slice.
    stream: Take<S>,
    /// Bytes of later slices.
    left: u64,
    limit: u64,
}

impl<S: AsyncRead> Bounded<S> {
    /// A stream that may send `limit` bytes.
    pub(super) fn new(stream: S, limit: u64) -> Self {
        let slice = limit.min(SLICE);
        Self {
            stream: stream.take(slice),
            left: limit - slice,
            limit,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stream.limit() > 0 {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        if self.left > 0 {
            let slice = self.left.min(SLICE);
            self.left -= slice;
            self.stream.set_limit(slice);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // A stream that ends at the limit is no error.
        let mut byte = [0];
        let mut probe = ReadBuf::new(&mut byte);
        ready!(Pin::new(self.stream.get_mut()).poll_read(cx, &mut probe))?;
        if probe.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        let message = format!("sends more than {} bytes", self.limit);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, message)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_may_send_as_much_as_its_limit() {
        for limit in [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE] {
            let bytes = vec![b'x'; limit as usize];
            let mut stream = Bounded::new(Cursor::new(bytes.clone()), limit);
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            assert_eq!(read.len(), bytes.len(), "{limit}");
        }
    }

    #[tokio::test]
    async fn one_byte_more_is_an_error() {
        for limit in [0, 1, SLICE, 3 * SLICE] {
            let bytes = vec![b'x'; limit as usize + 1];
            let mut stream = Bounded::new(Cursor::new(bytes), limit);
            let mut read = Vec::new();
            let error = stream.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("sends more than {limit} bytes"));
            assert_eq!(read.len() as u64, limit);
        }
    }

    #[tokio::test]
    async fn other_tasks_run_while_a_peer_sends_without_end() {
        let limit = 100 * SLICE;
        let mut stream = Bounded::new(tokio::io::repeat(b'x'), limit);
        let mut turns = 0;
        let reading = async {
            let mut read = Vec::new();
            assert!(stream.read_to_end(&mut read).await.is_err());
        };
        let counting = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = reading => {}
            () = counting => {}
        }
        assert!(turns >= 90, "{turns}");
    }

    #[tokio::test]
    async fn writing_is_not_bounded() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Bounded::new(near, 1);
        stream.write_all(b"more than one byte").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "more than one byte");
    }
}
