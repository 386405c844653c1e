//! Turns readings into datapoints: one for each period, of which the last ones are kept.
//!
//! A reading covers the time since the previous sample, so that samples which come a little
//! early or late leave no period empty, however short it is. A period in which a reading was
//! missing, or which no reading covers, has no datapoint.

use std::collections::VecDeque;
use std::time::Duration;

/// Longest time that one reading covers, unless two periods are longer. After a longer gap the
/// process was stopped or the machine suspended, and the load in between is unknown.
const MAX_COVER: Duration = Duration::from_secs(2);

/// The last datapoints of one metric.
#[derive(Debug)]
pub(super) struct Datapoints {
    period: Duration,
    keep: usize,
    points: VecDeque<Option<Datapoint>>,
    /// Periods that have ended, with a datapoint or without.
    ended: u64,
    /// Uptime of the first sample, at which the first period begins.
    first_sample: Option<Duration>,
    /// Uptime of the last sample.
    last_sample: Duration,
    open: OpenPeriod,
}

/// A metric over one period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Datapoint {
    /// Mean of the metric.
    pub(super) value: f64,
    /// Mean of the metric times the replicas that it was measured on.
    pub(super) measured: f64,
    /// Mean of the metric times all replicas in service: more than `measured` while new ones,
    /// which carry load already, warm up.
    pub(super) carried: f64,
    /// Mean of the replicas in service.
    pub(super) running: f64,
}

/// One reading with the replicas of that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// `None` if the metric is missing.
    pub(super) value: Option<f64>,
    /// Replicas that it is an average over.
    pub(super) measured: u32,
    /// Replicas in service.
    pub(super) running: u32,
}

/// Sums over the covered time of the period that has not ended.
#[derive(Clone, Copy, Debug, Default)]
struct OpenPeriod {
    covered: f64,
    value: f64,
    measured: f64,
    carried: f64,
    running: f64,
    is_missing: bool,
}

impl Datapoints {
    /// Datapoints over `period`, of which the last `keep` are kept.
    pub(super) fn new(period: Duration, keep: u32) -> Self {
        Self {
            period: period.max(Duration::from_millis(1)),
            keep: keep.max(1) as usize,
            points: VecDeque::new(),
            ended: 0,
            first_sample: None,
            last_sample: Duration::ZERO,
            open: OpenPeriod::default(),
        }
    }

    /// The length of a period.
    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// Changes how many datapoints are kept.
    pub(super) fn resize(&mut self, keep: u32) {
        self.keep = keep.max(1) as usize;
        self.trim();
    }

    /// Periods that have ended since the first sample.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    /// Records the reading of a sample. The first one only begins the first period, because the
    /// time that it covers is unknown.
    pub(super) fn record(&mut self, now: Duration, measurement: Measurement) {
        let Some(first) = self.first_sample else {
            (self.first_sample, self.last_sample) = (Some(now), now);
            return;
        };
        if now <= self.last_sample {
            return;
        }
        let covers = MAX_COVER.max(self.period.saturating_mul(2));
        let from = self.last_sample.max(now.saturating_sub(covers));
        self.last_sample = now;
        self.skip_to(self.period_at(from.saturating_sub(first)));
        let mut start = from.saturating_sub(first);
        let end = now.saturating_sub(first);
        while let Some(period_end) = self.period_end().filter(|period_end| *period_end <= end) {
            self.open.add(period_end.saturating_sub(start), measurement);
            self.close();
            start = period_end;
        }
        self.open.add(end.saturating_sub(start), measurement);
    }

    /// The last `count` datapoints, oldest first; `None` if there are fewer or one is missing.
    pub(super) fn last(
        &self,
        count: u32,
    ) -> Option<impl Iterator<Item = &Datapoint> + Clone + use<'_>> {
        let skipped = self.points.len().checked_sub(count as usize)?;
        let last = self.points.range(skipped..);
        last.clone()
            .all(Option::is_some)
            .then(|| last.filter_map(Option::as_ref))
    }

    /// The end of the open period, since the first sample.
    fn period_end(&self) -> Option<Duration> {
        let nanos = self.period.as_nanos() * (u128::from(self.ended) + 1);
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// The period of a time since the first sample.
    fn period_at(&self, time: Duration) -> u64 {
        (time.as_nanos() / self.period.as_nanos()) as u64
    }

    /// Ends the periods before `period`. Those further back than the kept ones are only counted.
    fn skip_to(&mut self, period: u64) {
        let far = period.saturating_sub(self.keep as u64 + 1);
        if self.ended < far {
            self.ended = far;
            self.open = OpenPeriod::default();
        }
        while self.ended < period {
            self.close();
        }
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.points.push_back(open.datapoint(self.period));
        self.ended += 1;
        self.trim();
    }

    fn trim(&mut self) {
        let excess = self.points.len().saturating_sub(self.keep);
        self.points.drain(..excess);
    }
}

impl OpenPeriod {
    fn add(&mut self, time: Duration, measurement: Measurement) {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let Some(value) = measurement.value else {
            self.is_missing = true;
            return;
        };
        self.covered += seconds;
        self.value += seconds * value;
        self.measured += seconds * value * f64::from(measurement.measured);
        self.carried += seconds * value * f64::from(measurement.running);
        self.running += seconds * f64::from(measurement.running);
    }

    /// The datapoint; `None` if less than half of the period is covered.
    fn datapoint(self, period: Duration) -> Option<Datapoint> {
        let is_known = !self.is_missing && self.covered >= period.as_secs_f64() / 2.0;
        is_known.then(|| Datapoint {
            value: self.value / self.covered,
            measured: self.measured / self.covered,
            carried: self.carried / self.covered,
            running: self.running / self.covered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn feed(history: &mut Datapoints, millis: u64, value: Option<f64>) {
        let measurement = Measurement {
            value,
            measured: 2,
            running: 3,
        };
        history.record(Duration::from_millis(millis), measurement);
    }

    fn values(history: &Datapoints) -> Vec<Option<f64>> {
        let value = |point: &Option<Datapoint>| point.map(|point| point.value);
        history.points.iter().map(value).collect()
    }

    #[test]
    fn a_datapoint_is_the_mean_of_a_period_that_begins_with_the_first_sample() {
        let mut history = Datapoints::new(4 * SECOND, 3);
        feed(&mut history, 10_000, Some(99.0));
        for (second, value) in (11..).zip([1.0, 2.0, 3.0, 6.0, 8.0, 8.0, 8.0]) {
            feed(&mut history, second * 1000, Some(value));
        }
        assert_eq!(values(&history), [Some(3.0)]);
        feed(&mut history, 18_000, Some(4.0));
        assert_eq!(values(&history), [Some(3.0), Some(7.0)]);
        let last = history.last(1).unwrap().next().unwrap();
        assert_eq!((last.measured, last.carried), (14.0, 21.0));
        assert!(history.last(3).is_none());
    }

    #[test]
    fn samples_that_come_early_or_late_leave_no_period_empty() {
        let mut history = Datapoints::new(SECOND, 60);
        let mut dice = fastrand::Rng::with_seed(1);
        for second in 5..200_u64 {
            // A tick is late by up to 0.9 s, and the next one is not.
            feed(&mut history, second * 1000 + dice.u64(0..900), Some(7.0));
        }
        let points = history.last(60).unwrap();
        assert!(points.clone().all(|point| (point.value - 7.0).abs() < 1e-9));
        assert_eq!(points.count(), 60);
    }

    #[test]
    fn a_missing_reading_leaves_its_own_period_empty_alone() {
        let mut history = Datapoints::new(2 * SECOND, 10);
        for second in 0..=8 {
            feed(&mut history, second * 1000, (second != 4).then_some(5.0));
        }
        let five = Some(5.0);
        assert_eq!(values(&history), [five, None, five, five]);
        assert!(history.last(2).is_some());
        assert!(history.last(3).is_none());
    }

    #[test]
    fn a_pause_leaves_its_periods_empty_however_long_it_is() {
        for pause in [10_000, 3_600_000, u64::from(u32::MAX) * 1000] {
            let mut history = Datapoints::new(SECOND, 5);
            for second in 0..=5 {
                feed(&mut history, second * 1000, Some(5.0));
            }
            let end = 5000 + pause;
            feed(&mut history, end, Some(6.0));
            let six = Some(6.0);
            assert_eq!(values(&history), [None, None, None, six, six], "{pause}");
            assert_eq!(history.ended(), end / 1000);
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_adds_nothing() {
        let mut history = Datapoints::new(SECOND, 5);
        for millis in [1000, 1500, 1500, 200, 2000] {
            feed(&mut history, millis, Some(4.0));
        }
        assert_eq!(values(&history), [Some(4.0)]);
    }

    #[test]
    fn samples_as_far_apart_as_periods_make_one_datapoint_each() {
        let mut history = Datapoints::new(60 * SECOND, 4);
        for minute in 0..=4 {
            feed(&mut history, minute * 60_000, Some(minute as f64));
        }
        let expected = [1.0, 2.0, 3.0, 4.0].map(Some);
        assert_eq!(values(&history), expected);
    }
}
