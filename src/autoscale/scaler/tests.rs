//! One group, one sample a second, and a provider that follows at once.

use super::*;
use crate::autoscale::Reading;
use crate::autoscale::fixture::{no_policies, tracking};
use crate::config::{
    Adjustment, Comparison, Predictive, Profile, Scheduled, Step, StepScaling, Timing, When,
};

const CPU: Metric = Metric::Cpu;
const RPS: Metric = Metric::RequestsPerTarget;

fn policy(profile: Profile, min: u32, max: u32) -> Autoscaling {
    Autoscaling {
        profile,
        timing: Timing::of(profile),
        target_tracking: vec![tracking(CPU, 20.0)],
        ..no_policies(min, max)
    }
}

/// CPU at a target of 20 and requests at one of 100, with short windows and no cooldowns.
fn pair() -> Autoscaling {
    let mut policy = policy(Profile::Fast, 1, 10);
    policy.target_tracking.push(tracking(RPS, 100.0));
    policy.timing.in_periods = 5;
    policy.timing.out_cooldown = Duration::ZERO;
    policy.timing.in_cooldown = Duration::ZERO;
    policy
}

struct Model {
    scaler: Scaler,
    second: u64,
    capacity: Capacity,
}

impl Model {
    fn new(policy: Autoscaling, replicas: u32) -> Self {
        Self {
            scaler: Scaler::new("todo", policy),
            second: 0,
            capacity: all(replicas),
        }
    }

    fn decide(&mut self, readings: &[(Metric, f64)]) -> Decision {
        let decision = self.decide_as(true, readings);
        assert_eq!(decision.recompute(), decision.desired, "{decision:?}");
        decision
    }

    /// Readings that are not a number are missing.
    fn decide_as(&mut self, is_scaler: bool, readings: &[(Metric, f64)]) -> Decision {
        let reading = |(metric, value): &(Metric, f64)| {
            let reading = if value.is_nan() {
                Reading::Missing("none".to_owned())
            } else {
                Reading::Value(*value)
            };
            (metric.clone(), reading)
        };
        let sample = Sample {
            now: Now {
                uptime: Duration::from_secs(self.second),
                wall: Timestamp::from_second(self.second.cast_signed()).unwrap(),
            },
            capacity: self.capacity,
            readings: readings.iter().map(reading).collect(),
        };
        self.second += 1;
        self.scaler.decide(sample, is_scaler)
    }

    /// Returns each change with its second, and the last decision.
    fn run(&mut self, seconds: u64, readings: &[(Metric, f64)]) -> (Vec<(u64, u32)>, Decision) {
        let mut changes = Vec::new();
        let mut last = self.decide(readings);
        loop {
            if last.desired != last.before {
                changes.push((self.second - 1, last.desired));
                self.capacity = all(last.desired);
            }
            if self.second.is_multiple_of(seconds) || changes.len() > 20 {
                return (changes, last);
            }
            last = self.decide(readings);
        }
    }

    /// Returns the first change, or else the last decision.
    fn until_change(&mut self, seconds: u64, readings: &[(Metric, f64)]) -> (u64, Decision) {
        for _ in 1..seconds {
            let decision = self.decide(readings);
            if decision.desired != decision.before {
                self.capacity = all(decision.desired);
                return (self.second - 1, decision);
            }
        }
        (self.second, self.decide(readings))
    }

    /// Asserts that nothing changes for these seconds, and returns the last decision.
    fn hold(&mut self, seconds: u64, readings: &[(Metric, f64)]) -> Decision {
        let (_, decision) = self.until_change(seconds, readings);
        assert!(
            matches!(decision.outcome, ScalingOutcome::Hold(_)),
            "{decision:?}"
        );
        decision
    }
}

fn all(replicas: u32) -> Capacity {
    Capacity {
        desired: replicas,
        running: replicas,
        warming: 0,
    }
}

fn reasons(decision: &Decision) -> Vec<Option<Reason>> {
    let results = decision.results.iter();
    results.map(|result| result.reason).collect()
}

#[test]
fn three_minutes_of_65_percent_at_a_target_of_20_make_four_of_one() {
    let mut model = Model::new(policy(Profile::Aws, 1, 4), 1);
    let (second, decision) = model.until_change(1000, &[(CPU, 65.0)]);
    assert_eq!((second, decision.desired), (180, 4));
    assert_eq!(decision.outcome, ScalingOutcome::ScaleOut);
    let [result] = &decision.results[..] else {
        panic!("{decision:?}")
    };
    assert_eq!(result.formula, "ceil(1 * 65 / 20) = 4");
    assert_eq!(result.alarm, AlarmState::High);
    let next = model.decide(&[(CPU, 65.0)]);
    assert_eq!(next.outcome, ScalingOutcome::Hold(Reason::Cooldown));
    let last = model.hold(3600, &[(CPU, 65.0)]);
    assert_eq!(last.outcome, ScalingOutcome::Hold(Reason::AtMax));
    assert_eq!(last.results[0].formula, "ceil(4 * 65 / 20) = 13");
}

#[test]
fn each_profile_scales_out_after_its_periods() {
    let mut seconds = Vec::new();
    for profile in Profile::ALL {
        let mut model = Model::new(policy(profile, 1, 4), 1);
        seconds.push(model.until_change(1000, &[(CPU, 65.0)]).0);
    }
    assert_eq!(seconds, [2, 180, 60]);
}

#[test]
fn two_replicas_at_15_percent_stay_because_one_would_be_at_30() {
    let mut model = Model::new(policy(Profile::Aws, 1, 4), 2);
    let decision = model.hold(3600, &[(CPU, 15.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::NoFlap));
    assert_eq!(decision.results[0].formula, "ceil(2 * 15 / 20) = 2");
}

#[test]
fn a_fraction_adds_one_more_and_takes_one_fewer_away() {
    // 1.5 more than 3: add 2. 1.5 fewer than 4: remove 1. At 3 % all but one can go.
    for (replicas, cpu, second, desired) in [
        (3, 30.0, 180, 5),
        (4, 12.5, 900, 3),
        (4, 3.0, 900, 1),
        (4, 10.0, 900, 2),
    ] {
        let mut model = Model::new(policy(Profile::Aws, 1, 10), replicas);
        let (at, decision) = model.until_change(2000, &[(CPU, cpu)]);
        assert_eq!((at, decision.desired), (second, desired), "{cpu}");
    }
}

#[test]
fn a_metric_at_its_target_wants_what_there_is() {
    use super::super::decision::round_up;
    let cases = [(3.0 * 20.0 / 20.0, 3), ((0.1 + 0.2) * 10.0, 3), (3.001, 4)];
    for (replicas, expected) in cases {
        assert_eq!(round_up(replicas), expected, "{replicas}");
    }
    assert_eq!(round_up(1e12), u32::MAX);
    let mut model = Model::new(policy(Profile::Aws, 1, 10), 3);
    let decision = model.hold(3600, &[(CPU, 20.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::InRange));
}

#[test]
fn any_policy_scales_out_and_the_largest_wins() {
    let mut model = Model::new(pair(), 2);
    let (_, decision) = model.until_change(10, &[(CPU, 25.0), (RPS, 240.0)]);
    let wants: Vec<_> = decision.results.iter().map(|result| result.wants).collect();
    assert_eq!((wants, decision.desired), (vec![Some(3), Some(5)], 5));
    let mut model = Model::new(pair(), 2);
    let (_, decision) = model.until_change(10, &[(CPU, 1.0), (RPS, 140.0)]);
    assert_eq!(decision.desired, 3);
}

#[test]
fn all_policies_must_agree_to_scale_in_and_the_largest_wins() {
    let mut model = Model::new(pair(), 8);
    let decision = model.hold(100, &[(CPU, 1.0), (RPS, 95.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::AllMustAgree));
    // One of them is low, but would not be with fewer.
    let decision = model.hold(100, &[(CPU, 1.0), (RPS, 89.0)]);
    assert_eq!(
        reasons(&decision),
        [Some(Reason::AllMustAgree), Some(Reason::NoFlap)]
    );
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::NoFlap));
    let (_, decision) = model.until_change(100, &[(CPU, 1.0), (RPS, 50.0)]);
    assert_eq!(
        (decision.desired, decision.outcome),
        (4, ScalingOutcome::ScaleIn)
    );
}

#[test]
fn a_policy_without_data_blocks_scale_in_and_not_scale_out() {
    let mut model = Model::new(pair(), 4);
    let decision = model.hold(100, &[(CPU, 1.0), (RPS, f64::NAN)]);
    assert_eq!(
        decision.outcome,
        ScalingOutcome::Hold(Reason::InsufficientData)
    );
    assert_eq!(decision.results[1].alarm, AlarmState::InsufficientData);
    let (_, decision) = model.until_change(100, &[(CPU, 30.0), (RPS, f64::NAN)]);
    assert_eq!(decision.desired, 6);
}

#[test]
fn scale_in_can_be_disabled_for_one_policy_and_for_all() {
    let mut one = pair();
    one.target_tracking[0].scale_in = false;
    // The other one decides alone, whatever this one says.
    let mut model = Model::new(one.clone(), 4);
    let (_, decision) = model.until_change(100, &[(CPU, f64::NAN), (RPS, 10.0)]);
    assert_eq!(decision.desired, 1);
    let mut model = Model::new(one, 4);
    let decision = model.hold(100, &[(CPU, 1.0), (RPS, 95.0)]);
    assert_eq!(reasons(&decision), [Some(Reason::ScaleInDisabled), None]);
    assert_eq!(
        decision.outcome,
        ScalingOutcome::Hold(Reason::ScaleInDisabled)
    );

    let none = Autoscaling {
        scale_in: false,
        ..pair()
    };
    let mut model = Model::new(none, 4);
    let decision = model.hold(100, &[(CPU, 1.0), (RPS, 1.0)]);
    assert_eq!(
        decision.outcome,
        ScalingOutcome::Hold(Reason::ScaleInDisabled)
    );
}

#[test]
fn in_the_scale_out_cooldown_only_a_larger_number_than_it_began_with_proceeds() {
    let mut policy = policy(Profile::Fast, 1, 10);
    policy.timing.in_periods = 5;
    policy.timing.in_cooldown = Duration::from_secs(10);
    policy.timing.out_cooldown = Duration::from_secs(300);
    let mut model = Model::new(policy, 1);
    let (out, decision) = model.until_change(10, &[(CPU, 80.0)]);
    assert_eq!((out, decision.desired), (2, 4));
    assert_eq!(decision.out_cooldown.unwrap().as_second(), 302);
    let (second, decision) = model.until_change(100, &[(CPU, 8.0)]);
    assert_eq!((second, decision.desired), (12, 2));
    // 2 replicas at 35 % want 4, which is not more than 4.
    let decision = model.hold(100, &[(CPU, 35.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::Cooldown));
    assert_eq!(decision.results[0].wants, Some(4));
    let (second, decision) = model.until_change(100, &[(CPU, 45.0)]);
    assert_eq!(decision.desired, 5);
    assert!(second < 302, "{second}");
}

#[test]
fn the_scale_in_cooldown_holds_after_any_scaling_and_a_scale_out_ends_it() {
    let mut policy = policy(Profile::Fast, 1, 10);
    policy.timing.in_periods = 2;
    policy.timing.out_cooldown = Duration::ZERO;
    let mut model = Model::new(policy, 2);
    let (out, _) = model.until_change(10, &[(CPU, 40.0)]);
    let (first, decision) = model.until_change(100, &[(CPU, 14.0)]);
    assert_eq!((first - out, decision.desired), (60, 3));
    let decision = model.hold(5, &[(CPU, 10.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::Cooldown));
    let (second, decision) = model.until_change(10, &[(CPU, 40.0)]);
    assert!(second < first + 10, "{second}");
    assert_eq!(decision.outcome, ScalingOutcome::ScaleOut);
    assert_eq!(
        decision.in_cooldown.unwrap().as_second(),
        second.cast_signed() + 60
    );
}

#[test]
fn warming_replicas_count_as_capacity_stay_out_of_the_metric_and_block_scale_in() {
    let mut model = Model::new(policy(Profile::Fast, 1, 10), 4);
    // One in service and three that start: its 65 % want the four there will be.
    model.capacity = Capacity {
        desired: 4,
        running: 1,
        warming: 3,
    };
    let decision = model.hold(10, &[(CPU, 65.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::Warming));
    assert_eq!(decision.results[0].formula, "ceil(1 * 65 / 20) = 4");
    // All in service, two of them new: the metric is of the other two.
    model.capacity = Capacity {
        desired: 4,
        running: 4,
        warming: 2,
    };
    model.decide(&[(CPU, 20.0)]);
    let (_, decision) = model.until_change(10, &[(CPU, 55.0)]);
    assert_eq!(decision.results[0].formula, "ceil(2 * 55 / 20) = 6");
    model.capacity = Capacity {
        desired: 6,
        running: 6,
        warming: 1,
    };
    let decision = model.hold(200, &[(CPU, 1.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::Warming));
    model.capacity.warming = 0;
    assert_eq!(model.decide(&[(CPU, 1.0)]).desired, 1);
}

#[test]
fn a_provider_that_follows_late_does_not_change_a_decision() {
    let mut model = Model::new(policy(Profile::Fast, 1, 4), 1);
    let decisions: Vec<u32> = (0..10)
        .map(|_| model.decide(&[(CPU, 65.0)]).desired)
        .collect();
    assert_eq!(decisions, [1, 1, 4, 4, 4, 4, 4, 4, 4, 4]);
}

fn zero(queue: f64, requests: f64, in_flight: f64) -> [(Metric, f64); 4] {
    [
        (CPU, 2.0),
        (RPS, requests),
        (Metric::InFlightPerTarget, in_flight),
        (Metric::QueueLength, queue),
    ]
}

#[test]
fn a_request_that_waits_wakes_a_group_at_once() {
    let mut model = Model::new(policy(Profile::Fast, 0, 4), 0);
    assert_eq!(model.scaler.metrics().len(), 4);
    let missing = [(CPU, f64::NAN), (Metric::QueueLength, 0.0)];
    let decision = model.hold(100, &missing);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::AtMin));
    let decision = model.decide(&[(CPU, f64::NAN), (Metric::QueueLength, 100.0)]);
    assert_eq!(
        (decision.desired, decision.outcome),
        (1, ScalingOutcome::ScaleOut)
    );
    assert_eq!(decision.results[1].formula, "requests wait");
    // With a lower bound of 1 these metrics are not needed.
    assert_eq!(
        Scaler::new("todo", policy(Profile::Fast, 1, 4)).metrics(),
        [CPU]
    );
}

#[test]
fn the_last_replica_stops_when_no_request_came_for_a_whole_window() {
    for (busy, idle_for) in [
        (zero(0.0, 0.1, 0.0), 60),
        (zero(0.0, 0.0, 0.5), 60),
        (zero(2.0, 0.0, 0.0), 60),
        (zero(f64::NAN, 0.0, 0.0), 60),
    ] {
        let mut model = Model::new(policy(Profile::Fast, 0, 4), 1);
        let decision = model.hold(200, &busy);
        assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::NoFlap));
        let begin = model.second;
        let (second, decision) = model.until_change(200, &zero(0.0, 0.0, 0.0));
        assert_eq!((second - begin, decision.desired), (idle_for, 0));
    }
    // No requests, and the replica busy by itself.
    let mut model = Model::new(policy(Profile::Fast, 0, 4), 1);
    let mut quiet = zero(0.0, 0.0, 0.0);
    quiet[0].1 = 19.0;
    model.hold(300, &quiet);
}

#[test]
fn several_replicas_become_one_before_they_become_none() {
    let mut model = Model::new(policy(Profile::Fast, 0, 4), 4);
    let (changes, _) = model.run(300, &zero(0.0, 0.0, 0.0));
    assert_eq!(changes, [(60, 1), (120, 0)]);
    // Without requests, a metric of requests wants none; with one in flight, one stays.
    let mut requests = policy(Profile::Fast, 0, 4);
    requests.target_tracking = vec![tracking(RPS, 10.0)];
    let mut model = Model::new(requests.clone(), 4);
    let (second, decision) = model.until_change(300, &zero(0.0, 0.0, 0.0));
    assert_eq!((second, decision.desired), (60, 0));
    assert_eq!(decision.results[0].formula, "ceil(4 * 0 / 10) = 0");
    let mut model = Model::new(requests, 4);
    assert_eq!(model.run(300, &zero(0.0, 0.0, 0.1)).0, [(60, 1)]);
}

fn at(second: i64, min: Option<u32>, max: Option<u32>) -> Scheduled {
    let when = When::At(Timestamp::from_second(second).unwrap());
    Scheduled { when, min, max }
}

#[test]
fn scheduled_bounds_hold_at_once_and_wait_for_no_cooldown() {
    let mut policy = policy(Profile::Aws, 1, 4);
    policy.schedule = vec![at(100, Some(3), Some(8)), at(110, None, Some(2))];
    let mut model = Model::new(policy, 1);
    let (second, decision) = model.until_change(1000, &[(CPU, 19.0)]);
    assert_eq!((second, decision.desired), (100, 3));
    assert_eq!((decision.min, decision.max), (3, 8));
    let result = &decision.results[0];
    assert_eq!(result.policy, "schedule at 1970-01-01T00:01:40Z");
    assert_eq!(result.formula, "clamp(1, 3, 8) = 3");
    assert_eq!((decision.in_cooldown, decision.out_cooldown), (None, None));
    let (second, decision) = model.until_change(1000, &[(CPU, 19.0)]);
    assert_eq!((second, decision.desired), (110, 2));
    assert_eq!(decision.outcome, ScalingOutcome::ScaleIn);
    let decision = model.hold(1000, &[(CPU, 50.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::AtMax));
}

/// The textbook's: one more at 70 % average CPU or above, one fewer at 40 % or below.
fn textbook() -> Autoscaling {
    let step = |comparison, threshold, step| StepScaling {
        metric: CPU,
        comparison,
        threshold,
        periods: 2,
        period: Duration::from_secs(60),
        adjustment: Adjustment::Change,
        steps: vec![step],
        min_magnitude: None,
        cooldown: Duration::from_secs(300),
    };
    let (lower, upper) = (Some(0.0), Some(0.0));
    let up = Step {
        lower,
        upper: None,
        by: 1,
    };
    let down = Step {
        lower: None,
        upper,
        by: -1,
    };
    Autoscaling {
        target_tracking: Vec::new(),
        step_scaling: vec![
            step(Comparison::GreaterOrEqual, 70.0, up),
            step(Comparison::LessOrEqual, 40.0, down),
        ],
        ..policy(Profile::Aws, 1, 4)
    }
}

#[test]
fn the_textbooks_thresholds_add_and_take_one_after_each_cooldown() {
    let mut model = Model::new(textbook(), 2);
    let (changes, last) = model.run(1200, &[(CPU, 70.0)]);
    assert_eq!(changes, [(120, 3), (420, 4)]);
    assert_eq!(last.outcome, ScalingOutcome::Hold(Reason::AtMax));
    assert_eq!(last.results[0].formula, "4 +1 = 5");
    let (changes, last) = model.run(1200, &[(CPU, 40.0)]);
    let expected = [(1320, 3), (1620, 2), (1920, 1)];
    assert_eq!(changes, expected);
    assert_eq!(last.outcome, ScalingOutcome::Hold(Reason::AtMin));
    let decision = model.hold(1200, &[(CPU, 55.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::InRange));
}

#[test]
fn a_scale_out_ends_the_wait_of_a_step_that_scaled_in() {
    let mut model = Model::new(textbook(), 3);
    let (changes, _) = model.run(125, &[(CPU, 30.0)]);
    assert_eq!(changes, [(120, 2)]);
    let (second, decision) = model.until_change(500, &[(CPU, 90.0)]);
    // 85 % in the mean of the minute after it, 90 % in the next: 300 s have not passed.
    assert_eq!((second, decision.desired), (240, 3));
}

/// At 9 % on average, with peaks that would be above 20 % on one replica.
fn noisy(profile: Profile) -> (PolicyResult, u32) {
    let mut policy = policy(profile, 1, 4);
    policy.timing.in_cooldown = Duration::ZERO;
    policy.timing.period = Duration::from_secs(1);
    policy.timing.in_periods = 15;
    policy.timing.warm_up = Duration::ZERO;
    let mut model = Model::new(policy, 2);
    let mut last = model.decide(&[(CPU, 9.0)]);
    for second in 0..16 {
        let cpu = if second % 2 == 0 { 5.0 } else { 13.0 };
        last = model.decide(&[(CPU, cpu)]);
    }
    (last.results[0].clone(), last.desired)
}

#[test]
fn awss_profiles_scale_in_by_the_mean_and_weirs_by_the_spread_as_well() {
    for profile in [Profile::Aws, Profile::AwsHighResolution] {
        let (result, desired) = noisy(profile);
        assert_eq!(desired, 1, "{result:?}");
        assert!(result.formula.ends_with("/ 20) = 1"), "{result:?}");
        assert_eq!(result.inputs.unwrap().spread.to_bits(), 0);
    }
    let (result, desired) = noisy(Profile::Fast);
    assert_eq!((result.reason, desired), (Some(Reason::NoFlap), 2));
    assert!(result.formula.contains("+ 3 *"), "{result:?}");
}

#[test]
fn steps_scale_in_though_target_tracking_is_not_low_but_not_while_it_is_high() {
    let both = Autoscaling {
        target_tracking: vec![tracking(RPS, 100.0)],
        ..textbook()
    };
    let mut model = Model::new(both.clone(), 3);
    let (second, decision) = model.until_change(500, &[(CPU, 30.0), (RPS, 95.0)]);
    assert_eq!((second, decision.desired), (180, 2));
    // Until there are datapoints for both, nothing goes.
    assert_eq!(decision.results[0].alarm, AlarmState::Ok);
    let mut high = Model::new(Autoscaling { max: 3, ..both }, 3);
    let decision = high.hold(500, &[(CPU, 30.0), (RPS, 120.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::AtMax));
    assert_eq!(reasons(&decision)[2], Some(Reason::AllMustAgree));
}

#[test]
fn another_configuration_keeps_datapoints_cooldowns_and_steps() {
    let mut model = Model::new(policy(Profile::Fast, 1, 10), 4);
    model.hold(55, &[(CPU, 8.0)]);
    let mut changed = policy(Profile::Fast, 1, 10);
    changed.target_tracking = vec![tracking(RPS, 100.0), tracking(CPU, 40.0)];
    changed.target_tracking[0].scale_in = false;
    model.scaler.configure(changed.clone());
    let (second, decision) = model.until_change(100, &[(CPU, 8.0), (RPS, 50.0)]);
    assert_eq!((second, decision.desired), (60, 1));
    // Bounds that exclude it move the number at once.
    model.scaler.configure(Autoscaling { min: 2, ..changed });
    let decision = model.decide(&[(CPU, 8.0), (RPS, 50.0)]);
    assert_eq!(
        (decision.desired, decision.outcome),
        (2, ScalingOutcome::ScaleOut)
    );
    assert_eq!(decision.results[0].policy, "bounds 2 to 10");

    let mut model = Model::new(textbook(), 2);
    assert_eq!(model.until_change(500, &[(CPU, 80.0)]).0, 120);
    model.scaler.configure(textbook());
    assert_eq!(model.until_change(500, &[(CPU, 80.0)]).0, 420);
}

#[test]
fn a_process_that_takes_over_continues_from_the_providers_count() {
    let mut model = Model::new(policy(Profile::Fast, 1, 10), 1);
    for second in 0..100 {
        if second == 80 {
            model.capacity = all(5);
        }
        let decision = model.decide_as(false, &[(CPU, 1.0)]);
        assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::NotScaler));
        assert_eq!(decision.desired, model.capacity.desired);
    }
    // The other process has scaled out at 80: its cooldown holds here too.
    let (second, decision) = model.until_change(100, &[(CPU, 1.0)]);
    assert_eq!((second, decision.desired), (140, 1));
}

#[test]
fn a_forecast_keeps_replicas_that_nothing_measured_needs() {
    let mut forecast = policy(Profile::Fast, 1, 10);
    forecast.predictive = Some(Predictive {
        metric: CPU,
        target: 20.0,
        scale: true,
        buffer: Duration::from_secs(300),
        history: None,
    });
    let hours: Vec<String> = (-30..0).map(|hour| format!("[{hour},60.0]")).collect();
    let text = format!(
        r#"{{"version":1,"metric":"cpu","hours":[{}]}}"#,
        hours.join(",")
    );
    let mut model = Model::new(forecast.clone(), 1);
    model.scaler.import_history(&text).unwrap();
    assert_eq!(model.scaler.forecast(), []);
    let (second, decision) = model.until_change(10, &[(CPU, 5.0)]);
    assert_eq!((second, decision.desired), (0, 3));
    assert_eq!(model.scaler.forecast()[0].wants, 3);
    let decision = model.hold(500, &[(CPU, 5.0)]);
    assert_eq!(decision.outcome, ScalingOutcome::Hold(Reason::AllMustAgree));
    // A configuration that only shows it lets them go; the history is still known.
    if let Some(predictive) = &mut forecast.predictive {
        predictive.scale = false;
    }
    model.scaler.configure(forecast);
    assert_eq!(model.until_change(500, &[(CPU, 5.0)]).1.desired, 1);
    assert!(
        model
            .scaler
            .export_history()
            .unwrap()
            .contains("[-30,60.0]")
    );
}
