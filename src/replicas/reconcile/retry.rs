//! Failures in a row at one kind of call: since when, and when to try again. Pure.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::replicas::Fault;
use crate::replicas::backoff::Backoff;

/// From the first wait to the longest: an engine that comes back is found within half a minute,
/// and one that is down costs two calls a minute.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The rate limit of one kind of call, as of one key in a Kubernetes work queue.
#[derive(Debug)]
pub(super) struct RetryState {
    fault: Option<Fault>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl Default for RetryState {
    fn default() -> Self {
        Self {
            fault: None,
            backoff: BACKOFF,
            retry_at: None,
        }
    }
}

impl RetryState {
    /// Notes a failure. Returns whether it is the first in a row.
    pub(super) fn failed(&mut self, message: String, now: Instant) -> bool {
        self.retry_at = Some(now + self.backoff.next_wait());
        let since = self.fault.as_ref().map(|fault| fault.since);
        self.fault = Some(Fault {
            message,
            since: since.unwrap_or_else(SystemTime::now),
        });
        since.is_none()
    }

    /// Notes a success. Returns whether there was a fault.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(self).fault.is_some()
    }

    /// Allows the next attempt at once: what is asked for now may be the cure.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
        self.backoff.reset();
    }

    /// Whether an attempt is allowed.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When the next attempt is allowed; `None` after a success.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The last failure, since the first in a row.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut retry = RetryState::default();
        let now = Instant::now();
        let fail = |retry: &mut RetryState| {
            retry.failed("down".to_owned(), now);
            (retry.retry_at().unwrap() - now).as_secs()
        };
        let waits: Vec<u64> = (0..7).map(|_| fail(&mut retry)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100 {
            assert_eq!(fail(&mut retry), 30);
        }
        assert!(retry.succeeded());
        assert!(!retry.succeeded());
        assert_eq!(fail(&mut retry), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_failures_is_new_once_and_has_the_last_message() {
        let mut retry = RetryState::default();
        let now = Instant::now();
        assert!(retry.failed("slow".to_owned(), now));
        let since = retry.fault().unwrap().since;
        assert!(!retry.failed("down".to_owned(), now));
        let fault = retry.fault().unwrap();
        assert_eq!((fault.message.as_str(), fault.since), ("down", since));
        assert!(!retry.is_due(now + Duration::from_secs(1)));
        assert!(retry.is_due(now + Duration::from_secs(2)));
        retry.retry_now();
        assert!(retry.is_due(now));
        assert!(retry.fault().is_some(), "the fault stands until a success");
    }
}
