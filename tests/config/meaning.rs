//! What a good file means: the values that come out, not only that it is accepted.

use std::time::Duration;

use http::Method;
use weir::config::{self, Config, MinHealthy, Probe, TargetAddress};
use weir::model::{Action, Algorithm, Condition, HashKey, RedirectPart};

fn read(text: &str) -> Config {
    let env = |name: &str| (name == "TARGETS").then(|| "10.0.0.1, 10.0.0.2:1,db".to_owned());
    match config::parse("good.toml", text, &env) {
        Ok(parsed) if parsed.warnings.is_empty() => parsed.config,
        Ok(parsed) => panic!("{}", parsed.warnings),
        Err(problems) => panic!("{problems}"),
    }
}

/// A listener on port 8080 with this in it, and a group.
fn listener(inside: &str) -> Config {
    read(&format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n{inside}\n\
         [target_group.todo]\ntargets = \"10.0.0.1:6400\"\n"
    ))
}

/// A group with this in it, behind a listener.
fn group(inside: &str) -> config::TargetGroup {
    let text = format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n[target_group.todo]\n{inside}"
    );
    read(&text).target_groups.remove(0)
}

/// The location of a redirect, with its placeholders as they are written.
fn location(redirect: &str) -> String {
    let config = read(&format!(
        "[[listener]]\nbind = \"0.0.0.0:80\"\nredirect = {{ {redirect} }}\n"
    ));
    let Action::Redirect(redirect) = &config.listeners[0].default else {
        panic!("{config:?}");
    };
    let parts = redirect.location.iter().map(|part| match part {
        RedirectPart::Literal(text) => text,
        RedirectPart::Protocol => "#{protocol}",
        RedirectPart::Host => "#{host}",
        RedirectPart::Port => "#{port}",
        RedirectPart::Path => "#{path}",
        RedirectPart::Query => "#{query}",
    });
    parts.collect()
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let cases = [
        ("protocol = \"https\"", "https://#{host}/#{path}?#{query}"),
        (
            "protocol = \"https\", port = 443",
            "https://#{host}/#{path}?#{query}",
        ),
        (
            "protocol = \"HTTPS\", port = \"#{port}\"",
            "https://#{host}:#{port}/#{path}?#{query}",
        ),
        ("port = 8443", "#{protocol}://#{host}:8443/#{path}?#{query}"),
        (
            "host = \"www.#{host}\"",
            "#{protocol}://www.#{host}:#{port}/#{path}?#{query}",
        ),
        (
            "path = \"/v2/#{path}\", query = \"\"",
            "#{protocol}://#{host}:#{port}/v2/#{path}",
        ),
        (
            "query = \"a=1&#{query}\"",
            "#{protocol}://#{host}:#{port}/#{path}?a=1&#{query}",
        ),
    ];
    for (redirect, expected) in cases {
        assert_eq!(location(redirect), expected, "{redirect}");
    }
}

#[test]
fn rules_are_in_the_order_of_their_priority() {
    let rule = |priority: u32, path: &str| {
        format!(
            "[[listener.rule]]\npriority = {priority}\nwhen = {{ path = \"{path}\" }}\nthen = {{ forward = \"todo\" }}\n"
        )
    };
    let config = listener(&[rule(30, "/a"), rule(10, "/b"), rule(20, "/c")].concat());
    let priorities: Vec<_> = config.listeners[0]
        .rules
        .iter()
        .map(|rule| rule.priority.0)
        .collect();
    assert_eq!(priorities, [10, 20, 30]);
}

#[test]
fn a_list_of_queries_is_one_condition_and_a_table_is_several() {
    let conditions = |query: &str| {
        let config = listener(&format!(
            "[[listener.rule]]\npriority = 1\nwhen = {{ query = {query} }}\nthen = {{ forward = \"todo\" }}\n"
        ));
        config.listeners[0].rules[0].conditions.clone()
    };
    let either = conditions("[\"Version=V2\", \"*x*\"]");
    let [Condition::Query(either)] = either.as_slice() else {
        panic!("{either:?}");
    };
    assert_eq!(
        either[0].key.as_deref(),
        Some("version"),
        "keys ignore case"
    );
    assert!(either[0].value.matches("v2"), "values too");
    assert_eq!(either[1].key, None);
    assert_eq!(conditions("{ a = \"1\", b = [\"2\", \"3\"] }").len(), 2);
}

#[test]
fn a_single_value_is_a_list_of_one() {
    let config = listener(
        "[[listener.rule]]\npriority = 1\nthen = { forward = \"todo\" }\n\
         when = { method = \"GET\", source_ip = \"10.0.0.1\", header = { x-a = \"B*\" } }\n",
    );
    let conditions = &config.listeners[0].rules[0].conditions;
    assert_eq!(conditions[0], Condition::Method(vec![Method::GET]));
    let Condition::Header { values, .. } = &conditions[1] else {
        panic!("{conditions:?}");
    };
    assert!(values[0].matches("bc"), "stored lower-case");
    assert_eq!(
        conditions[2],
        Condition::SourceIp(vec!["10.0.0.1/32".parse().expect("a network")])
    );
}

#[test]
fn a_variable_may_hold_several_targets() {
    let group = group("port = \"${PORT:-6400}\"\ntargets = [\"${TARGETS}\"]\n");
    let addresses: Vec<_> = group
        .targets
        .into_iter()
        .map(|target| target.address)
        .collect();
    assert_eq!(
        addresses,
        [
            TargetAddress::Socket("10.0.0.1:6400".parse().expect("an address")),
            TargetAddress::Socket("10.0.0.2:1".parse().expect("an address")),
            TargetAddress::Host {
                name: "db".to_owned(),
                port: 6400
            },
        ]
    );
}

#[test]
fn algorithms_are_known_by_their_names_and_by_those_of_alb() {
    let names = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let aliases = [
        ("least_outstanding_requests", Algorithm::LeastConnections),
        ("weighted_random", Algorithm::Random),
    ];
    for (name, algorithm) in names.into_iter().chain(aliases) {
        let group = group(&format!(
            "targets = \"10.0.0.1:1\"\nalgorithm = \"{name}\"\n"
        ));
        assert_eq!(group.algorithm, algorithm, "{name}");
    }
}

#[test]
fn the_key_of_a_hash_is_a_part_of_the_request() {
    let body = |limit, field: Option<&str>| HashKey::Body {
        limit,
        field: field.map(str::to_owned),
    };
    let cases = [
        (
            "cookie = \"session\"",
            HashKey::Cookie("session".to_owned()),
        ),
        ("query = \"user\"", HashKey::Query("user".to_owned())),
        ("path = true", HashKey::Path),
        ("client_ip = true", HashKey::ClientIp),
        ("load_factor = 2", HashKey::ClientIp),
        ("body = true", body(65_536, None)),
        (
            "body = { limit = \"1KiB\", field = \"user\" }",
            body(1024, Some("user")),
        ),
    ];
    for (hash, key) in cases {
        let text = format!(
            "targets = \"10.0.0.1:1\"\nalgorithm = \"consistent_hash\"\nhash = {{ {hash} }}\n"
        );
        assert_eq!(group(&text).hash.key, key, "{hash}");
    }
}

#[test]
fn a_short_interval_shortens_the_default_timeout() {
    let health =
        |health: &str| group(&format!("targets = \"10.0.0.1:1\"\nhealth = {health}\n")).health;
    let check = health("{ interval = \"2s\" }").expect("a check");
    assert_eq!(check.timeout, Duration::from_secs(1));
    let check = health("true").expect("a check");
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_secs(30), Duration::from_secs(5))
    );
    assert_eq!(health("false"), None);
    assert_eq!(
        health("{ type = \"tcp\" }").map(|check| check.probe),
        Some(Probe::Tcp)
    );
}

#[test]
fn a_matcher_is_a_status_a_range_or_several() {
    let matcher = |matcher: &str| {
        let group = group(&format!(
            "targets = \"10.0.0.1:1\"\nhealth = {{ matcher = {matcher} }}\n"
        ));
        match group.health.expect("a check").probe {
            Probe::Http(probe) => probe.matcher,
            Probe::Tcp => panic!("the default is http"),
        }
    };
    assert_eq!(matcher("200"), [(200, 200)]);
    assert_eq!(matcher("\"200, 204-299\""), [(200, 200), (204, 299)]);
    assert_eq!(matcher("[200, \"400-499\"]"), [(200, 200), (400, 499)]);
}

#[test]
fn the_healthy_minimum_is_a_count_or_a_share() {
    let least = |value: &str| {
        group(&format!(
            "targets = \"10.0.0.1:1\"\nmin_healthy = {value}\n"
        ))
        .fail_open
        .min_healthy
    };
    assert_eq!(least("1"), MinHealthy::Count(1));
    assert_eq!(least("\"50%\""), MinHealthy::Percent(50));
}

#[test]
fn ports_of_both_ip_versions_do_not_collide_and_port_0_never_does() {
    let text = "[[listener]]\nbind = \"0.0.0.0:80\"\nfixed_response = { status = 200 }\n\
                [[listener]]\nbind = \"[::]:80\"\nfixed_response = { status = 200 }\n\
                [[listener]]\nname = \"a\"\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }\n\
                [[listener]]\nname = \"b\"\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }\n";
    assert_eq!(read(text).listeners.len(), 4);
}
