//! Waiting for a target with capacity.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

use super::presence::Presence;
use crate::model::Failure;
use crate::observe::Record;
use crate::target::Lease;
use crate::target_group::{TargetGroup, Tried};

/// Waits until a target that was not tried has capacity for the request, at most until
/// the group's queue timeout or the request's own deadline. A session may wait for its own
/// target; if that one becomes unavailable, for any other. The target that is found is added
/// to `tried`. Fails at once if the group has no queue or a full one, and as soon as the client has
/// gone.
///
/// The wait is boxed, because the future of every request would be as large otherwise, and few
/// requests wait.
pub(super) async fn wait_for_slot(
    group: &TargetGroup,
    mut session: Option<u64>,
    tried: &mut Tried,
    until: Option<Instant>,
    record: &mut Record,
    client: &mut impl Presence,
) -> Result<Lease, Failure> {
    if group.overload.queue_length == 0 {
        return Err(Failure::Overloaded);
    }
    let end = Instant::now() + group.overload.queue_timeout;
    let end = until.map_or(end, |until| until.min(end));
    loop {
        let waiter = group.enqueue(session, tried).ok_or(Failure::QueueFull)?;
        let mut waiter = Box::pin(waiter);
        record.waits();
        let found = timeout_at(
            end,
            poll_fn(|cx| {
                // Asked first: a request whose client has left is not to be executed.
                if let Poll::Ready(gone) = client.poll_gone(cx) {
                    return Poll::Ready(Err(gone));
                }
                waiter.as_mut().poll(cx).map(Ok)
            }),
        );
        let found = Box::pin(found).await;
        record.waits_no_more();
        match found.map_err(|_| Failure::QueueTimeout)?? {
            // Its leaving may not have been noticed yet.
            Some(_) if client.has_left() => return Err(Failure::ClientGone),
            Some(lease) => {
                group.mark_tried(lease.target(), tried);
                return Ok(lease);
            }
            None if session.take().is_some() => {}
            None => return Err(Failure::NoTarget),
        }
    }
}
