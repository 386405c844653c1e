//! The replicas of a simulation, and when each begins to serve.

use std::time::Duration;

use crate::autoscale::Capacity;

/// Replicas in batches, in the order in which they were started.
#[derive(Clone, Debug)]
pub(super) struct ReplicaSet {
    batches: Vec<Batch>,
}

/// Replicas that were started together.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// The second from which they serve.
    ready: i64,
    count: u32,
}

/// Long before the start of any simulation, in seconds: the first replicas have always served.
const ALWAYS: i64 = i64::MIN / 2;

impl ReplicaSet {
    pub(super) fn new(replicas: u32) -> Self {
        Self {
            batches: vec![Batch {
                ready: ALWAYS,
                count: replicas,
            }],
        }
    }

    /// The desired count.
    pub(super) fn desired(&self) -> u32 {
        self.ready_at(i64::MAX)
    }

    /// The replicas that serve in a second.
    pub(super) fn running(&self, second: i64) -> u32 {
        self.ready_at(second)
    }

    /// The counts that a policy with this warm-up observes at a second.
    pub(super) fn capacity(&self, second: i64, warm_up: Duration) -> Capacity {
        let warm_up = i64::try_from(warm_up.as_secs()).unwrap_or(i64::MAX / 4);
        let desired = self.desired();
        Capacity {
            desired,
            running: self.running(second),
            warming: desired - self.ready_at(second - warm_up),
        }
    }

    /// Starts replicas that serve from second `ready`, or removes the youngest at once.
    pub(super) fn set(&mut self, desired: u32, ready: i64) {
        let now = self.desired();
        if desired > now {
            self.batches.push(Batch {
                ready,
                count: desired - now,
            });
        }
        let mut surplus = now.saturating_sub(desired);
        while surplus > 0
            && let Some(mut youngest) = self.batches.pop()
        {
            let removed = surplus.min(youngest.count);
            surplus -= removed;
            youngest.count -= removed;
            if youngest.count > 0 {
                self.batches.push(youngest);
            }
        }
    }

    /// The replicas that are ready by a second.
    fn ready_at(&self, second: i64) -> u32 {
        self.batches
            .iter()
            .filter(|batch| batch.ready <= second)
            .map(|batch| batch.count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_start_serve_and_warm_up() {
        let mut replicas = ReplicaSet::new(1);
        replicas.set(3, 12);
        let at = |second| replicas.capacity(second, Duration::from_secs(5));
        let numbers = |capacity: Capacity| (capacity.desired, capacity.running, capacity.warming);
        assert_eq!(numbers(at(10)), (3, 1, 2));
        assert_eq!(numbers(at(12)), (3, 3, 2));
        assert_eq!(numbers(at(16)), (3, 3, 2));
        assert_eq!(numbers(at(17)), (3, 3, 0));
    }

    #[test]
    fn the_youngest_are_removed_first() {
        let mut replicas = ReplicaSet::new(2);
        replicas.set(4, 10);
        replicas.set(6, 20);
        replicas.set(3, 0);
        assert_eq!(
            (
                replicas.running(9),
                replicas.running(10),
                replicas.running(20)
            ),
            (2, 3, 3)
        );
        replicas.set(1, 0);
        assert_eq!((replicas.running(9), replicas.desired()), (1, 1));
        replicas.set(0, 0);
        assert_eq!(replicas.desired(), 0);
        replicas.set(2, 5);
        assert_eq!((replicas.running(4), replicas.running(5)), (0, 2));
    }
}
