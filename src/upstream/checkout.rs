//! A connection that one request uses.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::idle::IdleList;
use super::target_io::TargetIo;
use crate::net::Timer;
use crate::net::descriptors::DescriptorPermit;

/// How long [`Checkout::switch`] waits for the stream. hyper has it ready with the head.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that one request uses. It returns to its pool only through
/// [`Checkout::recycle`]; dropping it closes it.
pub struct Checkout<B> {
    connection: Connection<B>,
    list: Rc<IdleList<B>>,
    /// For how long it was idle before; `None` if it is new.
    idle: Option<Duration>,
}

/// A request that got no response.
pub struct SendError<B> {
    /// The request, if no byte of it was written: it may go to another target, whatever its
    /// method.
    pub unsent: Option<Request<B>>,
    /// The error of the connection.
    pub source: hyper::Error,
}

/// A connection that has switched to another protocol.
#[derive(Debug)]
pub struct Switched {
    /// The bare stream.
    pub stream: TcpStream,
    /// Bytes that the target has sent beyond the head of its 101.
    pub early: Bytes,
    /// To be held for as long as the stream.
    pub descriptor: DescriptorPermit,
}

impl<B> Checkout<B> {
    pub(super) fn new(
        connection: Connection<B>,
        list: Rc<IdleList<B>>,
        idle: Option<Duration>,
    ) -> Self {
        Self {
            connection,
            list,
            idle,
        }
    }

    /// Whether it served a request before. Its target may have closed it already.
    pub fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// Whether a byte came since the last request was sent.
    pub fn has_received(&self) -> bool {
        self.connection.signals.has_received()
    }

    /// A timer for deadlines of the request. It outlives the request, so that most requests
    /// need none of their own.
    pub fn timer(&mut self) -> &mut Timer {
        &mut self.connection.timer
    }

    /// Learns the target's keep-alive timeout from the first response of a connection.
    pub fn learn(&self, headers: &HeaderMap) {
        if self.idle.is_none() {
            self.list.lifespan.announced(headers);
        }
    }

    /// Notes that the target closed the connection before a byte of a response came.
    ///
    /// If the request was written, the close was seen too late. The connections that are idle
    /// now are older still, and are closed as well.
    pub fn closed(&self, was_written: bool) {
        let Some(idle) = self.idle else { return };
        self.list.lifespan.closed(idle, Instant::now());
        if was_written {
            self.list.clear();
        }
    }

    /// Gives the connection back, after its response was read to the end.
    pub fn recycle(self) {
        self.list.put(self.connection, self.idle);
    }

    /// The stream after a 101, and what the target has sent beyond the head. Returns `None` if
    /// the connection broke.
    pub async fn switch(self, head: &mut Response<Incoming>) -> Option<Switched> {
        // The connection's task gives the stream away in the poll in which it returns the head.
        let switched = timeout(SWITCH_TIMEOUT, hyper::upgrade::on(head)).await;
        let upgraded = switched.ok()?.ok()?;
        let parts = upgraded.downcast::<TokioIo<TargetIo>>().ok()?;
        let (stream, descriptor) = parts.io.into_inner().into_parts();
        Some(Switched {
            stream,
            early: parts.read_buf,
            descriptor,
        })
    }
}

impl<B: Body + 'static> Checkout<B> {
    /// Sends a request and waits for the head of its response.
    ///
    /// Cancel safety: dropping the future abandons the request; the connection must be
    /// dropped then as well.
    pub fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError<B>>> + use<B> {
        self.connection.signals.begin();
        let sending = self.connection.sender.try_send_request(request);
        async move {
            sending.await.map_err(|mut error| SendError {
                unsent: error.take_message(),
                source: error.into_error(),
            })
        }
    }
}

impl<B> fmt::Debug for Checkout<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("unsent", &self.unsent.is_some())
            .field("source", &self.source)
            .finish()
    }
}
