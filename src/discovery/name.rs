//! The state of one name: its targets, and when to resolve it again. Pure: no clock, no I/O.

use std::net::SocketAddr;
use std::time::Duration;

/// Shortest time to live: a server that answers 0 must not be asked in a loop.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Longest time to live: a server that answers a day must not hide a move of the service for
/// longer than ALB's deregistration delay.
const MAX_TTL: Duration = Duration::from_secs(300);

/// From a failed lookup to the next; doubled with each further failure.
const FIRST_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time from a failed lookup to the next.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// A target that a name resolves to, and its weight if the answer has one.
pub(super) type Found = (SocketAddr, Option<u16>);

/// The state of a name.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The targets of the last answer, in order.
    targets: Vec<Found>,
    /// Lookups in a row that failed since.
    failures: u32,
}

/// How an answer differs from the one before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Targets that were not there before.
    pub(super) added: Vec<SocketAddr>,
    /// Targets that are not there any more.
    pub(super) removed: Vec<SocketAddr>,
    /// Whether a target that stays has another weight.
    pub(super) reweighted: bool,
    /// Whether the lookup before had failed.
    pub(super) recovered: bool,
}

impl Difference {
    /// Whether the members have to be published.
    pub(super) fn changes_members(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty() || self.reweighted
    }
}

impl Name {
    /// The targets of the last answer.
    pub(super) fn targets(&self) -> &[Found] {
        &self.targets
    }

    /// Adopts an answer that is valid for `ttl`. Returns what is different, and the time until
    /// the next lookup.
    pub(super) fn answered(
        &mut self,
        mut targets: Vec<Found>,
        ttl: Duration,
    ) -> (Difference, Duration) {
        // Servers rotate their answers; the order means nothing.
        targets.sort_unstable();
        targets.dedup_by_key(|(addr, _)| *addr);
        let added = missing_in(&self.targets, &targets);
        let removed = missing_in(&targets, &self.targets);
        let difference = Difference {
            reweighted: added.is_empty() && removed.is_empty() && targets != self.targets,
            added,
            removed,
            recovered: self.failures > 0,
        };
        self.targets = targets;
        self.failures = 0;
        (difference, ttl.clamp(MIN_TTL, MAX_TTL))
    }

    /// Counts a failed lookup. Returns whether it is the first in a row, and the time until the
    /// next lookup.
    pub(super) fn failed(&mut self) -> (bool, Duration) {
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1, retry_after(self.failures))
    }
}

fn missing_in(known: &[Found], targets: &[Found]) -> Vec<SocketAddr> {
    targets
        .iter()
        .map(|(addr, _)| *addr)
        .filter(|addr| !known.iter().any(|(other, _)| other == addr))
        .collect()
}

/// The time until the next lookup after so many failures in a row.
fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    FIRST_RETRY_INTERVAL
        .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(MAX_RETRY_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(last_bytes: &[u8]) -> Vec<Found> {
        let target = |&n: &u8| (SocketAddr::from(([10, 0, 0, n], 6400)), None);
        last_bytes.iter().map(target).collect()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_in_another_order_is_no_difference() {
        let mut name = Name::default();
        let (difference, _) = name.answered(targets(&[2, 1, 2]), MINUTE);
        assert_eq!(difference.added.len(), 2);
        let (difference, _) = name.answered(targets(&[1, 2]), MINUTE);
        assert_eq!(difference, Difference::default());
        let (difference, _) = name.answered(targets(&[2, 3]), MINUTE);
        let one = |n: u8| vec![SocketAddr::from(([10, 0, 0, n], 6400))];
        assert_eq!((difference.added, difference.removed), (one(3), one(1)));
    }

    #[test]
    fn another_weight_is_a_difference() {
        let mut name = Name::default();
        let weighted = |weight| vec![(SocketAddr::from(([10, 0, 0, 1], 6400)), Some(weight))];
        assert!(name.answered(weighted(1), MINUTE).0.changes_members());
        assert!(!name.answered(weighted(1), MINUTE).0.changes_members());
        let (difference, _) = name.answered(weighted(2), MINUTE);
        assert!(difference.reweighted && difference.changes_members());
    }

    #[test]
    fn the_time_to_live_is_kept_within_bounds() {
        let ttl = Duration::from_secs;
        let wait = |seconds| Name::default().answered(targets(&[1]), ttl(seconds)).1;
        assert_eq!([0, 42, 86_400].map(wait), [1, 42, 300].map(ttl));
    }

    #[test]
    fn a_failure_keeps_the_last_addresses_and_is_retried_less_and_less_often() {
        let mut name = Name::default();
        name.answered(targets(&[1]), MINUTE);
        assert_eq!(name.failed(), (true, Duration::from_secs(1)));
        assert_eq!(name.failed(), (false, Duration::from_secs(2)));
        assert_eq!(name.targets().len(), 1);
        for _ in 0..100 {
            name.failed();
        }
        assert_eq!(name.failed(), (false, Duration::from_secs(30)));
        let (difference, _) = name.answered(targets(&[1]), MINUTE);
        assert!(difference.recovered);
        assert_eq!(name.failed().1, Duration::from_secs(1));
    }
}
