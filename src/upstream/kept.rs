//! Tells a target how many connections one worker keeps to it.

use std::cell::Cell;
use std::sync::Arc;

use crate::target::{KeptCount, Target};

/// What one list has told its target. Dropping it takes that back.
#[derive(Debug)]
pub(super) struct KeptReport {
    target: Arc<Target>,
    told: Cell<KeptCount>,
}

impl KeptReport {
    pub(super) fn new(target: &Arc<Target>) -> Self {
        Self {
            target: Arc::clone(target),
            told: Cell::default(),
        }
    }

    pub(super) fn tell(&self, now: KeptCount) {
        let before = self.told.replace(now);
        if before != now {
            self.target.kept().replace(before, now);
        }
    }
}

impl Drop for KeptReport {
    fn drop(&mut self) {
        self.tell(KeptCount::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetId;

    #[test]
    fn a_target_knows_the_sum_of_those_that_are_left() {
        let target = Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: ([10, 0, 0, 1], 80).into(),
        }));
        let count = |idle, http2| KeptCount { idle, http2 };
        let (one, other) = (KeptReport::new(&target), KeptReport::new(&target));
        one.tell(count(3, 0));
        other.tell(count(2, 5));
        one.tell(count(1, 0));
        assert_eq!(target.kept().sum(), count(3, 5));
        drop(other);
        assert_eq!(target.kept().sum(), count(1, 0));
    }
}
