//! Waiting for a target with capacity.

use tokio::time::{Instant, timeout_at};

use crate::model::Failure;
use crate::observe::Record;
use crate::target::Lease;
use crate::target_group::{TargetGroup, Tried};

/// Waits until a target that was not tried has capacity for the request, at most until
/// the group's queue timeout or the request's own deadline. A session may wait for its own
/// target; if that one becomes unavailable, for any other. The target that is found is added
/// to `tried`.
///
/// The wait is boxed, because the future of every request would be as large otherwise, and few
/// requests wait.
pub(super) async fn wait_for_slot(
    group: &TargetGroup,
    mut session: Option<u64>,
    tried: &mut Tried,
    until: Option<Instant>,
    record: &mut Record,
) -> Result<Lease, Failure> {
    if group.overload.queue_length == 0 {
        return Err(Failure::Overloaded);
    }
    let end = Instant::now() + group.overload.queue_timeout;
    let end = until.map_or(end, |until| until.min(end));
    loop {
        let waiter = group.enqueue(session, tried).ok_or(Failure::QueueFull)?;
        record.waits();
        let found = Box::pin(timeout_at(end, waiter)).await;
        record.waits_no_more();
        match found.map_err(|_| Failure::QueueTimeout)? {
            Some(lease) => {
                group.mark_tried(lease.target(), tried);
                return Ok(lease);
            }
            None if session.take().is_some() => {}
            None => return Err(Failure::NoTarget),
        }
    }
}
