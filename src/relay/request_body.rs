//! A request body on its way to a target.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::model::Failure;

/// A request body on its way to a target: counted, limited, and given up when the
/// client stalls.
#[derive(Debug, Default)]
pub struct RequestBody(Source);

#[derive(Debug, Default)]
enum Source {
    #[default]
    Empty,
    Streamed(Box<Streamed>),
}

#[derive(Debug)]
struct Streamed {
    start: BodyStart,
    incoming: Incoming,
    progress: Rc<BodyProgress>,
    limit: Option<u64>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Set while the client keeps Weir waiting.
    deadline: Option<Instant>,
}

/// What was read of a body before its target was chosen.
#[derive(Debug, Default)]
pub struct BodyStart {
    /// Its first bytes, perhaps all of them.
    pub data: Bytes,
    /// What followed the last byte, if that was reached.
    pub trailers: Option<HeaderMap>,
}

impl BodyStart {
    /// Whether nothing was read, or all of it was handed on.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn take(&mut self) -> Option<Frame<Bytes>> {
        if !self.data.is_empty() {
            return Some(Frame::data(std::mem::take(&mut self.data)));
        }
        self.trailers.take().map(Frame::trailers)
    }
}

/// How far a request body has come: read by whoever waits for the response.
#[derive(Debug, Default)]
pub struct BodyProgress {
    received: Cell<u64>,
    failure: Cell<Option<Failure>>,
    done: Cell<bool>,
    turn: Cell<Turn>,
}

/// Who keeps the request from going on.
#[derive(Clone, Copy, Debug, Default)]
enum Turn {
    /// Nobody has asked for the body yet.
    #[default]
    Nobody,
    /// The client, which has not sent the next part.
    Client,
    /// The target, since it was given the last part.
    Target(Instant),
}

impl BodyProgress {
    /// Of a body of which so many bytes were read already.
    pub fn read(received: usize) -> Self {
        let progress = Self::default();
        progress.received.set(received as u64);
        progress
    }

    /// Bytes read from the client.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Why the body broke off, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// When the target was last given something; now, if it waits for more itself.
    /// `None` while nothing was sent at all.
    pub fn targets_turn_since(&self) -> Option<Instant> {
        match self.turn.get() {
            Turn::Nobody => None,
            Turn::Client => Some(Instant::now()),
            Turn::Target(since) => Some(since),
        }
    }

    /// Whether all of it was handed on.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }
}

/// The body broke off; [`BodyProgress::failure`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub struct Broken;

impl RequestBody {
    /// A body that is streamed from the client, after what was read already.
    pub fn streamed(
        start: BodyStart,
        incoming: Incoming,
        progress: Rc<BodyProgress>,
        limit: Option<u64>,
        idle: Duration,
    ) -> Self {
        Self(Source::Streamed(Box::new(Streamed {
            start,
            incoming,
            progress,
            limit,
            idle,
            timer: None,
            deadline: None,
        })))
    }
}

impl Streamed {
    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline = None;
                self.progress.turn.set(Turn::Target(Instant::now()));
                // Trailers are the last frame; nobody asks for another.
                self.progress.done.set(frame.is_trailers());
                Poll::Ready(Some(self.count(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(Failure::RequestBodyBroken))),
            Poll::Ready(None) => {
                self.progress.turn.set(Turn::Target(Instant::now()));
                self.progress.done.set(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.progress.turn.set(Turn::Client);
                let stalled = self.poll_stalled(cx);
                stalled.map(|()| Some(Err(Failure::RequestBodyTimeout)))
            }
        }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Failure> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let received = self.progress.received.get() + len;
        self.progress.received.set(received);
        if self.limit.is_some_and(|limit| received > limit) {
            return Err(Failure::RequestBodyTooLarge);
        }
        // hyper asks for nothing after trailers.
        self.progress.done.set(frame.is_trailers());
        Ok(frame)
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + idle);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Source::Streamed(streamed) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some(frame) = streamed.start.take() {
            streamed.progress.done.set(frame.is_trailers());
            return Poll::Ready(Some(Ok(frame)));
        }
        streamed.poll_incoming(cx).map(|next| {
            next.map(|frame| {
                frame.map_err(|failure| {
                    streamed.progress.failure.set(Some(failure));
                    Broken
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Streamed(body) => body.start.is_empty() && body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Streamed(body) => {
                let start = body.start.data.len() as u64;
                let rest = body.incoming.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(start + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(start + upper);
                }
                hint
            }
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // hyper may drop a body of known length right after its last frame.
        if self.start.is_empty() && self.incoming.is_end_stream() {
            self.progress.done.set(true);
        }
    }
}
