//! A token bucket per client, shared by all workers, in a bounded [`Table`]: full buckets are
//! forgotten at a steady pace, and a client that invents keys has only so many of its own.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::table::{Bounds, Key, Table};
use crate::message::{FieldName, Fields};
use crate::model::{ClientAddress, RateKey, RateLimit};

/// The limit of a listener and what its clients have used of it.
pub struct RateLimiter {
    limit: RateLimit,
    source: KeySource,
    pace: Pace,
    table: Table,
    /// Keys made of what clients send are secret: no client can make one that collides with
    /// that of another. A predecessor hands its seed over with its buckets.
    seed: AtomicU64,
    /// Times in the table count from here.
    start: Instant,
}

/// Buckets of one listener: about 25 MB of them.
const MAX_BUCKETS: usize = 250_000;

/// Buckets of one client address: many users behind one proxy, and few enough that 25
/// addresses are needed to fill the table.
const MAX_BUCKETS_OF_ADDRESS: usize = 10_000;

/// Longest time in which an empty bucket fills up. Keeps sums of nanoseconds far from the
/// end of their range, centuries away.
const MAX_FILL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The tokens that clients have used, for the process that takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedTokens {
    seed: u64,
    /// Key, owner, nanoseconds until the bucket is full.
    buckets: Vec<(Key, Key, u64)>,
}

impl UsedTokens {
    /// The same in parts that fit into a message.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        /// A bucket is at most a hundred bytes of JSON, a message 64 KiB.
        const BUCKETS: usize = 500;
        let seed = self.seed;
        let mut buckets = self.buckets.into_iter();
        std::iter::from_fn(move || {
            let buckets: Vec<_> = buckets.by_ref().take(BUCKETS).collect();
            (!buckets.is_empty()).then_some(Self { seed, buckets })
        })
    }
}

impl RateLimiter {
    /// A limiter with full buckets.
    pub fn new(limit: RateLimit) -> Self {
        let bounds = Bounds {
            total: MAX_BUCKETS,
            of_owner: MAX_BUCKETS_OF_ADDRESS,
        };
        Self::with(limit, bounds, fastrand::u64(..))
    }

    fn with(limit: RateLimit, bounds: Bounds, seed: u64) -> Self {
        Self {
            source: KeySource::of(&limit.key),
            pace: Pace::of(&limit),
            table: Table::new(bounds),
            limit,
            seed: AtomicU64::new(seed),
            start: Instant::now(),
        }
    }

    /// The limit it was made with.
    pub fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// Takes a token of the client that sent a request at `now`. The error is the time until
    /// there will be one again.
    pub fn check(
        &self,
        client: ClientAddress,
        fields: &Fields,
        now: Instant,
    ) -> Result<(), Duration> {
        let now = self.nanos(now);
        let address = network(client);
        let key = self.source.value(fields).map_or(address, |value| {
            xxh3_128_with_seed(value, self.seed.load(Ordering::Relaxed))
        });
        self.table
            .update(key, address, |full_at| self.pace.take(full_at, now))
    }

    /// Forgets full buckets, some at a time. Called about once a second.
    pub fn sweep(&self, now: Instant) {
        self.table.sweep(self.nanos(now));
    }

    /// The tokens that clients have used at `now`.
    pub fn used(&self, now: Instant) -> UsedTokens {
        let now = self.nanos(now);
        UsedTokens {
            seed: self.seed.load(Ordering::Relaxed),
            buckets: self
                .table
                .buckets()
                .into_iter()
                .map(|(key, owner, full_at)| (key, owner, full_at.saturating_sub(now)))
                .filter(|(.., left)| *left > 0)
                .collect(),
        }
    }

    /// Takes over the tokens that clients had used of another limiter, some of them or all.
    /// To be called before the first request: a key made before has another seed.
    pub fn resume(&self, used: &UsedTokens, now: Instant) {
        self.seed.store(used.seed, Ordering::Relaxed);
        let now = self.nanos(now);
        for (key, owner, left) in &used.buckets {
            let full_at = now.saturating_add((*left).min(self.pace.longest()));
            self.table.update(*key, *owner, |_| (full_at, ()));
        }
    }

    /// Begins at 1: 0 stands for a bucket of which no token was ever taken.
    fn nanos(&self, now: Instant) -> u64 {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos).map_or(u64::MAX / 2, |nanos| nanos + 1)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Where the key of a request stands.
enum KeySource {
    Address,
    /// A field with a name that heads know.
    Known(FieldName),
    /// A field with any other name.
    Other(Box<str>),
}

impl KeySource {
    fn of(key: &RateKey) -> Self {
        match key {
            RateKey::ClientIp => Self::Address,
            RateKey::Header(name) => match FieldName::from_bytes(name.as_str().as_bytes()) {
                FieldName::Other => Self::Other(name.as_str().into()),
                known => Self::Known(known),
            },
        }
    }

    /// What the client sent as its key; `None` if its address is the key.
    fn value<'f>(&self, fields: &'f Fields) -> Option<&'f [u8]> {
        match self {
            Self::Address => None,
            Self::Known(name) => fields.get(*name),
            Self::Other(name) => fields.get_by_name(name),
        }
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: a client has a whole /64 (RFC 6177) and
/// changes its address within it at will. Clients without an address are one client.
fn network(client: ClientAddress) -> Key {
    match client.canonical_ip() {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
        None => UNIX,
    }
}

/// The key of clients without an address: the last one of a /64, which no other client has.
const UNIX: Key = Key::MAX;

/// How fast a bucket fills and how much is in it, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Time in which one token comes back.
    token: u64,
    /// Time in which all tokens but one come back.
    tolerance: u64,
}

impl Pace {
    /// A burst that takes longer than [`MAX_FILL`] to fill is cut.
    fn of(limit: &RateLimit) -> Self {
        let token = limit.per.min(MAX_FILL) / limit.requests.get();
        let token = (token.as_nanos() as u64).max(1);
        let longest = MAX_FILL.as_nanos() as u64;
        let others = u64::from(limit.burst.get() - 1);
        Self {
            token,
            tolerance: token.saturating_mul(others).min(longest),
        }
    }

    /// Time in which an empty bucket fills up.
    fn longest(self) -> u64 {
        self.tolerance + self.token
    }

    /// Takes a token at `now` of a bucket that will be full at `full_at`.
    fn take(self, full_at: u64, now: u64) -> (u64, Result<(), Duration>) {
        match full_at.saturating_sub(now).checked_sub(self.tolerance) {
            Some(wait) if wait > 0 => (full_at, Err(Duration::from_nanos(wait))),
            Some(_) | None => (full_at.max(now) + self.token, Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use http::HeaderName;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        total: 100,
        of_owner: 10,
    };

    fn limit(key: RateKey) -> RateLimit {
        RateLimit {
            key,
            requests: NonZeroU32::new(10).unwrap(),
            per: Duration::from_secs(20),
            burst: NonZeroU32::new(3).unwrap(),
        }
    }

    /// A limiter and a clock that stands still.
    struct Fixture {
        limiter: RateLimiter,
        now: Instant,
    }

    fn limiter(key: RateKey) -> Fixture {
        let limiter = RateLimiter::with(limit(key), BOUNDS, 7);
        let now = limiter.start;
        Fixture { limiter, now }
    }

    impl Fixture {
        fn advance(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn check(&self, client: &str) -> Result<(), Duration> {
            let client = client
                .parse()
                .map_or(ClientAddress::Unix, ClientAddress::Ip);
            self.limiter.check(client, &Fields::new(), self.now)
        }

        /// How many of ten requests are let through.
        fn passed(&self, client: &str, fields: &Fields) -> usize {
            let client = client_of(client);
            (0..10)
                .filter(|_| self.limiter.check(client, fields, self.now).is_ok())
                .count()
        }
    }

    /// An address, or `unix:`.
    fn client_of(text: &str) -> ClientAddress {
        match text {
            "unix:" => ClientAddress::Unix,
            address => ClientAddress::Ip(address.parse().unwrap()),
        }
    }

    fn by_header() -> RateKey {
        RateKey::Header(HeaderName::from_static("x-key"))
    }

    fn header(value: &str) -> Fields {
        let mut fields = Fields::new();
        fields.append("X-Key", value.as_bytes()).unwrap();
        fields
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_come_back() {
        let mut fixture = limiter(RateKey::ClientIp);
        let none = Fields::new();
        assert_eq!(fixture.passed("10.0.0.1", &none), 3);
        assert_eq!(fixture.check("10.0.0.1"), Err(Duration::from_secs(2)));
        fixture.advance(500);
        assert_eq!(fixture.check("10.0.0.1"), Err(Duration::from_millis(1500)));
        fixture.advance(3500);
        assert_eq!(fixture.passed("10.0.0.1", &none), 2);
        fixture.advance(3_600_000);
        assert_eq!(fixture.passed("10.0.0.1", &none), 3);
    }

    #[test]
    fn clients_do_not_share_a_bucket_unless_they_share_a_network() {
        let fixture = limiter(RateKey::ClientIp);
        let none = Fields::new();
        assert_eq!(fixture.passed("10.0.0.1", &none), 3);
        assert_eq!(fixture.passed("10.0.0.2", &none), 3);
        assert_eq!(fixture.passed("::ffff:10.0.0.2", &none), 0);
        assert_eq!(fixture.passed("2001:db8::1", &none), 3);
        assert_eq!(fixture.passed("2001:db8::ffff:1", &none), 0);
        assert_eq!(fixture.passed("2001:db8:0:1::1", &none), 3);
        assert_eq!(fixture.passed("unix:", &none), 3);
        assert_eq!(fixture.passed("unix:", &none), 0);
        assert_eq!(
            fixture.passed("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &none),
            3
        );
    }

    #[test]
    fn a_header_counts_for_all_that_send_it_and_the_address_without_it() {
        let fixture = limiter(by_header());
        assert_eq!(fixture.passed("10.0.0.1", &header("a")), 3);
        assert_eq!(fixture.passed("10.0.0.2", &header("a")), 0);
        assert_eq!(fixture.passed("10.0.0.2", &header("b")), 3);
        assert_eq!(fixture.passed("10.0.0.2", &Fields::new()), 3);
    }

    #[test]
    fn a_header_that_heads_know_is_a_key_as_well() {
        let fixture = limiter(RateKey::Header(http::header::AUTHORIZATION));
        let mut fields = Fields::new();
        fields.append("authorization", b"a").unwrap();
        assert_eq!(fixture.passed("10.0.0.1", &fields), 3);
        assert_eq!(fixture.passed("10.0.0.2", &fields), 0);
        assert_eq!(fixture.passed("10.0.0.2", &header("a")), 3, "by address");
    }

    #[test]
    fn full_buckets_are_forgotten_and_the_others_kept() {
        let mut fixture = limiter(RateKey::ClientIp);
        let none = Fields::new();
        assert_eq!(fixture.passed("10.0.0.1", &none), 3);
        fixture.advance(4000);
        fixture.limiter.sweep(fixture.now);
        assert_eq!(fixture.limiter.table.len(), 1);
        assert_eq!(fixture.passed("10.0.0.1", &none), 2);
        fixture.advance(60_000);
        fixture.limiter.sweep(fixture.now);
        assert_eq!(fixture.limiter.table.len(), 0);
        assert_eq!(fixture.passed("10.0.0.1", &none), 3);
    }

    /// A client that invents a million keys: the table stays small, keys of other clients
    /// keep their buckets, and new ones get their own.
    #[test]
    fn invented_keys_push_out_only_those_of_the_client_that_invents_them() {
        let fixture = limiter(by_header());
        assert_eq!(fixture.passed("10.0.0.1", &header("honest")), 3);
        for n in 0..1_000_000_u32 {
            let key = header(&n.to_string());
            let client = client_of("10.6.6.6");
            assert!(fixture.limiter.check(client, &key, fixture.now).is_ok());
        }
        assert_eq!(fixture.limiter.table.len(), 11);
        assert_eq!(fixture.passed("10.0.0.1", &header("honest")), 0);
        assert_eq!(fixture.passed("10.0.0.2", &header("new")), 3);
        assert_eq!(fixture.passed("10.0.0.3", &header("newer")), 3);
    }

    #[test]
    fn what_was_used_is_handed_over() {
        let mut fixture = limiter(by_header());
        assert_eq!(fixture.passed("10.0.0.1", &header("a")), 3);
        assert_eq!(fixture.passed("10.0.0.2", &Fields::new()), 3);
        fixture.advance(2000);
        let used = fixture.limiter.used(fixture.now);
        let parts: Vec<UsedTokens> = used.parts().collect();
        assert_eq!(parts.len(), 1);
        let text = serde_json::to_string(&parts[0]).unwrap();
        let used: UsedTokens = serde_json::from_str(&text).unwrap();
        assert_eq!(used.buckets.len(), 2);

        let limiter = RateLimiter::with(limit(by_header()), BOUNDS, 8);
        let now = Instant::now();
        limiter.resume(&used, now);
        let next = Fixture { limiter, now };
        assert_eq!(next.passed("10.0.0.1", &header("a")), 1);
        assert_eq!(next.passed("10.0.0.2", &Fields::new()), 1);
        assert_eq!(next.passed("10.0.0.3", &header("b")), 3);
    }

    #[test]
    fn each_part_of_what_was_used_fits_into_a_message() {
        let buckets = vec![(u128::MAX, u128::MAX, u64::MAX); 1001];
        let used = UsedTokens {
            seed: u64::MAX,
            buckets,
        };
        let parts: Vec<UsedTokens> = used.parts().collect();
        let lens: Vec<usize> = parts.iter().map(|part| part.buckets.len()).collect();
        assert_eq!(lens, [500, 500, 1]);
        let text = serde_json::to_vec(&parts[0]).unwrap();
        assert!(text.len() < 60 * 1024, "{}", text.len());
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
            let limiter = RateLimiter::with(limit, BOUNDS, 0);
            let now = limiter.start;
            let fixture = Fixture { limiter, now };
            assert!(fixture.passed("10.0.0.1", &Fields::new()) >= 1);
            let used = fixture.limiter.used(now);
            let again = RateLimiter::new(fixture.limiter.limit().clone());
            again.resume(&used, Instant::now());
        }
    }
}
