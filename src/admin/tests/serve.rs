//! Which requests get which responses, and how connections end.

use std::time::Instant;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fixture::{Fixture, config};
use crate::admin::serve::{HEAD_TIMEOUT, MAX_HEAD, max_connections};
use crate::admin::{Problem, paths};
use crate::config;
use crate::lifecycle::Phase;

#[tokio::test]
async fn it_is_alive_before_it_is_ready() {
    let fixture = Fixture::new().await;
    let ready = || fixture.get(paths::READY);
    assert_eq!(
        fixture.get(paths::LIVE).await,
        (StatusCode::OK, "ok\n".into())
    );
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(ready().await, (unavailable, "starting\n".into()));
    let waits = vec!["listener web waits for todo: no address".to_owned()];
    fixture.context.lifecycle.wait_for(waits);
    let named = "starting\nlistener web waits for todo: no address\n";
    assert_eq!(ready().await, (unavailable, named.into()));
    fixture.context.lifecycle.wait_for(Vec::new());
    fixture.context.lifecycle.enter(Phase::Serving);
    assert_eq!(ready().await, (StatusCode::OK, "ready\n".into()));
    fixture.context.lifecycle.enter(Phase::LameDuck);
    assert_eq!(ready().await, (unavailable, "lame_duck\n".into()));
    assert_eq!(fixture.get(paths::LIVE).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_does_not_exist_tells_what_does() {
    let fixture = Fixture::new().await;
    for path in ["/nope", "/metrics/", "/livez/../metrics", "//metrics"] {
        let (status, body) = fixture.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let problem: Problem = serde_json::from_str(&body).unwrap();
        assert_eq!(problem.kind, "urn:weir:problem:not-found");
        for page in [paths::LIVE, paths::METRICS, paths::STATUS] {
            assert!(problem.detail.contains(page), "{body}");
        }
    }
    assert_eq!(fixture.get("/livez?verbose").await.0, StatusCode::OK);
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let fixture = Fixture::configured().await;
    let target = paths::target("todo", "10.0.0.1:80");
    let there_are = [
        (paths::STATUS, "allow: get, head\r"),
        (&*target, "allow: get, head, put, patch, delete\r"),
        (&format!("{target}/drain"), "allow: post\r"),
    ];
    for (path, allowed) in there_are {
        for method in ["OPTIONS", "TRACE", "X"] {
            let (status, head, body) = fixture.ask(method, path).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(head.contains(allowed), "{head}");
            assert!(head.contains("application/problem+json"), "{head}");
            let problem: Problem = serde_json::from_str(&body).unwrap();
            assert_eq!(problem.status, 405);
        }
    }
    for path in [paths::LIVE, paths::METRICS, paths::STATUS] {
        let (status, head, body) = fixture.ask("HEAD", path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
        assert!(head.contains("content-length: "), "{head}");
        assert!(!head.contains("content-length: 0"), "{head}");
    }
}

#[tokio::test]
async fn odd_requests_end_in_an_answer_or_a_close() {
    let fixture = Fixture::new().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * MAX_HEAD));
    let odd = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/9.9\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /livez HTTP/1.1\r\naccept: \u{fc}\r\n\r\n",
        "POST /livez HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        &long,
    ];
    let answered = odd.map(|request| timeout(HEAD_TIMEOUT * 2, fixture.send(request)));
    for (request, response) in odd.iter().zip(join_all(answered).await) {
        assert!(response.is_ok(), "{request:?}");
    }
    assert_eq!(fixture.get(paths::LIVE).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let fixture = Fixture::new().await;
    let started = Instant::now();
    assert_eq!(fixture.send("GET /livez HTTP/1.1\r\n").await, "");
    assert!(started.elapsed() < HEAD_TIMEOUT * 2);
}

#[tokio::test]
async fn silent_connections_keep_no_probe_out() {
    let fixture = Fixture::new().await;
    let mut held = Vec::new();
    for _ in 0..max_connections() + 10 {
        held.push(TcpStream::connect(fixture.address).await.unwrap());
        assert_eq!(fixture.get(paths::LIVE).await.0, StatusCode::OK);
    }
    let mut oldest = held.swap_remove(0);
    let read = timeout(HEAD_TIMEOUT / 2, oldest.read(&mut [0])).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}

#[tokio::test]
async fn a_foreign_name_is_refused_without_the_token() {
    let fixture = Fixture::new().await;
    let mut config = config();
    config.admin = Some(config::Admin {
        bind: fixture.address,
        token: Some(config::Token("secret".to_owned())),
    });
    fixture.publisher.configure(config).await.unwrap();
    let ask = async |path: &str, host: &str, more: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
        let answer = fixture.send(&request).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for path in [paths::STATUS, paths::METRICS, paths::AUTOSCALING] {
        assert_eq!(ask(path, "evil.example:9090", "").await, "401", "{path}");
        assert_eq!(ask(path, "localhost:9090", "").await, "200", "{path}");
        assert_eq!(ask(path, "10.0.0.1", "").await, "200", "{path}");
        let token = "authorization: Bearer secret\r\n";
        assert_eq!(ask(path, "weir.internal", token).await, "200", "{path}");
    }
    assert_eq!(ask(paths::LIVE, "evil.example", "").await, "200");
    assert_eq!(ask(paths::READY, "evil.example", "").await, "503");
}

#[tokio::test]
async fn a_connection_carries_several_requests() {
    let fixture = Fixture::new().await;
    let one = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = fixture.send(&format!("{one}{one}{last}")).await;
    assert_eq!(answers.matches("200 OK").count(), 3, "{answers}");
}

#[tokio::test]
async fn paths_of_earlier_versions_lead_to_those_of_this_one() {
    let fixture = Fixture::configured().await;
    for (old, new) in [
        ("/api/status", "/api/v1/status"),
        ("/api/autoscaling?last=3", "/api/v1/autoscaling?last=3"),
        (
            "/api/target-groups/a%2Fb/targets/10.0.0.1:80/drain",
            "/api/v1/groups/a%2fb/targets/10.0.0.1:80/drain",
        ),
    ] {
        let (status, head, _) = fixture.ask("PUT", old).await;
        assert_eq!(status, StatusCode::PERMANENT_REDIRECT, "{old}");
        assert!(head.contains(&format!("location: {new}\r")), "{head}");
    }
    let (status, _) = fixture.get("/api/statuses").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn parts_of_the_status_have_paths_of_their_own() {
    let fixture = Fixture::configured().await;
    let status = fixture.status().await;
    let part = async |path: &str| -> serde_json::Value {
        let (code, body) = fixture.get(path).await;
        assert_eq!(code, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    for listener in &status.listeners {
        let path = format!("{}/{}", paths::LISTENERS, listener.name);
        assert_eq!(part(&path).await["name"], *listener.name);
    }
    for group in &status.target_groups {
        assert_eq!(part(&paths::group(&group.name)).await["name"], *group.name);
        for target in &group.targets {
            let address = target.address.to_string();
            let path = paths::target(&group.name, &address);
            assert_eq!(part(&path).await["address"], *address);
        }
    }
    for (path, kind) in [
        (paths::group("nope"), "unknown-group"),
        (format!("{}/nope", paths::LISTENERS), "unknown-listener"),
        (paths::target("todo", "10.9.9.9:1"), "unknown-target"),
        (format!("{}?a=b", paths::STATUS), "bad-query"),
        (format!("{}?last=x", paths::AUTOSCALING), "bad-query"),
    ] {
        let problem: Problem = serde_json::from_str(&fixture.get(&path).await.1).unwrap();
        assert_eq!(problem.kind, format!("urn:weir:problem:{kind}"), "{path}");
    }
}

#[tokio::test]
async fn connections_end_with_the_listener() {
    let mut fixture = Fixture::new().await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    assert_eq!(fixture.get(paths::LIVE).await.0, StatusCode::OK);
    fixture.tasks.shutdown().await;
    let mut byte = [0];
    let read = timeout(HEAD_TIMEOUT / 2, stream.read(&mut byte)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    assert!(TcpStream::connect(fixture.address).await.is_err());
}
