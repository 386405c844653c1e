//! What holds for every decision, whatever was configured and measured.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use weir::autoscale::{Capacity, Decision, Reading, Reason, Sample, Scaler, ScalingOutcome};
use weir::config::{
    Adjustment, Autoscaling, Comparison, Metric, Predictive, Profile, Scheduled, Step, StepScaling,
    TargetTracking, Timing, When,
};

use crate::property::autoscale::{now, tracking};

const METRICS: [Metric; 4] = [
    Metric::Cpu,
    Metric::RequestsPerTarget,
    Metric::QueueLength,
    Metric::LatencyP95,
];

fn any_policy(dice: &mut Rng) -> Autoscaling {
    let max = dice.u32(1..=9);
    let mut timing = Timing::of(Profile::Fast);
    timing.in_periods = dice.u32(2..=10);
    timing.in_cooldown = Duration::from_secs(dice.u64(0..20));
    timing.out_cooldown = Duration::from_secs(dice.u64(0..40));
    let tracked: Vec<_> = METRICS.into_iter().filter(|_| dice.bool()).collect();
    let target_tracking = tracked
        .into_iter()
        .map(|metric| TargetTracking {
            metric,
            target: 5.0 + 50.0 * dice.f64(),
            scale_in: dice.u32(..6) > 0,
        })
        .collect();
    Autoscaling {
        min: dice.u32(0..=2).min(max),
        timing,
        scale_in: dice.u32(..8) > 0,
        target_tracking,
        step_scaling: (0..dice.usize(..3)).map(|_| any_steps(dice)).collect(),
        schedule: (0..dice.usize(..2)).map(|_| any_action(dice)).collect(),
        predictive: dice.bool().then(|| Predictive {
            metric: Metric::Cpu,
            target: 20.0,
            scale: dice.bool(),
            buffer: Duration::from_secs(300),
            history: None,
        }),
        ..tracking(Profile::Fast, 20.0, max)
    }
}

fn any_steps(dice: &mut Rng) -> StepScaling {
    let is_up = dice.bool();
    let step = |lower, upper, by| Step { lower, upper, by };
    let (comparison, steps) = if is_up {
        let steps = vec![step(Some(0.0), Some(10.0), 1), step(Some(10.0), None, 2)];
        (Comparison::GreaterOrEqual, steps)
    } else {
        let steps = vec![
            step(None, Some(-10.0), -2),
            step(Some(-10.0), Some(0.0), -1),
        ];
        (Comparison::Less, steps)
    };
    StepScaling {
        metric: METRICS[dice.usize(..2)].clone(),
        comparison,
        threshold: if is_up { 60.0 } else { 20.0 },
        periods: dice.u32(1..4),
        period: Duration::from_secs(dice.u64(1..5)),
        adjustment: if dice.bool() {
            Adjustment::Change
        } else {
            Adjustment::Percent
        },
        steps,
        min_magnitude: dice.bool().then_some(2),
        cooldown: Duration::from_secs(dice.u64(0..30)),
    }
}

fn any_action(dice: &mut Rng) -> Scheduled {
    Scheduled {
        when: When::Rate(Duration::from_secs(60 * dice.u64(1..5))),
        min: Some(dice.u32(0..3)),
        max: dice.bool().then(|| dice.u32(3..12)),
    }
}

/// Random values of a metric, some of them missing.
struct Walk {
    metric: Metric,
    value: f64,
    goal: f64,
}

impl Walk {
    fn step(&mut self, dice: &mut Rng) -> (Metric, Reading) {
        if dice.u32(..60) == 0 {
            self.goal = if dice.u32(..3) == 0 {
                0.0
            } else {
                100.0 * dice.f64()
            };
        }
        self.value += (self.goal - self.value) * 0.5;
        if self.value < 1e-3 {
            self.value = 0.0;
        }
        let reading = match dice.u32(..300) {
            0 => Reading::Missing("none".to_owned()),
            1 => Reading::Value(f64::NAN),
            2 => Reading::Value(-1.0),
            _ => Reading::Value(self.value),
        };
        (self.metric.clone(), reading)
    }
}

/// A group that follows the desired count with a delay.
struct Group {
    scaler: Scaler,
    dice: Rng,
    second: u64,
    capacity: Capacity,
    walks: Vec<Walk>,
}

impl Group {
    fn new(seed: u64) -> Self {
        let mut dice = Rng::with_seed(seed);
        let scaler = Scaler::new("todo", any_policy(&mut dice));
        let walk = |metric| Walk {
            metric,
            value: 10.0,
            goal: 10.0,
        };
        let walks = scaler.metrics().into_iter().map(walk).collect();
        let capacity = Capacity {
            desired: 1,
            running: 1,
            warming: 0,
        };
        Self {
            scaler,
            dice,
            second: 0,
            capacity,
            walks,
        }
    }

    fn step(&mut self, is_scaler: bool) -> Decision {
        let readings = self
            .walks
            .iter_mut()
            .map(|walk| walk.step(&mut self.dice))
            .collect();
        self.second += 1;
        let sample = Sample {
            now: now(self.second),
            capacity: self.capacity,
            readings,
        };
        let decision = self.scaler.decide(sample, is_scaler);
        let Capacity {
            desired,
            running,
            warming,
        } = &mut self.capacity;
        *desired = decision.desired;
        *running = (*running).min(*desired);
        *warming = desired.saturating_sub(*running);
        if self.dice.u32(..3) == 0 {
            *running += u32::from(running < desired);
        }
        decision
    }
}

#[test]
fn a_record_recomputes_to_the_number_that_was_decided_and_stays_within_its_bounds() {
    let mut reasons = BTreeSet::new();
    let mut changes = 0;
    for seed in 0..150 {
        let mut group = Group::new(seed);
        for _ in 0..1500 {
            let decision = group.step(true);
            let Decision {
                desired, min, max, ..
            } = decision;
            assert!((min..=max).contains(&desired), "{seed}: {decision:?}");
            assert_eq!(decision.recompute(), desired, "{seed}: {decision:?}");
            match decision.outcome {
                ScalingOutcome::Hold(reason) => {
                    assert_eq!(desired, decision.before, "{seed}: {decision:?}");
                    reasons.insert(reason);
                }
                ScalingOutcome::ScaleOut => assert!(desired > decision.before, "{decision:?}"),
                ScalingOutcome::ScaleIn => assert!(desired < decision.before, "{decision:?}"),
            }
            changes += u32::from(desired != decision.before);
            reasons.extend(decision.results.iter().filter_map(|result| result.reason));
            if group.second.is_multiple_of(50) {
                let text = serde_json::to_string(&decision).unwrap();
                let read: Decision = serde_json::from_str(&text).unwrap();
                assert_eq!(read.recompute(), desired, "{text}");
            }
        }
    }
    let mut all = BTreeSet::from(Reason::ALL);
    all.remove(&Reason::NotScaler);
    assert_eq!(reasons, all);
    assert!(changes > 1000, "{changes}");
}

#[test]
fn a_process_that_is_not_the_scaler_changes_nothing() {
    for seed in 0..20 {
        let mut group = Group::new(seed);
        for _ in 0..300 {
            let decision = group.step(false);
            assert_eq!(decision.desired, 1);
            assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::NotScaler));
            assert_eq!(decision.recompute(), 1);
        }
    }
}

#[test]
fn missing_data_never_scales() {
    let (mut changes, mut missed) = (0, 0);
    for seed in 0..40 {
        let mut dice = Rng::with_seed(seed);
        let policy = tracking(Profile::Fast, 20.0, 10);
        let periods = (policy.timing.out_periods, policy.timing.in_periods);
        let mut scaler = Scaler::new("todo", policy);
        let (mut desired, mut present) = (3, 0);
        for second in 0..2000 {
            let is_missing = second == 0 || dice.u32(..40) == 0;
            present = if is_missing { 0 } else { present + 1 };
            missed += u32::from(is_missing);
            let reading = match (is_missing, second / 200 % 2) {
                (true, _) => Reading::Missing("none".to_owned()),
                (false, 0) => Reading::Value(2.0 + 90.0 * dice.f64()),
                (false, _) => Reading::Value(0.1),
            };
            let capacity = Capacity {
                desired,
                running: desired,
                warming: 0,
            };
            let readings = vec![(Metric::Cpu, reading)];
            let decision = scaler.decide(
                Sample {
                    now: now(second),
                    capacity,
                    readings,
                },
                true,
            );
            let needs = match decision.outcome {
                ScalingOutcome::ScaleOut => periods.0,
                ScalingOutcome::ScaleIn => periods.1,
                ScalingOutcome::Hold(_) => 0,
            };
            assert!(present >= needs, "{seed} {second}: {decision:?}");
            if present < periods.0 {
                assert_eq!(
                    decision.outcome,
                    ScalingOutcome::Hold(Reason::InsufficientData)
                );
            }
            changes += u32::from(needs > 0);
            desired = decision.desired;
        }
    }
    assert!(changes > 100 && missed > 1000, "{changes} {missed}");
}
