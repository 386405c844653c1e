//! A request body that is sent to a target while it is read from the client, and to another
//! target if the first one fails.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::model::Failure;
use crate::net::Timer;

/// The body of one request: read from its client once, counted, limited, given up when the
/// client stalls. It can be sent several times as long as every part that was sent is kept.
#[derive(Debug)]
pub struct ReplayBody {
    received: Cell<u64>,
    failure: Cell<Option<Failure>>,
    done: Cell<bool>,
    waiting_on: Cell<WaitingOn>,
    /// The number of the handle that may read on, which is the one created last.
    current: Cell<u32>,
    stream: RefCell<Stream>,
}

/// How much a client may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct RequestBodyLimits {
    /// Longest body in bytes; `None` sets no limit.
    pub length: Option<u64>,
    /// Longest time without a byte.
    pub idle: Duration,
}

/// The part of a body that was read before its target was chosen.
#[derive(Debug, Default)]
pub struct BodyStart {
    /// The first bytes, perhaps all of them.
    pub data: Bytes,
    /// The trailers, if the end of the body was read.
    pub trailers: Option<HeaderMap>,
}

/// Which side the request waits for.
#[derive(Clone, Copy, Debug, Default)]
enum WaitingOn {
    /// The body was not polled yet.
    #[default]
    Unstarted,
    /// The client, which has not sent the next part.
    Client,
    /// The target, since the last part was given to it.
    Target(Instant),
}

/// The parts that were read and kept, then those still to come.
#[derive(Debug)]
struct Stream {
    /// Sent before anything else is read.
    kept: Vec<Bytes>,
    /// The trailers after `kept`. If there are any, the client's body has been read to its end.
    trailers: Option<HeaderMap>,
    /// How many parts of the two were sent this time; the trailers count as the last part.
    position: usize,
    keeping: Keeping,
    /// The client's body; `None` once no handle will read from it.
    incoming: Option<Incoming>,
    limits: RequestBodyLimits,
    timer: Timer,
    /// Set while the client's next part is waited for.
    deadline: Option<Instant>,
}

/// Whether parts that are sent are kept for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// They are, as long as they have no more than `room` further bytes.
    Yes { room: usize },
    /// They are not. No part was sent yet.
    No,
    /// A part that was sent is gone.
    TooLate,
}

/// The body ended early; [`ReplayBody::failure`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub struct RequestBodyError;

impl BodyStart {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}

impl ReplayBody {
    /// A body of which `start` was read from `incoming` already.
    pub fn new(start: BodyStart, incoming: Incoming, limits: RequestBodyLimits) -> Self {
        let received = start.data.len() as u64;
        let data = Some(start.data).filter(|data| !data.is_empty());
        Self {
            received: Cell::new(received),
            failure: Cell::default(),
            done: Cell::default(),
            waiting_on: Cell::default(),
            current: Cell::default(),
            stream: RefCell::new(Stream {
                kept: data.into_iter().collect(),
                trailers: start.trailers,
                position: 0,
                keeping: Keeping::No,
                incoming: Some(incoming),
                limits,
                timer: Timer::default(),
                deadline: None,
            }),
        }
    }

    /// Bytes read from the client.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Why the body broke off, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// Since when the request waits for its target: since the last part was given to it, or
    /// now, if the next part has to come from the client. `None` while nothing was sent.
    pub fn waiting_on_target_since(&self) -> Option<Instant> {
        match self.waiting_on.get() {
            WaitingOn::Unstarted => None,
            WaitingOn::Client => Some(Instant::now()),
            WaitingOn::Target(since) => Some(since),
        }
    }

    /// Whether every part was given to the target.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Keeps parts that are sent, up to `limit` bytes. To be called before anything is sent.
    pub fn keep(&self, limit: usize) {
        let stream = &mut *self.stream.borrow_mut();
        let kept = stream.kept.iter().map(Bytes::len).sum();
        if let Some(room) = limit.checked_sub(kept) {
            stream.keeping = Keeping::Yes { room };
        }
    }

    /// Frees the parts that were kept: the body is not sent again.
    pub fn forget_sent(&self) {
        let stream = &mut *self.stream.borrow_mut();
        stream.keeping = Keeping::TooLate;
        // Kept parts that were not sent yet are still needed.
        if stream.rest_of_kept().is_empty() && !stream.owes_trailers() {
            stream.kept = Vec::new();
            stream.position = usize::from(stream.trailers.is_some());
        }
    }

    /// Whether the body can be sent from its beginning.
    pub fn is_whole(&self) -> bool {
        self.stream.borrow().keeping != Keeping::TooLate
    }
}

impl Stream {
    fn rest_of_kept(&self) -> &[Bytes] {
        self.kept.get(self.position..).unwrap_or_default()
    }

    /// Whether only the trailers are left of the kept parts.
    fn owes_trailers(&self) -> bool {
        self.trailers.is_some() && self.position == self.kept.len()
    }

    fn next_kept(&mut self) -> Option<Frame<Bytes>> {
        let is_kept = matches!(self.keeping, Keeping::Yes { .. });
        let frame = if let Some(data) = self.kept.get_mut(self.position) {
            let data = if is_kept {
                data.clone()
            } else {
                std::mem::take(data)
            };
            Frame::data(data)
        } else if self.owes_trailers() {
            Frame::trailers(self.trailers.clone()?)
        } else {
            return None;
        };
        if !is_kept {
            self.keeping = Keeping::TooLate;
        }
        self.position += 1;
        Some(frame)
    }

    /// Keeps a part that is about to be sent, unless it exceeds the room for it.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Keeping::Yes { room } = self.keeping else {
            self.keeping = Keeping::TooLate;
            return;
        };
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        } else if let Some(data) = frame.data_ref() {
            let Some(room) = room.checked_sub(data.len()) else {
                self.keeping = Keeping::TooLate;
                (self.kept, self.position) = (Vec::new(), 0);
                return;
            };
            self.keeping = Keeping::Yes { room };
            self.kept.push(data.clone());
        }
        self.position += 1;
    }

    fn is_end(&self) -> bool {
        let incoming = self.incoming.as_ref();
        self.rest_of_kept().is_empty()
            && !self.owes_trailers()
            && incoming.is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let kept: usize = self.rest_of_kept().iter().map(Bytes::len).sum();
        let incoming = self.incoming.as_ref();
        let rest = incoming.map(Body::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        hint.set_lower(kept as u64 + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept as u64 + upper);
        }
        hint
    }
}

impl ReplayBody {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let stream = &mut *self.stream.borrow_mut();
        if let Some(frame) = stream.next_kept() {
            self.done.set(frame.is_trailers());
            return Poll::Ready(Some(Ok(frame)));
        }
        let ended = stream.trailers.is_some();
        let Some(incoming) = stream.incoming.as_mut().filter(|_| !ended) else {
            self.done.set(true);
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = Pin::new(incoming).poll_frame(cx) else {
            self.waiting_on.set(WaitingOn::Client);
            ready!(stream.poll_stalled(cx));
            return Poll::Ready(Some(Err(Failure::RequestBodyTimeout)));
        };
        stream.deadline = None;
        match next {
            Some(Ok(frame)) => {
                self.waiting_on.set(WaitingOn::Target(Instant::now()));
                stream.keep(&frame);
                // Trailers are the last frame; hyper does not poll for another.
                self.done.set(frame.is_trailers());
                Poll::Ready(Some(self.count(frame, stream.limits.length)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(Failure::RequestBodyBroken))),
            None => {
                self.waiting_on.set(WaitingOn::Target(Instant::now()));
                self.done.set(true);
                Poll::Ready(None)
            }
        }
    }

    fn count(&self, frame: Frame<Bytes>, limit: Option<u64>) -> Result<Frame<Bytes>, Failure> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let received = self.received.get() + len;
        self.received.set(received);
        if limit.is_some_and(|limit| received > limit) {
            return Err(Failure::RequestBodyTooLarge);
        }
        Ok(frame)
    }
}

impl Stream {
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.limits.idle;
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + idle);
        self.timer.poll(cx, deadline)
    }
}

/// A request body as it is sent in one attempt. The default is an empty one.
#[derive(Debug, Default)]
pub struct RequestBody(Option<ReplayHandle>);

/// The right to read a body for one attempt.
#[derive(Debug)]
struct ReplayHandle {
    body: Rc<ReplayBody>,
    number: u32,
}

impl RequestBody {
    /// The whole body, from its beginning. The one of an earlier attempt is abandoned and never
    /// reads from the client again.
    pub fn of(body: &Rc<ReplayBody>) -> Self {
        let number = body.current.get().wrapping_add(1);
        body.current.set(number);
        body.done.set(false);
        body.waiting_on.set(WaitingOn::Unstarted);
        body.stream.borrow_mut().position = 0;
        Self(Some(ReplayHandle {
            body: Rc::clone(body),
            number,
        }))
    }
}

impl ReplayHandle {
    fn is_abandoned(&self) -> bool {
        self.number != self.body.current.get()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(handle) = &self.0 else {
            return Poll::Ready(None);
        };
        if handle.is_abandoned() {
            return Poll::Ready(Some(Err(RequestBodyError)));
        }
        handle.body.poll_frame(cx).map(|next| {
            next.map(|frame| {
                frame.map_err(|failure| {
                    handle.body.failure.set(Some(failure));
                    RequestBodyError
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|handle| handle.body.stream.borrow().is_end())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(handle) => handle.body.stream.borrow().size_hint(),
        }
    }
}

impl Drop for ReplayHandle {
    fn drop(&mut self) {
        if self.is_abandoned() {
            return;
        }
        let stream = &mut *self.body.stream.borrow_mut();
        // hyper may drop a body of known length right after its last frame.
        if stream.is_end() {
            self.body.done.set(true);
        }
        // No later attempt reads the rest. Dropping `incoming` tells the client's connection.
        if stream.keeping == Keeping::TooLate {
            stream.incoming = None;
        }
    }
}
