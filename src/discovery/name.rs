//! What is known about one name, and when to ask again. Pure: no clock, no I/O.

use std::net::SocketAddr;
use std::time::Duration;

/// Bounds of an answer's time to live. A server that answers 0 must not be asked in a
/// loop; one that answers a day must not hide a move of the service for longer than
/// ALB's deregistration delay.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Waits between failed lookups: doubling from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A target that a name leads to, and its weight if the answer says one.
pub(super) type Found = (SocketAddr, Option<u16>);

/// What is known about a name.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// Those of the last good answer, in order.
    targets: Vec<Found>,
    /// Lookups that failed since.
    failures: u32,
}

/// What a good answer brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Not there before.
    pub(super) added: Vec<SocketAddr>,
    /// Not there any more.
    pub(super) removed: Vec<SocketAddr>,
    /// Whether one that stays has another weight.
    pub(super) reweighted: bool,
    /// Whether the lookup before had failed.
    pub(super) recovered: bool,
}

impl News {
    /// Whether the members are others.
    pub(super) fn changes(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty() || self.reweighted
    }
}

impl Name {
    /// Those of the last good answer.
    pub(super) fn targets(&self) -> &[Found] {
        &self.targets
    }

    /// Takes in a good answer, which may be believed for `ttl`, and says what is new and
    /// when to ask again.
    pub(super) fn answered(&mut self, mut targets: Vec<Found>, ttl: Duration) -> (News, Duration) {
        // Servers rotate their answers; the order means nothing.
        targets.sort_unstable();
        targets.dedup_by_key(|(addr, _)| *addr);
        let added = missing_in(&self.targets, &targets);
        let removed = missing_in(&targets, &self.targets);
        let news = News {
            reweighted: added.is_empty() && removed.is_empty() && targets != self.targets,
            added,
            removed,
            recovered: self.failures > 0,
        };
        self.targets = targets;
        self.failures = 0;
        (news, ttl.clamp(TTL.0, TTL.1))
    }

    /// Takes in a failed lookup, and says whether it is the first in a row and when to
    /// ask again.
    pub(super) fn failed(&mut self) -> (bool, Duration) {
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1, retry_after(self.failures))
    }
}

fn missing_in(known: &[Found], targets: &[Found]) -> Vec<SocketAddr> {
    let is_known = |addr: &SocketAddr| known.iter().any(|(other, _)| other == addr);
    let targets = targets.iter().map(|(addr, _)| *addr);
    targets.filter(|addr| !is_known(addr)).collect()
}

/// The wait after so many failures in a row.
fn retry_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    RETRY
        .0
        .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(RETRY.1)
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
    fn an_answer_in_another_order_is_no_news() {
        let mut name = Name::default();
        let (news, _) = name.answered(targets(&[2, 1, 2]), MINUTE);
        assert_eq!(news.added.len(), 2);
        let (news, _) = name.answered(targets(&[1, 2]), MINUTE);
        assert_eq!(news, News::default());
        let (news, _) = name.answered(targets(&[2, 3]), MINUTE);
        let one = |n: u8| vec![SocketAddr::from(([10, 0, 0, n], 6400))];
        assert_eq!((news.added, news.removed), (one(3), one(1)));
    }

    #[test]
    fn another_weight_is_news() {
        let mut name = Name::default();
        let weighted = |weight| vec![(SocketAddr::from(([10, 0, 0, 1], 6400)), Some(weight))];
        assert!(name.answered(weighted(1), MINUTE).0.changes());
        assert!(!name.answered(weighted(1), MINUTE).0.changes());
        let (news, _) = name.answered(weighted(2), MINUTE);
        assert!(news.reweighted && news.changes());
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
        let (news, _) = name.answered(targets(&[1]), MINUTE);
        assert!(news.recovered);
        assert_eq!(name.failed().1, Duration::from_secs(1));
    }
}
