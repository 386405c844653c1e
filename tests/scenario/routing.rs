//! Which rule a request matches, and the action of the rule.

use http::{Request, StatusCode};

use crate::scenario::support::{
    Backend, Connection, Lb, Reply, answer, eventually, fields_of, raw, soon,
};

/// A listener that answers 404 where none of `rules` applies. Each rule is its
/// priority, its conditions and the text it answers with.
fn table(rules: &[(u32, &str, &str)]) -> String {
    let mut text = r#"
        [[listener]]
        bind = "127.0.0.1:0"
        fixed_response = { status = 404, body = "default" }
        "#
    .to_owned();
    for (priority, when, body) in rules {
        text.push_str(&format!(
            r#"
            [[listener.rule]]
            priority = {priority}
            when = {when}
            then = {{ fixed_response = {{ status = 200, body = "{body}" }} }}
            "#
        ));
    }
    text
}

/// A request with these fields.
fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::default()).unwrap()
}

type Body = http_body_util::Full<bytes::Bytes>;

async fn ask(lb: &Lb, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
    let request = request(method, target, fields);
    lb.connect().await.send(request).await.unwrap()
}

/// The target and the fields of a request, and the expected text of the response.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// Sends all requests on one connection and checks the responses.
async fn expect(lb: &Lb, cases: &[Case<'_>]) {
    let mut client = lb.connect().await;
    for (target, fields, expected) in cases {
        let reply = client.send(request("GET", target, fields)).await.unwrap();
        assert_eq!(reply.text(), *expected, "{target} {fields:?}");
    }
}

/// Answers with the request line and the host it got.
async fn mirror() -> Backend {
    Backend::with(|request| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        answer(
            200,
            format!("{} {} {host}", request.method(), request.uri()),
        )
    })
    .await
}

/// Forwards to one target whatever none of these rules matches.
fn forward_to(target: &Backend, rules: &str) -> String {
    format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        {rules}
        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    )
}

#[tokio::test]
async fn lowest_priority_number_wins_whatever_the_order_of_the_file() {
    let lb = Lb::start(&table(&[
        (300, r#"{ path = "/a*" }"#, "300"),
        (50_000, r#"{ path = "*" }"#, "50000"),
        (1, r#"{ path = "/a/b" }"#, "1"),
        (20, r#"{ path = "/a/*" }"#, "20"),
        // A rule found by the index of hosts must not precede one with a lower number, nor the
        // other way round.
        (10, r#"{ host = "x.example", path = "/a/c*" }"#, "10"),
        (25, r#"{ host = "x.example" }"#, "25"),
    ]))
    .await;
    let other: &[(&str, &str)] = &[("host", "other.example")];
    let indexed: &[(&str, &str)] = &[("host", "x.example")];
    expect(
        &lb,
        &[
            ("/a/b", other, "1"),
            ("/a/c", other, "20"),
            ("/ab", other, "300"),
            ("/z", other, "50000"),
            ("/a/b", indexed, "1"),
            ("/a/c", indexed, "10"),
            ("/a/d", indexed, "20"),
            ("/ab", indexed, "25"),
            ("/z", indexed, "25"),
        ],
    )
    .await;
}

#[tokio::test]
async fn default_action_applies_when_no_rule_matches() {
    let lb = Lb::start(&table(&[(1, r#"{ path = "/a" }"#, "a")])).await;
    let reply = ask(&lb, "GET", "/b", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (404, "default"));
    let reply = ask(&lb, "GET", "/a", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "a"));
}

#[tokio::test]
async fn host_match_ignores_case_and_port() {
    let lb = Lb::start(&table(&[
        (1, r#"{ host = "Shop.Example.com" }"#, "exact"),
        (2, r#"{ host = "*.Example.com" }"#, "wildcard"),
        (3, r#"{ host = "node-?.test" }"#, "one character"),
        (4, r#"{ host = "[::1]" }"#, "literal"),
    ]))
    .await;
    let cases = [
        ("shop.example.com", "exact"),
        ("SHOP.EXAMPLE.COM", "exact"),
        ("shop.example.com:8080", "exact"),
        ("Shop.Example.Com.:1", "exact"),
        ("a.b.EXAMPLE.com:1", "wildcard"),
        ("shop.example.com.evil", "default"),
        ("NODE-7.test", "one character"),
        ("node-77.test", "default"),
        ("node-.test", "default"),
        ("[::1]:8080", "literal"),
    ];
    for (host, expected) in cases {
        let reply = ask(&lb, "GET", "/", &[("host", host)]).await;
        assert_eq!(reply.text(), expected, "{host}");
    }
}

#[tokio::test]
async fn a_wildcard_host_does_not_match_the_apex() {
    let lb = Lb::start(&table(&[(1, r#"{ host = "*.example.com" }"#, "sub")])).await;
    expect(
        &lb,
        &[
            ("/", &[("host", "www.example.com")], "sub"),
            ("/", &[("host", "example.com")], "default"),
            ("/", &[("host", "notexample.com")], "default"),
        ],
    )
    .await;
}

#[tokio::test]
async fn paths_match_exactly_by_glob_or_by_expression_and_case_counts() {
    let lb = Lb::start(&table(&[
        (1, r#"{ path = "/Exact" }"#, "exact"),
        (2, r#"{ path = ["/img/?.png", "/static/*"] }"#, "glob"),
        (3, r"{ path_regex = '^/v\d+/todos$' }", "regex"),
        (4, r#"{ path = "/both/*", path_regex = "[0-9]$" }"#, "both"),
    ]))
    .await;
    expect(
        &lb,
        &[
            ("/Exact", &[], "exact"),
            ("/Exact?with=query", &[], "exact"),
            ("/exact", &[], "default"),
            ("/Exact/", &[], "default"),
            ("/img/a.png", &[], "glob"),
            ("/img/ab.png", &[], "default"),
            ("/static/", &[], "glob"),
            ("/static/a/b.css", &[], "glob"),
            ("/STATIC/a", &[], "default"),
            ("/v12/todos", &[], "regex"),
            ("/V12/todos", &[], "default"),
            ("/x/v12/todos", &[], "default"),
            ("/both/a1", &[], "both"),
            ("/both/a", &[], "default"),
            ("/other/a1", &[], "default"),
        ],
    )
    .await;
}

#[tokio::test]
async fn methods_are_compared_exactly() {
    let lb = Lb::start(&table(&[(
        1,
        r#"{ method = ["GET", "PURGE"] }"#,
        "matched",
    )]))
    .await;
    let cases = [
        ("GET", "matched"),
        ("PURGE", "matched"),
        ("POST", "default"),
        ("get", "default"),
    ];
    for (method, expected) in cases {
        let reply = ask(&lb, method, "/", &[]).await;
        assert_eq!(reply.text(), expected, "{method}");
    }
    assert_eq!(ask(&lb, "HEAD", "/", &[]).await.status, 404);
}

#[tokio::test]
async fn header_conditions_need_all_names_and_any_value_of_each() {
    let lb = Lb::start(&table(&[
        (
            1,
            r#"{ header = { "X-One" = "a", "X-Two" = ["b", "c*"] } }"#,
            "both",
        ),
        (2, r#"{ header = { "X-One" = "*web*" } }"#, "glob"),
    ]))
    .await;
    expect(
        &lb,
        &[
            ("/", &[("x-one", "a"), ("x-two", "b")], "both"),
            ("/", &[("x-two", "CCC"), ("X-ONE", "A")], "both"),
            ("/", &[("x-one", "a")], "default"),
            (
                "/",
                &[("x-one", "z"), ("x-one", "a"), ("x-two", "b")],
                "both",
            ),
            ("/", &[("x-one", "my Web client")], "glob"),
            ("/", &[("x-two", "web")], "default"),
        ],
    )
    .await;
}

#[tokio::test]
async fn queries_match_by_name_and_value_after_decoding() {
    let lb = Lb::start(&table(&[
        (
            1,
            r#"{ query = { version = "2", lang = ["de", "en"] } }"#,
            "all",
        ),
        (2, r#"{ query = ["version=1", "*debug*"] }"#, "any"),
        (3, r#"{ query = "name=a b*" }"#, "decoded"),
    ]))
    .await;
    expect(
        &lb,
        &[
            ("/?version=2&lang=de", &[], "all"),
            ("/?lang=EN&x=y&Version=2", &[], "all"),
            ("/?version=2", &[], "default"),
            ("/?version=2&lang=fr", &[], "default"),
            ("/?version=1", &[], "any"),
            ("/?x=Xdebugging", &[], "any"),
            ("/?debug=x", &[], "default"),
            ("/?name=a+b%26c", &[], "decoded"),
            ("/?name=a%20b%26c", &[], "decoded"),
            ("/version=1", &[], "default"),
        ],
    )
    .await;
}

#[tokio::test]
async fn conditions_are_and_values_are_or() {
    let when = r#"{ host = ["a.test", "b.test"], path = ["/x", "/y"], method = ["GET"] }"#;
    let lb = Lb::start(&table(&[(1, when, "matched")])).await;
    let mut found = 0;
    for host in ["a.test", "b.test", "c.test"] {
        for path in ["/x", "/y", "/z"] {
            for method in ["GET", "POST"] {
                let holds = host != "c.test" && path != "/z" && method == "GET";
                let reply = ask(&lb, method, path, &[("host", host)]).await;
                let expected = if holds { "matched" } else { "default" };
                assert_eq!(reply.text(), expected, "{method} {host}{path}");
                found += usize::from(holds);
            }
        }
    }
    assert_eq!(found, 4);
}

#[tokio::test]
async fn source_addresses_decide_and_an_untrusted_peer_cannot_invent_one() {
    let lb = Lb::start(&table(&[
        (
            1,
            r#"{ source_ip = ["127.0.0.7", "203.0.113.0/24"] }"#,
            "inside",
        ),
        (2, r#"{ source_ip = "127.0.8.0/24" }"#, "network"),
    ]))
    .await;
    let cases = [
        ([127, 0, 0, 1], "default"),
        ([127, 0, 0, 7], "inside"),
        ([127, 0, 8, 200], "network"),
        ([127, 0, 9, 200], "default"),
    ];
    for (from, expected) in cases {
        let mut client = Connection::open_from(from, lb.addr()).await;
        assert_eq!(client.get("/").await.text(), expected, "{from:?}");
        let spoofed = request("GET", "/", &[("x-forwarded-for", "203.0.113.9")]);
        let reply = client.send(spoofed).await.unwrap();
        assert_eq!(reply.text(), expected, "{from:?} with X-Forwarded-For");
    }
}

#[tokio::test]
async fn source_addresses_are_those_that_trusted_proxies_report() {
    let rules = table(&[
        (1, r#"{ source_ip = "203.0.113.0/24" }"#, "inside"),
        (2, r#"{ source_ip = "127.0.0.0/8" }"#, "loopback"),
    ]);
    let trusted = "[listener.forwarded]\ntrusted_proxies = [\"127.0.1.0/24\", \"10.0.0.0/8\"]\n";
    let rules = rules.replacen(
        "[[listener.rule]]",
        &format!("{trusted}[[listener.rule]]"),
        1,
    );
    let lb = Lb::start(&rules).await;
    let cases: [([u8; 4], &[&str], &str); 8] = [
        ([127, 0, 0, 1], &["203.0.113.9"], "loopback"),
        ([127, 0, 1, 1], &["203.0.113.9"], "inside"),
        ([127, 0, 1, 1], &["203.0.113.9, 10.1.1.1"], "inside"),
        ([127, 0, 1, 1], &["203.0.113.9", "10.1.1.1"], "inside"),
        // Addresses before the last untrusted one may be invented.
        ([127, 0, 1, 1], &["203.0.113.9, 198.51.100.1"], "default"),
        (
            [127, 0, 1, 1],
            &["203.0.113.9", "198.51.100.1, 10.1.1.1"],
            "default",
        ),
        ([127, 0, 1, 1], &[], "loopback"),
        ([127, 0, 1, 1], &["203.0.113.9, nonsense"], "loopback"),
    ];
    for (from, chain, expected) in cases {
        let fields: Vec<_> = chain.iter().map(|one| ("x-forwarded-for", *one)).collect();
        let mut client = Connection::open_from(from, lb.addr()).await;
        let reply = client.send(request("GET", "/", &fields)).await.unwrap();
        assert_eq!(reply.text(), expected, "{from:?} {chain:?}");
    }
}

#[tokio::test]
async fn weighted_forward_follows_weights_and_zero_gets_nothing() {
    let (heavy, light, none) = (
        Backend::answering("heavy").await,
        Backend::answering("light").await,
        Backend::answering("none").await,
    );
    let lb = Lb::start(&format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = [
            {{ group = "heavy", weight = 3 }},
            {{ group = "light", weight = 1 }},
            {{ group = "none", weight = 0 }},
        ]
        [target_group.heavy]
        targets = ["{}"]
        health = false
        [target_group.light]
        targets = ["{}"]
        health = false
        [target_group.none]
        targets = ["{}"]
        health = false
        "#,
        heavy.addr(),
        light.addr(),
        none.addr()
    ))
    .await;
    let mut client = lb.connect().await;
    for _ in 0..800 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(heavy.requests() + light.requests(), 800);
    // Six standard deviations of the binomial distribution.
    let share = heavy.requests();
    assert!((527..=673).contains(&share), "{share} of 800");
    assert_eq!(none.requests(), 0);
}

#[tokio::test]
async fn a_redirect_keeps_what_it_does_not_change() {
    let lb = Lb::start(
        r##"
        [[listener]]
        bind = "127.0.0.1:0"
        redirect = { protocol = "https" }

        [[listener.rule]]
        priority = 1
        when = { path = "/host/*" }
        then = { redirect = { host = "www.example.com", status = 301 } }

        [[listener.rule]]
        priority = 2
        when = { path = "/path/*" }
        then = { redirect = { path = "/new/#{path}", status = 308 } }

        [[listener.rule]]
        priority = 3
        when = { path = "/query/*" }
        then = { redirect = { query = "from=old&#{query}", status = 307 } }

        [[listener.rule]]
        priority = 4
        when = { path = "/all/*" }
        [listener.rule.then.redirect]
        protocol = "https"
        host = "#{host}.moved.example"
        port = "#{port}"
        path = "/#{protocol}/#{host}/#{port}/#{path}"
        query = "p=#{protocol}&h=#{host}&n=#{port}&f=#{path}&#{query}"
        status = 303
        "##,
    )
    .await;
    let port = lb.addr().port();
    let cases = [
        (
            "/a/b?c=d&e",
            302,
            "https://shop.example/a/b?c=d&e".to_owned(),
        ),
        ("/", 302, "https://shop.example/".to_owned()),
        (
            "/a%20b?c=%0d%0a",
            302,
            "https://shop.example/a%20b?c=%0d%0a".to_owned(),
        ),
        (
            "/host/x?y=z",
            301,
            format!("http://www.example.com:{port}/host/x?y=z"),
        ),
        (
            "/path/x?y=z",
            308,
            format!("http://shop.example:{port}/new/path/x?y=z"),
        ),
        (
            "/query/x?y=z",
            307,
            format!("http://shop.example:{port}/query/x?from=old&y=z"),
        ),
        (
            "/query/x",
            307,
            format!("http://shop.example:{port}/query/x?from=old"),
        ),
        (
            "/all/x?y=z",
            303,
            format!(
                "https://shop.example.moved.example:{port}/http/shop.example/{port}/all/x\
                 ?p=http&h=shop.example&n={port}&f=all/x&y=z"
            ),
        ),
    ];
    for (target, status, location) in cases {
        let reply = ask(&lb, "GET", target, &[("host", "Shop.Example:99")]).await;
        assert_eq!(reply.status.as_u16(), status, "{target}");
        assert_eq!(
            reply.header("location"),
            Some(location.as_str()),
            "{target}"
        );
        assert_eq!(reply.text(), "", "{target}");
        assert!(reply.header("x-request-id").is_some(), "{target}");
    }
}

#[tokio::test]
async fn a_path_cannot_redirect_to_another_host() {
    let lb = Lb::start(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        redirect = { protocol = "https", host = "safe.example" }
        "#,
    )
    .await;
    let answered = raw(
        lb.addr(),
        b"GET //evil.example/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    let location = fields_of(&answered, "location");
    assert_eq!(
        location,
        ["https://safe.example//evil.example/x"],
        "{answered}"
    );
}

#[tokio::test]
async fn a_fixed_response_has_its_status_type_and_body() {
    let lb = Lb::start(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        fixed_response = { status = 503, content_type = "application/json", body = '{"a":1}' }
        [[listener.rule]]
        priority = 1
        when = { path = "/plain" }
        then = { fixed_response = { status = 200, body = "wörld" } }
        [[listener.rule]]
        priority = 2
        when = { path = "/none" }
        then = { fixed_response = { status = 204 } }
        [[listener.rule]]
        priority = 3
        when = { path = "/unchanged" }
        then = { fixed_response = { status = 304 } }
        "#,
    )
    .await;
    let reply = ask(&lb, "GET", "/", &[]).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.text(), r#"{"a":1}"#);
    let reply = ask(&lb, "POST", "/plain", &[]).await;
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(
        (reply.text(), reply.header("content-length")),
        ("wörld", Some("6"))
    );
    let reply = ask(&lb, "GET", "/none", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (204, ""));
    assert_eq!(reply.header("content-length"), None);
    // RFC 9110 sections 8.6 and 9.3.2.
    for (path, length) in [("/plain", Some("6")), ("/none", None), ("/unchanged", None)] {
        let reply = ask(&lb, "HEAD", path, &[]).await;
        assert_eq!(reply.header("content-length"), length, "HEAD {path}");
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let target = Backend::answering("five!").await;
    let rule = r#"
        [[listener.rule]]
        priority = 1
        when = { path = "/fixed" }
        then = { fixed_response = { status = 200, body = "seven77" } }
        "#;
    let lb = Lb::start(&forward_to(&target, rule)).await;
    for (path, length) in [("/fixed", 7), ("/forwarded", 5)] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answered = raw(lb.addr(), head.as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
        let found = fields_of(&answered, "content-length");
        assert_eq!(found, [length.to_string()], "{answered}");
        assert!(answered.ends_with("\r\n\r\n"), "{answered}");
    }
}

#[tokio::test]
async fn a_removed_rule_and_its_group_are_gone_and_its_requests_finish() {
    let (main, mut extra) = (Backend::answering("main").await, Backend::manual().await);
    let without = forward_to(&main, "");
    let rule = r#"
        [[listener.rule]]
        priority = 1
        when = { path = "/extra" }
        then = { forward = "extra" }
        "#;
    let with = format!(
        "{}\n[target_group.extra]\ntargets = [\"{}\"]\nhealth = false\n",
        forward_to(&main, rule),
        extra.addr()
    );
    let mut lb = Lb::start(&with).await;
    let mut client = lb.connect().await;
    let slow = tokio::spawn(async move {
        let reply = client.get("/extra").await;
        (client, reply)
    });
    let held = extra.next_request().await;
    assert_eq!(held.request.uri().path(), "/extra");
    lb.reload(&without).await.unwrap();
    assert!(lb.snapshot().group_named(&"extra".into()).is_none());
    assert_eq!(lb.get("/extra").await.text(), "main");
    held.respond("late");
    let (mut client, reply) = soon("the held request", slow).await.unwrap();
    assert_eq!(reply.text(), "late");
    assert_eq!(client.get("/extra").await.text(), "main");
    eventually("its connections close", || async {
        let now = extra.open_connections();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    lb.reload(&with).await.unwrap();
    let again = tokio::spawn(async move { client.get("/extra").await });
    extra.next_request().await.respond("back");
    assert_eq!(
        soon("the group's return", again).await.unwrap().text(),
        "back"
    );
}

#[tokio::test]
async fn a_reload_reroutes_open_connections() {
    let config = |body| table(&[(1, r#"{ path = "/a" }"#, body)]);
    let mut lb = Lb::start(&config("before")).await;
    let mut client = lb.connect().await;
    assert_eq!(client.get("/a").await.text(), "before");
    lb.reload(&config("after")).await.unwrap();
    assert_eq!(client.get("/a").await.text(), "after");
    lb.reload(&table(&[])).await.unwrap();
    assert_eq!(client.get("/a").await.text(), "default");
}

#[tokio::test]
async fn an_http_1_0_client_is_routed_and_forwarded() {
    let target = Backend::with(|request| async move {
        // Of unknown length: a client of HTTP/1.0 does not know chunks.
        let text = format!("{:?} {}", request.version(), request.uri());
        let frames = futures_util::stream::iter([Ok(http_body::Frame::data(text.into()))]);
        let body = http_body_util::StreamBody::new(frames);
        http::Response::new(http_body_util::combinators::BoxBody::new(body))
    })
    .await;
    let rule = r#"
        [[listener.rule]]
        priority = 1
        when = { host = "old.example" }
        then = { fixed_response = { status = 200, body = "old" } }
        "#;
    let lb = Lb::start(&forward_to(&target, rule)).await;
    let answered = raw(lb.addr(), b"GET /x?y HTTP/1.0\r\n\r\n").await;
    // The version is that of the server (RFC 9110 section 2.5).
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert_eq!(
        fields_of(&answered, "transfer-encoding"),
        [""; 0],
        "{answered}"
    );
    assert!(answered.ends_with("\r\n\r\nHTTP/1.1 /x?y"), "{answered}");
    let answered = raw(lb.addr(), b"GET / HTTP/1.0\r\nHost: old.example\r\n\r\n").await;
    assert!(answered.ends_with("\r\n\r\nold"), "{answered}");
    // The client asks to keep the connection, but only its end can end this body.
    let kept = b"GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let answered = raw(lb.addr(), kept).await;
    assert_eq!(
        fields_of(&answered, "transfer-encoding"),
        [""; 0],
        "{answered}"
    );
    assert_eq!(fields_of(&answered, "connection"), ["close"], "{answered}");
    assert!(answered.ends_with("\r\n\r\nHTTP/1.1 /k"), "{answered}");
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let target = mirror().await;
    let rule = r#"
        [[listener.rule]]
        priority = 1
        when = { host = "shop.example", path = "/ruled" }
        then = { fixed_response = { status = 200, body = "ruled" } }
        "#;
    let lb = Lb::start(&forward_to(&target, rule)).await;
    let cases = [
        ("http://Shop.example/ruled", "ruled"),
        ("http://Shop.example/a?b=c", "GET /a?b=c Shop.example"),
        ("http://Shop.example", "GET / Shop.example"),
        ("http://Shop.example:81?q", "GET /?q Shop.example:81"),
    ];
    for (target, expected) in cases {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n");
        let answered = raw(lb.addr(), head.as_bytes()).await;
        assert!(
            answered.ends_with(&format!("\r\n\r\n{expected}")),
            "{target}: {answered}"
        );
    }
}

#[tokio::test]
async fn options_of_the_whole_server_reach_the_target() {
    let target = mirror().await;
    let rule = r#"
        [[listener.rule]]
        priority = 1
        when = { path = "/*" }
        then = { fixed_response = { status = 404, body = "a path" } }
        "#;
    let lb = Lb::start(&forward_to(&target, rule)).await;
    let head = b"OPTIONS * HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let answered = raw(lb.addr(), head).await;
    assert!(
        answered.ends_with("\r\n\r\nOPTIONS * shop.example"),
        "{answered}"
    );
}

#[tokio::test]
async fn odd_methods_and_targets_arrive_as_they_were_sent() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&target, "")).await;
    let cases = [
        "PROPFIND /a%2Fb/../c?x=%20+y&&z HTTP/1.1",
        "get /lower HTTP/1.1",
        "GET //two//slashes HTTP/1.1",
        "GET /? HTTP/1.1",
        "DELETE /a;b=c,d:e@f!$'()*~ HTTP/1.1",
    ];
    for line in cases {
        let head = format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answered = raw(lb.addr(), head.as_bytes()).await;
        let seen = answered.rsplit("\r\n\r\n").next().unwrap();
        let expected = line.replace("HTTP/1.1", "a");
        assert_eq!(seen, expected, "{answered}");
    }
    assert_eq!(target.requests(), cases.len());
}
