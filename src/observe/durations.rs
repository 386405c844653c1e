//! A histogram of times, and quantiles of what was counted between two readings of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets that are exposed, in microseconds: from a local hop to ALB's longest
/// default timeout.
const BUCKETS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 60_000_000,
];

/// Native histograms have four buckets between two powers of two: the one of index `i` ends at
/// 2^(i/4) seconds (schema 2 of Prometheus).
pub(super) const NATIVE_SCHEMA: i32 = 2;

/// Native buckets end at 2^-14 (61 µs) to 2^6 seconds. Shorter times are in the zero bucket, and longer
/// ones in the last.
const FIRST_NATIVE: i32 = -14 * 4;
const LAST_NATIVE: i32 = 6 * 4;
const NATIVE: usize = (LAST_NATIVE - FIRST_NATIVE + 1) as usize;

/// 2^(1/4), 2^(2/4) and 2^(3/4).
const ROOTS: [f64; 4] = [
    1.0,
    1.189_207_115_002_721,
    std::f64::consts::SQRT_2,
    1.681_792_830_507_429,
];

/// Upper bounds of what is counted, in nanoseconds: those of the buckets that are exposed, and of the
/// native ones. A quantile is found between two of them.
const BOUNDS: [u64; BUCKETS.len() + NATIVE] = bounds();

/// One more, for times beyond the last bound.
const COUNTERS: usize = BOUNDS.len() + 1;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The bound of the native bucket at this place.
const fn native(place: usize) -> u64 {
    let octave = NANOS_PER_SECOND << (place / 4);
    (octave as f64 / (1 << (-FIRST_NATIVE / 4)) as f64 * ROOTS[place % 4]) as u64
}

/// Both kinds of bounds, in order.
const fn bounds() -> [u64; BUCKETS.len() + NATIVE] {
    let mut bounds = [0; BUCKETS.len() + NATIVE];
    let (mut bucket, mut place) = (0, 0);
    while bucket + place < bounds.len() {
        let is_bucket =
            place == NATIVE || (bucket < BUCKETS.len() && BUCKETS[bucket] * 1_000 <= native(place));
        if is_bucket {
            bounds[bucket + place] = BUCKETS[bucket] * 1_000;
            bucket += 1;
        } else {
            bounds[bucket + place] = native(place);
            place += 1;
        }
    }
    bounds
}

/// The index of a time's counter. A bound belongs to the bucket below it.
fn counter(time: Duration) -> usize {
    let nanos = nanos(time);
    BOUNDS.partition_point(|bound| *bound < nanos)
}

/// Five hundred years are the most.
fn nanos(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(NANOS_PER_SECOND);
    seconds.saturating_add(time.subsec_nanos().into())
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND as f64
}

/// A histogram at one moment. Buckets do not accumulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    counts: [u64; COUNTERS],
    pub(super) sum: Duration,
}

/// A histogram that one thread writes and others read.
#[derive(Debug)]
pub(super) struct LiveDurations {
    counts: [AtomicU64; COUNTERS],
    nanos: AtomicU64,
}

impl LiveDurations {
    /// Counts a time. Only for the thread that owns the histogram.
    pub(super) fn count(&self, time: Duration) {
        add(&self.counts[counter(time)], 1);
        add(&self.nanos, nanos(time));
    }

    pub(super) fn read(&self) -> Durations {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Durations {
            counts: std::array::from_fn(|i| load(&self.counts[i])),
            sum: Duration::from_nanos(load(&self.nanos)),
        }
    }
}

impl Default for LiveDurations {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            nanos: AtomicU64::new(0),
        }
    }
}

/// Adds to a counter that only this thread writes: a plain load and store. `fetch_add` would lock
/// the bus although no other thread writes.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: [0; COUNTERS],
            sum: Duration::ZERO,
        }
    }
}

impl Durations {
    /// Counts a time.
    pub fn count(&mut self, time: Duration) {
        self.counts[counter(time)] += 1;
        self.sum += time;
    }

    /// How many times were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum += other.sum;
    }

    /// What was counted since an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i])),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// The quantile of `share` (0.95: the 95th percentile), in seconds; `None` if nothing was
    /// counted.
    ///
    /// Interpolated within a bucket, as Prometheus' `histogram_quantile` does. Times beyond the
    /// last bound count as that bound.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * total as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in BOUNDS.iter().zip(self.counts) {
            let (bound, count) = (seconds(*bound), count as f64);
            if count > 0.0 && below + count >= rank {
                return Some(lower + (bound - lower) * (rank - below) / count);
            }
            below += count;
            lower = bound;
        }
        Some(lower)
    }

    /// The buckets that are exposed, with their upper bounds; the last one is infinite.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BUCKETS.iter().map(|micros| seconds(micros * 1_000));
        let mut buckets: Vec<_> = bounds
            .chain([f64::INFINITY])
            .map(|bound| (bound, 0))
            .collect();
        for (bound, count) in self.counted() {
            let index = BUCKETS.partition_point(|micros| micros * 1_000 < bound);
            buckets[index].1 += count;
        }
        buckets
    }

    /// The same times in native buckets.
    pub(super) fn native(&self) -> NativeBuckets {
        let mut all = NativeBuckets {
            zero_threshold: seconds(native(0)),
            zero_count: 0,
            buckets: Vec::new(),
        };
        for (bound, count) in self.counted() {
            let mut ends = (FIRST_NATIVE..=LAST_NATIVE).zip((0..NATIVE).map(native));
            let index = ends.find(|(_, end)| bound <= *end);
            let index = index.map_or(LAST_NATIVE + 1, |(index, _)| index);
            match all.buckets.last_mut() {
                _ if index == FIRST_NATIVE => all.zero_count += count,
                Some(last) if last.0 == index => last.1 += count,
                _ => all.buckets.push((index, count)),
            }
        }
        all
    }

    /// What is not zero, with the upper bound of each counter in nanoseconds.
    fn counted(&self) -> impl Iterator<Item = (u64, u64)> {
        let bounds = BOUNDS.into_iter().chain([u64::MAX]);
        bounds.zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

/// A native histogram: no bucket of it is empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NativeBuckets {
    /// What is not longer is in the zero bucket, in seconds.
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    /// Index and count of each, in order.
    pub(super) buckets: Vec<(i32, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Durations {
        let mut durations = Durations::default();
        for millis in millis {
            durations.count(Duration::from_millis(millis));
        }
        durations
    }

    #[test]
    fn every_bucket_ends_at_its_bound() {
        assert!(BOUNDS.is_sorted());
        for (bucket, bound) in BUCKETS.iter().enumerate() {
            let at = Duration::from_micros(*bound);
            let mut durations = Durations::default();
            durations.count(at);
            durations.count(at + Duration::from_nanos(1));
            let shown = durations.buckets();
            assert_eq!(shown.len(), BUCKETS.len() + 1);
            assert_eq!((shown[bucket].1, shown[bucket + 1].1), (1, 1), "{bound}");
        }
    }

    #[test]
    fn a_quantile_is_near_the_exact_value() {
        let durations = of(1..=1000);
        for (share, expected) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99)] {
            let quantile = durations.quantile(share).unwrap();
            assert!(
                (quantile / expected - 1.0_f64).abs() < 0.05,
                "{share}: {quantile}"
            );
        }
        let one = of([120]).quantile(0.95).unwrap();
        assert!((0.1..=0.1375).contains(&one), "{one}");
    }

    #[test]
    fn a_quantile_of_nothing_is_none_and_beyond_the_last_bound_is_the_bound() {
        assert_eq!(Durations::default().quantile(0.95), None);
        assert_eq!(of([90_000]).quantile(0.95), Some(64.0));
    }

    #[test]
    fn the_time_between_two_readings_stands_alone() {
        let mut now = of([1; 100]);
        let earlier = now.clone();
        now.add(&of([400; 10]));
        let between = now.since(&earlier);
        assert_eq!(between.total(), 10);
        assert!(between.quantile(0.5) > Some(0.25));
        assert_eq!(earlier.since(&now).total(), 0, "never below zero");
    }
}
