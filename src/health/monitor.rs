//! Evaluates the counters of all targets at fixed intervals: ejects and readmits targets, shifts
//! their shares, lets failures decay.
//!
//! The data plane only counts. Between two evaluations this task sleeps, and evaluating a target
//! that does well takes a few loads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::anomaly;
use super::outlier::{self, Decision, History, OutlierRules, TargetView};
use super::tally::Tally;
use crate::config;
use crate::model::{Algorithm, Ejection, HealthRecord, Outlier, TargetGroupId, TargetId};
use crate::observe::kind;
use crate::state::{Change, Publisher, Reader, Snapshot};
use crate::target::{Serial, Target, WHOLE_SHARE};
use crate::target_group::Registered;

/// Between two evaluations of the counters: how long a target which begins to fail goes on
/// failing requests.
const EVALUATE_INTERVAL: Duration = Duration::from_millis(100);

/// The bias of failures is halved once per interval: it stays while a target fails now and then,
/// and is gone within seconds once it does not.
const FORGIVE_INTERVAL: Duration = Duration::from_secs(1);

/// The targets of the newest snapshot, and what is remembered of them.
#[derive(Debug)]
pub(super) struct Monitor {
    publisher: Publisher,
    /// The newest snapshot.
    seen: Arc<Snapshot>,
    groups: BTreeMap<TargetGroupId, Group>,
}

#[derive(Debug)]
struct Group {
    id: TargetGroupId,
    /// The members in the snapshot.
    registered: Arc<[Registered]>,
    outlier: Option<Outlier>,
    min_healthy: usize,
    /// Whether anomalous targets get fewer requests.
    mitigates: bool,
    targets: Vec<MonitoredTarget>,
    /// In the order of `targets`, like `views`.
    histories: Vec<History>,
    views: Vec<TargetView>,
}

#[derive(Debug)]
struct MonitoredTarget {
    target: Arc<Target>,
    active: bool,
    healthy: bool,
    anomalous: bool,
    /// Its counters at the last comparison with its peers.
    compared: Tally,
}

impl MonitoredTarget {
    fn is_eligible(&self) -> bool {
        self.active && self.healthy
    }
}

impl Monitor {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            seen: Arc::new(Snapshot::empty()),
            groups: BTreeMap::new(),
        }
    }

    /// Follows the snapshots until the publisher ends.
    pub(super) async fn run(mut self, mut reader: Reader) {
        let [mut evaluate, mut forgive, mut compare] = [
            EVALUATE_INTERVAL,
            FORGIVE_INTERVAL,
            anomaly::COMPARE_INTERVAL,
        ]
        .map(|period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        self.follow(&reader.load_full(), now());
        loop {
            // Every arm is cancel-safe: each waits for a tick or a version.
            tokio::select! {
                more = reader.changed() => {
                    if !more {
                        return;
                    }
                    self.follow(&reader.load_full(), now());
                }
                _ = evaluate.tick() => {
                    for target in self.evaluate(now()) {
                        if !self.publisher.send(Change::Health { target }).await {
                            return;
                        }
                    }
                }
                _ = forgive.tick() => self.forgive(),
                _ = compare.tick() => self.compare(),
            }
        }
    }

    /// Adopts the members and settings of a snapshot, and drops what is remembered of targets
    /// that are gone.
    fn follow(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        let before = std::mem::replace(&mut self.seen, Arc::clone(snapshot));
        for gone in snapshot.gone_since(&before) {
            self.groups.remove(gone);
        }
        for group in snapshot.changed_since(&before) {
            let known = self.groups.remove(&group.id);
            let mut next = match known {
                Some(known) if Arc::ptr_eq(&known.registered, &group.targets) => known,
                known => Group::new(&group.id, &group.targets, known, now),
            };
            next.refresh(&group.config, now);
            self.groups.insert(group.id.clone(), next);
        }
    }

    /// Ejects and readmits targets. Returns those which changed.
    fn evaluate(&mut self, now: Instant) -> Vec<TargetId> {
        self.groups
            .values_mut()
            .flat_map(|group| group.evaluate(now))
            .collect()
    }

    fn forgive(&self) {
        for group in self.groups.values() {
            for monitored in &group.targets {
                monitored.target.load().forgive();
            }
        }
    }

    fn compare(&mut self) {
        for group in self.groups.values_mut() {
            group.compare();
        }
    }
}

impl Group {
    /// A group of these targets, with what is remembered of those that `known` had.
    fn new(
        id: &TargetGroupId,
        registered: &Arc<[Registered]>,
        known: Option<Self>,
        now: Instant,
    ) -> Self {
        // A target that was removed and came back is another one with the same name.
        let mut known: HashMap<Serial, (MonitoredTarget, History)> = known
            .into_iter()
            .flat_map(|group| group.targets.into_iter().zip(group.histories))
            .map(|(monitored, history)| (monitored.target.serial, (monitored, history)))
            .collect();
        let (targets, histories): (Vec<_>, Vec<_>) = registered
            .iter()
            .map(|registered| {
                let target = &registered.target;
                known
                    .remove(&target.serial)
                    .unwrap_or_else(|| unknown(target, now))
            })
            .unzip();
        Self {
            id: id.clone(),
            registered: Arc::clone(registered),
            outlier: None,
            min_healthy: 0,
            mitigates: false,
            views: Vec::with_capacity(targets.len()),
            targets,
            histories,
        }
    }

    /// Adopts the settings, and which targets may be picked now.
    fn refresh(&mut self, config: &config::TargetGroup, now: Instant) {
        let checked = config.health.is_some();
        for ((monitored, history), registered) in self
            .targets
            .iter_mut()
            .zip(&mut self.histories)
            .zip(&*self.registered)
        {
            let was_eligible = monitored.is_eligible();
            monitored.active = registered.registration.is_active() && registered.weight > 0;
            monitored.healthy = !checked || monitored.target.health().is_healthy();
            if monitored.is_eligible() && !was_eligible {
                // What it failed before its checks failed is no reason to eject it now.
                monitored.target.outcomes().forget_runs();
                history.begin_anew(monitored.target.failings(), now);
            }
        }
        let active = self.targets.iter().filter(|target| target.active).count();
        self.min_healthy = config.fail_open.min_healthy.of(active);
        self.outlier.clone_from(&config.outlier);
        self.mitigates = config.algorithm == Algorithm::WeightedRandom;
        if !self.mitigates {
            for monitored in &self.targets {
                monitored.target.share().set(WHOLE_SHARE);
            }
        }
    }

    fn evaluate(&mut self, now: Instant) -> Vec<TargetId> {
        self.views.clear();
        for (monitored, history) in self.targets.iter().zip(&self.histories) {
            self.views.push(TargetView {
                failings: monitored.target.failings(),
                active: monitored.active,
                healthy: monitored.healthy,
                checked: history
                    .is_ejected()
                    .then(|| check_after_ejection(&monitored.target.health().lock()))
                    .flatten(),
            });
        }
        let rules = OutlierRules {
            outlier: self.outlier.as_ref(),
            min_healthy: self.min_healthy,
        };
        outlier::evaluate(&mut self.histories, &self.views, rules, now)
            .into_iter()
            .map(|(index, decision)| {
                let target = &self.targets[index].target;
                apply(&self.id, target, decision, now);
                target.id.clone()
            })
            .collect()
    }

    /// Compares what each target has done since the last comparison with what its peers have.
    fn compare(&mut self) {
        let steps: Vec<Option<Tally>> = self
            .targets
            .iter_mut()
            .zip(&self.histories)
            .map(|(monitored, history)| {
                let done = Tally::from(monitored.target.failings());
                let step = done.since(monitored.compared);
                monitored.compared = done;
                (monitored.is_eligible() && !history.is_ejected()).then_some(step)
            })
            .collect();
        let all = steps
            .iter()
            .flatten()
            .copied()
            .fold(Tally::default(), Tally::with);
        for (monitored, step) in self.targets.iter_mut().zip(steps) {
            let Some(own) = step else { continue };
            let peers = all.without(own);
            let anomalous = anomaly::is_anomalous(own, peers);
            if anomalous != monitored.anomalous {
                monitored.anomalous = anomalous;
                monitored.target.health().lock().anomalous = anomalous;
            }
            if self.mitigates {
                mitigate(&monitored.target, anomalous, own, peers);
            }
        }
    }
}

/// A target of which nothing is remembered.
fn unknown(target: &Arc<Target>, now: Instant) -> (MonitoredTarget, History) {
    let failings = target.failings();
    let monitored = MonitoredTarget {
        target: Arc::clone(target),
        active: false,
        healthy: false,
        anomalous: false,
        compared: failings.into(),
    };
    (monitored, History::new(failings, now))
}

/// Whether the last check passed; `None` unless it began after the ejection.
fn check_after_ejection(record: &HealthRecord) -> Option<bool> {
    let (ejection, last) = (record.ejection.as_ref()?, record.last.back()?);
    (last.began >= ejection.began && last.is_conclusive()).then_some(last.outcome.is_ok())
}

fn apply(group: &TargetGroupId, target: &Target, decision: Decision, now: Instant) {
    let addr = &target.id.addr;
    match decision {
        Decision::Eject {
            reason,
            detail,
            time,
            times,
        } => {
            warn!(event = kind::EJECTION, %group, target = %addr, times, "target is ejected for {time:?}: {detail}");
            let since = SystemTime::now();
            let mut record = target.health().lock();
            record.ejections.count(reason);
            record.withheld = None;
            record.ejection = Some(Ejection {
                reason,
                detail,
                began: now,
                since,
                until: since + time,
                times,
            });
        }
        Decision::Readmit(why) => {
            target.outcomes().forget_runs();
            target.health().lock().ejection = None;
            info!(event = kind::EJECTION, %group, target = %addr, "target is readmitted: {}", why.text());
        }
        Decision::Withhold {
            reason,
            detail,
            limit,
        } => {
            let limit = limit.name();
            warn!(
                event = kind::EJECTION, %group, target = %addr, limit,
                "target keeps its requests although it fails them: {detail}, and {limit} lets no \
                 more targets be ejected"
            );
            let mut record = target.health().lock();
            record.withheld_ejections.count(reason);
            record.withheld = Some(format!("{detail}; {limit} lets no more be ejected"));
        }
        Decision::Clear => target.health().lock().withheld = None,
    }
}

fn mitigate(target: &Target, anomalous: bool, own: Tally, peers: Tally) {
    let share = target.share().get();
    let next = anomaly::next_share(share, anomalous);
    if next == share {
        return;
    }
    target.share().set(next);
    let TargetId { group, addr } = &target.id;
    if share == WHOLE_SHARE {
        warn!(
            event = kind::EJECTION, %group,
            target = %addr,
            "target gets fewer requests: {} of {} failed, and {}% of its peers'",
            own.errors,
            own.requests,
            peers.percent()
        );
    } else if next == WHOLE_SHARE {
        info!(event = kind::EJECTION, %group, target = %addr, "target gets its whole share of requests again");
    }
}

/// By tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::super::fixture::{group, publish};
    use super::*;
    use crate::model::fixture::{ONCE, check_result};
    use crate::state::fixture::config;
    use crate::target::RequestResult;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";

    fn target(reader: &Reader, index: usize) -> Arc<Target> {
        Arc::clone(&reader.load().groups()[0].targets[index].target)
    }

    /// Requests on a target that all end the same way.
    fn requests(target: &Arc<Target>, count: usize, verdict: RequestResult) {
        for _ in 0..count {
            let _lease = target.lease();
            target.report(verdict);
        }
    }

    async fn check(publisher: &Publisher, target: &Target, passed: bool) {
        check_at(SystemTime::now(), publisher, target, passed).await;
    }

    /// A check that began now, whatever the wall clock says.
    async fn check_at(at: SystemTime, publisher: &Publisher, target: &Target, passed: bool) {
        let mut result = check_result(passed, now());
        result.at = at;
        target.health().lock().record(result, ONCE);
        let target = target.id.clone();
        publisher.send(Change::Health { target }).await;
    }

    async fn monitored() -> (Publisher, Reader, JoinSet<()>) {
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let mut owner = JoinSet::new();
        owner.spawn(Monitor::new(publisher.clone()).run(reader.clone()));
        for index in [0, 1] {
            check(&publisher, &target(&reader, index), true).await;
        }
        sleep(3 * EVALUATE_INTERVAL).await;
        (publisher, reader, owner)
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_takes_the_target_off_the_roster_until_it_ends() {
        let (_publisher, reader, _owner) = monitored().await;
        let eligible = || {
            let group = Arc::clone(&reader.load().groups()[0].compiled);
            group.selection.as_ref().map(|s| s.roster.members().len())
        };
        for _ in 0..3 {
            requests(&target(&reader, 0), 10, RequestResult::GatewayError);
            requests(&target(&reader, 1), 10, RequestResult::Served);
            sleep(EVALUATE_INTERVAL).await;
        }
        assert!(target(&reader, 0).health().lock().ejection.is_some());
        assert_eq!(eligible(), Some(1));
        sleep(Duration::from_secs(31)).await;
        assert_eq!(target(&reader, 0).health().lock().ejection, None);
        assert_eq!(eligible(), Some(2));
        assert_eq!(target(&reader, 0).failings().run, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_brings_a_target_back_although_the_clock_was_set_back() {
        let (publisher, reader, _owner) = monitored().await;
        let a = target(&reader, 0);
        for _ in 0..3 {
            requests(&a, 10, RequestResult::GatewayError);
            requests(&target(&reader, 1), 10, RequestResult::Served);
            sleep(EVALUATE_INTERVAL).await;
        }
        assert!(a.health().lock().ejection.is_some());
        // Long before the ejection ends.
        sleep(Duration::from_secs(1)).await;
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        check_at(hour_ago, &publisher, &a, true).await;
        sleep(3 * EVALUATE_INTERVAL).await;
        assert_eq!(a.health().lock().ejection, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_whose_checks_pass_again_is_not_ejected_for_what_it_failed_before() {
        let (publisher, reader, _owner) = monitored().await;
        let (a, b) = (target(&reader, 0), target(&reader, 1));
        check(&publisher, &a, false).await;
        sleep(EVALUATE_INTERVAL).await;
        requests(&a, 20, RequestResult::GatewayError);
        requests(&b, 20, RequestResult::Served);
        sleep(3 * EVALUATE_INTERVAL).await;
        check(&publisher, &a, true).await;
        sleep(3 * EVALUATE_INTERVAL).await;
        requests(&a, 1, RequestResult::GatewayError);
        sleep(3 * EVALUATE_INTERVAL).await;
        assert_eq!(a.health().lock().ejection, None);
        assert_eq!(a.failings().run, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn targets_that_stay_are_remembered_and_those_that_are_gone_are_not() {
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let mut monitor = Monitor::new(publisher.clone());
        let todo = "todo".into();
        monitor.follow(&reader.load_full(), now());
        monitor.groups.get_mut(&todo).unwrap().targets[1].anomalous = true;
        for members in [&[B][..], &[A, B]] {
            let next = config(vec![group(members)]);
            publisher.configure(next).await.unwrap();
            monitor.follow(&reader.load_full(), now());
            let targets = &monitor.groups[&todo].targets;
            assert_eq!(targets.len(), members.len());
            assert!(targets.last().unwrap().anomalous);
        }
        assert!(!monitor.groups[&todo].targets[0].anomalous);
    }
}
