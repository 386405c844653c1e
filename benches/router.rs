//! What a route costs: few and many rules; a request whose host stands in the index,
//! one that a pattern of hosts takes, one that no rule wants.
//!
//! The target is under 1 µs among 1000 rules with exact hosts.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Request;
use weir::model::{Action, Condition, Forward, GroupIndex, HostPattern, Pattern, Priority, Rule};
use weir::router::{RequestView, RuleTable};

const SIZES: [u32; 3] = [1, 50, 1000];

fn forward(group: u32) -> Action<GroupIndex> {
    Action::Forward(Forward {
        groups: vec![(GroupIndex(group as usize), 1)],
        sticky: None,
    })
}

fn rule(priority: u32, condition: Condition) -> Rule<GroupIndex> {
    Rule {
        priority: Priority(priority),
        conditions: vec![condition],
        action: forward(priority),
    }
}

fn host(text: &str) -> Condition {
    Condition::Host(vec![HostPattern::new(text).expect("a host")])
}

/// A rule for each of `len` names.
fn exact_hosts(len: u32) -> Vec<Rule<GroupIndex>> {
    let hosts = (1..=len).map(|n| rule(n, host(&format!("service-{n}.example.com"))));
    hosts.collect()
}

/// The same behind five rules for every host.
fn mixed(len: u32) -> Vec<Rule<GroupIndex>> {
    let path = |text: &str| Condition::Path(vec![Pattern::glob(text).expect("a path")]);
    let mut rules = exact_hosts(len);
    for (n, text) in [
        "/admin/*",
        "/.well-known/*",
        "*.php",
        "/static/*.css",
        "/old",
    ]
    .into_iter()
    .enumerate()
    {
        rules.push(rule(10_000 + n as u32, path(text)));
    }
    rules
}

/// A rule for each of `len` domains: nothing for the index.
fn wildcards(len: u32) -> Vec<Rule<GroupIndex>> {
    let hosts = (1..=len).map(|n| rule(n, host(&format!("*.tenant-{n}.example.com"))));
    hosts.collect()
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let client = IpAddr::from([192, 0, 2, 1]);
    for len in SIZES {
        let cases = [
            (
                "exact_host",
                exact_hosts(len),
                format!("service-{len}.example.com"),
            ),
            (
                "upper_case_host",
                exact_hosts(len),
                format!("SERVICE-{len}.example.com"),
            ),
            ("mixed", mixed(len), format!("service-{len}.example.com")),
            ("miss", mixed(len), "nobody.example.com".to_owned()),
            (
                "wildcard",
                wildcards(len),
                format!("a.tenant-{len}.example.com"),
            ),
        ];
        for (name, rules, host) in cases {
            let table = RuleTable::new(rules, forward(0));
            let request = Request::get("/api/v1/todos?limit=10").header("host", host);
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    let view = RequestView::new(black_box(&parts), client);
                    black_box(table.route(&view));
                });
            });
        }
    }
}

fn build(c: &mut Criterion) {
    let rules = mixed(1000);
    c.bench_function("build/1000", |b| {
        b.iter_batched(
            || rules.clone(),
            |rules| RuleTable::new(rules, forward(0)),
            criterion::BatchSize::LargeInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(30);
    targets = route, build
}
criterion_main!(benches);
