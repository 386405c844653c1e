//! Bounds that several keys have, and why they end there.

use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(in crate::config) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Deadlines: below a millisecond nothing can answer, above a day it is a mistake.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// Phases, cooldowns and waiting times that may be left out: zero skips them.
pub(in crate::config) const PHASE: RangeInclusive<Duration> = Duration::ZERO..=DAY;

/// Intervals of checks: below 10 ms the checks are the load.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;

/// Between two lists of replicas, each of which may start a process.
pub(super) const LIST_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;

/// Sessions, ALB's.
pub(super) const SESSION: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);

/// Ports that can be connected to.
pub(super) const PORT: RangeInclusive<i64> = 1..=65_535;

/// Weights, ALB's.
pub(super) const WEIGHT: RangeInclusive<i64> = 0..=999;

/// Requests of a rate limit and its burst: in the shortest time they come a nanosecond apart, the
/// least a clock can tell.
pub(super) const RATE: RangeInclusive<i64> = 1..=1_000_000;

/// Least bytes of a body per second: beyond a megabyte it is no slow client that is meant.
pub(super) const BODY_RATE: RangeInclusive<i64> = 0..=1_000_000;

/// Characters of the token of the admin listener: 16 cannot be guessed, 1024 fit in a head.
pub(super) const TOKEN: RangeInclusive<usize> = 16..=1024;

/// Characters of a token that another service asks for: its length is that service's choice.
pub(super) const OTHER_TOKEN: RangeInclusive<usize> = 1..=1024;

/// Most replicas of one group on one machine.
const LOCAL_REPLICAS: i64 = 256;

/// Most replicas of one group where an engine places them.
pub(in crate::config) const REPLICAS: i64 = 10_000;

/// How many replicas there may be, on one machine or on those of an engine.
pub(in crate::config) const fn most_replicas(is_local: bool) -> i64 {
    if is_local { LOCAL_REPLICAS } else { REPLICAS }
}

/// Datapoints in a row.
pub(super) const PERIODS: RangeInclusive<i64> = 1..=3600;

/// Seconds in a datapoint of an alarm: samples come once a second.
pub(super) const PERIOD: RangeInclusive<Duration> = Duration::from_secs(1)..=HOUR;

/// The most a metric may be, and the negative of the least threshold.
pub(in crate::config) const METRIC: f64 = 1e12;
