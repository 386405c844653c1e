//! The loop against simulated replicas, under a paused clock.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fixture::{no_policies, tracking};
use super::{AlarmState, GroupJournal, Journal, PolicyKind, Reason, ScalingOutcome, run};
use crate::config::{
    Allowance, Autoscaling, Metric, Predictive, ProcessRunner, Replicas, Runner, Scaler,
    TargetGroup,
};
use crate::model::TargetId;
use crate::observe::Metrics;
use crate::replicas::{
    DesiredCount, DesiredCounts, Fault, GroupReplicas, Replica, ReplicaId, ReplicaState, Status,
    Usage,
};
use crate::state::fixture::{config, empty_group, publish};
use crate::state::{Change, Publisher, Reader, Source};
use crate::target::{Target, Wants};

const SECOND: Duration = Duration::from_secs(1);

/// Under a paused clock: until every task waits.
const MOMENT: Duration = Duration::from_millis(5);

fn policy(metric: Metric, target: f64) -> Autoscaling {
    Autoscaling {
        target_tracking: vec![tracking(metric, target)],
        ..no_policies(1, 8)
    }
}

fn group(policy: Autoscaling) -> TargetGroup {
    let process = ProcessRunner {
        command: vec!["replica".to_owned()],
        env: Vec::new(),
        secrets: std::collections::BTreeSet::new(),
        directory: None,
        stop_timeout: SECOND,
        output: crate::config::ReplicaOutput::Log,
    };
    TargetGroup {
        replicas: Some(Replicas {
            runner: Runner::Process(process),
            count: None,
            allowance: Allowance::default(),
            warm_up: None,
            scaler: Scaler::Lease,
        }),
        autoscaling: Some(policy),
        ..empty_group()
    }
}

/// What the autoscaler has requested for the group.
fn requested(desired: &watch::Receiver<DesiredCounts>) -> Option<u32> {
    let desired = desired.borrow();
    desired.get(&"todo".into()).and_then(DesiredCount::count)
}

/// An autoscaler of one group, and the simulated replicas of that group.
struct Rig {
    publisher: Publisher,
    reader: Reader,
    fleet: watch::Sender<Status>,
    desired: watch::Receiver<DesiredCounts>,
    journal: Arc<Journal>,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Rig {
    /// A group of `count` replicas that have run for a long time.
    async fn start(group: TargetGroup, count: u32) -> Self {
        let (publisher, reader) = publish(vec![group]).await;
        let (fleet, status) = watch::channel(Status::new());
        let (writer, desired) = watch::channel(DesiredCounts::new());
        let journal = Arc::new(Journal::default());
        let (shutdown, down) = oneshot::channel::<()>();
        let metrics = Arc::new(Metrics::default());
        let down = async { drop(down.await) };
        let task = tokio::spawn(run(
            reader.clone(),
            metrics,
            status,
            writer,
            Arc::clone(&journal),
            down,
        ));
        let rig = Self {
            publisher,
            reader,
            fleet,
            desired,
            journal,
            shutdown,
            task,
        };
        rig.run(count, SystemTime::UNIX_EPOCH).await;
        rig
    }

    /// Sets the number of replicas, all of which are targets.
    async fn run(&self, count: u32, since: SystemTime) {
        let addrs: Vec<SocketAddr> = (1..=count)
            .map(|n| SocketAddr::from(([127, 0, 0, 1], n as u16)))
            .collect();
        let change = Change::Members {
            group: "todo".into(),
            source: Source::Replicas,
            members: addrs.iter().map(|&addr| (addr.into(), 1)).collect(),
        };
        assert!(self.publisher.send(change).await);
        sleep(MOMENT).await;
        let replicas = addrs.iter().enumerate().map(|(n, &addr)| Replica {
            id: ReplicaId(n as u64),
            name: None,
            pid: None,
            address: Some(addr),
            state: ReplicaState::Running,
            restarts: 0,
            since,
            started: None,
            last_exit: None,
        });
        let replicas = replicas.collect();
        self.change(|group| {
            group.desired = count;
            group.replicas = replicas;
            group.is_scaler = true;
        });
    }

    fn change(&self, change: impl FnOnce(&mut GroupReplicas)) {
        self.fleet
            .send_modify(|status| change(status.entry("todo".into()).or_default()));
    }

    /// Reports this CPU usage of each replica for `time`.
    async fn use_cpu(&self, percent: f64, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.change(|group| {
                let usage = Usage {
                    cpu: Some(percent),
                    memory: None,
                };
                let ids = group.replicas.iter().map(|replica| replica.id);
                group.usage = ids.map(|id| (id, usage)).collect();
                group.measured = Some(Instant::now().into_std());
            });
            sleep(SECOND / 4).await;
        }
    }

    /// Sends `per_second` requests to each target until the desired count changes or the time is
    /// over. Returns how long that took.
    async fn ask(&self, per_second: u32, longest: Duration) -> Duration {
        let (began, before) = (Instant::now(), self.requested());
        while began.elapsed() < longest && self.requested() == before {
            for target in self.targets() {
                for _ in 0..per_second / 10 {
                    drop(target.lease());
                }
            }
            sleep(SECOND / 10).await;
        }
        began.elapsed()
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        let snapshot = self.reader.load_full();
        let targets = snapshot.groups()[0].targets.iter();
        targets.map(|t| Arc::clone(&t.target)).collect()
    }

    /// What the autoscaler has requested.
    fn requested(&self) -> Option<u32> {
        requested(&self.desired)
    }

    fn log(&self) -> GroupJournal {
        self.journal.group(&"todo".into()).expect("evaluations")
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_step_becomes_a_request_for_replicas_within_three_seconds() {
    let rig = Rig::start(group(policy(Metric::RequestsPerTarget, 20.0)), 1).await;
    rig.ask(20, 20 * SECOND).await;
    assert_eq!(rig.requested(), None, "at the target nothing happens");
    let took = rig.ask(100, 20 * SECOND).await;
    assert!(took <= 3 * SECOND, "{took:?}");
    let count = rig.requested().unwrap();
    assert!(
        (4..=5).contains(&count),
        "{count}: a datapoint may be of both"
    );
    let change = rig.log().last_change().unwrap().clone();
    assert_eq!(
        (change.outcome, change.desired),
        (ScalingOutcome::ScaleOut, count)
    );
    assert_eq!(change.recompute(), count);
    rig.ask(100, 3 * SECOND).await;
    assert!(
        rig.requested() >= Some(count),
        "an unhurried provider changes nothing"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cpu_that_is_not_measured_scales_nothing_and_says_so() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 2).await;
    rig.use_cpu(20.0, 10 * SECOND).await;
    assert_ne!(
        rig.log().latest.results[0].alarm,
        AlarmState::InsufficientData
    );
    // One of the two could not be measured, and that may be the one with the load.
    rig.change(|group| group.usage.retain(|id, _| id.0 > 0));
    sleep(3 * SECOND).await;
    let latest = rig.log().latest;
    assert_eq!(
        latest.outcome,
        ScalingOutcome::Hold(Reason::InsufficientData)
    );
    assert_eq!(latest.results[0].alarm, AlarmState::InsufficientData);
    // And then none was, for long.
    rig.use_cpu(20.0, SECOND).await;
    sleep(100 * SECOND).await;
    let latest = rig.log().latest;
    assert_eq!(
        latest.outcome,
        ScalingOutcome::Hold(Reason::InsufficientData)
    );
    assert_eq!(rig.requested(), None);
    rig.use_cpu(90.0, 5 * SECOND).await;
    assert_eq!(
        rig.requested(),
        Some(8),
        "ceil(2 * 90 / 20) is beyond the bound"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_not_the_scaler_only_evaluates() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 1).await;
    rig.change(|group| group.is_scaler = false);
    rig.use_cpu(65.0, 10 * SECOND).await;
    assert_eq!(rig.requested(), None);
    let log = rig.log();
    assert_eq!(log.latest.outcome, ScalingOutcome::Hold(Reason::NotScaler));
    assert_eq!(
        log.latest.results[0].wants,
        Some(4),
        "it evaluates its policies"
    );
    // The other process is gone.
    rig.change(|group| group.is_scaler = true);
    rig.use_cpu(65.0, 2 * SECOND).await;
    assert_eq!(rig.requested(), Some(4));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_wakes_a_group_at_once() {
    let mut waking = policy(Metric::Cpu, 20.0);
    waking.min = 0;
    let rig = Rig::start(group(waking), 0).await;
    sleep(3 * SECOND).await;
    assert_eq!(rig.log().latest.desired, 0);
    let snapshot = rig.reader.load_full();
    let admission = &snapshot.groups()[0].admission;
    // A request waits only if a target may serve it later.
    let id = TargetId {
        group: "todo".into(),
        addr: ([127, 0, 0, 1], 1).into(),
    };
    let target = Arc::new(Target::with_admission(id, Arc::clone(admission)));
    admission.open(NonZeroU32::new(1), &[Arc::clone(&target)], false);
    let _lease = target.lease();
    let wants = Wants::Only(target.serial);
    let _waiter = admission.enqueue(wants, 1).expect("a place in the line");
    assert_eq!(admission.waiting(), 1);
    sleep(Duration::from_millis(60)).await;
    assert_eq!(rig.requested(), Some(1));
    assert_eq!(
        rig.log().last_change().unwrap().results[1].kind,
        PolicyKind::Zero
    );
    let evaluated = rig.log().evaluated();
    sleep(Duration::from_millis(995)).await;
    assert_eq!(
        rig.log().evaluated(),
        evaluated + 1,
        "once, not at each wake interval"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_another_process_has_to_wake_is_not_evaluated_all_the_time() {
    let mut waking = policy(Metric::Cpu, 20.0);
    waking.min = 0;
    let rig = Rig::start(group(waking), 0).await;
    rig.change(|group| group.is_scaler = false);
    sleep(3 * SECOND).await;
    let snapshot = rig.reader.load_full();
    let admission = &snapshot.groups()[0].admission;
    admission.open(None, &[], true);
    let waiter = admission.enqueue(Wants::AnyBut(Vec::new()), 1);
    let _waiter = waiter.expect("a place in the line");
    let evaluated = rig.log().evaluated();
    sleep(10 * SECOND).await;
    let more = rig.log().evaluated() - evaluated;
    assert!(
        (10..=21).contains(&more),
        "{more}: once a second, and one call"
    );
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_scales_by_hand_is_respected() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 1).await;
    rig.use_cpu(20.0, 3 * SECOND).await;
    rig.run(3, SystemTime::UNIX_EPOCH).await;
    rig.use_cpu(18.5, 70 * SECOND).await;
    assert_eq!(rig.requested(), None);
    let latest = rig.log().latest;
    assert_eq!((latest.before, latest.desired), (3, 3));
    rig.use_cpu(40.0, 4 * SECOND).await;
    assert_eq!(rig.requested(), Some(6), "ceil(3 * 40 / 20)");
    rig.run(5, SystemTime::UNIX_EPOCH).await;
    rig.use_cpu(20.0, 3 * SECOND).await;
    assert_eq!(rig.requested(), Some(5), "6 is not asked for again");
    // Out of bounds is out of bounds.
    rig.run(12, SystemTime::UNIX_EPOCH).await;
    rig.use_cpu(20.0, 3 * SECOND).await;
    assert_eq!(rig.requested(), Some(8));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_slow_provider_is_asked_once() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 1).await;
    rig.use_cpu(65.0, 30 * SECOND).await;
    assert_eq!(rig.requested(), Some(4));
    let log = rig.log();
    let changes = log.counts.get(&("scale_out", None));
    assert_eq!(changes, Some(&1), "{:?}", log.counts);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn before_the_provider_has_answered_nothing_is_asked() {
    let (_publisher, reader) = publish(vec![group(policy(Metric::Cpu, 20.0))]).await;
    let mut unknown = GroupReplicas {
        is_scaler: true,
        fault: Some(Fault {
            message: "down".to_owned(),
            since: SystemTime::UNIX_EPOCH,
        }),
        ..GroupReplicas::default()
    };
    let (fleet, status) = watch::channel(Status::from([("todo".into(), unknown.clone())]));
    let (writer, desired) = watch::channel(DesiredCounts::new());
    let journal = Arc::new(Journal::default());
    let metrics = Arc::new(Metrics::default());
    let forever = std::future::pending();
    let _task = tokio::spawn(run(
        reader,
        metrics,
        status,
        writer,
        journal.clone(),
        forever,
    ));
    sleep(10 * SECOND).await;
    assert_eq!(requested(&desired), None);
    assert!(journal.group(&"todo".into()).is_none());
    (unknown.fault, unknown.desired) = (None, 4);
    fleet.send_replace(Status::from([("todo".into(), unknown)]));
    sleep(2 * SECOND).await;
    assert_eq!(journal.group(&"todo".into()).unwrap().latest.desired, 4);
}

#[tokio::test(start_paused = true)]
async fn groups_and_policies_come_and_go_with_the_configuration() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 1).await;
    rig.use_cpu(65.0, 5 * SECOND).await;
    assert_eq!(rig.requested(), Some(4));
    let mut fewer = policy(Metric::Cpu, 20.0);
    fewer.max = 2;
    let changed = config(vec![empty_group(), group(fewer)]);
    let mut other = changed.clone();
    other.target_groups[0].id = "other".into();
    rig.publisher.configure(other).await.unwrap();
    rig.use_cpu(65.0, 2 * SECOND).await;
    assert_eq!(rig.requested(), Some(2), "the new bound holds");
    let mut still = group(policy(Metric::Cpu, 20.0));
    still.autoscaling = None;
    rig.publisher.configure(config(vec![still])).await.unwrap();
    rig.use_cpu(65.0, 2 * SECOND).await;
    assert_eq!(rig.requested(), None);
    assert!(rig.journal.group(&"todo".into()).is_none());
    rig.stop().await;
}

#[tokio::test]
async fn at_the_end_all_is_written_down() {
    let folder = TempDir::new().unwrap();
    let mut policy = policy(Metric::Cpu, 20.0);
    let (record, history) = (folder.path().join("a.csv"), folder.path().join("b.json"));
    policy.record = Some(record.clone());
    policy.predictive = Some(Predictive {
        metric: Metric::Memory,
        target: 50.0,
        scale: false,
        buffer: Duration::ZERO,
        history: Some(history.clone()),
    });
    let rig = Rig::start(group(policy), 1).await;
    let evaluated = async {
        while rig.journal.group(&"todo".into()).is_none() {
            sleep(MOMENT).await;
        }
    };
    timeout(20 * SECOND, evaluated).await.unwrap();
    let latest = rig.log().latest;
    rig.stop().await;
    let text = std::fs::read_to_string(record).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(",formula,cpu,memory"), "{text}");
    assert!(lines[1].contains(",todo,1,1,1,0,1,8,hold,insufficient_data,"));
    assert_eq!(latest.desired, 1);
    let text = std::fs::read_to_string(history).unwrap();
    assert!(text.contains("memory"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_was_left_to_be_asked_outlives_the_time_before_the_first_configuration() {
    let (publisher, task, reader) = Publisher::new(1);
    let _task = tokio::spawn(task.run());
    let (fleet, status) = watch::channel(Status::new());
    let three = DesiredCount::of(3);
    let (writer, desired) = watch::channel(DesiredCounts::from([("todo".into(), three)]));
    let _scaling = tokio::spawn(run(
        reader,
        Arc::new(Metrics::default()),
        status,
        writer,
        Arc::new(Journal::default()),
        std::future::pending(),
    ));
    sleep(3 * SECOND).await;
    assert_eq!(requested(&desired), Some(3), "nothing is configured yet");
    let scaled = group(policy(Metric::Cpu, 20.0));
    publisher.configure(config(vec![scaled])).await.unwrap();
    let three = GroupReplicas {
        desired: 3,
        is_scaler: true,
        ..GroupReplicas::default()
    };
    fleet.send_replace(Status::from([("todo".into(), three)]));
    sleep(3 * SECOND).await;
    assert_eq!(requested(&desired), Some(3));
    publisher
        .configure(config(vec![empty_group()]))
        .await
        .unwrap();
    sleep(3 * SECOND).await;
    assert_eq!(
        requested(&desired),
        None,
        "no autoscaler scales it any more"
    );
}

#[tokio::test(start_paused = true)]
async fn the_loop_ends_with_the_snapshots() {
    let rig = Rig::start(group(policy(Metric::Cpu, 20.0)), 1).await;
    drop(rig.publisher);
    rig.task.await.unwrap();
}
