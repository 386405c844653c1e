//! Compiling and swapping a snapshot: 1000 targets behind 1000 rules must stay far below
//! the 50 ms in which no request notices a reload. One weight of one group out of many costs
//! what that group costs, and a large reload leaves the control thread to its timers.

#![allow(
    clippy::format_push_string,
    reason = "the text is made once, outside of what is measured"
)]

use std::hint::black_box;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use tokio::runtime::{Builder, Runtime};
use weir::config::{Config, TargetAddress, TargetGroup, TargetSpec, parse};
use weir::model::{Algorithm, Endpoint, TargetId};
use weir::state::{Publisher, Reader, TargetChange};

/// `targets` targets in ten groups, behind `rules` rules with a host each.
fn config(targets: usize, rules: usize, algorithm: &str) -> Config {
    let mut text = String::from("[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"group0\"\n");
    for rule in 0..rules {
        let group = rule % 10;
        text += &format!(
            "[[listener.rule]]\npriority = {}\nwhen = {{ host = \"host{rule}.example\", path = \"/api/*\" }}\n\
             then = {{ forward = \"group{group}\" }}\n",
            rule + 1
        );
    }
    for group in 0..10 {
        let address = |n: usize| format!("\"10.{group}.{}.{}:80\"", n / 200, n % 200 + 1);
        let addresses: Vec<String> = (0..targets / 10).map(address).collect();
        text += &format!(
            "[target_group.group{group}]\nalgorithm = \"{algorithm}\"\ntargets = [{}]\nhealth = false\n",
            addresses.join(", ")
        );
    }
    parse("bench.toml", &text, &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn snapshot(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("compile_and_swap");
    for algorithm in ["round_robin", "consistent_hash"] {
        let config = config(1000, 1000, algorithm);
        group.bench_function(format!("{algorithm}_1000_targets_1000_rules"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let (publisher, task, reader) = Publisher::new(0);
                    let publishing = tokio::spawn(task.run());
                    let diff = publisher.configure(black_box(config.clone())).await;
                    assert_eq!(reader.load().groups().len(), 10);
                    drop(publisher);
                    publishing.await.expect("the publisher does not panic");
                    diff
                })
            });
        });
    }
    group.finish();
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing")
}

fn address(n: u32) -> Endpoint {
    let [_, high, middle, low] = n.to_be_bytes();
    ([10, high, middle, low], 80).into()
}

/// So many groups of so many targets, without rules.
fn groups(groups: u32, targets: u32, algorithm: Algorithm) -> Config {
    let spec = |n| TargetSpec {
        address: TargetAddress::Socket(address(n)),
        weight: 1,
    };
    let group = |index: u32| TargetGroup {
        targets: (0..targets).map(spec).collect(),
        algorithm,
        health: None,
        ..TargetGroup::new(format!("group{index}").as_str().into())
    };
    Config {
        target_groups: (0..groups).map(group).collect(),
        ..Config::empty()
    }
}

/// Whether the table of every group is built.
fn has_all_tables(reader: &Reader) -> bool {
    let snapshot = reader.load();
    snapshot
        .groups()
        .iter()
        .all(|group| group.selection.as_ref().is_some_and(|s| !s.is_provisional))
}

/// From the call to its result: one weight in one of 200 groups with tables of keys.
fn one_weight(criterion: &mut Criterion) {
    let runtime = runtime();
    let (publisher, task, mut reader) = Publisher::new(0);
    let publishing = runtime.spawn(task.run());
    runtime.block_on(async {
        let configured = publisher.configure(groups(200, 100, Algorithm::ConsistentHash));
        assert!(configured.await.is_some());
        while !has_all_tables(&reader) && reader.changed().await {}
    });
    let mut weight = 1;
    criterion.bench_function("one_weight_of_200_consistent_hash_groups", |bencher| {
        bencher.iter(|| {
            weight = weight % 999 + 1;
            let target = TargetId {
                group: "group77".into(),
                addr: address(42),
            };
            let change = TargetChange::Weight(weight);
            runtime.block_on(publisher.change_target(target, change))
        });
    });
    drop(publisher);
    runtime
        .block_on(publishing)
        .expect("the publisher does not panic");
}

/// Large reloads: how long they take, and for how long they keep a task on the control thread
/// from its timer.
fn large(criterion: &mut Criterion) {
    let cases = [
        (
            "100000_targets_in_one_group",
            groups(1, 100_000, Algorithm::RoundRobin),
        ),
        ("5000_new_groups", groups(5000, 4, Algorithm::RoundRobin)),
    ];
    let mut group = criterion.benchmark_group("reload");
    group.sample_size(10);
    for (name, config) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| reload(&config).0).sum());
        });
        group.bench_function(format!("{name}_longest_pause"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| reload(&config).1).sum());
        });
    }
    group.finish();
}

/// How long the reload takes, and the longest time between two ticks of 1 ms meanwhile.
fn reload(config: &Config) -> (Duration, Duration) {
    runtime().block_on(async {
        let (publisher, task, _reader) = Publisher::new(0);
        let publishing = tokio::spawn(task.run());
        let config = config.clone();
        let begun = Instant::now();
        let mut configured = std::pin::pin!(publisher.configure(config));
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let (mut last, mut longest) = (begun, Duration::ZERO);
        let taken = loop {
            let is_done = tokio::select! {
                diff = &mut configured => diff.is_some(),
                _ = tick.tick() => false,
            };
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if is_done {
                break begun.elapsed();
            }
        };
        publishing.abort();
        (taken, longest)
    })
}

criterion_group!(benches, snapshot, one_weight, large);
