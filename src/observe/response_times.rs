//! The response times of one target group since the last reading.

use super::durations::Durations;
use super::metrics::{Metrics, lock};
use crate::model::{Endpoint, TargetGroupId};

/// Follows the response times of one target group: from the head of a request to the last
/// byte of its response, of all that were sent to a target.
#[derive(Debug, Default)]
pub struct ResponseTimes {
    /// The counts of all targets at the last reading; `None` before the first.
    all: Option<Durations>,
    /// The counts of the targets that were left out then.
    excluded: Vec<(Endpoint, Durations)>,
}

impl ResponseTimes {
    /// The times of requests that ended since the last reading, on all targets of the group but
    /// those in `excluded`; `None` at the first reading.
    ///
    /// Workers go on counting meanwhile: a request that ends now is in this reading or in the
    /// next.
    pub fn since_last(
        &mut self,
        metrics: &Metrics,
        group: &TargetGroupId,
        excluded: &[Endpoint],
    ) -> Option<Durations> {
        let (all, excluded) = read(metrics, group, excluded);
        let earlier = std::mem::replace(&mut self.excluded, excluded);
        let before = self.all.replace(all.clone())?;
        let ended = all.since(&before);
        let mut left_out = Durations::default();
        for (addr, now) in &self.excluded {
            match earlier.iter().find(|(earlier, _)| earlier == addr) {
                Some((_, before)) => left_out.add(&now.since(before)),
                // A new target: all its requests ended since the last reading.
                None if now.total() <= ended.total() => left_out.add(now),
                // A target that was not excluded until now: it is counted this once.
                None => {}
            }
        }
        Some(ended.since(&left_out))
    }
}

/// The counts of all workers: of all targets of a group, and of each excluded one.
fn read(
    metrics: &Metrics,
    group: &TargetGroupId,
    excluded: &[Endpoint],
) -> (Durations, Vec<(Endpoint, Durations)>) {
    let names: Vec<String> = excluded.iter().map(Endpoint::to_string).collect();
    let mut all = Durations::default();
    let mut left_out = vec![Durations::default(); excluded.len()];
    for shard in lock(&metrics.workers).iter() {
        let ledger = lock(&shard.ledger);
        for series in &ledger.live {
            let labels = &series.labels;
            // Without a target, Weir has answered itself.
            if labels.group != *group.0 || labels.target.is_empty() {
                continue;
            }
            let durations = series.durations.read();
            all.add(&durations);
            if let Some(index) = names.iter().position(|name| *name == labels.target) {
                left_out[index].add(&durations);
            }
        }
        let retired = ledger.retired.iter();
        for (_, retired) in retired.filter(|((_, _, name), _)| *name == *group.0) {
            all.add(&retired.times.whole);
        }
    }
    (all, excluded.iter().cloned().zip(left_out).collect())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::{AccessLog, AccessPolicy, ClientAddress, ListenerSlot, Protocol, TargetId};
    use crate::observe::{Record, WorkerMetrics};
    use crate::target::Target;

    struct Rig {
        metrics: Metrics,
        worker: Rc<WorkerMetrics>,
        times: ResponseTimes,
    }

    impl Rig {
        fn new() -> Self {
            let metrics = Metrics::default();
            let worker = metrics.worker();
            let mut times = ResponseTimes::default();
            assert_eq!(times.since_last(&metrics, &"todo".into(), &[]), None);
            Self {
                metrics,
                worker,
                times,
            }
        }

        /// Counts requests on a target, with the time that they take in this test.
        fn requests(&self, target: &Arc<Target>, count: usize) {
            for _ in 0..count {
                let listener = (ListenerSlot(0), "http".into());
                let client = ClientAddress::Ip([127, 0, 0, 1].into());
                let mut record = Record::begin(
                    &self.worker,
                    AccessPolicy {
                        logged: AccessLog::Off,
                        ..AccessPolicy::FAILURES
                    },
                    Protocol::Http1,
                    Instant::now(),
                    listener,
                    client,
                );
                record.target = Some(Arc::clone(target));
                record.status = Some(200);
                record.complete = true;
            }
        }

        fn read(&mut self, excluded: &[Endpoint]) -> u64 {
            let group = "todo".into();
            let times = self.times.since_last(&self.metrics, &group, excluded);
            times.unwrap().total()
        }
    }

    fn target(group: &str, port: u16) -> Arc<Target> {
        Arc::new(Target::new(TargetId {
            group: group.into(),
            addr: ([127, 0, 0, 1], port).into(),
        }))
    }

    #[test]
    fn each_reading_has_what_ended_since_the_last() {
        let mut rig = Rig::new();
        let (own, other) = (target("todo", 1), target("other", 1));
        rig.requests(&own, 3);
        rig.requests(&other, 5);
        assert_eq!(rig.read(&[]), 3);
        assert_eq!(rig.read(&[]), 0);
        rig.requests(&own, 2);
        // The series goes some minutes after its target.
        let removal = Instant::now();
        for passed in [Duration::ZERO, Duration::from_secs(3600)] {
            rig.worker.retain(removal + passed, |_| false);
        }
        assert_eq!(
            rig.read(&[]),
            2,
            "a target that is gone takes nothing with it"
        );
    }

    #[test]
    fn what_a_target_did_while_it_was_excluded_stays_out() {
        let mut rig = Rig::new();
        let (old, new) = (target("todo", 1), target("todo", 2));
        rig.requests(&old, 3);
        rig.requests(&new, 10);
        let excluded = [new.id.addr.clone()];
        assert_eq!(rig.read(&excluded), 3);
        rig.requests(&old, 1);
        rig.requests(&new, 10);
        assert_eq!(rig.read(&excluded), 1);
        rig.requests(&new, 4);
        assert_eq!(rig.read(&[]), 4);
    }

    #[test]
    fn a_target_that_is_excluded_late_does_not_hide_the_others() {
        let mut rig = Rig::new();
        let (old, sick) = (target("todo", 1), target("todo", 2));
        rig.requests(&sick, 10);
        assert_eq!(rig.read(&[]), 10);
        rig.requests(&old, 3);
        assert_eq!(rig.read(std::slice::from_ref(&sick.id.addr)), 3);
    }

    #[test]
    fn the_quantile_is_of_the_times_between_two_readings() {
        let mut rig = Rig::new();
        let target = target("todo", 1);
        rig.requests(&target, 100);
        assert_eq!(rig.read(&[]), 100);
        rig.requests(&target, 1);
        let group = "todo".into();
        let times = rig.times.since_last(&rig.metrics, &group, &[]).unwrap();
        let p95 = Duration::from_secs_f64(times.quantile(0.95).unwrap());
        assert!(p95 > Duration::ZERO && p95 < Duration::from_secs(1));
    }
}
