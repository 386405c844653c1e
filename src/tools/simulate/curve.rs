//! The requests of each second.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Longest load, seconds: a week.
pub const MAX_SECONDS: usize = 7 * 86_400;

/// Highest load that is accepted, requests per second.
pub const MAX_RATE: f64 = 1e9;

/// A load over time: requests per second, for each second of 1 to [`MAX_SECONDS`].
#[derive(Clone, Debug, PartialEq)]
pub struct LoadCurve {
    start: Option<Timestamp>,
    rates: Vec<f64>,
}

impl LoadCurve {
    /// Creates a curve; `None` if its length is not within 1 to [`MAX_SECONDS`]. `start` is the
    /// time of the first second, if that is known.
    pub fn new(start: Option<Timestamp>, rates: Vec<f64>) -> Option<Self> {
        let is_legal = (1..=MAX_SECONDS).contains(&rates.len());
        is_legal.then_some(Self { start, rates })
    }

    /// The time of the first second, if that is known.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// The requests of each second.
    pub fn rates(&self) -> &[f64] {
        &self.rates
    }

    /// The length in seconds.
    pub fn seconds(&self) -> usize {
        self.rates.len()
    }

    /// Requests of the busiest second.
    pub fn peak(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// The sum of all requests.
    pub fn total(&self) -> f64 {
        self.rates.iter().sum()
    }

    /// Appends seconds without load, up to [`MAX_SECONDS`] in total.
    #[must_use]
    pub fn then_silence(mut self, seconds: usize) -> Self {
        let length = self.rates.len().saturating_add(seconds).min(MAX_SECONDS);
        self.rates.resize(length, 0.0);
        self
    }
}

/// Counts requests by the second of their times, which come roughly in order.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// The Unix second of the front of `counts`.
    first: i64,
    counts: VecDeque<f64>,
}

impl Counter {
    /// Adds `count` requests at a time. Fails if the time is further from the others than a curve
    /// can be long.
    pub(super) fn add(&mut self, at: Timestamp, count: f64) -> Result<(), String> {
        let second = at.as_millisecond().div_euclid(1000);
        if self.counts.is_empty() {
            self.first = second;
            self.counts.push_back(0.0);
        }
        let last = self
            .first
            .saturating_add_unsigned(self.counts.len() as u64 - 1);
        let span = last.max(second).abs_diff(self.first.min(second));
        if span >= MAX_SECONDS as u64 {
            let days = MAX_SECONDS / 86_400;
            return Err(format!(
                "{at} is more than {days} days away from requests before it"
            ));
        }
        while second < self.first {
            self.counts.push_front(0.0);
            self.first -= 1;
        }
        let index = (second - self.first) as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0.0);
        }
        self.counts[index] += count;
        Ok(())
    }

    /// The counted requests; `None` if there are none.
    pub(super) fn finish(self) -> Option<LoadCurve> {
        let start = Timestamp::from_second(self.first).ok();
        LoadCurve::new(start, self.counts.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    #[test]
    fn requests_count_in_the_second_they_came_in_whatever_their_order() {
        let mut counter = Counter::default();
        for millisecond in [10_999, 12_000, 11_000, 8_500, 12_001] {
            counter.add(at(millisecond), 1.0).unwrap();
        }
        let curve = counter.finish().unwrap();
        assert_eq!(curve.start(), Some(at(8_000)));
        assert_eq!(curve.rates(), [1.0, 0.0, 1.0, 1.0, 2.0]);
        assert_eq!((curve.peak(), curve.total()), (2.0, 5.0));
    }

    #[test]
    fn times_before_the_epoch_are_counted() {
        let mut counter = Counter::default();
        counter.add(at(-1), 1.0).unwrap();
        counter.add(at(1), 1.0).unwrap();
        let curve = counter.finish().unwrap();
        assert_eq!((curve.start(), curve.seconds()), (Some(at(-1000)), 2));
    }

    #[test]
    fn one_wrong_clock_does_not_take_all_memory() {
        let mut counter = Counter::default();
        counter.add(at(0), 1.0).unwrap();
        let week = 604_800_000;
        assert!(counter.add(at(week - 1), 1.0).is_ok());
        for far in [week, i64::from(u32::MAX) * 1000, -1, -week] {
            let problem = counter.add(at(far), 1.0).unwrap_err();
            assert!(problem.contains("more than 7 days"), "{problem}");
        }
        assert_eq!(counter.finish().unwrap().seconds(), MAX_SECONDS);
    }

    #[test]
    fn a_curve_has_a_first_and_a_last_second() {
        assert_eq!(LoadCurve::new(None, Vec::new()), None);
        assert_eq!(LoadCurve::new(None, vec![0.0; MAX_SECONDS + 1]), None);
        let curve = LoadCurve::new(None, vec![3.0]).unwrap().then_silence(2);
        assert_eq!(curve.rates(), [3.0, 0.0, 0.0]);
        assert_eq!(curve.then_silence(usize::MAX).seconds(), MAX_SECONDS);
    }
}
