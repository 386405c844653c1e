//! Calls of gRPC: statuses, deadlines, retries and checks, over targets of HTTP/2 that a test
//! writes frame by frame. The client speaks HTTP/1.1, which shows every field.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Response};
use tokio::sync::mpsc;
use weir::model::Health;

use crate::scenario::support::{
    Backend, H2, H2Target, LogEntry, Message, Refusing, Rig, answer_h2, eventually, read_body,
    soon, with_method,
};

const GRPC: &str = "protocol = \"grpc\"";

/// An empty message.
const EMPTY: [u8; 5] = [0; 5];

fn call(fields: &str) -> Vec<u8> {
    let head = format!(
        "POST /todo.v1.Todos/List HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\
         Content-Type: application/grpc\r\n{fields}Content-Length: 5\r\n\r\n"
    );
    [head.as_bytes(), &EMPTY].concat()
}

async fn ask(rig: &Rig, call: &[u8]) -> Message {
    rig.wire(call).await.response().await
}

/// Ends a call without a message.
fn end(mut respond: SendResponse<Bytes>, status: u16) {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", status);
    let _ = respond.send_response(head.body(()).unwrap(), true);
}

/// Ends a call with a message and trailers.
fn reply(mut respond: SendResponse<Bytes>, status: u16) {
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    stream.send_data(Bytes::from_static(&EMPTY), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    stream.send_trailers(trailers).unwrap();
}

async fn ending(status: u16) -> H2Target {
    H2Target::with(Builder::new(), move |_, respond| async move {
        end(respond, status);
    })
    .await
}

#[tokio::test]
async fn a_call_that_fails_here_has_a_grpc_status() {
    let refusing = Refusing::new();
    let rig = Rig::with(&[refusing.addr()], "", GRPC).await;
    let response = ask(&rig, &call("")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("grpc-status").unwrap(), "14");
    assert_eq!(response.field("content-type").unwrap(), "application/grpc");
    let message = response.field("grpc-message").unwrap();
    assert!(message.contains("connect_error"), "{message}");
    assert!(response.body.is_empty());
    let logged = rig.logged(1).await;
    assert_eq!(logged[0].get("grpc_status"), "14");
    assert_eq!(logged[0].get("reason"), "connect_error");
}

#[tokio::test]
async fn other_requests_to_such_a_group_fail_as_ever() {
    let refusing = Refusing::new();
    let rig = Rig::with(&[refusing.addr()], "", GRPC).await;
    for kind in ["application/grpc-web", "text/plain"] {
        let sent = String::from_utf8(call("")).unwrap();
        let sent = sent.replace("application/grpc", kind);
        let response = ask(&rig, sent.as_bytes()).await;
        assert_eq!(response.status(), 502, "{kind}");
    }
}

#[tokio::test]
async fn the_status_of_a_call_is_logged_and_counted() {
    let target = H2Target::with(Builder::new(), |request, respond| async move {
        assert_eq!(read_body(request.into_body()).await, EMPTY);
        reply(respond, 5);
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", GRPC).await;
    let mut wire = rig.wire(call("")).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let logged = rig.logged(1).await;
    assert_eq!(logged[0].get("status"), "200");
    assert_eq!(logged[0].get("grpc_status"), "5");
    let page = crate::scenario::support::Connection::open(rig.lb.admin_addr())
        .await
        .get("/metrics")
        .await;
    let line = "weir_grpc_calls_total{target_group=\"app\",code=\"5\"} 1";
    assert!(page.text().contains(line), "{}", page.text());
}

#[tokio::test]
async fn a_deadline_is_passed_on_and_holds() {
    let (sender, mut timeouts) = mpsc::unbounded_channel();
    let target = H2Target::with(Builder::new(), move |request, respond| {
        let sender = sender.clone();
        async move {
            let value = request.headers()["grpc-timeout"]
                .to_str()
                .unwrap()
                .to_owned();
            sender.send(value).unwrap();
            // Never answers.
            let _respond = respond;
            std::future::pending::<()>().await;
        }
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", GRPC).await;
    let response = ask(&rig, &call("grpc-timeout: 300m\r\n")).await;
    assert_eq!(response.field("grpc-status").unwrap(), "4");
    let told = soon("the call", timeouts.recv()).await.unwrap();
    let micros: u64 = told.strip_suffix('u').unwrap().parse().unwrap();
    assert!(micros <= 300_000, "{told}");

    let group = format!("{GRPC}\nupstream = {{ request_timeout = \"200ms\" }}");
    let rig = Rig::with(&[target.addr()], "", &group).await;
    let response = ask(&rig, &call("grpc-timeout: 1H\r\n")).await;
    assert_eq!(response.field("grpc-status").unwrap(), "4");
    let told = soon("the call", timeouts.recv()).await.unwrap();
    let micros: u64 = told.strip_suffix('u').unwrap().parse().unwrap();
    assert!(micros <= 200_000, "{told}");
}

/// It gives its calls too little time, which says nothing about the target.
#[tokio::test]
async fn a_client_that_is_in_a_hurry_ejects_no_target() {
    let slow = H2Target::with(Builder::new(), |_, respond| async move {
        // Never answers.
        let _respond = respond;
        std::future::pending::<()>().await;
    })
    .await;
    let well = ending(0).await;
    let group = format!(
        "{GRPC}\nupstream = {{ request_timeout = \"150ms\" }}\nalgorithm = \"round_robin\"\n\
         outlier = {{ consecutive_errors = 3, max_ejected = \"50%\" }}"
    );
    let rig = Rig::with(&[slow.addr(), well.addr()], "", &group).await;
    let mut late = 0;
    for _ in 0..12 {
        let response = ask(&rig, &call("grpc-timeout: 20m\r\n")).await;
        late += usize::from(response.field("grpc-status").unwrap() == "4");
    }
    assert!(late >= 6, "{late}: it got its turns to the end");
    let logged = rig.logged(12).await;
    let is_late = |entry: &&LogEntry| entry.get("reason") == "client_deadline";
    assert_eq!(logged.iter().filter(is_late).count(), late);
    // The group's own deadline is another matter.
    eventually("only the well one to be asked", async || {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let response = ask(&rig, &call("grpc-timeout: 1H\r\n")).await;
            seen.push(response.field("grpc-status").unwrap());
        }
        let is_well = seen.iter().all(|status| status == "0");
        is_well.then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
}

/// A client that waits for trailers hears that its time is over.
#[tokio::test]
async fn a_deadline_behind_the_head_is_told_in_trailers() {
    let target = H2Target::with(Builder::new(), |_, mut respond| async move {
        let head = Response::builder().header("content-type", "application/grpc");
        let mut stream = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        stream.send_data(Bytes::from_static(&EMPTY), false).unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", GRPC).await;
    let mut client = H2::open(rig.addr()).await;
    let mut request = with_method("POST", "/todo.v1.Todos/Watch");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "200m"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = client.send(request, Bytes::from_static(&EMPTY)).await;
    assert_eq!((reply.status, &*reply.body), (200, &EMPTY[..]));
    assert_eq!(reply.reset, None);
    let trailers = reply.trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert!(trailers.contains_key("grpc-message"));
    let mut wire = rig.wire(call("grpc-timeout: 200m\r\n")).await;
    wire.head().await;
    let expected = b"\r\n0\r\ngrpc-status: 4\r\n";
    let rest = soon("trailers", async {
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.extend(wire.take(1).await);
        }
        rest
    })
    .await;
    let is_there = rest.windows(expected.len()).any(|part| part == expected);
    assert!(is_there, "{}", String::from_utf8_lossy(&rest));
    for entry in rig.logged(2).await {
        assert_eq!(entry.get("reason"), "client_deadline");
        assert_eq!(entry.get("grpc_status"), "4");
    }
}

#[tokio::test]
async fn an_unavailable_target_is_passed_over_if_the_group_says_so() {
    let busy = ending(14).await;
    let well = ending(0).await;
    let targets = [busy.addr(), well.addr()];
    let rig = Rig::with(
        &targets,
        "",
        &format!("{GRPC}\nretry = {{ status = [503] }}"),
    )
    .await;
    for _ in 0..4 {
        let response = ask(&rig, &call("")).await;
        assert_eq!(response.field("grpc-status").unwrap(), "0");
    }
    let rig = Rig::with(&targets, "", GRPC).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(&rig, &call("")).await.field("grpc-status").unwrap());
    }
    assert!(seen.contains(&"14".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn a_call_that_has_a_message_is_not_repeated() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let target = H2Target::with(Builder::new(), move |_, respond| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { reply(respond, 14) }
    })
    .await;
    let other = H2Target::with(
        Builder::new(),
        |_, respond| async move { reply(respond, 14) },
    )
    .await;
    let group = format!(
        "{GRPC}\nretry = {{ status = [503] }}\nalgorithm = \"first\"\nmax_concurrency = 10"
    );
    let rig = Rig::with(&[target.addr(), other.addr()], "", &group).await;
    rig.wire(call("")).await.head().await;
    assert_eq!(rig.logged(1).await[0].get("attempts"), "1");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_target_whose_calls_fail_is_ejected() {
    let sick = ending(13).await;
    let well = ending(0).await;
    let group = format!(
        "{GRPC}\noutlier = {{ consecutive_errors = 3, max_ejected = \"50%\" }}\nalgorithm = \"round_robin\""
    );
    let rig = Rig::with(&[sick.addr(), well.addr()], "", &group).await;
    eventually("only the well one to be asked", async || {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(ask(&rig, &call("")).await.field("grpc-status").unwrap());
        }
        let is_well = seen.iter().all(|status| status == "0");
        is_well.then_some(()).ok_or(format!("{seen:?}"))
    })
    .await;
}

#[tokio::test]
async fn grpc_web_passes_unchanged() {
    let target = H2Target::with(Builder::new(), |request, respond| async move {
        assert_eq!(
            request.headers()["content-type"],
            "application/grpc-web+proto"
        );
        let body = read_body(request.into_body()).await;
        let head = Response::builder().header("content-type", "application/grpc-web+proto");
        answer_h2(respond, head.body(()).unwrap(), body);
    })
    .await;
    let rig = Rig::with(&[target.addr()], "", GRPC).await;
    let sent = b"\0\0\0\0\x02hi\x80\0\0\0\x0fgrpc-status: 0\r\n";
    let head = format!(
        "POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: {}\r\n\r\n",
        sent.len()
    );
    let response = ask(&rig, &[head.as_bytes(), sent].concat()).await;
    assert_eq!(response.body, sent);
}

/// A target of which the health checking protocol answers this.
async fn checked(code: &Arc<AtomicU16>, serving: &'static [u8]) -> H2Target {
    let code = Arc::clone(code);
    H2Target::with(Builder::new(), move |request, mut respond| {
        let code = code.load(Ordering::SeqCst);
        async move {
            if request.uri().path() != "/grpc.health.v1.Health/Check" {
                return end(respond, 12);
            }
            let head = Response::builder().header("content-type", "application/grpc");
            let mut stream = respond
                .send_response(head.body(()).unwrap(), false)
                .unwrap();
            stream
                .send_data(Bytes::from_static(serving), false)
                .unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.into());
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await
}

/// Waits for the health of the only target.
async fn until(rig: &Rig, target: &H2Target, wanted: Health) {
    rig.lb.until_health("app", target.addr(), wanted).await;
}

async fn checking(target: &H2Target, health: &str) -> Rig {
    let group = format!("{GRPC}\nhealth = {{ interval = \"50ms\", unhealthy = 1{health} }}");
    Rig::with_checks(&[target.addr()], &group).await
}

#[tokio::test]
async fn targets_are_checked_by_the_health_protocol() {
    let code = Arc::new(AtomicU16::new(0));
    let serving = checked(&code, &[0, 0, 0, 0, 2, 8, 1]).await;
    let rig = checking(&serving, "").await;
    until(&rig, &serving, Health::Healthy).await;
    code.store(14, Ordering::SeqCst);
    until(&rig, &serving, Health::Unhealthy).await;

    let not_serving = checked(&Arc::default(), &[0, 0, 0, 0, 2, 8, 2]).await;
    let rig = checking(&not_serving, "").await;
    until(&rig, &not_serving, Health::Unhealthy).await;
}

#[tokio::test]
async fn targets_are_checked_by_any_method_and_its_status() {
    let target = checked(&Arc::default(), &EMPTY).await;
    let rig = checking(&target, ", path = \"/a.B/C\", matcher = \"0-99\"").await;
    until(&rig, &target, Health::Healthy).await;
    let rig = checking(&target, ", path = \"/a.B/C\", matcher = \"0,5\"").await;
    until(&rig, &target, Health::Unhealthy).await;
}

#[tokio::test]
async fn targets_of_http_2_are_checked_in_it() {
    let target = H2Target::answering("well").await;
    let health =
        "protocol = \"http2\"\nhealth = { interval = \"50ms\", unhealthy = 1, body = \"well\" }";
    let rig = Rig::with_checks(&[target.addr()], health).await;
    until(&rig, &target, Health::Healthy).await;
    let http1 = Backend::answering("well").await;
    let rig = Rig::with_checks(&[http1.addr()], health).await;
    rig.lb
        .until_health("app", http1.addr(), Health::Unhealthy)
        .await;
}
