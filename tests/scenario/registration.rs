//! Targets that leave their group, come back, and are changed at run time.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use weir::admin::{Problem, TargetChanged};

use crate::scenario::support::{Backend, Connection, Lb, Refusing, Reply, Wire, eventually};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// One listener, and the group `app` with these targets; `more` goes into the group.
fn config(targets: &[SocketAddr], more: &str) -> String {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    format!(
        r#"
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        workers = 2

        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"

        [target_group.app]
        targets = {targets:?}
        health = false
        {more}
        "#
    )
}

/// Sends a change to the admin listener, with `Authorization` if one is given.
async fn ask(lb: &Lb, authorization: &str, method: &str, end: &str, body: &str) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/groups/{end}"));
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned())));
    let mut connection = Connection::open(lb.admin_addr()).await;
    connection.send(request.unwrap()).await.unwrap()
}

/// Sends a change with the token.
async fn change(lb: &Lb, method: &str, addr: SocketAddr, end: &str, body: &str) -> Reply {
    let end = format!("app/targets/{addr}{end}");
    ask(lb, &format!("Bearer {TOKEN}"), method, &end, body).await
}

fn changed(reply: &Reply) -> TargetChanged {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

fn error(reply: &Reply) -> String {
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(problem.status, reply.status);
    problem.detail
}

/// Addresses, weights and registrations in `/api/v1/status`.
async fn targets(lb: &Lb) -> Vec<(SocketAddr, u16, String)> {
    lb.group_status("app")
        .await
        .targets
        .into_iter()
        .map(|t| (t.address.address().unwrap(), t.weight, t.registration))
        .collect()
}

async fn until_targets(lb: &Lb, wanted: &[(SocketAddr, u16, &str)]) {
    eventually(&format!("targets {wanted:?}"), || async {
        let now = targets(lb).await;
        let same = now
            .iter()
            .map(|(a, w, r)| (*a, *w, r.as_str()))
            .eq(wanted.iter().copied());
        same.then_some(()).ok_or_else(|| format!("{now:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_target_that_leaves_finishes_its_request_and_is_listed_as_draining() {
    let mut old = Backend::manual().await;
    let new = Backend::answering("new").await;
    let mut lb = Lb::start(&config(&[old.addr()], "")).await;
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { client.get("/slow").await });
    let held = old.next_request().await;
    lb.reload(&config(&[new.addr()], "")).await.unwrap();
    let status = lb.target_status("app", old.addr()).await;
    assert_eq!(
        (status.registration.as_str(), status.in_flight),
        ("draining", 1)
    );
    let draining = status.draining.unwrap();
    assert_eq!(draining.reason, "Target.DeregistrationInProgress");
    assert!(draining.seconds_left.unwrap() <= 300);
    assert_eq!(lb.metric("weir_targets", &["state=\"draining\""]).await, 1);
    for _ in 0..4 {
        assert_eq!(lb.get("/").await.text(), "new");
    }
    held.respond("late");
    assert_eq!(request.await.unwrap().text(), "late");
    until_targets(&lb, &[(new.addr(), 1, "active")]).await;
    assert_eq!(lb.metric("weir_targets", &["state=\"draining\""]).await, 0);
    assert_eq!(old.requests(), 1);
}

#[tokio::test]
async fn after_the_delay_the_target_is_removed_and_a_plain_request_still_finishes() {
    let mut old = Backend::manual().await;
    let new = Backend::answering("new").await;
    let delay = "deregistration_delay = \"1s\"";
    let mut lb = Lb::start(&config(&[old.addr()], delay)).await;
    let live = lb.target("app", old.addr()).unwrap();
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { client.get("/slow").await });
    let held = old.next_request().await;
    lb.reload(&config(&[new.addr()], delay)).await.unwrap();
    until_targets(&lb, &[(new.addr(), 1, "active")]).await;
    assert!(live.is_released());
    assert_eq!(live.load().in_flight(), 1);
    held.respond("late");
    assert_eq!(request.await.unwrap().text(), "late");
}

#[tokio::test]
async fn a_target_that_comes_back_while_it_drains_is_served_again() {
    let mut held_back = Backend::manual().await;
    let other = Backend::answering("other").await;
    let (a, b) = (held_back.addr(), other.addr());
    let mut lb = Lb::start(&config(&[a], "")).await;
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { client.get("/slow").await });
    let held = held_back.next_request().await;
    lb.reload(&config(&[b], "")).await.unwrap();
    until_targets(&lb, &[(b, 1, "active"), (a, 1, "draining")]).await;
    lb.reload(&config(&[a], "")).await.unwrap();
    assert_eq!(lb.target("app", a).unwrap().load().in_flight(), 1);
    until_targets(&lb, &[(a, 1, "active")]).await;
    let mut client = lb.connect().await;
    let second = tokio::spawn(async move { client.get("/again").await });
    held_back.next_request().await.respond("again");
    assert_eq!(second.await.unwrap().text(), "again");
    held.respond("late");
    assert_eq!(request.await.unwrap().text(), "late");
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn a_registered_target_gets_requests_without_a_reload_and_over_reloads() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let mut lb = Lb::start(&config(&[a.addr()], "")).await;
    let answer = changed(&change(&lb, "PUT", b.addr(), "", r#"{"weight": 3}"#).await);
    let expected = TargetChanged {
        target_group: "app".to_owned(),
        address: b.addr().into(),
        registration: "active".to_owned(),
        weight: 3,
        in_flight: 0,
        message: format!("{} is registered with app, weight 3", b.addr()),
    };
    assert_eq!(answer, expected);
    for _ in 0..8 {
        assert_eq!(lb.get("/").await.status, 200);
    }
    assert_eq!((a.requests(), b.requests()), (2, 6));
    let answer = changed(&change(&lb, "PATCH", a.addr(), "", r#"{"weight": 0}"#).await);
    assert_eq!((answer.weight, answer.registration.as_str()), (0, "active"));
    for _ in 0..4 {
        assert_eq!(lb.get("/").await.text(), "b");
    }
    let diff = lb.reload(&config(&[a.addr()], "")).await.unwrap();
    let expected = [
        format!(
            "target {} of app: weight 0 set at run time stays, the file says 1",
            a.addr()
        ),
        format!(
            "target {} of app: registered at run time, stays; the file does not list it",
            b.addr()
        ),
    ];
    let mut found = diff.contradictions;
    found.sort_by_key(|line| line.contains("registered"));
    assert_eq!(found, expected);
    assert_eq!(lb.get("/").await.text(), "b");
    changed(&change(&lb, "DELETE", b.addr(), "", "").await);
    changed(&change(&lb, "PUT", a.addr(), "", "").await);
    assert_eq!(targets(&lb).await, [(a.addr(), 1, "active".to_owned())]);
    let diff = lb.reload(&config(&[a.addr()], "")).await.unwrap();
    assert_eq!(diff.contradictions, [""; 0]);
}

#[tokio::test]
async fn a_deregistered_target_finishes_its_requests_and_gets_no_more() {
    let mut a = Backend::manual().await;
    let b = Backend::answering("b").await;
    let mut lb = Lb::start(&config(
        &[a.addr(), b.addr()],
        "algorithm = \"least_connections\"",
    ))
    .await;
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { while client.get("/slow").await.text() != "late" {} });
    let held = a.next_request().await;
    let answer = changed(&change(&lb, "DELETE", a.addr(), "", "").await);
    assert_eq!(answer.registration, "draining");
    let message = format!(
        "{} is deregistered from app and finishes 1 request",
        a.addr()
    );
    assert_eq!(answer.message, message);
    let again = change(&lb, "POST", b.addr(), "/drain", "").await;
    assert_eq!(changed(&again).registration, "draining");
    assert_eq!(lb.get("/").await.status, 503, "no target is left");
    changed(&change(&lb, "PUT", b.addr(), "", "{}").await);
    held.respond("late");
    request.await.unwrap();
    until_targets(&lb, &[(b.addr(), 1, "active")]).await;
    let gone = change(&lb, "DELETE", a.addr(), "", "").await;
    assert_eq!(gone.status, 404);
    let expected = format!("{} is not a target of app", a.addr());
    assert_eq!(error(&gone), expected);
    let file = config(&[a.addr(), b.addr()], "");
    lb.reload(&file).await.unwrap();
    assert_eq!(targets(&lb).await, [(b.addr(), 1, "active".to_owned())]);
}

#[tokio::test]
async fn changes_need_the_token() {
    let target = Backend::answering("a").await;
    let mut lb = Lb::start(&config(&[target.addr()], "")).await;
    let end = format!("app/targets/{}", target.addr());
    let longer = format!("Bearer {TOKEN}0");
    let shorter = format!("Bearer {}", &TOKEN[1..]);
    let basic = format!("Basic {TOKEN}");
    let wrong = ["", "Bearer", "Bearer ", &longer, &shorter, &basic, TOKEN];
    for authorization in wrong {
        let reply = ask(&lb, authorization, "DELETE", &end, "").await;
        assert_eq!(reply.status, 401, "{authorization:?}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert!(error(&reply).contains("token"), "{}", reply.text());
    }
    assert_eq!(targets(&lb).await.len(), 1);
    let lower = ask(&lb, &format!("bearer {TOKEN}"), "PUT", &end, "").await;
    assert_eq!(lower.status, 200);

    let tokenless = config(&[target.addr()], "").replace(&format!(", token = \"{TOKEN}\""), "");
    lb.reload(&tokenless).await.unwrap();
    let reply = change(&lb, "DELETE", target.addr(), "", "").await;
    assert_eq!(reply.status, 403);
    assert!(error(&reply).contains("`token_file`"), "{}", reply.text());
    assert_eq!(lb.admin("/livez").await.status, 200);
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one table")]
async fn a_malformed_change_is_refused_with_a_reason() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&[target.addr()], "")).await;
    let free = Refusing::new().addr();
    let listed = format!("app/targets/{}", target.addr());
    let cases = [
        (
            "PUT",
            "nope/targets/10.0.0.1:80",
            "",
            404,
            "no target group `nope`",
        ),
        (
            "PUT",
            "app/targets/10.0.0.1",
            "",
            400,
            "not an address and a port",
        ),
        (
            "PUT",
            "app/targets/example.com:80",
            "",
            400,
            "not an address and a port",
        ),
        (
            "PUT",
            "app/targets/10.0.0.1:0",
            "",
            400,
            "not an address and a port",
        ),
        ("PUT", "app/targets/%ff", "", 400, "not UTF-8"),
        ("PUT", &listed, "{", 400, "the body is not like"),
        (
            "PUT",
            &listed,
            r#"{"wieght": 1}"#,
            400,
            "unknown field `wieght`",
        ),
        (
            "PUT",
            &listed,
            r#"{"weight": -1}"#,
            400,
            "the body is not like",
        ),
        (
            "PUT",
            &listed,
            r#"{"weight": 1000}"#,
            422,
            "0 to 999, not 1000",
        ),
        ("PATCH", &listed, "", 422, "which weight"),
        ("DELETE", &listed, r#"{"weight": 1}"#, 422, "no meaning"),
        (
            "PATCH",
            &format!("app/targets/{free}"),
            r#"{"weight": 1}"#,
            404,
            "not a target of app",
        ),
        ("POST", &listed, "", 405, "GET, HEAD, PUT, PATCH, DELETE"),
        ("PUT", &format!("{listed}/drain"), "", 405, "answers POST"),
        ("PUT", "app", "", 405, "answers GET, HEAD"),
        ("PUT", "app/targets/10.0.0.1:80/fly", "", 404, "there is"),
        (
            "PUT",
            &listed,
            &" ".repeat(17_000),
            413,
            "longer than 16384 bytes",
        ),
    ];
    for (method, end, body, status, reason) in cases {
        let reply = ask(&lb, &format!("Bearer {TOKEN}"), method, end, body).await;
        assert_eq!(reply.status, status, "{method} {end} {body}");
        assert!(error(&reply).contains(reason), "{}", reply.text());
    }
    assert_eq!(
        targets(&lb).await,
        [(target.addr(), 1, "active".to_owned())]
    );
}

#[tokio::test]
async fn addresses_may_be_escaped_and_leave_out_the_port_of_their_group() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&[target.addr()], "port = 6400")).await;
    for (written, meant) in [
        ("%5B%3A%3A1%5D%3A7000", "[::1]:7000"),
        ("[::1]", "[::1]:6400"),
        ("10.0.0.9", "10.0.0.9:6400"),
    ] {
        let end = format!("app/targets/{written}");
        let reply = ask(&lb, &format!("Bearer {TOKEN}"), "PUT", &end, "").await;
        assert_eq!(changed(&reply).address.to_string(), meant);
    }
    assert_eq!(targets(&lb).await.len(), 4);
}

#[tokio::test]
async fn a_body_that_never_comes_delays_no_other_request() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&[target.addr()], "")).await;
    let head = format!(
        "PUT /api/v1/groups/app/targets/{} HTTP/1.1\r\nhost: weir\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-length: 10\r\n\r\n{{",
        target.addr()
    );
    let mut stuck = Wire::send_to(lb.admin_addr(), head).await;
    assert_eq!(lb.admin("/livez").await.status, 200);
    assert_eq!(stuck.response().await.status(), 408);
    stuck.ends().await;
}
