//! One reconciler per group that has replicas, started and retired as snapshots come.
//!
//! A reconciler that panics is started again after a while, each time a longer one: the cause
//! of the panic is likely to be there still.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::group::{GroupReconciler, Order, StartProvider};
use super::retry::RetryState;
use crate::config::{Config, Scaler, TargetGroup};
use crate::model::TargetGroupId;
use crate::replicas::panic::message;
use crate::replicas::{DesiredCount, DesiredCounts, GroupReplicas, ReplicaId, Restart, Status};
use crate::state::{Publisher, Reader, Snapshot};

/// Owns the reconcilers; dropping it drops them.
pub(crate) struct Supervisor {
    reader: Reader,
    publisher: Publisher,
    desired: watch::Receiver<DesiredCounts>,
    status: watch::Sender<Status>,
    start: StartProvider,
    /// Replicas that are to be replaced.
    restarts: mpsc::Receiver<Restart>,
    /// The configuration that the orders were taken from.
    config: Arc<Config>,
    groups: HashMap<TargetGroupId, RunningGroup>,
    tasks: JoinSet<()>,
    /// Of groups with a reconciler that has panicked.
    panics: HashMap<TargetGroupId, RetryState>,
}

struct RunningGroup {
    orders: watch::Sender<Order>,
    restarts: mpsc::Sender<ReplicaId>,
    task: Id,
    since: Instant,
}

/// Requests to replace a replica that may wait: a reconciler takes them at once.
const RESTART_QUEUE: usize = 64;

/// A reconciler that ran for so long did not panic for the same reason as the one before.
const RECOVERY_TIME: Duration = Duration::from_secs(60);

impl Supervisor {
    /// `start` makes the provider of a group.
    pub(crate) fn new(
        reader: Reader,
        publisher: Publisher,
        desired: watch::Receiver<DesiredCounts>,
        status: watch::Sender<Status>,
        start: StartProvider,
    ) -> Self {
        Self {
            reader,
            publisher,
            desired,
            status,
            start,
            // Closed.
            restarts: mpsc::channel(1).1,
            config: Arc::new(Config::empty()),
            groups: HashMap::new(),
            tasks: JoinSet::new(),
            panics: HashMap::new(),
        }
    }

    /// The same, which takes requests to replace replicas.
    pub(crate) fn taking(self, restarts: mpsc::Receiver<Restart>) -> Self {
        Self { restarts, ..self }
    }

    /// Follows the snapshots until `shutdown` is done, and ends when the last replica has.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        self.follow(&self.reader.load_full());
        loop {
            let next_start = self.next_start();
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                () = &mut shutdown => break,
                more = self.reader.changed() => {
                    if !more {
                        break;
                    }
                    if Arc::ptr_eq(&self.config, &self.reader.load().config) {
                        continue;
                    }
                }
                Ok(()) = self.desired.changed() => {}
                Some(restart) = self.restarts.recv() => self.restart(&restart),
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                () = sleep_until(next_start) => {}
            }
            self.follow(&self.reader.load_full());
        }
        for group in self.groups.values() {
            // A reconciler that has ended needs no order.
            let _ = group.orders.send(Order::Stop);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// A reconciler that has ended, or has many requests waiting, replaces none.
    fn restart(&self, restart: &Restart) {
        if let Some(group) = self.groups.get(&restart.group) {
            let _ = group.restarts.try_send(restart.replica);
        }
    }

    /// Gives every reconciler its order, and starts those that are missing.
    fn follow(&mut self, snapshot: &Snapshot) {
        self.config = Arc::clone(&snapshot.config);
        let groups = snapshot.config.target_groups.iter();
        let mut wanted: HashMap<&TargetGroupId, Order> = groups
            .filter_map(|group| Some((&group.id, self.order(group)?)))
            .collect();
        for (id, group) in &self.groups {
            let order = wanted.remove(id).unwrap_or(Order::Retire);
            group.orders.send_if_modified(|current| {
                let is_other = *current != order;
                *current = order;
                is_other
            });
        }
        let now = Instant::now();
        for (group, order) in wanted {
            let panics = self.panics.get(group);
            if panics.is_none_or(|panics| panics.is_due(now)) {
                self.start_group(group, order);
            }
        }
        self.forget_panics(snapshot);
    }

    /// Those of groups that have no replicas any more.
    fn forget_panics(&mut self, snapshot: &Snapshot) {
        let groups = &snapshot.config.target_groups;
        let has_replicas =
            |id: &TargetGroupId| groups.iter().any(|g| g.id == *id && g.replicas.is_some());
        for (gone, _) in self.panics.extract_if(|id, _| !has_replicas(id)) {
            if !self.groups.contains_key(&gone) {
                self.status.send_modify(|status| {
                    status.remove(&gone);
                });
            }
        }
    }

    /// When a reconciler that has panicked is to be started again.
    fn next_start(&self) -> Instant {
        self.panics
            .iter()
            .filter(|(group, _)| !self.groups.contains_key(*group))
            .filter_map(|(_, panics)| panics.retry_at())
            .min()
            .unwrap_or_else(|| Instant::now() + RECOVERY_TIME)
    }

    /// What a group's reconciler is to do; `None` without replicas. What the autoscaler wants
    /// for a group that has no replicas yet is kept for when it has.
    fn order(&self, group: &TargetGroup) -> Option<Order> {
        let replicas = group.replicas.clone()?;
        let all_desired = self.desired.borrow();
        // The autoscaler here has no say in what another Weir scales.
        let desired = all_desired
            .get(&group.id)
            .filter(|_| replicas.scaler != Scaler::No)
            .and_then(DesiredCount::count);
        // What an engine has scaled to stands when Weir is started again.
        let stands = !replicas.runner.is_own() && group.autoscaling.is_some();
        let first = group.first_replicas().filter(|_| !stands);
        Some(Order::Run(Box::new(replicas), desired.or(first)))
    }

    fn start_group(&mut self, id: &TargetGroupId, order: Order) {
        let (restarts, restarted) = mpsc::channel(RESTART_QUEUE);
        let reconciler = GroupReconciler::new(
            id.clone(),
            self.start.clone(),
            self.publisher.clone(),
            self.reader.clone(),
            self.status.clone(),
            restarted,
        );
        let (orders, receiver) = watch::channel(order);
        let group = RunningGroup {
            orders,
            restarts,
            task: self.tasks.spawn(reconciler.run(receiver)).id(),
            since: Instant::now(),
        };
        self.groups.insert(id.clone(), group);
    }

    /// Forgets a reconciler that has ended. The next look at the snapshot starts another one
    /// if there is to be one, and if it is time after a panic.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, error) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let ended = self.groups.extract_if(|_, group| group.task == task).next();
        // Without a panic it has ended by itself, or Weir ends.
        if let Some((id, group)) = ended
            && let Some(Ok(panic)) = error.map(JoinError::try_into_panic)
        {
            self.note_panic(id, group.since, &message(&*panic));
        }
    }

    fn note_panic(&mut self, group: TargetGroupId, since: Instant, panic: &str) {
        let panics = self.panics.entry(group.clone()).or_default();
        if since.elapsed() >= RECOVERY_TIME {
            panics.succeeded();
        }
        let message = format!("managing the replicas {panic}");
        if panics.failed(message, Instant::now()) {
            error!(%group, "managing the replicas of a group {panic}; starting again, ever more slowly");
        }
        let fault = panics.fault().cloned();
        self.status.send_modify(|status| {
            // Nothing is known of them now.
            *status.entry(group).or_default() = GroupReplicas {
                fault,
                ..GroupReplicas::default()
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::super::fake::{Fake, Script};
    use super::*;
    use crate::config::{Autoscaling, ExecRunner, Profile, Replicas, Runner};
    use crate::replicas::Provider;
    use crate::replicas::fixture::processes;
    use crate::state::fixture::{config, empty_group, publish};

    struct Rig {
        fake: Fake,
        publisher: Publisher,
        desired: watch::Sender<DesiredCounts>,
        status: watch::Receiver<Status>,
        _supervisor: JoinHandle<()>,
    }

    impl Rig {
        /// Without replicas yet.
        async fn start() -> Self {
            let (publisher, reader) = publish(vec![empty_group()]).await;
            let fake = Fake::default();
            let given = fake.clone();
            let start = move |_: &_, _: &_| -> Box<dyn Provider> {
                given.script().calls.push("start".to_owned());
                let is_broken = given.script().panics.contains("start");
                assert!(!is_broken, "no start");
                Box::new(given.clone())
            };
            let (desired, receiver) = watch::channel(DesiredCounts::new());
            let (writer, status) = watch::channel(Status::new());
            let start = Arc::new(start);
            let supervisor = Supervisor::new(reader, publisher.clone(), receiver, writer, start);
            Self {
                fake,
                publisher,
                desired,
                status,
                _supervisor: tokio::spawn(supervisor.run(std::future::pending())),
            }
        }

        async fn configure(&self, group: TargetGroup) {
            self.publisher.configure(config(vec![group])).await.unwrap();
            self.settle().await;
        }

        async fn want(&self, count: u32) {
            self.desired.send_modify(|desired| {
                desired.insert("todo".into(), DesiredCount::of(count));
            });
            self.settle().await;
        }

        async fn settle(&self) {
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn group(replicas: Replicas) -> TargetGroup {
        TargetGroup {
            replicas: Some(replicas),
            ..empty_group()
        }
    }

    fn engine() -> Replicas {
        Replicas {
            runner: Runner::Exec(ExecRunner {
                list: Vec::new(),
                scale: Vec::new(),
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                secrets: std::collections::BTreeSet::new(),
            }),
            ..processes(2, &[])
        }
    }

    fn autoscaling() -> Autoscaling {
        Autoscaling::without_policies(Profile::Fast, 1, 4)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconciler_that_panics_is_started_again_ever_more_slowly_and_shown() {
        let rig = Rig::start().await;
        rig.fake.change(|script| {
            script.panics.insert("start");
        });
        rig.configure(group(processes(2, &["replica"]))).await;
        sleep(Duration::from_secs(100)).await;
        // After 1, 2, 4, 8, 16, 30 and 30 seconds.
        assert_eq!(rig.fake.calls("start"), 8);
        let fault = rig.status.borrow()[&"todo".into()].fault.clone();
        let expected = "managing the replicas panicked: no start";
        assert_eq!(fault.unwrap().message, expected);
        rig.fake.change(Script::recover);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.fake.count(), 2);
        assert_eq!(rig.status.borrow()[&"todo".into()].fault, None);
        rig.fake.change(|script| {
            script.panics.insert("start");
        });
        rig.configure(group(engine())).await;
        assert!(rig.status.borrow()[&"todo".into()].fault.is_some());
        rig.configure(empty_group()).await;
        assert!(rig.status.borrow().is_empty(), "nothing is left to show");
    }

    #[tokio::test(start_paused = true)]
    async fn a_desired_count_comes_before_the_configured_one_and_waits_for_the_replicas() {
        let rig = Rig::start().await;
        rig.want(3).await;
        assert!(rig.status.borrow().is_empty());
        rig.configure(group(processes(1, &["replica"]))).await;
        assert_eq!(rig.fake.count(), 3);
        rig.want(4).await;
        assert_eq!(rig.fake.count(), 4);
        assert_eq!(rig.status.borrow()[&"todo".into()].desired, 4);
        rig.desired.send_replace(DesiredCounts::new());
        rig.settle().await;
        assert_eq!(rig.fake.script().desired, 1, "no count is wanted any more");
    }

    #[tokio::test(start_paused = true)]
    async fn desired_counts_are_not_for_what_another_weir_scales() {
        let rig = Rig::start().await;
        rig.want(3).await;
        let followed = Replicas {
            scaler: Scaler::No,
            ..processes(2, &["replica"])
        };
        rig.configure(group(followed)).await;
        assert_eq!(rig.fake.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_keeps_its_own_number_until_the_autoscaler_wants_another() {
        let rig = Rig::start().await;
        rig.fake.script().is_engine = true;
        rig.fake.script().scale(4);
        let scaled = TargetGroup {
            autoscaling: Some(autoscaling()),
            ..group(engine())
        };
        rig.configure(scaled).await;
        assert_eq!((rig.fake.count(), rig.fake.calls("set_count")), (4, 0));
        rig.want(3).await;
        assert_eq!(rig.fake.count(), 3);
        rig.desired.send_replace(DesiredCounts::new());
        rig.configure(group(engine())).await;
        assert_eq!(rig.fake.count(), 2, "as configured");
    }
}
