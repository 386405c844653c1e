//! Targets that cannot be reached: which targets get their requests, and which requests are
//! not sent again.

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::model::Algorithm;

use crate::scenario::balancing::{
    answering, counts, echoing, group, hash_of, plain, send_chunks, with_body,
};
use crate::scenario::support::{Backend, Lb, Refusing, eventually};

#[tokio::test]
async fn a_target_that_refuses_is_skipped_and_a_post_runs_once() {
    for algorithm in Algorithm::ALL {
        let backends = echoing(2).await;
        let refusing = Refusing::new();
        let mut targets = plain(&backends);
        // The first of the list: `first` uses no other while that one has capacity.
        targets.insert(0, format!("\"{}\"", refusing.addr()));
        let more = format!("health = false\n{}", hash_of(algorithm));
        let lb = Lb::start(&group(algorithm, &targets, &more)).await;
        let mut client = lb.connect().await;
        for key in 0..60 {
            let request = Request::post("/").header("x-key", key.to_string());
            let body = format!("order {key}");
            let request = request.body(Full::from(body.clone())).unwrap();
            let reply = client.send(request).await.unwrap();
            assert_eq!(reply.text(), body, "{algorithm:?}");
        }
        let counts = counts(&backends);
        assert_eq!(
            counts.iter().sum::<usize>(),
            60,
            "{algorithm:?}: {counts:?}"
        );
        let live = lb.target("app", refusing.addr()).unwrap();
        assert_eq!(live.load().in_flight(), 0);
        assert!(live.load().started() > 0, "{algorithm:?} never tried it");
    }
}

#[tokio::test]
async fn a_body_that_was_read_for_its_hash_is_sent_whole_to_another_target() {
    let backends = echoing(1).await;
    let (first, second) = (Refusing::new(), Refusing::new());
    let mut targets = plain(&backends);
    targets.extend([&first, &second].map(|refusing| format!("\"{}\"", refusing.addr())));
    let more = "health = false\nhash = { body = { limit = \"16B\" } }";
    let lb = Lb::start(&group(Algorithm::ConsistentHash, &targets, more)).await;
    for n in 0..20 {
        let body = format!("{n}{}", "x".repeat(5000));
        let reply = lb.connect().await.send(with_body(&body)).await.unwrap();
        assert_eq!(reply.text(), body);
        let (_, echoed) = send_chunks(&lb, &body, &[10, 5000]).await;
        assert_eq!(echoed, body);
    }
    assert_eq!(backends[0].requests(), 40);
}

#[tokio::test]
async fn when_all_targets_refuse_the_response_is_502_with_a_reason() {
    for count in [1, 2, 5] {
        let refusing: Vec<_> = (0..count).map(|_| Refusing::new()).collect();
        let quoted = |refusing: &Refusing| format!("\"{}\"", refusing.addr());
        let targets: Vec<_> = refusing.iter().map(quoted).collect();
        let lb = Lb::start(&group(Algorithm::RoundRobin, &targets, "health = false")).await;
        let mut client = lb.connect().await;
        for _ in 0..3 {
            let reply = client.get("/").await;
            assert_eq!(reply.status, 502);
            let id = reply.header("x-request-id").unwrap();
            assert_eq!(
                reply.text(),
                format!("502 connect_error: the target could not be reached (request {id})\n")
            );
        }
        for refusing in &refusing {
            assert_eq!(
                lb.target("app", refusing.addr())
                    .unwrap()
                    .load()
                    .in_flight(),
                0
            );
        }
    }
}

/// Reads a request with a body of `order`, then closes without a response.
async fn leave_after_request(mut stream: TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"order") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
}

#[tokio::test]
async fn a_request_that_a_target_may_have_run_is_not_sent_again() {
    for algorithm in Algorithm::ALL {
        let backends = [
            Backend::raw(leave_after_request).await,
            Backend::raw(leave_after_request).await,
        ];
        let more = format!("health = false\n{}", hash_of(algorithm));
        let lb = Lb::start(&group(algorithm, &plain(&backends), &more)).await;
        let mut client = lb.connect().await;
        for n in 1..=5 {
            let reply = client.send(with_body("order")).await.unwrap();
            assert_eq!(reply.status, 502);
            assert!(reply.text().starts_with("502 target_closed: "), "{reply:?}");
            assert_eq!(counts(&backends).iter().sum::<usize>(), n, "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn a_post_on_a_connection_that_breaks_is_not_sent_again() {
    let target = Backend::raw(async |mut stream: TcpStream| {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
        let first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(first).await.unwrap();
        leave_after_request(stream).await;
    })
    .await;
    let targets = [format!("\"{}\"", target.addr())];
    let config = group(Algorithm::RoundRobin, &targets, "health = false");
    let lb = Lb::start(&config).await;
    let mut client = lb.connect().await;
    assert_eq!(client.get("/").await.text(), "ok");
    let reply = client.send(with_body("order")).await.unwrap();
    assert!(reply.text().starts_with("502 target_closed: "), "{reply:?}");
    assert_eq!(target.connections(), 1);
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_the_target_closed_costs_no_request() {
    let target = Backend::raw(async |mut stream: TcpStream| {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
        // Closes without `Connection: close`.
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let targets = [format!("\"{}\"", target.addr())];
    let config = group(Algorithm::RoundRobin, &targets, "health = false");
    let lb = Lb::start(&config).await;
    let mut client = lb.connect().await;
    for n in 1..=20 {
        assert_eq!(client.get("/").await.text(), "ok");
        assert_eq!(target.connections(), n);
        eventually("the target has closed", || async {
            let now = target.open_connections();
            (now == 0).then_some(()).ok_or(format!("{now}"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_host_name_is_a_target() {
    let backend = Backend::answering("a").await;
    let port = backend.addr().port();
    for (target, more) in [
        (format!("\"localhost:{port}\""), "health = false".to_owned()),
        (
            "\"localhost\"".to_owned(),
            format!("port = {port}\nhealth = false"),
        ),
    ] {
        let lb = Lb::start(&group(Algorithm::RoundRobin, &[target], &more)).await;
        eventually("the name is resolved", || async {
            let reply = lb.get("/").await;
            (reply.status == 200)
                .then_some(())
                .ok_or(format!("{reply:?}"))
        })
        .await;
        let mut client = lb.connect().await;
        for _ in 0..10 {
            assert_eq!(client.get("/").await.text(), "a");
        }
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_leaves_the_other_targets_alone() {
    let backends = answering(1).await;
    let mut targets = plain(&backends);
    targets.push("\"no-such-host.invalid:80\"".to_owned());
    let lb = Lb::start(&group(Algorithm::RoundRobin, &targets, "health = false")).await;
    let mut client = lb.connect().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "a");
    }
}
