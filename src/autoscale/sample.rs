//! The input of a decision.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Metric;

/// One time on both clocks: windows and cooldowns use the monotonic one, schedules and records
/// the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Time since an arbitrary start; never decreases.
    pub uptime: Duration,
    /// Wall-clock time.
    pub wall: Timestamp,
}

/// The measurements of a group at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The time of the measurements.
    pub now: Now,
    /// The replicas at that time.
    pub capacity: Capacity,
    /// One for each metric of the group's policies.
    pub readings: Vec<(Metric, Reading)>,
}

impl Sample {
    /// The value of a metric; `None` if it is missing, negative or not finite.
    pub(super) fn value(&self, wanted: &Metric) -> Option<f64> {
        self.readings
            .iter()
            .find_map(|(metric, reading)| match reading {
                Reading::Value(value) if metric == wanted => Some(*value),
                Reading::Value(_) | Reading::Missing(_) => None,
            })
            .filter(|value| value.is_finite() && *value >= 0.0)
    }
}

/// The value of a metric over the time since the previous sample, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// In the metric's unit, of the replicas that are in service and not warming up.
    Value(f64),
    /// The cause, as a phrase for messages.
    Missing(String),
}

/// The replica counts of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capacity {
    /// Replicas that there should be.
    pub desired: u32,
    /// Replicas in service: registered as a target, and healthy.
    pub running: u32,
    /// Replicas in service for less than the warm-up time, plus replicas that are starting. They
    /// count as capacity and not in the metrics.
    pub warming: u32,
}
