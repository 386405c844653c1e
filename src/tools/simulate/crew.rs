//! The replicas of a simulation: when each began to serve.

use std::time::Duration;

use crate::autoscale::Capacity;

/// Replicas in the order they were started, in batches: from which second they serve, and how
/// many there are. Those of the beginning have always served.
#[derive(Clone, Debug)]
pub(super) struct Crew {
    batches: Vec<(i64, u32)>,
}

/// Long before the beginning of any simulation, in seconds.
const ALWAYS: i64 = i64::MIN / 2;

impl Crew {
    pub(super) fn new(replicas: u32) -> Self {
        let batches = vec![(ALWAYS, replicas)];
        Self { batches }
    }

    /// How many there should be.
    pub(super) fn desired(&self) -> u32 {
        self.since(i64::MAX)
    }

    /// How many serve in a second.
    pub(super) fn running(&self, second: i64) -> u32 {
        self.since(second)
    }

    /// The numbers that a policy sees at a second, with so long a warm-up.
    pub(super) fn capacity(&self, second: i64, warm_up: Duration) -> Capacity {
        let warm_up = i64::try_from(warm_up.as_secs()).unwrap_or(i64::MAX / 4);
        let desired = self.desired();
        Capacity {
            desired,
            running: self.running(second),
            warming: desired - self.since(second - warm_up),
        }
    }

    /// Starts replicas that serve from `ready` on, or takes the youngest away at once.
    pub(super) fn set(&mut self, desired: u32, ready: i64) {
        let now = self.desired();
        if desired > now {
            self.batches.push((ready, desired - now));
        }
        let mut surplus = now.saturating_sub(desired);
        while surplus > 0
            && let Some((ready, count)) = self.batches.pop()
        {
            if count > surplus {
                self.batches.push((ready, count - surplus));
            }
            surplus = surplus.saturating_sub(count);
        }
    }

    /// How many have served since a second or longer.
    fn since(&self, second: i64) -> u32 {
        let old = self.batches.iter().filter(|(ready, _)| *ready <= second);
        old.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_start_serve_and_warm_up() {
        let mut crew = Crew::new(1);
        crew.set(3, 12);
        let at = |second| crew.capacity(second, Duration::from_secs(5));
        let numbers = |capacity: Capacity| (capacity.desired, capacity.running, capacity.warming);
        assert_eq!(numbers(at(10)), (3, 1, 2));
        assert_eq!(numbers(at(12)), (3, 3, 2));
        assert_eq!(numbers(at(16)), (3, 3, 2));
        assert_eq!(numbers(at(17)), (3, 3, 0));
    }

    #[test]
    fn the_youngest_leave_first() {
        let mut crew = Crew::new(2);
        crew.set(4, 10);
        crew.set(6, 20);
        crew.set(3, 0);
        assert_eq!(
            (crew.running(9), crew.running(10), crew.running(20)),
            (2, 3, 3)
        );
        crew.set(1, 0);
        assert_eq!((crew.running(9), crew.desired()), (1, 1));
        crew.set(0, 0);
        assert_eq!(crew.desired(), 0);
        crew.set(2, 5);
        assert_eq!((crew.running(4), crew.running(5)), (0, 2));
    }
}
