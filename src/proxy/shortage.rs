//! The log of shortages of descriptors, ports or memory. Many requests meet the same shortage,
//! and a line for each of them would make it worse.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::model::TargetId;
use crate::net::DialError;
use crate::observe::kind;
use crate::upstream::ConnectError;

/// Shortest time between two lines of one worker.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The shortages of one worker.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    logged_at: Cell<Option<Instant>>,
    /// Failed connections since then, without a line of their own.
    suppressed: Cell<u64>,
}

impl Shortages {
    /// Logs why no connection to a target was made, if that is a shortage and due.
    #[cold]
    pub(super) fn note(&self, target: &TargetId, error: &ConnectError) {
        let ConnectError::Dial(DialError::Shortage(error)) = error else {
            return;
        };
        let now = Instant::now();
        if self
            .logged_at
            .get()
            .is_some_and(|at| now - at < LOG_INTERVAL)
        {
            self.suppressed.set(self.suppressed.get() + 1);
            return;
        }
        self.logged_at.set(Some(now));
        warn!(
            event = kind::LIMIT, %target,
            %error,
            more = self.suppressed.take(),
            "no connection to a target for want of resources of this host; requests are answered 503"
        );
    }
}
