//! The autoscaler in a closed loop: its decisions change a model of a service, and the load of
//! the model changes its decisions. In virtual time, and with the same seeds in every run.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use weir::autoscale::{Capacity, Decision, Now, Reading, Sample, Scaler, ScalingOutcome};
use weir::config::{Autoscaling, Metric, Predictive, Profile, TargetTracking, Timing};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// A midnight, UTC.
const MIDNIGHT: i64 = 20_759 * 24 * 3600;

/// Target tracking of CPU alone.
pub(crate) fn tracking(profile: Profile, target: f64, max: u32) -> Autoscaling {
    Autoscaling {
        target_tracking: vec![TargetTracking {
            metric: Metric::Cpu,
            target,
            scale_in: true,
        }],
        ..Autoscaling::without_policies(profile, 1, max)
    }
}

/// Replicas that share a load, each with one core.
struct Service {
    scaler: Scaler,
    timing: Timing,
    second: u64,
    /// How long a replica takes until it is in service.
    start: u64,
    /// Seconds between samples.
    every: u64,
    desired: u32,
    /// When each came, or comes, into service: the youngest is last.
    replicas: VecDeque<u64>,
    noise: f64,
    dice: Rng,
}

impl Service {
    fn new(policy: Autoscaling, replicas: u32, start: u64, every: u64) -> Self {
        Self {
            timing: policy.timing,
            scaler: Scaler::new("todo", policy),
            second: 0,
            start,
            every,
            desired: replicas,
            // In service for long.
            replicas: (0..replicas).map(|_| 0).collect(),
            noise: 0.0,
            dice: Rng::with_seed(4),
        }
    }

    fn running(&self) -> u32 {
        self.replicas
            .iter()
            .filter(|since| **since <= self.second)
            .count() as u32
    }

    /// A sample later: `load` is in percent of one core.
    fn step(&mut self, load: f64) -> Decision {
        let cpu = (load / f64::from(self.running().max(1))).min(100.0);
        let noise = 1.0 + self.noise * (2.0 * self.dice.f64() - 1.0);
        self.second += self.every;
        let warm_up = self.timing.warm_up.as_secs();
        let is_new = |since: &&u64| **since > 0 && **since + warm_up > self.second;
        let warming = self.replicas.iter().filter(is_new).count() as u32;
        let capacity = Capacity {
            desired: self.desired,
            running: self.running(),
            warming,
        };
        let reading = match capacity.running {
            0 => Reading::Missing("no replica".to_owned()),
            _ => Reading::Value((cpu * noise).min(100.0)),
        };
        let now = now(self.second);
        let readings = vec![(Metric::Cpu, reading)];
        let decision = self.scaler.decide(
            Sample {
                now,
                capacity,
                readings,
            },
            true,
        );
        self.follow(decision.desired);
        decision
    }

    /// As an engine does: the youngest goes first.
    fn follow(&mut self, desired: u32) {
        self.desired = desired;
        self.replicas.truncate(desired as usize);
        while self.replicas.len() < desired as usize {
            self.replicas.push_back(self.second + self.start);
        }
    }
}

pub(crate) fn now(second: u64) -> Now {
    Now {
        uptime: Duration::from_secs(second),
        wall: Timestamp::from_second(MIDNIGHT + second.cast_signed()).unwrap(),
    }
}

/// A random service and the load on it.
fn any_service(profile: Profile, seed: u64) -> (Service, f64) {
    let mut dice = Rng::with_seed(seed);
    let max = dice.u32(1..=12);
    let target = 5.0 + 85.0 * dice.f64();
    let load = match seed % 3 {
        // Exactly what some replicas carry at the target: where going back and forth is easiest.
        0 => f64::from(dice.u32(1..=max)) * target,
        1 => (f64::from(dice.u32(1..=max)) - 0.03 * dice.f64()) * target,
        _ => 1.2 * f64::from(max) * target * dice.f64(),
    };
    let (replicas, start) = (dice.u32(1..=max), dice.u64(0..60));
    let every = if profile == Profile::Fast { 1 } else { 10 };
    let mut service = Service::new(tracking(profile, target, max), replicas, start, every);
    let noise = [0.0, 0.01, 0.05, 0.1][dice.usize(..4)];
    // AWS's rule uses the mean alone, and follows a load that changes quickly up and down.
    service.noise = if profile == Profile::Fast { noise } else { 0.0 };
    service.dice = dice;
    (service, load)
}

#[test]
fn a_constant_load_never_makes_the_number_of_replicas_go_back_and_forth() {
    let mut moved = 0;
    for (profile, settles, hours) in [
        (Profile::Fast, 10 * MINUTE, 1),
        (Profile::Aws, 2 * HOUR, 8),
        (Profile::AwsHighResolution, 2 * HOUR, 8),
    ] {
        for seed in 0..60 {
            let (mut service, load) = any_service(profile, seed);
            let mut directions = Vec::new();
            while service.second < settles + hours * HOUR {
                let before = service.desired;
                let Decision {
                    desired, min, max, ..
                } = service.step(load);
                assert!((min..=max).contains(&desired));
                moved += u32::from(desired != before);
                if service.second > settles && desired != before {
                    directions.push(desired > before);
                }
            }
            directions.dedup();
            assert!(directions.len() < 2, "{profile:?} {seed}: {directions:?}");
        }
    }
    assert!(moved > 150, "{moved}");
}

#[test]
fn a_constant_load_settles_where_the_metric_is_at_its_target_or_below() {
    for profile in Profile::ALL {
        for seed in 0..60 {
            let (mut service, load) = any_service(profile, seed);
            service.noise = 0.0;
            let decision = loop {
                let decision = service.step(load);
                if service.second >= 2 * HOUR {
                    break decision;
                }
            };
            let target = decision.results[0].policy.rsplit(' ').next().unwrap();
            let target: f64 = target.parse().unwrap();
            let needs = (load / target - 1e-6).ceil().max(1.0) as u32;
            let highest = service.timing.out_above * target;
            let carries = load / f64::from(decision.desired) <= highest + 1e-6;
            assert!(
                carries || decision.desired == decision.max,
                "{profile:?} {seed}: {decision:?}"
            );
            // More than it needs only where one fewer would not do by the low alarm's measure.
            let low = service.timing.in_below * target;
            let is_low = load / f64::from(decision.desired) < low - 1e-6;
            assert!(
                !is_low || decision.desired <= needs.max(1),
                "{profile:?} {seed}: {decision:?}"
            );
        }
    }
}

#[test]
fn a_step_of_five_times_is_answered_within_three_seconds() {
    for target in [10.0, 20.0, 50.0] {
        for start in [0, 3, 30] {
            let mut service = Service::new(tracking(Profile::Fast, target, 10), 2, start, 1);
            let load = 2.0 * target * 0.95;
            while service.second < 5 * MINUTE {
                assert_eq!(service.step(load).desired, 2);
            }
            let begin = service.second;
            let decision = loop {
                let decision = service.step(load.min(40.0) * 5.0);
                if decision.outcome == ScalingOutcome::ScaleOut {
                    break decision;
                }
            };
            assert!(service.second - begin <= 3, "{decision:?}");
        }
    }
}

/// 30 % of a core from midnight to noon, and 350 % after it: six replicas at 60 %.
fn sawtooth(second: u64) -> f64 {
    if second % (24 * HOUR) < 12 * HOUR {
        30.0
    } else {
        350.0
    }
}

fn predictive(scale: bool) -> Autoscaling {
    let predictive = Predictive {
        metric: Metric::Cpu,
        target: 60.0,
        scale,
        buffer: Duration::from_secs(300),
        history: None,
    };
    Autoscaling {
        predictive: Some(predictive),
        ..tracking(Profile::Aws, 60.0, 10)
    }
}

/// How many are in service at the end of each sample, over some days.
fn over_days(policy: Autoscaling, days: u64) -> Vec<u32> {
    let mut service = Service::new(policy, 1, 120, 10);
    let samples = days * 24 * HOUR / 10;
    let running = (0..samples).map(|_| {
        let load = sawtooth(service.second);
        service.step(load);
        service.running()
    });
    running.collect()
}

#[test]
fn after_two_days_the_replicas_are_there_before_the_load_is() {
    let running = over_days(predictive(true), 3);
    let at = |day: u64, second: u64| running[((day * 24 * HOUR + second) / 10 - 1) as usize];
    let noon = 12 * HOUR;
    // The first noon is met unprepared.
    assert_eq!(at(0, noon + MINUTE), 1);
    assert_eq!(at(2, noon - 10 * MINUTE), 1);
    assert_eq!(at(2, noon - MINUTE), 6);
    // And they stay while it is expected, though nothing needs them yet.
    assert!((0..60).all(|minute| at(2, noon + minute * MINUTE) >= 6));
    // Scaling in is for what is measured.
    assert_eq!(at(2, 6 * HOUR), 1);
}

#[test]
fn a_forecast_that_is_only_shown_changes_nothing() {
    let without = over_days(tracking(Profile::Aws, 60.0, 10), 3);
    assert_eq!(over_days(predictive(false), 3), without);
    let mut service = Service::new(predictive(false), 1, 120, 10);
    let mut shown = Vec::new();
    while service.second < 3 * 24 * HOUR {
        let load = sawtooth(service.second);
        let decision = service.step(load);
        let result = &decision.results[1];
        shown.extend(result.wants);
        assert_eq!(decision.recompute(), decision.desired);
    }
    shown.dedup();
    assert!(shown.windows(2).any(|pair| pair == [1, 6]), "{shown:?}");
}
