//! The replicas of a group that have stopped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::provider::{StopReason, Stopped};

/// Most that are remembered of a group.
const KEPT: usize = 100;

/// The replicas of a group that have stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopHistory {
    last: VecDeque<Arc<Stopped>>,
    counts: BTreeMap<StopReason, u64>,
}

impl StopHistory {
    /// Adds one, and forgets the oldest if there are too many.
    pub(super) fn add(&mut self, stopped: Stopped) {
        *self.counts.entry(stopped.reason).or_default() += 1;
        if self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Arc::new(stopped));
    }

    /// The last ones, newest first.
    pub fn last(&self) -> impl Iterator<Item = &Stopped> {
        self.last.iter().rev().map(|stopped| &**stopped)
    }

    /// How many have stopped since the start, by reason.
    pub fn counts(&self) -> impl Iterator<Item = (StopReason, u64)> {
        self.counts.iter().map(|(reason, count)| (*reason, *count))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::replicas::ReplicaId;

    #[test]
    fn the_last_hundred_are_kept_and_all_are_counted() {
        let mut history = StopHistory::default();
        for id in 0..KEPT as u64 + 5 {
            history.add(Stopped {
                id: ReplicaId(id),
                name: None,
                pid: None,
                address: None,
                restarts: 0,
                started: None,
                stopped: SystemTime::UNIX_EPOCH,
                reason: [StopReason::Exited, StopReason::ScaleIn][id as usize % 2],
                exit: None,
            });
        }
        let ids: Vec<u64> = history.last().map(|stopped| stopped.id.0).collect();
        assert_eq!((ids.len(), ids[0], ids[KEPT - 1]), (KEPT, 104, 5));
        let counts: Vec<_> = history.counts().collect();
        assert_eq!(
            counts,
            [(StopReason::Exited, 53), (StopReason::ScaleIn, 52)]
        );
    }
}
