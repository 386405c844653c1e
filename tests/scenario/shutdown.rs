//! The phases of a shutdown: which requests are finished, which are cut, and what clients are
//! told.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::sync::{mpsc, oneshot};
use weir::target::Target;

use crate::scenario::support::{
    ADMIN, Backend, Connection, Held, Lb, Logs, Reply, eventually, soon, streamed,
};

fn config(target: &Backend, lame_duck: &str, drain: &str) -> String {
    format!(
        r#"
        {ADMIN}
        workers = 2
        shutdown = {{ lame_duck = "{lame_duck}", drain = "{drain}" }}

        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"

        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    )
}

fn get() -> Request<Full<Bytes>> {
    Request::get("/slow").body(Full::default()).unwrap()
}

async fn no_leases_are_left(target: &Target) {
    eventually("no leases are left", || async {
        let now = target.load().in_flight();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
}

/// A request on a connection of its own, and whether it got its response.
fn in_background(mut client: Connection) -> tokio::task::JoinHandle<Option<Reply>> {
    tokio::spawn(async move { client.send(get()).await.ok() })
}

/// Waits until the target sees that its response is not waited for any more.
async fn is_dropped_at_the_target(held: &Held, target: &Backend) {
    eventually("the target's request is dropped", || async {
        let gone = held.is_abandoned() || target.open_connections() == 0;
        gone.then_some(()).ok_or("still open".to_owned())
    })
    .await;
}

#[tokio::test]
async fn idle_keep_alive_connections_close() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&target, "0s", "10s")).await;
    let (mut used, unused) = (lb.connect().await, lb.connect().await);
    assert_eq!(used.get("/").await.text(), "a");
    eventually("both connections are there", || async {
        let open = lb.connections();
        (open == 2).then_some(()).ok_or(format!("{open}"))
    })
    .await;
    assert!(lb.shutdown().await);
    eventually("both connections close", || async {
        let closed = (used.is_closed(), unused.is_closed());
        (closed == (true, true))
            .then_some(())
            .ok_or(format!("{closed:?}"))
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_after_a_shutdown() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&target, "0s", "10s")).await;
    let (addr, admin) = (lb.addr(), lb.admin_addr());
    assert!(lb.shutdown().await);
    for addr in [addr, admin] {
        let connected = tokio::net::TcpStream::connect(addr).await;
        let error = connected.map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    eventually("connections to the target close", || async {
        let open = target.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open}"))
    })
    .await;
}

#[tokio::test]
async fn a_long_response_is_finished_within_the_drain_deadline() {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let target = Backend::with(move |_| {
        let receiver = receiver.clone();
        async move { streamed(receiver) }
    })
    .await;
    let lb = Lb::start(&config(&target, "0s", "10s")).await;
    let live = lb.target("app", target.addr()).unwrap();
    let (addr, request) = (lb.addr(), in_background(lb.connect().await));
    sender.send(Bytes::from_static(b"begun ")).await.unwrap();
    eventually("the response has begun", || async {
        (live.load().in_flight() == 1)
            .then_some(())
            .ok_or(String::new())
    })
    .await;
    let finish = async {
        eventually("new connections are refused", || async {
            let refused = tokio::net::TcpStream::connect(addr).await.is_err();
            refused.then_some(()).ok_or("accepted".to_owned())
        })
        .await;
        sender.send(Bytes::from_static(b"middle ")).await.unwrap();
        sender.send(Bytes::from_static(b"end")).await.unwrap();
        drop(sender);
    };
    let (graceful, ()) = tokio::join!(lb.shutdown(), finish);
    assert!(graceful);
    let reply = request.await.unwrap().expect("a whole response");
    assert_eq!(reply.text(), "begun middle end");
    no_leases_are_left(&live).await;
}

#[tokio::test]
async fn a_request_beyond_the_deadline_is_cut_and_the_shutdown_is_not_graceful() {
    let logs = Logs::capture();
    let mut target = Backend::manual().await;
    let lb = Lb::start(&config(&target, "0s", "200ms")).await;
    let live = lb.target("app", target.addr()).unwrap();
    let request = in_background(lb.connect().await);
    let held = target.next_request().await;
    assert!(!lb.shutdown().await);
    assert!(request.await.unwrap().is_none(), "the connection breaks");
    no_leases_are_left(&live).await;
    is_dropped_at_the_target(&held, &target).await;
    assert_eq!(
        logs.lines_with(&["draining for at most", "connections=1"])
            .len(),
        1
    );
    assert_eq!(logs.lines_with(&["closing now", "connections=1"]).len(), 1);
}

#[tokio::test]
async fn a_lame_duck_still_answers_and_closes_each_connection() {
    let mut target = Backend::manual().await;
    let lb = Lb::start(&config(&target, "1h", "10s")).await;
    let (addr, admin) = (lb.addr(), lb.admin_addr());
    let mut kept = lb.connect().await;
    let before = tokio::spawn(async move { (kept.send(get()).await.unwrap(), kept) });
    target.next_request().await.respond("before");
    let (reply, mut kept) = before.await.unwrap();
    assert_eq!(reply.header("connection"), None);

    let (abort, aborted) = oneshot::channel::<()>();
    let requests = async {
        let readyz = || async { Connection::open(admin).await.get("/readyz").await };
        eventually("not ready", || async {
            let status = readyz().await.status;
            (status == 503).then_some(()).ok_or(status.to_string())
        })
        .await;
        // A connection from before and a new one: both are served and then closed.
        let old = tokio::spawn(async move { (kept.send(get()).await.unwrap(), kept) });
        target.next_request().await.respond("old");
        let new = in_background(Connection::open(addr).await);
        target.next_request().await.respond("new");
        let (old, kept) = old.await.unwrap();
        let new = new.await.unwrap().unwrap();
        for (reply, body) in [(old, "old"), (new, "new")] {
            assert_eq!((reply.status.as_u16(), reply.text()), (200, body));
            assert_eq!(reply.header("connection"), Some("close"));
        }
        eventually("the old connection closes", || async {
            kept.is_closed().then_some(()).ok_or("open".to_owned())
        })
        .await;
        let live = Connection::open(admin).await.get("/livez").await;
        assert_eq!(live.status, 200);
        abort.send(()).unwrap();
    };
    let second = async { aborted.await.unwrap() };
    let (_, ()) = tokio::join!(lb.shutdown_unless(second), requests);
}

#[tokio::test]
async fn a_second_signal_closes_at_once() {
    let logs = Logs::capture();
    let mut target = Backend::manual().await;
    let lb = Lb::start(&config(&target, "1h", "1h")).await;
    let live = lb.target("app", target.addr()).unwrap();
    let request = in_background(lb.connect().await);
    let _held = target.next_request().await;
    assert_eq!(live.load().in_flight(), 1);
    assert!(!lb.shutdown_unless(async {}).await);
    assert!(request.await.unwrap().is_none(), "the connection breaks");
    assert_eq!(live.load().in_flight(), 0);
    assert_eq!(logs.lines_with(&["closing now", "connections=1"]).len(), 1);
}

#[tokio::test]
async fn a_second_signal_ends_the_draining_phase_too() {
    let mut target = Backend::manual().await;
    let lb = Lb::start(&config(&target, "0s", "1h")).await;
    let (addr, live) = (lb.addr(), lb.target("app", target.addr()).unwrap());
    let request = in_background(lb.connect().await);
    let _held = target.next_request().await;
    let draining = eventually("draining", || async {
        let refused = tokio::net::TcpStream::connect(addr).await.is_err();
        refused.then_some(()).ok_or("accepted".to_owned())
    });
    assert!(!lb.shutdown_unless(draining).await);
    assert!(request.await.unwrap().is_none(), "the connection breaks");
    assert_eq!(live.load().in_flight(), 0);
}

#[tokio::test]
async fn clients_above_the_connection_limit_are_served_as_others_leave() {
    let mut target = Backend::manual().await;
    let config = config(&target, "0s", "10s");
    let full = config.replace(
        "forward = \"app\"",
        "forward = \"app\"\nmax_connections = 1",
    );
    let lb = Lb::start(&full.replace("workers = 2", "workers = 1")).await;
    let addr = lb.addr();
    let first = in_background(lb.connect().await);
    let held = target.next_request().await;
    let others = [lb.connect().await, lb.connect().await, lb.connect().await];
    let others = others.map(in_background);
    let requests = async {
        eventually("draining", || async {
            let refused = tokio::net::TcpStream::connect(addr).await.is_err();
            refused.then_some(()).ok_or("accepted".to_owned())
        })
        .await;
        held.respond("first");
        for _ in 0..3 {
            target.next_request().await.respond("later");
        }
    };
    let (graceful, ()) = tokio::join!(lb.shutdown(), requests);
    assert!(graceful);
    assert_eq!(first.await.unwrap().unwrap().text(), "first");
    for other in others {
        assert_eq!(other.await.unwrap().expect("an answer").text(), "later");
    }
}

#[tokio::test]
async fn a_request_on_a_listener_that_a_reload_removed_is_waited_for() {
    let mut target = Backend::manual().await;
    let keep = config(&target, "0s", "10s");
    let side = "[[listener]]\nname = \"side\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n";
    let both = keep.replace("[target_group.app]", &format!("{side}\n[target_group.app]"));
    let mut lb = Lb::start(&both).await;
    let (web, side) = (lb.addr_of("web"), lb.addr_of("side"));
    let request = in_background(Connection::open(side).await);
    let held = target.next_request().await;
    lb.reload(&keep).await.unwrap();
    let finish = async {
        eventually("draining", || async {
            let refused = tokio::net::TcpStream::connect(web).await.is_err();
            refused.then_some(()).ok_or("accepted".to_owned())
        })
        .await;
        held.respond("late");
    };
    let (graceful, ()) = tokio::join!(lb.shutdown(), finish);
    assert!(graceful);
    let reply = request.await.unwrap().expect("a whole response");
    assert_eq!(reply.text(), "late");
}

#[tokio::test]
async fn a_request_on_a_removed_listener_is_cut_by_the_deadline_too() {
    let mut target = Backend::manual().await;
    let keep = config(&target, "0s", "200ms");
    let side = "[[listener]]\nname = \"side\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n";
    let both = keep.replace("[target_group.app]", &format!("{side}\n[target_group.app]"));
    let mut lb = Lb::start(&both).await;
    let request = in_background(Connection::open(lb.addr_of("side")).await);
    let _held = target.next_request().await;
    lb.reload(&keep).await.unwrap();
    assert!(!lb.shutdown().await);
    assert!(request.await.unwrap().is_none(), "the connection breaks");
}

#[tokio::test]
async fn a_shutdown_under_load_fails_no_request_of_a_client_that_honours_close() {
    let target = Backend::answering("a").await;
    let lb = Lb::start(&config(&target, "500ms", "10s")).await;
    let (addr, live) = (lb.addr(), lb.target("app", target.addr()).unwrap());
    let users: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Connection::open(addr).await;
                let mut answers = 0_usize;
                loop {
                    let reply = client.send(get()).await.expect("no broken connection");
                    assert_eq!(reply.status, 200);
                    answers += 1;
                    if reply.header("connection") == Some("close") {
                        return answers;
                    }
                }
            })
        })
        .collect();
    eventually("some load", || async {
        let now = target.requests();
        (now > 100).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    assert!(lb.shutdown().await);
    let mut answers = 0;
    for user in users {
        answers += soon("the user", user).await.unwrap();
    }
    assert_eq!(answers, target.requests());
    assert_eq!(live.load().in_flight(), 0);
}
