//! Changes of the replicas of a group, and those that have stopped.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::sync::{mpsc, watch};

use super::fixture::{Fixture, config};
use crate::config::{Allowance, Config, ProcessRunner, Replicas, Runner, Scaler};
use crate::replicas::{
    self, DesiredCount, DesiredCounts, GroupReplicas, Replica, ReplicaControl, ReplicaId,
    ReplicaState, Restart,
};

const DESIRED: &str = "/api/v1/groups/todo/desired";

/// The first group has processes.
fn processes(scaler: Scaler) -> Config {
    let mut config = config();
    config.target_groups[0].replicas = Some(Replicas {
        runner: Runner::Process(ProcessRunner {
            command: vec!["replica".to_owned()],
            env: Vec::new(),
            directory: None,
            secrets: std::collections::BTreeSet::new(),
            stop_timeout: Duration::from_secs(10),
            output: crate::config::ReplicaOutput::Log,
        }),
        count: Some(2),
        allowance: Allowance::default(),
        warm_up: None,
        scaler,
    });
    config
}

fn replica(id: u64, state: ReplicaState) -> Replica {
    Replica {
        id: ReplicaId(id),
        name: Some(format!("todo-{id}")),
        pid: None,
        address: None,
        state,
        restarts: 2,
        since: SystemTime::UNIX_EPOCH,
        started: None,
        last_exit: None,
    }
}

struct Rig {
    fixture: Fixture,
    desired: watch::Receiver<DesiredCounts>,
    restarts: mpsc::Receiver<Restart>,
}

impl Rig {
    async fn start(scaler: Scaler, change: impl FnOnce(&mut GroupReplicas)) -> Self {
        let mut fixture = Fixture::unserved();
        let (writer, desired) = watch::channel(DesiredCounts::new());
        let (control, restarts) = ReplicaControl::new(writer);
        fixture.context.replica_control = control;
        let mut group = GroupReplicas {
            desired: 2,
            replicas: vec![
                replica(3, ReplicaState::Running),
                replica(4, ReplicaState::Draining),
            ],
            is_scaler: true,
            is_own: true,
            ..GroupReplicas::default()
        };
        change(&mut group);
        let status = replicas::Status::from([("todo".into(), group)]);
        fixture.context.replicas = watch::channel(status).1;
        fixture.serve().await;
        fixture.configure_with_token(processes(scaler)).await;
        Self {
            fixture,
            desired,
            restarts,
        }
    }

    /// The status of a refusal and the end of its kind.
    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, problem) = self.fixture.tell(method, path, body).await;
        let kind = problem["type"].as_str().unwrap_or_default();
        (
            status.as_u16(),
            kind.trim_start_matches("urn:weir:problem:").to_owned(),
        )
    }
}

#[tokio::test]
async fn a_desired_count_is_set_within_its_bounds() {
    let rig = Rig::start(Scaler::Yes, |_| {}).await;
    let (status, changed) = rig.fixture.tell("PUT", DESIRED, r#"{"desired": 5}"#).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!((&changed["min"], &changed["max"]), (&0.into(), &256.into()));
    assert_eq!(changed["holds_until"], "reload");
    let wanted = rig
        .desired
        .borrow()
        .get(&"todo".into())
        .and_then(DesiredCount::count);
    assert_eq!(wanted, Some(5));
    for (body, refusal) in [
        (r#"{"desired": 257}"#, (422, "bad-value")),
        (r#"{"desired": 18446744073709551615}"#, (422, "bad-value")),
        (r#"{"desired": -1}"#, (400, "bad-body")),
        ("{}", (400, "bad-body")),
    ] {
        let refused = rig.refused("PUT", DESIRED, body).await;
        assert_eq!((refused.0, &*refused.1), refusal, "{body}");
    }
    let one = r#"{"desired": 1}"#;
    let refused = rig
        .refused("PUT", "/api/v1/groups/empty/desired", one)
        .await;
    assert_eq!(refused, (409, "conflict".to_owned()));
    let refused = rig.refused("PUT", "/api/v1/groups/nope/desired", one).await;
    assert_eq!(refused, (404, "unknown-group".to_owned()));
}

#[tokio::test]
async fn what_another_weir_scales_is_not_scaled_here() {
    let follower = |group: &mut GroupReplicas| group.is_scaler = false;
    for rig in [
        Rig::start(Scaler::No, follower).await,
        Rig::start(Scaler::Lease, follower).await,
    ] {
        let refused = rig.refused("PUT", DESIRED, r#"{"desired": 1}"#).await;
        assert_eq!(refused, (409, "conflict".to_owned()));
        assert!(rig.desired.borrow().is_empty());
    }
}

#[tokio::test]
async fn a_replica_is_restarted_by_its_number_or_name_while_it_is_to_go_on() {
    let mut rig = Rig::start(Scaler::Yes, |_| {}).await;
    let path = |name: &str| format!("/api/v1/groups/todo/replicas/{name}/restart");
    for name in ["3", "todo-3"] {
        let (status, asked) = rig.fixture.tell("POST", &path(name), "").await;
        assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
        assert_eq!(asked["replica"], 3);
        assert_eq!(rig.restarts.recv().await.unwrap().replica, ReplicaId(3));
    }
    for (path, refusal) in [
        (path("4"), (409, "conflict")),
        (path("5"), (404, "unknown-replica")),
        (path("%00"), (404, "unknown-replica")),
        (
            "/api/v1/groups/nope/replicas/3/restart".to_owned(),
            (404, "unknown-group"),
        ),
    ] {
        let refused = rig.refused("POST", &path, "").await;
        assert_eq!((refused.0, &*refused.1), refusal, "{path}");
    }
    let engine = Rig::start(Scaler::Yes, |group| group.is_own = false).await;
    let refused = engine.refused("POST", &path("3"), "").await;
    assert_eq!(refused, (409, "conflict".to_owned()));
}

#[tokio::test]
async fn replicas_are_shown_with_what_they_should_be_and_counted_by_state() {
    let rig = Rig::start(Scaler::Yes, |_| {}).await;
    let status = rig.fixture.status().await;
    let replicas = status.target_groups[0].replicas.iter();
    let shown: Vec<_> = replicas
        .map(|one| (one.id, &*one.state, &*one.desired_state, one.restarts))
        .collect();
    assert_eq!(
        shown,
        [(3, "running", "running", 2), (4, "draining", "stopped", 2)]
    );
    let page = rig.fixture.page().await;
    let count = |state: &str| {
        page.value(&format!(
            "weir_replicas{{target_group=\"todo\",state=\"{state}\"}}"
        ))
    };
    assert_eq!(
        (count("running"), count("draining")),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(count("stopping"), Some(0.0));
    let restarts = r#"weir_replica_restarts_total{target_group="todo",replica="todo-3"}"#;
    assert_eq!(page.value(restarts), Some(2.0));
    let desired = page.value("weir_replicas_desired{target_group=\"todo\"}");
    assert_eq!(desired, Some(2.0));
}
