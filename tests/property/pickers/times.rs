//! The algorithms that compare response times.

use std::time::{Duration, Instant};

use weir::target::Moment;

use super::*;

const TIMED: [Algorithm; 2] = [Algorithm::PeakEwma, Algorithm::LeastTime];
const MS: Duration = Duration::from_millis(1);

fn answered(roster: &Roster, index: usize, elapsed: Duration, now: Instant) {
    let target = &roster.members()[index].target;
    target
        .latency()
        .record(now.checked_sub(elapsed).unwrap(), now, false);
}

fn at(now: Instant, rng: &mut Rng) -> PickContext<'static> {
    PickContext { now, ..draw(rng) }
}

/// As many responses as it takes for the times of a target to count.
fn known(roster: &Roster, index: usize, elapsed: Duration, now: Instant) {
    for _ in 0..4 {
        answered(roster, index, elapsed, now);
    }
}

/// Ten requests one after the other to two targets that are equal but for noise; the first
/// response of each includes a new connection: neither may get (nearly) all.
#[test]
fn equal_targets_of_an_idle_service_share_its_requests() {
    let mut rng = Rng::with_seed(30);
    for algorithm in Algorithm::ALL {
        if matches!(algorithm, Algorithm::ConsistentHash | Algorithm::First) {
            continue;
        }
        let mut starved = 0;
        for round in 0..200 {
            let roster = roster(&[1; 2]);
            let picker = build(algorithm, &unbounded(), Arc::clone(&roster), round);
            let (mut now, mut counts) = (Instant::now(), [0_u32; 2]);
            for _ in 0..10 {
                let index = picker.pick(&at(now, &mut rng)).unwrap();
                let lease = roster.members()[index].target.lease();
                let connect = if counts[index] == 0 { 700 } else { 0 };
                let elapsed = Duration::from_micros(rng.u64(450..550) + connect);
                now += elapsed;
                answered(&roster, index, elapsed, now);
                drop(lease);
                counts[index] += 1;
                now += 50 * MS;
            }
            starved += u32::from(counts.contains(&10) || counts.contains(&9));
        }
        // By chance one gets nine or ten of ten in 2 % of the rounds.
        assert!(starved <= 12, "{}: {starved} of 200", algorithm.name());
    }
}

#[test]
fn the_faster_of_two_is_picked_until_it_has_as_much_more_to_do() {
    let mut rng = Rng::with_seed(31);
    for algorithm in TIMED {
        let (roster, now) = (roster(&[1; 2]), Instant::now());
        known(&roster, 0, 40 * MS, now);
        known(&roster, 1, 10 * MS, now);
        let picker = build(algorithm, &unbounded(), Arc::clone(&roster), 32);
        let mut leases: Vec<Lease> = Vec::new();
        for _ in 0..40 {
            let index = picker.pick(&at(now, &mut rng)).unwrap();
            leases.push(roster.members()[index].target.lease());
        }
        let slow = roster.members()[0].target.load().in_flight();
        assert!((7..=9).contains(&slow), "{}: {slow}", algorithm.name());
    }
}

#[test]
fn a_target_without_a_time_is_tried_at_once_and_by_one_request_at_a_time() {
    let mut rng = Rng::with_seed(33);
    for algorithm in TIMED {
        let (roster, now) = (roster(&[1; 2]), Instant::now());
        known(&roster, 0, MS, now);
        let picker = build(algorithm, &unbounded(), Arc::clone(&roster), 34);
        let name = algorithm.name();
        assert_eq!(picker.pick(&at(now, &mut rng)), Some(1), "{name}");
        let _first = roster.members()[1].target.lease();
        for _ in 0..50 {
            assert_eq!(picker.pick(&at(now, &mut rng)), Some(0), "{name}");
        }
    }
}

#[test]
fn a_slow_target_is_tried_again_after_a_while() {
    let mut rng = Rng::with_seed(35);
    for algorithm in TIMED {
        let (roster, start) = (roster(&[1; 2]), Instant::now());
        known(&roster, 0, 1000 * MS, start);
        let picker = build(algorithm, &unbounded(), Arc::clone(&roster), 36);
        let mut tried_after = None;
        for second in 0..200 {
            let now = start + Duration::from_secs(second);
            known(&roster, 1, MS, now);
            if picker.pick(&at(now, &mut rng)) == Some(0) {
                tried_after = Some(second);
                break;
            }
        }
        // A thousandth of a second: e^-6.9 at 10 s each, or 2^-10 at 8.6 s each.
        let second = tried_after.unwrap_or_else(|| panic!("{}", algorithm.name()));
        assert!(
            (60..=95).contains(&second),
            "{}: {second}",
            algorithm.name()
        );
    }
}

#[test]
fn members_with_nearly_the_same_time_take_turns_under_least_time() {
    let (roster, now) = (roster(&[1; 3]), Instant::now());
    for (index, micros) in [10_500, 10_900, 11_200].into_iter().enumerate() {
        known(&roster, index, Duration::from_micros(micros), now);
    }
    let picker = build(Algorithm::LeastTime, &unbounded(), roster, 37);
    let mut counts = [0; 3];
    let mut rng = Rng::with_seed(38);
    for _ in 0..300 {
        counts[picker.pick(&at(now, &mut rng)).unwrap()] += 1;
    }
    assert_eq!(counts, [100; 3]);
}

#[test]
fn least_time_agrees_with_the_definition() {
    let mut rng = Rng::with_seed(39);
    for _ in 0..300 {
        let len = rng.usize(1..=40);
        let weights: Vec<u16> = (0..len).map(|_| rng.u16(1..=20)).collect();
        let (roster, now) = (roster(&weights), Instant::now());
        for index in 0..len {
            known(
                &roster,
                index,
                Duration::from_micros(rng.u64(100..100_000)),
                now,
            );
        }
        let _leases = some_load(&roster, &mut rng);
        let wait = |index: usize| {
            let member = &roster.members()[index];
            let time = member.target.latency().mean(Moment::from(now)).unwrap() as f64;
            time * f64::from(member.target.load().score() + 1) / f64::from(member.weight.get())
        };
        let picker = build(Algorithm::LeastTime, &unbounded(), Arc::clone(&roster), 40);
        for _ in 0..20 {
            let tried = [rng.usize(..len * 2)];
            // Without any that was tried, a small group is looked at whole too.
            let tried = if len <= 16 && rng.bool() {
                &[][..]
            } else {
                &tried
            };
            let ctx = PickContext {
                tried,
                ..at(now, &mut rng)
            };
            let Some(index) = picker.pick(&ctx) else {
                assert!(len == 1 && *tried == [0]);
                continue;
            };
            for other in (0..len).filter(|other| !tried.contains(other)) {
                // Times within a quarter count as the same.
                assert!(wait(index) <= wait(other) * 1.26, "{len}");
            }
        }
    }
}
