//! A provider that accepts a count and does not deliver it. Pure.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::replicas::Fault;

/// For so long nothing may change before it is a fault and the count is asked for again:
/// images are pulled and machines found within a minute, or a person should look.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The same while there are more than were asked for: a rolling update has some to spare.
const SURPLUS_TIMEOUT: Duration = Duration::from_secs(600);

/// The difference between what was asked for and what exists.
#[derive(Debug, Default)]
pub(super) struct CountMismatch {
    difference: Option<Difference>,
}

#[derive(Debug)]
struct Difference {
    asked: u32,
    exist: u32,
    since: SystemTime,
    timeout: Duration,
    due_at: Instant,
    fault: Option<Fault>,
}

impl CountMismatch {
    /// Notes how many were asked for, `None` while no count has been accepted since the last
    /// timeout, and how many exist.
    pub(super) fn note(&mut self, asked: Option<u32>, exist: u32, now: Instant) {
        let before = self.difference.as_ref().map(|d| (d.asked, d.exist));
        let asked = asked.or(before.map(|(asked, _)| asked));
        let current = asked
            .filter(|asked| exist != *asked)
            .map(|asked| (asked, exist));
        if current != before {
            self.difference = current.map(|(asked, exist)| Difference::new(asked, exist, now));
        }
    }

    /// Whether it has lasted for another timeout, so that the count is to be asked for again.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.difference.as_mut().is_some_and(|d| d.is_over(now))
    }

    /// What is wrong, once it has lasted.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.difference.as_ref()?.fault.as_ref()
    }

    /// When the timeout ends.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.difference.as_ref().map(|d| d.due_at)
    }
}

impl Difference {
    fn new(asked: u32, exist: u32, now: Instant) -> Self {
        let is_update = 0 < asked && asked < exist;
        let timeout = if is_update { SURPLUS_TIMEOUT } else { TIMEOUT };
        Self {
            asked,
            exist,
            since: SystemTime::now(),
            timeout,
            due_at: now + timeout,
            fault: None,
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.due_at {
            return false;
        }
        let (asked, exist, timeout) = (self.asked, self.exist, self.timeout);
        self.due_at = now + timeout;
        self.fault.get_or_insert_with(|| Fault {
            message: format!("asked for {asked} replicas, {exist} exist for over {timeout:?}"),
            since: self.since,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_count_that_does_not_come_is_a_fault_after_a_minute_and_asked_again_each_minute() {
        let start = Instant::now();
        let mut mismatch = CountMismatch::default();
        mismatch.note(Some(4), 2, start);
        assert!(!mismatch.is_over(start + TIMEOUT - Duration::from_secs(1)));
        assert_eq!(mismatch.fault(), None);
        assert_eq!(mismatch.due_at(), Some(start + TIMEOUT));
        assert!(mismatch.is_over(start + TIMEOUT));
        let message = &mismatch.fault().unwrap().message;
        assert_eq!(message, "asked for 4 replicas, 2 exist for over 60s");
        mismatch.note(None, 2, start + TIMEOUT);
        assert!(mismatch.fault().is_some(), "asking again is no cure");
        assert!(!mismatch.is_over(start + TIMEOUT));
        assert!(mismatch.is_over(start + 2 * TIMEOUT));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_takes_the_fault_back() {
        let start = Instant::now();
        let mut mismatch = CountMismatch::default();
        mismatch.note(None, 2, start);
        assert_eq!(mismatch.due_at(), None, "never asked");
        mismatch.note(Some(4), 2, start);
        assert!(mismatch.is_over(start + TIMEOUT));
        mismatch.note(Some(4), 3, start + TIMEOUT);
        assert_eq!(mismatch.fault(), None);
        assert_eq!(mismatch.due_at(), Some(start + 2 * TIMEOUT));
        mismatch.note(Some(4), 4, start + TIMEOUT);
        assert_eq!(mismatch.due_at(), None);
        let start = start + TIMEOUT;
        mismatch.note(Some(4), 5, start);
        assert_eq!(mismatch.due_at(), Some(start + SURPLUS_TIMEOUT));
        mismatch.note(Some(0), 5, start);
        assert_eq!(mismatch.due_at(), Some(start + TIMEOUT));
    }
}
