//! Ejection and automatic weights, simulated: real counters and pickers, a clock that is
//! moved by hand, and randomness with a seed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use proptest::prelude::*;
use weir::balance::{PickContext, Picker, Roster, build};
use weir::config::defaults::OUTLIER;
use weir::health::outlier::{
    Decision, History, Limit, OutlierRules, Readmission, TargetView, evaluate,
};
use weir::health::{Tally, anomaly};
use weir::model::{
    Algorithm, Ejection, EjectionReason, HashPolicy, Outlier, Registration, TargetId,
};
use weir::target::{Failings, RequestResult, Target, WHOLE_SHARE};
use weir::target_group::{FailOpenPolicy, Registered, choose};

const TICK: Duration = Duration::from_millis(100);

/// A group under load.
struct Simulation {
    rng: Rng,
    start: Instant,
    now: Instant,
    algorithm: Algorithm,
    outlier: Option<Outlier>,
    min_healthy: usize,
    targets: Vec<Registered>,
    histories: Vec<History>,
    selection: (Arc<Roster>, Box<dyn Picker>),
    /// What the last check of each target said, for ejected ones.
    checked: Vec<Option<bool>>,
    served: Vec<u64>,
    failed: u64,
    decisions: Vec<(Duration, usize, Decision)>,
    /// Ejections that a limit prevented.
    withheld: Vec<(usize, Limit)>,
}

impl Simulation {
    fn new(count: usize, algorithm: Algorithm, seed: u64) -> Self {
        let register = |index: usize| Registered {
            target: Arc::new(Target::new(TargetId {
                group: "todo".into(),
                addr: ([10, 0, 0, index as u8], 6400).into(),
            })),
            weight: 1,
            registration: Registration::Active,
        };
        let targets: Vec<Registered> = (0..count).map(register).collect();
        let now = Instant::now();
        Self {
            rng: Rng::with_seed(seed),
            start: now,
            now,
            algorithm,
            outlier: Some(OUTLIER),
            min_healthy: 1,
            selection: select(&targets, algorithm),
            targets,
            histories: vec![History::new(Failings::default(), now); count],
            checked: vec![None; count],
            served: vec![0; count],
            failed: 0,
            decisions: vec![],
            withheld: vec![],
        }
    }

    /// `rate` requests per tick for a while; `fails` is the probability that a target fails
    /// one.
    fn run(&mut self, time: Duration, rate: usize, fails: impl Fn(usize) -> f64) {
        let end = self.now + time;
        let mut ticks = 0;
        while self.now < end {
            for _ in 0..rate {
                self.request(&fails);
            }
            self.now += TICK;
            ticks += 1;
            if ticks % 10 == 0 {
                self.targets.iter().for_each(|t| t.target.load().forgive());
            }
            self.look();
        }
    }

    fn request(&mut self, fails: &impl Fn(usize) -> f64) {
        let (roster, picker) = &self.selection;
        let context = PickContext {
            key: Some(self.rng.u64(..)),
            entropy: self.rng.u64(..),
            now: self.now,
            tried: &[],
        };
        let member = picker.pick(&context).unwrap();
        let target = &roster.members()[member].target;
        let index = usize::from(target.id.addr.to_string().as_bytes()[7] - b'0');
        let _lease = target.lease();
        self.served[index] += 1;
        if self.rng.f64() < fails(index) {
            target.report(RequestResult::ServerError);
            self.failed += 1;
        } else {
            target.report(RequestResult::Served);
        }
    }

    fn look(&mut self) {
        let sight = |(registered, checked): (&Registered, &Option<bool>)| TargetView {
            failings: registered.target.failings(),
            active: true,
            healthy: true,
            checked: *checked,
        };
        let sights: Vec<TargetView> = self.targets.iter().zip(&self.checked).map(sight).collect();
        let rules = OutlierRules {
            outlier: self.outlier.as_ref(),
            min_healthy: self.min_healthy,
        };
        let decisions = evaluate(&mut self.histories, &sights, rules, self.now);
        if decisions.is_empty() {
            return;
        }
        for (index, decision) in decisions {
            if let Decision::Withhold { limit, .. } = decision {
                self.withheld.push((index, limit));
                continue;
            }
            let target = &self.targets[index].target;
            target.health().lock().ejection = match &decision {
                Decision::Withhold { .. } | Decision::Clear => continue,
                Decision::Eject { reason, times, .. } => Some(Ejection {
                    reason: *reason,
                    detail: String::new(),
                    began: self.now,
                    since: SystemTime::UNIX_EPOCH,
                    until: SystemTime::UNIX_EPOCH,
                    times: *times,
                }),
                Decision::Readmit(_) => {
                    target.outcomes().forget_runs();
                    None
                }
            };
            let at = self.now - self.start;
            self.decisions.push((at, index, decision));
        }
        self.selection = select(&self.targets, self.algorithm);
    }

    fn requests(&self) -> u64 {
        self.served.iter().sum()
    }

    fn ejected(&self) -> Vec<usize> {
        self.histories
            .iter()
            .enumerate()
            .filter(|(_, history)| history.is_ejected())
            .map(|(index, _)| index)
            .collect()
    }

    /// How long each ejection was to last, in seconds.
    fn terms(&self) -> Vec<u64> {
        let term = |(_, _, decision): &(Duration, usize, Decision)| match decision {
            Decision::Eject { time, .. } => Some(time.as_secs()),
            Decision::Readmit(_) | Decision::Withhold { .. } | Decision::Clear => None,
        };
        self.decisions.iter().filter_map(term).collect()
    }
}

fn select(targets: &[Registered], algorithm: Algorithm) -> (Arc<Roster>, Box<dyn Picker>) {
    let fail_open = FailOpenPolicy {
        min_healthy: 1,
        enabled: true,
        before_checks: true,
    };
    let roster = Arc::new(choose(targets, false, fail_open).roster.unwrap());
    let picker = build(algorithm, &HashPolicy::default(), Arc::clone(&roster), 1);
    (roster, picker)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A probability for one target, and none for the others.
fn only(bad: usize, ratio: f64) -> impl Fn(usize) -> f64 {
    move |index| if index == bad { ratio } else { 0.0 }
}

#[test]
fn a_target_that_fails_alone_is_out_within_its_first_errors() {
    for algorithm in Algorithm::ALL {
        for count in 2..=8 {
            for rate in [1, 10, 1000] {
                let mut group = Simulation::new(count, algorithm, 1);
                group.run(seconds(20), rate, only(0, 1.0));
                let name = algorithm.name();
                assert_eq!(group.ejected(), [0], "{name}, {count} targets, {rate}");
                // Few at a low rate; at a high one what two ticks bring.
                let most = 10 + 2 * rate as u64;
                assert!(
                    group.failed <= most,
                    "{name}, {count}, {rate}: {}",
                    group.failed
                );
            }
        }
    }
}

#[test]
fn a_failure_that_all_share_ejects_nobody() {
    let (mut groups, mut wrong) = (0, 0);
    for seed in 0..5 {
        for (count, rate) in [(2, 1), (2, 7), (2, 40), (3, 7), (4, 1), (4, 40), (9, 7)] {
            for ratio in [1.0, 0.8, 0.6, 0.3, 0.05] {
                let mut group = Simulation::new(count, Algorithm::RoundRobin, seed);
                group.run(seconds(15), rate, |_| 0.0);
                group.run(seconds(30), rate, |_| ratio);
                group.run(seconds(15), rate, |_| 0.0);
                let ejections = group.terms().len();
                let told = format!("{count} targets, {rate} per tick, {ratio}, seed {seed}");
                assert!(ejections == 0 || (ratio < 1.0 && ejections == 1), "{told}");
                groups += 1;
                wrong += ejections;
            }
        }
    }
    // A part that fails may by chance fall on one target, but rarely.
    assert!(wrong * 100 <= groups, "{wrong} of {groups}");
}

#[test]
fn a_target_that_stays_bad_when_the_others_recover_is_ejected() {
    let mut group = Simulation::new(4, Algorithm::RoundRobin, 1);
    group.run(seconds(60), 20, |_| 1.0);
    assert!(group.ejected().is_empty());
    group.run(seconds(15), 20, only(2, 1.0));
    assert_eq!(group.ejected(), [2]);
}

#[test]
fn two_bad_targets_of_four_are_both_ejected_and_no_third() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let mut group = Simulation::new(4, algorithm, 1);
        group.run(seconds(5), 20, |index| f64::from(index < 2));
        assert_eq!(group.ejected(), [0, 1], "{}", algorithm.name());
        group.run(seconds(5), 20, |index| f64::from(index < 3));
        assert_eq!(group.ejected(), [0, 1], "{}", algorithm.name());
    }
}

#[test]
fn a_target_that_fails_often_but_never_long_is_ejected_by_its_ratio() {
    let mut group = Simulation::new(2, Algorithm::RoundRobin, 1);
    group.outlier = Some(Outlier {
        consecutive_errors: None,
        ..OUTLIER
    });
    group.run(seconds(15), 10, only(0, 0.3));
    assert_eq!(group.decisions, [], "within the tolerance");
    group.run(seconds(15), 10, only(0, 0.7));
    let reason = match &group.decisions[0].2 {
        Decision::Eject { reason, detail, .. } => (*reason, detail.contains("requests failed")),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, (EjectionReason::ErrorRatio, true));
}

#[test]
fn the_last_target_stays() {
    let mut alone = Simulation::new(1, Algorithm::RoundRobin, 1);
    alone.run(seconds(30), 10, |_| 1.0);
    assert_eq!(alone.decisions, []);
    let mut strict = Simulation::new(3, Algorithm::RoundRobin, 1);
    strict.min_healthy = 3;
    strict.run(seconds(30), 10, only(0, 1.0));
    assert_eq!(strict.decisions, []);
    assert_eq!(strict.withheld.first(), Some(&(0, Limit::MinHealthy)));
}

#[test]
fn an_ejection_for_which_there_is_no_room_is_told_once() {
    let mut group = Simulation::new(4, Algorithm::RoundRobin, 1);
    group.outlier = Some(Outlier {
        max_ejected: 25,
        ..OUTLIER
    });
    group.run(seconds(20), 10, |index| if index < 2 { 1.0 } else { 0.0 });
    assert_eq!(group.ejected().len(), 1);
    let kept = 1 - group.ejected()[0];
    assert_eq!(group.withheld, [(kept, Limit::MaxEjected)]);
}

#[test]
fn each_ejection_is_longer_up_to_the_longest_and_good_time_is_credited() {
    let mut group = Simulation::new(3, Algorithm::RoundRobin, 1);
    group.run(seconds(2500), 3, only(0, 1.0));
    let rising: Vec<u64> = (1..=10).map(|times| times * 30).collect();
    assert_eq!(group.terms()[..10], rising);
    assert!(group.terms()[10..].iter().all(|&term| term == 300));

    group.run(seconds(300 + 200), 3, |_| 0.0);
    assert!(group.ejected().is_empty());
    group.run(seconds(10), 3, only(0, 1.0));
    assert_eq!(group.terms().last(), Some(&30), "forgotten");
}

#[test]
fn a_check_that_passes_readmits_unless_it_was_wrong_before() {
    let mut group = Simulation::new(2, Algorithm::RoundRobin, 1);
    let back = |group: &Simulation| {
        let (_, _, last) = group.decisions.last().unwrap();
        *last == Decision::Readmit(Readmission::CheckPassed)
    };
    group.run(seconds(1), 20, only(0, 1.0));
    assert_eq!(group.ejected(), [0]);
    group.checked[0] = Some(true);
    group.run(TICK, 20, |_| 0.0);
    assert!(back(&group));
    // It sees a port, not what is behind it.
    group.run(seconds(5), 20, only(0, 1.0));
    assert_eq!(group.ejected(), [0]);
    assert_eq!(group.terms(), [30, 60]);
    // Once it has failed and passes again it says something.
    group.checked[0] = Some(false);
    group.run(TICK, 20, only(0, 1.0));
    group.checked[0] = Some(true);
    group.run(TICK, 20, |_| 0.0);
    assert!(back(&group));
    assert!(group.ejected().is_empty());
}

#[test]
fn without_rules_everybody_is_readmitted_and_nobody_ejected() {
    let mut group = Simulation::new(3, Algorithm::RoundRobin, 1);
    group.run(seconds(5), 10, only(0, 1.0));
    group.outlier = None;
    group.run(seconds(20), 10, only(0, 1.0));
    let (_, _, last) = group.decisions.last().unwrap();
    assert_eq!(*last, Decision::Readmit(Readmission::SwitchedOff));
    assert_eq!(group.decisions.len(), 2);
}

#[test]
fn instant_errors_attract_no_traffic_even_where_nobody_is_ejected() {
    let mut group = Simulation::new(4, Algorithm::LeastConnections, 1);
    group.outlier = None;
    group.run(seconds(60), 50, only(2, 1.0));
    let share = group.served[2] as f64 / group.requests() as f64;
    assert!(share < 0.05, "{share}");
    group.run(seconds(60), 50, |_| 0.0);
    let before = group.served[2];
    group.run(seconds(10), 50, |_| 0.0);
    assert!(group.served[2] - before > 1000, "forgiven");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Whatever happens: limits hold, no target is ejected twice or for too long, and all are
    /// back once their requests succeed.
    #[test]
    fn limits_hold_whatever_fails(
        seed in any::<u64>(),
        count in 1_usize..9,
        max_ejected in 1_u8..=100,
        min_healthy in 0_usize..5,
        phases in prop::collection::vec((1_u64..30, 0_usize..20, any::<u64>()), 1..4),
    ) {
        let mut group = Simulation::new(count, Algorithm::Random, seed);
        group.min_healthy = min_healthy;
        group.outlier = Some(Outlier { max_ejected, ..OUTLIER });
        let most = (count * usize::from(max_ejected) / 100).max(1).min(count - 1);
        for (length, rate, dice) in phases {
            let ratios: Vec<f64> = (0..count).map(|n| (dice >> (n * 4) & 0xf) as f64 / 15.0).collect();
            for _ in 0..length * 10 {
                group.run(TICK, rate, |index| ratios[index]);
                let out = group.ejected().len();
                prop_assert!(out <= most);
                prop_assert!(out == 0 || count - out >= min_healthy.max(1));
            }
        }
        prop_assert!(group.terms().iter().all(|term| (30..=300).contains(term)));
        let mut out = vec![false; count];
        for (_, index, decision) in &group.decisions {
            let ejects = matches!(decision, Decision::Eject { .. });
            prop_assert_ne!(out[*index], ejects);
            out[*index] = ejects;
        }
        group.run(seconds(301), 5, |_| 0.0);
        prop_assert_eq!(group.ejected(), Vec::<usize>::new());
    }
}

/// Draws targets by their shares, as `weighted_random` does.
fn steps(shares: &mut [u32], count: usize, rng: &mut Rng, ratio: f64) -> f64 {
    let mut bad = 0;
    for _ in 0..count {
        let mut tallies = vec![Tally::default(); shares.len()];
        for _ in 0..250 {
            let mut dice = rng.u32(0..shares.iter().sum());
            let picked = shares.iter().position(|&share| {
                let found = dice < share;
                dice = dice.saturating_sub(share);
                found
            });
            let tally = &mut tallies[picked.unwrap()];
            tally.requests += 1;
            tally.errors += u64::from(picked == Some(0) && rng.f64() < ratio);
        }
        bad = tallies[0].requests;
        let all = tallies.iter().copied().fold(Tally::default(), Tally::with);
        for (share, own) in shares.iter_mut().zip(tallies) {
            let anomalous = anomaly::is_anomalous(own, all.without(own));
            *share = anomaly::next_share(*share, anomalous);
        }
    }
    bad as f64 / 250.0
}

#[test]
fn a_bad_target_of_two_gets_less_within_ten_seconds_and_all_again_within_a_minute() {
    let within =
        |time: u64| (seconds(time).as_millis() / anomaly::COMPARE_INTERVAL.as_millis()) as usize;
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut shares = vec![WHOLE_SHARE; 2];
        steps(&mut shares, within(10), &mut rng, 0.3);
        let traffic = steps(&mut shares, 1, &mut rng, 0.3);
        assert!(traffic < 0.2, "{traffic}, seed {seed}");
        assert_eq!(shares[1], WHOLE_SHARE);
        steps(&mut shares, within(60), &mut rng, 0.0);
        assert_eq!(shares, [WHOLE_SHARE; 2], "seed {seed}");
    }
}
