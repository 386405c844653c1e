//! What one exchange has of a connection to a target: all of it, or one of its streams.

use std::task::{Context, Poll};

use super::http1::Http1Connection;
use super::http2::{Http2Socket, Http2Stream};
use super::response::{HeadKind, ReadError, ResponseLimits};
use crate::http1::Hop;
use crate::message::{BodyLength, Fields, RequestHead, ResponseHead};
use crate::model::Failure;
use crate::net::descriptors::DescriptorPermit;
use crate::net::{Input, Stream};

/// A connection to a target that one exchange has for itself. [`Connection::begin`] begins the
/// exchange; then the request is written by [`Connection::push_body`], [`Connection::end_body`] and
/// [`Connection::poll_flush`], while the response is read by [`Connection::poll_head`] and
/// [`Connection::poll_data`].
///
/// It serves another exchange only after [`Connection::recycle`]; dropping it gives the exchange up.
#[derive(Debug)]
pub enum Connection {
    /// HTTP/1.1.
    Http1(Http1Connection),
    /// A stream of HTTP/2.
    Http2(Http2Stream),
}

/// What is left of a connection after a switch of protocols: bytes in both directions.
#[derive(Debug)]
pub enum Switched {
    /// A connection of HTTP/1.1.
    Connection {
        /// Its bytes.
        stream: Stream,
        /// What the target has sent beyond the head of its 101.
        early: Input,
        /// Counts the stream's descriptor, and is to be held as long as the stream.
        descriptor: DescriptorPermit,
    },
    /// A stream of one of HTTP/2 (RFC 8441).
    Stream(Http2Socket),
}

impl Connection {
    /// Whether it served a request before. Its target may have closed it already.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_reused(),
            Self::Http2(http2) => http2.is_reused(),
        }
    }

    /// Learns the target's keep-alive timeout from the fields of a response; does nothing if it is
    /// not the first response of the connection.
    pub fn learn(&self, fields: &Fields) {
        match self {
            Self::Http1(http1) => http1.learn(fields),
            Self::Http2(_) => {}
        }
    }

    /// Notes that the target closed the connection before a byte of a response came, by which the
    /// target's keep-alive timeout is learned. Does nothing for a new connection.
    pub fn closed(&self) {
        match self {
            Self::Http1(http1) => http1.closed(),
            Self::Http2(_) => {}
        }
    }

    /// Notes that the target has sent bytes before the request was written, so that they cannot be
    /// its response: the target is distrusted.
    pub fn note_unsolicited(&self) {
        match self {
            Self::Http1(http1) => http1.note_unsolicited(),
            Self::Http2(_) => {}
        }
    }

    /// Gives the connection back if it can serve another request, closes it otherwise. Bytes behind
    /// the response make the target distrusted.
    pub fn recycle(self) {
        match self {
            Self::Http1(http1) => http1.recycle(),
            Self::Http2(stream) => drop(stream),
        }
    }

    /// What is left after a switch of protocols. `None` if there was none.
    pub fn into_switched(self) -> Option<Switched> {
        match self {
            Self::Http1(http1) => {
                let (stream, early, descriptor) = http1.into_stream();
                Some(Switched::Connection {
                    stream,
                    early,
                    descriptor,
                })
            }
            Self::Http2(http2) => http2.into_socket().map(Switched::Stream),
        }
    }

    /// Begins an exchange and encodes the head of its request, which [`Self::poll_flush`] writes.
    /// `limits` are those of the response. Fails if the protocol has no form for the request.
    pub fn begin(
        &mut self,
        head: &RequestHead,
        length: BodyLength,
        hop: &Hop<'_>,
        limits: ResponseLimits,
    ) -> Result<(), Failure> {
        match self {
            Self::Http1(http1) => {
                http1.begin(head, length, hop, limits);
                Ok(())
            }
            Self::Http2(http2) => http2.begin(head, length, hop, limits),
        }
    }

    /// Whether more of the request's body should be added before what was added is written.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.has_room(),
            Self::Http2(http2) => http2.has_room(),
        }
    }

    /// Adds bytes of the request's body, which [`Self::poll_flush`] writes.
    pub fn push_body(&mut self, data: &[u8]) {
        match self {
            Self::Http1(http1) => http1.push_body(data),
            Self::Http2(http2) => http2.push_body(data),
        }
    }

    /// Ends the request.
    pub fn end_body(&mut self, trailers: Option<&Fields>) {
        match self {
            Self::Http1(http1) => http1.end_body(trailers),
            Self::Http2(http2) => http2.end_body(trailers),
        }
    }

    /// Writes what was encoded; ready when all of it was written. That the target reads no more is
    /// no error, because it may have answered: see [`Self::is_write_broken`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(http1) => http1.poll_flush(cx),
            Self::Http2(http2) => http2.poll_flush(cx),
        }
    }

    /// Whether the target was found to read no more of the request.
    pub fn is_write_broken(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_write_broken(),
            Self::Http2(http2) => http2.is_write_broken(),
        }
    }

    /// Whether the target may have executed the request, because a byte of it was written.
    pub fn is_written(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_written(),
            Self::Http2(http2) => http2.is_written(),
        }
    }

    /// Whether the target says that it has not executed the request, whatever was written.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(http2) => http2.is_refused(),
        }
    }

    /// Whether something came since the request began.
    pub fn is_received(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_received(),
            Self::Http2(http2) => http2.is_received(),
        }
    }

    /// Whether the whole request was written.
    pub fn is_sent(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_sent(),
            Self::Http2(http2) => http2.is_sent(),
        }
    }

    /// Reads the next head of the response into `head`: any number of interim ones up to 64, then
    /// the final one.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<HeadKind, ReadError>> {
        match self {
            Self::Http1(http1) => http1.poll_head(cx, head),
            Self::Http2(http2) => http2.poll_head(cx, head),
        }
    }

    /// How much of the response's body is left, once its head was read.
    pub fn length(&self) -> BodyLength {
        match self {
            Self::Http1(http1) => http1.length(),
            Self::Http2(http2) => http2.length(),
        }
    }

    /// Bytes of the response's body, the same ones until they are [consumed](Self::consume); `None`
    /// at the end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&[u8]>, ReadError>> {
        match self {
            Self::Http1(http1) => http1.poll_data(cx),
            Self::Http2(http2) => http2.poll_data(cx),
        }
    }

    /// Takes `count` of the bytes that [`Self::poll_data`] has returned.
    pub fn consume(&mut self, count: usize) {
        match self {
            Self::Http1(http1) => http1.consume(count),
            Self::Http2(http2) => http2.consume(count),
        }
    }

    /// The trailers of a response that has ended; `None` if it has none.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Self::Http1(http1) => http1.trailers(),
            Self::Http2(http2) => http2.trailers(),
        }
    }
}
