//! One probe loop per checked target, started and stopped as snapshots are published.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet, yield_now};
use tracing::error;

use super::probe_loop::ProbeLoop;
use super::prober::Prober;
use crate::config::HealthCheck;
use crate::model::{Endpoint, TargetGroupId, TargetId};
use crate::state::{Change, Publisher, Reader, Snapshot};
use crate::target::Target;
use crate::target_group::Registered;

/// Most checks at a time among those that come at registration: enough to check a thousand live
/// targets within a moment, few enough for the default limit of 1024 open files.
const REGISTRATIONS: usize = 256;

/// Loops that are started in a row before other tasks run.
const STARTS: usize = 256;

/// Owns the probe loops; dropping it ends them.
pub(super) struct Supervisor<P> {
    prober: P,
    publisher: Publisher,
    /// The newest snapshot.
    seen: Arc<Snapshot>,
    groups: HashMap<TargetGroupId, CheckedGroup>,
    /// Loops that are to be started: there may be a hundred thousand at once.
    to_start: VecDeque<(Arc<Target>, Arc<HealthCheck>)>,
    tasks: JoinSet<()>,
    registrations: Arc<Semaphore>,
    changes: mpsc::UnboundedSender<TargetId>,
    reports: mpsc::UnboundedReceiver<TargetId>,
}

/// A group that is checked.
struct CheckedGroup {
    targets: Arc<[Registered]>,
    check: Arc<HealthCheck>,
    loops: HashMap<Endpoint, RunningLoop>,
}

/// A loop; dropping this ends it.
struct RunningLoop {
    target: Arc<Target>,
    check: Arc<HealthCheck>,
    /// `None` until it is started.
    task: Option<AbortHandle>,
}

impl Drop for RunningLoop {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<P: Prober> Supervisor<P> {
    pub(super) fn new(prober: P, publisher: Publisher) -> Self {
        let (changes, reports) = mpsc::unbounded_channel();
        Self {
            prober,
            publisher,
            seen: Arc::new(Snapshot::empty()),
            groups: HashMap::new(),
            to_start: VecDeque::new(),
            tasks: JoinSet::new(),
            registrations: Arc::new(Semaphore::new(REGISTRATIONS)),
            changes,
            reports,
        }
    }

    /// Follows the snapshots until the publisher ends.
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
                        self.restart_panicked(&error);
                    }
                }
                Some(target) = self.reports.recv() => {
                    if !self.publisher.send(Change::Health { target }).await {
                        return;
                    }
                }
                () = yield_now(), if !self.to_start.is_empty() => self.start_some(),
            }
        }
    }

    /// Stops the loops of removed targets, and schedules loops for new targets and for those with
    /// a changed check. A restart keeps the record, which belongs to the target.
    fn follow(&mut self, snapshot: &Arc<Snapshot>) {
        let before = std::mem::replace(&mut self.seen, Arc::clone(snapshot));
        for gone in snapshot.gone_since(&before) {
            self.groups.remove(gone);
        }
        for group in snapshot.changed_since(&before) {
            let known = self.groups.remove(&group.id);
            let Some(check) = &group.config.health else {
                continue;
            };
            let next = self.checked(known, &group.targets, check);
            self.groups.insert(group.id.clone(), next);
        }
    }

    /// A group with these targets and this check. Keeps the loops of `known` that still fit.
    fn checked(
        &mut self,
        known: Option<CheckedGroup>,
        targets: &Arc<[Registered]>,
        check: &HealthCheck,
    ) -> CheckedGroup {
        let (mut before, check) = match known.filter(|known| *known.check == *check) {
            Some(known) if Arc::ptr_eq(&known.targets, targets) => return known,
            Some(known) => (known.loops, known.check),
            None => (HashMap::new(), Arc::new(check.clone())),
        };
        let mut loops = HashMap::with_capacity(targets.len());
        for registered in &**targets {
            let target = &registered.target;
            let running = before
                .remove(&target.id.addr)
                // A target that was removed and came back is another one with the same name.
                .filter(|running| running.target.serial == target.serial)
                .unwrap_or_else(|| {
                    let unstarted = (Arc::clone(target), Arc::clone(&check));
                    self.to_start.push_back(unstarted);
                    RunningLoop {
                        target: Arc::clone(target),
                        check: Arc::clone(&check),
                        task: None,
                    }
                });
            loops.insert(target.id.addr.clone(), running);
        }
        CheckedGroup {
            loops,
            targets: Arc::clone(targets),
            check,
        }
    }

    /// Starts some of the scheduled loops, but none that was removed or changed since.
    fn start_some(&mut self) {
        for _ in 0..STARTS {
            let Some((target, check)) = self.to_start.pop_front() else {
                return;
            };
            let probe_loop = self.probe_loop(&target, &check);
            if let Some(group) = self.groups.get_mut(&target.id.group)
                && let Some(running) = group.loops.get_mut(&target.id.addr)
                && running.target.serial == target.serial
                && Arc::ptr_eq(&running.check, &check)
            {
                running.task = Some(self.tasks.spawn(probe_loop.run()));
            }
        }
    }

    /// Replaces a loop that panicked: one bad response must not leave its target unchecked.
    fn restart_panicked(&mut self, error: &JoinError) {
        if !error.is_panic() {
            return;
        }
        let Some(running) = self
            .groups
            .values()
            .flat_map(|group| group.loops.values())
            .find(|running| running.task.as_ref().map(AbortHandle::id) == Some(error.id()))
        else {
            return;
        };
        let (target, check) = (running.target.clone(), running.check.clone());
        let TargetId { group, addr } = &target.id;
        error!(%group, target = %addr, %error, "health check panicked; starting it again");
        // Later: a check that panics at once must not spin.
        let probe_loop = self.probe_loop(&target, &check);
        let task = self.tasks.spawn(probe_loop.run_later());
        let group = self.groups.get_mut(group);
        if let Some(running) = group.and_then(|group| group.loops.get_mut(addr)) {
            running.task = Some(task);
        }
    }

    fn probe_loop(&self, target: &Arc<Target>, check: &Arc<HealthCheck>) -> ProbeLoop<P> {
        ProbeLoop {
            prober: self.prober.clone(),
            target: target.clone(),
            check: Arc::clone(check),
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
        let addr: Endpoint = addr.parse().unwrap();
        let snapshot = reader.load_full();
        let mut targets = snapshot.groups().iter().flat_map(|g| g.targets.iter());
        let found = targets.find(|t| t.target.id.addr == addr);
        found.unwrap().target.health().now()
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
    async fn a_changed_check_runs_at_once_and_the_record_stays() {
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
        let target = &snapshot.groups()[0].targets[0].target;
        assert_eq!(target.health().lock().last.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn removed_targets_are_not_checked_again() {
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
    async fn thousands_of_loops_are_started_in_slices() {
        let addrs: Vec<String> = (0..1000)
            .map(|n| format!("10.0.1.1:{}", 1000 + n))
            .collect();
        let addrs: Vec<&str> = addrs.iter().map(String::as_str).collect();
        let (publisher, reader) = publish(vec![group(&addrs)]).await;
        let mut supervisor = Supervisor::new(Script::default(), publisher.clone());
        supervisor.follow(&reader.load_full());
        assert_eq!(
            (supervisor.tasks.len(), supervisor.to_start.len()),
            (0, 1000)
        );
        supervisor.start_some();
        assert_eq!(supervisor.tasks.len(), STARTS);
        // Loops of targets that were removed meanwhile are not started.
        publisher
            .configure(config(vec![group(&addrs[..300])]))
            .await
            .unwrap();
        supervisor.follow(&reader.load_full());
        while !supervisor.to_start.is_empty() {
            supervisor.start_some();
        }
        assert_eq!(supervisor.tasks.len(), 300);
        let probe_loop = supervisor.probe_loop(
            &reader.load().groups()[0].targets[0].target,
            &supervisor.groups[&"todo".into()].check,
        );
        let bytes = size_of_val(&probe_loop.run());
        assert!(bytes < 1024, "{bytes} bytes for each target");
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
