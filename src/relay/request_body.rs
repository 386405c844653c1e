//! A request body on its way to a target, and to the next one if that fails.

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
/// client stalls. It can be sent several times as long as all that was sent of it is kept.
#[derive(Debug)]
pub struct Upload {
    received: Cell<u64>,
    failure: Cell<Option<Failure>>,
    done: Cell<bool>,
    turn: Cell<Turn>,
    /// Counts the times it was sent: only the last may read on.
    sending: Cell<u32>,
    stream: RefCell<Stream>,
}

/// How much a client may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Bytes; `None` sets no limit.
    pub length: Option<u64>,
    /// Without a byte.
    pub idle: Duration,
}

/// What was read of a body before its target was chosen.
#[derive(Debug, Default)]
pub struct BodyStart {
    /// Its first bytes, perhaps all of them.
    pub data: Bytes,
    /// What followed the last byte, if that was reached.
    pub trailers: Option<HeaderMap>,
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

/// What was read and is kept, then what is still to come.
#[derive(Debug)]
struct Stream {
    /// What is sent before anything else is read.
    kept: Vec<Bytes>,
    /// What follows the last byte of `kept`: then there is nothing else to read.
    trailers: Option<HeaderMap>,
    /// How much of the two has been sent this time; the trailers count as the last part.
    position: usize,
    keeping: Keeping,
    /// `None` once nobody will read it.
    incoming: Option<Incoming>,
    limits: UploadLimits,
    timer: Timer,
    /// Set while the client keeps Weir waiting.
    deadline: Option<Instant>,
}

/// Whether what is sent is kept to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// It is, and there is room for so many bytes more.
    Yes { room: usize },
    /// It is not. Nothing was sent yet.
    No,
    /// Part of what was sent is gone.
    TooLate,
}

/// The body broke off; [`Upload::failure`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub struct Broken;

impl BodyStart {
    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }
}

impl Upload {
    /// What was read already, then what the client goes on to send.
    pub fn new(start: BodyStart, incoming: Incoming, limits: UploadLimits) -> Self {
        let received = start.data.len() as u64;
        let data = Some(start.data).filter(|data| !data.is_empty());
        Self {
            received: Cell::new(received),
            failure: Cell::default(),
            done: Cell::default(),
            turn: Cell::default(),
            sending: Cell::default(),
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

    /// Keeps what is sent, up to so many bytes. To be called before anything is.
    pub fn keep(&self, limit: usize) {
        let stream = &mut *self.stream.borrow_mut();
        let kept = stream.kept.iter().map(Bytes::len).sum();
        if let Some(room) = limit.checked_sub(kept) {
            stream.keeping = Keeping::Yes { room };
        }
    }

    /// It is not sent again: what was kept for that is let go.
    pub fn settle(&self) {
        let stream = &mut *self.stream.borrow_mut();
        stream.keeping = Keeping::TooLate;
        // What was not sent yet still is to be.
        if stream.rest_of_kept().is_empty() && !stream.owes_trailers() {
            stream.kept = Vec::new();
            stream.position = usize::from(stream.trailers.is_some());
        }
    }

    /// Whether it can be sent from its beginning.
    pub fn is_whole(&self) -> bool {
        self.stream.borrow().keeping != Keeping::TooLate
    }
}

impl Stream {
    fn rest_of_kept(&self) -> &[Bytes] {
        self.kept.get(self.position..).unwrap_or_default()
    }

    /// Whether the trailers are all there is left.
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

    /// Keeps a part that is about to be sent, if there is room for it.
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

impl Upload {
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
            self.turn.set(Turn::Client);
            ready!(stream.poll_stalled(cx));
            return Poll::Ready(Some(Err(Failure::RequestBodyTimeout)));
        };
        stream.deadline = None;
        match next {
            Some(Ok(frame)) => {
                self.turn.set(Turn::Target(Instant::now()));
                stream.keep(&frame);
                // Trailers are the last frame; nobody asks for another.
                self.done.set(frame.is_trailers());
                Poll::Ready(Some(self.count(frame, stream.limits.length)))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(Failure::RequestBodyBroken))),
            None => {
                self.turn.set(Turn::Target(Instant::now()));
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

/// A request body as one target is sent it.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Sending>);

#[derive(Debug)]
struct Sending {
    upload: Rc<Upload>,
    number: u32,
}

impl RequestBody {
    /// The whole body, from its beginning. The one sent before is abandoned and never reads
    /// from the client again.
    pub fn of(upload: &Rc<Upload>) -> Self {
        let number = upload.sending.get().wrapping_add(1);
        upload.sending.set(number);
        upload.done.set(false);
        upload.turn.set(Turn::Nobody);
        upload.stream.borrow_mut().position = 0;
        Self(Some(Sending {
            upload: Rc::clone(upload),
            number,
        }))
    }
}

impl Sending {
    fn is_abandoned(&self) -> bool {
        self.number != self.upload.sending.get()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(sending) = &self.0 else {
            return Poll::Ready(None);
        };
        if sending.is_abandoned() {
            return Poll::Ready(Some(Err(Broken)));
        }
        sending.upload.poll_frame(cx).map(|next| {
            next.map(|frame| {
                frame.map_err(|failure| {
                    sending.upload.failure.set(Some(failure));
                    Broken
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        let sending = self.0.as_ref();
        sending.is_none_or(|sending| sending.upload.stream.borrow().is_end())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(sending) => sending.upload.stream.borrow().size_hint(),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.is_abandoned() {
            return;
        }
        let stream = &mut *self.upload.stream.borrow_mut();
        // hyper may drop a body of known length right after its last frame.
        if stream.is_end() {
            self.upload.done.set(true);
        }
        // Nobody else reads what is left: the client's connection must know.
        if stream.keeping == Keeping::TooLate {
            stream.incoming = None;
        }
    }
}
