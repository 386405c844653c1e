//! What is known about one host name, and when to ask again. Pure: no clock, no I/O.

use std::net::IpAddr;
use std::time::Duration;

use super::resolve::Answer;

/// Bounds of an answer's time to live. A server that answers 0 must not be asked in a
/// loop; one that answers a day must not hide a move of the service for longer than
/// ALB's deregistration delay.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Waits between failed lookups: doubling from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known about a host name.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The addresses of the last good answer, in order.
    addresses: Vec<IpAddr>,
    /// Lookups that failed since.
    failures: u32,
}

/// What a good answer brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Not there before.
    pub(super) added: Vec<IpAddr>,
    /// Not there any more.
    pub(super) removed: Vec<IpAddr>,
    /// Whether the lookup before had failed.
    pub(super) recovered: bool,
}

impl Name {
    /// The last good answer.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Takes in a good answer, and says what is new and when to ask again.
    pub(super) fn answered(&mut self, answer: Answer) -> (News, Duration) {
        let mut addresses = answer.addresses;
        // Servers rotate their answers; the order means nothing.
        addresses.sort_unstable();
        addresses.dedup();
        let news = News {
            added: missing_in(&self.addresses, &addresses),
            removed: missing_in(&addresses, &self.addresses),
            recovered: self.failures > 0,
        };
        self.addresses = addresses;
        self.failures = 0;
        (news, answer.ttl.clamp(TTL.0, TTL.1))
    }

    /// Takes in a failed lookup, and says whether it is the first in a row and when to
    /// ask again.
    pub(super) fn failed(&mut self) -> (bool, Duration) {
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1, retry_after(self.failures))
    }
}

fn missing_in(known: &[IpAddr], addresses: &[IpAddr]) -> Vec<IpAddr> {
    let missing = |addr: &&IpAddr| !known.contains(addr);
    addresses.iter().filter(missing).copied().collect()
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

    fn answer(last_bytes: &[u8], ttl: u64) -> Answer {
        let addresses = last_bytes.iter().map(|&n| [10, 0, 0, n].into());
        Answer {
            addresses: addresses.collect(),
            ttl: Duration::from_secs(ttl),
        }
    }

    #[test]
    fn an_answer_in_another_order_is_no_news() {
        let mut name = Name::default();
        let (news, _) = name.answered(answer(&[2, 1, 2], 60));
        assert_eq!(news.added.len(), 2);
        let (news, _) = name.answered(answer(&[1, 2], 60));
        assert_eq!(news, News::default());
        let (news, _) = name.answered(answer(&[2, 3], 60));
        let one = |n: u8| vec![IpAddr::from([10, 0, 0, n])];
        assert_eq!((news.added, news.removed), (one(3), one(1)));
    }

    #[test]
    fn the_time_to_live_is_kept_within_bounds() {
        let wait = |ttl| Name::default().answered(answer(&[1], ttl)).1.as_secs();
        assert_eq!([wait(0), wait(42), wait(86_400)], [1, 42, 300]);
    }

    #[test]
    fn a_failure_keeps_the_last_addresses_and_is_retried_less_and_less_often() {
        let mut name = Name::default();
        name.answered(answer(&[1], 60));
        assert_eq!(name.failed(), (true, Duration::from_secs(1)));
        assert_eq!(name.failed(), (false, Duration::from_secs(2)));
        assert_eq!(name.addresses().len(), 1);
        for _ in 0..100 {
            name.failed();
        }
        assert_eq!(name.failed(), (false, Duration::from_secs(30)));
        let (news, _) = name.answered(answer(&[1], 60));
        assert!(news.recovered);
        assert_eq!(name.failed().1, Duration::from_secs(1));
    }
}
