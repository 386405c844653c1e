//! Starts the first replica and stops the last one, in groups with a lower bound of 0.
//!
//! A waiting request starts a replica at once, without waiting for a datapoint. The last replica
//! stops when target tracking is low and no request came, was in flight or waited for a whole
//! scale-in window. Until then one replica stays, whatever the metrics are.

use std::time::Duration;

use crate::config::{Metric, Timing};

use super::decision::{AlarmState, PolicyKind, PolicyResult};
use super::sample::Sample;

/// The metrics that are 0 while there are no requests.
pub(super) const METRICS: [Metric; 3] = [
    Metric::QueueLength,
    Metric::RequestsPerTarget,
    Metric::InFlightPerTarget,
];

/// Longest gap between samples in which no request can go unnoticed, unless two periods are
/// longer.
const MAX_GAP: Duration = Duration::from_secs(2);

/// Since when there have been no requests.
#[derive(Debug, Default)]
pub(super) struct ScaleToZero {
    idle_since: Option<Duration>,
    last: Option<Duration>,
    is_waiting: bool,
}

impl ScaleToZero {
    /// Records a sample.
    pub(super) fn record(&mut self, sample: &Sample, timing: &Timing) {
        let now = sample.now.uptime;
        let is_idle = METRICS
            .iter()
            .all(|metric| sample.value(metric) == Some(0.0));
        let gap = MAX_GAP.max(timing.period.saturating_mul(2));
        let is_continuous = self
            .last
            .is_some_and(|last| now.saturating_sub(last) <= gap);
        self.idle_since = match self.idle_since {
            _ if !is_idle => None,
            Some(since) if is_continuous => Some(since),
            _ => Some(now),
        };
        self.last = Some(now);
        self.is_waiting = sample
            .value(&Metric::QueueLength)
            .is_some_and(|waiting| waiting > 0.0);
    }

    /// The result for a group of `base` replicas with a lower bound of 0.
    pub(super) fn evaluate(&self, base: u32, now: Duration, timing: &Timing) -> PolicyResult {
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
        let mut result = PolicyResult::new(PolicyKind::Zero, "scale_to_zero".to_owned(), alarm);
        result.wants = wants;
        result.formula = formula;
        result
    }
}
