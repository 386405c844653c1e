//! The target's end of a tunnel.

use std::io;

use bytes::BytesMut;

use super::end::End;
use super::stream_end::StreamEnd;
use crate::net::Stream;
use crate::net::descriptors::DescriptorPermit;

/// The target's end of a tunnel.
#[derive(Debug)]
pub enum TargetEnd {
    /// A connection, and the permit that counts its descriptor.
    Connection(Stream, DescriptorPermit),
    /// A stream of one of HTTP/2.
    Stream(StreamEnd),
}

impl End for TargetEnd {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Connection(stream, _) => End::readable(stream).await,
            Self::Stream(stream) => stream.readable().await,
        }
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        match self {
            Self::Connection(stream, _) => End::try_read(stream, buffer),
            Self::Stream(stream) => stream.try_read(buffer),
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Connection(stream, _) => End::write(stream, bytes).await,
            Self::Stream(stream) => stream.write(bytes).await,
        }
    }

    async fn flush(&self) -> io::Result<()> {
        match self {
            Self::Connection(stream, _) => End::flush(stream).await,
            Self::Stream(stream) => stream.flush().await,
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Connection(stream, _) => End::shutdown_write(stream),
            Self::Stream(stream) => stream.shutdown_write(),
        }
    }

    fn is_sending(&self) -> bool {
        match self {
            Self::Connection(stream, _) => End::is_sending(stream),
            Self::Stream(stream) => stream.is_sending(),
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Connection(stream, _) => End::reset_on_close(stream),
            Self::Stream(stream) => stream.reset_on_close(),
        }
    }
}
