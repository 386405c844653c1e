//! Watches for the tests of this module.

use futures_util::{StreamExt, stream};
use kube::api::WatchEvent;
use serde::de::IgnoredAny;

use super::cluster::Events;

/// So many changes at once, and then none.
pub(super) fn modified(count: usize) -> Events {
    let events = stream::repeat_with(|| Ok(WatchEvent::Modified(IgnoredAny))).take(count);
    Box::pin(events.chain(silent()))
}

pub(super) fn silent() -> Events {
    Box::pin(stream::pending())
}

/// Ends at once, with this as the last event.
pub(super) fn ended(last: Option<kube::Result<WatchEvent<IgnoredAny>>>) -> Events {
    Box::pin(stream::iter(last))
}
