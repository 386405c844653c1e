//! How many requests each client of a listener may still send.
//!
//! A token bucket per client (GCRA: one number each), shared by all workers. Full buckets
//! are forgotten at a steady pace, and no more than a million are kept: clients beyond
//! that share one bucket, so that inventing addresses costs nobody memory.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter as Governor};
use http::HeaderMap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::model::{RateKey, RateLimit};

/// The limit of a listener and what its clients have used of it.
pub struct RateLimiter<C: Clock = MonotonicClock> {
    limit: RateLimit,
    buckets: Governor<Key, Buckets, C, NoOpMiddleware<C::Instant>>,
    /// Differs from process to process: nobody can make a key that collides with another.
    seed: u64,
}

/// An address, or the hash of a header's value: of one size whatever the client sends.
type Key = u128;

/// Clients that have a bucket of their own: about 50 MB of them.
const MAX_KEYS: usize = 1_000_000;

/// Longest time in which an empty bucket fills up. Keeps sums of nanoseconds far from the
/// end of their range, centuries away.
const MAX_FILL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl RateLimiter {
    /// A limiter whose buckets are all full.
    pub fn new(limit: RateLimit) -> Self {
        Self::with(limit, MAX_KEYS, MonotonicClock, fastrand::u64(..))
    }
}

impl<C: Clock> RateLimiter<C> {
    fn with(limit: RateLimit, max_keys: usize, clock: C, seed: u64) -> Self {
        let buckets = Buckets {
            own: DashMapStateStore::default(),
            max_keys,
            is_full: AtomicBool::new(false),
            shared: InMemoryState::default(),
        };
        Self {
            buckets: Governor::new(quota(&limit), buckets, clock),
            limit,
            seed,
        }
    }

    /// Its settings.
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Takes a token of whoever sent a request; an error says after what time there will
    /// be one again.
    pub fn check(&self, client: IpAddr, headers: &HeaderMap) -> Result<(), Duration> {
        let key = self.key(client, headers);
        self.buckets
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(self.buckets.clock().now()))
    }

    /// Forgets full buckets. Called about once a second.
    pub fn tidy(&self) {
        self.buckets.retain_recent();
    }

    fn key(&self, client: IpAddr, headers: &HeaderMap) -> Key {
        let value = match &self.limit.key {
            RateKey::ClientIp => None,
            RateKey::Header(name) => headers.get(name),
        };
        match (value, client.to_canonical()) {
            (Some(value), _) => xxh3_128_with_seed(value.as_bytes(), self.seed),
            (None, IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
            // A client has a whole /64 (RFC 6177), and changes its address within it at will.
            (None, IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
        }
    }
}

impl<C: Clock> fmt::Debug for RateLimiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RateLimiter");
        shown.field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The quota of a limit. A burst that takes longer than a year to fill is cut.
fn quota(limit: &RateLimit) -> Quota {
    let period = limit.per.min(MAX_FILL) / limit.requests.get();
    let period = period.max(Duration::from_nanos(1));
    let most = MAX_FILL.as_nanos() / period.as_nanos();
    let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
    let burst = limit.burst.min(most.try_into().unwrap_or(limit.burst));
    let quota = Quota::with_period(period).expect("a nanosecond is not nothing");
    quota.allow_burst(burst)
}

/// Buckets by client, and one for all others when there are too many.
struct Buckets {
    own: DashMapStateStore<Key>,
    max_keys: usize,
    /// As of the last tidying: counting locks every part of the map.
    is_full: AtomicBool,
    shared: InMemoryState,
}

impl StateStore for Buckets {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if !self.is_full.load(Ordering::Relaxed) {
            return self.own.measure_and_replace(key, f);
        }
        match self.own.get(key) {
            Some(own) => own.measure_and_replace(&NotKeyed::NonKey, f),
            None => self.shared.measure_and_replace(&NotKeyed::NonKey, f),
        }
    }
}

impl ShrinkableKeyedStateStore<Key> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        ShrinkableKeyedStateStore::retain_recent(&self.own, drop_below);
        let is_full = self.own.len() >= self.max_keys;
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;
    use http::HeaderName;

    use super::*;

    fn limiter(
        key: RateKey,
        max_keys: usize,
    ) -> (RateLimiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limit = RateLimit {
            key,
            requests: NonZeroU32::new(10).unwrap(),
            per: Duration::from_secs(20),
            burst: NonZeroU32::new(3).unwrap(),
        };
        (RateLimiter::with(limit, max_keys, clock.clone(), 7), clock)
    }

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-key", value.parse().unwrap());
        headers
    }

    /// How many of so many requests are let through.
    fn passed(
        limiter: &RateLimiter<FakeRelativeClock>,
        client: &str,
        headers: &HeaderMap,
    ) -> usize {
        let client = client.parse().unwrap();
        (0..10)
            .filter(|_| limiter.check(client, headers).is_ok())
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_come_back() {
        let (limiter, clock) = limiter(RateKey::ClientIp, 10);
        let none = HeaderMap::new();
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 3);
        let client = "10.0.0.1".parse().unwrap();
        assert_eq!(limiter.check(client, &none), Err(Duration::from_secs(2)));
        clock.advance(Duration::from_millis(500));
        assert_eq!(
            limiter.check(client, &none),
            Err(Duration::from_millis(1500))
        );
        clock.advance(Duration::from_millis(3500));
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 2);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 3);
    }

    #[test]
    fn clients_do_not_share_a_bucket_unless_they_share_a_network() {
        let (limiter, _) = limiter(RateKey::ClientIp, 10);
        let none = HeaderMap::new();
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 3);
        assert_eq!(passed(&limiter, "10.0.0.2", &none), 3);
        assert_eq!(passed(&limiter, "::ffff:10.0.0.2", &none), 0);
        assert_eq!(passed(&limiter, "2001:db8::1", &none), 3);
        assert_eq!(passed(&limiter, "2001:db8::ffff:1", &none), 0);
        assert_eq!(passed(&limiter, "2001:db8:0:1::1", &none), 3);
    }

    #[test]
    fn a_header_counts_whoever_sends_it_and_the_address_without_it() {
        let key = RateKey::Header(HeaderName::from_static("x-key"));
        let (limiter, _) = limiter(key, 10);
        assert_eq!(passed(&limiter, "10.0.0.1", &header("a")), 3);
        assert_eq!(passed(&limiter, "10.0.0.2", &header("a")), 0);
        assert_eq!(passed(&limiter, "10.0.0.2", &header("b")), 3);
        assert_eq!(passed(&limiter, "10.0.0.2", &HeaderMap::new()), 3);
    }

    #[test]
    fn full_buckets_are_forgotten_and_the_others_kept() {
        let (limiter, clock) = limiter(RateKey::ClientIp, 10);
        let none = HeaderMap::new();
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 3);
        clock.advance(Duration::from_secs(4));
        limiter.tidy();
        assert_eq!(
            (limiter.buckets.len(), passed(&limiter, "10.0.0.1", &none)),
            (1, 2)
        );
        clock.advance(Duration::from_secs(60));
        limiter.tidy();
        assert_eq!(
            (limiter.buckets.len(), passed(&limiter, "10.0.0.1", &none)),
            (0, 3)
        );
    }

    #[test]
    fn clients_beyond_the_most_share_one_bucket() {
        let (limiter, clock) = limiter(RateKey::ClientIp, 2);
        let none = HeaderMap::new();
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 3);
        assert_eq!(passed(&limiter, "10.0.0.2", &none), 3);
        limiter.tidy();
        assert_eq!(passed(&limiter, "10.0.0.3", &none), 3);
        assert_eq!(
            passed(&limiter, "10.0.0.4", &none),
            0,
            "the shared one is empty"
        );
        clock.advance(Duration::from_secs(2));
        assert_eq!(passed(&limiter, "10.0.0.1", &none), 1, "its own");
        assert_eq!(limiter.buckets.len(), 2);
    }

    #[test]
    fn no_limit_however_odd_overflows() {
        let most = NonZeroU32::MAX;
        for (requests, per, burst) in [
            (most, Duration::from_nanos(1), most),
            (NonZeroU32::MIN, Duration::MAX, most),
            (NonZeroU32::MIN, Duration::ZERO, NonZeroU32::MIN),
        ] {
            let key = RateKey::ClientIp;
            let limit = RateLimit {
                key,
                requests,
                per,
                burst,
            };
            let limiter = RateLimiter::with(limit, 2, FakeRelativeClock::default(), 0);
            assert!(passed(&limiter, "10.0.0.1", &HeaderMap::new()) >= 1);
        }
    }
}
