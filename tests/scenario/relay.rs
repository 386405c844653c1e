//! The relay of requests to a target and of responses back.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};

use crate::scenario::support::{Backend, Lb, answer, eventually, fields_of, raw};

/// One listener in front of one group.
fn forward_to(targets: &[&Backend], more: &str) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|b| format!("\"{}\"", b.addr()))
        .collect();
    format!(
        r#"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        {more}

        [target_group.app]
        targets = [{}]
        health = false
        "#,
        targets.join(", ")
    )
}

/// Answers with the head it got, one field a line.
async fn mirror() -> Backend {
    Backend::with(|request| async move {
        let mut text = format!("{} {}\n", request.method(), request.uri());
        for (name, value) in request.headers() {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        write!(text, "\n{}", String::from_utf8_lossy(&body)).unwrap();
        answer(200, text)
    })
    .await
}

#[tokio::test]
async fn a_request_reaches_the_target_and_its_response_the_client() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let request = Request::post("/todos?x=1")
        .header("host", "shop.example")
        .body(Full::from("buy milk"))
        .unwrap();
    let reply = lb.connect().await.send(request).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.text().starts_with("POST /todos?x=1\n"), "{reply:?}");
    assert!(reply.text().contains("host: shop.example\n"));
    assert!(reply.text().ends_with("\nbuy milk"));
    let id = reply.header("x-request-id").unwrap();
    assert!(reply.text().contains(&format!("x-request-id: {id}\n")));
    assert!(lb.shutdown().await);
}

/// Some search interfaces use such requests. hyper's client sends them without their body
/// unless the head has `Transfer-Encoding`.
#[tokio::test]
async fn a_chunked_body_of_a_get_arrives() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let request = "GET /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                   Connection: close\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n";
    let answer = raw(lb.addr(), request.as_bytes()).await;
    assert!(answer.contains("\nfirstsecond"), "{answer}");
}

#[tokio::test]
async fn the_response_to_a_refused_method_lists_those_that_are_forwarded() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let answer = raw(lb.addr(), b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let allowed = fields_of(&answer, "allow").join("; ");
    assert!(allowed.starts_with("GET, HEAD, POST"), "{answer}");
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn the_target_learns_about_the_client() {
    let target = mirror().await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let request = Request::get("/")
        .header("host", "shop.example")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "https")
        .body(Full::default())
        .unwrap();
    let seen = lb.connect().await.send(request).await.unwrap();
    let port = lb.addr().port();
    for field in [
        "x-forwarded-for: 127.0.0.1\n",
        "x-forwarded-proto: http\n",
        "x-forwarded-host: shop.example",
        &format!("x-forwarded-port: {port}"),
    ] {
        assert!(seen.text().contains(field), "{field} in {}", seen.text());
    }
    assert!(!seen.text().contains("6.6.6.6"), "{}", seen.text());
}

#[tokio::test]
async fn one_upstream_connection_serves_many_requests() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&format!("workers = 1\n{}", forward_to(&[&target], ""))).await;
    let mut client = lb.connect().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!((target.requests(), target.connections()), (20, 1));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let target =
        Backend::with(|request| async move { answer(200, request.uri().path().to_owned()) }).await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let mut bytes = String::new();
    for n in 0..10 {
        let last = if n == 9 { "Connection: close\r\n" } else { "" };
        write!(bytes, "GET /{n} HTTP/1.1\r\nHost: a\r\n{last}\r\n").unwrap();
    }
    let answers = raw(lb.addr(), bytes.as_bytes()).await;
    let order: Vec<&str> = answers
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .map(|line| line.split("HTTP").next().unwrap())
        .collect();
    assert_eq!(order.join(""), "0123456789", "{answers}");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_target() {
    let mut target = Backend::manual().await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let addr = target.addr();
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { client.get("/slow").await });
    let held = target.next_request().await;
    assert_eq!(lb.target("app", addr).unwrap().load().in_flight(), 1);
    request.abort();
    eventually("the lease ends", || async {
        let now = lb.target("app", addr).unwrap().load().in_flight();
        (now == 0).then_some(()).ok_or(format!("{now} in flight"))
    })
    .await;
    eventually("the target's request is dropped", || async {
        let gone = held.is_abandoned() || target.open_connections() == 0;
        gone.then_some(()).ok_or("still open".to_owned())
    })
    .await;
}

#[tokio::test]
async fn in_flight_counts_until_the_last_byte_of_the_body() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let target = Backend::with(move |_| {
        let receiver = receiver.clone();
        async move { crate::scenario::support::streamed(receiver) }
    })
    .await;
    let lb = Lb::start(&forward_to(&[&target], "")).await;
    let mut client = lb.connect().await;
    let reply = tokio::spawn(async move { client.get("/").await });
    sender.send(Bytes::from_static(b"first")).await.unwrap();
    sender.send(Bytes::from_static(b"second")).await.unwrap();
    let live = lb.target("app", target.addr()).unwrap();
    eventually("the request is in flight", || async {
        let now = live.load().in_flight();
        (now == 1).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    drop(sender);
    assert_eq!(reply.await.unwrap().text(), "firstsecond");
    eventually("the lease ends", || async {
        let now = live.load().in_flight();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
}
