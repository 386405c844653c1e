//! What a provider fails at: since when, and when it is asked again. Pure.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Fault;

/// Before the first repetition; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait: an engine that comes back is found within half a minute, and one that
/// is down costs two calls a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// Failures in a row at one kind of call.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    fault: Option<Fault>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Trouble {
    /// Takes in a failure; says whether it is the first of its row.
    pub(super) fn failed(&mut self, message: String, now: Instant) -> bool {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16));
        self.retry_at = Some(now + wait.min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        let since = self.fault.as_ref().map(|fault| fault.since);
        self.fault = Some(Fault {
            message,
            since: since.unwrap_or_else(SystemTime::now),
        });
        since.is_none()
    }

    /// Takes in a success; says whether there was trouble.
    pub(super) fn ended(&mut self) -> bool {
        std::mem::take(self).fault.is_some()
    }

    /// Lets the next attempt come at once: what is asked may be the cure.
    pub(super) fn hurry(&mut self) {
        self.retry_at = None;
        self.failures = 0;
    }

    /// Whether to ask now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When to ask again; `None` while all is well.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// What is wrong.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut trouble = Trouble::default();
        let now = Instant::now();
        let fail = |trouble: &mut Trouble| {
            trouble.failed("down".to_owned(), now);
            (trouble.retry_at().unwrap() - now).as_secs()
        };
        let waits: Vec<u64> = (0..7).map(|_| fail(&mut trouble)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100 {
            assert_eq!(fail(&mut trouble), 30);
        }
        assert!(trouble.ended());
        assert!(!trouble.ended());
        assert_eq!(fail(&mut trouble), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_failures_is_new_once_and_has_the_last_message() {
        let mut trouble = Trouble::default();
        let now = Instant::now();
        assert!(trouble.failed("slow".to_owned(), now));
        let since = trouble.fault().unwrap().since;
        assert!(!trouble.failed("down".to_owned(), now));
        let fault = trouble.fault().unwrap();
        assert_eq!((fault.message.as_str(), fault.since), ("down", since));
        assert!(!trouble.is_due(now + Duration::from_secs(1)));
        assert!(trouble.is_due(now + Duration::from_secs(2)));
        trouble.hurry();
        assert!(trouble.is_due(now));
        assert!(trouble.fault().is_some(), "still wrong");
    }
}
