//! What a good file means: the values that come out, not only that it is accepted.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use weir::config::{self, Config, MinHealthy, Outlier, Probe, TargetAddress, TargetGroup};
use weir::model::{Action, Algorithm, Condition, CookieSource, HashKey, RedirectPart};
use weir::model::{RateKey, Retry, Sticky, StickyDraining, StickyFull};

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
fn group(inside: &str) -> TargetGroup {
    let text = format!(
        "[[listener]]\nbind = \"0.0.0.0:8080\"\nforward = \"todo\"\n[target_group.todo]\n{inside}"
    );
    read(&text).target_groups.remove(0)
}

/// The location of a redirect, with its placeholders as they are written.
fn location(redirect: &str) -> String {
    let text = format!("[[listener]]\nbind = \"0.0.0.0:80\"\nredirect = {{ {redirect} }}\n");
    // Some lead round in circles, which is a warning.
    let parsed = config::parse("good.toml", &text, &|_| None);
    let config = parsed.expect("it can be used").config;
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
fn unix_sockets_are_named_by_their_paths() {
    let config = read(
        "[[listener]]\nbind = \"unix:/run/a.sock\"\nsocket_mode = \"0660\"\nforward = \"todo\"\n\
         forwarded = { trusted_proxies = [\"10.0.0.0/8\", \"unix:\"] }\n\
         [[listener]]\nname = \"b\"\nbind = \"unix:/run/b.sock\"\nforward = \"todo\"\n\
         [target_group.todo]\ntargets = [\"unix:/run/1.sock, unix:/run/2.sock\", \
         { address = \"unix:/run/3.sock\", weight = 2 }]\n",
    );
    let [first, second] = config.listeners.as_slice() else {
        panic!("two listeners");
    };
    assert_eq!(
        (&*first.id.0, first.socket_mode),
        ("unix:/run/a.sock", Some(0o660))
    );
    assert_eq!(first.bind.to_string(), "unix:/run/a.sock");
    assert_eq!(first.forwarded.trusted_proxies.len(), 1);
    assert!(first.forwarded.trusts_unix && !second.forwarded.trusts_unix);
    assert_eq!((&*second.id.0, second.socket_mode), ("b", None));
    let targets = config.target_groups[0].targets.iter();
    let targets: Vec<_> = targets
        .map(|target| match &target.address {
            TargetAddress::Socket(endpoint) => (endpoint.to_string(), target.weight),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("unix:/run/1.sock", 1),
        ("unix:/run/2.sock", 1),
        ("unix:/run/3.sock", 2),
    ];
    assert_eq!(
        targets,
        expected.map(|(text, weight)| (text.to_owned(), weight))
    );
}

#[test]
fn others_may_keep_the_list_of_targets() {
    let text = "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = [\"todo\", \"other\"]\n\
                [target_group.todo]\nport = 6400\n\
                targets = [{ srv = \"_http._TCP.todo\" }, { file = \"targets.txt\", weight = 3 }]\n\
                [target_group.other]\ntargets = { file = \"/run/targets\" }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weir.toml");
    std::fs::write(&path, text).expect("a file");
    let parsed = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
    let srv = TargetAddress::Srv {
        name: "_http._tcp.todo".to_owned(),
    };
    // Where the configuration stands.
    let file = TargetAddress::File {
        path: folder.path().join("targets.txt"),
        port: Some(6400),
    };
    let [todo, other] = parsed.config.target_groups.as_slice() else {
        panic!("two groups");
    };
    let read: Vec<_> = todo
        .targets
        .iter()
        .map(|t| (&t.address, t.weight))
        .collect();
    assert_eq!(read, [(&srv, 1), (&file, 3)]);
    let absolute = TargetAddress::File {
        path: "/run/targets".into(),
        port: None,
    };
    assert_eq!(other.targets[0].address, absolute);
}

#[test]
fn algorithms_are_known_by_their_names_and_by_those_of_alb() {
    let names = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    let aliases = [("least_outstanding_requests", Algorithm::LeastConnections)];
    for (name, algorithm) in names.into_iter().chain(aliases) {
        let limit = if algorithm == Algorithm::First {
            "max_concurrency = 10"
        } else {
            ""
        };
        let group = with(&format!("algorithm = \"{name}\"\n{limit}"));
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
            Probe::Grpc(_) | Probe::Tcp => panic!("the default is http"),
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

/// A group with one target and this setting.
fn with(setting: &str) -> TargetGroup {
    group(&format!("targets = \"10.0.0.1:1\"\n{setting}\n"))
}

#[test]
fn a_group_that_says_nothing_has_the_defaults() {
    let said_nothing = with("");
    let default = TargetGroup {
        targets: said_nothing.targets.clone(),
        health: said_nothing.health.clone(),
        ..TargetGroup::new("todo".into())
    };
    assert_eq!(said_nothing, default);
    for setting in [
        "retry = true",
        "retry = {}",
        "outlier = true",
        "outlier = {}",
    ] {
        assert_eq!(with(setting), default, "{setting}");
    }
}

#[test]
fn retries_are_what_is_written_or_off() {
    let written = Retry {
        attempts: 2,
        statuses: vec![502, 504],
        non_idempotent: true,
        max_body: 1024,
        budget: 0,
        min_concurrency: 0,
    };
    let text = "retry = { attempts = 2, status = [504, 502, 504], non_idempotent = true, \
                max_body = \"1KiB\", budget = \"0%\", min_concurrency = 0 }";
    assert_eq!(with(text).retry, written);
    assert_eq!(with("retry = { status = 503 }").retry.statuses, [503]);
    assert_eq!(with("retry = false").retry.attempts, 1);
}

#[test]
fn each_way_to_find_an_outlier_can_be_off() {
    assert_eq!(with("outlier = false").outlier, None);
    let written = Outlier {
        consecutive_errors: None,
        consecutive_gateway_errors: Some(7),
        error_ratio: None,
        ejection: Duration::from_secs(600),
        max_ejection: Duration::from_secs(600),
        max_ejected: 100,
        ..config::defaults::OUTLIER
    };
    let text = "outlier = { consecutive_errors = 0, consecutive_gateway_errors = 7, \
                error_ratio = \"0%\", ejection = \"10m\", max_ejected = \"100%\" }";
    assert_eq!(with(text).outlier, Some(written));
}

#[test]
fn limits_of_a_group_are_read() {
    let group = with(
        "max_concurrency = 10\nqueue = { length = 7 }\nslow_start = \"30s\"\n\
                      deregistration_delay = \"0s\"",
    );
    assert_eq!(
        group.overload.max_concurrency.map(NonZeroU32::get),
        Some(10)
    );
    assert_eq!(group.overload.queue_length, 7);
    assert_eq!(group.overload.queue_timeout, Duration::from_secs(5));
    assert_eq!(group.slow_start, Duration::from_secs(30));
    assert_eq!(group.deregistration_delay, Duration::ZERO);
    assert_eq!(with("slow_start = \"0s\"").slow_start, Duration::ZERO);
}

#[test]
fn sessions_follow_either_cookie() {
    let default = Sticky {
        source: CookieSource::LoadBalancer,
        cookie: "WEIRLB".to_owned(),
        duration: Duration::from_secs(86_400),
        when_full: StickyFull::Move,
        when_draining: StickyDraining::Move,
    };
    assert_eq!(
        with("sticky = { type = \"lb_cookie\" }").sticky,
        Some(default)
    );
    let written = Sticky {
        source: CookieSource::Application("JSESSIONID".to_owned()),
        cookie: "STAY".to_owned(),
        duration: Duration::from_secs(7 * 86_400),
        when_full: StickyFull::Wait,
        when_draining: StickyDraining::Stay,
    };
    let text = "max_concurrency = 1\nqueue = { length = 1 }\n\
                sticky = { type = \"app_cookie\", name = \"JSESSIONID\", cookie = \"STAY\", \
                duration = \"7d\", when_full = \"wait\", when_draining = \"stay\" }";
    assert_eq!(with(text).sticky, Some(written));
}

#[test]
fn a_rate_limit_counts_by_address_or_by_header() {
    let limit = |inside: &str| {
        let config = listener(&format!("rate_limit = {{ {inside} }}"));
        config.listeners[0].rate_limit.clone().expect("a limit")
    };
    let least = limit("requests = 100");
    assert_eq!(least.key, RateKey::ClientIp);
    assert_eq!((least.requests.get(), least.burst.get()), (100, 100));
    assert_eq!(least.per, Duration::from_secs(1));
    let most = limit("key = { header = \"X-Api-Key\" }, requests = 6, per = \"1m\", burst = 200");
    assert_eq!(
        most.key,
        RateKey::Header("x-api-key".parse().expect("a name"))
    );
    assert_eq!((most.requests.get(), most.burst.get()), (6, 200));
    assert_eq!(most.per, Duration::from_secs(60));
    assert_eq!(limit("key = \"client_ip\", requests = 100"), least);
}

#[test]
fn a_weighted_forward_keeps_its_clients_on_a_group() {
    let text = "[[listener]]\nbind = \"0.0.0.0:80\"\nforward = [\"a\", \"b\"]\ngroup_sticky = \"1h\"\n\
                client = { max_requests = 1000 }\n\
                [[listener.rule]]\npriority = 1\nwhen = { path = \"/a\" }\n\
                then = { forward = [\"a\", \"b\"], group_sticky = \"7d\" }\n\
                [target_group.a]\ntargets = \"10.0.0.1:1\"\n[target_group.b]\ntargets = \"10.0.0.1:2\"\n";
    let config = read(text);
    let listener = &config.listeners[0];
    let sticky = |action: &Action<_>| match action {
        Action::Forward(forward) => forward.sticky.map(|time| time.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(sticky(&listener.default), Some(3600));
    assert_eq!(sticky(&listener.rules[0].action), Some(7 * 86_400));
    assert_eq!(
        listener.client.max_requests.map(NonZeroU32::get),
        Some(1000)
    );
}

const ADMIN: &str =
    "[[listener]]\nbind = \"0.0.0.0:80\"\nfixed_response = { status = 200 }\n[admin]\n";

#[test]
fn secrets_come_from_the_file_a_variable_or_a_file_of_their_own() {
    let env = |name: &str| (name == "TOKEN").then(|| "correct-horse-battery".to_owned());
    let files = |path: &std::path::Path| match path.to_str() {
        Some("keys/token") => Ok(b"correct-horse-battery\n".to_vec()),
        Some("/key") => Ok(format!("{}\r\n", "0f".repeat(32)).into_bytes()),
        _ => Err(std::io::Error::other("no such file")),
    };
    let read = |text: &str| match config::parse_with_files("good.toml", text, &env, &files) {
        Ok(parsed) => parsed.config,
        Err(problems) => panic!("{problems}"),
    };
    for token in ["token = \"${TOKEN}\"", "token_file = \"keys/token\""] {
        let admin = read(&format!("{ADMIN}{token}\n"))
            .admin
            .expect("it is there");
        assert_eq!(
            admin.token.expect("a token").0,
            "correct-horse-battery",
            "{token}"
        );
    }
    let digits = format!("cookie_key = \"{}\"\n", "0f".repeat(32));
    let base64 = format!("cookie_key = \"{}Dw8=\"\n", "Dw8P".repeat(10));
    for key in [&digits, &base64, "cookie_key_file = \"/key\"\n"] {
        let config = read(&format!(
            "{key}upgrade_socket = \"/run/weir.sock\"\n{ADMIN}"
        ));
        assert_eq!(config.cookie_key.expect("a key").0, [0x0f; 32], "{key}");
        assert_eq!(
            config.upgrade_socket.expect("a path").to_str(),
            Some("/run/weir.sock")
        );
    }
}

#[test]
fn programs_are_not_given_the_variables_of_secrets() {
    let env = |name: &str| {
        let known = ["KEY", "TOKEN", "HOOK", "PORT"].contains(&name);
        known.then(|| {
            if name == "PORT" {
                "6400".to_owned()
            } else {
                "0f".repeat(32)
            }
        })
    };
    let text = format!(
        "cookie_key = \"${{KEY}}\"\n{ADMIN}token = \"${{TOKEN}}\"\n\
         [target_group.a]\ntargets = [\"127.0.0.1:${{PORT}}\"]\n\
         replicas = {{ command = [\"./a\", \"{{port}}\"], env = {{ KEY = \"${{KEY}}\" }} }}\n\
         [target_group.b]\n\
         replicas = {{ exec = {{ list = [\"./l\"], scale = [\"./s\", \"{{count}}\"] }} }}\n\
         [target_group.c]\n\
         replicas = {{ webhook = {{ url = \"http://10.0.0.9/\", token = \"${{HOOK}}\" }} }}\n"
    );
    let config = match config::parse("good.toml", &text, &env) {
        Ok(parsed) => parsed.config,
        Err(problems) => panic!("{problems}"),
    };
    let groups = config.target_groups.iter();
    let replicas = groups.filter_map(|group| group.replicas.as_ref());
    let withheld: Vec<_> = replicas
        .filter_map(|replicas| match &replicas.runner {
            config::Runner::Process(process) => Some(&process.secrets),
            config::Runner::Exec(exec) => Some(&exec.secrets),
            _ => None,
        })
        .collect();
    assert_eq!(withheld.len(), 2);
    for secrets in withheld {
        assert!(secrets.iter().eq(["HOOK", "KEY", "TOKEN"]), "{secrets:?}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    let cases = [
        "token = \"hunter2-in-short\", bnd = 1",
        "token = \"hunter2\"",
        "token = \"hunter2 with spaces in it\"",
        "tokne = \"hunter2\"",
        "token = \"${hunter2!}\"",
        "token = 'hunter2",
        "token = hunter2",
        "token = \"hunter2\", token = \"hunter2\"",
        "token = [\"hunter2\"]",
        "token = { is = \"hunter2\" }",
        "token = \"\\hunter2\"",
    ];
    for case in cases {
        for text in [
            format!("admin = {{ {case} }}\n"),
            format!("{ADMIN}{case}\n"),
        ] {
            let problems = config::parse("bad.toml", &text, &|_| None).expect_err("it is broken");
            let json = serde_json::to_string(&problems).expect("plain data");
            assert!(
                !format!("{problems}{json}").contains("hunter2"),
                "{problems}"
            );
        }
    }
    let key = "cookie_key = \"hunter2\"\nworkers = 0\n";
    let problems = config::parse("bad.toml", key, &|_| None).expect_err("it is broken");
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
}
