//! The loop: looks at every group that scales once a second, and more often at those that
//! have no replicas.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tracing::error;

use super::custom::AT_ONCE;
use super::group::Group;
use super::signal::{Moment, Subject};
use super::{Journal, Now};
use crate::config::{Autoscaling, Config};
use crate::model::TargetGroupId;
use crate::observe::Metrics;
use crate::replicas::{Status, Wishes};
use crate::state::{Reader, Snapshot};

/// From one evaluation of a group to the next.
const TICK: Duration = Duration::from_secs(1);

/// A group without replicas is glanced at so often: its first request must not wait for a
/// tick.
const GLANCE: Duration = Duration::from_millis(50);

/// For what is still to be written at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Owns the groups.
#[derive(Debug)]
pub(super) struct Autoscaler {
    metrics: Arc<Metrics>,
    replicas: watch::Receiver<Status>,
    wishes: watch::Sender<Wishes>,
    journal: Arc<Journal>,
    groups: BTreeMap<TargetGroupId, Group>,
    /// What an autoscaler before has asked for, until there is a configuration.
    left: Wishes,
    /// The configuration that the groups follow.
    config: Option<Arc<Config>>,
    /// What all groups share to read pages of replicas.
    places: Arc<Semaphore>,
    /// They write records, until their groups are gone, and histories.
    writers: JoinSet<()>,
    started: Instant,
}

impl Autoscaler {
    pub(super) fn new(
        metrics: Arc<Metrics>,
        replicas: watch::Receiver<Status>,
        wishes: watch::Sender<Wishes>,
        journal: Arc<Journal>,
    ) -> Self {
        let left = wishes.borrow().clone();
        Self {
            metrics,
            replicas,
            wishes,
            journal,
            groups: BTreeMap::new(),
            left,
            config: None,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            writers: JoinSet::new(),
            started: Instant::now(),
        }
    }

    /// Follows the snapshots until `shutdown` is done or there will be no more.
    pub(super) async fn run(mut self, mut reader: Reader, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (mut tick, mut glance) = (every(TICK), every(GLANCE));
        self.follow(&reader.load_full());
        loop {
            let is_asleep = self.groups.values().any(Group::is_asleep);
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
                    self.evaluate(&reader.load_full(), |group, _, _| group.is_due());
                    self.keep(self.started.elapsed());
                }
                _ = glance.tick(), if is_asleep => {
                    self.evaluate(&reader.load_full(), Group::is_called);
                }
            }
        }
        self.end().await;
    }

    /// Takes over the groups and policies of a snapshot whose configuration is another one.
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
        self.groups.retain(|id, _| scaled.contains_key(id));
        self.journal.retain(|id| scaled.contains_key(id));
        for (id, policy) in scaled {
            let (places, left) = (&self.places, &mut self.left);
            let group = self
                .groups
                .entry(id.clone())
                .or_insert_with(|| Group::new(id, policy, Arc::clone(places), left.remove(id)));
            group.configure(policy, &mut self.writers);
        }
        if !config.target_groups.is_empty() {
            self.left.clear();
        }
        self.tell_wishes();
    }

    /// Evaluates the groups of which `is_due` says so.
    fn evaluate(
        &mut self,
        snapshot: &Snapshot,
        is_due: impl Fn(&mut Group, &Snapshot, usize) -> bool,
    ) {
        self.follow(snapshot);
        let moment = self.moment();
        {
            let status = self.replicas.borrow();
            for (index, config) in snapshot.config.target_groups.iter().enumerate() {
                let (Some(group), Some(replicas), Some(policy)) = (
                    self.groups.get_mut(&config.id),
                    status.get(&config.id),
                    &config.autoscaling,
                ) else {
                    continue;
                };
                let subject = Subject {
                    snapshot,
                    index,
                    timing: &policy.timing,
                    replicas,
                    metrics: &self.metrics,
                };
                if is_due(group, snapshot, index) {
                    group.evaluate(subject, moment, &self.journal);
                }
            }
        }
        self.tell_wishes();
    }

    fn tell_wishes(&self) {
        let groups = self.groups.iter();
        let asked = groups.filter_map(|(id, group)| Some((id.clone(), group.wish()?)));
        let mut wishes = self.left.clone();
        wishes.extend(asked);
        self.wishes.send_if_modified(|current| {
            let is_other = *current != wishes;
            *current = wishes;
            is_other
        });
    }

    fn moment(&self) -> Moment {
        let (instant, wall) = (Instant::now(), Timestamp::now());
        Moment {
            now: Now {
                uptime: instant.duration_since(self.started),
                // As it is shown.
                wall: wall.round(Unit::Millisecond).unwrap_or(wall),
            },
            instant: instant.into_std(),
        }
    }

    /// Has the histories written down that are due.
    fn keep(&mut self, now: Duration) {
        for group in self.groups.values_mut() {
            group.keep(now, &mut self.writers);
        }
        while let Some(ended) = self.writers.try_join_next() {
            if ended.is_err() {
                error!("a task that writes for the autoscaler ended in a panic");
            }
        }
    }

    /// Lets what was recorded and learned reach the disk.
    async fn end(mut self) {
        for (_, group) in std::mem::take(&mut self.groups) {
            self.writers.spawn(group.end());
        }
        let written = async { while self.writers.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, written).await.is_err() {
            error!("the last evaluations were not written down: the disk is too slow");
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
