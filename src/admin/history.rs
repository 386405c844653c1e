//! The last hour, as points for charts: so that a page that is opened after a fault shows what
//! came before it.
//!
//! In memory, bounded, and taken only while there is an admin listener. Points are kept as they
//! are taken and told as columns, of which each is a line of a chart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::TargetGroupId;
use crate::observe::TargetTraffic;

/// From one point to the next.
pub(super) const POINT_INTERVAL: Duration = Duration::from_secs(5);

/// Points that are kept: an hour.
pub(super) const POINTS: usize = 720;

/// The points that are kept.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    points: VecDeque<Point>,
    /// What each group had answered at the last point, and when that was.
    last: Option<(Instant, HashMap<String, TargetTraffic>)>,
}

/// What happened between a point and the one before it.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    /// Of the whole process.
    pub(super) load: Load,
    pub(super) groups: Vec<(TargetGroupId, GroupPoint)>,
}

#[derive(Clone, Debug)]
pub(super) struct GroupPoint {
    pub(super) load: Load,
    pub(super) healthy: u32,
    pub(super) desired: Option<u32>,
    pub(super) running: Option<u32>,
    /// The value of each metric, and the target of its policy.
    pub(super) metrics: Vec<(String, Option<f64>, Option<f64>)>,
}

#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Within a second.
    pub(super) requests: f64,
    /// Of them, those that were answered with 5xx.
    pub(super) errors: f64,
    /// The median and the 95th and 99th percentile of their response times, in seconds.
    pub(super) times: [Option<f64>; 3],
    pub(super) in_flight: u32,
}

impl History {
    /// Keeps a point, if the last is old enough: `make` gets the time since then, and what each
    /// group has answered in it.
    pub(super) fn add(
        &self,
        now: Instant,
        traffic: HashMap<String, TargetTraffic>,
        make: impl FnOnce(Duration, &HashMap<String, TargetTraffic>) -> Point,
    ) {
        let mut kept = self.lock();
        let last = kept.last.as_ref();
        let age = last.map(|(at, _)| now.saturating_duration_since(*at));
        // Two admin listeners may be there for a while.
        if age.is_some_and(|age| age < POINT_INTERVAL / 2) {
            return;
        }
        let earlier = kept.last.replace((now, traffic.clone()));
        // The first reading is what later ones are compared with.
        let (Some(interval), Some((_, earlier))) = (age, earlier) else {
            return;
        };
        if kept.points.len() >= POINTS {
            kept.points.pop_front();
        }
        kept.points
            .push_back(make(interval, &between(traffic, &earlier)));
    }

    /// The points of the last minutes, oldest first.
    pub(super) fn last(&self, time: Duration) -> Vec<Point> {
        let points = time.as_secs().div_ceil(POINT_INTERVAL.as_secs());
        let kept = self.lock();
        let left_out = kept
            .points
            .len()
            .saturating_sub(usize::try_from(points).unwrap_or(usize::MAX));
        kept.points.iter().skip(left_out).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic leaves every point whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was answered between two readings.
fn between(
    now: HashMap<String, TargetTraffic>,
    earlier: &HashMap<String, TargetTraffic>,
) -> HashMap<String, TargetTraffic> {
    now.into_iter()
        .map(|(name, now)| {
            let since = match earlier.get(&name) {
                Some(earlier) => now.since(earlier),
                None => now,
            };
            (name, since)
        })
        .collect()
}

impl Load {
    pub(super) fn of(traffic: &TargetTraffic, interval: Duration, in_flight: u32) -> Self {
        let seconds = interval.as_secs_f64().max(f64::EPSILON);
        let quantile = |share| traffic.durations.quantile(share);
        Self {
            requests: traffic.requests() as f64 / seconds,
            errors: traffic.errors() as f64 / seconds,
            times: [0.5, 0.95, 0.99].map(quantile),
            in_flight,
        }
    }
}
