//! The client's side of one exchange, free of the words of any protocol.

use std::task::{Context, Poll};

use super::{Fields, ResponseHead};
use crate::model::Failure;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// So many bytes.
    Exact(u64),
    /// Only its end tells.
    Unknown,
}

impl BodyLength {
    /// Whether there is no byte of a body.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Exact(0))
    }
}

/// One request and its response on the connection of a client.
///
/// The connection's task drives both directions in one place, so nothing here waits: the poll
/// methods register the task's waker when they return `Pending`. An error of a poll method says
/// why the exchange cannot go on, and is the client's or Weir's fault.
pub trait Exchange {
    /// The length of the request's body, as its head says.
    fn body_length(&self) -> BodyLength;

    /// Bytes of the request's body that have arrived and were not [consumed](Self::consume_body);
    /// `None` at its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&[u8]>, Failure>>;

    /// Takes `count` of the bytes that [`Self::poll_body`] has returned.
    fn consume_body(&mut self, count: usize);

    /// The trailers of the request, once its body has ended.
    fn trailers(&self) -> Option<&Fields>;

    /// Whether the client waits for a 100 before it sends the body.
    fn awaits_continue(&self) -> bool;

    /// Ready when the client has gone away, with the failure.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;

    /// Tells a client that [waits](Self::awaits_continue) to send the body.
    fn send_continue(&mut self);

    /// Whether the client has gone away, as the system knows it now. One system call.
    fn has_left(&self) -> bool;

    /// Sends an interim response (1xx) if the client's protocol has them.
    fn send_interim(&mut self, head: &ResponseHead);

    /// Begins the response. Nothing is sent before the next [`Self::poll_send`],
    /// [`Self::poll_flush`] or [`Self::end`].
    fn send_head(&mut self, head: &ResponseHead, length: BodyLength);

    /// Begins the response that switches to other protocols, the value of an `Upgrade` field.
    fn send_switch(&mut self, head: &ResponseHead, protocols: &[u8]);

    /// Takes the head back, if no byte of it was sent. Returns whether it was taken back.
    fn retract(&mut self) -> bool;

    /// Sends bytes of the response's body. Returns how many were taken.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Failure>>;

    /// Ends the response. What is left of it is sent by [`Self::poll_flush`].
    fn end(&mut self, trailers: Option<&Fields>);

    /// Sends what was taken and not sent yet.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Lets this exchange be the last one of its connection. To be called before
    /// [`Self::send_head`].
    fn close_after(&mut self);

    /// Gives the response up in the middle, so that the client can tell that something is missing.
    fn abort(&mut self);
}
