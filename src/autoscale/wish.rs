//! What was asked of a group's provider, and what the provider made of it.
//!
//! A provider follows late: until it does, what was asked counts. A number that is neither
//! what it was nor what was asked is somebody else's, who scaled by hand, and counts from then
//! on.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::replicas::GroupReplicas;

/// A provider without a fault that has not followed for so long is not going to.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most numbers that are remembered as asked for: more than a provider that is asked once a
/// second can be behind.
const MOST: usize = 64;

/// The wish of one group.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// What was asked last, or has been taken over since; `None` while nothing was asked.
    count: Option<u32>,
    pending: Option<Pending>,
    /// What the provider said last.
    known: Option<u32>,
}

#[derive(Clone, Debug)]
struct Pending {
    /// What the provider may say on its way: its number when it was asked first, and what it
    /// was asked for since then and before the last.
    passing: BTreeSet<u32>,
    /// Since when it was there to be followed.
    since: Duration,
}

/// How many replicas there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) count: u32,
    /// Whether somebody else has just changed it.
    pub(super) is_foreign: bool,
}

impl Wish {
    /// One that was left behind by an autoscaler before.
    pub(super) fn resumed(count: Option<u32>) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    /// How many there should be, by what was asked and what the provider says now.
    pub(super) fn desired(&mut self, replicas: &GroupReplicas, now: Duration) -> Desired {
        let says = replicas.desired;
        let earlier = self.known.replace(says);
        if let (Some(count), Some(pending)) = (self.count, &mut self.pending) {
            if replicas.fault.is_some() {
                pending.since = now;
            }
            let is_patient = now.saturating_sub(pending.since) < PATIENCE;
            if pending.passing.contains(&says) && is_patient {
                return Desired {
                    count,
                    is_foreign: false,
                };
            }
            self.pending = None;
        } else if self.count.is_none() && earlier == Some(says) {
            return Desired {
                count: says,
                is_foreign: false,
            };
        }
        let is_foreign = match self.count {
            Some(count) => count != says,
            None => earlier.is_some(),
        };
        // So that nobody asks for the old number again.
        self.count = self.count.map(|_| says);
        Desired {
            count: says,
            is_foreign,
        }
    }

    /// Notes what is asked of the provider now.
    pub(super) fn ask(&mut self, count: u32, replicas: &GroupReplicas, now: Duration) {
        let mut passing = match (self.pending.take(), self.count) {
            // It may carry out the wish before first, and say so, as it is slow.
            (Some(pending), Some(earlier)) if pending.passing.len() < MOST => {
                let mut passing = pending.passing;
                passing.insert(earlier);
                passing
            }
            _ => BTreeSet::new(),
        };
        passing.insert(replicas.desired);
        self.count = Some(count);
        let since = now;
        self.pending = Some(Pending { passing, since });
    }

    /// What the provider is to be asked for; `None` leaves it the configuration's number.
    pub(super) fn count(&self) -> Option<u32> {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::replicas::Fault;

    const SECOND: Duration = Duration::from_secs(1);

    fn says(desired: u32) -> GroupReplicas {
        GroupReplicas {
            desired,
            ..GroupReplicas::default()
        }
    }

    fn own(count: u32) -> Desired {
        Desired {
            count,
            is_foreign: false,
        }
    }

    fn foreign(count: u32) -> Desired {
        Desired {
            count,
            is_foreign: true,
        }
    }

    #[test]
    fn what_was_asked_counts_until_the_provider_follows() {
        let mut wish = Wish::default();
        assert_eq!(wish.desired(&says(1), SECOND), own(1));
        assert_eq!(wish.count(), None);
        wish.ask(4, &says(1), SECOND);
        assert_eq!(wish.desired(&says(1), 2 * SECOND), own(4));
        assert_eq!(wish.desired(&says(4), 3 * SECOND), own(4));
        assert_eq!(wish.count(), Some(4));
        assert_eq!(wish.desired(&says(4), 4 * SECOND), own(4));
    }

    #[test]
    fn a_slow_provider_that_carries_out_the_wish_before_first_is_not_somebody_else() {
        let mut wish = Wish::default();
        assert_eq!(wish.desired(&says(1), SECOND), own(1));
        wish.ask(4, &says(1), SECOND);
        assert_eq!(wish.desired(&says(1), 2 * SECOND), own(4));
        wish.ask(6, &says(1), 2 * SECOND);
        assert_eq!(wish.desired(&says(4), 3 * SECOND), own(6));
        wish.ask(0, &says(4), 3 * SECOND);
        assert_eq!(wish.desired(&says(6), 4 * SECOND), own(0));
        assert_eq!(
            wish.desired(&says(3), 4 * SECOND),
            foreign(3),
            "nobody here"
        );
        // And back before the provider has moved at all.
        let mut wish = Wish::default();
        wish.ask(0, &says(1), SECOND);
        wish.ask(1, &says(1), SECOND);
        for desired in [1, 0, 1] {
            assert_eq!(wish.desired(&says(desired), 2 * SECOND), own(1));
        }
        assert_eq!(wish.desired(&says(0), PATIENCE + SECOND), foreign(0));
    }

    #[test]
    fn what_an_autoscaler_before_has_asked_is_taken_over() {
        let mut wish = Wish::resumed(Some(4));
        assert_eq!(wish.count(), Some(4));
        assert_eq!(wish.desired(&says(4), SECOND), own(4));
    }

    #[test]
    fn a_person_who_scales_by_hand_is_respected() {
        let mut wish = Wish::default();
        assert_eq!(wish.desired(&says(1), SECOND), own(1));
        assert_eq!(wish.desired(&says(2), SECOND), foreign(2));
        assert_eq!(wish.desired(&says(2), SECOND), own(2));
        wish.ask(4, &says(2), SECOND);
        assert_eq!(wish.desired(&says(3), 2 * SECOND), foreign(3));
        assert_eq!(wish.count(), Some(3));
        assert_eq!(wish.desired(&says(3), 3 * SECOND), own(3));
        assert_eq!(wish.desired(&says(6), 3 * SECOND), foreign(6));
    }

    #[test]
    fn a_provider_that_says_yes_and_does_nothing_is_believed_in_the_end() {
        let mut wish = Wish::default();
        wish.ask(4, &says(1), SECOND);
        assert_eq!(wish.desired(&says(1), PATIENCE), own(4));
        assert_eq!(wish.desired(&says(1), PATIENCE + SECOND), foreign(1));
    }

    #[test]
    fn a_provider_with_a_fault_is_waited_for() {
        let mut wish = Wish::default();
        wish.ask(4, &says(1), SECOND);
        let mut faulty = says(1);
        faulty.fault = Some(Fault {
            message: "down".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        });
        assert_eq!(wish.desired(&faulty, 10 * PATIENCE), own(4));
        assert_eq!(wish.desired(&says(1), 10 * PATIENCE + SECOND), own(4));
        assert_eq!(wish.desired(&says(1), 11 * PATIENCE), foreign(1));
    }
}
