//! The snapshot of a file, for questions without a running Weir.

use std::sync::Arc;

use crate::config::Config;
use crate::state::{self, Snapshot};

/// The snapshot of a configuration before anything has happened. No target is checked, so that all
/// of them count as healthy; names are not resolved and no replica runs.
pub fn offline(config: &Config) -> Arc<Snapshot> {
    let mut config = config.clone();
    for group in &mut config.target_groups {
        group.health = None;
    }
    state::compile(config)
}
