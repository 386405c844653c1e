//! The closed set of balancing algorithms, as an operator names them.

use http::HeaderName;

/// How a group picks among its eligible targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Smooth weighted round robin: each target exactly its weight's share of
    /// every cycle, heavy targets spread out (nginx's sequence).
    RoundRobin,
    /// Fewest requests in flight, weights ignored.
    LeastConnections,
    /// Fewest requests in flight for its weight.
    WeightedLeastConnections,
    /// The same key goes to the same target while it is eligible.
    ConsistentHash,
    /// Uniform by weight, without memory.
    Random,
    /// [`Random`](Self::Random), with automatic target weights: a target that fails more
    /// than its peers gets less (ALB's `weighted_random` with anomaly mitigation).
    WeightedRandom,
    /// Two distinct targets at random, the less loaded of them.
    PowerOfTwoChoices,
    /// Two distinct targets at random, the one that is expected to respond sooner for its
    /// weight, by the peaks of the times to the response's head (linkerd's).
    PeakEwma,
    /// The shortest expected wait for its weight of all targets, by the averages of the
    /// times to the response's head (nginx's `least_time header`).
    LeastTime,
    /// The first target with a free slot, in the order of the configuration (`HAProxy`'s):
    /// the last ones are idle, so that they can be removed.
    First,
}

impl Algorithm {
    /// Every algorithm: tests and benches loop over it, so a new one cannot be forgotten.
    pub const ALL: [Self; 10] = [
        Self::RoundRobin,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::ConsistentHash,
        Self::Random,
        Self::WeightedRandom,
        Self::PowerOfTwoChoices,
        Self::PeakEwma,
        Self::LeastTime,
        Self::First,
    ];

    /// The name in the configuration, in `/api/v1/status` and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::WeightedLeastConnections => "weighted_least_connections",
            Self::ConsistentHash => "consistent_hash",
            Self::Random => "random",
            Self::WeightedRandom => "weighted_random",
            Self::PowerOfTwoChoices => "power_of_two_choices",
            Self::PeakEwma => "peak_ewma",
            Self::LeastTime => "least_time",
            Self::First => "first",
        }
    }

    /// Whether it prefers targets that have less to do.
    pub const fn goes_by_load(self) -> bool {
        match self {
            Self::LeastConnections
            | Self::WeightedLeastConnections
            | Self::PowerOfTwoChoices
            | Self::PeakEwma
            | Self::LeastTime => true,
            Self::RoundRobin
            | Self::ConsistentHash
            | Self::Random
            | Self::WeightedRandom
            | Self::First => false,
        }
    }

    /// Whether it compares response times: only then is the clock read.
    pub const fn measures_time(self) -> bool {
        matches!(self, Self::PeakEwma | Self::LeastTime)
    }
}

/// How `consistent_hash` finds and bounds its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct HashPolicy {
    /// Which part of the request is hashed.
    pub key: HashKey,
    /// Bounded load (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with
    /// Bounded Loads", 2016): no target takes more than this factor times its fair
    /// share of the requests in flight. `None` leaves load unbounded; otherwise > 1.
    pub load_factor: Option<f64>,
}

/// The part of a request that decides which target it goes to.
///
/// A request without that part is treated as if the group used its client address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The first value of a request header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
    /// The path, without the query.
    Path,
    /// The client's address as trusted proxies report it; an IPv6 address by its /64.
    ClientIp,
    /// The request body, buffered up to `limit` bytes; a longer one is hashed by its
    /// first `limit` bytes. With `field`, only that top-level field of a JSON object.
    Body {
        /// Most bytes that are read before the target is chosen.
        limit: usize,
        /// A top-level field of a JSON body.
        field: Option<String>,
    },
}

impl Default for HashPolicy {
    fn default() -> Self {
        Self {
            key: HashKey::ClientIp,
            load_factor: None,
        }
    }
}
