//! What a route costs: few and many rules; each part of a request that rules look at; a
//! request for which no rule holds.
//!
//! The target is under 1 µs among 1000 rules with exact hosts.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use http::HeaderName;
use ipnet::IpNet;
use weir::message::RequestHead;
use weir::model::{
    Action, Condition, Forward, GroupIndex, HostPattern, NormalizePath, Pattern, Priority,
    QueryMatch, Rule,
};
use weir::router::{RequestView, RuleTable};

const SIZES: [u32; 3] = [1, 50, 1000];

fn forward(group: u32) -> Action<GroupIndex> {
    Action::Forward(Forward::to(vec![(GroupIndex(group as usize), 1)]))
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
    (1..=len)
        .map(|n| rule(n, host(&format!("service-{n}.example.com"))))
        .collect()
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

/// A rule for each of `len` domains.
fn wildcards(len: u32) -> Vec<Rule<GroupIndex>> {
    (1..=len)
        .map(|n| rule(n, host(&format!("*.tenant-{n}.example.com"))))
        .collect()
}

/// A GET of `target` with some fields.
fn get(target: &str, host: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new();
    head.set_target(target.as_bytes()).expect("a target");
    head.set_host(host.as_bytes()).expect("a host");
    for (name, value) in fields {
        let field = head.fields.append(name, value.as_bytes());
        field.expect("a field");
    }
    head
}

fn view(head: &RequestHead, client: IpAddr) -> RequestView<'_> {
    RequestView::new(head, client.into(), NormalizePath::Match)
}

/// The part of the request that the rules look at, the rules, and a request for the last of
/// them.
type Case = (&'static str, Vec<Rule<GroupIndex>>, RequestHead);

/// For each part of a request, a rule for each of `len` values of it.
fn by_part(len: u32) -> Vec<Case> {
    let rules = |condition: &dyn Fn(u32) -> Condition| -> Vec<Rule<GroupIndex>> {
        (1..=len).map(|n| rule(n, condition(n))).collect()
    };
    let glob = |text: String| Pattern::glob(&text).expect("a glob");
    let regex = |text: String| Pattern::regex(&text).expect("an expression");
    let header = |value: Pattern| Condition::Header {
        name: HeaderName::from_static("x-tenant"),
        values: vec![value],
    };
    let tenant = format!("tenant-{len}");
    let fields = [("User-Agent", "bench/1"), ("X-Tenant", tenant.as_str())];
    let get = |target: String| get(&target, "example.com", &fields);
    vec![
        (
            "path",
            rules(&|n| Condition::Path(vec![glob(format!("/service-{n}"))])),
            get(format!("/service-{len}")),
        ),
        (
            "path_prefix",
            rules(&|n| Condition::Path(vec![glob(format!("/service-{n}/*"))])),
            get(format!("/service-{len}/todos")),
        ),
        (
            "path_regex",
            rules(&|n| Condition::Path(vec![regex(format!("^/service-{n}/[0-9]+$"))])),
            get(format!("/service-{len}/42")),
        ),
        (
            "header",
            rules(&|n| header(glob(format!("tenant-{n}")))),
            get("/".to_owned()),
        ),
        (
            "header_prefix",
            rules(&|n| header(glob(format!("tenant-{n}*")))),
            get("/".to_owned()),
        ),
        (
            "query",
            rules(&|n| {
                Condition::Query(vec![QueryMatch {
                    key: Some("tenant".to_owned()),
                    value: glob(n.to_string()),
                }])
            }),
            get(format!("/?page=2&tenant={len}")),
        ),
        (
            "client",
            rules(&|n| {
                let [_, b, c, d] = n.to_be_bytes();
                Condition::SourceIp(vec![IpNet::new([10, b, c, d].into(), 32).expect("32 bits")])
            }),
            get("/".to_owned()),
        ),
        (
            "host_and_path",
            rules(&|n| Condition::Path(vec![glob(format!("/service-{n}/*"))]))
                .into_iter()
                .map(|mut rule| {
                    rule.conditions.insert(0, host("example.com"));
                    rule
                })
                .collect(),
            get(format!("/service-{len}/todos")),
        ),
    ]
}

/// Some parts of a request among 10 and among 30 000 rules: the index makes it nearly the
/// same.
fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("part");
    for len in [10, 30_000] {
        for (name, rules, head) in by_part(len) {
            let table = RuleTable::new(rules, forward(0));
            let [_, b, c, d] = len.to_be_bytes();
            let client = IpAddr::from([10, b, c, d]);
            group.bench_function(BenchmarkId::new(name, len), |bench| {
                bench.iter(|| {
                    let view = view(black_box(&head), client);
                    black_box(table.route(&view));
                });
            });
        }
    }
}

/// Expressions without a beginning: sets of 64 are searched for at once.
fn unanchored(c: &mut Criterion) {
    let mut group = c.benchmark_group("unanchored_regex");
    for len in [10, 1000] {
        let path = |n: u32| Pattern::regex(&format!("service-{n}/[0-9]+")).expect("an expression");
        let rules = (1..=len).map(|n| rule(n, Condition::Path(vec![path(n)])));
        let table = RuleTable::new(rules.collect(), forward(0));
        let head = get(&format!("/api/service-{len}/42"), "example.com", &[]);
        group.bench_function(BenchmarkId::from_parameter(len), |bench| {
            bench.iter(|| {
                let view = view(black_box(&head), [192, 0, 2, 1].into());
                black_box(table.route(&view));
            });
        });
    }
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
            ("miss", mixed(len), "unknown.example.com".to_owned()),
            (
                "wildcard",
                wildcards(len),
                format!("a.tenant-{len}.example.com"),
            ),
        ];
        for (name, rules, host) in cases {
            let table = RuleTable::new(rules, forward(0));
            let head = get("/api/v1/todos?limit=10", &host, &[]);
            group.bench_function(BenchmarkId::new(name, len), |b| {
                b.iter(|| {
                    let view = view(black_box(&head), client);
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
    targets = route, parts, unanchored, build
}
