//! How many retries a group may be sent: what keeps retries from making an overload worse.
//!
//! Not `tower::retry::budget`: that takes a lock and reads the clock for every request,
//! retried or not, and it counts in whole requests per retry: 30 percent become 33, and
//! 60 become 100.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::model::Retry;

/// The retries a group has made, beside its requests. Shared by all workers; it outlives
/// a reload.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    requests: Window,
    /// Retries that needed budget.
    retries: Window,
    /// Held while the two are compared, so that workers do not spend the same budget
    /// twice. Taken only for retries.
    spending: Mutex<()>,
    in_flight: AtomicU32,
}

/// A retry in flight: until it has failed, or the head of its response has come.
#[derive(Debug)]
pub struct Permit<'a>(&'a Budget);

/// Events in the last [`SECONDS`] seconds.
#[derive(Debug, Default)]
struct Window {
    /// For each second, by its number: the number in the high half, events in the low.
    seconds: [AtomicU64; SECONDS as usize],
}

/// The window of a budget: long enough that a moment without requests does not forbid
/// retries, short enough that past traffic pays for no retries of a later overload.
const SECONDS: u32 = 10;

const SECOND: u64 = 1 << 32;

impl Budget {
    /// A budget that counts from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            requests: Window::default(),
            retries: Window::default(),
            spending: Mutex::default(),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Counts a request: the first attempt, not its retries.
    pub fn request(&self, now: Instant) {
        self.requests.count(self.second(now));
    }

    /// A permit to retry a request: free while few retries are in flight, otherwise out of
    /// the budget. Returns `None` if that is spent.
    pub fn retry(&self, policy: &Retry, now: Instant) -> Option<Permit<'_>> {
        let retries = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self);
        let allowed = retries < policy.min_concurrency || self.spend(policy.budget, now);
        allowed.then_some(permit)
    }

    /// Requests and retries out of the budget in the last ten seconds, and retries in flight.
    pub fn usage(&self, now: Instant) -> (u64, u64, u32) {
        let second = self.second(now);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        (
            self.requests.sum(second),
            self.retries.sum(second),
            in_flight,
        )
    }

    fn spend(&self, percent: u8, now: Instant) -> bool {
        let second = self.second(now);
        let _one_at_a_time = self.spending.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, retries) = (self.requests.sum(second), self.retries.sum(second));
        let allowed = (retries + 1) * 100 <= requests * u64::from(percent);
        if allowed {
            self.retries.count(second);
        }
        allowed
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.began).as_secs() as u32
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Window {
    fn count(&self, second: u32) {
        let slot = &self.seconds[(second % SECONDS) as usize];
        let found = slot.load(Ordering::Relaxed);
        let begun = u64::from(second) * SECOND;
        // A second that is over is replaced by the first worker that counts in the new one;
        // the others add to what it has stored.
        if found < begun {
            let first =
                slot.compare_exchange(found, begun + 1, Ordering::Relaxed, Ordering::Relaxed);
            if first.is_ok() {
                return;
            }
        }
        slot.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, second: u32) -> u64 {
        self.seconds
            .iter()
            .map(|slot| {
                let found = slot.load(Ordering::Relaxed);
                let age = second.saturating_sub((found / SECOND) as u32);
                if age < SECONDS { found % SECOND } else { 0 }
            })
            .sum()
    }
}
