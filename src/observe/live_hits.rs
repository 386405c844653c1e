//! The requests of one rule, counted by one worker and read by others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::durations::add;
use crate::model::ListenerId;

/// A listener and the priority of a rule; `None` for the default action.
pub type RuleName = (ListenerId, Option<u32>);

/// The requests of one rule.
#[derive(Debug)]
pub(super) struct LiveHits {
    pub(super) rule: RuleName,
    count: AtomicU64,
    /// Seconds since the process began to count.
    last: AtomicU64,
}

impl LiveHits {
    pub(super) fn new(rule: RuleName) -> Arc<Self> {
        Arc::new(Self {
            rule,
            count: AtomicU64::new(0),
            last: AtomicU64::new(0),
        })
    }

    /// Counts a request that ends in this second. Only for the worker that owns it.
    pub(super) fn count(&self, second: u64) {
        add(&self.count, 1);
        self.last.store(second, Ordering::Relaxed);
    }

    /// How many there were, and when the last of them ended.
    pub(super) fn read(&self) -> (u64, Duration) {
        let last = Duration::from_secs(self.last.load(Ordering::Relaxed));
        (self.count.load(Ordering::Relaxed), last)
    }
}
