//! The count that the autoscaler has requested, compared with the provider's own.
//!
//! A provider follows late: until it does, the requested count is the desired one. A number
//! that is neither what it was before nor what was requested was set by something else, such
//! as a person scaling by hand, and is the desired count from then on. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::status::GroupReplicas;
use crate::model::TargetGroupId;

/// A provider without a fault that has not followed for so long is not going to.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(60);

/// Most requested counts that are remembered: more than a provider that is asked once a second
/// can be behind.
const MAX_PASSING: usize = 64;

/// Numbers of replicas by group.
pub type ReplicaCounts = BTreeMap<TargetGroupId, u32>;

/// The count that the autoscaler has requested for each group that it scales. Written by the
/// autoscaler alone; outlives it, so that another one goes on from there.
pub type DesiredCounts = BTreeMap<TargetGroupId, DesiredCount>;

/// How many replicas one group should have.
#[derive(Clone, Debug, Default)]
pub struct DesiredCount {
    /// What was requested last, or was set by something else since; `None` while nothing was
    /// requested.
    count: Option<u32>,
    pending: Option<Pending>,
    /// What the provider said last.
    known: Option<u32>,
    /// What an operator has set, until the next look at the provider.
    set: Option<u32>,
}

/// A request that the provider does not follow yet.
#[derive(Clone, Debug)]
struct Pending {
    /// What the provider may say until it follows: its number at the first request, and what
    /// was requested between that and the last.
    passing: BTreeSet<u32>,
    /// When it was requested, or the provider last had a fault.
    since: Duration,
}

/// What has changed a desired count since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedBy {
    /// Nothing but what asks.
    Itself,
    /// Something else, at the provider.
    Provider,
    /// An operator, through the admin API.
    AdminApi,
}

/// The desired count at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentDesired {
    /// How many there should be.
    pub count: u32,
    /// What has just changed it.
    pub changed_by: ChangedBy,
}

impl DesiredCount {
    /// A count that another process has requested.
    pub fn of(count: u32) -> Self {
        Self {
            count: Some(count),
            ..Self::default()
        }
    }

    /// Goes on from the requested count alone, on another clock.
    pub fn resume(&mut self) {
        *self = Self {
            count: self.count(),
            ..Self::default()
        };
    }

    /// How many there should be, by what was requested and what the provider says now. `now`
    /// is the time on any clock that goes on steadily, always the same.
    pub fn observe(&mut self, replicas: &GroupReplicas, now: Duration) -> CurrentDesired {
        let says = replicas.desired;
        if let Some(count) = self.set.take() {
            self.known = Some(says);
            self.request(count, replicas, now);
            return CurrentDesired {
                count,
                changed_by: ChangedBy::AdminApi,
            };
        }
        let earlier = self.known.replace(says);
        if let (Some(count), Some(pending)) = (self.count, &mut self.pending) {
            if replicas.fault.is_some() {
                pending.since = now;
            }
            let is_in_time = now.saturating_sub(pending.since) < FOLLOW_TIMEOUT;
            if pending.passing.contains(&says) && is_in_time {
                return CurrentDesired {
                    count,
                    changed_by: ChangedBy::Itself,
                };
            }
            self.pending = None;
        } else if self.count.is_none() && earlier == Some(says) {
            return CurrentDesired {
                count: says,
                changed_by: ChangedBy::Itself,
            };
        }
        let is_foreign = match self.count {
            Some(count) => count != says,
            None => earlier.is_some(),
        };
        // So that the old number is not asked for again.
        self.count = self.count.map(|_| says);
        CurrentDesired {
            count: says,
            changed_by: if is_foreign {
                ChangedBy::Provider
            } else {
                ChangedBy::Itself
            },
        }
    }

    /// Requests another count.
    pub fn request(&mut self, count: u32, replicas: &GroupReplicas, now: Duration) {
        let mut passing = match (self.pending.take(), self.count) {
            // A slow provider may carry out the earlier request first, and say so.
            (Some(pending), Some(earlier)) if pending.passing.len() < MAX_PASSING => {
                let mut passing = pending.passing;
                passing.insert(earlier);
                passing
            }
            _ => BTreeSet::new(),
        };
        passing.insert(replicas.desired);
        self.count = Some(count);
        self.pending = Some(Pending {
            passing,
            since: now,
        });
    }

    /// An operator wants another count.
    pub fn set(&mut self, count: u32) {
        self.set = Some(count);
    }

    /// What the provider is to be asked for; `None` leaves it the configuration's number.
    pub fn count(&self) -> Option<u32> {
        self.set.or(self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::replicas::Fault;

    const SECOND: Duration = Duration::from_secs(1);

    fn says(count: u32) -> GroupReplicas {
        GroupReplicas {
            desired: count,
            ..GroupReplicas::default()
        }
    }

    fn own(count: u32) -> CurrentDesired {
        CurrentDesired {
            count,
            changed_by: ChangedBy::Itself,
        }
    }

    fn foreign(count: u32) -> CurrentDesired {
        CurrentDesired {
            count,
            changed_by: ChangedBy::Provider,
        }
    }

    #[test]
    fn the_requested_count_holds_until_the_provider_follows() {
        let mut desired = DesiredCount::default();
        assert_eq!(desired.observe(&says(1), SECOND), own(1));
        assert_eq!(desired.count(), None);
        desired.request(4, &says(1), SECOND);
        assert_eq!(desired.observe(&says(1), 2 * SECOND), own(4));
        assert_eq!(desired.observe(&says(4), 3 * SECOND), own(4));
        assert_eq!(desired.count(), Some(4));
        assert_eq!(desired.observe(&says(4), 4 * SECOND), own(4));
    }

    #[test]
    fn a_slow_provider_that_carries_out_the_earlier_request_first_is_not_foreign() {
        let mut desired = DesiredCount::default();
        assert_eq!(desired.observe(&says(1), SECOND), own(1));
        desired.request(4, &says(1), SECOND);
        assert_eq!(desired.observe(&says(1), 2 * SECOND), own(4));
        desired.request(6, &says(1), 2 * SECOND);
        assert_eq!(desired.observe(&says(4), 3 * SECOND), own(6));
        desired.request(0, &says(4), 3 * SECOND);
        assert_eq!(desired.observe(&says(6), 4 * SECOND), own(0));
        assert_eq!(
            desired.observe(&says(3), 4 * SECOND),
            foreign(3),
            "not requested here"
        );
        // And back before the provider has moved at all.
        let mut desired = DesiredCount::default();
        desired.request(0, &says(1), SECOND);
        desired.request(1, &says(1), SECOND);
        for number in [1, 0, 1] {
            assert_eq!(desired.observe(&says(number), 2 * SECOND), own(1));
        }
        assert_eq!(
            desired.observe(&says(0), FOLLOW_TIMEOUT + SECOND),
            foreign(0)
        );
    }

    #[test]
    fn what_an_autoscaler_before_has_requested_is_taken_over() {
        let mut desired = DesiredCount::of(4);
        assert_eq!(desired.count(), Some(4));
        assert_eq!(desired.observe(&says(4), SECOND), own(4));
    }

    #[test]
    fn scaling_by_hand_is_respected() {
        let mut desired = DesiredCount::default();
        assert_eq!(desired.observe(&says(1), SECOND), own(1));
        assert_eq!(desired.observe(&says(2), SECOND), foreign(2));
        assert_eq!(desired.observe(&says(2), SECOND), own(2));
        desired.request(4, &says(2), SECOND);
        assert_eq!(desired.observe(&says(3), 2 * SECOND), foreign(3));
        assert_eq!(desired.count(), Some(3));
        assert_eq!(desired.observe(&says(3), 3 * SECOND), own(3));
        assert_eq!(desired.observe(&says(6), 3 * SECOND), foreign(6));
    }

    #[test]
    fn what_an_operator_sets_counts_at_once() {
        let mut desired = DesiredCount::default();
        assert_eq!(desired.observe(&says(1), SECOND), own(1));
        desired.set(3);
        assert_eq!(desired.count(), Some(3));
        let set = CurrentDesired {
            count: 3,
            changed_by: ChangedBy::AdminApi,
        };
        assert_eq!(desired.observe(&says(1), 2 * SECOND), set);
        assert_eq!(desired.observe(&says(1), 3 * SECOND), own(3));
        assert_eq!(desired.observe(&says(3), 4 * SECOND), own(3));
        desired.request(2, &says(3), 4 * SECOND);
        assert_eq!(desired.observe(&says(2), 5 * SECOND), own(2));
        desired.set(5);
        desired.resume();
        assert_eq!(desired.count(), Some(5));
    }

    #[test]
    fn a_provider_that_says_yes_and_does_nothing_is_believed_in_the_end() {
        let mut desired = DesiredCount::default();
        desired.request(4, &says(1), SECOND);
        assert_eq!(desired.observe(&says(1), FOLLOW_TIMEOUT), own(4));
        assert_eq!(
            desired.observe(&says(1), FOLLOW_TIMEOUT + SECOND),
            foreign(1)
        );
    }

    #[test]
    fn a_provider_with_a_fault_is_waited_for() {
        let mut desired = DesiredCount::default();
        desired.request(4, &says(1), SECOND);
        let mut faulty = says(1);
        faulty.fault = Some(Fault {
            message: "down".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        });
        assert_eq!(desired.observe(&faulty, 10 * FOLLOW_TIMEOUT), own(4));
        assert_eq!(
            desired.observe(&says(1), 10 * FOLLOW_TIMEOUT + SECOND),
            own(4)
        );
        assert_eq!(desired.observe(&says(1), 11 * FOLLOW_TIMEOUT), foreign(1));
    }
}
