//! Requests that one target fails and another serves, and those that must not be sent twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::support::{
    Backend, Recorder, Refusing, Rig, Wire, answer, eventually, read_request, read_request_head,
};

/// Every target is picked in turn, whatever its results.
const TURNS: &str = "algorithm = \"round_robin\"\noutlier = false\n";

fn get() -> String {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()
}

fn with_body(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 5\r\n\r\norder")
}

/// Reads a whole request, sends `last`, and closes.
async fn leaving(last: &'static str) -> Backend {
    Backend::raw(move |mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            stream.write_all(last.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Reads a whole request and resets the connection.
async fn resetting() -> Backend {
    Backend::raw(|mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await
}

/// Accepts and never answers.
async fn silent() -> Backend {
    Backend::raw(|mut stream| async move {
        let mut sink = vec![0; 65536];
        while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    })
    .await
}

/// Answers every request with a status and a body of its own.
async fn saying(status: u16, words: &'static str) -> Backend {
    Backend::with(move |_| async move { answer(status, words) }).await
}

/// Sends requests until the first target was tried; returns the response of that request and
/// its log entry.
async fn until_tried(
    rig: &Rig,
    target: &Backend,
    request: &str,
    logged: &mut usize,
) -> (u16, BTreeMap<&'static str, String>) {
    loop {
        let before = target.requests();
        let mut wire = rig.wire(request).await;
        // What a target says before it fails is passed on (RFC 9110 section 15.2).
        let status = wire.final_response().await.status();
        *logged += 1;
        let log = rig.logged(*logged).await;
        if target.requests() > before {
            let fields = ["reason", "attempts", "tried", "target"];
            let entry = fields.map(|field| (field, log[*logged - 1].get(field).to_owned()));
            return (status, entry.into());
        }
        assert_eq!(status, 200, "the other target serves");
        assert!(*logged < 20, "its turn never comes");
    }
}

/// Asserts that the log has two attempts, one on each target.
fn assert_tried(tried: &str, (failing, reason): (&Backend, &str), good: &Backend) {
    let attempts: Vec<Vec<&str>> = tried.split(", ").map(|a| a.split(' ').collect()).collect();
    let [first, last] = &attempts[..] else {
        panic!("two attempts: {tried}");
    };
    let (failing, good) = (failing.addr().to_string(), good.addr().to_string());
    assert!(
        matches!(first[..], [target, ms, why] if target == failing && ms.ends_with("ms") && why == reason)
    );
    assert!(matches!(last[..], [target, ms] if target == good && ms.ends_with("ms")));
}

/// For each kind of failure, which requests go to the other target. `PUT` stands for the
/// idempotent methods.
#[tokio::test]
async fn a_request_is_retried_on_another_target_if_that_is_safe() {
    let key = "Idempotency-Key: 1\r\n";
    let cases = [
        ("closed", leaving("").await, "target_closed", true),
        ("reset", resetting().await, "target_closed", true),
        (
            "inside the head",
            leaving("HTTP/1.1 200 O").await,
            "target_closed",
            false,
        ),
        (
            "after 1xx",
            leaving("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n").await,
            "target_closed",
            false,
        ),
        (
            "nonsense",
            leaving("What?\r\n\r\n").await,
            "malformed_response",
            false,
        ),
    ];
    for (name, failing, reason, was_silent) in cases {
        let good = Backend::answering("good").await;
        let rig = Rig::with(&[failing.addr(), good.addr()], "", TURNS).await;
        let logged = &mut 0;
        let requests = [
            (get(), true),
            (with_body("PUT", ""), true),
            (with_body("POST", ""), false),
            (with_body("PATCH", ""), false),
            (with_body("POST", key), was_silent),
        ];
        for (request, is_retried) in requests {
            let (status, log) = until_tried(&rig, &failing, &request, logged).await;
            let case = format!("{name}: {request}{log:?}");
            if is_retried {
                assert_eq!(status, 200, "{case}");
                assert_eq!((&*log["reason"], &*log["attempts"]), ("", "2"), "{case}");
                assert_eq!(log["target"], good.addr().to_string(), "{case}");
                assert_tried(&log["tried"], (&failing, reason), &good);
            } else {
                assert_eq!(status, 502, "{case}");
                assert_eq!(
                    (&*log["reason"], &*log["attempts"]),
                    (reason, "1"),
                    "{case}"
                );
                assert_eq!(log["tried"], "", "{case}");
            }
        }
        let labels = ["target_group=\"app\"", &format!("reason=\"{reason}\"")];
        let retries = rig.lb.metric("weir_retries_total", &labels).await;
        assert_eq!(retries, if was_silent { 3 } else { 2 }, "{name}");
        rig.quiet().await;
    }
}

#[tokio::test]
async fn the_configuration_may_allow_retries_of_posts() {
    let (failing, good) = (leaving("").await, Backend::answering("good").await);
    let group = format!("{TURNS}retry = {{ non_idempotent = true }}");
    let rig = Rig::with(&[failing.addr(), good.addr()], "", &group).await;
    let post = with_body("POST", "");
    let (status, log) = until_tried(&rig, &failing, &post, &mut 0).await;
    assert_eq!((status, &*log["attempts"]), (200, "2"));
}

#[tokio::test]
async fn without_retries_only_requests_that_were_never_written_are_sent_again() {
    let (failing, good) = (leaving("").await, Backend::answering("good").await);
    let refusing = Refusing::new();
    let targets = [failing.addr(), refusing.addr(), good.addr()];
    let group = format!("{TURNS}retry = false");
    let rig = Rig::with(&targets, "", &group).await;
    let (status, log) = until_tried(&rig, &failing, &get(), &mut 0).await;
    assert_eq!(status, 502);
    assert!(
        log["tried"].is_empty() || log["tried"].contains("connect_error"),
        "{log:?}"
    );
    let mut refused = 0;
    for _ in 0..4 {
        refused += u32::from(rig.connect().await.get("/").await.status == 200);
    }
    assert!(refused > 0);
    let live = rig.lb.target("app", refusing.addr()).unwrap();
    assert!(live.load().started() > 0, "it was passed over");
}

#[tokio::test]
async fn attempts_end_after_as_many_as_are_allowed() {
    let mut failing = Vec::new();
    for _ in 0..4 {
        failing.push(leaving("").await);
    }
    let addrs: Vec<_> = failing.iter().map(Backend::addr).collect();
    let group = format!("{TURNS}retry = {{ attempts = 2 }}");
    let rig = Rig::with(&addrs, "", &group).await;
    assert_eq!(rig.connect().await.get("/").await.status, 502);
    let entry = &rig.logged(1).await[0];
    assert_eq!(entry.status_and_reason(), ("502", "target_closed"));
    assert_eq!(entry.get("attempts"), "2");
    assert_eq!(entry.get("tried").matches("target_closed").count(), 2);
    let seen: usize = failing.iter().map(Backend::requests).sum();
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn no_target_is_tried_twice_and_the_last_failure_is_reported() {
    let failing = [leaving("").await, leaving("").await];
    let addrs = [failing[0].addr(), failing[1].addr()];
    let group = format!("{TURNS}retry = {{ attempts = 8 }}");
    let rig = Rig::with(&addrs, "", &group).await;
    assert_eq!(rig.connect().await.get("/").await.status, 502);
    assert_eq!((failing[0].requests(), failing[1].requests()), (1, 1));
    assert_eq!(
        rig.logged(1).await[0].status_and_reason(),
        ("502", "target_closed")
    );
}

#[tokio::test]
async fn a_single_target_is_tried_again_only_after_a_kept_connection_broke() {
    let target = leaving("").await;
    let rig = Rig::forward(&[target.addr()]).await;
    assert_eq!(rig.connect().await.get("/").await.status, 502);
    assert_eq!(target.connections(), 1);
}

/// With an empty budget the request fails as it would without retries, and at once.
#[tokio::test]
async fn a_spent_budget_ends_retries() {
    let (failing, good) = (leaving("").await, Backend::answering("good").await);
    let group = format!("{TURNS}retry = {{ budget = \"0%\", min_concurrency = 0 }}");
    let rig = Rig::with(&[failing.addr(), good.addr()], "", &group).await;
    let (status, log) = until_tried(&rig, &failing, &get(), &mut 0).await;
    assert_eq!((status, &*log["reason"]), (502, "target_closed"));
    let spent = ["reason=\"budget_exhausted\""];
    assert_eq!(rig.lb.metric("weir_retries_total", &spent).await, 1);
    assert_eq!(rig.lb.metric("weir_retries_total", &[]).await, 1);
}

#[tokio::test]
async fn a_status_is_retried_if_it_is_listed_and_the_method_is_idempotent() {
    let busy = saying(503, "busy").await;
    let good = Backend::answering("good").await;
    let group = format!("{TURNS}retry = {{ status = [503] }}");
    let rig = Rig::with(&[busy.addr(), good.addr()], "", &group).await;
    let logged = &mut 0;
    let (status, log) = until_tried(&rig, &busy, &get(), logged).await;
    assert_eq!((status, &*log["attempts"]), (200, "2"));
    assert!(log["tried"].contains("ms status_503, "), "{log:?}");
    for fields in ["", "Idempotency-Key: 1\r\n"] {
        let post = with_body("POST", fields);
        let (status, log) = until_tried(&rig, &busy, &post, logged).await;
        assert_eq!((status, &*log["attempts"]), (503, "1"), "{fields}");
    }
    let unlisted = Rig::with(&[busy.addr(), good.addr()], "", TURNS).await;
    let (status, _) = until_tried(&unlisted, &busy, &get(), &mut 0).await;
    assert_eq!(status, 503);
}

/// The response of a target is not replaced by an error of Weir.
#[tokio::test]
async fn the_last_response_is_relayed_when_no_target_is_left() {
    let busy = [saying(503, "one").await, saying(503, "two").await];
    let listed = format!("{TURNS}retry = {{ status = [503] }}");
    for count in [1, 2] {
        let addrs: Vec<_> = busy[..count].iter().map(Backend::addr).collect();
        let rig = Rig::with(&addrs, "", &listed).await;
        let reply = rig.connect().await.get("/").await;
        assert_eq!(reply.status, 503);
        assert!(["one", "two"].contains(&reply.text()), "{reply:?}");
        let entry = &rig.logged(1).await[0];
        assert_eq!(entry.status_and_reason(), ("503", ""));
        assert_eq!(entry.get("attempts"), count.to_string());
    }
    let full = format!("{TURNS}retry = {{ status = [503], budget = \"0%\", min_concurrency = 0 }}");
    let rig = Rig::with(&[busy[0].addr(), busy[1].addr()], "", &full).await;
    let reply = rig.connect().await.get("/").await;
    assert!(["one", "two"].contains(&reply.text()), "{reply:?}");
}

#[tokio::test]
async fn a_request_is_retried_after_a_timeout_if_504_is_listed() {
    let (mute, good) = (silent().await, Backend::answering("good").await);
    let upstream = "upstream = { response_timeout = \"200ms\" }";
    let listed = format!("{TURNS}{upstream}\nretry = {{ status = [504] }}");
    let rig = Rig::with(&[mute.addr(), good.addr()], "", &listed).await;
    let logged = &mut 0;
    for request in [get(), with_body("PUT", "")] {
        let (status, log) = until_tried(&rig, &mute, &request, logged).await;
        assert_eq!((status, &*log["attempts"]), (200, "2"), "{request}");
        assert!(
            log["tried"].contains("ms response_head_timeout, "),
            "{log:?}"
        );
    }
    let post = with_body("POST", "Idempotency-Key: 1\r\n");
    let (status, _) = until_tried(&rig, &mute, &post, logged).await;
    assert_eq!(status, 504);
    let unlisted = format!("{TURNS}{upstream}");
    let rig = Rig::with(&[mute.addr(), good.addr()], "", &unlisted).await;
    let (status, _) = until_tried(&rig, &mute, &get(), &mut 0).await;
    assert_eq!(status, 504);
    rig.quiet().await;
}

#[tokio::test]
async fn the_deadline_of_the_whole_request_is_not_retried() {
    let (mute, good) = (silent().await, Backend::answering("good").await);
    let group = format!(
        "{TURNS}upstream = {{ request_timeout = \"200ms\" }}\nretry = {{ status = [504] }}"
    );
    let rig = Rig::with(&[mute.addr(), good.addr()], "", &group).await;
    let (status, log) = until_tried(&rig, &mute, &get(), &mut 0).await;
    assert_eq!((status, &*log["reason"]), (504, "request_timeout"));
    assert_eq!(log["attempts"], "1");
}

/// Sends requests until the failing target was picked; returns what the recorder got.
async fn replayed(rig: &Rig, failing: &Backend, to: &Recorder, request: &str) -> String {
    until_tried(rig, failing, request, &mut 0).await;
    let got = to.requests().last().unwrap().clone();
    assert!(got.complete);
    let framing = got.field("content-length").unwrap_or("chunked".to_owned());
    format!("{framing}: {}", got.text())
}

#[tokio::test]
async fn a_body_is_sent_again_byte_by_byte() {
    let long = "0123456789".repeat(400);
    let cases = [
        (
            format!("Content-Length: 4000\r\n\r\n{long}"),
            format!("4000: {long}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n".to_owned(),
            "chunked: abcdefgh".to_owned(),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "chunked: ".to_owned(),
        ),
    ];
    for (body, expected) in cases {
        // A body with the hash key is read before it is sent.
        for more in ["", "hash = { body = { limit = \"2KiB\" } }"] {
            let (failing, good) = (leaving("").await, Recorder::start().await);
            let group = if more.is_empty() {
                TURNS.to_owned()
            } else {
                format!("algorithm = \"consistent_hash\"\noutlier = false\n{more}")
            };
            let rig = Rig::with(&[failing.addr(), good.addr()], "", &group).await;
            let request = format!("PUT / HTTP/1.1\r\nHost: a\r\n{body}");
            if more.is_empty() {
                assert_eq!(replayed(&rig, &failing, &good, &request).await, expected);
            } else {
                let mut wire = rig.wire(&request).await;
                assert_eq!(wire.response().await.status(), 200, "{request}");
                assert_eq!(
                    good.requests().last().unwrap().text(),
                    expected.split_once(": ").unwrap().1
                );
            }
        }
    }
}

#[tokio::test]
async fn trailers_are_sent_again() {
    let (failing, good) = (leaving("").await, Recorder::start().await);
    let rig = Rig::with(&[failing.addr(), good.addr()], "", TURNS).await;
    let request = "PUT / HTTP/1.1\r\nHost: a\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n";
    assert_eq!(
        replayed(&rig, &failing, &good, request).await,
        "chunked: abc"
    );
    assert!(
        good.bytes().ends_with("3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n"),
        "{}",
        good.bytes()
    );
}

/// The rest of a body that the client still sends goes to the second target alone.
#[tokio::test]
async fn the_second_target_gets_the_kept_part_of_a_body_and_then_the_rest() {
    for (name, last) in [
        ("closed", ""),
        (
            "answered early",
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
        ),
    ] {
        let failing = Backend::raw(move |mut stream| async move {
            read_request_head(&mut stream).await;
            stream.write_all(last.as_bytes()).await.unwrap();
        })
        .await;
        let good = Recorder::start().await;
        let group = format!("{TURNS}retry = {{ status = [503] }}");
        let rig = Rig::with(&[failing.addr(), good.addr()], "", &group).await;
        for _ in 0..2 {
            let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
            let mut wire = rig.wire(head).await;
            eventually("it has the first half", || async {
                let bytes = good.bytes();
                bytes.ends_with("hello").then_some(()).ok_or(bytes)
            })
            .await;
            wire.send("world").await;
            assert_eq!(wire.response().await.status(), 200, "{name}");
            assert_eq!(
                good.requests().last().unwrap().text(),
                "helloworld",
                "{name}"
            );
        }
        assert!(failing.requests() > 0, "{name}");
        rig.quiet().await;
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_sent_once() {
    let (failing, good) = (leaving("").await, Recorder::start().await);
    let group = format!("{TURNS}retry = {{ max_body = \"1KiB\" }}");
    let rig = Rig::with(&[failing.addr(), good.addr()], "", &group).await;
    let put = |len: usize| {
        let body = "x".repeat(len);
        format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    let logged = &mut 0;
    let (status, log) = until_tried(&rig, &failing, &put(1024), logged).await;
    assert_eq!((status, &*log["attempts"]), (200, "2"));
    let (status, log) = until_tried(&rig, &failing, &put(1025), logged).await;
    assert_eq!((status, &*log["attempts"]), (502, "1"));
    // The client's connection still serves: the body was read to its end.
    assert!(good.requests().iter().all(|request| request.complete));
}

/// No POST is executed twice, however targets fail.
#[tokio::test]
async fn no_post_is_executed_twice() {
    let seen = Arc::<Mutex<BTreeMap<String, u32>>>::default();
    let mut targets = Vec::new();
    for last in [
        "",
        "HTTP/1.1 2",
        "nonsense\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let seen = Arc::clone(&seen);
        targets.push(
            Backend::raw(move |mut stream| {
                let seen = Arc::clone(&seen);
                async move {
                    // Serves once, so that kept connections break as well.
                    for says in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", last] {
                        let Some(request) = read_request(&mut stream).await else {
                            return;
                        };
                        let id = request.field("x-id").unwrap();
                        *seen.lock().unwrap().entry(id).or_default() += 1;
                        stream.write_all(says.as_bytes()).await.unwrap();
                    }
                }
            })
            .await,
        );
    }
    let refusing = Refusing::new();
    let mut addrs: Vec<_> = targets.iter().map(Backend::addr).collect();
    addrs.push(refusing.addr());
    let group = format!("{TURNS}retry = {{ status = [502, 503, 504] }}");
    let rig = Rig::with(&addrs, "", &group).await;
    let mut served = 0;
    let mut wire = Wire::open(rig.addr()).await;
    for id in 0..100 {
        wire.send(with_body("POST", &format!("X-Id: {id}\r\n")))
            .await;
        served += u32::from(wire.final_response().await.status() == 200);
    }
    assert!((1..100).contains(&served), "{served} served");
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    assert_eq!(seen.len(), 100, "each ran once, answered or not");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_retried_and_counts_against_its_target() {
    let broken =
        leaving("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n9\r\nwor")
            .await;
    let good = Backend::answering("good").await;
    let rig = Rig::with(&[broken.addr(), good.addr()], "", TURNS).await;
    while broken.requests() == 0 {
        let mut wire = rig.wire(get()).await;
        let reply = wire.response().await;
        // A 502 if it breaks before a byte of it was passed on.
        let is_whole = reply.complete && reply.status() == 200;
        assert_eq!(is_whole, broken.requests() == 0, "{reply:?}");
    }
    rig.quiet().await;
    let failings = rig.lb.target("app", broken.addr()).unwrap().failings();
    assert_eq!((failings.errors, failings.gateway_run), (1, 1));
}
