//! What is said of a shortage of descriptors, ports or memory: many requests meet the same
//! one, and a line for each would be one more shortage.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::model::TargetId;
use crate::net::DialError;
use crate::upstream::ConnectError;

/// Between lines of one worker.
const INTERVAL: Duration = Duration::from_secs(10);

/// The shortages of one worker.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    said: Cell<Option<Instant>>,
    /// Since then.
    unsaid: Cell<u64>,
}

impl Shortages {
    /// Takes in why a target was not reached.
    #[cold]
    pub(super) fn note(&self, target: &TargetId, error: &ConnectError) {
        let ConnectError::Dial(DialError::Shortage(error)) = error else {
            return;
        };
        let now = Instant::now();
        if self.said.get().is_some_and(|said| now - said < INTERVAL) {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        self.said.set(Some(now));
        let more = self.unsaid.take();
        warn!(
            %target,
            %error,
            more,
            "no connection to a target for want of resources of this host; requests are answered 503"
        );
    }
}
