//! A response body that is sent to a client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::request_body::{ReplayBody, RequestBody};
use crate::model::{Blame, Failure, Stage};
use crate::net::{ClientState, Timer};
use crate::observe::Record;
use crate::target::{Lease, RequestResult};
use crate::upstream::Checkout;

/// A response body that is sent to a client. It carries all that must last until the
/// last byte is sent: the lease, the connection, the record.
///
/// Boxed, because hyper moves a response from function to function: that cost more
/// than the allocation does.
#[derive(Debug)]
pub struct ResponseBody(Box<Content>);

#[derive(Debug)]
struct Content {
    source: Source,
    /// `None` after a switch of protocols: the record ends with the tunnel then.
    record: Option<Record>,
    /// Notified when the response is complete; the connection is idle then.
    client_state: Rc<ClientState>,
}

#[derive(Debug)]
enum Source {
    /// A body that Weir itself has written; `None` once it is sent.
    Own(Option<Bytes>),
    Relayed(Relayed),
}

/// A body that comes from a target.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) incoming: Incoming,
    /// `None` once it has gone back to its pool.
    pub(super) checkout: Option<Checkout<RequestBody>>,
    /// Held until the last byte is sent: so long the exchange is load of the target.
    pub(super) lease: Lease,
    /// Reported to the target's statistics at the end.
    pub(super) verdict: RequestResult,
    pub(super) request: Option<Rc<ReplayBody>>,
    /// Longest time without a byte from the target.
    pub(super) idle: Duration,
    /// The deadline of the whole request, if it has one.
    pub(super) until: Option<Instant>,
    pub(super) timer: Timer,
    /// Set while the target's next part is waited for.
    pub(super) deadline: Option<Instant>,
}

/// The response ended early; the record says why. hyper closes the client's connection, so
/// that a client can tell a cut response from a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off")]
pub struct ResponseBodyError;

impl ResponseBody {
    /// The body of a response that Weir itself gives.
    pub fn own(body: Bytes, record: Record, client_state: Rc<ClientState>) -> Self {
        let source = Source::Own((!body.is_empty()).then_some(body));
        Self::new(source, Some(record), client_state)
    }

    /// The empty body of a 101: the bytes that follow are not HTTP.
    pub(super) fn switched(client_state: Rc<ClientState>) -> Self {
        Self::new(Source::Own(None), None, client_state)
    }

    pub(super) fn relayed(relayed: Relayed, record: Record, client_state: Rc<ClientState>) -> Self {
        Self::new(Source::Relayed(relayed), Some(record), client_state)
    }

    fn new(source: Source, record: Option<Record>, client_state: Rc<ClientState>) -> Self {
        let mut content = Box::new(Content {
            source,
            record,
            client_state,
        });
        content.finish_if_complete();
        Self(content)
    }
}

impl Content {
    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(body) => body.is_none(),
            Source::Relayed(relayed) => relayed.incoming.is_end_stream(),
        }
    }

    /// Gives the connection back as soon as the last byte is read, not when the client
    /// has it: another request can use it meanwhile.
    fn finish_if_complete(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(record) = &mut self.record {
            record.complete = true;
        }
        if let Source::Relayed(relayed) = &mut self.source {
            if !relayed.request_is_done() {
                self.client_state.linger();
            }
            relayed.recycle();
        }
    }

    fn fail(&mut self, failure: Failure) -> ResponseBodyError {
        if let Some(record) = &mut self.record {
            record.failure = Some(failure);
        }
        if let Source::Relayed(relayed) = &mut self.source {
            relayed.checkout = None;
            if failure.blame() == Blame::Target {
                relayed.verdict = RequestResult::GatewayError;
            }
        }
        ResponseBodyError
    }
}

impl Relayed {
    fn request_is_done(&self) -> bool {
        self.request.as_ref().is_none_or(|body| body.is_done())
    }

    /// Gives the connection back. One on which the request is still being written cannot serve
    /// another: it is dropped, which ends the request too.
    fn recycle(&mut self) {
        let request_done = self.request_is_done();
        if let Some(checkout) = self.checkout.take().filter(|_| request_done) {
            checkout.recycle();
        }
    }

    /// Why the response broke off. A client that broke its request off is the cause.
    fn broken(&self) -> Failure {
        let client_fault = self.request.as_ref().and_then(|body| body.failure());
        client_fault.unwrap_or(Failure::TargetBodyBroken)
    }

    fn is_out_of_time(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.is_out_of_time() {
            let failure = Failure::TargetTimeout(Stage::Request);
            return Poll::Ready(Some(Err(failure)));
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(next) => {
                self.deadline = None;
                Poll::Ready(next.map(|frame| frame.map_err(|_| self.broken())))
            }
            Poll::Pending => self
                .poll_deadline(cx)
                .map(|stage| Some(Err(Failure::TargetTimeout(stage)))),
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        let idle = self.idle;
        let idle_end = *self.deadline.get_or_insert_with(|| Instant::now() + idle);
        let (deadline, stage) = match self.until {
            Some(until) if until < idle_end => (until, Stage::Request),
            Some(_) | None => (idle_end, Stage::ResponseBody),
        };
        self.timer.poll(cx, deadline).map(|()| stage)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        let this = &mut *self.0;
        let next = match &mut this.source {
            Source::Own(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Relayed(relayed) => relayed.poll_frame(cx),
        };
        next.map(|next| match next {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(record) = &mut this.record {
                    record.sent += len;
                }
                if frame.is_trailers() {
                    // The last frame; hyper does not poll for another.
                    this.finish();
                } else {
                    this.finish_if_complete();
                }
                Some(Ok(frame))
            }
            Some(Err(failure)) => Some(Err(this.fail(failure))),
            None => {
                this.finish();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.source {
            Source::Own(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            Source::Relayed(relayed) => relayed.incoming.size_hint(),
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Source::Relayed(Relayed {
            request: Some(request),
            ..
        }) = &self.source
            && let Some(record) = &mut self.record
        {
            record.received = request.received();
        }
        self.client_state.answered();
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.lease.target().report(self.verdict);
    }
}
