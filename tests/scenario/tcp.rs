//! Listeners of protocol `tcp`: what becomes of bytes, ends and resets on their way, which target a
//! connection gets, and what is counted and logged of it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::model::Health;

use crate::scenario::support::{
    Backend, Connection, Lb, LogEntry, Refusing, Rig, Wire, answer, eventually, keep_access_log,
    soon, until_logged, until_waiting,
};

const TCP: &str = "protocol = \"tcp\"";

async fn rig(targets: &[SocketAddr], group: &str) -> Rig {
    Rig::with(targets, TCP, &format!("{TCP}\n{group}")).await
}

/// A connection through which a word has gone to the target and back.
async fn open(rig: &Rig) -> Wire {
    let mut wire = rig.wire("word").await;
    assert_eq!(wire.take(4).await, b"word");
    wire
}

/// How a connection ends for a client that only reads.
async fn end(wire: &mut Wire) -> Result<Vec<u8>, ErrorKind> {
    let mut rest = Vec::new();
    let read = soon("the end", wire.stream().read_to_end(&mut rest)).await;
    read.map(|_| rest).map_err(|error| error.kind())
}

async fn only_entry(rig: &Rig) -> LogEntry {
    rig.logged(1).await.remove(0)
}

/// Connects, and waits for the reset that a client gets for which there is no target. It may come
/// before the client has noticed that it is connected.
async fn assert_reset(addr: SocketAddr) {
    let end = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    let end = soon("the end", end).await.map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted_and_logged() {
    let target = Backend::echoing_bytes().await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = open(&rig).await;
    assert_eq!(rig.lb.metric("weir_tcp_connections_open", &[]).await, 1);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    wire.there_and_back(&sent).await;
    wire.finish().await;
    wire.ends().await;
    let entry = only_entry(&rig).await;
    for (field, value) in [
        ("reason", "client_closed"),
        ("status", ""),
        ("method", ""),
        ("request_id", ""),
        ("received", "3000004"),
        ("sent", "3000004"),
        ("group", "app"),
        ("target", target.addr().to_string().as_str()),
        ("attempts", "1"),
        ("client", "127.0.0.1"),
        ("message", "connection"),
    ] {
        assert_eq!(entry.get(field), value, "{field}");
    }
    assert_ne!(entry.get("ms"), "");
    rig.quiet().await;
    let labels = &["target_group=\"app\""];
    for (metric, value) in [
        ("weir_tcp_connections_total", 1),
        ("weir_tcp_received_bytes_total", 3_000_004),
        ("weir_tcp_sent_bytes_total", 3_000_004),
        ("weir_tcp_connection_duration_seconds_count", 1),
        ("weir_tcp_connection_ends_total", 1),
        ("weir_requests_total", 0),
        ("weir_request_failures_total", 0),
        ("weir_request_duration_seconds_count", 0),
    ] {
        assert_eq!(rig.lb.metric(metric, labels).await, value, "{metric}");
    }
    let closed = &["reason=\"client_closed\""];
    assert_eq!(
        rig.lb
            .metric("weir_tcp_connection_ends_total", closed)
            .await,
        1
    );
    assert_eq!(rig.lb.metric("weir_tcp_connections_open", &[]).await, 0);
}

#[tokio::test]
async fn a_target_may_speak_first() {
    let target = Backend::raw(|mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"QUIT");
    })
    .await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = Wire::open(rig.addr()).await;
    assert_eq!(wire.take(11).await, b"220 hello\r\n");
    wire.send("QUIT").await;
    wire.finish().await;
    wire.ends().await;
    rig.quiet().await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_receives() {
    let target = Backend::raw(|mut stream| async move {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        heard.extend(b" heard to its end");
        stream.write_all(&heard).await.unwrap();
    })
    .await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = rig.wire("all").await;
    wire.finish().await;
    assert_eq!(end(&mut wire).await, Ok(b"all heard to its end".to_vec()));
    assert_eq!(only_entry(&rig).await.get("reason"), "client_closed");
    rig.quiet().await;
}

#[tokio::test]
async fn a_target_that_has_ended_its_side_still_receives() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let target = Backend::raw(move |mut stream| {
        let told = told.clone();
        async move {
            stream.write_all(b"bye").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            told.send(all.len()).unwrap();
        }
    })
    .await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = Wire::open(rig.addr()).await;
    assert_eq!(end(&mut wire).await, Ok(b"bye".to_vec()));
    wire.send(vec![0; 100_000]).await;
    wire.finish().await;
    assert_eq!(soon("the rest", heard.recv()).await, Some(100_000));
    let entry = only_entry(&rig).await;
    assert_eq!(entry.get("reason"), "target_closed");
    assert_eq!((entry.get("received"), entry.get("sent")), ("100000", "3"));
    rig.quiet().await;
}

#[tokio::test]
async fn a_reset_of_the_target_reaches_the_client_after_what_was_sent_before() {
    let target = Backend::raw(|mut stream| async move {
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&[b'x'; 5_000]).await.unwrap();
        // The client has it all, and says so: a reset destroys what is on its way.
        stream.read_exact(&mut word).await.unwrap();
        // Its close is a reset then.
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = rig.wire("word").await;
    assert_eq!(wire.take(5_000).await.len(), 5_000);
    wire.send("seen").await;
    assert_eq!(end(&mut wire).await, Err(ErrorKind::ConnectionReset));
    let entry = only_entry(&rig).await;
    assert_eq!(entry.get("reason"), "target_reset");
    assert_eq!(entry.get("sent"), "5000");
    rig.quiet().await;
}

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_target() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let target = Backend::raw(move |mut stream| {
        let told = told.clone();
        async move {
            stream.write_all(b"x").await.unwrap();
            let read = stream.read_to_end(&mut Vec::new()).await;
            told.send(read.map_err(|error| error.kind())).unwrap();
        }
    })
    .await;
    let rig = rig(&[target.addr()], "").await;
    let mut wire = Wire::open(rig.addr()).await;
    assert_eq!(wire.take(1).await, b"x");
    wire.reset();
    let end = soon("the end", heard.recv()).await.unwrap();
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert_eq!(only_entry(&rig).await.get("reason"), "client_gone");
    rig.quiet().await;
}

#[tokio::test]
async fn a_connection_that_is_refused_goes_to_the_next_target() {
    let (refusing, target) = (Refusing::new(), Backend::echoing_bytes().await);
    let rig = rig(&[refusing.addr(), target.addr()], "").await;
    for _ in 0..4 {
        open(&rig).await;
    }
    let entries = rig.logged(4).await;
    let retried = entries.iter().filter(|entry| entry.get("attempts") == "2");
    let retried: Vec<_> = retried.collect();
    assert!(!retried.is_empty(), "{entries:?}");
    for entry in retried {
        assert!(entry.get("tried").contains("connect_error"), "{entry:?}");
        assert_eq!(entry.get("target"), target.addr().to_string());
    }
    let labels = &["reason=\"connect_error\""];
    assert!(rig.lb.metric("weir_retries_total", labels).await > 0);
    rig.quiet().await;
}

#[tokio::test]
async fn a_client_is_reset_if_every_target_refuses() {
    let (a, b) = (Refusing::new(), Refusing::new());
    let rig = rig(&[a.addr(), b.addr()], "outlier = false").await;
    assert_reset(rig.addr()).await;
    let entry = only_entry(&rig).await;
    assert_eq!(entry.get("reason"), "connect_error");
    assert_eq!(entry.get("attempts"), "2");
    assert_eq!(entry.get("message"), "the target could not be reached");
    let labels = &["reason=\"connect_error\"", "target_group=\"app\""];
    let ends = rig.lb.metric("weir_tcp_connection_ends_total", labels);
    assert_eq!(ends.await, 1);
    rig.quiet().await;
}

/// A Weir with a group of protocol `tcp` that has the checks of such a group.
async fn checked(name: &str, target: SocketAddr, health: &str) -> Lb {
    keep_access_log();
    Lb::start(&format!(
        r#"
        workers = 1
        access_log = "all"
        [[listener]]
        name = "{name}"
        bind = "127.0.0.1:0"
        forward = "app"
        protocol = "tcp"
        [target_group.app]
        protocol = "tcp"
        targets = ["{target}"]
        fail_open = false
        {health}
        "#
    ))
    .await
}

#[tokio::test]
async fn a_group_is_checked_by_connecting_and_without_a_healthy_target_clients_are_reset() {
    let target = Backend::echoing_bytes().await;
    let lb = checked("tcp-healthy", target.addr(), "").await;
    lb.until_health("app", target.addr(), Health::Healthy).await;
    let mut wire = Wire::send_to(lb.addr(), "word").await;
    assert_eq!(wire.take(4).await, b"word");
    let refusing = Refusing::new();
    let health = "health = { interval = \"100ms\", timeout = \"50ms\", unhealthy = 2 }";
    let lb = checked("tcp-unhealthy", refusing.addr(), health).await;
    lb.until_health("app", refusing.addr(), Health::Unhealthy)
        .await;
    assert_reset(lb.addr()).await;
    let entry = until_logged("tcp-unhealthy", 1).await.remove(0);
    assert_eq!(entry.get("reason"), "no_target");
}

#[tokio::test]
async fn a_check_by_http_decides_about_a_group_of_protocol_tcp_too() {
    let target = Backend::with(|_| async { answer(200, "http through tcp") }).await;
    let health = "health = { path = \"/health\", interval = \"100ms\", timeout = \"50ms\" }";
    let lb = checked("tcp-http-check", target.addr(), health).await;
    lb.until_health("app", target.addr(), Health::Healthy).await;
    assert_eq!(lb.get("/").await.text(), "http through tcp");
    target.fail_health(true);
    lb.until_health("app", target.addr(), Health::Unhealthy)
        .await;
    assert_reset(lb.addr()).await;
}

#[tokio::test]
async fn targets_that_refuse_are_ejected() {
    let (refusing, target) = (Refusing::new(), Backend::echoing_bytes().await);
    let rig = rig(&[refusing.addr(), target.addr()], "").await;
    eventually("an ejection", || async {
        open(&rig).await;
        let status = rig.lb.target_status("app", refusing.addr()).await;
        status.ejected.map(|_| ()).ok_or("none".to_owned())
    })
    .await;
    let status = rig.lb.target_status("app", target.addr()).await;
    assert!(
        status.ejected.is_none(),
        "connections that end are no fault"
    );
}

#[tokio::test]
async fn open_connections_are_what_least_connections_compares() {
    let (a, b) = (
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
    );
    let algorithm = "algorithm = \"least_connections\"";
    let rig = rig(&[a.addr(), b.addr()], algorithm).await;
    let mut wires = Vec::new();
    for _ in 0..6 {
        wires.push(open(&rig).await);
    }
    assert_eq!((a.open_connections(), b.open_connections()), (3, 3));
    drop(wires);
    rig.quiet().await;
}

#[tokio::test]
async fn a_hash_of_the_client_leads_to_one_target() {
    let targets = [
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
    ];
    let addresses: Vec<_> = targets.iter().map(Backend::addr).collect();
    let rig = rig(&addresses, "algorithm = \"consistent_hash\"").await;
    for _ in 0..6 {
        open(&rig).await;
    }
    let mut counts: Vec<_> = targets.iter().map(Backend::connections).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 6]);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_in_the_queue() {
    let target = Backend::echoing_bytes().await;
    let queue = "max_concurrency = 1\nqueue = { length = 1, timeout = \"30s\" }";
    let rig = rig(&[target.addr()], queue).await;
    let first = open(&rig).await;
    let mut second = rig.wire("word").await;
    until_waiting(&rig.lb, 1).await;
    assert_reset(rig.addr()).await;
    assert_eq!(only_entry(&rig).await.get("reason"), "queue_full");
    drop(first);
    assert_eq!(second.take(4).await, b"word");
    drop(second);
    rig.quiet().await;
    let entries = rig.logged(3).await;
    assert_ne!(entries[2].get("queued_ms"), "", "{:?}", entries[2]);
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_gets_no_connection_to_a_target() {
    let target = Backend::echoing_bytes().await;
    let queue = "max_concurrency = 1\nqueue = { length = 1, timeout = \"30s\" }";
    let rig = rig(&[target.addr()], queue).await;
    let first = open(&rig).await;
    let second = Wire::open(rig.addr()).await;
    until_waiting(&rig.lb, 1).await;
    drop(second);
    until_waiting(&rig.lb, 0).await;
    assert_eq!(only_entry(&rig).await.get("reason"), "client_gone");
    drop(first);
    rig.quiet().await;
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let target = Backend::echoing_bytes().await;
    let listener = format!("{TCP}\nclient = {{ idle_timeout = \"200ms\" }}");
    let rig = Rig::with(&[target.addr()], &listener, TCP).await;
    let mut wire = open(&rig).await;
    assert_eq!(end(&mut wire).await, Ok(Vec::new()));
    drop(wire);
    assert_eq!(only_entry(&rig).await.get("reason"), "tunnel_timeout");
    rig.quiet().await;
}

#[tokio::test]
async fn a_connection_outlives_reloads_and_ends_with_the_delay_of_its_target() {
    let (target, other) = (
        Backend::echoing_bytes().await,
        Backend::echoing_bytes().await,
    );
    let mut rig = rig(&[target.addr()], "").await;
    let live = rig.lb.target("app", target.addr()).unwrap();
    let mut wire = open(&rig).await;
    let changes = [
        rig.changed(&[target.addr()], TCP, TCP),
        rig.changed(&[target.addr(), other.addr()], TCP, TCP),
        rig.changed(&[other.addr()], TCP, TCP),
    ];
    for change in &changes {
        rig.lb.reload(change).await.unwrap();
        wire.send("still").await;
        assert_eq!(wire.take(5).await, b"still");
        assert_eq!(live.load().in_flight(), 1);
    }
    drop(open(&rig).await);
    assert_eq!(target.connections(), 1, "new ones go elsewhere");
    assert_eq!(other.connections(), 1);
    live.release();
    wire.ends().await;
    drop(wire);
    let entries = rig.logged(2).await;
    assert_eq!(entries[1].get("reason"), "target_released");
    assert_eq!(live.load().in_flight(), 0);
}

#[tokio::test]
async fn a_connection_goes_on_while_weir_drains_and_then_ends() {
    let target = Backend::echoing_bytes().await;
    let mut rig = rig(&[target.addr()], "").await;
    let name = only_listener(&rig);
    let shorter = rig.changed(&[target.addr()], TCP, TCP);
    let shorter = shorter.replace("drain = \"5s\"", "drain = \"500ms\"");
    rig.lb.reload(&shorter).await.unwrap();
    let (mut wire, admin) = (open(&rig).await, rig.lb.admin_addr());
    let client = async {
        eventually("it drains", || async {
            let ready = Connection::open(admin).await.get("/readyz").await;
            (ready.status == 503)
                .then_some(())
                .ok_or(ready.text().to_owned())
        })
        .await;
        wire.send("still").await;
        assert_eq!(wire.take(5).await, b"still");
        wire.ends().await;
    };
    let (graceful, ()) = tokio::join!(rig.lb.shutdown(), client);
    assert!(graceful, "nothing was cut");
    let entries = until_logged(&name, 1).await;
    assert_eq!(entries[0].get("reason"), "shutting_down");
}

fn only_listener(rig: &Rig) -> String {
    let snapshot = rig.lb.snapshot();
    let mut listeners = snapshot.listeners();
    listeners.next().unwrap().id.to_string()
}

#[tokio::test]
async fn a_listener_may_change_its_protocol() {
    let target = Backend::answering("a").await;
    let mut rig = Rig::forward(&[target.addr()]).await;
    let ask = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut http = rig.wire(ask).await;
    assert_eq!(http.response().await.text(), "a");
    let changed = rig.changed(&[target.addr()], TCP, TCP);
    rig.lb.reload(&changed).await.unwrap();
    let mut tcp = rig.wire(ask).await;
    assert_eq!(tcp.response().await.text(), "a");
    http.send(ask).await;
    assert_eq!(http.response().await.status(), 503);
    http.ends().await;
    let changed = rig.changed(&[target.addr()], "", "");
    rig.lb.reload(&changed).await.unwrap();
    tcp.send(ask).await;
    assert_eq!(tcp.response().await.text(), "a", "what is open goes on");
}
