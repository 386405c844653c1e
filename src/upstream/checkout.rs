//! A connection in use.

use std::fmt;
use std::rc::Rc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use super::pool::{IdleList, Link};

/// A connection in use. It returns to its pool only through [`Checkout::recycle`];
/// dropping it closes it.
pub struct Checkout<B> {
    link: Link<B>,
    list: Rc<IdleList<B>>,
    reused: bool,
}

/// A request that got no response.
pub struct SendError<B> {
    /// The request, if no byte of it was written: it may go elsewhere, whatever its method.
    pub unsent: Option<Request<B>>,
    /// What happened.
    pub source: hyper::Error,
}

impl<B> Checkout<B> {
    pub(super) fn new(link: Link<B>, list: Rc<IdleList<B>>, reused: bool) -> Self {
        Self { link, list, reused }
    }

    /// Whether it served a request before. Its target may have closed it already.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives the connection back, after its response was read to the end.
    pub fn recycle(self) {
        self.list.put(self.link);
    }
}

impl<B: Body + 'static> Checkout<B> {
    /// Sends a request and waits for the head of its response.
    ///
    /// Cancel safety: dropping the future abandons the request, and the connection
    /// must not be used again.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, SendError<B>> {
        let sent = self.link.sender.try_send_request(request).await;
        sent.map_err(|mut error| SendError {
            unsent: error.take_message(),
            source: error.into_error(),
        })
    }
}

impl<B> fmt::Debug for Checkout<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("reused", &self.reused)
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
