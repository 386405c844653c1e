//! Targets that come into service slowly, in virtual time.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use weir::config::TargetGroup;
use weir::model::Algorithm;
use weir::target::{Admission, Lease, Ramp};
use weir::target_group::{PickRequest, Tried};

use crate::property::simulation::{
    Manner, PAUSE, Simulation, WELL, check, checked, group, target, target_of,
};

const SECOND: Duration = Duration::from_secs(1);

/// A group in which slow start takes 100 s.
fn slow(algorithm: Algorithm) -> TargetGroup {
    TargetGroup {
        slow_start: 100 * SECOND,
        ..group(algorithm)
    }
}

/// The same with health checks.
fn slow_and_checked() -> TargetGroup {
    TargetGroup {
        health: Some(checked()),
        ..slow(Algorithm::RoundRobin)
    }
}

/// A group of three that gets a fourth, at the front, and slow start over 100 s.
fn grown(algorithm: Algorithm, manner: Manner) -> Simulation {
    let targets = (1..=3).map(|n| (target(n), manner)).collect();
    let mut group = Simulation::new(slow(algorithm), targets);
    group.shares(SECOND);
    group.targets.insert(0, (target(4), manner));
    group.rebuild();
    group
}

#[test]
fn the_share_of_a_new_target_rises_linearly_under_every_algorithm() {
    let mut checked = 0;
    // Hardly a request at a time, and ten on each target.
    for takes in [1, 80].map(Duration::from_millis) {
        for algorithm in Algorithm::ALL {
            if takes < PAUSE && algorithm.measures_time() {
                // Which target responds faster when all are idle is chance, and that one gets
                // all requests.
                continue;
            }
            let mut group = grown(algorithm, Manner { takes, ..WELL });
            let rising: Vec<f64> = (0..10).map(|_| group.shares(10 * SECOND)[0]).collect();
            let whole = group.shares(50 * SECOND)[0];
            assert!(whole > 0.2, "{algorithm:?}: {whole}");
            for (tenth, share) in rising.iter().enumerate() {
                let (part, expected) = (share / whole, (tenth as f64 + 0.5) / 10.0);
                let is_near = (part - expected).abs() < 0.1;
                assert!(is_near, "{algorithm:?}: {part} and not {expected}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 180);
}

#[test]
fn the_first_targets_of_a_group_start_with_their_whole_share() {
    let targets = || (1..=4).map(|n| (target(n), WELL)).collect();
    for algorithm in Algorithm::ALL {
        let group = Simulation::new(slow(algorithm), targets());
        assert_eq!(ramps(&group), [Ramp::Whole; 4], "{}", algorithm.name());
    }
    // Also if their first checks pass one after the other.
    let mut group = Simulation::new(slow_and_checked(), targets());
    (0..4).for_each(|index| health(&mut group, index, true));
    assert_eq!(ramps(&group), [Ramp::Whole; 4]);
    assert!(group.group.selection.unwrap().traffic_share.is_none());
}

/// Three targets in service that pass their checks, with slow start over 100 s.
fn in_service() -> Simulation {
    let targets = (1..=3).map(|n| (target(n), WELL)).collect();
    let mut group = Simulation::new(slow_and_checked(), targets);
    (0..3).for_each(|index| health(&mut group, index, true));
    group
}

/// A second later, a check changes the health of a target.
fn health(group: &mut Simulation, index: usize, passed: bool) {
    check(&group.targets[index].0, passed);
    group.now += SECOND;
    group.rebuild();
}

fn ramps(group: &Simulation) -> Vec<Ramp> {
    group
        .targets
        .iter()
        .map(|(target, _)| target.ramp().get())
        .collect()
}

#[test]
fn a_target_that_recovers_starts_slowly_each_time() {
    let mut group = in_service();
    assert_eq!(ramps(&group), [Ramp::Whole; 3]);
    for _ in 0..2 {
        health(&mut group, 0, false);
        assert_eq!(ramps(&group), [Ramp::Out, Ramp::Whole, Ramp::Whole]);
        health(&mut group, 0, true);
        let since = Ramp::Since(group.now);
        assert_eq!(ramps(&group), [since, Ramp::Whole, Ramp::Whole]);
        let share = group.shares(50 * SECOND)[0];
        assert!((0.06..0.11).contains(&share), "{share}");
    }
    group.shares(50 * SECOND);
    group.rebuild();
    assert_eq!(ramps(&group), [Ramp::Whole; 3]);
}

#[test]
fn the_target_that_ends_an_outage_starts_with_its_whole_share() {
    let mut group = in_service();
    (0..3).for_each(|index| health(&mut group, index, false));
    assert_eq!(ramps(&group), [Ramp::Out; 3]);
    health(&mut group, 1, true);
    assert_eq!(ramps(&group), [Ramp::Out, Ramp::Whole, Ramp::Out]);
    health(&mut group, 0, true);
    let since = Ramp::Since(group.now);
    assert_eq!(ramps(&group), [since, Ramp::Whole, Ramp::Out]);
}

#[test]
fn a_target_that_fails_from_the_start_is_not_one_of_the_first() {
    let targets = (1..=2).map(|n| (target(n), WELL)).collect();
    let mut group = Simulation::new(slow_and_checked(), targets);
    health(&mut group, 0, true);
    health(&mut group, 1, false);
    health(&mut group, 1, true);
    assert_eq!(ramps(&group), [Ramp::Whole, Ramp::Since(group.now)]);
}

#[test]
fn switching_slow_start_on_slows_nobody_who_is_in_service() {
    let mut group = in_service();
    group.config.slow_start = Duration::ZERO;
    health(&mut group, 2, false);
    health(&mut group, 2, true);
    group.config.slow_start = 100 * SECOND;
    group.rebuild();
    assert_eq!(ramps(&group), [Ramp::Whole; 3]);
    assert!(group.group.selection.unwrap().traffic_share.is_none());
}

#[test]
fn slow_start_never_turns_a_request_away() {
    for algorithm in Algorithm::ALL {
        // Alone: the others left while it was new.
        let mut group = grown(algorithm, WELL);
        group.targets.truncate(1);
        group.rebuild();
        assert!(matches!(group.targets[0].0.ramp().get(), Ramp::Since(_)));
        assert_eq!(group.shares(SECOND), [1.0]);
    }
}

#[test]
fn a_new_target_takes_what_the_others_have_no_place_for() {
    for algorithm in Algorithm::ALL {
        let admission = Arc::new(Admission::default());
        admission.open(NonZeroU32::new(2), &[], false);
        let old = vec![(target_of(1, &admission), WELL)];
        let mut group = Simulation::new(slow(algorithm), old);
        group.targets.push((target_of(2, &admission), WELL));
        group.rebuild();
        let leases: Vec<Lease> = (0..4)
            .map(|_| {
                let request = group.request();
                group
                    .group
                    .acquire(&request, &mut Tried::default())
                    .unwrap()
            })
            .collect();
        let on_new = leases
            .iter()
            .filter(|lease| lease.target().serial == group.targets[1].0.serial);
        assert_eq!(on_new.count(), 2, "{}", algorithm.name());
        let request = group.request();
        assert!(
            group
                .group
                .acquire(&request, &mut Tried::default())
                .is_err()
        );
    }
}

#[test]
fn a_key_moves_to_a_new_target_once_and_stays() {
    let mut group = grown(Algorithm::ConsistentHash, WELL);
    let mut homes: HashMap<u64, bool> = HashMap::new();
    let mut moved = 0;
    for _ in 0..=10 {
        for key in 0..1000_u64 {
            let request = PickRequest {
                key: Some(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                ..group.request()
            };
            let lease = group
                .group
                .acquire(&request, &mut Tried::default())
                .unwrap();
            let is_new = lease.target().serial == group.targets[0].0.serial;
            let was_new = homes.insert(key, is_new).unwrap_or(false);
            assert!(is_new || !was_new, "key {key} went back");
            moved += u32::from(is_new && !was_new);
        }
        group.now += 10 * SECOND;
    }
    assert!((200..300).contains(&moved), "{moved}");
}

#[test]
fn a_target_of_less_weight_gets_less_under_weighted_random_alone() {
    for algorithm in Algorithm::ALL {
        let targets = (1..=4).map(|n| (target(n), WELL)).collect();
        let mut group = Simulation::new(group(algorithm), targets);
        let before = group.shares(20 * SECOND)[0];
        group.targets[0].0.share().set(250);
        let after = group.shares(20 * SECOND)[0];
        let part = after / before;
        let expected = match algorithm {
            Algorithm::WeightedRandom => 0.25,
            _ => 1.0,
        };
        assert!(
            (part - expected).abs() < 0.15,
            "{}: {part}",
            algorithm.name()
        );
    }
}
