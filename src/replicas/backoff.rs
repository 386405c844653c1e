//! Waits between attempts that fail. Pure.

use std::time::Duration;

/// A process or container that ran for as long as this did not exit because of its command: it
/// is started again at once.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Doubles the wait with each failure in a row, from the first wait to the longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// For starting a process or container again: a broken command costs one start in ten
    /// seconds.
    pub(super) const fn of_restarts() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }

    /// The wait after one more failure.
    pub(super) fn next_wait(&mut self) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The wait before the next start of what has exited after `lifetime`: none if it was
    /// stable, which also resets the count.
    pub(super) fn after_exit(&mut self, lifetime: Duration) -> Duration {
        if lifetime >= STABLE_AFTER {
            self.reset();
            return Duration::ZERO;
        }
        self.next_wait()
    }

    /// The next failure is the first in a row.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_exits_double_the_wait_up_to_the_longest() {
        let mut backoff = Backoff::of_restarts();
        let waits = |backoff: &mut Backoff, n| -> Vec<u128> {
            (0..n)
                .map(|_| backoff.after_exit(Duration::from_secs(1)).as_millis())
                .collect()
        };
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(waits(&mut backoff, 9), expected);
        assert_eq!(waits(&mut backoff, 1000).last(), Some(&10_000));
    }

    #[test]
    fn what_was_stable_is_started_again_at_once_and_resets_the_count() {
        let mut backoff = Backoff::of_restarts();
        backoff.after_exit(Duration::ZERO);
        backoff.after_exit(Duration::ZERO);
        assert_eq!(backoff.after_exit(STABLE_AFTER), Duration::ZERO);
        assert_eq!(backoff.after_exit(Duration::ZERO), backoff.first);
    }
}
