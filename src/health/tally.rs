//! Counts of requests and of failed ones: their differences, sums and ratios, and what was added
//! to them lately.

use std::time::{Duration, Instant};

use crate::target::Failings;

/// Requests that ended, and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that ended.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
}

impl From<Failings> for Tally {
    fn from(failings: Failings) -> Self {
        Self {
            requests: failings.finished,
            errors: failings.errors,
        }
    }
}

impl Tally {
    /// What was added since an earlier reading.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.without(earlier)
    }

    /// What is left when a part is subtracted.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(part.requests),
            errors: self.errors.saturating_sub(part.errors),
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
        }
    }

    /// The failed share, 0 to 1; 0 without requests. A request fails a moment before it
    /// ends, so there can be more failures than ends.
    pub fn ratio(self) -> f64 {
        match self.requests.max(self.errors) {
            0 => 0.0,
            all => self.errors as f64 / all as f64,
        }
    }

    /// The failed share to expect, by Laplace's rule: few requests without a failure do not
    /// promise that there will be none. Without requests it is a half.
    pub fn expected_ratio(self) -> f64 {
        let all = self.requests.max(self.errors);
        (self.errors + 1) as f64 / (all + 2) as f64
    }

    /// The failed share in whole percent.
    pub fn percent(self) -> u64 {
        (self.ratio() * 100.0).round() as u64
    }
}

/// Earlier readings that a [`Window`] keeps: its length is exact to a tenth.
const SLOTS: u32 = 10;

/// What was added to a growing tally in a period that ends now.
#[derive(Clone, Debug)]
pub(super) struct Window {
    earlier: [Tally; SLOTS as usize],
    /// Index of the oldest, which the next reading replaces.
    oldest: usize,
    next: Instant,
    begun: Instant,
}

impl Window {
    /// Counts from `start` on.
    pub(super) fn new(start: Tally, now: Instant) -> Self {
        Self {
            earlier: [start; SLOTS as usize],
            oldest: 0,
            next: now,
            begun: now,
        }
    }

    /// Whether it has counted for `length`: windows of two targets then span the same time.
    pub(super) fn spans(&self, length: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= length
    }

    /// Adds a reading. Returns what was added to the tally in the last `length`.
    pub(super) fn slide(&mut self, reading: Tally, now: Instant, length: Duration) -> Tally {
        if now >= self.next {
            self.earlier[self.oldest] = reading;
            self.oldest = (self.oldest + 1) % self.earlier.len();
            self.next = now + length / SLOTS;
        }
        reading.since(self.earlier[self.oldest])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_what_is_older_than_its_length() {
        let start = Instant::now();
        let length = Duration::from_secs(10);
        let mut window = Window::new(Tally::default(), start);
        // One request each 100 ms, and those of the first second fail.
        let mut seen = vec![];
        for tick in 0..300_u64 {
            let reading = Tally {
                requests: tick,
                errors: tick.min(10),
            };
            let now = start + Duration::from_millis(100) * tick as u32;
            seen.push(window.slide(reading, now, length));
        }
        assert_eq!(seen[50].requests, 50);
        assert_eq!(seen[50].errors, 10);
        assert!(seen[200..].iter().all(|tally| tally.errors == 0));
        let span = seen[200..].iter().map(|tally| tally.requests);
        assert!(span.clone().min() >= Some(90) && span.max() <= Some(100));
    }

    #[test]
    fn a_ratio_stays_between_nothing_and_all() {
        let ratio = |requests, errors| Tally { requests, errors }.ratio();
        assert_eq!((ratio(0, 0), ratio(4, 1), ratio(0, 3)), (0.0, 0.25, 1.0));
    }
}
