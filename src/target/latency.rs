//! How long a target takes to the head of its response, as two averages of the same
//! samples: one for `peak_ewma`, one for `least_time`.
//!
//! Pure: every time is an argument. Plain loads and stores: of two responses on two workers
//! at the same moment one may get lost, and a reader may see one number of the one and one
//! of the other. Both are averages a moment old; the next response puts them right.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In which the peak comes down to 1/e of its distance to the samples (linkerd's default).
const DECAY_NANOS: f64 = 10e9;

/// What a failure counts as (linkerd's default): by the time it took, a target that fails
/// at once would be the fastest of all.
const PENALTY: Duration = Duration::from_secs(5);

/// A new sample is one part in so many of the mean (nginx's).
const MEAN_PARTS: u64 = 20;

/// With fewer responses than this a target is still tried out: the first ones measure new
/// connections and cold caches, and one slow response must not decide for seconds.
const TRIALS: u64 = 4;

/// Without a sample the mean halves every 2^33 ns, 8.6 s, so that a slow target is tried
/// again now and then: nginx's `fail_timeout` of 10 s, as a shift.
const HALVING_SHIFT: u32 = 33;

/// The times of one target to the head of a response, as moving averages. Empty at first.
#[derive(Debug, Default)]
pub struct Latency {
    /// Nanoseconds, as the bits of an `f64`: at many responses per second each moves it by
    /// less than one.
    peak: AtomicU64,
    /// Nanoseconds.
    mean: AtomicU64,
    /// When the last sample came; 0 is never.
    at: AtomicU64,
    /// Samples so far; counted to [`MEAN_PARTS`].
    samples: AtomicU64,
}

impl Latency {
    /// Records a response, or a failure in place of one. The time counts from `begun`, when
    /// the target was picked: connecting and sending the request are part of the wait.
    pub fn record(&self, begun: Instant, now: Instant, failed: bool) {
        let elapsed = now.saturating_duration_since(begun);
        let elapsed = if failed {
            elapsed.max(PENALTY)
        } else {
            elapsed
        };
        let sample = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let now = Moment::from(now);
        let samples = (self.samples.load(Ordering::Relaxed) + 1).min(MEAN_PARTS);
        let (peak, mean) = match self.at.load(Ordering::Relaxed) {
            0 => (sample as f64, sample),
            at => (
                self.next_peak(sample as f64, now.nanos_since(at)),
                self.next_mean(sample, samples),
            ),
        };
        self.peak.store(peak.to_bits(), Ordering::Relaxed);
        self.mean.store(mean, Ordering::Relaxed);
        self.at.store(now.0, Ordering::Relaxed);
        self.samples.store(samples, Ordering::Relaxed);
    }

    /// A slower sample counts at once, a faster one by how long ago the last was
    /// (`tower::load::PeakEwma`).
    fn next_peak(&self, sample: f64, age: u64) -> f64 {
        let peak = f64::from_bits(self.peak.load(Ordering::Relaxed));
        if sample > peak {
            sample
        } else {
            sample + (peak - sample) * decay(age)
        }
    }

    /// The plain average of the first samples, then a moving one.
    fn next_mean(&self, sample: u64, samples: u64) -> u64 {
        let mean = self.mean.load(Ordering::Relaxed);
        mean - mean / samples + sample / samples
    }

    /// Whether there have been enough responses to compare these times with those of others.
    #[inline] // read for every member at every pick
    pub fn is_tried_out(&self) -> bool {
        self.samples.load(Ordering::Relaxed) >= TRIALS
    }

    /// The peak in nanoseconds; it goes to 0 while there are no samples, so that a target
    /// that was slow is tried again. `None` if there has been none.
    #[inline] // read for every member at every pick
    pub fn peak(&self, now: Moment) -> Option<f64> {
        let at = self.at.load(Ordering::Relaxed);
        let peak = f64::from_bits(self.peak.load(Ordering::Relaxed));
        (at != 0).then(|| peak * decay(now.nanos_since(at)))
    }

    /// The mean in nanoseconds; it halves every 8.6 s without a sample. `None` if there has
    /// been no sample.
    #[inline] // read for every member at every pick
    pub fn mean(&self, now: Moment) -> Option<u64> {
        let at = self.at.load(Ordering::Relaxed);
        let halvings = now.nanos_since(at) >> HALVING_SHIFT;
        let mean = self.mean.load(Ordering::Relaxed) >> halvings.min(63);
        (at != 0).then_some(mean)
    }
}

/// What is left of a peak after so many nanoseconds.
fn decay(nanos: u64) -> f64 {
    (-(nanos as f64) / DECAY_NANOS).exp()
}

/// An instant as a number, which an atomic can hold.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Moment {
    fn nanos_since(self, earlier: u64) -> u64 {
        self.0.saturating_sub(earlier)
    }
}

impl From<Instant> for Moment {
    /// In nanoseconds before or after the first instant that was converted, which lies in
    /// the middle: 146 years to either side, and never 0.
    fn from(instant: Instant) -> Self {
        const MIDDLE: u64 = 1 << 62;
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let first = *FIRST.get_or_init(|| instant);
        let nanos = |span: Duration| span.as_nanos() as u64;
        Self(match instant.checked_duration_since(first) {
            Some(later) => MIDDLE.saturating_add(nanos(later)),
            None => MIDDLE
                .saturating_sub(nanos(first.duration_since(instant)))
                .max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A latency and a clock to feed it by.
    struct Fed {
        latency: Latency,
        now: Instant,
    }

    impl Fed {
        fn new() -> Self {
            Self {
                latency: Latency::default(),
                now: Instant::now(),
            }
        }

        fn after(&mut self, pause: Duration, elapsed: Duration, failed: bool) {
            self.now += pause;
            let begun = self.now.checked_sub(elapsed).unwrap();
            self.latency.record(begun, self.now, failed);
        }

        fn peak(&self, later: Duration) -> f64 {
            self.latency.peak((self.now + later).into()).unwrap() / 1e6
        }

        fn mean(&self, later: Duration) -> u64 {
            self.latency.mean((self.now + later).into()).unwrap()
        }
    }

    #[test]
    fn nothing_is_known_before_the_first_answer() {
        let latency = Latency::default();
        assert!(latency.peak(Instant::now().into()).is_none());
        assert!(latency.mean(Instant::now().into()).is_none());
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_by_the_clock() {
        let mut fed = Fed::new();
        fed.after(SECOND, 10 * MS, false);
        fed.after(SECOND, 100 * MS, false);
        assert!((fed.peak(Duration::ZERO) - 100.0).abs() < 0.01);
        // 1/e of the way to the sample is left after 10 s, however many samples tell of it.
        for _ in 0..10_000 {
            fed.after(MS, 10 * MS, false);
        }
        let expected = 10.0 + 90.0 / std::f64::consts::E;
        assert!((fed.peak(Duration::ZERO) - expected).abs() < 0.01);
        // Without samples it goes to nothing.
        let left = fed.peak(10 * SECOND) / fed.peak(Duration::ZERO);
        assert!((left - 1.0 / std::f64::consts::E).abs() < 0.001);
    }

    #[test]
    fn a_mean_moves_by_a_twentieth_and_halves_without_samples() {
        let mut fed = Fed::new();
        for _ in 0..20 {
            fed.after(SECOND, 40 * MS, false);
        }
        fed.after(SECOND, 20 * MS, false);
        assert_eq!(fed.mean(Duration::ZERO), 39_000_000);
        assert_eq!(fed.mean(8 * SECOND), 39_000_000);
        assert_eq!(fed.mean(9 * SECOND), 19_500_000);
        assert_eq!(fed.mean(18 * SECOND), 9_750_000);
        assert_eq!(fed.mean(1_000_000 * SECOND), 0);
    }

    #[test]
    fn the_first_answers_count_alike() {
        let mut fed = Fed::new();
        for elapsed in [70 * MS, 10 * MS, 10 * MS, 10 * MS] {
            fed.after(SECOND, elapsed, false);
        }
        assert_eq!(fed.mean(Duration::ZERO), 25_000_000);
    }

    #[test]
    fn a_failure_counts_as_five_seconds_or_as_long_as_it_took() {
        let mut fed = Fed::new();
        fed.after(SECOND, MS, true);
        assert!((fed.peak(Duration::ZERO) - 5000.0).abs() < 0.01);
        fed.after(SECOND, 30 * SECOND, true);
        assert!((fed.peak(Duration::ZERO) - 30_000.0).abs() < 0.01);
    }

    #[test]
    fn instants_before_the_first_one_keep_their_distance() {
        let now = Instant::now();
        let _first = Moment::from(now);
        let (before, after) = (now.checked_sub(SECOND).unwrap(), now + SECOND);
        let (before, after) = (Moment::from(before), Moment::from(after));
        assert_eq!(after.nanos_since(before.0), 2_000_000_000);
        assert_eq!(before.nanos_since(after.0), 0);
    }
}
