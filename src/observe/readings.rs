//! What each target has answered, and readings of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use super::durations::Durations;
use crate::model::TargetGroupId;

/// Classes of status codes, 1xx to 5xx, and a class for clients which left without a response.
pub(super) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "client_gone"];

/// A target group and the address of a target.
pub type TargetName = (String, String);

/// What a target has answered, or several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetTraffic {
    /// Requests by class of their status, in the order of [`Self::classes`]; connections of
    /// protocol `tcp` count as `client_gone`.
    pub(super) counts: [u64; CLASSES.len()],
    /// How long they took.
    pub durations: Durations,
}

/// By target group, if there is one, and reason.
type FaultCounts = BTreeMap<(Option<TargetGroupId>, &'static str), u64>;

/// What went wrong, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Requests that no target answered to the end, by target group, if one was chosen, and reason.
    pub failures: FaultCounts,
    /// Retries by target group and reason; `budget_exhausted` counts those that were not made.
    pub retries: FaultCounts,
    /// Lines of the log that were dropped.
    pub dropped_lines: u64,
}

/// The counters at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) traffic: HashMap<TargetName, TargetTraffic>,
    pub(super) faults: Faults,
}

/// The last readings.
#[derive(Debug, Default)]
pub(super) struct Readings(pub(super) VecDeque<Reading>);

impl Faults {
    /// What came after an earlier reading; what did not grow is left out.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            failures: grown(&self.failures, &earlier.failures),
            retries: grown(&self.retries, &earlier.retries),
            dropped_lines: self.dropped_lines.saturating_sub(earlier.dropped_lines),
        }
    }
}

fn grown(now: &FaultCounts, earlier: &FaultCounts) -> FaultCounts {
    let grown = now.iter().map(|(key, count)| {
        let before = earlier.get(key).copied().unwrap_or_default();
        (key.clone(), count.saturating_sub(before))
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

impl TargetTraffic {
    /// Classes with requests: `2xx`, or `client_gone` for clients which left without a response.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = CLASSES.into_iter().zip(self.counts);
        counted.filter(|(_, count)| *count > 0)
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Requests that were answered with 5xx.
    pub fn errors(&self) -> u64 {
        self.counts[4]
    }

    /// Adds what another target has answered.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.durations.add(&other.durations);
    }

    /// What was answered since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i])),
            durations: self.durations.since(&earlier.durations),
        }
    }
}
