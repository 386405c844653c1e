//! What the requests of one target group have taken since somebody last asked.

use std::net::SocketAddr;

use super::durations::Durations;
use super::metrics::{Metrics, lock};
use crate::model::TargetGroupId;

/// Follows the response times of one target group: from the head of a request to the last
/// byte of its response, of all that were sent to a target.
#[derive(Debug, Default)]
pub struct ResponseTimes {
    /// What the targets of the group had counted at the last look; `None` before the first.
    all: Option<Durations>,
    /// The same of those that were left out.
    apart: Vec<(SocketAddr, Durations)>,
}

impl ResponseTimes {
    /// What has ended since the last look, on all targets of the group but those in `apart`;
    /// `None` at the first look.
    ///
    /// Workers go on counting meanwhile: a request that ends now may be in this look or in
    /// the next, and is in one of them.
    pub fn since_last(
        &mut self,
        metrics: &Metrics,
        group: &TargetGroupId,
        apart: &[SocketAddr],
    ) -> Option<Durations> {
        let (all, apart) = read(metrics, group, apart);
        let earlier = std::mem::replace(&mut self.apart, apart);
        let before = self.all.replace(all.clone())?;
        let ended = all.since(&before);
        let mut aside = Durations::default();
        for (addr, now) in &self.apart {
            match earlier.iter().find(|(earlier, _)| earlier == addr) {
                Some((_, before)) => aside.add(&now.since(before)),
                // A new one: all it has done was since the last look.
                None if now.total() <= ended.total() => aside.add(now),
                // One that did its part until now: for this once it counts.
                None => {}
            }
        }
        Some(ended.since(&aside))
    }
}

/// The sum over all workers: of all targets of a group, and of some of them alone.
fn read(
    metrics: &Metrics,
    group: &TargetGroupId,
    apart: &[SocketAddr],
) -> (Durations, Vec<(SocketAddr, Durations)>) {
    let names: Vec<String> = apart.iter().map(SocketAddr::to_string).collect();
    let mut all = Durations::default();
    let mut aside = vec![Durations::default(); apart.len()];
    for shard in lock(&metrics.workers).iter() {
        let ledger = lock(&shard.ledger);
        for series in &ledger.live {
            let labels = &series.labels;
            // Without a target Weir has answered itself.
            if labels.group != *group.0 || labels.target.is_empty() {
                continue;
            }
            let durations = series.durations.read();
            all.add(&durations);
            if let Some(index) = names.iter().position(|name| *name == labels.target) {
                aside[index].add(&durations);
            }
        }
        let retired = ledger.retired.iter();
        for (_, durations) in retired.filter(|((_, name), _)| *name == *group.0) {
            all.add(durations);
        }
    }
    (all, apart.iter().copied().zip(aside).collect())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::{ListenerSlot, Target, TargetId};
    use crate::observe::{AccessLog, Record, WorkerMetrics};

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

        /// Counts requests on a target, in whatever time they take here.
        fn requests(&self, target: &Arc<Target>, count: usize) {
            for _ in 0..count {
                let listener = (ListenerSlot(0), "http".into());
                let client = [127, 0, 0, 1].into();
                let mut record = Record::begin(&self.worker, AccessLog::Off, listener, client);
                record.target = Some(Arc::clone(target));
                record.status = Some(http::StatusCode::OK);
                record.complete = true;
            }
        }

        fn look(&mut self, apart: &[SocketAddr]) -> u64 {
            let group = "todo".into();
            let times = self.times.since_last(&self.metrics, &group, apart);
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
    fn each_look_has_what_ended_since_the_last() {
        let mut rig = Rig::new();
        let (own, other) = (target("todo", 1), target("other", 1));
        rig.requests(&own, 3);
        rig.requests(&other, 5);
        assert_eq!(rig.look(&[]), 3);
        assert_eq!(rig.look(&[]), 0);
        rig.requests(&own, 2);
        rig.worker.retain(|_| false);
        assert_eq!(
            rig.look(&[]),
            2,
            "a target that is gone takes nothing with it"
        );
    }

    #[test]
    fn what_a_target_did_while_it_was_left_out_stays_out() {
        let mut rig = Rig::new();
        let (old, new) = (target("todo", 1), target("todo", 2));
        rig.requests(&old, 3);
        rig.requests(&new, 10);
        let apart = [new.id.addr];
        assert_eq!(rig.look(&apart), 3);
        rig.requests(&old, 1);
        rig.requests(&new, 10);
        assert_eq!(rig.look(&apart), 1);
        rig.requests(&new, 4);
        assert_eq!(rig.look(&[]), 4);
    }

    #[test]
    fn a_target_that_is_left_out_late_does_not_hide_the_others() {
        let mut rig = Rig::new();
        let (old, sick) = (target("todo", 1), target("todo", 2));
        rig.requests(&sick, 10);
        assert_eq!(rig.look(&[]), 10);
        rig.requests(&old, 3);
        assert_eq!(rig.look(&[sick.id.addr]), 3);
    }

    #[test]
    fn the_quantile_is_of_the_times_between_two_looks() {
        let mut rig = Rig::new();
        let target = target("todo", 1);
        rig.requests(&target, 100);
        assert_eq!(rig.look(&[]), 100);
        rig.requests(&target, 1);
        let group = "todo".into();
        let times = rig.times.since_last(&rig.metrics, &group, &[]).unwrap();
        let p95 = Duration::from_secs_f64(times.quantile(0.95).unwrap());
        assert!(p95 > Duration::ZERO && p95 < Duration::from_secs(1));
    }
}
