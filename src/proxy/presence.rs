//! Whether the client for which something is waited for is still there.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::time::timeout_at;

use super::deadline::Deadline;
use crate::message::Exchange;
use crate::model::Failure;

/// A client for which a target is found: that of an exchange, or one that speaks no HTTP.
pub trait Presence {
    /// Ready when nothing is to be done for it any more, with the reason: it has gone away, or its
    /// connection has to end. Registers the task's waker otherwise.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;

    /// Whether its connection has ended, as the kernel knows it now. One system call;
    /// [`Self::poll_gone`] finds more, but later.
    fn has_left(&self) -> bool;
}

impl<E: Exchange> Presence for E {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        Exchange::poll_gone(self, cx)
    }

    fn has_left(&self) -> bool {
        Exchange::has_left(self)
    }
}

/// Waits for a step, unless the client goes away before, or the deadline of the whole request
/// passes.
pub(super) async fn unless_gone<T>(
    step: impl Future<Output = T>,
    client: &mut impl Presence,
    until: Option<Deadline>,
) -> Result<T, Failure> {
    let mut step = pin!(step);
    let or_gone = poll_fn(|cx| {
        if let Poll::Ready(done) = step.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        client.poll_gone(cx).map(Err)
    });
    match until {
        None => or_gone.await,
        Some(until) => timeout_at(until.at, or_gone)
            .await
            .unwrap_or(Err(until.failure)),
    }
}
