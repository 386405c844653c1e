//! The loop of autoscaling: evaluates every group that scales once a second, and checks groups
//! without replicas for waiting requests more often.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tracing::error;

use super::custom::MAX_SCRAPES;
use super::group::Group;
use super::journal::Journal;
use super::sample::Now;
use super::sampler::{Clocks, SampleContext};
use crate::config::{Autoscaling, Config};
use crate::model::TargetGroupId;
use crate::observe::Metrics;
use crate::replicas::{DesiredCount, DesiredCounts, Status};
use crate::state::{self, Reader, Snapshot};

/// Time from one evaluation of a group to the next.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two checks for requests that wait for the first replica of a group: those must
/// not wait for the next evaluation.
const WAKE_INTERVAL: Duration = Duration::from_millis(50);

/// Deadline for writing records and histories at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The groups that scale, and what they share.
#[derive(Debug)]
pub(super) struct Autoscaler {
    metrics: Arc<Metrics>,
    replicas: watch::Receiver<Status>,
    /// How many replicas each group should have; outlives this.
    desired: watch::Sender<DesiredCounts>,
    journal: Arc<Journal>,
    groups: BTreeMap<TargetGroupId, Group>,
    /// The configuration that the groups follow.
    config: Option<Arc<Config>>,
    /// Limits how many pages of replicas are read at a time.
    permits: Arc<Semaphore>,
    /// Tasks that write records, until their groups are gone, and histories.
    writers: JoinSet<()>,
    started: Instant,
}

impl Autoscaler {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        replicas: watch::Receiver<Status>,
        desired: watch::Sender<DesiredCounts>,
        journal: Arc<Journal>,
    ) -> Self {
        desired.send_if_modified(|desired| {
            desired.values_mut().for_each(DesiredCount::resume);
            false
        });
        Self {
            metrics,
            replicas,
            desired,
            journal,
            groups: BTreeMap::new(),
            config: None,
            permits: Arc::new(Semaphore::new(MAX_SCRAPES)),
            writers: JoinSet::new(),
            started: Instant::now(),
        }
    }

    /// Evaluates the groups until `shutdown` completes or no further snapshot can follow.
    pub(super) async fn run(mut self, mut reader: Reader, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (mut tick, mut wake) = (every(EVALUATION_INTERVAL), every(WAKE_INTERVAL));
        self.follow(&reader.load_full());
        loop {
            let awaits_request = self.groups.values().any(Group::awaits_request);
            // Every arm is cancel-safe: each waits for a tick, a version or the end.
            tokio::select! {
                () = &mut shutdown => break,
                more = reader.changed() => {
                    if !more {
                        break;
                    }
                    self.follow(&reader.load_full());
                }
                _ = tick.tick() => {
                    self.evaluate(&reader.load_full(), |group, _| {
                        group.begin_regular();
                        true
                    });
                    self.save_histories(self.started.elapsed());
                }
                _ = wake.tick(), if awaits_request => {
                    self.evaluate(&reader.load_full(), Group::take_request);
                }
            }
        }
        self.end().await;
    }

    /// Applies the groups and policies of a snapshot if its configuration is another one.
    fn follow(&mut self, snapshot: &Snapshot) {
        let config = &snapshot.config;
        if self
            .config
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, config))
        {
            return;
        }
        self.config = Some(Arc::clone(config));
        let scaled: BTreeMap<&TargetGroupId, &Autoscaling> = config
            .target_groups
            .iter()
            .filter(|group| group.replicas.is_some())
            .filter_map(|group| Some((&group.id, group.autoscaling.as_ref()?)))
            .collect();
        // What an autoscaler before has requested stands until there is a configuration.
        if !config.target_groups.is_empty() || !self.groups.is_empty() {
            self.desired.send_if_modified(|desired| {
                let known = desired.len();
                desired.retain(|id, _| scaled.contains_key(id));
                desired.len() != known
            });
        }
        self.groups.retain(|id, _| scaled.contains_key(id));
        self.journal.retain(|id| scaled.contains_key(id));
        for (id, policy) in scaled {
            let group = self
                .groups
                .entry(id.clone())
                .or_insert_with(|| Group::new(id, policy, Arc::clone(&self.permits)));
            group.configure(policy, &mut self.writers);
        }
    }

    /// Evaluates the groups for which `is_due` returns true.
    fn evaluate(
        &mut self,
        snapshot: &Snapshot,
        is_due: impl Fn(&mut Group, &state::Group) -> bool,
    ) {
        self.follow(snapshot);
        let clocks = self.clocks();
        let status = self.replicas.borrow();
        self.desired.send_if_modified(|desired| {
            let mut is_other = false;
            for configured in snapshot.groups() {
                let (Some(group), Some(replicas), Some(policy)) = (
                    self.groups.get_mut(&configured.id),
                    status.get(&configured.id),
                    &configured.config.autoscaling,
                ) else {
                    continue;
                };
                let context = SampleContext {
                    group: configured,
                    timing: &policy.timing,
                    replicas,
                    metrics: &self.metrics,
                };
                if is_due(group, configured) {
                    let desired = desired.entry(configured.id.clone()).or_default();
                    let before = desired.count();
                    group.evaluate(context, clocks, desired, &self.journal);
                    is_other |= desired.count() != before;
                }
            }
            is_other
        });
    }

    fn clocks(&self) -> Clocks {
        let (instant, wall) = (Instant::now(), Timestamp::now());
        Clocks {
            now: Now {
                uptime: instant.duration_since(self.started),
                // The precision of records and the admin API.
                wall: wall.round(Unit::Millisecond).unwrap_or(wall),
            },
            instant: instant.into_std(),
        }
    }

    /// Stores the histories that are due, and reaps finished writers.
    fn save_histories(&mut self, now: Duration) {
        for group in self.groups.values_mut() {
            group.save_history(now, &mut self.writers);
        }
        while let Some(ended) = self.writers.try_join_next() {
            if ended.is_err() {
                error!("autoscaling writer panicked; its record or history may be incomplete");
            }
        }
    }

    /// Waits until records and histories are written.
    async fn end(mut self) {
        for (_, group) in std::mem::take(&mut self.groups) {
            self.writers.spawn(group.end());
        }
        let written = async { while self.writers.join_next().await.is_some() {} };
        if timeout(FLUSH_TIMEOUT, written).await.is_err() {
            error!("last evaluations not written within 1s: the disk is too slow");
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
