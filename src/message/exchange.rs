//! The client's side of one exchange, free of the words of any protocol.

use std::task::{Context, Poll};

use super::{Fields, ResponseHead};
use crate::model::Failure;

/// How long a body, or the rest of one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    /// So many bytes.
    Exact(u64),
    /// Known only at its end: it comes in chunks, or ends with the connection.
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
/// One task drives the connections to the client and to the target, so nothing here waits: the poll
/// methods register the task's waker when they return `Pending`. An error of a poll method says
/// why the exchange cannot go on, and is never the target's fault. The exchange has the deadlines
/// of its client: a body that stalls or is too slow is such an error.
pub trait Exchange {
    /// How much of the request's body is left: [`BodyLength::Exact`] falls as bytes are
    /// [consumed](Self::consume_body), and is [`BodyLength::Empty`] at the end.
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

    /// Ready when the client has gone away, with the failure. Pending as long as it is there; may
    /// read ahead, and send it an interim response to find out.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;

    /// Tells a client that [waits](Self::awaits_continue) to send the body; does nothing for any
    /// other. Sent by the next [`Self::poll_flush`].
    fn send_continue(&mut self);

    /// Whether the client's connection is reset or ended in both directions, as the kernel knows it
    /// now. One system call; [`Self::poll_gone`] finds more, but later.
    fn has_left(&self) -> bool;

    /// Sends an interim response (1xx but 101) with the next [`Self::poll_flush`]; drops it if the
    /// client's protocol has none, or if the response has begun.
    fn send_interim(&mut self, head: &ResponseHead);

    /// Begins the response. Nothing of it is sent before the next [`Self::poll_send`] or
    /// [`Self::poll_flush`].
    fn send_head(&mut self, head: &ResponseHead, length: BodyLength);

    /// Begins and ends a 101, the response that switches to other protocols. `protocols` is the
    /// value of its `Upgrade` field.
    fn send_switch(&mut self, head: &ResponseHead, protocols: &[u8]);

    /// Takes the response back, its head and what was given of its body, if no byte of it was sent.
    /// Returns whether it was taken back; then another response can begin.
    fn retract(&mut self) -> bool;

    /// Takes bytes of the response's body, and returns how many. They are sent now, or together
    /// with later ones, at the latest by [`Self::poll_flush`].
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
