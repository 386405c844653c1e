//! The right to scale a service that several instances of Weir follow, as one of them sees it.
//! Pure.
//!
//! Whether the lease of another holder has expired is decided by how long *this* instance has
//! seen it unchanged on its own clock, never by times that are written in it: the clocks of two
//! machines may differ. Kubernetes' own controllers do the same. The lease itself lies in the
//! engine, which refuses a write that was made from an outdated version.

use std::time::Duration;

use tokio::time::Instant;

/// Between two renewals by the holder. Shorter than a third of every term, so that two may fail.
pub(super) const RENEW_INTERVAL: Duration = Duration::from_secs(3);

/// The lease of one service. `V` is what changes with each write to it.
#[derive(Debug)]
pub(super) struct ScalerLease<V> {
    /// No other instance has the same.
    identity: String,
    /// The lease as it was read last, and since when it has not changed.
    seen: Option<(V, Instant)>,
    /// When this instance wrote it last, unless it lost it since.
    renewed_at: Option<Instant>,
}

impl<V: PartialEq> ScalerLease<V> {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            renewed_at: None,
        }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether this instance holds the lease and need not renew it yet.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.renewed_at
            .is_some_and(|renewed| now.saturating_duration_since(renewed) < RENEW_INTERVAL)
    }

    /// Whether this instance may write the lease that was just read: it is its own, has no
    /// holder, or has not been renewed for a `term`.
    pub(super) fn may_take(
        &mut self,
        lease: V,
        holder: Option<&str>,
        term: Duration,
        now: Instant,
    ) -> bool {
        let since = match &self.seen {
            Some((seen, since)) if *seen == lease => *since,
            Some(_) | None => now,
        };
        self.seen = Some((lease, since));
        let is_free = holder.is_none_or(|holder| holder.is_empty() || holder == self.identity);
        is_free || now.saturating_duration_since(since) >= term
    }

    /// The engine accepted a write. `asked` is a time before the write: other instances count
    /// the term from when they read it.
    pub(super) fn hold(&mut self, asked: Instant) {
        self.renewed_at = Some(asked);
    }

    /// Another instance holds the lease.
    pub(super) fn lose(&mut self) {
        self.renewed_at = None;
    }

    /// The lease is that of another service from now on.
    pub(super) fn reset(&mut self) {
        (self.seen, self.renewed_at) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(10);

    #[test]
    fn a_lease_is_taken_when_it_stays_unchanged_for_a_term() {
        let mut lease = ScalerLease::new("me".to_owned());
        let start = Instant::now();
        let mut may_take = |after, version| {
            let now = start + Duration::from_secs(after);
            lease.may_take(version, Some("you"), TERM, now)
        };
        assert!(!may_take(0, 7));
        assert!(!may_take(9, 7));
        // Renewed: the term begins anew.
        assert!(!may_take(10, 8));
        assert!(!may_take(19, 8));
        assert!(may_take(20, 8));
    }

    #[test]
    fn a_lease_without_holder_or_of_this_instance_is_taken_at_once() {
        let mut lease = ScalerLease::new("me".to_owned());
        let now = Instant::now();
        for holder in [None, Some(""), Some("me")] {
            assert!(lease.may_take(1, holder, TERM, now), "{holder:?}");
        }
    }

    #[test]
    fn a_fresh_lease_is_held_until_it_is_time_to_renew() {
        let start = Instant::now();
        let mut lease = ScalerLease::<u64>::new("me".to_owned());
        assert!(!lease.is_fresh(start));
        lease.hold(start);
        assert!(lease.is_fresh(start + RENEW_INTERVAL / 2));
        assert!(!lease.is_fresh(start + RENEW_INTERVAL));
        lease.hold(start);
        lease.lose();
        assert!(!lease.is_fresh(start));
    }
}
