//! The autoscaling page, and scaling on the other pages.

use std::time::SystemTime;

use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::watch;

use super::fixture::{Fixture, config};
use crate::admin::{AutoscalingStatus, GroupScaling, paths};
use crate::autoscale::{
    AlarmState, Capacity, Decision, PolicyKind, PolicyResult, Reading, Reason, ScalingOutcome,
};
use crate::config::{self, Config};
use crate::replicas;

/// One replica that runs, and one evaluation after another of its group.
fn scaled(fixture: &mut Fixture, outcomes: &[ScalingOutcome]) {
    let since = SystemTime::UNIX_EPOCH;
    let replica = |id: u64, name: &str| replicas::Replica {
        id: replicas::ReplicaId(id),
        name: Some(name.to_owned()),
        pid: None,
        address: Some(([127, 0, 0, 1], 6400).into()),
        state: replicas::ReplicaState::Running,
        restarts: 0,
        since,
        started: None,
        last_exit: None,
    };
    let usage = replicas::Usage {
        cpu: Some(35.0),
        memory: None,
    };
    let group = replicas::GroupReplicas {
        desired: 1,
        replicas: vec![replica(1, "todo.1"), replica(2, "todo.1")],
        usage: [1, 2].map(|id| (replicas::ReplicaId(id), usage)).into(),
        measured: None,
        fault: Some(replicas::Fault {
            message: "down".to_owned(),
            since,
        }),
        is_scaler: true,
        ..replicas::GroupReplicas::default()
    };
    let status = replicas::Status::from([("todo".into(), group)]);
    fixture.context.replicas = watch::channel(status).1;
    for (second, outcome) in (0..).zip(outcomes) {
        let decision = decision(second, *outcome);
        let readings = vec![
            ("cpu".to_owned(), Reading::Value(35.0)),
            ("memory".to_owned(), Reading::Missing("why".to_owned())),
        ];
        let journal = &fixture.context.autoscaling;
        journal.record(&"todo".into(), decision, readings);
    }
}

fn decision(second: i64, outcome: ScalingOutcome) -> Decision {
    let result = PolicyResult {
        kind: PolicyKind::TargetTracking,
        policy: "target_tracking cpu 20".to_owned(),
        alarm: AlarmState::High,
        metric: Some(35.0),
        formula: "ceil(1 * 35 / 20) = 2".to_owned(),
        inputs: None,
        wants: Some(2),
        reason: None,
    };
    Decision {
        at: Timestamp::from_second(second).unwrap(),
        group: "todo".to_owned(),
        capacity: Capacity {
            desired: 1,
            running: 1,
            warming: 0,
        },
        before: 1,
        min: 1,
        max: 3,
        results: vec![result],
        desired: 2,
        outcome,
        out_cooldown: Timestamp::from_second(1000).ok(),
        in_cooldown: None,
    }
}

fn scaling_config() -> Config {
    let mut config = config();
    let tracking = config::TargetTracking {
        metric: config::Metric::Cpu,
        target: 20.0,
        scale_in: true,
    };
    config.target_groups[0].autoscaling = Some(config::Autoscaling {
        target_tracking: vec![tracking],
        ..config::Autoscaling::without_policies(config::Profile::Fast, 1, 4)
    });
    config
}

#[tokio::test]
async fn what_was_decided_is_shown_with_the_reasons() {
    let hold = ScalingOutcome::Hold(Reason::Cooldown);
    let mut fixture = Fixture::unserved();
    scaled(&mut fixture, &[ScalingOutcome::ScaleOut, hold, hold]);
    fixture.serve().await;
    let before = fixture.get(paths::AUTOSCALING).await;
    assert!(before.1.contains(r#""target_groups": []"#), "{before:?}");
    fixture.publisher.configure(scaling_config()).await.unwrap();
    let get = async |query: &str| -> GroupScaling {
        let (status, body) = fixture.get(&format!("{}{query}", paths::AUTOSCALING)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let mut page: AutoscalingStatus = serde_json::from_str(&body).unwrap();
        assert_eq!(page.target_groups.len(), 1);
        page.target_groups.remove(0)
    };
    let todo = get("").await;
    assert_eq!((todo.name.as_str(), todo.minute), ("todo", None));
    assert_eq!(todo.policies[0].formula, "ceil(1 * 35 / 20) = 2");
    let status = &todo.status;
    assert_eq!((status.min, status.max, status.desired), (1, 3, Some(2)));
    assert_eq!((status.alarm.as_str(), status.is_scaler), ("high", true));
    assert_eq!(status.reason.as_deref(), Some("cooldown"));
    assert_eq!(status.metrics[0].value, Some(35.0));
    assert_eq!(status.metrics[1].missing.as_deref(), Some("why"));
    assert_eq!(status.fault.as_ref().unwrap().message, "down");
    let [alarm] = status.alarms.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!(
        (&*alarm.policy, &*alarm.metric),
        ("target_tracking cpu 20", "cpu")
    );
    assert_eq!((alarm.value, alarm.target), (Some(35.0), 20.0));
    let since = Timestamp::from_second(0).ok();
    assert_eq!(
        (&*alarm.state, alarm.since),
        ("high", since),
        "of the first of three"
    );
    let change = status.last_change.as_ref().unwrap();
    assert_eq!((change.from, change.to), (1, 2));
    assert!(change.formula.starts_with("target_tracking cpu 20: "));
    let counts: Vec<_> = todo.last.iter().map(|logged| logged.count).collect();
    assert_eq!(counts, [2, 1], "newest first");
    let one = get("?last=1&minute=true").await;
    assert_eq!((one.last.len(), one.minute.unwrap().len()), (1, 3));
    for query in ["?last=", "?last=-1", "?first=1", "?minute=1"] {
        let path = format!("{}{query}", paths::AUTOSCALING);
        assert_eq!(
            fixture.get(&path).await.0,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
    let group = fixture.status().await.target_groups.remove(0);
    assert_eq!(group.autoscaling.as_ref(), Some(status));
    assert_eq!(
        (group.desired, group.replicas[0].cpu),
        (Some(1), Some(35.0))
    );
}

#[tokio::test]
async fn decisions_and_usage_are_on_the_metrics_page() {
    let mut fixture = Fixture::unserved();
    let hold = ScalingOutcome::Hold(Reason::Cooldown);
    scaled(&mut fixture, &[ScalingOutcome::ScaleOut, hold, hold]);
    fixture.serve().await;
    fixture.publisher.configure(scaling_config()).await.unwrap();
    let page = fixture.page().await;
    let todo = |name: &str, labels: &str| {
        page.value(&format!(r#"weir_{name}{{target_group="todo"{labels}}}"#))
    };
    assert_eq!(todo("autoscaling_desired", ""), Some(2.0));
    assert_eq!(todo("autoscaling_running", ""), Some(1.0));
    assert_eq!(todo("autoscaling_min", ""), Some(1.0));
    assert_eq!(todo("autoscaling_max", ""), Some(3.0));
    let policy = r#",policy="target_tracking cpu 20""#;
    assert_eq!(todo("autoscaling_metric", policy), Some(35.0));
    assert_eq!(todo("autoscaling_target", policy), Some(20.0));
    let alarm = |state: &str| todo("autoscaling_alarm", &format!("{policy},state=\"{state}\""));
    assert_eq!((alarm("high"), alarm("ok")), (Some(1.0), Some(0.0)));
    let holds = r#",outcome="hold",reason="cooldown""#;
    assert_eq!(todo("autoscaling_decisions_total", holds), Some(2.0));
    let outs = r#",outcome="scale_out",reason="""#;
    assert_eq!(todo("autoscaling_decisions_total", outs), Some(1.0));
    assert_eq!(todo("replicas_fault", ""), Some(1.0));
    let replica = r#",replica="todo.1""#;
    assert_eq!(todo("replica_cpu_percent", replica), Some(35.0));
    assert_eq!(todo("replica_memory_percent", replica), None);
    assert!(!page.has(r#"weir_replicas_fault{target_group="empty"}"#));
}
