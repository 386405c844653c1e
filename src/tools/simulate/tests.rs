//! The closed loop with the real policies.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::autoscale::fixture::{no_policies, tracking};
use crate::config::{Autoscaling, Metric, Profile, Scheduled, When};

/// One to four replicas at 20 % CPU.
fn policy() -> Autoscaling {
    Autoscaling {
        target_tracking: vec![tracking(Metric::Cpu, 20.0)],
        ..no_policies(1, 4)
    }
}

/// Replicas of 500 requests/s that start in 2 seconds.
fn simulated(policy: &Autoscaling, rules: ScalingRules, rates: Vec<f64>) -> Run {
    let curve = LoadCurve::new(None, rates).unwrap();
    let service = Service::with_capacity(500.0, Duration::from_secs(2)).unwrap();
    run(
        &Setting {
            group: "todo",
            policy,
            service,
            curve: &curve,
            first: policy.min,
            start: Timestamp::UNIX_EPOCH,
        },
        rules,
    )
}

/// A load that is multiplied by five at a second: 80 requests/s are 16 %, 400 are 80 %.
fn step(at: usize, seconds: usize) -> Vec<f64> {
    (0..seconds)
        .map(|second| if second < at { 80.0 } else { 400.0 })
        .collect()
}

#[test]
fn a_scheduled_time_that_the_clock_skips_is_simulated_right_after() {
    let mut policy = policy();
    let at = |expression: &str, min| Scheduled {
        when: When::Cron {
            expression: expression.to_owned(),
            timezone: "Europe/Berlin".to_owned(),
        },
        min: Some(min),
        max: None,
    };
    policy.schedule = vec![at("30 2 * * *", 3), at("0 20 * * *", 1)];
    let curve = LoadCurve::new(None, vec![80.0; 120]).unwrap();
    let run = run(
        &Setting {
            group: "todo",
            policy: &policy,
            service: Service::with_capacity(500.0, Duration::from_secs(2)).unwrap(),
            curve: &curve,
            first: 1,
            start: "2027-03-28T01:59:00+01:00".parse().unwrap(),
        },
        ScalingRules::Profile(Profile::Fast),
    );
    assert_eq!(numbers(&run), [(60, 1, 3)], "{:?}", run.changes);
}

fn numbers(run: &Run) -> Vec<(u64, u32, u32)> {
    run.changes
        .iter()
        .map(|change| (change.second, change.from, change.to))
        .collect()
}

#[test]
fn fast_reacts_to_a_step_within_three_seconds() {
    let run = simulated(
        &policy(),
        ScalingRules::Profile(Profile::Fast),
        step(60, 300),
    );
    assert_eq!(numbers(&run), [(62, 1, 4)], "{:?}", run.changes);
    assert!(
        run.changes[0].why.contains("target_tracking cpu 20"),
        "{:?}",
        run.changes
    );
    let summary = summary(&run);
    assert_eq!(summary.peak_desired, 4);
    // Two samples, then the start of the replicas.
    assert_eq!((summary.reaction, summary.enough), (Some(2), Some(4)));
    assert_eq!(
        (summary.overloaded, summary.lost.to_bits()),
        (0, 0.0_f64.to_bits())
    );
    let hours = (62.0 + 238.0 * 4.0) / 3600.0;
    assert!(
        (summary.replica_hours - hours).abs() < 0.01,
        "{}",
        summary.replica_hours
    );
}

#[test]
fn aws_reacts_within_its_known_minutes() {
    for (profile, period) in [(Profile::Aws, 60), (Profile::AwsHighResolution, 20)] {
        let run = simulated(&policy(), ScalingRules::Profile(profile), step(600, 2400));
        let reaction = summary(&run).reaction.unwrap();
        // Three periods, and at most one that began before the step.
        assert!(
            (3 * period..=4 * period).contains(&reaction),
            "{profile:?}: {reaction}"
        );
        assert_eq!(numbers(&run).len(), 1, "{profile:?}: {:?}", run.changes);
        assert_eq!(run.changes[0].to, 4);
    }
}

#[test]
fn aws_takes_fifteen_minutes_to_go_back() {
    let rates = (0..7200)
        .map(|second| if second < 1200 { 400.0 } else { 10.0 })
        .collect();
    let run = simulated(&policy(), ScalingRules::Profile(Profile::Aws), rates);
    let back = run
        .changes
        .iter()
        .find(|change| change.to < change.from)
        .unwrap();
    let waited = back.second - 1200;
    assert!((900..=1020).contains(&waited), "{:?}", run.changes);
    assert_eq!(run.changes.last().unwrap().to, 1);
}

#[test]
fn kubernetes_reacts_at_a_sync_after_its_metrics_came() {
    let run = simulated(&policy(), ScalingRules::Kubernetes, step(60, 900));
    let changes = numbers(&run);
    assert_eq!(changes.len(), 1, "{:?}", run.changes);
    assert_eq!(changes[0], (90, 1, 4), "{:?}", run.changes);
    assert_eq!(summary(&run).reaction, Some(30));
}

#[test]
fn a_constant_load_becomes_stable() {
    for rules in ScalingRules::COMPARED {
        for load in [0.0, 30.0, 95.0, 100.0, 150.0, 250.0, 399.0, 900.0, 5000.0] {
            let run = simulated(&policy(), rules, vec![load; 7200]);
            let late = numbers(&run).into_iter().find(|change| change.0 > 3600);
            assert_eq!(late, None, "{rules:?} at {load}/s: {:?}", run.changes);
            let bounds = (1, 4);
            let desired = run.rows.iter().map(|row| row.desired);
            assert!(
                desired
                    .clone()
                    .all(|count| (bounds.0..=bounds.1).contains(&count))
            );
            // Enough for the target, or all there may be.
            let last = run.rows.last().unwrap();
            let needed = ((load / 100.0).ceil() as u32).clamp(bounds.0, bounds.1);
            assert!(
                last.desired + 1 >= needed,
                "{rules:?} at {load}/s: {}",
                last.desired
            );
        }
    }
}

#[test]
fn overload_is_seen_and_counted() {
    let slow = simulated(
        &policy(),
        ScalingRules::Profile(Profile::Aws),
        vec![1500.0; 600],
    );
    let fast = simulated(
        &policy(),
        ScalingRules::Profile(Profile::Fast),
        vec![1500.0; 600],
    );
    let (slow, fast) = (summary(&slow), summary(&fast));
    assert!(fast.overloaded < 15, "{fast:?}");
    assert!(slow.overloaded > 180 && slow.lost > 10_000.0, "{slow:?}");
    assert!(
        slow.p95 > 30_000.0 && fast.p95 < slow.p95 / 5.0,
        "{slow:?} {fast:?}"
    );
}

#[test]
fn a_group_at_zero_starts_when_requests_come() {
    let policy = Autoscaling { min: 0, ..policy() };
    let mut rates = vec![0.0; 30];
    rates.extend([50.0; 60]);
    let run = simulated(&policy, ScalingRules::Profile(Profile::Fast), rates);
    assert_eq!(
        run.changes.first().map(|change| (change.from, change.to)),
        Some((0, 1)),
        "{:?}",
        run.changes
    );
    let summary = summary(&run);
    assert!(
        summary.reaction.is_some_and(|seconds| seconds <= 3),
        "{summary:?}"
    );
    assert_eq!(run.rows.last().unwrap().running, 1);
}

#[test]
fn the_same_arguments_give_the_same_numbers() {
    for rules in ScalingRules::COMPARED {
        let rates: Vec<f64> = (0..600).map(|n| f64::from(n * 7919 % 1000)).collect();
        let once = simulated(&policy(), rules, rates.clone());
        assert_eq!(once, simulated(&policy(), rules, rates));
    }
}

#[test]
fn without_load_nothing_is_estimated() {
    let run = simulated(&policy(), ScalingRules::Configured, vec![0.0; 60]);
    let summary = summary(&run);
    assert_eq!((summary.reaction, summary.enough), (None, None));
    assert_eq!(summary.p95.to_bits(), 0.0_f64.to_bits());
    assert_eq!(summary.overloaded, 0);
}

#[test]
fn kubernetes_does_not_apply_to_steps() {
    let steps = Autoscaling {
        target_tracking: Vec::new(),
        ..policy()
    };
    assert!(!ScalingRules::Kubernetes.apply_to(&steps));
    assert!(ScalingRules::Kubernetes.apply_to(&policy()));
    assert!(ScalingRules::Configured.apply_to(&steps));
}

#[test]
fn a_run_is_drawn_with_its_metric_and_target() {
    let run = simulated(&policy(), ScalingRules::Configured, step(60, 120));
    let panel = run_panel(&run, &policy(), "noted".to_owned());
    let right = panel.right.unwrap();
    assert_eq!(right.label, "cpu (%)");
    let names: Vec<_> = right
        .series
        .iter()
        .map(|series| series.name.as_str())
        .collect();
    assert_eq!(names, ["cpu", "target 20"]);
    let desired = &panel.left.series[1];
    assert_eq!(desired.points.len(), 120);
    // Decided at the end of second 61.
    assert_eq!(desired.points[61..63], [(61.0, 1.0), (62.0, 4.0)]);
}
