//! What each target and each group has answered, and what went wrong, since the start and within the
//! last minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::collector::dropped_log_lines;
use super::metrics::{Metrics, lock};
use super::readings::{Faults, Reading, TargetName, TargetTraffic};
use crate::model::Protocol;

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
                traffic.entry(name).or_default().add(&series.traffic());
            }
        }
        traffic
    }

    /// What each target group has answered since the start, targets that are gone and answers of
    /// Weir itself included; under an empty name, what no group was chosen for. Connections of
    /// protocol `tcp` are not in it.
    pub fn group_traffic(&self) -> HashMap<String, TargetTraffic> {
        let mut groups: HashMap<String, TargetTraffic> = HashMap::new();
        let mut add = |protocol: Protocol, group: &String, traffic: &TargetTraffic| {
            if protocol == Protocol::Tcp {
                return;
            }
            // A name is copied once, not for each of a thousand targets.
            match groups.get_mut(group) {
                Some(sum) => sum.add(traffic),
                None => drop(groups.insert(group.clone(), traffic.clone())),
            }
        };
        for shard in lock(&self.workers).iter() {
            let ledger = lock(&shard.ledger);
            for ((protocol, _, group), retired) in &ledger.retired {
                add(*protocol, group, &retired.traffic());
            }
            for series in &ledger.live {
                let labels = &series.labels;
                add(labels.protocol, &labels.group, &series.traffic());
            }
        }
        groups
    }

    /// Keeps a reading, if the last is old enough. To be called every [`READING_INTERVAL`].
    pub fn read_traffic(&self, now: Instant) {
        let mut readings = lock(&self.readings);
        let last = readings.0.back().map(|reading| reading.at);
        let age = last.map(|last| now.saturating_duration_since(last));
        // Two admin listeners may be there for a while.
        if age.is_some_and(|age| age < READING_INTERVAL / 2) {
            return;
        }
        if readings.0.len() >= READINGS {
            readings.0.pop_front();
        }
        readings.0.push_back(Reading {
            at: now,
            traffic: self.traffic(),
            faults: self.faults(),
        });
    }

    /// What went wrong since the start.
    pub fn faults(&self) -> Faults {
        let (access, events) = dropped_log_lines();
        Faults {
            failures: self.failures_by_reason(),
            retries: self.retries(),
            dropped_lines: access + events,
        }
    }

    /// What went wrong within the last minute, of `faults`.
    pub fn recent_faults(&self, faults: &Faults) -> Faults {
        match lock(&self.readings).0.front() {
            Some(reading) => faults.since(&reading.faults),
            None => faults.clone(),
        }
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
            Some(reading) => (now.saturating_duration_since(reading.at), &reading.traffic),
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::model::{
        AccessLog, AccessPolicy, ClientAddress, Failure, ListenerSlot, TargetGroupId, TargetId,
    };
    use crate::observe::{Record, WorkerMetrics};
    use crate::target::Target;

    fn record(worker: &Rc<WorkerMetrics>, protocol: Protocol) -> Record {
        let policy = AccessPolicy {
            logged: AccessLog::Off,
            ..AccessPolicy::FAILURES
        };
        let listener = (ListenerSlot(0), "http".into());
        let client = ClientAddress::Ip([127, 0, 0, 1].into());
        let mut record = Record::begin(worker, policy, protocol, Instant::now(), listener, client);
        record.status = Some(200);
        record.complete = true;
        record
    }

    #[test]
    fn a_group_keeps_what_targets_that_are_gone_have_answered() {
        let metrics = Metrics::default();
        let worker = metrics.worker();
        let target = Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: ([127, 0, 0, 1], 1).into(),
        }));
        for _ in 0..3 {
            record(&worker, Protocol::Http1).target = Some(Arc::clone(&target));
        }
        record(&worker, Protocol::Http1).status = Some(503);
        record(&worker, Protocol::Tcp).target = Some(target);
        for passed in [Duration::ZERO, Duration::from_secs(3600)] {
            worker.retain(Instant::now() + passed, |_| false);
        }
        let groups = metrics.group_traffic();
        assert_eq!(groups["todo"].requests(), 3);
        assert_eq!(groups["todo"].durations.total(), 3);
        assert_eq!((groups[""].requests(), groups[""].errors()), (1, 1));
    }

    #[test]
    fn failures_are_those_of_requests() {
        let metrics = Metrics::default();
        let worker = metrics.worker();
        let todo: TargetGroupId = "todo".into();
        for (protocol, group) in [
            (Protocol::Http1, Some(&todo)),
            (Protocol::Http2, Some(&todo)),
            (Protocol::Http1, None),
            (Protocol::Tcp, Some(&todo)),
        ] {
            let mut record = record(&worker, protocol);
            record.group = group.cloned();
            record.failure = Some(Failure::QueueFull);
            record.complete = false;
        }
        let failures = metrics.failures_by_reason();
        let reason = Failure::QueueFull.code();
        assert_eq!(failures[&(Some(todo), reason)], 2);
        assert_eq!(failures[&(None, reason)], 1);
        assert_eq!(failures.len(), 2);
    }
}
