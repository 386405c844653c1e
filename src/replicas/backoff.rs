//! How long to wait before a dead replica is started again. Pure.

use std::time::Duration;

/// The first wait after a young death; each further one doubles it.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait: a broken command costs one start in ten seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Who lived as long as this did not die of its command: it is replaced at once.
const GROWN_UP: Duration = Duration::from_secs(10);

/// Counts young deaths in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after a replica that lived so long has died.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= GROWN_UP {
            self.deaths = 0;
            return Duration::ZERO;
        }
        let doublings = self.deaths.min(31);
        self.deaths = self.deaths.saturating_add(1);
        FIRST.saturating_mul(1 << doublings).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_deaths_double_the_wait_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits = |backoff: &mut Backoff, n| -> Vec<u128> {
            let wait = |_| backoff.after(Duration::from_secs(1)).as_millis();
            (0..n).map(wait).collect()
        };
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(waits(&mut backoff, 9), expected);
        assert_eq!(waits(&mut backoff, 1000).last(), Some(&10_000));
    }

    #[test]
    fn who_lived_long_is_replaced_at_once_and_clears_the_count() {
        let mut backoff = Backoff::default();
        backoff.after(Duration::ZERO);
        backoff.after(Duration::ZERO);
        assert_eq!(backoff.after(GROWN_UP), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO), FIRST);
    }
}
