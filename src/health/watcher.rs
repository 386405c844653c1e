//! Looks at the counters of all targets at a steady pace, and does what they call for:
//! ejects and readmits, shifts shares, forgives failures.
//!
//! The data plane only counts. Between two looks this task sleeps, and a look at targets
//! that do well is a few loads for each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::anomaly;
use super::passive::{self, Decision, History, Rules, Sight};
use super::tally::Tally;
use crate::config;
use crate::model::{
    Algorithm, Ejection, HealthRecord, Outlier, Target, TargetGroupId, TargetId, WHOLE_SHARE,
};
use crate::state::{Change, Publisher, Reader, Snapshot};
use crate::target_group::Registered;

/// From one look at the counters to the next: how long a target that fails at once goes
/// on failing requests.
const LOOK: Duration = Duration::from_millis(100);

/// The bias of failures is halved so often: it stays while a target fails now and then,
/// and is gone within seconds once it does not.
const FORGIVE: Duration = Duration::from_secs(1);

/// The targets of the newest snapshot, and what is remembered of them.
#[derive(Debug)]
pub(super) struct Watcher {
    publisher: Publisher,
    /// That snapshot.
    seen: Arc<Snapshot>,
    groups: BTreeMap<TargetGroupId, Group>,
}

#[derive(Debug)]
struct Group {
    id: TargetGroupId,
    /// As the snapshot has them.
    listed: Arc<[Registered]>,
    outlier: Option<Outlier>,
    min_healthy: usize,
    /// Whether anomalous targets get less.
    mitigates: bool,
    targets: Vec<Watched>,
    /// In the order of `targets`, like `sights`.
    histories: Vec<History>,
    sights: Vec<Sight>,
}

#[derive(Debug)]
struct Watched {
    target: Arc<Target>,
    active: bool,
    healthy: bool,
    anomalous: bool,
    /// What it had done at the last comparison with its peers.
    compared: Tally,
}

impl Watched {
    fn is_eligible(&self) -> bool {
        self.active && self.healthy
    }
}

impl Watcher {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            seen: Arc::new(Snapshot::empty()),
            groups: BTreeMap::new(),
        }
    }

    /// Follows the snapshots until there will be no more.
    pub(super) async fn run(mut self, mut reader: Reader) {
        let [mut look, mut forgive, mut compare] = [LOOK, FORGIVE, anomaly::STEP].map(|pace| {
            let mut pace = interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
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
                _ = look.tick() => {
                    for target in self.look(now()) {
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

    /// Takes over the members and settings of a snapshot, and drops what is remembered of
    /// targets that are gone.
    fn follow(&mut self, snapshot: &Arc<Snapshot>, now: Instant) {
        let before = std::mem::replace(&mut self.seen, Arc::clone(snapshot));
        for gone in snapshot.gone_since(&before) {
            self.groups.remove(gone);
        }
        for (group, config) in snapshot.changed_since(&before) {
            let known = self.groups.remove(&group.id);
            let mut next = match known {
                Some(known) if Arc::ptr_eq(&known.listed, &group.targets) => known,
                known => Group::new(&group.id, &group.targets, known, now),
            };
            next.refresh(config, now);
            self.groups.insert(group.id.clone(), next);
        }
    }

    /// Ejects and readmits; returns whose state changed.
    fn look(&mut self, now: Instant) -> Vec<TargetId> {
        self.groups.values_mut().flat_map(|g| g.look(now)).collect()
    }

    fn forgive(&self) {
        for group in self.groups.values() {
            for watched in &group.targets {
                watched.target.forgive();
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
        listed: &Arc<[Registered]>,
        known: Option<Self>,
        now: Instant,
    ) -> Self {
        let known = known.into_iter();
        let known = known.flat_map(|group| group.targets.into_iter().zip(group.histories));
        // By identity: a target that was away for a while is another one with the same name.
        let mut known: HashMap<*const Target, (Watched, History)> = known
            .map(|(watched, history)| (Arc::as_ptr(&watched.target), (watched, history)))
            .collect();
        let watched = listed.iter().map(|registered| {
            let target = &registered.target;
            let known = known.remove(&Arc::as_ptr(target));
            known.unwrap_or_else(|| watch(target, now))
        });
        let (targets, histories): (Vec<_>, Vec<_>) = watched.unzip();
        Self {
            id: id.clone(),
            listed: Arc::clone(listed),
            outlier: None,
            min_healthy: 0,
            mitigates: false,
            sights: Vec::with_capacity(targets.len()),
            targets,
            histories,
        }
    }

    /// Takes over the settings, and which targets may be picked now.
    fn refresh(&mut self, config: &config::TargetGroup, now: Instant) {
        let checked = config.health.is_some();
        let watched = self.targets.iter_mut().zip(&mut self.histories);
        for ((watched, history), registered) in watched.zip(&*self.listed) {
            let was_eligible = watched.is_eligible();
            watched.active = registered.registration.is_active() && registered.weight > 0;
            watched.healthy = !checked || watched.target.is_healthy();
            if watched.is_eligible() && !was_eligible {
                // What it failed before its checks took it out is no reason to take it out
                // again.
                watched.target.forget_run();
                history.begin_anew(watched.target.failings(), now);
            }
        }
        let active = self.targets.iter().filter(|watched| watched.active);
        self.min_healthy = config.fail_open.min_healthy.of(active.count());
        self.outlier.clone_from(&config.outlier);
        self.mitigates = config.algorithm == Algorithm::WeightedRandom;
        if !self.mitigates {
            for watched in &self.targets {
                watched.target.set_share(WHOLE_SHARE);
            }
        }
    }

    fn look(&mut self, now: Instant) -> Vec<TargetId> {
        self.sights.clear();
        let seen = self.targets.iter().zip(&self.histories);
        self.sights.extend(seen.map(|(watched, history)| {
            Sight {
                failings: watched.target.failings(),
                active: watched.active,
                healthy: watched.healthy,
                checked: history
                    .is_ejected()
                    .then(|| checked(&watched.target.health()))
                    .flatten(),
            }
        }));
        let rules = Rules {
            outlier: self.outlier.as_ref(),
            min_healthy: self.min_healthy,
        };
        let decisions = passive::judge(&mut self.histories, &self.sights, rules, now);
        let decided = decisions.into_iter().map(|(index, decision)| {
            let target = &self.targets[index].target;
            carry_out(&self.id, target, decision, now);
            target.id.clone()
        });
        decided.collect()
    }

    /// Compares what each target has done since the last time with what its peers have.
    fn compare(&mut self) {
        let judged = self.targets.iter_mut().zip(&self.histories);
        let steps: Vec<Option<Tally>> = judged
            .map(|(watched, history)| {
                let done = Tally::from(watched.target.failings());
                let step = done.since(watched.compared);
                watched.compared = done;
                (watched.is_eligible() && !history.is_ejected()).then_some(step)
            })
            .collect();
        let all = steps.iter().flatten().copied();
        let all = all.fold(Tally::default(), Tally::with);
        for (watched, step) in self.targets.iter_mut().zip(steps) {
            let Some(own) = step else { continue };
            let peers = all.without(own);
            let anomalous = anomaly::is_anomalous(own, peers);
            if anomalous != watched.anomalous {
                watched.anomalous = anomalous;
                watched.target.health().anomalous = anomalous;
            }
            if self.mitigates {
                mitigate(&watched.target, anomalous, own, peers);
            }
        }
    }
}

/// A target of which nothing is remembered.
fn watch(target: &Arc<Target>, now: Instant) -> (Watched, History) {
    let failings = target.failings();
    let watched = Watched {
        target: Arc::clone(target),
        active: false,
        healthy: false,
        anomalous: false,
        compared: failings.into(),
    };
    (watched, History::new(failings, now))
}

/// Whether the last check passed, if it began after the ejection.
fn checked(record: &HealthRecord) -> Option<bool> {
    let (ejection, last) = (record.ejection.as_ref()?, record.last.back()?);
    (last.began >= ejection.began && last.is_verdict()).then_some(last.outcome.is_ok())
}

fn carry_out(group: &TargetGroupId, target: &Target, decision: Decision, now: Instant) {
    let addr = target.id.addr;
    match decision {
        Decision::Eject {
            reason,
            detail,
            time,
            times,
        } => {
            warn!(%group, target = %addr, times, "target is ejected for {time:?}: {detail}");
            let since = SystemTime::now();
            let mut record = target.health();
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
            target.forget_run();
            target.health().ejection = None;
            info!(%group, target = %addr, "target is readmitted: {}", why.text());
        }
        Decision::Withhold {
            reason,
            detail,
            limit,
        } => {
            let limit = limit.name();
            warn!(
                %group, target = %addr, limit,
                "target keeps its requests although it fails them: {detail}, and {limit} lets no \
                 more targets be ejected"
            );
            let mut record = target.health();
            record.withheld_ejections.count(reason);
            record.withheld = Some(format!("{detail}; {limit} lets no more be ejected"));
        }
        Decision::Acquit => target.health().withheld = None,
    }
}

fn mitigate(target: &Target, anomalous: bool, own: Tally, peers: Tally) {
    let share = target.share();
    let next = anomaly::next_share(share, anomalous);
    if next == share {
        return;
    }
    target.set_share(next);
    let TargetId { group, addr } = &target.id;
    if share == WHOLE_SHARE {
        warn!(
            %group,
            target = %addr,
            "target gets fewer requests: {} of {} failed, and {}% of its peers'",
            own.errors,
            own.requests,
            peers.percent()
        );
    } else if next == WHOLE_SHARE {
        info!(%group, target = %addr, "target gets its whole share of requests again");
    }
}

/// By tokio's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::super::fixture::{group, publish};
    use super::*;
    use crate::model::{CheckFailure, CheckResult, HealthReason, Thresholds, Verdict};
    use crate::state::fixture::config;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";

    fn target(reader: &Reader, index: usize) -> Arc<Target> {
        Arc::clone(&reader.load().groups()[0].targets[index].target)
    }

    /// Requests on a target that all end the same way.
    fn requests(target: &Arc<Target>, count: usize, verdict: Verdict) {
        for _ in 0..count {
            let _lease = target.lease();
            target.report(verdict);
        }
    }

    async fn check(publisher: &Publisher, target: &Target, passed: bool) {
        check_at(SystemTime::now(), publisher, target, passed).await;
    }

    /// One that began now, whatever the wall clock says.
    async fn check_at(at: SystemTime, publisher: &Publisher, target: &Target, passed: bool) {
        let outcome = if passed {
            Ok(())
        } else {
            Err(CheckFailure {
                reason: HealthReason::Timeout,
                detail: String::new(),
            })
        };
        let result = CheckResult {
            at,
            began: now(),
            elapsed: Duration::ZERO,
            status: None,
            outcome,
        };
        let once = Thresholds {
            healthy: 1,
            unhealthy: 1,
        };
        target.health().record(result, once);
        let target = target.id.clone();
        publisher.send(Change::Health { target }).await;
    }

    async fn watched() -> (Publisher, Reader, JoinSet<()>) {
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let mut owner = JoinSet::new();
        owner.spawn(Watcher::new(publisher.clone()).run(reader.clone()));
        for index in [0, 1] {
            check(&publisher, &target(&reader, index), true).await;
        }
        sleep(3 * LOOK).await;
        (publisher, reader, owner)
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_takes_the_target_off_the_roster_until_it_ends() {
        let (_publisher, reader, _owner) = watched().await;
        let eligible = || {
            let group = Arc::clone(&reader.load().groups()[0]);
            group.selection.as_ref().map(|s| s.roster.members().len())
        };
        for _ in 0..3 {
            requests(&target(&reader, 0), 10, Verdict::GatewayError);
            requests(&target(&reader, 1), 10, Verdict::Served);
            sleep(LOOK).await;
        }
        assert!(target(&reader, 0).health().ejection.is_some());
        assert_eq!(eligible(), Some(1));
        sleep(Duration::from_secs(31)).await;
        assert_eq!(target(&reader, 0).health().ejection, None);
        assert_eq!(eligible(), Some(2));
        assert_eq!(target(&reader, 0).failings().run, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_brings_a_target_back_although_the_clock_was_set_back() {
        let (publisher, reader, _owner) = watched().await;
        let a = target(&reader, 0);
        for _ in 0..3 {
            requests(&a, 10, Verdict::GatewayError);
            requests(&target(&reader, 1), 10, Verdict::Served);
            sleep(LOOK).await;
        }
        assert!(a.health().ejection.is_some());
        // Long before the ejection ends.
        sleep(Duration::from_secs(1)).await;
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        check_at(hour_ago, &publisher, &a, true).await;
        sleep(3 * LOOK).await;
        assert_eq!(a.health().ejection, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_whose_checks_pass_again_is_not_ejected_for_what_it_failed_before() {
        let (publisher, reader, _owner) = watched().await;
        let (a, b) = (target(&reader, 0), target(&reader, 1));
        check(&publisher, &a, false).await;
        sleep(LOOK).await;
        requests(&a, 20, Verdict::GatewayError);
        requests(&b, 20, Verdict::Served);
        sleep(3 * LOOK).await;
        check(&publisher, &a, true).await;
        sleep(3 * LOOK).await;
        requests(&a, 1, Verdict::GatewayError);
        sleep(3 * LOOK).await;
        assert_eq!(a.health().ejection, None);
        assert_eq!(a.failings().run, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn targets_that_stay_are_remembered_and_those_that_are_gone_are_not() {
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let mut watcher = Watcher::new(publisher.clone());
        let todo = "todo".into();
        watcher.follow(&reader.load_full(), now());
        watcher.groups.get_mut(&todo).unwrap().targets[1].anomalous = true;
        for members in [&[B][..], &[A, B]] {
            let next = config(vec![group(members)]);
            publisher.configure(next).await.unwrap();
            watcher.follow(&reader.load_full(), now());
            let targets = &watcher.groups[&todo].targets;
            assert_eq!(targets.len(), members.len());
            assert!(targets.last().unwrap().anomalous);
        }
        assert!(!watcher.groups[&todo].targets[0].anomalous);
    }
}
