//! A response body on its way to a client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::request_body::{RequestBody, Upload};
use crate::model::{Blame, Failure, Lease, Stage, Verdict};
use crate::net::{Timer, Watch};
use crate::observe::Record;
use crate::upstream::Checkout;

/// A response body on its way to a client. It carries all that must last until the
/// last byte is out: the lease, the connection, the record.
///
/// In a box, because hyper hands a response from function to function: moving it cost more
/// than its memory does.
#[derive(Debug)]
pub struct ResponseBody(Box<Content>);

#[derive(Debug)]
struct Content {
    source: Source,
    /// `None` after a switch of protocols: the record ends with the tunnel then.
    record: Option<Record>,
    /// Told when the response is complete; the connection is idle then.
    watch: Rc<Watch>,
}

#[derive(Debug)]
enum Source {
    /// Weir's own words.
    Own(Option<Bytes>),
    Relayed(Relayed),
}

/// A body that comes from a target.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) incoming: Incoming,
    /// `None` once it has gone back to its pool.
    pub(super) checkout: Option<Checkout<RequestBody>>,
    /// The target is loaded until the last byte is out.
    pub(super) lease: Lease,
    /// What the target is told to have made of the request, at the end.
    pub(super) verdict: Verdict,
    pub(super) request: Option<Rc<Upload>>,
    pub(super) idle: Duration,
    /// The end of the whole request, if it has one.
    pub(super) until: Option<Instant>,
    pub(super) timer: Timer,
    /// Set while the target keeps the client waiting.
    pub(super) deadline: Option<Instant>,
}

/// The target's part of the response broke off; the record says why. hyper closes the
/// client's connection, so that a cut response is never taken for a whole one.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off")]
pub struct Broken;

impl ResponseBody {
    /// A response that Weir gives itself.
    pub fn own(body: Bytes, record: Record, watch: Rc<Watch>) -> Self {
        let source = Source::Own((!body.is_empty()).then_some(body));
        Self::new(source, Some(record), watch)
    }

    /// The body of a 101, which has none: what follows is not HTTP.
    pub(super) fn switched(watch: Rc<Watch>) -> Self {
        Self::new(Source::Own(None), None, watch)
    }

    pub(super) fn relayed(relayed: Relayed, record: Record, watch: Rc<Watch>) -> Self {
        Self::new(Source::Relayed(relayed), Some(record), watch)
    }

    fn new(source: Source, record: Option<Record>, watch: Rc<Watch>) -> Self {
        let mut content = Box::new(Content {
            source,
            record,
            watch,
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

    /// The connection goes back as soon as its last byte is read, not when the client
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
                self.watch.linger();
            }
            relayed.recycle();
        }
    }

    fn fail(&mut self, failure: Failure) -> Broken {
        if let Some(record) = &mut self.record {
            record.failure = Some(failure);
        }
        if let Source::Relayed(relayed) = &mut self.source {
            relayed.checkout = None;
            if failure.blame() == Blame::Target {
                relayed.verdict = Verdict::GatewayError;
            }
        }
        Broken
    }
}

impl Relayed {
    fn request_is_done(&self) -> bool {
        self.request.as_ref().is_none_or(|body| body.is_done())
    }

    /// A connection on which the request is still being written cannot serve another:
    /// dropping it ends the request too.
    fn recycle(&mut self) {
        let request_done = self.request_is_done();
        if let Some(checkout) = self.checkout.take().filter(|_| request_done) {
            checkout.recycle();
        }
    }

    /// If the client broke the request off, that is why the response broke off too.
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
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
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
                    // The last frame; nobody asks for another.
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
        self.watch.answered();
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.lease.target().report(self.verdict);
    }
}
