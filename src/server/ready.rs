//! The wait for the first health checks.

use std::time::Duration;

use crate::state::Reader;

/// How often the records are looked at while starting. A first failed check changes
/// no health and so publishes nothing that could be waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Resolves when the first snapshot knows its targets.
pub(super) async fn targets_known(reader: &Reader) {
    while !reader.load_full().knows_its_targets() {
        tokio::time::sleep(LOOK).await;
    }
}
