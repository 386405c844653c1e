//! What a pick costs: every algorithm, by size of the group, among idle and among
//! busy targets; and what building a picker costs.
//!
//! The target is under 100 ns at 100 targets for each of them.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};
use weir::balance::{Member, PickContext, Picker, Roster, build};
use weir::model::{Algorithm, HashPolicy, TargetId};
use weir::target::{Lease, Target};

const SIZES: [u32; 4] = [2, 10, 100, 1000];
const EVEN: fn(u32) -> u16 = |_| 1;
/// Coprime weights between 1 and 199.
const UNEVEN: fn(u32) -> u16 = |index| 1 + (index * 7 % 199) as u16;

fn roster(len: u32, weight: fn(u32) -> u16) -> Arc<Roster> {
    let member = |index: u32| Member {
        target: Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: (Ipv4Addr::from(0x0A00_0001 + index), 6400).into(),
        })),
        weight: NonZeroU16::new(weight(index)).expect("at least 1"),
    };
    Arc::new(Roster::new((0..len).map(member).collect()).expect("not empty"))
}

/// Every target with a response time of its own.
fn measured(roster: &Roster, now: Instant) {
    for (index, member) in roster.members().iter().enumerate() {
        let elapsed = Duration::from_micros(500 + 37 * index as u64 % 1000);
        member.target.latency().record(now, now + elapsed, false);
    }
}

/// Every target with two to eight requests in flight: none is idle.
fn busy(roster: &Roster) -> Vec<Lease> {
    let mut rng = fastrand::Rng::with_seed(6400);
    let leases = roster.members().iter().flat_map(|member| {
        let requests = rng.usize(2..=8);
        (0..requests)
            .map(|_| member.target.lease())
            .collect::<Vec<_>>()
    });
    leases.collect()
}

fn pick_with(picker: &dyn Picker, now: Instant, entropy: &mut u64) -> Option<usize> {
    // A cheap counter spread over the word: the draw is not what is measured.
    *entropy = entropy.wrapping_add(0x9E37_79B9_7F4A_7C15);
    picker.pick(&PickContext {
        key: Some(*entropy),
        entropy: *entropy,
        now,
        tried: &[],
    })
}

fn policy(load_factor: Option<f64>) -> HashPolicy {
    HashPolicy {
        load_factor,
        ..HashPolicy::default()
    }
}

fn pick(c: &mut Criterion) {
    let cases = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm, None));
    let bounded = ("bounded_hash", Algorithm::ConsistentHash, Some(1.25));
    for (name, algorithm, load_factor) in cases.into_iter().chain([bounded]) {
        let mut group = c.benchmark_group(format!("pick/{name}"));
        for (weights, weight) in [("even", EVEN), ("uneven", UNEVEN)] {
            for len in SIZES {
                for load in ["idle", "busy"] {
                    let roster = roster(len, weight);
                    let now = Instant::now();
                    measured(&roster, now);
                    let leases = (load == "busy").then(|| busy(&roster));
                    let picker = build(algorithm, &policy(load_factor), roster, 1);
                    let mut entropy = 1;
                    group.bench_function(BenchmarkId::new(format!("{weights}/{load}"), len), |b| {
                        b.iter(|| black_box(pick_with(picker.as_ref(), now, &mut entropy)));
                    });
                    drop(leases);
                }
            }
        }
    }
}

/// Two threads pick from one picker; the time is of one thread's pick.
fn contended(c: &mut Criterion) {
    for algorithm in Algorithm::ALL {
        let (roster, now) = (roster(100, EVEN), Instant::now());
        measured(&roster, now);
        let picker = build(algorithm, &policy(None), roster, 1);
        c.bench_function(&format!("contended/{}", algorithm.name()), |b| {
            b.iter_custom(|picks| {
                let elapsed = |seed: u64| {
                    let started = Instant::now();
                    let mut entropy = seed;
                    for _ in 0..picks {
                        black_box(pick_with(picker.as_ref(), now, &mut entropy));
                    }
                    started.elapsed()
                };
                std::thread::scope(|scope| {
                    let other = scope.spawn(|| elapsed(2));
                    let own = elapsed(1);
                    let other = other.join().expect("picks do not panic");
                    Duration::max(own, other)
                })
            });
        });
    }
}

fn build_time(c: &mut Criterion) {
    for algorithm in Algorithm::ALL {
        let mut group = c.benchmark_group(format!("build/{}", algorithm.name()));
        group.sample_size(10);
        for (weights, weight) in [("even", EVEN), ("uneven", UNEVEN)] {
            for len in [10, 1000] {
                let roster = roster(len, weight);
                group.bench_function(BenchmarkId::new(weights, len), |b| {
                    b.iter(|| build(algorithm, &policy(None), Arc::clone(&roster), 1));
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(30);
    targets = pick, contended, build_time
}
