//! What a decision is made from.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Metric;

/// A moment, on both clocks: windows and cooldowns go by the monotonic one, schedules and
/// people by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since an arbitrary beginning; never goes back.
    pub uptime: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

/// What was measured of a group at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub now: Now,
    /// How many replicas there were.
    pub capacity: Capacity,
    /// One for each metric that a policy of the group wants.
    pub readings: Vec<(Metric, Reading)>,
}

/// One metric at one moment: its value over the time since the sample before, or why there
/// is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// In the metric's unit, of the replicas that are in service and not warming up.
    Value(f64),
    /// For people.
    Missing(String),
}

/// The replicas of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// How many there should be.
    pub desired: u32,
    /// How many are in service: a target, and healthy.
    pub running: u32,
    /// How many of `running` have been in service for less than the warm-up time, and those
    /// that are starting: they count as capacity, and not in the metric.
    pub warming: u32,
}
