//! One probe loop per checked target, started and stopped as snapshots come.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::error;

use super::prober::Prober;
use super::probing::Probing;
use crate::config::HealthCheck;
use crate::model::{Target, TargetId};
use crate::state::{Change, Publisher, Reader, Snapshot};

/// Most checks at a time among those that come at registration: enough to hear from a
/// thousand live targets within a moment, few enough for the default limit of 1024
/// open files.
const REGISTRATIONS: usize = 256;

/// Owns the probe loops; dropping it ends them.
pub(super) struct Supervisor<P> {
    prober: P,
    publisher: Publisher,
    loops: HashMap<TargetId, Running>,
    tasks: JoinSet<()>,
    registrations: Arc<Semaphore>,
    changes: mpsc::UnboundedSender<TargetId>,
    reports: mpsc::UnboundedReceiver<TargetId>,
}

struct Running {
    target: Arc<Target>,
    check: HealthCheck,
    task: AbortHandle,
}

impl<P: Prober> Supervisor<P> {
    pub(super) fn new(prober: P, publisher: Publisher) -> Self {
        let (changes, reports) = mpsc::unbounded_channel();
        Self {
            prober,
            publisher,
            loops: HashMap::new(),
            tasks: JoinSet::new(),
            registrations: Arc::new(Semaphore::new(REGISTRATIONS)),
            changes,
            reports,
        }
    }

    /// Follows the snapshots until there will be no more.
    pub(super) async fn run(mut self, mut reader: Reader) {
        self.follow(&reader.load_full());
        loop {
            // Every arm is cancel-safe: each either waits for a message or took it.
            tokio::select! {
                more = reader.changed() => {
                    if !more {
                        return;
                    }
                    self.follow(&reader.load_full());
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Err(error) = ended {
                        self.revive(&error);
                    }
                }
                Some(target) = self.reports.recv() => {
                    if !self.publisher.send(Change::Health { target }).await {
                        return;
                    }
                }
            }
        }
    }

    /// Starts loops for new targets, stops those of removed ones, and restarts those
    /// whose check has changed. A restart keeps the record, which is the target's.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.loops);
        for (target, check) in snapshot.checked_targets() {
            let (id, running) = match before.remove_entry(&target.id) {
                // A target that was away for a while is another one with the same name.
                Some((id, running))
                    if Arc::ptr_eq(&running.target, target) && running.check == *check =>
                {
                    (id, running)
                }
                outdated => {
                    if let Some((_, outdated)) = outdated {
                        outdated.task.abort();
                    }
                    (target.id.clone(), self.start(target, check))
                }
            };
            self.loops.insert(id, running);
        }
        for gone in before.into_values() {
            gone.task.abort();
        }
    }

    fn start(&mut self, target: &Arc<Target>, check: &HealthCheck) -> Running {
        let task = self.tasks.spawn(self.probing(target, check).run());
        Running {
            target: target.clone(),
            check: check.clone(),
            task,
        }
    }

    /// Replaces a loop that panicked: one bad answer must not leave its target unwatched.
    fn revive(&mut self, error: &JoinError) {
        if !error.is_panic() {
            return;
        }
        let dead = |running: &&Running| running.task.id() == error.id();
        let Some(running) = self.loops.values().find(dead) else {
            return;
        };
        let (target, check) = (running.target.clone(), running.check.clone());
        let TargetId { group, addr } = &target.id;
        error!(%group, target = %addr, %error, "health check panicked, starting it again");
        // Later: a check that panics at once must not spin.
        let task = self.tasks.spawn(self.probing(&target, &check).run_later());
        if let Some(running) = self.loops.get_mut(&target.id) {
            running.task = task;
        }
    }

    fn probing(&self, target: &Arc<Target>, check: &HealthCheck) -> Probing<P> {
        Probing {
            prober: self.prober.clone(),
            target: target.clone(),
            check: check.clone(),
            registrations: self.registrations.clone(),
            changes: self.changes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::super::fixture::{Script, group, publish};
    use super::*;
    use crate::config::Config;
    use crate::model::Health;
    use crate::state::fixture::config;

    const A: &str = "10.0.0.1:80";
    const B: &str = "10.0.0.2:80";
    /// The fixture's interval, with a tenth of spread.
    const LONGEST: Duration = Duration::from_secs(11);
    const SHORTEST: Duration = Duration::from_secs(9);

    fn health(reader: &Reader, addr: &str) -> Health {
        let addr = addr.parse().unwrap();
        let snapshot = reader.load_full();
        let found = snapshot.checked_targets().find(|(t, _)| t.id.addr == addr);
        found.map(|(target, _)| target.health_now()).unwrap()
    }

    fn supervise(script: &Script, publisher: &Publisher, reader: &Reader) -> JoinSet<()> {
        let mut owner = JoinSet::new();
        owner.spawn(Supervisor::new(script.clone(), publisher.clone()).run(reader.clone()));
        owner
    }

    async fn configure(publisher: &Publisher, config: Config) {
        publisher.configure(config).await.unwrap();
        // Under a paused clock this lets every task run until all of them wait.
        sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_interval_counts_from_start_to_start() {
        let script = Script::default();
        script.take(Duration::from_secs(4));
        let (publisher, reader) = publish(vec![group(&[A])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_secs(1000)).await;
        let starts = script.starts(A);
        assert!((95..=105).contains(&starts.len()), "{}", starts.len());
        for pair in starts.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap >= SHORTEST && gap <= LONGEST, "{gap:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_check_comes_at_registration_and_one_pass_is_enough() {
        let script = Script::default();
        let (publisher, reader) = publish(vec![group(&[A])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(health(&reader, A), Health::Healthy);
        configure(&publisher, config(vec![group(&[A, B])])).await;
        assert_eq!(script.starts(B).len(), 1);
        assert_eq!(script.starts(A).len(), 1);
        assert_eq!(health(&reader, B), Health::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_leaves_and_returns_by_the_thresholds_and_each_time_is_published() {
        let script = Script::default();
        script.answer(A, &[true, false, true, false, false, true, true, true]);
        let (publisher, mut reader) = publish(vec![group(&[A])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        let mut seen = Vec::new();
        for _ in 0..3 {
            reader.changed().await;
            let at = script.starts(A).len();
            seen.push((at, health(&reader, A)));
        }
        let expected = [
            (1, Health::Healthy),
            (5, Health::Unhealthy),
            (8, Health::Healthy),
        ];
        assert_eq!(seen, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unchanged_check_is_not_restarted_by_a_reload() {
        let script = Script::default();
        let (publisher, reader) = publish(vec![group(&[A])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_secs(1)).await;
        for n in 1..=100 {
            let mut other = group(&[A]);
            other.upstream.max_idle = n;
            configure(&publisher, config(vec![other])).await;
        }
        assert_eq!(script.starts(A).len(), 1);
        sleep(LONGEST).await;
        assert_eq!(script.starts(A).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_check_is_asked_at_once_and_the_record_stays() {
        let script = Script::default();
        let (publisher, reader) = publish(vec![group(&[A])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_secs(1)).await;
        script.answer(A, &[false]);
        let mut other = group(&[A]);
        other.health.as_mut().unwrap().timeout = Duration::from_secs(1);
        configure(&publisher, config(vec![other])).await;
        assert_eq!(script.starts(A).len(), 2);
        // One failure: a fresh record would be initial.
        assert_eq!(health(&reader, A), Health::Healthy);
        let snapshot = reader.load_full();
        let (target, _) = snapshot.checked_targets().next().unwrap();
        assert_eq!(target.health().last.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn removed_targets_are_not_asked_again() {
        let script = Script::default();
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_secs(1)).await;
        configure(&publisher, config(vec![group(&[B])])).await;
        sleep(Duration::from_secs(100)).await;
        assert_eq!(script.starts(A).len(), 1);
        let mut unchecked = group(&[B]);
        unchecked.health = None;
        configure(&publisher, config(vec![unchecked])).await;
        let before = script.starts(B).len();
        assert!(before > 5, "{before}");
        sleep(Duration::from_secs(100)).await;
        assert_eq!(script.starts(B).len(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_stops_neither_the_others_nor_the_target_for_long() {
        let script = Script::default();
        script.panic_once(A);
        let (publisher, reader) = publish(vec![group(&[A, B])]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(health(&reader, A), Health::Initial);
        assert_eq!(health(&reader, B), Health::Healthy);
        sleep(LONGEST).await;
        assert_eq!(health(&reader, A), Health::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_does_not_include_waiting_for_other_registrations() {
        let script = Script::default();
        // With 256 at a time, the last of a thousand wait longer than the timeout of 5 s.
        script.take(Duration::from_secs(4));
        let addrs: Vec<String> = (0..1000)
            .map(|n| format!("10.0.1.1:{}", 1000 + n))
            .collect();
        let addrs: Vec<&str> = addrs.iter().map(String::as_str).collect();
        let mut registered = group(&addrs);
        registered.health.as_mut().unwrap().interval = Duration::from_secs(3600);
        let (publisher, reader) = publish(vec![registered]).await;
        let _owner = supervise(&script, &publisher, &reader);
        sleep(Duration::from_secs(17)).await;
        assert_eq!(script.most_at_once(), REGISTRATIONS);
        for addr in addrs {
            assert_eq!(health(&reader, addr), Health::Healthy, "{addr}");
        }
    }
}
