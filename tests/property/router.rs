//! The index of a rule table does not change which rule is found, and conditions mean what
//! they mean in ALB.

use fastrand::Rng;
use http::{HeaderName, Method};
use weir::message::RequestHead;
use weir::model::{
    Action, ClientAddress, Condition, Forward, GroupIndex, HostPattern, NormalizePath, Pattern,
    Priority, QueryMatch, Rule,
};
use weir::router::{RequestView, RuleTable, hold};

fn forward(group: usize) -> Action<GroupIndex> {
    Action::Forward(Forward::to(vec![(GroupIndex(group), 1)]))
}

fn rule(priority: u32, conditions: Vec<Condition>) -> Rule<GroupIndex> {
    Rule {
        priority: Priority(priority),
        conditions,
        action: forward(priority as usize),
    }
}

fn host(texts: &[&str]) -> Condition {
    let hosts = texts.iter().map(|text| HostPattern::new(text).unwrap());
    Condition::Host(hosts.collect())
}

fn globs(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern::glob(text).unwrap())
        .collect()
}

fn path(texts: &[&str]) -> Condition {
    Condition::Path(globs(texts))
}

fn header(name: &'static str, texts: &[&str]) -> Condition {
    Condition::Header {
        name: HeaderName::from_static(name),
        values: globs(texts).into_iter().map(Pattern::lowercase).collect(),
    }
}

fn query(pairs: &[(Option<&str>, &str)]) -> Condition {
    let one = |&(key, value): &(Option<&str>, &str)| QueryMatch {
        key: key.map(str::to_ascii_lowercase),
        value: Pattern::glob(value).unwrap().lowercase(),
    };
    Condition::Query(pairs.iter().map(one).collect())
}

fn source(networks: &[&str]) -> Condition {
    let networks = networks.iter().map(|text| text.parse().unwrap());
    Condition::SourceIp(networks.collect())
}

/// A request as a test writes it: `GET example.com/path?query from 192.0.2.1 x-a=b`.
fn request(text: &str) -> (RequestHead, ClientAddress) {
    let mut words = text.split(' ');
    let mut head = RequestHead::new();
    head.set_method(words.next().unwrap().as_bytes()).unwrap();
    let target = words.next().unwrap();
    let (host, path) = target.split_at(target.find('/').unwrap());
    head.set_target(path.as_bytes()).unwrap();
    if !host.is_empty() {
        head.set_host(host.as_bytes()).unwrap();
    }
    let mut client = ClientAddress::Ip([192, 0, 2, 1].into());
    while let Some(word) = words.next() {
        match word.split_once('=') {
            None => client = client_of(words.next().unwrap()),
            Some((name, value)) => head.fields.append(name, value.as_bytes()).unwrap(),
        }
    }
    (head, client)
}

/// An address, or `unix:`.
fn client_of(text: &str) -> ClientAddress {
    match text {
        "unix:" => ClientAddress::Unix,
        address => ClientAddress::Ip(address.parse().unwrap()),
    }
}

fn routed(table: &RuleTable, text: &str) -> u32 {
    let (head, client) = request(text);
    let (action, priority) = table.route(&RequestView::new(&head, client, NormalizePath::Match));
    let priority = priority.map_or(0, |Priority(number)| number);
    assert_eq!(*action, forward(priority as usize), "{text}");
    priority
}

/// Each request, and the priority of the rule that applies to it; 0 for the default.
fn check(rules: Vec<Rule<GroupIndex>>, cases: &[(&str, u32)]) {
    assert!(!cases.is_empty());
    let table = RuleTable::new(rules, forward(0));
    for &(text, expected) in cases {
        assert_eq!(routed(&table, text), expected, "{text}");
    }
}

// ---- conditions, by ALB's user guide ---------------------------------------------

#[test]
fn hosts_ignore_case_and_ports() {
    check(
        vec![
            rule(10, vec![host(&["Example.com"])]),
            rule(20, vec![host(&["*.example.com", "example.net"])]),
            rule(30, vec![host(&["test?.example.org"])]),
            rule(40, vec![host(&["*"]), path(&["/any"])]),
            rule(50, vec![host(&["[::1]"])]),
        ],
        &[
            ("GET example.com/", 10),
            ("GET EXAMPLE.com/", 10),
            ("GET example.com:8080/", 10),
            ("GET example.com./", 10),
            ("GET www.example.com/", 20),
            ("GET a.b.EXAMPLE.com/", 20),
            ("GET example.net/", 20),
            ("GET www.example.net/", 0),
            ("GET badexample.com/", 0),
            ("GET example.com.evil.test/", 0),
            ("GET test1.example.org/", 30),
            ("GET test12.example.org/", 0),
            ("GET test.example.org/", 0),
            ("GET whatever/any", 40),
            ("GET [::1]:8080/", 50),
            ("GET /any", 40),
            ("GET /", 0),
        ],
    );
}

#[test]
fn paths_respect_case_and_exclude_the_query() {
    check(
        vec![
            rule(10, vec![path(&["/img/*"])]),
            rule(20, vec![path(&["/img/*/pics", "/exact"])]),
            rule(30, vec![path(&["/v?/todos"])]),
            rule(40, vec![path(&["*.css"])]),
            rule(
                50,
                vec![Condition::Path(vec![
                    Pattern::regex("^/user/[0-9]+$").unwrap(),
                ])],
            ),
        ],
        &[
            ("GET a/img/logo.png", 10),
            ("GET a/img/a/pics", 10),
            ("GET a/img/", 10),
            ("GET a/img", 0),
            ("GET a/IMG/logo.png", 0),
            ("GET a/exact", 20),
            ("GET a/exact/", 0),
            ("GET a/exact?x=/img/", 20),
            ("GET a/v1/todos", 30),
            ("GET a/v12/todos", 0),
            ("GET a/v/todos", 0),
            ("GET a/deep/down/site.css", 40),
            ("GET a/site.css?v=1", 40),
            ("GET a/site.CSS", 0),
            ("GET a/user/42", 50),
            ("GET a/user/42/x", 0),
            ("GET a/?p=/img/a", 0),
        ],
    );
}

#[test]
fn another_spelling_of_a_path_meets_the_same_rule() {
    let rules = vec![
        rule(10, vec![path(&["/admin/*"])]),
        rule(20, vec![path(&["/a%2Fb"])]),
        rule(30, vec![path(&["/a/b"])]),
    ];
    check(
        rules.clone(),
        &[
            ("GET a/admin/x", 10),
            ("GET a/%61dmin/x", 10),
            ("GET a/./admin/x", 10),
            ("GET a//admin/x", 10),
            ("GET a/x/%2e%2e/admin//x", 10),
            ("GET a/admin%2Fx", 0),
            ("GET a/a%2fb", 20),
            ("GET a/a//b", 30),
            ("GET a/?p=/admin/x", 0),
        ],
    );
    let table = RuleTable::new(rules, forward(0));
    let (head, client) = request("GET a//admin/x");
    let (_, priority) = table.route(&RequestView::new(&head, client, NormalizePath::Off));
    assert_eq!(priority, None, "as sent");
}

#[test]
fn methods_respect_case() {
    let custom = Method::from_bytes(b"PURGE").unwrap();
    check(
        vec![
            rule(10, vec![Condition::Method(vec![Method::GET, Method::HEAD])]),
            rule(20, vec![Condition::Method(vec![custom])]),
        ],
        &[
            ("GET a/", 10),
            ("HEAD a/", 10),
            ("POST a/", 0),
            ("get a/", 0),
            ("PURGE a/", 20),
            ("purge a/", 0),
        ],
    );
}

#[test]
fn headers_ignore_case_and_try_every_value() {
    check(
        vec![
            rule(10, vec![header("user-agent", &["*Chrome*", "*Safari*"])]),
            rule(20, vec![header("x-tenant", &["Gold"])]),
            rule(30, vec![header("x-flag", &["*"])]),
            rule(40, vec![header("referer", &["*.example"])]),
        ],
        &[
            ("GET a/ user-agent=Mozilla/5.0(chrome/1)", 10),
            ("GET a/ User-Agent=xSAFARIx", 10),
            ("GET a/ user-agent=curl", 0),
            ("GET a/ x-tenant=gold", 20),
            ("GET a/ X-Tenant=GOLD", 20),
            ("GET a/ x-tenant=golden", 0),
            ("GET a/ x-tenant=silver x-tenant=gold", 20),
            ("GET a/ x-flag=", 30),
            ("GET a/ x-flag=\u{e4}", 30),
            ("GET a/ Referer=a referer=B.Example", 40),
            ("GET a/ referer=a", 0),
            ("GET a/", 0),
        ],
    );
}

#[test]
fn queries_are_decoded_and_ignore_case() {
    check(
        vec![
            rule(
                10,
                vec![query(&[(Some("Version"), "v1"), (None, "*example*")])],
            ),
            rule(20, vec![query(&[(Some("q"), "a b")])]),
            rule(30, vec![query(&[(Some("empty"), "*")])]),
        ],
        &[
            ("GET a/?version=v1", 10),
            ("GET a/?VERSION=V1", 10),
            ("GET a/?version=v2", 0),
            ("GET a/?version=v1x", 0),
            ("GET a/?other=1&version=v1", 10),
            ("GET a/?x=an-Example-of", 10),
            ("GET a/?example=1", 0),
            ("GET a/?q=a+b", 20),
            ("GET a/?q=a%20b", 20),
            ("GET a/?q=A%20B", 20),
            ("GET a/?%71=a%20b", 20),
            ("GET a/?q=a%2Bb", 0),
            ("GET a/?empty", 30),
            ("GET a/?empty=", 30),
            ("GET a/?&&empty=&", 30),
            ("GET a/?emptyx", 0),
            ("GET a/?", 0),
            ("GET a/", 0),
        ],
    );
}

#[test]
fn the_client_is_compared_with_networks() {
    check(
        vec![
            rule(10, vec![source(&["192.0.2.0/24", "198.51.100.10/32"])]),
            rule(20, vec![source(&["2001:db8::/32"])]),
        ],
        &[
            ("GET a/ from 192.0.2.255", 10),
            ("GET a/ from 192.0.3.0", 0),
            ("GET a/ from 198.51.100.10", 10),
            ("GET a/ from 198.51.100.11", 0),
            ("GET a/ from ::ffff:192.0.2.7", 10),
            ("GET a/ from 2001:db8:1::1", 20),
            ("GET a/ from 2001:db9::1", 0),
            // Clients without an address are in no network.
            ("GET a/ from unix:", 0),
            // What a client claims is not where it is.
            ("GET a/ from 203.0.113.1 x-forwarded-for=192.0.2.1", 0),
        ],
    );
}

#[test]
fn conditions_are_anded_and_the_lowest_priority_wins() {
    check(
        vec![
            rule(300, vec![]),
            rule(20, vec![host(&["b.example"])]),
            rule(
                10,
                vec![
                    host(&["b.example"]),
                    path(&["/x"]),
                    Condition::Method(vec![Method::GET]),
                ],
            ),
            rule(15, vec![path(&["/x"])]),
            rule(5, vec![host(&["b.example"]), host(&["c.example"])]),
        ],
        &[
            ("GET b.example/x", 10),
            ("POST b.example/x", 15),
            ("GET b.example/y", 20),
            ("GET c.example/x", 15),
            ("GET c.example/", 300),
            ("GET /", 300),
        ],
    );
}

// ---- properties ------------------------------------------------------------------

/// The result that the index must not change: every rule is tried in order of priority.
fn scanned(rules: &[Rule<GroupIndex>], request: &RequestView<'_>) -> Option<Priority> {
    let mut rules: Vec<&Rule<GroupIndex>> = rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority);
    rules
        .into_iter()
        .find(|rule| hold(&rule.conditions, request))
        .map(|rule| rule.priority)
}

const HOSTS: [&str; 7] = [
    "a.test", "b.test", "c.test", "x.a.test", "*.test", "?.test", "*a*",
];
const PATHS: [&str; 9] = ["/", "/a", "/a/*", "/b", "*", "/?", "*/b", "?a*b?", "*a/*"];
const EXPRESSIONS: [&str; 7] = [
    "^/a", "^/(a|b)$", "b", "(?i)^/A/", "/[ab]/.", "^", "^/a/b$|c",
];
const VALUES: [&str; 7] = ["1", "One", "*", "o*", "*E", "*n*", "?"];
const NETWORKS: [&str; 5] = [
    "192.0.2.0/24",
    "192.0.2.7/32",
    "0.0.0.0/0",
    "2001:db8::/32",
    "::/0",
];

fn some<'a>(rng: &mut Rng, from: &[&'a str]) -> Vec<&'a str> {
    let count = rng.usize(1..=3);
    (0..count).map(|_| from[rng.usize(..from.len())]).collect()
}

fn expressions(rng: &mut Rng, from: &[&str]) -> Vec<Pattern> {
    some(rng, from)
        .into_iter()
        .map(|text| Pattern::regex(text).unwrap())
        .collect()
}

fn any_condition(rng: &mut Rng) -> Condition {
    match rng.u8(..16) {
        0..3 => host(&some(rng, &HOSTS[..4])),
        3..5 => host(&some(rng, &HOSTS)),
        5..8 => path(&some(rng, &PATHS)),
        8 => Condition::Path(expressions(rng, &EXPRESSIONS)),
        9 => Condition::Method(vec![Method::GET]),
        10..12 => header(["x-a", "x-b"][rng.usize(..2)], &some(rng, &VALUES)),
        12 => Condition::Header {
            name: HeaderName::from_static("x-a"),
            values: expressions(rng, &["^[A-Z]", "^one$", "n", "^(?i)ONE"]),
        },
        13..15 => {
            let keys = [None, Some("x"), Some("Y")];
            let values = some(rng, &VALUES).into_iter();
            query(
                &values
                    .map(|value| (keys[rng.usize(..3)], value))
                    .collect::<Vec<_>>(),
            )
        }
        _ => source(&some(rng, &NETWORKS)),
    }
}

fn any_request(rng: &mut Rng) -> String {
    let pick = |rng: &mut Rng, from: &[&'static str]| from[rng.usize(..from.len())];
    let hosts = [
        "a.test",
        "A.TEST:80",
        "b.test",
        "x.a.test",
        "y.test",
        "test",
        "",
    ];
    let clients = [
        "192.0.2.7",
        "192.0.2.8",
        "::ffff:192.0.2.7",
        "198.51.100.1",
        "2001:db8::1",
    ];
    [
        pick(rng, &["GET ", "POST "]),
        pick(rng, &hosts),
        pick(rng, &["/", "/a", "/a/b", "/A/b", "/b", "/c", "/xa/b1"]),
        pick(rng, &["", "?x=1", "?X=ONE", "?y=one&x=2", "?z=n%6Fne&&y"]),
        " from ",
        pick(rng, &clients),
        pick(rng, &["", " x-a=1", " x-a=One", " x-a=none x-a=ONE"]),
        pick(rng, &["", " x-b=1", " X-B=oNE", " x-b="]),
    ]
    .concat()
}

#[test]
fn the_table_answers_like_a_scan_of_all_rules() {
    let mut rng = Rng::with_seed(6400);
    let mut routes = 0;
    for _ in 0..1500 {
        let count = rng.u32(..30);
        let mut priorities: Vec<u32> = (1..=count).collect();
        rng.shuffle(&mut priorities);
        let rules: Vec<Rule<GroupIndex>> = priorities
            .into_iter()
            .map(|priority| {
                let conditions = rng.usize(..=3);
                rule(
                    priority,
                    (0..conditions).map(|_| any_condition(&mut rng)).collect(),
                )
            })
            .collect();
        let table = RuleTable::new(rules.clone(), forward(0));
        for _ in 0..40 {
            let text = any_request(&mut rng);
            let (head, client) = request(&text);
            let view = RequestView::new(&head, client, NormalizePath::Match);
            let (_, found) = table.route(&view);
            assert_eq!(found, scanned(&rules, &view), "{text}");
            routes += usize::from(found.is_some());
        }
    }
    // The property would hold if no rule ever held.
    assert!(routes > 5_000, "only {routes} requests met a rule");
}
