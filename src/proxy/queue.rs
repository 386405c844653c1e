//! Waiting for a place on a target.

use tokio::time::{Instant, timeout_at};

use crate::model::{Failure, Lease};
use crate::observe::Record;
use crate::target_group::{TargetGroup, Tried};

/// Waits until a target that was not tried has a place for the request, at most until
/// the group's queue timeout or the request's own deadline. `tried` grows by the target
/// that had one.
///
/// Boxed, because few requests wait and all of them would carry the room for it.
pub(super) async fn wait_in_line(
    group: &TargetGroup,
    tried: &mut Tried,
    until: Option<Instant>,
    record: &mut Record,
) -> Result<Lease, Failure> {
    if group.overload.queue_length == 0 {
        return Err(Failure::Overloaded);
    }
    let waiter = group.line_up(tried).ok_or(Failure::QueueFull)?;
    let end = Instant::now() + group.overload.queue_timeout;
    let end = until.map_or(end, |until| until.min(end));
    record.waits();
    let place = Box::pin(timeout_at(end, waiter)).await;
    record.waits_no_more();
    let lease = place
        .map_err(|_| Failure::QueueTimeout)?
        .ok_or(Failure::NoTarget)?;
    group.note(lease.target(), tried);
    Ok(lease)
}
