//! What each target has answered, since the start and within the last minute.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::metrics::{Metrics, lock};
use super::readings::{TargetName, TargetTraffic};

/// From one reading to the next.
pub const READING_INTERVAL: Duration = Duration::from_secs(15);

/// Readings that are kept: the oldest is a minute old.
const READINGS: usize = 4;

impl Metrics {
    /// What each target has answered since the start, or since it came back.
    pub fn traffic(&self) -> HashMap<TargetName, TargetTraffic> {
        let mut traffic: HashMap<TargetName, TargetTraffic> = HashMap::new();
        for shard in lock(&self.workers).iter() {
            for series in &lock(&shard.ledger).live {
                let labels = &series.labels;
                // Without a target, Weir has answered itself.
                if labels.target.is_empty() {
                    continue;
                }
                let name = (labels.group.clone(), labels.target.clone());
                let sum = traffic.entry(name).or_default();
                for (sum, count) in sum.counts.iter_mut().zip(&series.classes) {
                    *sum += count.load(Ordering::Relaxed);
                }
                sum.durations.add(&series.durations.read());
            }
        }
        traffic
    }

    /// Keeps a reading, if the last is old enough. To be called every [`READING_INTERVAL`].
    pub fn read_traffic(&self, now: Instant) {
        let mut readings = lock(&self.readings);
        let last = readings.0.back().map(|(at, _)| *at);
        let age = last.map(|last| now.saturating_duration_since(last));
        // Two admin listeners may be there for a while.
        if age.is_some_and(|age| age < READING_INTERVAL / 2) {
            return;
        }
        if readings.0.len() >= READINGS {
            readings.0.pop_front();
        }
        readings.0.push_back((now, self.traffic()));
    }

    /// What was answered within the last minute, of `traffic`, and how long that minute is so far.
    pub fn recent(
        &self,
        traffic: &HashMap<TargetName, TargetTraffic>,
        now: Instant,
    ) -> (Duration, HashMap<TargetName, TargetTraffic>) {
        let readings = lock(&self.readings);
        let nothing = HashMap::new();
        let (since, earlier) = match readings.0.front() {
            Some((at, earlier)) => (now.saturating_duration_since(*at), earlier),
            None => (self.uptime(), &nothing),
        };
        let recent = traffic.iter().map(|(name, traffic)| {
            let before = earlier.get(name);
            let recent = before.map_or_else(|| traffic.clone(), |before| traffic.since(before));
            (name.clone(), recent)
        });
        (since, recent.collect())
    }
}
