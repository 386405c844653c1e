//! Whether this Weir is the one that scales. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// After it became the scaler: for so long the count is left alone, so that the autoscaler,
/// which decides once a second, has seen what the one before left behind.
const SETTLE: Duration = Duration::from_secs(3);

/// What is known of the lease.
#[derive(Debug, Default)]
pub(super) struct Standing {
    is_scaler: bool,
    checked: Option<Instant>,
    /// When it took over from another; `None` if it has been the scaler from the start.
    gained: Option<Instant>,
}

impl Standing {
    /// Takes in whether this Weir is the scaler; says whether it has just become so.
    pub(super) fn set(&mut self, is_scaler: bool, now: Instant) -> bool {
        let is_gained = is_scaler && !self.is_scaler;
        if is_gained {
            self.gained = self.checked.map(|_| now);
        }
        self.is_scaler = is_scaler;
        self.checked = Some(now);
        is_gained
    }

    pub(super) fn is_scaler(&self) -> bool {
        self.is_scaler
    }

    /// Whether the count may be changed now.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.is_scaler && self.settled_at(now).is_none()
    }

    /// When the count may be changed, if that is yet to come.
    pub(super) fn settled_at(&self, now: Instant) -> Option<Instant> {
        let settled = self.gained? + SETTLE;
        (self.is_scaler && settled > now).then_some(settled)
    }

    /// Whether to look at the lease: now and then, and before each change of the count.
    pub(super) fn is_due(&self, is_about_to_ask: bool, now: Instant, every: Duration) -> bool {
        self.due_at(now, every) <= now || (self.is_scaler && is_about_to_ask)
    }

    /// When to look at it without any other reason.
    pub(super) fn due_at(&self, now: Instant, every: Duration) -> Instant {
        self.checked.map_or(now, |checked| checked + every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn the_first_scaler_may_ask_at_once() {
        let now = Instant::now();
        let mut standing = Standing::default();
        assert!(!standing.may_ask(now));
        assert!(standing.is_due(false, now, EVERY));
        assert!(standing.set(true, now));
        assert!(standing.may_ask(now));
        assert!(!standing.is_due(false, now, EVERY));
        assert!(standing.is_due(true, now, EVERY), "before each change");
        assert!(standing.is_due(false, now + EVERY, EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_over_lets_things_settle() {
        let now = Instant::now();
        let mut standing = Standing::default();
        assert!(!standing.set(false, now));
        assert!(
            !standing.is_due(true, now, EVERY),
            "a follower asks for nothing"
        );
        let later = now + EVERY;
        assert!(standing.set(true, later));
        assert!(!standing.may_ask(later));
        assert_eq!(standing.settled_at(later), Some(later + SETTLE));
        assert!(standing.may_ask(later + SETTLE));
        assert!(!standing.set(true, later + EVERY), "renewed");
        assert!(standing.may_ask(later + EVERY));
    }
}
