//! How many requests a target has, and how much that counts for pickers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The requests of one target: those in flight and those ever started.
#[derive(Debug, Default)]
pub struct Load {
    /// Requests in flight in the low half, penalties for failures in the high half: a picker
    /// reads both at once.
    word: AtomicU64,
    started: AtomicU64,
    /// How many of those in flight are another process's: see [`super::RemoteLeases`].
    remote: AtomicU32,
    /// How many of those in flight have a result already: see [`super::Lease::settle`].
    settled: AtomicU32,
}

/// One penalty in [`Load::word`].
const PENALTY: u64 = 1 << 32;

/// Beyond this many failures the penalty stays: no target has more requests in flight.
const MAX_PENALTIES: u64 = 1 << 20;

impl Load {
    /// Requests on this target that have not ended: the last byte of the response is not sent
    /// yet. Includes those of another process during a handover.
    #[inline] // see `score`
    pub fn in_flight(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) % PENALTY) as u32
    }

    /// What pickers compare: the requests in flight, and one more for each recent failure.
    /// Without penalties a target that fails at once would look idle and get all requests.
    #[inline] // read once per target and pick; a call would cost more than the read
    pub fn score(&self) -> u32 {
        let word = self.word.load(Ordering::Relaxed);
        (word % PENALTY + word / PENALTY) as u32
    }

    /// Requests ever started here by this process.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Requests of this process that have ended, or of which the result is known.
    pub fn finished(&self) -> u64 {
        let remote = self.remote.load(Ordering::Relaxed);
        let own = self.in_flight().saturating_sub(remote);
        let own = own.saturating_sub(self.settled.load(Ordering::Relaxed));
        self.started().saturating_sub(own.into())
    }

    /// Takes off half of the penalties for past failures. Called at a steady pace.
    pub fn forgive(&self) {
        let halve = |word: u64| match word / PENALTY {
            0 => None,
            penalties => Some(word - penalties.div_ceil(2) * PENALTY),
        };
        // `Err` is a target without penalties.
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
    }

    /// Counts a request that starts.
    pub(super) fn start(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    /// The same, unless `limit` requests are in flight.
    pub(super) fn try_start(&self, limit: u32) -> bool {
        let one_more = |word| (word % PENALTY < u64::from(limit)).then_some(word + 1);
        let is_started = self
            .word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok();
        if is_started {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
        is_started
    }

    /// Ends `count` requests in flight.
    pub(super) fn end(&self, count: u32) {
        // `SeqCst`: a request that begins to wait looks at the load once more, and either
        // sees this free slot or is seen by the lease that ends.
        self.word.fetch_sub(count.into(), Ordering::SeqCst);
    }

    /// Counts `count` requests of another process as in flight.
    pub(super) fn add_remote(&self, count: u32) {
        self.remote.fetch_add(count, Ordering::Relaxed);
        self.word.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Notes that `count` requests which [`Load::end`] has ended were another process's.
    pub(super) fn forget_remote(&self, count: u32) {
        self.remote.fetch_sub(count, Ordering::Relaxed);
    }

    /// Counts a request in flight as finished.
    pub(super) fn settle(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a request that [`Self::settle`] was called for, before [`Self::end`].
    pub(super) fn forget_settled(&self) {
        self.settled.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds a penalty for a failure.
    pub(super) fn penalize(&self) {
        if self.word.load(Ordering::Relaxed) / PENALTY < MAX_PENALTIES {
            self.word.fetch_add(PENALTY, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_weigh_like_requests_until_they_are_forgiven() {
        let load = Load::default();
        load.start();
        for _ in 0..5 {
            load.penalize();
        }
        assert_eq!((load.score(), load.in_flight()), (6, 1));
        let mut scores = vec![];
        for _ in 0..4 {
            load.forgive();
            scores.push(load.score());
        }
        assert_eq!(scores, [3, 2, 1, 1]);
    }
}
