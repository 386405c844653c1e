//! Clients that end their side of the connection while their request is served. One that has ended
//! only its sending side wants its answer; one that has gone is noticed, whatever it had sent ahead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::scenario::support::{
    Backend, Held, Recorder, Rig, answer, eventually, read_request, until_waiting,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

const ONE_AT_A_TIME: &str = "max_concurrency = 1\nqueue = { length = 8, timeout = \"60s\" }";

/// Longer than the time in which the end of the sending side counts as part of the request.
const LATER: Duration = Duration::from_millis(400);

/// What a client has sent behind its request when it leaves.
fn ahead() -> Vec<(&'static str, String)> {
    vec![
        ("nothing", String::new()),
        ("a CRLF", "\r\n".to_owned()),
        ("its next request", GET.to_owned()),
        ("half a head", "GET /next HTTP/1.1\r\nHo".to_owned()),
        ("nonsense", "\0\0\0".to_owned()),
        ("64 KiB", "x".repeat(64 << 10)),
        ("64 KiB of requests", GET.repeat((64 << 10) / GET.len())),
    ]
}

/// Simple clients end their side with the request (RFC 9112 section 9.6).
#[tokio::test]
async fn a_client_that_ends_its_sending_side_gets_its_answer() {
    for request in [GET, POST, "GET / HTTP/1.0\r\n\r\n"] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        for _ in 0..20 {
            let mut wire = rig.wire(request).await;
            wire.finish().await;
            let reply = wire.final_response().await;
            assert_eq!((reply.status(), &*reply.text()), (200, "ok"), "{request}");
            wire.ends().await;
        }
        rig.quiet().await;
        let log = rig.logged(20).await;
        assert!(
            log.iter()
                .all(|entry| entry.status_and_reason() == ("200", "")),
            "{log:?}"
        );
    }
}

/// An interim response asks whether it is still there, which a client of HTTP/1.1 passes over (RFC
/// 9110 section 15.2).
#[tokio::test]
async fn a_client_that_ends_its_sending_side_is_asked_and_waited_for() {
    for request in [GET, POST] {
        let mut target = Backend::manual().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig.wire(request).await;
        wire.finish().await;
        let held = target.next_request().await;
        let probe = wire.response().await;
        assert_eq!(
            (probe.status(), &*probe.head),
            (100, "HTTP/1.1 100 Continue\r\n\r\n")
        );
        // It has not left, and is asked only once.
        let mut pace = tokio::time::interval(Duration::from_millis(500));
        for _ in 0..3 {
            pace.tick().await;
        }
        assert!(!held.is_abandoned());
        held.respond("late");
        let (interim, reply) = wire.interim_and_final().await;
        assert!(interim.is_empty(), "{interim:?}");
        assert_eq!((reply.status(), &*reply.text()), (200, "late"));
        wire.ends().await;
        assert_eq!(rig.logged(1).await[0].status_and_reason(), ("200", ""));
        rig.quiet().await;
    }
}

/// RFC 9110 section 15.2: it would take the interim response for the last one.
#[tokio::test]
async fn a_client_of_http_1_0_that_ends_its_sending_side_is_not_asked() {
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire("GET / HTTP/1.0\r\n\r\n").await;
    wire.finish().await;
    let held = target.next_request().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    held.respond("late");
    let reply = wire.response().await;
    assert_eq!((reply.status(), &*reply.text()), (200, "late"));
}

#[tokio::test]
async fn a_client_that_ends_its_sending_side_later_has_left_unless_that_is_allowed() {
    for (allowed, keys) in [(false, ""), (true, "client = { abort_on_close = false }")] {
        let mut target = Backend::manual().await;
        let rig = Rig::with(&[target.addr()], keys, "").await;
        let mut wire = rig.wire(GET).await;
        let held = target.next_request().await;
        tokio::time::sleep(LATER).await;
        wire.finish().await;
        if allowed {
            assert_eq!(wire.response().await.status(), 100);
            held.respond("late");
            assert_eq!(wire.final_response().await.text(), "late");
        } else {
            until_noticed("later", &rig, &held).await;
            assert_eq!(rig.logged(1).await[0].get("reason"), "client_gone");
        }
        rig.quiet().await;
    }
}

/// Requests that were sent before the end are part of what the client wants answered: also those that
/// are more than what is read ahead, and behind one that takes its time.
#[tokio::test]
async fn a_client_that_pipelines_and_ends_its_sending_side_gets_all_answers() {
    const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    for (first, count) in [(GET, 3), (GET, 2000), (SLOW, 3), (SLOW, 2000)] {
        let target = Backend::with(|request| async move {
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            answer(200, "ok")
        })
        .await;
        let rig = Rig::forward(&[target.addr()]).await;
        let mut wire = rig.wire(format!("{first}{}", GET.repeat(count))).await;
        wire.finish().await;
        for n in 0..=count {
            let Some(reply) = wire.response_or_end().await else {
                panic!("{n} answers to {first} and {count} more");
            };
            if reply.status() == 100 {
                assert_eq!(wire.response().await.text(), "ok", "{n} of {count}");
            } else {
                assert_eq!(reply.text(), "ok", "{n} of {count}");
            }
        }
        wire.ends().await;
    }
}

/// The target is told as well: its connection closes.
async fn until_noticed(name: &str, rig: &Rig, held: &Held) {
    let since = Instant::now();
    eventually(
        &format!("{name}: the client's leaving is noticed"),
        || async {
            let in_flight = rig.in_flight();
            let is_over = held.is_abandoned() && in_flight == 0;
            is_over
                .then_some(())
                .ok_or(format!("{in_flight} in flight"))
        },
    )
    .await;
    // A second, and two for a machine that is busy.
    let took = since.elapsed();
    assert!(took < Duration::from_secs(3), "{name}: after {took:?}");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_whatever_it_had_sent_ahead() {
    for (name, ahead) in ahead() {
        let mut cases = Vec::new();
        for request in [GET, POST] {
            for pause in [Duration::ZERO, LATER] {
                cases.push(assert_noticed(name, request, &ahead, pause));
            }
        }
        join_all(cases).await;
    }
}

async fn assert_noticed(name: &str, request: &str, ahead: &str, pause: Duration) {
    let name = format!("{name} after {pause:?} behind {request}");
    let mut target = Backend::manual().await;
    let rig = Rig::forward(&[target.addr()]).await;
    let mut wire = rig.wire(request).await;
    let held = target.next_request().await;
    wire.send(ahead).await;
    tokio::time::sleep(pause).await;
    drop(wire);
    until_noticed(&name, &rig, &held).await;
    let log = rig.logged(1).await;
    assert_eq!(log[0].get("reason"), "client_gone", "{name}");
    rig.quiet().await;
    let executed = target.requests();
    assert_eq!(executed, 1, "{name}: what was ahead is not executed");
}

#[tokio::test]
async fn a_client_that_resets_is_noticed_whatever_it_had_sent_ahead() {
    for (name, ahead) in ahead() {
        let mut target = Backend::manual().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let wire = rig.wire(format!("{GET}{ahead}")).await;
        let held = target.next_request().await;
        wire.reset();
        until_noticed(name, &rig, &held).await;
        rig.quiet().await;
        assert_eq!(
            target.requests(),
            1,
            "{name}: what was ahead is not executed"
        );
    }
}

/// Its body is not complete, and never will be.
#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_noticed() {
    for (name, sent) in [("none of it", ""), ("a part of it", "hel")] {
        let target = Recorder::start().await;
        let rig = Rig::forward(&[target.addr()]).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let wire = rig.wire(format!("{head}{sent}")).await;
        eventually("the request is in flight", || async {
            let count = rig.in_flight();
            (count == 1).then_some(()).ok_or(format!("{count}"))
        })
        .await;
        drop(wire);
        rig.quiet().await;
        eventually("the target is told", || async {
            let open = target.backend.open_connections();
            (open == 0).then_some(()).ok_or(format!("{open} open"))
        })
        .await;
        assert!(
            target.requests().iter().all(|request| !request.complete),
            "{name}"
        );
    }
}

/// A regression: it was executed when its turn came.
#[tokio::test]
async fn a_queued_request_is_not_executed_once_its_client_has_left() {
    for (name, ahead) in ahead() {
        let cases = [GET, POST].map(|request| assert_not_executed(name, request, &ahead));
        join_all(cases).await;
    }
}

async fn assert_not_executed(name: &str, request: &str, ahead: &str) {
    let mut target = Backend::manual().await;
    let rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    let mut first = rig.wire(GET).await;
    let held = target.next_request().await;
    let mut second = rig.wire(request).await;
    until_waiting(&rig.lb, 1).await;
    second.send(ahead).await;
    drop(second);
    until_waiting(&rig.lb, 0).await;
    held.respond("first");
    assert_eq!(first.response().await.text(), "first", "{name}");
    let mut third = rig.wire("GET /third HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let held = target.next_request().await;
    assert_eq!(held.request.uri(), "/third", "{name} behind {request}");
    held.respond("third");
    assert_eq!(third.response().await.text(), "third", "{name}");
    assert_eq!(target.requests(), 2, "{name} behind {request}");
    drop((first, third));
    rig.quiet().await;
}

/// It leaves in the moment in which its turn comes. Its reset is there before the slot is free.
#[tokio::test]
async fn a_client_that_leaves_as_its_turn_comes_is_not_served() {
    const HOLD: &str = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";
    let (seen, go) = (
        Arc::<Mutex<Vec<String>>>::default(),
        Arc::<Notify>::default(),
    );
    let (kept, told) = (Arc::clone(&seen), Arc::clone(&go));
    let target = Backend::raw(move |mut stream| {
        let (kept, told) = (Arc::clone(&kept), Arc::clone(&told));
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let line = request.head.lines().next().unwrap().to_owned();
                let is_first = line.starts_with("GET /hold");
                kept.lock().unwrap().push(line);
                if is_first {
                    told.notified().await;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    for request in [GET, POST].repeat(10) {
        let mut first = rig.wire(HOLD).await;
        eventually("the first is on the target", || async {
            let count = rig.in_flight();
            (count == 1).then_some(()).ok_or(count.to_string())
        })
        .await;
        let second = rig.wire(request.replace(" / ", " /gone ")).await;
        until_waiting(&rig.lb, 1).await;
        second.reset();
        go.notify_one();
        assert_eq!(first.response().await.text(), "ok");
        drop(first);
        rig.quiet().await;
    }
    assert!(rig.lb.shutdown().await);
    eventually("the target has read all that was sent", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
    assert_eq!(*seen.lock().unwrap(), vec!["GET /hold HTTP/1.1"; 20]);
}
