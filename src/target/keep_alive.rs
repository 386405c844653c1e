//! For how long the targets of a group keep an idle connection open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When idle connections to the targets of a group are retired, learned from the shortest
/// age at which a target closed one. All workers share it, and it outlives a reload.
#[derive(Debug)]
pub struct KeepAlive {
    began: Instant,
    /// In nanoseconds; `UNKNOWN` while no closing was seen.
    retirement: AtomicU64,
    /// When the last closing was seen, in nanoseconds since `began`.
    seen: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

/// After so long without a closing the age is forgotten, to be learned anew from the next one:
/// a group may have been deployed with a longer timeout since, which does not show as long as
/// connections are retired before their targets close them.
const MEMORY: Duration = Duration::from_secs(600);

impl KeepAlive {
    /// Of a group of which no closing was seen at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            retirement: AtomicU64::new(UNKNOWN),
            seen: AtomicU64::new(0),
        }
    }

    /// The age at which a connection is retired if its target closes it at age `closing`: a
    /// fifth before, for the way there and for clocks that disagree.
    pub fn retirement_before(closing: Duration) -> Duration {
        closing.saturating_mul(4) / 5
    }

    /// The age at which connections are retired; `None` while no closing was seen.
    pub fn retirement(&self) -> Option<Duration> {
        let nanos = self.retirement.load(Ordering::Relaxed);
        (nanos != UNKNOWN).then(|| Duration::from_nanos(nanos))
    }

    /// Notes that a target closed a connection that had been idle for `age`.
    pub fn closed(&self, age: Duration, now: Instant) {
        let nanos = Self::retirement_before(age).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(UNKNOWN);
        self.retirement.fetch_min(nanos, Ordering::Relaxed);
        self.seen.store(self.since_began(now), Ordering::Relaxed);
    }

    /// Forgets an age that was learned too long ago. Called at intervals.
    ///
    /// A closing that comes in between may be forgotten with it: the next one counts.
    pub fn forget(&self, now: Instant) {
        let seen = Duration::from_nanos(self.seen.load(Ordering::Relaxed));
        if now.saturating_duration_since(self.began + seen) > MEMORY {
            self.retirement.store(UNKNOWN, Ordering::Relaxed);
        }
    }

    fn since_began(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_shortest_age_counts_until_nothing_was_closed_for_long() {
        let start = Instant::now();
        let keep_alive = KeepAlive::new(start);
        assert_eq!(keep_alive.retirement(), None);
        keep_alive.closed(5 * SECOND, start + SECOND);
        keep_alive.closed(2 * SECOND, start + 2 * SECOND);
        keep_alive.closed(3 * SECOND, start + 100 * SECOND);
        assert_eq!(keep_alive.retirement(), Some(SECOND * 8 / 5));
        keep_alive.forget(start + 100 * SECOND + MEMORY);
        assert_eq!(keep_alive.retirement(), Some(SECOND * 8 / 5));
        keep_alive.forget(start + 101 * SECOND + MEMORY);
        assert_eq!(keep_alive.retirement(), None);
        keep_alive.closed(9 * SECOND, start + 900 * SECOND);
        assert_eq!(keep_alive.retirement(), Some(SECOND * 36 / 5));
    }
}
