//! Sessions: a request with a session's cookie goes to the target of the session as long as
//! that is possible, and to another one otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use weir::model::Health;

use crate::scenario::support::{Backend, Connection, Lb, Refusing, Reply, answer, eventually};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const LB: &str = r#"sticky = { type = "lb_cookie", duration = "1h" }"#;
const APP: &str = r#"sticky = { type = "app_cookie", name = "sid", cookie = "WEIRAPP" }"#;

/// A client that keeps cookies as a browser does, and opens a connection per request.
#[derive(Default)]
struct Browser {
    jar: BTreeMap<String, String>,
}

impl Browser {
    async fn get(&mut self, addr: SocketAddr, path: &str) -> Reply {
        let cookies: Vec<_> = self.jar.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut request = Request::get(path);
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let request = request.body(Full::default()).unwrap();
        let reply = Connection::open(addr).await.send(request).await.unwrap();
        for field in set_cookies(&reply) {
            let (pair, attributes) = field.split_once(';').unwrap_or((&field, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// The body of a response that is 200.
    async fn name(&mut self, addr: SocketAddr, path: &str) -> String {
        let reply = self.get(addr, path).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().to_owned()
    }
}

fn set_cookies(reply: &Reply) -> Vec<String> {
    reply
        .headers
        .get_all(SET_COOKIE)
        .iter()
        .map(|field| field.to_str().unwrap().to_owned())
        .collect()
}

fn quoted(targets: &[&Backend]) -> String {
    let quoted: Vec<_> = targets
        .iter()
        .map(|t| format!("\"{}\"", t.addr()))
        .collect();
    quoted.join(", ")
}

/// Two workers in front of one group. With `max_idle = 0` a target that was killed refuses
/// connections, and no kept connection breaks.
fn config(targets: &str, group: &str) -> String {
    format!(
        r#"
        workers = 2
        cookie_key = "{KEY}"
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        forwarded = {{ trusted_proxies = ["127.0.0.2/32"] }}
        [target_group.app]
        targets = [{targets}]
        upstream = {{ max_idle = 0 }}
        {group}
        "#
    )
}

async fn three() -> [Backend; 3] {
    [
        Backend::answering("one").await,
        Backend::answering("two").await,
        Backend::answering("three").await,
    ]
}

#[tokio::test]
async fn requests_with_the_cookie_stay_on_one_target() {
    let [one, two, three] = three().await;
    let targets = quoted(&[&one, &two, &three]);
    let lb = Lb::start(&config(&targets, &format!("health = false\n{LB}"))).await;
    let mut seen = BTreeSet::new();
    for _ in 0..6 {
        let mut browser = Browser::default();
        let first = browser.get(lb.addr(), "/").await;
        let cookies = set_cookies(&first);
        assert_eq!(cookies.len(), 1);
        let attributes = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600";
        assert!(cookies[0].starts_with("WEIRLB=") && cookies[0].ends_with(attributes));
        for _ in 0..20 {
            let reply = browser.get(lb.addr(), "/").await;
            assert_eq!(reply.text(), first.text());
            assert_eq!(set_cookies(&reply), [""; 0], "it has the right one");
        }
        seen.insert(first.text().to_owned());
    }
    assert!(seen.len() > 1, "all sessions are on {seen:?}");
}

#[tokio::test]
async fn killing_the_sticky_target_costs_no_request() {
    let backends = three().await;
    let targets = quoted(&backends.iter().collect::<Vec<_>>());
    let lb = Lb::start(&config(&targets, &format!("health = false\n{LB}"))).await;
    let mut browser = Browser::default();
    let first = browser.name(lb.addr(), "/").await;
    let names = ["one", "two", "three"];
    let mut living = Vec::new();
    for (backend, name) in backends.into_iter().zip(names) {
        if name == first {
            let addr = backend.addr();
            drop(backend);
            eventually("the port is closed", || async move {
                let open = tokio::net::TcpStream::connect(addr).await.is_ok();
                if open { Err("open".to_owned()) } else { Ok(()) }
            })
            .await;
        } else {
            living.push(backend);
        }
    }
    let moved = browser.get(lb.addr(), "/").await;
    assert_eq!(moved.status, 200);
    assert_ne!(moved.text(), first);
    assert_eq!(set_cookies(&moved).len(), 1, "for the target that answered");
    for _ in 0..10 {
        let reply = browser.get(lb.addr(), "/").await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, moved.text()));
        assert_eq!(set_cookies(&reply), [""; 0]);
    }
}

#[tokio::test]
async fn a_session_leaves_an_unhealthy_target_and_stays_away_when_it_recovers() {
    let backends = three().await;
    let targets = quoted(&backends.iter().collect::<Vec<_>>());
    let health = r#"health = { path = "/health", interval = "60ms", timeout = "50ms", healthy = 2, unhealthy = 2 }"#;
    let lb = Lb::start(&config(&targets, &format!("{health}\n{LB}"))).await;
    for backend in &backends {
        lb.until_health("app", backend.addr(), Health::Healthy)
            .await;
    }
    let mut browser = Browser::default();
    let first = browser.name(lb.addr(), "/").await;
    let at = ["one", "two", "three"]
        .iter()
        .position(|name| *name == first);
    let home = &backends[at.unwrap()];
    home.fail_health(true);
    lb.until_health("app", home.addr(), Health::Unhealthy).await;
    let moved = browser.name(lb.addr(), "/").await;
    assert_ne!(moved, first);
    home.fail_health(false);
    lb.until_health("app", home.addr(), Health::Healthy).await;
    for _ in 0..10 {
        assert_eq!(browser.name(lb.addr(), "/").await, moved);
    }
}

/// A cookie with another character in its middle.
fn flipped(real: &str) -> String {
    let other = if &real[40..=40] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &real[..40], &real[41..])
}

/// `Cookie` fields that hold no session, each in another way.
fn broken(real: &str) -> Vec<Vec<u8>> {
    let mut fields: Vec<Vec<u8>> = [
        "",
        "=",
        ";",
        ";;;=;",
        "WEIRLB",
        "WEIRLB=",
        "WEIRLB==",
        "WEIRLB=\"\"",
        "WEIRLB=AAAA",
        "WEIRLB=127.0.0.1:80",
        "xWEIRLB=",
        "weirlb=",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    fields.push(format!("WEIRLB={}", flipped(real)).into());
    fields.push(format!("WEIRLB={}", &real[1..]).into());
    fields.push(format!("WEIRLB={real}=").into());
    fields.push(format!("WEIRLB=\"{real}\"").into());
    fields.push(format!("weirlb={real}").into());
    fields.push(format!("WEIRLB={}", "A".repeat(70)).into());
    fields.push(format!("WEIRLB={}", "A".repeat(6000)).into());
    fields.push("WEIRLB=x;".repeat(500).into());
    fields.push(b"WEIRLB=\xff\xfe\x80".to_vec());
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..300 {
        // All bytes that a field may have: of the control characters only the tab.
        let byte = |_| match rng.u8(..) {
            127 => b'@',
            control @ 0..=31 => control | b'@',
            byte => byte,
        };
        let mut field = b"WEIRLB=".to_vec();
        field.extend((0..70).map(byte));
        fields.push(field);
    }
    fields
}

#[tokio::test]
async fn malformed_cookies_of_every_kind_are_ignored() {
    let [one, two, three] = three().await;
    let targets = quoted(&[&one, &two, &three]);
    let lb = Lb::start(&config(&targets, &format!("health = false\n{LB}"))).await;
    let mut browser = Browser::default();
    browser.get(lb.addr(), "/").await;
    let real = browser.jar["WEIRLB"].clone();
    let flipped = flipped(&real);
    let fields = broken(&real);
    let mut client = lb.connect().await;
    for field in fields {
        let shown = String::from_utf8_lossy(&field).into_owned();
        let Ok(value) = HeaderValue::from_bytes(&field) else {
            panic!("a test of what a client cannot send: {shown}");
        };
        let request = Request::get("/").header(COOKIE, value);
        let reply = client.send(request.body(Full::default()).unwrap()).await;
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200, "{shown}");
        assert_eq!(set_cookies(&reply).len(), 1, "{shown}");
    }
    // The real one is found among all these, and in a field of its own.
    let home = browser.name(lb.addr(), "/").await;
    let request = Request::get("/")
        .header(COOKIE, format!("a=b; WEIRLB={flipped}; WEIRLB=x"))
        .header(COOKIE, format!("c;WEIRLB={real} ;d=e"));
    let reply = client.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(reply.unwrap().text(), home);
}

#[tokio::test]
async fn cookies_are_understood_by_every_weir_with_the_same_key_and_no_other() {
    let [one, two, three] = three().await;
    let text = config(
        &quoted(&[&one, &two, &three]),
        &format!("health = false\n{LB}"),
    );
    let (first, second) = (Lb::start(&text).await, Lb::start(&text).await);
    let other = text.replace(KEY, &KEY.replace("00", "ff"));
    let keyless = text.replace(&format!("cookie_key = \"{KEY}\""), "");
    assert!(text != other && text != keyless);
    let mut browser = Browser::default();
    let home = browser.name(first.addr(), "/").await;
    for _ in 0..4 {
        let reply = browser.get(second.addr(), "/").await;
        assert_eq!((reply.text(), set_cookies(&reply).len()), (&*home, 0));
    }
    for text in [other, keyless] {
        let lb = Lb::start(&text).await;
        let mut same = Browser {
            jar: browser.jar.clone(),
        };
        let reply = same.get(lb.addr(), "/").await;
        assert_eq!((reply.status.as_u16(), set_cookies(&reply).len()), (200, 1));
    }
}

#[tokio::test]
async fn without_a_key_sessions_survive_reloads() {
    let [one, two, three] = three().await;
    let text = config(
        &quoted(&[&one, &two, &three]),
        &format!("health = false\n{LB}"),
    );
    let text = text.replace(&format!("cookie_key = \"{KEY}\""), "");
    let mut lb = Lb::start(&text).await;
    let mut browser = Browser::default();
    let home = browser.name(lb.addr(), "/").await;
    for n in 2..5 {
        let next = text.replace("max_idle = 0", &format!("max_idle = {n}"));
        lb.reload(&next).await.unwrap();
        let reply = browser.get(lb.addr(), "/").await;
        assert_eq!((reply.text(), set_cookies(&reply).len()), (&*home, 0));
    }
}

#[tokio::test]
async fn targets_without_weight_or_about_to_leave_keep_their_sessions_as_configured() {
    let (one, two) = (
        Backend::answering("one").await,
        Backend::answering("two").await,
    );
    let both = quoted(&[&one, &two]);
    for (when, stays) in [("stay", true), ("move", false)] {
        let sticky = format!(
            r#"sticky = {{ type = "lb_cookie", when_draining = "{when}" }}
            health = false"#
        );
        let mut lb = Lb::start(&config(&both, &sticky)).await;
        let mut browser = Browser::default();
        while browser.name(lb.addr(), "/").await != "one" {
            browser.jar.clear();
        }
        let weightless = format!(
            r#"{{ address = "{}", weight = 0 }}, "{}""#,
            one.addr(),
            two.addr()
        );
        lb.reload(&config(&weightless, &sticky)).await.unwrap();
        let mut newcomer = Browser::default();
        for _ in 0..4 {
            let expected = if stays { "one" } else { "two" };
            assert_eq!(browser.name(lb.addr(), "/").await, expected, "{when}");
            assert_eq!(newcomer.name(lb.addr(), "/").await, "two", "{when}");
        }
        // Removed: it drains for the deregistration delay of its group, 300 s by default.
        lb.reload(&config(&quoted(&[&two]), &sticky)).await.unwrap();
        let expected = if stays { "one" } else { "two" };
        assert_eq!(browser.name(lb.addr(), "/").await, expected, "{when}");
        let at_once = format!("{sticky}\nderegistration_delay = \"0s\"");
        lb.reload(&config(&both, &at_once)).await.unwrap();
        lb.reload(&config(&quoted(&[&two]), &at_once))
            .await
            .unwrap();
        let reply = browser.get(lb.addr(), "/").await;
        let new_cookies = usize::from(stays);
        assert_eq!(
            (reply.text(), set_cookies(&reply).len()),
            ("two", new_cookies)
        );
    }
}

#[tokio::test]
async fn a_session_leaves_a_full_target_and_stays_away() {
    let (mut one, mut two) = (Backend::manual().await, Backend::manual().await);
    let group = format!("health = false\nmax_concurrency = 1\n{LB}");
    let lb = Lb::start(&config(&quoted(&[&one, &two]), &group)).await;
    let addr = lb.addr();
    let mut browser = Browser::default();
    let first = tokio::spawn(async move {
        browser.get(addr, "/").await;
        browser
    });
    let (home, other) = tokio::select! {
        held = one.next_request() => { held.respond("home"); (&mut one, &mut two) }
        held = two.next_request() => { held.respond("home"); (&mut two, &mut one) }
    };
    let jar = first.await.unwrap().jar;
    eventually("the first request is over", || async {
        let left = lb.target("app", home.addr()).unwrap().load().in_flight();
        (left == 0).then_some(()).ok_or(left.to_string())
    })
    .await;
    let busy = |jar: &BTreeMap<String, String>| {
        let mut browser = Browser { jar: jar.clone() };
        tokio::spawn(async move { browser.get(addr, "/").await })
    };
    let at_home = busy(&jar);
    let held = home.next_request().await;
    let elsewhere = busy(&jar);
    other.next_request().await.respond("other");
    let elsewhere = elsewhere.await.unwrap();
    assert_eq!(elsewhere.text(), "other");
    assert_eq!(set_cookies(&elsewhere).len(), 1, "it stays there");
    held.respond("home");
    let at_home = at_home.await.unwrap();
    assert_eq!((at_home.text(), set_cookies(&at_home).len()), ("home", 0));
}

#[tokio::test]
async fn a_session_waits_for_its_own_target_if_configured() {
    let (mut one, mut two) = (Backend::manual().await, Backend::manual().await);
    let wait = LB.replace(" }", ", when_full = \"wait\" }");
    let queue = "queue = { length = 10, timeout = \"1h\" }";
    let group = format!("health = false\nmax_concurrency = 1\n{queue}\n{wait}");
    let lb = Lb::start(&config(&quoted(&[&one, &two]), &group)).await;
    let addr = lb.addr();
    let mut browser = Browser::default();
    let first = tokio::spawn(async move {
        browser.get(addr, "/").await;
        browser
    });
    let home = tokio::select! {
        held = one.next_request() => { held.respond("home"); &mut one }
        held = two.next_request() => { held.respond("home"); &mut two }
    };
    let jar = first.await.unwrap().jar;
    let ask = || {
        let mut browser = Browser { jar: jar.clone() };
        tokio::spawn(async move { browser.get(addr, "/").await })
    };
    let busy = ask();
    let held = home.next_request().await;
    let waits = ask();
    eventually("one request waits", || async {
        let waiting = lb.snapshot().groups()[0].admission.waiting();
        (waiting == 1).then_some(()).ok_or(waiting.to_string())
    })
    .await;
    held.respond("home");
    assert_eq!(busy.await.unwrap().text(), "home");
    // The other target had no request meanwhile.
    home.next_request().await.respond("home again");
    let waited = waits.await.unwrap();
    assert_eq!(
        (waited.text(), set_cookies(&waited).len()),
        ("home again", 0)
    );
}

#[tokio::test]
async fn an_encrypted_client_gets_a_cookie_for_encrypted_connections() {
    let [one, ..] = three().await;
    let lb = Lb::start(&config(&quoted(&[&one]), &format!("health = false\n{LB}"))).await;
    for (from, proto, secure) in [
        ([127, 0, 0, 2], "https", true),
        ([127, 0, 0, 2], "HTTPS, http", true),
        ([127, 0, 0, 2], "http", false),
        ([127, 0, 0, 3], "https", false),
    ] {
        let request = Request::get("/").header("x-forwarded-proto", proto);
        let mut client = Connection::open_from(from, lb.addr()).await;
        let reply = client.send(request.body(Full::default()).unwrap()).await;
        let cookies = set_cookies(&reply.unwrap());
        assert_eq!(cookies[0].ends_with("; Secure"), secure, "{from:?} {proto}");
    }
}

/// A target with a login: `/login` begins a session, `/logout` ends it. Answers with its
/// name and the cookies it got.
async fn application(name: &'static str) -> Backend {
    Backend::with(move |request| async move {
        let got = request.headers().get(COOKIE).cloned();
        let got = got.map_or(String::new(), |got| got.to_str().unwrap().to_owned());
        let mut reply = answer(200, format!("{name} {got}"));
        let set = match request.uri().path() {
            "/login" => "sid=7; Path=/",
            "/remember" => "sid=7; Max-Age=60",
            "/logout" => "sid=; Max-Age=0",
            _ => return reply,
        };
        let fields = reply.headers_mut();
        fields.append(SET_COOKIE, "theme=dark".parse().unwrap());
        fields.append(SET_COOKIE, set.parse().unwrap());
        reply
    })
    .await
}

fn target_name(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

#[tokio::test]
async fn a_session_follows_the_cookie_of_the_application() {
    let backends = [application("one").await, application("two").await];
    let targets = quoted(&backends.iter().collect::<Vec<_>>());
    let lb = Lb::start(&config(&targets, &format!("health = false\n{APP}"))).await;
    let addr = lb.addr();
    let mut browser = Browser::default();
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        let reply = browser.get(addr, "/").await;
        seen.insert(target_name(reply.text()).to_owned());
        assert_eq!(set_cookies(&reply), [""; 0], "no session has begun");
    }
    assert_eq!(seen.len(), 2);

    let login = browser.get(addr, "/login").await;
    let cookies = set_cookies(&login);
    assert_eq!(cookies[..2], ["theme=dark", "sid=7; Path=/"]);
    assert!(cookies[2].starts_with("WEIRAPP=") && !cookies[2].contains("Max-Age"));
    for _ in 0..8 {
        let reply = browser.get(addr, "/").await;
        assert_eq!(target_name(reply.text()), target_name(login.text()));
        assert!(
            reply.text().contains("WEIRAPP="),
            "cookies pass as they are"
        );
        assert_eq!(set_cookies(&reply), [""; 0]);
    }

    // Without the application's cookie Weir's own one does not count.
    let mut half = Browser {
        jar: browser.jar.clone(),
    };
    half.jar.remove("sid");
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        seen.insert(target_name(&half.name(addr, "/").await).to_owned());
    }
    assert_eq!(seen.len(), 2);

    let logout = browser.get(addr, "/logout").await;
    let cookies = set_cookies(&logout);
    assert_eq!(
        cookies[2],
        "WEIRAPP=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_eq!(browser.jar.keys().collect::<Vec<_>>(), ["theme"]);

    let again = browser.get(addr, "/remember").await;
    assert!(set_cookies(&again)[2].ends_with("; Max-Age=60"));
}

#[tokio::test]
async fn a_session_of_an_application_moves_from_a_dead_target_and_stays_on_the_new_one() {
    let backends = [application("one").await, application("two").await];
    let refusing = Refusing::new();
    let all = quoted(&backends.iter().collect::<Vec<_>>());
    let group = format!("health = false\n{APP}");
    let mut lb = Lb::start(&config(&all, &group)).await;
    let mut browser = Browser::default();
    let home = browser.name(lb.addr(), "/login").await;
    let left = backends.iter().zip(["one", "two"]);
    let left = left.filter(|(_, name)| *name != target_name(&home));
    let left: Vec<_> = left.map(|(backend, _)| backend).collect();
    let targets = format!("{}, \"{}\"", quoted(&left), refusing.addr());
    lb.reload(&config(&targets, &group)).await.unwrap();
    let moved = browser.get(lb.addr(), "/").await;
    assert_eq!(moved.status, 200);
    assert_eq!(set_cookies(&moved).len(), 1);
    lb.reload(&config(&all, &group)).await.unwrap();
    for _ in 0..6 {
        let name = browser.name(lb.addr(), "/").await;
        assert_eq!(
            target_name(&name),
            target_name(moved.text()),
            "the old one is forgotten"
        );
    }
}

/// A weighted forward to two groups, and one to two others below `/api`.
fn forwards(groups: [(&Backend, u16); 2], api: [&Backend; 2]) -> String {
    let group = |name: &str, backend: &Backend| {
        format!(
            r#"
            [target_group.{name}]
            targets = ["{}"]
            upstream = {{ max_idle = 0 }}
            health = {{ path = "/health", interval = "60ms", timeout = "50ms", healthy = 2, unhealthy = 2 }}
            "#,
            backend.addr()
        )
    };
    let [(blue, blue_weight), (green, green_weight)] = groups;
    format!(
        r#"
        workers = 2
        cookie_key = "{KEY}"
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = [{{ group = "blue", weight = {blue_weight} }}, {{ group = "green", weight = {green_weight} }}]
        group_sticky = "1h"
        [[listener.rule]]
        priority = 1
        when = {{ path = "/api/*" }}
        then = {{ forward = ["red", "gold"], group_sticky = "1h" }}
        {}{}{}{}
        "#,
        group("blue", blue),
        group("green", green),
        group("red", api[0]),
        group("gold", api[1]),
    )
}

#[tokio::test]
async fn clients_of_weighted_forwards_stay_with_their_groups() {
    let (blue, green) = (
        Backend::answering("blue").await,
        Backend::answering("green").await,
    );
    let api = [
        Backend::answering("red").await,
        Backend::answering("gold").await,
    ];
    let text = forwards([(&blue, 1), (&green, 1)], [&api[0], &api[1]]);
    let mut lb = Lb::start(&text).await;
    let mut seen = BTreeSet::new();
    let mut on_blue = None;
    while seen.len() < 4 || on_blue.is_none() {
        let mut browser = Browser::default();
        let home = browser.get(lb.addr(), "/").await;
        let cookies = set_cookies(&home);
        assert!(
            cookies[0].starts_with("WEIRTG=") && cookies.len() == 1,
            "{cookies:?}"
        );
        let api = browser.name(lb.addr(), "/api/").await;
        for _ in 0..4 {
            let again = browser.get(lb.addr(), "/").await;
            assert_eq!((again.text(), set_cookies(&again).len()), (home.text(), 0));
            assert_eq!(browser.name(lb.addr(), "/api/").await, api);
        }
        seen.extend([home.text().to_owned(), api]);
        if home.text() == "blue" {
            on_blue = Some(browser);
        }
    }

    // New weights hold for new clients; a group of weight 0 keeps no client.
    let mut browser = on_blue.unwrap();
    lb.reload(&forwards([(&blue, 1), (&green, 900)], [&api[0], &api[1]]))
        .await
        .unwrap();
    assert_eq!(browser.name(lb.addr(), "/").await, "blue");
    lb.reload(&forwards([(&blue, 0), (&green, 1)], [&api[0], &api[1]]))
        .await
        .unwrap();
    let moved = browser.get(lb.addr(), "/").await;
    assert_eq!((moved.text(), set_cookies(&moved).len()), ("green", 1));
}

#[tokio::test]
async fn clients_of_an_unhealthy_group_are_served_by_another_and_stay_there() {
    let (blue, green) = (
        Backend::answering("blue").await,
        Backend::answering("green").await,
    );
    let api = Backend::answering("api").await;
    let lb = Lb::start(&forwards([(&blue, 1), (&green, 1)], [&api, &api])).await;
    let mut browser = Browser::default();
    while browser.name(lb.addr(), "/").await != "blue" {
        browser.jar.clear();
    }
    blue.fail_health(true);
    lb.until_health("blue", blue.addr(), Health::Unhealthy)
        .await;
    let moved = browser.get(lb.addr(), "/").await;
    assert_eq!((moved.text(), set_cookies(&moved).len()), ("green", 1));
    blue.fail_health(false);
    lb.until_health("blue", blue.addr(), Health::Healthy).await;
    assert_eq!(browser.name(lb.addr(), "/").await, "green");

    // With all targets unhealthy the groups fail open.
    blue.fail_health(true);
    green.fail_health(true);
    lb.until_health("blue", blue.addr(), Health::Unhealthy)
        .await;
    lb.until_health("green", green.addr(), Health::Unhealthy)
        .await;
    let reply = browser.get(lb.addr(), "/").await;
    assert_eq!((reply.text(), set_cookies(&reply).len()), ("green", 0));
}
