//! What a reconciler does with replicas, settings and orders.

mod faults;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fake::{Fake, Script};
use super::group::{GroupReconciler, Order};
use crate::config::{
    Autoscaling, ExecRunner, HealthCheck, Metric, Probe, Profile, Replicas, Runner, Scaler,
    TargetGroup, TargetTracking, WarmUpRequests, WebhookRunner,
};
use crate::model::{CheckFailure, CheckResult, HealthReason, Thresholds};
use crate::replicas::fixture::processes;
use crate::replicas::{GroupReplicas, NotBuilt, Provider, ReplicaId, ReplicaState, Status};
use crate::state::fixture::{config, empty_group, publish};
use crate::state::{Change, Publisher, Reader};
use crate::target::Target;

const DELAY: Duration = Duration::from_secs(30);
/// Enough for a change to reach the publisher and back, and for a drain to be noticed.
const MOMENT: Duration = Duration::from_millis(200);
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    fake: Fake,
    /// Of another kind of runner. A webhook is missing.
    other: Fake,
    publisher: Publisher,
    reader: Reader,
    status: watch::Receiver<Status>,
    orders: watch::Sender<Order>,
    restarts: mpsc::Sender<ReplicaId>,
    reconciler: JoinHandle<()>,
}

fn replicas(count: u32) -> Replicas {
    processes(count, &["replica"])
}

fn group() -> TargetGroup {
    TargetGroup {
        replicas: Some(replicas(2)),
        deregistration_delay: DELAY,
        ..empty_group()
    }
}

fn checked() -> TargetGroup {
    let check = HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(10),
        timeout: SECOND,
        thresholds: Thresholds {
            healthy: 1,
            unhealthy: 1,
        },
    };
    TargetGroup {
        health: Some(check),
        ..group()
    }
}

fn run(count: u32) -> Order {
    Order::Run(Box::new(replicas(count)), Some(count))
}

fn run_other(count: u32) -> Order {
    let runner = Runner::Exec(ExecRunner {
        list: vec!["list".to_owned()],
        scale: vec!["scale".to_owned()],
        interval: SECOND,
        timeout: SECOND,
        secrets: std::collections::BTreeSet::new(),
    });
    let replicas = Replicas {
        runner,
        ..replicas(count)
    };
    Order::Run(Box::new(replicas), Some(count))
}

fn scaled_by(scaler: Scaler, count: u32) -> Order {
    let replicas = Replicas {
        scaler,
        ..replicas(count)
    };
    Order::Run(Box::new(replicas), Some(count))
}

impl Rig {
    /// A reconciler with two replicas, both of them targets.
    async fn start() -> Self {
        let rig = Self::start_with(group(), run(2), |_| {}).await;
        assert_eq!(rig.targets().len(), 2);
        rig
    }

    async fn start_with(
        group: TargetGroup,
        order: Order,
        script: impl FnOnce(&mut Script),
    ) -> Self {
        let (publisher, reader) = publish(vec![group]).await;
        let (fake, other) = (Fake::default(), Fake::default());
        script(&mut fake.script());
        other.script().port = 7400;
        let (writer, status) = watch::channel(Status::new());
        let providers = [fake.clone(), other.clone()];
        let start = move |_: &_, runner: &Runner| -> Box<dyn Provider> {
            let [fake, other] = providers.clone();
            match runner {
                Runner::Process(_) => Box::new(fake),
                Runner::Webhook(_) => Box::new(NotBuilt("webhook")),
                _ => Box::new(other),
            }
        };
        let (restarts, restarted) = mpsc::channel(4);
        let reconciler = GroupReconciler::new(
            "todo".into(),
            Arc::new(start),
            publisher.clone(),
            reader.clone(),
            writer,
            restarted,
        );
        let (orders, receiver) = watch::channel(order);
        let reconciler = tokio::spawn(reconciler.run(receiver));
        let rig = Self {
            fake,
            other,
            publisher,
            reader,
            status,
            orders,
            restarts,
            reconciler,
        };
        rig.settle().await;
        rig
    }

    /// Under a paused clock every task runs until all of them wait.
    async fn settle(&self) {
        sleep(MOMENT).await;
    }

    async fn order(&self, order: Order) {
        self.orders.send_replace(order);
        self.settle().await;
    }

    fn targets(&self) -> Vec<Arc<Target>> {
        let snapshot = self.reader.load_full();
        let targets = snapshot.groups()[0].targets.iter();
        let active = targets.filter(|t| t.registration.is_active());
        active.map(|t| t.target.clone()).collect()
    }

    fn ports(&self) -> Vec<u16> {
        let targets = self.targets();
        targets
            .iter()
            .map(|target| target.id.addr.address().unwrap().port())
            .collect()
    }

    fn shown(&self) -> GroupReplicas {
        let status = self.status.borrow();
        status[&"todo".into()].clone()
    }

    fn fault(&self) -> Option<String> {
        self.shown().fault.map(|fault| fault.message)
    }

    /// Plays the health check of all targets.
    async fn check(&self, passes: bool) {
        for target in self.targets() {
            let failure = CheckFailure {
                reason: HealthReason::Timeout,
                detail: String::new(),
            };
            let result = CheckResult {
                at: SystemTime::UNIX_EPOCH,
                began: Instant::now().into_std(),
                elapsed: Duration::ZERO,
                status: None,
                outcome: if passes { Ok(()) } else { Err(failure) },
            };
            let once = Thresholds {
                healthy: 1,
                unhealthy: 1,
            };
            target.health().lock().record(result, once);
            let target = target.id.clone();
            assert!(self.publisher.send(Change::Health { target }).await);
        }
        self.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_released_when_its_last_request_has_ended() {
    let rig = Rig::start().await;
    let leases: Vec<_> = rig.targets().iter().map(Target::lease).collect();
    rig.order(run(1)).await;
    assert_eq!(rig.targets().len(), 1, "no new requests");
    sleep(DELAY / 2).await;
    assert_eq!(rig.fake.count(), 2);
    drop(leases);
    rig.settle().await;
    assert_eq!(rig.fake.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_end_does_not_keep_a_replica_for_ever() {
    let rig = Rig::start().await;
    let _leases: Vec<_> = rig.targets().iter().map(Target::lease).collect();
    rig.orders.send_replace(run(1));
    sleep(DELAY / 2).await;
    assert_eq!(rig.fake.count(), 2);
    sleep(DELAY / 2).await;
    rig.settle().await;
    assert_eq!(rig.fake.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_no_request() {
    let rig = Rig::start().await;
    let _leases: Vec<_> = rig.targets().iter().map(Target::lease).collect();
    rig.order(run(1)).await;
    rig.order(Order::Stop).await;
    assert_eq!(rig.fake.count(), 0);
    assert!(rig.reconciler.is_finished());
    assert!(rig.status.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_supervisor_everything_stops() {
    let rig = Rig::start().await;
    let _lease = rig.targets()[0].lease();
    let Rig {
        orders,
        reconciler,
        fake,
        ..
    } = rig;
    drop(orders);
    sleep(MOMENT).await;
    assert!(reconciler.is_finished());
    assert_eq!(fake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_to_warm_up_that_a_reload_adds_take_no_replica_out() {
    // It accepts and never answers, so that a warm-up would take its whole time.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let rig = Rig::start_with(group(), run(1), |script| script.port = port).await;
    assert_eq!(rig.ports(), [port]);
    let warmed = Replicas {
        warm_up: Some(WarmUpRequests {
            is_http2: false,
            tls: None,
            path: "/".to_owned(),
            count: 1,
            timeout: 10 * SECOND,
        }),
        ..replicas(1)
    };
    rig.order(Order::Run(Box::new(warmed), Some(1))).await;
    assert_eq!(rig.ports(), [port]);
    sleep(60 * SECOND).await;
    assert_eq!(rig.ports(), [port]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_an_engine_that_drains_or_vanishes_is_taken_out_at_once() {
    let rig = Rig::start_with(checked(), run(4), |script| script.is_engine = true).await;
    rig.check(true).await;
    let states = [ReplicaState::Draining, ReplicaState::Stopping];
    rig.fake.change(|script| {
        for (replica, state) in script.replicas.iter_mut().zip(states) {
            replica.state = state;
        }
        script.replicas.remove(2);
    });
    rig.settle().await;
    assert_eq!(rig.ports(), [6403]);
    assert_eq!(rig.fake.calls("release"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_s_replicas_outlive_weir_and_stay_targets() {
    for end in [Order::Stop, Order::Retire] {
        let rig = Rig::start_with(group(), run(2), |script| script.is_engine = true).await;
        if end == Order::Retire {
            rig.publisher.configure(config(Vec::new())).await.unwrap();
        }
        rig.order(end.clone()).await;
        assert!(rig.reconciler.is_finished());
        assert_eq!((rig.fake.count(), rig.fake.calls("set_count 0")), (2, 0));
        if end == Order::Stop {
            assert_eq!(rig.targets().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_runner_takes_over_before_the_one_before_goes() {
    let rig = Rig::start_with(checked(), run(2), |_| {}).await;
    rig.check(true).await;
    let lease = rig.targets()[0].lease();
    rig.other.script().fails = ["set_count"].into();
    rig.order(run_other(2)).await;
    sleep(20 * SECOND).await;
    assert_eq!(rig.ports(), [6400, 6401], "the new one does not work");
    rig.other.script().fails.clear();
    sleep(30 * SECOND).await;
    assert_eq!(
        rig.ports(),
        [6400, 6401, 7400, 7401],
        "nor has it passed a check"
    );
    rig.check(true).await;
    assert_eq!(rig.ports(), [7400, 7401]);
    assert_eq!(rig.fake.count(), 1, "a request is in flight");
    assert_eq!(rig.shown().replicas.len(), 2, "those of the new one");
    drop(lease);
    rig.settle().await;
    assert_eq!(rig.fake.count(), 0);
    rig.order(run_other(1)).await;
    rig.settle().await;
    assert_eq!(rig.ports(), [7400]);
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_was_not_built_in_is_a_fault_and_the_one_before_serves_on() {
    let rig = Rig::start().await;
    let runner = Runner::Webhook(WebhookRunner {
        url: "http://10.0.0.1/".to_owned(),
        token: None,
        interval: SECOND,
        timeout: SECOND,
    });
    let missing = Replicas {
        runner,
        ..replicas(2)
    };
    rig.order(Order::Run(Box::new(missing), Some(2))).await;
    let fault = "cannot apply the settings: this Weir was built without the feature `webhook`";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    assert!(!rig.shown().is_scaler);
    sleep(60 * SECOND).await;
    assert_eq!(rig.targets().len(), 2);
    rig.order(run(2)).await;
    rig.settle().await;
    assert_eq!((rig.targets().len(), rig.fault()), (2, None), "taken back");
    rig.order(Order::Stop).await;
    assert!(rig.reconciler.is_finished());
    assert_eq!(rig.fake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_left_keeps_its_replicas() {
    let rig = Rig::start_with(group(), run(2), |script| script.is_engine = true).await;
    rig.order(run_other(1)).await;
    rig.settle().await;
    assert_eq!(rig.ports(), [7400]);
    assert_eq!((rig.fake.count(), rig.fake.calls("set_count 0")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_replica_drains_only_when_the_one_in_its_place_has_passed_a_check() {
    let rig = Rig::start_with(checked(), run(1), |_| {}).await;
    rig.check(true).await;
    // As a rollout does: a new one runs, the old one is to go.
    rig.fake.change(|script| {
        let mut new = script.replicas[0].clone();
        script.replicas[0].state = ReplicaState::Draining;
        new.id.0 = 9;
        new.address = Some("127.0.0.1:6409".parse().unwrap());
        script.replicas.push(new);
    });
    rig.settle().await;
    assert_eq!(rig.ports(), [6409, 6400]);
    rig.check(true).await;
    rig.settle().await;
    assert_eq!(rig.ports(), [6409]);
    assert_eq!(rig.fake.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_lists_and_never_scales_until_it_gets_the_lease() {
    let rig = Rig::start_with(group(), run(3), |script| {
        script.is_engine = true;
        script.follows = true;
        script.scale(2);
    })
    .await;
    sleep(60 * SECOND).await;
    assert_eq!(rig.fake.calls("set_count"), 0);
    assert_eq!((rig.targets().len(), rig.shown().is_scaler), (2, false));
    let asked = rig.fake.calls("may_scale");
    assert!((11..=14).contains(&asked), "{asked}");
    rig.fake.script().follows = false;
    sleep(5 * SECOND).await;
    assert!(rig.shown().is_scaler);
    assert_eq!(rig.fake.calls("set_count"), 0, "the autoscaler looks first");
    sleep(3 * SECOND).await;
    assert_eq!(rig.fake.calls("set_count 3"), 1);
    assert_eq!(rig.targets().len(), 3);
    rig.fake.script().follows = true;
    rig.order(run(1)).await;
    assert_eq!(rig.fake.calls("set_count"), 1, "asked before each change");
    assert!(!rig.shown().is_scaler);
    // What the other one asks for is not what was asked for here.
    rig.fake.change(|script| script.scale(2));
    sleep(200 * SECOND).await;
    assert_eq!((rig.targets().len(), rig.fault()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_weir_told_to_scale_does_so_without_a_lease() {
    let rig = Rig::start_with(group(), scaled_by(Scaler::Yes, 2), |script| {
        script.follows = true;
    })
    .await;
    assert_eq!(rig.fake.calls("may_scale"), 0);
    assert_eq!((rig.targets().len(), rig.shown().is_scaler), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_weir_told_not_to_scale_runs_only_what_is_its_own() {
    for is_engine in [false, true] {
        let order = scaled_by(Scaler::No, 2);
        let rig = Rig::start_with(group(), order, |script| script.is_engine = is_engine).await;
        let expected = if is_engine { 0 } else { 2 };
        assert_eq!(rig.targets().len(), expected);
        assert!(!rig.shown().is_scaler);
    }
}

#[tokio::test(start_paused = true)]
async fn usage_is_measured_each_second_while_a_policy_goes_by_it() {
    let rig = Rig::start().await;
    sleep(5 * SECOND).await;
    assert_eq!(rig.fake.calls("usage"), 0);
    let autoscaling = Autoscaling {
        target_tracking: vec![TargetTracking {
            metric: Metric::Cpu,
            target: 20.0,
            scale_in: true,
        }],
        ..Autoscaling::without_policies(Profile::Fast, 1, 4)
    };
    let scaled = TargetGroup {
        autoscaling: Some(autoscaling),
        ..group()
    };
    rig.publisher.configure(config(vec![scaled])).await.unwrap();
    sleep(10 * SECOND).await;
    let measured = rig.fake.calls("usage");
    assert!((9..=11).contains(&measured), "{measured}");
    let shown = rig.shown();
    assert_eq!(shown.usage.len(), 2);
    assert!(shown.measured.is_some());
    rig.fake.script().hangs = ["usage"].into();
    sleep(5 * SECOND).await;
    assert!(rig.shown().usage.is_empty());
    let fault = "cannot measure the replicas: no answer within 3s";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    assert_eq!(rig.targets().len(), 2);
    rig.publisher
        .configure(config(vec![group()]))
        .await
        .unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(rig.fault(), None, "no policy goes by it");
}

#[tokio::test(start_paused = true)]
async fn the_replica_with_the_fewest_clients_goes_first() {
    let rig = Rig::start_with(group(), run(4), |_| {}).await;
    let targets = rig.targets();
    let _leases = [targets[0].lease(), targets[3].lease(), targets[3].lease()];
    for _ in 0..9 {
        targets[2].sessions().count();
    }
    rig.order(run(2)).await;
    let victims = |rig: &Rig| -> Vec<u64> {
        let victims = rig.fake.script().victims.clone();
        victims.into_iter().map(|id| id.0).collect()
    };
    assert_eq!(victims(&rig), [1, 0, 3, 2]);
    rig.order(run(4)).await;
    assert!(victims(&rig).is_empty(), "none has to go");
    // Four half-lives, and those of the sessions have been away.
    sleep(240 * SECOND).await;
    assert_eq!(targets[2].clients(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_to_be_restarted_is_replaced_and_released_when_it_has_drained() {
    let rig = Rig::start().await;
    rig.restarts.send(ReplicaId(0)).await.unwrap();
    rig.restarts.send(ReplicaId(99)).await.unwrap();
    rig.settle().await;
    rig.settle().await;
    assert_eq!(rig.fake.calls("replace 0"), 1);
    assert_eq!(
        rig.fake.calls("replace"),
        1,
        "what does not exist is not replaced"
    );
    assert_eq!((rig.fake.calls("release"), rig.fake.count()), (1, 2));
    let of_new = |target: &Arc<Target>| target.id.addr.to_string().ends_with(":6402");
    assert!(rig.targets().iter().any(of_new));
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_lists_no_more_has_stopped() {
    let rig = Rig::start_with(group(), run(2), |script| script.is_engine = true).await;
    rig.fake.change(|script| {
        script.replicas.remove(0);
    });
    rig.settle().await;
    rig.orders.send(run(0)).unwrap();
    rig.settle().await;
    let shown = rig.shown();
    let stopped: Vec<_> = shown.stopped.last().collect();
    let of = |at: usize| (stopped[at].id.0, stopped[at].reason.name());
    assert_eq!(
        (stopped.len(), of(0), of(1)),
        (2, (1, "scale_in"), (0, "engine"))
    );
    assert!(!shown.is_own);
}
