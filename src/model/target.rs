//! Live state of one target: what outlives a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use super::health::HealthRecord;
use super::{Health, TargetId};

/// Live state of one target.
///
/// Created once by `state::Registry` and shared by every snapshot that lists the
/// target, so counters and health outlive a reload. Settings that a reload may
/// change (weight, limits) are not here; they are in `balance::Member`.
#[derive(Debug)]
pub struct Target {
    /// Which group it belongs to and where it answers.
    pub id: TargetId,
    /// Written by every request on every worker: padded, so that two targets never
    /// share a cache line.
    counters: CachePadded<Counters>,
    /// Written by the prober, read by the publisher and the status page. Never
    /// touched by a request.
    health: Mutex<HealthRecord>,
}

#[derive(Debug, Default)]
struct Counters {
    in_flight: AtomicU32,
    leases: AtomicU64,
}

impl Target {
    /// A target nothing is known about yet.
    pub fn new(id: TargetId) -> Self {
        Self {
            id,
            counters: CachePadded::default(),
            health: Mutex::new(HealthRecord::default()),
        }
    }

    /// Requests picked for this target whose last byte has not left yet.
    #[inline] // read once per target and pick; a call would cost more than the read
    pub fn in_flight(&self) -> u32 {
        self.counters.in_flight.load(Ordering::Relaxed)
    }

    /// Requests ever sent here.
    pub fn leases(&self) -> u64 {
        self.counters.leases.load(Ordering::Relaxed)
    }

    /// Starts a request on this target; it ends when the lease is dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counters.leases.fetch_add(1, Ordering::Relaxed);
        Lease {
            target: Arc::clone(self),
        }
    }

    /// What the checks have found so far, with exclusive access.
    ///
    /// For the control plane: the lock is held for the length of a statement.
    pub fn health(&self) -> MutexGuard<'_, HealthRecord> {
        // A panic while the record was held leaves plain numbers behind, all legal.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the checks say now.
    pub fn health_now(&self) -> Health {
        self.health().state.health()
    }

    /// Whether the checks say that it serves.
    pub fn is_healthy(&self) -> bool {
        self.health_now() == Health::Healthy
    }
}

/// One request in flight on a target; dropping it ends the request.
///
/// The relay moves the lease into the response body, so the target stays loaded
/// until the last byte is sent and not only until the head arrives.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
}

impl Lease {
    /// The target the request is on.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target
            .counters
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: "127.0.0.1:6400".parse().unwrap(),
        }))
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let target = target();
        let first = target.lease();
        let second = target.lease();
        assert_eq!((target.in_flight(), target.leases()), (2, 2));
        drop(first);
        assert_eq!((target.in_flight(), target.leases()), (1, 2));
        drop(second);
        assert_eq!(target.in_flight(), 0);
    }
}
