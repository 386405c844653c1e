//! What every picker promises, then what each family of algorithms does.
//!
//! Every test of all algorithms loops over [`Algorithm::ALL`].

mod hashing;
mod times;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use weir::balance::{Member, PickContext, Picker, Roster, build};
use weir::model::{Algorithm, HashPolicy, TargetId};
use weir::target::{Admission, Lease, Target};

fn address(index: usize) -> SocketAddr {
    ([10, 0, (index >> 8) as u8, index as u8], 6400).into()
}

fn member(addr: SocketAddr, weight: u16) -> Member {
    let group = "todo".into();
    Member {
        target: Arc::new(Target::new(TargetId {
            group,
            addr: addr.into(),
        })),
        weight: NonZeroU16::new(weight).unwrap(),
    }
}

fn roster(weights: &[u16]) -> Arc<Roster> {
    let members = weights
        .iter()
        .enumerate()
        .map(|(index, &weight)| member(address(index), weight))
        .collect();
    Arc::new(Roster::new(members).unwrap())
}

/// Even and uneven, small and large: both forms of turns, both forms of hashing.
fn rosters() -> Vec<Arc<Roster>> {
    let mut rng = Rng::with_seed(1);
    let mut uneven = |len| -> Vec<u16> { (0..len).map(|_| rng.u16(1..=9)).collect() };
    let weights = [
        vec![1],
        vec![3, 3],
        vec![5, 1, 1],
        vec![999, 1, 1, 1],
        vec![1; 10],
        uneven(16),
        uneven(17),
        vec![2; 100],
        uneven(300),
    ];
    weights.iter().map(|weights| roster(weights)).collect()
}

fn unbounded() -> HashPolicy {
    HashPolicy::default()
}

fn bounded(factor: f64) -> HashPolicy {
    HashPolicy {
        load_factor: Some(factor),
        ..HashPolicy::default()
    }
}

/// Every algorithm over this roster, the hashing ones also with bounded load.
fn pickers(roster: &Arc<Roster>, seed: u64) -> Vec<(&'static str, Box<dyn Picker>)> {
    assert!(!Algorithm::ALL.is_empty());
    let plain = Algorithm::ALL.iter().map(|&algorithm| {
        let picker = build(algorithm, &unbounded(), Arc::clone(roster), seed);
        (algorithm.name(), picker)
    });
    let bound = bounded(1.25);
    let bound = build(Algorithm::ConsistentHash, &bound, Arc::clone(roster), seed);
    plain.chain([("bounded_hash", bound)]).collect()
}

/// A fresh key and fresh entropy for each draw, and no member tried.
fn draw(rng: &mut Rng) -> PickContext<'static> {
    PickContext {
        key: Some(rng.u64(..)),
        entropy: rng.u64(..),
        now: Instant::now(),
        tried: &[],
    }
}

fn with_key(key: u64) -> PickContext<'static> {
    PickContext {
        key: Some(key),
        entropy: 0,
        now: Instant::now(),
        tried: &[],
    }
}

/// Up to three requests in flight on each member, until the leases are dropped.
fn some_load(roster: &Roster, rng: &mut Rng) -> Vec<Lease> {
    let mut leases = Vec::new();
    for member in roster.members() {
        leases.extend((0..rng.usize(0..=3)).map(|_| member.target.lease()));
    }
    leases
}

fn counts(picker: &dyn Picker, members: usize, picks: u64) -> Vec<u64> {
    let mut rng = Rng::with_seed(2);
    let mut counts = vec![0; members];
    for _ in 0..picks {
        counts[picker.pick(&draw(&mut rng)).unwrap()] += 1;
    }
    counts
}

// ---- every algorithm -----------------------------------------------------------

#[test]
fn a_pick_is_untried_and_there_is_one_until_all_are_tried() {
    let mut rng = Rng::with_seed(3);
    for roster in rosters() {
        let len = roster.members().len();
        for (name, picker) in pickers(&roster, rng.u64(..)) {
            let _leases = some_load(&roster, &mut rng);
            let mut tried = Vec::new();
            while tried.len() < len {
                let ctx = PickContext {
                    tried: &tried,
                    ..draw(&mut rng)
                };
                let index = picker
                    .pick(&ctx)
                    .unwrap_or_else(|| panic!("{name} gave up at {}", tried.len()));
                assert!(index < len, "{name}");
                assert!(!tried.contains(&index), "{name}");
                tried.push(index);
            }
            let ctx = PickContext {
                tried: &tried,
                ..draw(&mut rng)
            };
            assert_eq!(picker.pick(&ctx), None, "{name}");
        }
    }
}

#[test]
fn a_member_tried_twice_counts_once() {
    let roster = roster(&[1, 2, 3]);
    for (name, picker) in pickers(&roster, 4) {
        let ctx = PickContext {
            tried: &[0, 0, 0, 2, 2],
            ..with_key(5)
        };
        assert_eq!(picker.pick(&ctx), Some(1), "{name}");
    }
}

#[test]
fn the_same_roster_seed_and_contexts_give_the_same_picks() {
    for roster in rosters() {
        let _leases = some_load(&roster, &mut Rng::with_seed(5));
        for ((name, one), (_, other)) in pickers(&roster, 6).into_iter().zip(pickers(&roster, 6)) {
            let mut rng = Rng::with_seed(7);
            for _ in 0..200 {
                let ctx = draw(&mut rng);
                assert_eq!(one.pick(&ctx), other.pick(&ctx), "{name}");
            }
        }
    }
}

#[test]
fn the_only_member_is_picked() {
    let roster = roster(&[7]);
    let _lease = roster.members()[0].target.lease();
    for (name, picker) in pickers(&roster, 8) {
        assert_eq!(picker.pick(&with_key(1)), Some(0), "{name}");
    }
}

#[test]
fn nobody_is_left_out() {
    // The lightest member has at least a share of 1 / (9 * 300). At 20 times as many
    // draws, missing one that is drawn by chance has a probability of e^-20 each.
    for roster in rosters() {
        let weights = roster.members().iter().map(|m| u64::from(m.weight.get()));
        let (total, lightest) = (weights.clone().sum::<u64>(), weights.min().unwrap());
        let picks = 20 * total / lightest;
        for (name, picker) in pickers(&roster, 9) {
            if name == Algorithm::First.name() {
                // Leaving the others out while it has a place is what it is for.
                continue;
            }
            let counts = counts(picker.as_ref(), roster.members().len(), picks);
            assert!(counts.iter().all(|&count| count > 0), "{name}: {counts:?}");
        }
    }
}

#[test]
fn picks_from_many_threads_add_up_and_keep_the_promises() {
    const THREADS: u64 = 4;
    const PICKS: u64 = 5000;
    for roster in [roster(&[5, 1, 1]), roster(&[1; 40])] {
        let len = roster.members().len();
        for (name, picker) in pickers(&roster, 10) {
            let work = |seed: u64| {
                let mut rng = Rng::with_seed(seed);
                for _ in 0..PICKS {
                    let tried = [rng.usize(..len)];
                    let ctx = PickContext {
                        tried: if rng.bool() { &tried } else { &[] },
                        ..draw(&mut rng)
                    };
                    let index = picker.pick(&ctx).unwrap();
                    assert!(!ctx.tried.contains(&index), "{name}");
                    drop(roster.members()[index].target.lease());
                }
            };
            let before: u64 = roster
                .members()
                .iter()
                .map(|m| m.target.load().started())
                .sum();
            let work = &work;
            thread::scope(|scope| {
                for seed in 0..THREADS {
                    scope.spawn(move || work(seed));
                }
            });
            let targets = || roster.members().iter().map(|m| &m.target);
            let after: u64 = targets().map(|target| target.load().started()).sum();
            assert_eq!(after - before, THREADS * PICKS, "{name}");
            assert!(
                targets().all(|target| target.load().in_flight() == 0),
                "{name}"
            );
        }
    }
}

// ---- round robin ---------------------------------------------------------------

#[test]
fn round_robin_shares_are_exact_over_every_cycle() {
    let mut rng = Rng::with_seed(11);
    for len in [1, 2, 3, 7, 8, 30, 200] {
        let weights: Vec<u16> = (0..len).map(|_| rng.u16(1..=999)).collect();
        let picker = build(
            Algorithm::RoundRobin,
            &unbounded(),
            roster(&weights),
            rng.u64(..),
        );
        let cycle: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let expected: Vec<u64> = weights.iter().map(|&weight| weight.into()).collect();
        // A single member's weight is reduced to 1; its cycle repeats within this one.
        for _ in 0..2 {
            assert_eq!(counts(picker.as_ref(), len, cycle), expected);
        }
    }
}

#[test]
fn round_robin_shares_are_exact_across_threads() {
    let roster = roster(&[5, 1, 1]);
    let picker = build(Algorithm::RoundRobin, &unbounded(), Arc::clone(&roster), 12);
    let work = || counts(picker.as_ref(), 3, 7 * 1000);
    let [one, other] = thread::scope(|scope| {
        [scope.spawn(work), scope.spawn(work)].map(|thread| thread.join().unwrap())
    });
    let both: Vec<u64> = one.iter().zip(&other).map(|(a, b)| a + b).collect();
    assert_eq!(both, [10_000, 2000, 2000]);
}

#[test]
fn round_robin_never_repeats_a_light_member_in_a_row() {
    for weights in [vec![5, 1, 1], vec![10, 7, 3, 3], vec![400; 50]] {
        let heaviest = *weights.iter().max().unwrap();
        let picker = build(Algorithm::RoundRobin, &unbounded(), roster(&weights), 13);
        let mut last = None;
        for _ in 0..500 {
            let index = picker.pick(&with_key(0));
            let weight = weights[index.unwrap()];
            assert!(index != last || weight == heaviest, "{weights:?}");
            last = index;
        }
    }
}

// ---- least connections ---------------------------------------------------------

#[test]
fn sequential_requests_on_idle_targets_are_spread_equally() {
    for algorithm in [
        Algorithm::LeastConnections,
        Algorithm::WeightedLeastConnections,
        Algorithm::LeastTime,
        Algorithm::RoundRobin,
    ] {
        let picker = build(algorithm, &unbounded(), roster(&[1; 4]), 14);
        let counts = counts(picker.as_ref(), 4, 400);
        assert_eq!(counts, [100; 4], "{}", algorithm.name());
    }
}

#[test]
fn members_tied_beside_a_busy_one_share_equally() {
    for algorithm in [
        Algorithm::LeastConnections,
        Algorithm::WeightedLeastConnections,
    ] {
        let roster = roster(&[1; 4]);
        let _long = roster.members()[1].target.lease();
        let picker = build(algorithm, &unbounded(), roster, 15);
        let counts = counts(picker.as_ref(), 4, 300);
        assert_eq!(counts, [100, 0, 100, 100], "{}", algorithm.name());
    }
}

#[test]
fn idle_members_share_by_weight_under_weighted_least_connections() {
    let roster = roster(&[5, 1, 1, 3]);
    let picker = build(
        Algorithm::WeightedLeastConnections,
        &unbounded(),
        Arc::clone(&roster),
        16,
    );
    assert_eq!(counts(picker.as_ref(), 4, 1000), [500, 100, 100, 300]);
    // And those that are left when the heaviest is busy share by theirs.
    let _long = roster.members()[0].target.lease();
    assert_eq!(counts(picker.as_ref(), 4, 1000), [0, 200, 200, 600]);
}

/// The load of a member as a fraction.
type Definition<'a> = &'a dyn Fn(&Member) -> (u64, u64);

#[test]
fn least_connections_agree_with_the_definition() {
    // The weighted load as the features page defines it, in exact fractions.
    let weighted = |member: &Member| match u64::from(member.target.load().in_flight()) {
        0 => (0, 1),
        in_flight => (in_flight + 1, u64::from(member.weight.get())),
    };
    let plain = |member: &Member| (u64::from(member.target.load().in_flight()), 1);
    let mut rng = Rng::with_seed(17);
    for _ in 0..300 {
        let len = rng.usize(1..=40);
        let most = [20, 999][rng.usize(..2)];
        let weights: Vec<u16> = (0..len).map(|_| rng.u16(1..=most)).collect();
        let roster = roster(&weights);
        let mut leases = some_load(&roster, &mut rng);
        let definitions: [(Algorithm, Definition<'_>); 2] = [
            (Algorithm::LeastConnections, &plain),
            (Algorithm::WeightedLeastConnections, &weighted),
        ];
        for (algorithm, load) in definitions {
            let load = |index: usize| load(&roster.members()[index]);
            let picker = build(algorithm, &unbounded(), Arc::clone(&roster), rng.u64(..));
            for _ in 0..20 {
                let tried = [rng.usize(..len * 2)];
                let ctx = PickContext {
                    tried: &tried,
                    ..draw(&mut rng)
                };
                let Some(index) = picker.pick(&ctx) else {
                    assert!(len == 1 && tried == [0]);
                    continue;
                };
                let (requests, weight) = load(index);
                for other in (0..len).filter(|other| !tried.contains(other)) {
                    let (other_requests, other_weight) = load(other);
                    assert!(requests * other_weight <= other_requests * weight);
                }
                leases.push(roster.members()[index].target.lease());
            }
        }
    }
}

// ---- by chance -----------------------------------------------------------------

#[test]
fn random_and_idle_two_choices_follow_the_weights() {
    // 100 000 draws: a share of 1/2 has a standard deviation of 160, so 800 is five.
    for algorithm in [
        Algorithm::Random,
        Algorithm::WeightedRandom,
        Algorithm::PowerOfTwoChoices,
        Algorithm::PeakEwma,
    ] {
        let picker = build(algorithm, &unbounded(), roster(&[5, 1, 1, 3]), 18);
        let counts = counts(picker.as_ref(), 4, 100_000);
        for (count, expected) in counts.iter().zip([50_000_u64, 10_000, 10_000, 30_000]) {
            assert!(count.abs_diff(expected) < 800, "{counts:?}");
        }
    }
}

#[test]
fn two_choices_never_pick_the_strictly_most_loaded() {
    let mut rng = Rng::with_seed(19);
    for len in [2, 3, 10, 100] {
        let roster = roster(&vec![1; len]);
        let _leases = some_load(&roster, &mut rng);
        let most = rng.usize(..len);
        let _more: Vec<Lease> = (0..4)
            .map(|_| roster.members()[most].target.lease())
            .collect();
        for algorithm in [Algorithm::PowerOfTwoChoices, Algorithm::PeakEwma] {
            let picker = build(algorithm, &unbounded(), Arc::clone(&roster), 20);
            for _ in 0..10_000 {
                assert_ne!(picker.pick(&draw(&mut rng)), Some(most));
            }
        }
    }
}

#[test]
fn two_choices_are_drawn_without_replacement() {
    // Three targets, one of them busy. With replacement the busy one would get
    // (1/3)^2 = 11.1 % (Envoy's simulation); drawn apart it gets nothing.
    let roster = roster(&[1; 3]);
    let _lease = roster.members()[2].target.lease();
    let picker = build(Algorithm::PowerOfTwoChoices, &unbounded(), roster, 21);
    let counts = counts(picker.as_ref(), 3, 100_000);
    assert_eq!(counts[2], 0);
    assert!(counts[0].abs_diff(50_000) < 800, "{counts:?}");
}

// ---- first ---------------------------------------------------------------------

#[test]
fn first_fills_one_member_before_the_next_and_keeps_to_the_order_when_all_are_full() {
    let admission = Arc::new(Admission::default());
    admission.open(NonZeroU32::new(2), &[], false);
    let member = |index| Member {
        target: Arc::new(Target::with_admission(
            TargetId {
                group: "todo".into(),
                addr: address(index).into(),
            },
            Arc::clone(&admission),
        )),
        weight: NonZeroU16::MIN,
    };
    let roster = Arc::new(Roster::new((0..3).map(member).collect()).unwrap());
    let picker = build(Algorithm::First, &unbounded(), Arc::clone(&roster), 22);
    let mut leases: Vec<Lease> = Vec::new();
    for expected in [0, 0, 1, 1, 2, 2] {
        assert_eq!(picker.pick(&with_key(0)), Some(expected));
        leases.extend(roster.members()[expected].target.try_lease());
    }
    assert_eq!(leases.len(), 6);
    assert_eq!(picker.pick(&with_key(0)), Some(0));
    leases.remove(0);
    leases.remove(3);
    assert_eq!(picker.pick(&with_key(0)), Some(0));
    let ctx = PickContext {
        tried: &[0],
        ..with_key(0)
    };
    assert_eq!(picker.pick(&ctx), Some(2));
}
