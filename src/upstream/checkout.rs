//! A connection in use.

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

use super::pool::{IdleList, Link};
use super::target_io::TargetIo;
use crate::net::Timer;
use crate::net::descriptors::Taken;

/// How long a connection that has switched protocols is waited for: it is there already.
const HAND_OVER: Duration = Duration::from_secs(1);

/// A connection in use. It returns to its pool only through [`Checkout::recycle`];
/// dropping it closes it.
pub struct Checkout<B> {
    link: Link<B>,
    list: Rc<IdleList<B>>,
    /// For how long it was idle; `None` if it is new.
    idle: Option<Duration>,
}

/// A request that got no response.
pub struct SendError<B> {
    /// The request, if no byte of it was written: it may go elsewhere, whatever its method.
    pub unsent: Option<Request<B>>,
    /// What happened.
    pub source: hyper::Error,
}

/// A connection that has switched to another protocol.
#[derive(Debug)]
pub struct Switched {
    /// The connection.
    pub stream: TcpStream,
    /// What came beyond the head of the switch.
    pub early: Bytes,
    /// To be held for as long as the stream.
    pub descriptor: Taken,
}

impl<B> Checkout<B> {
    pub(super) fn new(link: Link<B>, list: Rc<IdleList<B>>, idle: Option<Duration>) -> Self {
        Self { link, list, idle }
    }

    /// Whether it served a request before. Its target may have closed it already.
    pub fn is_reused(&self) -> bool {
        self.idle.is_some()
    }

    /// Whether a byte came since the last request was sent.
    pub fn heard(&self) -> bool {
        self.link.signals.heard()
    }

    /// For deadlines of whoever uses it: it outlives the request, so that most deadlines
    /// need no timer of their own.
    pub fn timer(&mut self) -> &mut Timer {
        &mut self.link.timer
    }

    /// Takes in the head of a response: what a target says about its connections, it says
    /// on the first.
    pub fn answered(&self, headers: &HeaderMap) {
        if self.idle.is_none() {
            self.list.lifespan.announced(headers);
        }
    }

    /// Takes in that the target closed the connection before a byte of a response came.
    ///
    /// If the request was written, what closed it was seen too late. The idle ones are
    /// older still, and are not used any more.
    pub fn closed(&self, was_written: bool) {
        let Some(idle) = self.idle else { return };
        self.list.lifespan.closed(idle, Instant::now());
        if was_written {
            self.list.clear();
        }
    }

    /// Gives the connection back, after its response was read to the end.
    pub fn recycle(self) {
        self.list.put(self.link, self.idle);
    }

    /// The connection itself after a 101, and what its target has sent beyond the head.
    /// `None` if it broke.
    pub async fn switch(self, head: &mut Response<Incoming>) -> Option<Switched> {
        // The connection's task hands it over in the same turn in which it passes the head on.
        let handed_over = timeout(HAND_OVER, hyper::upgrade::on(head)).await;
        let upgraded = handed_over.ok()?.ok()?;
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
    /// Cancel safety: dropping the future abandons the request, and the connection
    /// must not be used again.
    pub fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError<B>>> + use<B> {
        self.link.signals.begin();
        let sending = self.link.sender.try_send_request(request);
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
