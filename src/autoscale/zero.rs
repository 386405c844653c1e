//! From no replica to the first, and from the last to none; only where the bounds allow none.
//!
//! A request that waits wakes the group at once: no datapoint is waited for. The last replica
//! goes when target tracking is low and for a whole scale-in window nobody asked, was in
//! flight, or waited. While that is not so, one replica stays, whatever a metric says.

use std::time::Duration;

use crate::config::{Metric, Timing};

use super::decision::{AlarmState, Kind, Opinion};
use super::sample::{Reading, Sample};

/// What must be zero.
pub(super) const WATCHED: [Metric; 3] = [
    Metric::QueueLength,
    Metric::RequestsPerTarget,
    Metric::InFlightPerTarget,
];

/// Samples further apart than this leave something unseen, unless two periods are longer.
const MAX_GAP: Duration = Duration::from_secs(2);

/// Since when nobody asks.
#[derive(Debug, Default)]
pub(super) struct Zero {
    idle_since: Option<Duration>,
    last: Option<Duration>,
    is_waiting: bool,
}

impl Zero {
    /// Takes in a sample.
    pub(super) fn take(&mut self, sample: &Sample, timing: &Timing) {
        let now = sample.now.uptime;
        let value = |metric: &Metric| reading(sample, metric);
        let is_idle = WATCHED.iter().all(|metric| value(metric) == Some(0.0));
        let gap = MAX_GAP.max(timing.period.saturating_mul(2));
        let is_seen = self
            .last
            .is_some_and(|last| now.saturating_sub(last) <= gap);
        self.idle_since = match self.idle_since.filter(|_| is_seen) {
            _ if !is_idle => None,
            since => since.or(Some(now)),
        };
        self.last = Some(now);
        self.is_waiting = value(&Metric::QueueLength).is_some_and(|waiting| waiting > 0.0);
    }

    /// What it says with `base` replicas, if the bounds allow none.
    pub(super) fn opinion(&self, base: u32, now: Duration, timing: &Timing) -> Opinion {
        let window = timing.period.saturating_mul(timing.in_periods);
        let idle = self.idle_since.map(|since| now.saturating_sub(since));
        let is_idle = idle.is_some_and(|idle| idle >= window);
        let (alarm, wants, formula) = match base {
            0 if self.is_waiting => (AlarmState::High, Some(1), "requests wait".to_owned()),
            0 => (AlarmState::Ok, None, "no request waits".to_owned()),
            _ if is_idle => (
                AlarmState::Low,
                Some(0),
                format!("no request for {window:?}"),
            ),
            _ => (
                AlarmState::Ok,
                Some(1),
                format!("requests in the last {window:?}"),
            ),
        };
        let mut opinion = Opinion::new(Kind::Zero, "scale_to_zero".to_owned(), alarm);
        opinion.wants = wants;
        opinion.formula = formula;
        opinion
    }
}

/// The value of a metric in a sample; none if it is missing, or nothing that a metric can be.
pub(super) fn reading(sample: &Sample, wanted: &Metric) -> Option<f64> {
    let of = |(metric, reading): &(Metric, Reading)| match reading {
        Reading::Value(value) if metric == wanted => Some(*value),
        Reading::Value(_) | Reading::Missing(_) => None,
    };
    let value = sample.readings.iter().find_map(of)?;
    (value.is_finite() && value >= 0.0).then_some(value)
}
