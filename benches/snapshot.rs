//! Compiling and swapping a snapshot: 1000 targets behind 1000 rules must stay far below
//! the 50 ms in which nobody would notice a reload.

#![allow(
    clippy::format_push_string,
    reason = "the text is made once, outside of what is measured"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weir::config::{Config, parse};
use weir::state::Publisher;

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
    let parsed = parse("bench.toml", &text, &|_| None);
    parsed
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

fn snapshot(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without I/O needs nothing");
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

criterion_group!(benches, snapshot);
criterion_main!(benches);
