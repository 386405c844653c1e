//! Whether this Weir may change the count. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Between two renewals of the lease.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// After another Weir has had the lease the count is left alone for so long: the autoscaler,
/// which decides once a second, sees first what the other one left behind.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// What is known of the lease.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    is_leader: bool,
    /// When the lease is to be renewed; `None` before the first attempt.
    renew_at: Option<Instant>,
    /// When it was taken over from another Weir; `None` if this one has always had it.
    gained: Option<Instant>,
    /// Whether it was renewed for the change of the count that is about to be asked for.
    is_fresh: bool,
}

impl Leadership {
    /// Notes whether this Weir is the leader. Returns whether it has just become that.
    pub(super) fn set(&mut self, is_leader: bool, now: Instant) -> bool {
        let is_gained = is_leader && !self.is_leader;
        if is_gained {
            self.gained = self.renew_at.map(|_| now);
        }
        self.is_leader = is_leader;
        self.renew_at = Some(now + RENEW_INTERVAL);
        self.is_fresh = true;
        is_gained
    }

    /// Notes that the lease could not be asked for: it may have run out, and is asked for
    /// again as soon as calls are allowed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.is_leader = false;
        self.renew_at = Some(now);
    }

    pub(super) fn is_leader(&self) -> bool {
        self.is_leader
    }

    /// Whether the count may be changed now.
    pub(super) fn may_scale(&self, now: Instant) -> bool {
        self.is_leader && self.settled_at(now).is_none()
    }

    /// When the count may be changed, if that is yet to come.
    pub(super) fn settled_at(&self, now: Instant) -> Option<Instant> {
        let settled = self.gained? + SETTLE_TIME;
        (self.is_leader && settled > now).then_some(settled)
    }

    /// Whether to renew the lease now: every few seconds, and before each change of the count.
    pub(super) fn is_due(&self, is_about_to_scale: bool, now: Instant) -> bool {
        self.renew_at(now) <= now || (self.is_leader && is_about_to_scale && !self.is_fresh)
    }

    /// When to renew it without any other reason.
    pub(super) fn renew_at(&self, now: Instant) -> Instant {
        self.renew_at.unwrap_or(now)
    }

    /// Time goes by: the next change of the count needs another renewal.
    pub(super) fn age(&mut self) {
        self.is_fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_leader_may_scale_at_once() {
        let now = Instant::now();
        let mut leadership = Leadership::default();
        assert!(!leadership.may_scale(now));
        assert!(leadership.is_due(false, now));
        assert!(leadership.set(true, now));
        assert!(leadership.may_scale(now));
        assert!(!leadership.is_due(false, now));
        assert!(!leadership.is_due(true, now), "renewed a moment ago");
        leadership.age();
        assert!(leadership.is_due(true, now), "before each change");
        assert!(leadership.is_due(false, now + RENEW_INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_weir_that_takes_over_lets_things_settle() {
        let now = Instant::now();
        let mut leadership = Leadership::default();
        assert!(!leadership.set(false, now));
        leadership.age();
        assert!(!leadership.is_due(true, now), "a follower asks for nothing");
        let later = now + RENEW_INTERVAL;
        assert!(leadership.set(true, later));
        assert!(!leadership.may_scale(later));
        assert_eq!(leadership.settled_at(later), Some(later + SETTLE_TIME));
        assert!(leadership.may_scale(later + SETTLE_TIME));
        assert!(!leadership.set(true, later + RENEW_INTERVAL), "renewed");
        assert!(leadership.may_scale(later + RENEW_INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_cannot_be_asked_for_is_lost_and_due_again() {
        let now = Instant::now();
        let mut leadership = Leadership::default();
        leadership.set(true, now);
        leadership.failed(now);
        assert!(!leadership.is_leader());
        assert!(leadership.is_due(false, now));
        assert!(leadership.set(true, now));
        assert!(!leadership.may_scale(now), "another may have had it");
    }
}
