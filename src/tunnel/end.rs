//! What a tunnel needs of its ends.

use std::io;

use bytes::BytesMut;

use crate::net::Stream;

/// One end of a tunnel: a stream of bytes in each direction. Every wait is cancel-safe.
pub trait End {
    /// Waits until there is something to read, or the end. May say so too early.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Appends what has arrived to `buffer`, at most as much as fits. `Some(0)` is the end, `None`
    /// says that [`Self::readable`] was wrong. Does not wait.
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>>;

    /// Writes as much as can be taken, at least a byte.
    fn write(&self, bytes: &[u8]) -> impl Future<Output = io::Result<usize>>;

    /// Waits until all that was written has left Weir, and the end of it if
    /// [`Self::shutdown_write`] was called.
    fn flush(&self) -> impl Future<Output = io::Result<()>>;

    /// Ends the direction towards the peer, which reads everything written before and then the
    /// end. An error means that the peer has closed already.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Whether bytes that were written have not been sent yet, or many of them have not arrived.
    fn is_sending(&self) -> bool;

    /// Makes the end of this end a reset, by which the peer can tell that something is missing.
    fn reset_on_close(&self);
}

impl End for Stream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        Stream::readable(self)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        Stream::try_read(self, buffer)
    }

    fn write(&self, bytes: &[u8]) -> impl Future<Output = io::Result<usize>> {
        Stream::write(self, bytes)
    }

    fn flush(&self) -> impl Future<Output = io::Result<()>> {
        Stream::flush(self)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        Stream::shutdown_write(self)
    }

    fn is_sending(&self) -> bool {
        Stream::is_sending(self)
    }

    fn reset_on_close(&self) {
        Stream::reset_on_close(self);
    }
}
