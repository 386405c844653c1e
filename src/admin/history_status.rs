//! `/api/v1/history`: the last hour as columns, which are the lines of charts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::{GroupPoint, History, Load, POINT_INTERVAL, Point};
use crate::model::TargetGroupId;

/// The last hour, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryStatus {
    /// From one point to the next, in seconds.
    pub interval_seconds: f64,
    /// When each point was taken, oldest first. All columns have as many values.
    pub at: Vec<Timestamp>,
    /// Of the whole process, what Weir answers itself included.
    pub all: LoadHistory,
    /// The groups of these points, by name.
    pub groups: BTreeMap<String, GroupHistory>,
}

/// Requests, a value for each point: of the time since the point before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadHistory {
    /// Requests that have ended, within a second; `None` while there was no such group.
    pub requests: Vec<Option<f64>>,
    /// Those of them that were answered with 5xx.
    pub errors: Vec<Option<f64>>,
    /// The median of their response times, in milliseconds; `None` without requests.
    pub p50_ms: Vec<Option<f64>>,
    /// 95 of 100 were faster.
    pub p95_ms: Vec<Option<f64>>,
    /// 99 of 100 were faster.
    pub p99_ms: Vec<Option<f64>>,
    /// Requests on targets at that moment.
    pub in_flight: Vec<Option<u32>>,
}

/// One group, a value for each point; `None` while there was no such group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupHistory {
    /// Its requests.
    #[serde(flatten)]
    pub load: LoadHistory,
    /// Targets that are healthy.
    pub healthy: Vec<Option<u32>>,
    /// Replicas that there should be; `None` without replicas.
    pub desired: Vec<Option<u32>>,
    /// Replicas that accept connections.
    pub running: Vec<Option<u32>>,
    /// The metrics of its policies, by name.
    pub metrics: BTreeMap<String, MetricHistory>,
}

/// One metric, a value for each point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricHistory {
    /// Its value; `None` while it is missing.
    pub values: Vec<Option<f64>>,
    /// What its policy keeps it at; `None` of one that no target tracking has.
    pub targets: Vec<Option<f64>>,
}

impl HistoryStatus {
    pub(super) fn of(history: &History, time: Duration) -> Self {
        let points = history.last(time);
        let mut status = Self {
            interval_seconds: POINT_INTERVAL.as_secs_f64(),
            ..Self::default()
        };
        for (index, point) in points.iter().enumerate() {
            status.add(index, point);
        }
        for group in status.groups.values_mut() {
            group.fill(points.len());
        }
        status
    }

    fn add(&mut self, index: usize, point: &Point) {
        self.at.push(point.at);
        self.all.add(&point.load);
        for (TargetGroupId(name), point) in &point.groups {
            let group = self.groups.entry(name.to_string()).or_default();
            group.fill(index);
            group.add(index, point);
        }
    }
}

impl LoadHistory {
    fn add(&mut self, load: &Load) {
        let [p50, p95, p99] = load
            .times
            .map(|time| time.map(|time| rounded(time * 1000.0)));
        self.requests.push(Some(rounded(load.requests)));
        self.errors.push(Some(rounded(load.errors)));
        self.p50_ms.push(p50);
        self.p95_ms.push(p95);
        self.p99_ms.push(p99);
        self.in_flight.push(Some(load.in_flight));
    }

    fn fill(&mut self, points: usize) {
        let columns = [
            &mut self.requests,
            &mut self.errors,
            &mut self.p50_ms,
            &mut self.p95_ms,
            &mut self.p99_ms,
        ];
        for column in columns {
            column.resize(points, None);
        }
        self.in_flight.resize(points, None);
    }
}

impl GroupHistory {
    fn add(&mut self, index: usize, point: &GroupPoint) {
        self.load.add(&point.load);
        self.healthy.push(Some(point.healthy));
        self.desired.push(point.desired);
        self.running.push(point.running);
        for (name, value, target) in &point.metrics {
            let metric = self.metrics.entry(name.clone()).or_default();
            metric.fill(index);
            metric.values.push(value.map(rounded));
            metric.targets.push(*target);
        }
    }

    /// Makes all columns so long: the group was not there at the last points.
    fn fill(&mut self, points: usize) {
        self.load.fill(points);
        for column in [&mut self.healthy, &mut self.desired, &mut self.running] {
            column.resize(points, None);
        }
        for metric in self.metrics.values_mut() {
            metric.fill(points);
        }
    }
}

impl MetricHistory {
    fn fill(&mut self, points: usize) {
        self.values.resize(points, None);
        self.targets.resize(points, None);
    }
}

/// To a thousandth, which is more than a chart shows.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
