//! What a new configuration changes, and what it must leave alone.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use http::Request;
use http_body_util::Full;
use weir::model::Health;
use weir::server::ApplyError;

use crate::scenario::support::{ADMIN, Backend, Connection, Lb, Logs, Users, eventually};

/// A listener named `web` at `bind` that forwards to the group `app`.
fn web(bind: &str, target: &Backend, more: &str) -> String {
    format!(
        r#"
        {ADMIN}
        workers = 1

        [[listener]]
        name = "web"
        bind = "{bind}"
        forward = "app"
        {more}

        {}
        "#,
        group("app", &[target], "")
    )
}

fn group(name: &str, targets: &[&Backend], more: &str) -> String {
    let targets = targets.iter().map(|target| target.addr().to_string());
    let targets: Vec<String> = targets.collect();
    format!("[target_group.{name}]\ntargets = {targets:?}\nhealth = false\n{more}\n")
}

/// An address that no other test and no outgoing connection uses.
fn free_addr() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.2:0").unwrap();
    socket.local_addr().unwrap()
}

async fn is_refused(addr: SocketAddr) -> bool {
    let connected = tokio::net::TcpStream::connect(addr).await;
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

const ANY: &str = "127.0.0.1:0";

#[tokio::test]
async fn requests_in_flight_survive_a_reload_that_removes_their_target() {
    let mut old = Backend::manual().await;
    let new = Backend::answering("new").await;
    let mut lb = Lb::start(&web(ANY, &old, "")).await;
    let left = lb.target("app", old.addr()).unwrap();
    let mut client = lb.connect().await;
    let request = tokio::spawn(async move { client.get("/slow").await });
    let held = old.next_request().await;
    assert_eq!(held.request.uri(), "/slow");
    let diff = lb.reload(&web(ANY, &new, "")).await.unwrap();
    assert_eq!(diff.changed, ["target group app"]);
    assert_eq!(lb.get("/").await.text(), "new");
    assert_eq!(left.load().in_flight(), 1);
    held.respond("late");
    assert_eq!(request.await.unwrap().text(), "late");
    eventually("the last lease ends", || async {
        let now = left.load().in_flight();
        (now == 0).then_some(()).ok_or(format!("{now}"))
    })
    .await;
    eventually("the target has drained", || async {
        let listed = lb.target("app", old.addr());
        listed.map_or(Ok(()), |_| Err("still listed".to_owned()))
    })
    .await;
    eventually("the old target's connection closes", || async {
        let open = old.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open}"))
    })
    .await;
}

#[tokio::test]
async fn counters_and_connections_of_unchanged_targets_survive() {
    let target = Backend::answering("a").await;
    let mut lb = Lb::start(&web(ANY, &target, "")).await;
    let live = lb.target("app", target.addr()).unwrap();
    let mut client = lb.connect().await;
    for (n, algorithm) in ["random", "least_connections", "round_robin"]
        .into_iter()
        .enumerate()
    {
        for _ in 0..5 {
            assert_eq!(client.get("/").await.status, 200);
        }
        let config = web(ANY, &target, "max_connections = 50");
        let config = format!("{config}\nalgorithm = \"{algorithm}\"");
        let diff = lb.reload(&config).await.unwrap();
        assert!(diff.changed.contains(&"target group app".to_owned()));
        assert_eq!(live.load().started(), 5 * (n as u64 + 1));
    }
    assert_eq!(client.get("/").await.status, 200);
    assert!(Arc::ptr_eq(
        &live,
        &lb.target("app", target.addr()).unwrap()
    ));
    assert_eq!((target.requests(), target.connections()), (16, 1));
    let address = format!("target=\"{}\"", target.addr());
    let labels = ["listener=\"web\"", "target_group=\"app\"", &address];
    // Counted once the client has the last byte.
    eventually("sixteen are counted", || async {
        let requests = lb.metric("weir_requests_total", &labels).await;
        (requests == 16).then_some(()).ok_or(format!("{requests}"))
    })
    .await;
    let accepted = ["outcome=\"accepted\""];
    assert_eq!(lb.metric("weir_reloads_total", &accepted).await, 3);
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_changes_nothing_at_all() {
    let (old, new) = (
        Backend::answering("old").await,
        Backend::answering("new").await,
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|addr| (addr, taken)).unwrap();
    let free = free_addr();
    let mut lb = Lb::start(&web(ANY, &old, "")).await;
    let version = lb.snapshot().version;
    let more = format!(
        "[[listener]]\nbind = \"{free}\"\nforward = \"app\"\n\
         [[listener]]\nbind = \"{}\"\nforward = \"app\"",
        taken.0
    );
    let error = lb.reload(&web(ANY, &new, &more)).await.unwrap_err();
    assert!(matches!(error, ApplyError::Bind(_)), "{error:?}");
    let expected = format!("cannot listen on {}: Address already in use", taken.0);
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(lb.snapshot().version, version);
    assert_eq!(lb.get("/").await.text(), "old");
    assert!(is_refused(free).await);
    let rejected = ["outcome=\"rejected\""];
    assert_eq!(lb.metric("weir_reloads_total", &rejected).await, 1);

    // Once the address is free the same file works.
    drop(taken.1);
    lb.reload(&web(ANY, &new, &more)).await.unwrap();
    let mut client = Connection::open(taken.0).await;
    assert_eq!(client.get("/").await.text(), "new");
}

#[tokio::test]
async fn an_admin_listener_that_cannot_be_bound_changes_nothing_either() {
    let (old, new) = (
        Backend::answering("old").await,
        Backend::answering("new").await,
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = free_addr();
    let mut lb = Lb::start(&web(ANY, &old, "")).await;
    let admin = lb.admin_addr();
    let more = format!("[[listener]]\nbind = \"{free}\"\nforward = \"app\"");
    let config = web(ANY, &new, &more).replacen(
        "bind = \"127.0.0.1:0\"",
        &format!("bind = \"{}\"", taken.local_addr().unwrap()),
        1,
    );
    let error = lb.reload(&config).await.unwrap_err();
    assert!(matches!(error, ApplyError::Bind(_)), "{error:?}");
    assert_eq!(lb.get("/").await.text(), "old");
    assert_eq!(lb.admin_addr(), admin);
    assert_eq!(lb.admin("/readyz").await.status, 200);
    assert!(is_refused(free).await);
}

#[tokio::test]
async fn a_removed_listener_finishes_its_requests_and_accepts_no_more() {
    let mut target = Backend::manual().await;
    let keep = web(ANY, &target, "");
    let more = "[[listener]]\nname = \"side\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"";
    let mut lb = Lb::start(&web(ANY, &target, more)).await;
    let side = lb.addr_of("side");
    let (mut busy, idle) = (Connection::open(side).await, Connection::open(side).await);
    let request = tokio::spawn(async move {
        let reply = busy.get("/slow").await;
        (reply, busy)
    });
    let held = target.next_request().await;
    let diff = lb.reload(&keep).await.unwrap();
    assert_eq!(diff.removed, ["listener side"]);
    eventually("the idle connection closes", || async {
        let closed = idle.is_closed();
        closed.then_some(()).ok_or("open".to_owned())
    })
    .await;
    eventually("new connections are refused", || async {
        let refused = is_refused(side).await;
        refused.then_some(()).ok_or("accepted".to_owned())
    })
    .await;
    held.respond("late");
    let (reply, busy) = request.await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "late"));
    eventually("the busy connection closes after its response", || async {
        let closed = busy.is_closed();
        closed.then_some(()).ok_or("open".to_owned())
    })
    .await;
    // The other listener is not affected.
    let mut client = Connection::open(lb.addr_of("web")).await;
    let request = tokio::spawn(async move { client.get("/").await });
    target.next_request().await.respond("still here");
    assert_eq!(request.await.unwrap().text(), "still here");
}

#[tokio::test]
async fn the_limits_of_a_listener_change_with_the_next_request() {
    let target = Backend::answering("a").await;
    let mut lb = Lb::start(&web(ANY, &target, "")).await;
    let mut client = lb.connect().await;
    let upload = || {
        Request::post("/")
            .body(Full::from(vec![b'x'; 2000]))
            .unwrap()
    };
    assert_eq!(client.send(upload()).await.unwrap().status, 200);
    let stricter = "client = { max_body = \"1KiB\" }";
    lb.reload(&web(ANY, &target, stricter)).await.unwrap();
    assert_eq!(client.send(upload()).await.unwrap().status, 413);
    lb.reload(&web(ANY, &target, "")).await.unwrap();
    let mut client = lb.connect().await;
    assert_eq!(client.send(upload()).await.unwrap().status, 200);
}

#[tokio::test]
async fn another_number_of_workers_is_refused() {
    let (old, new) = (
        Backend::answering("old").await,
        Backend::answering("new").await,
    );
    let mut lb = Lb::start(&web(ANY, &old, "")).await;
    let config = web(ANY, &new, "").replace("workers = 1", "workers = 2");
    let error = lb.reload(&config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "workers cannot change from 1 to 2 without a restart"
    );
    assert_eq!(lb.get("/").await.text(), "old");
}

#[tokio::test]
async fn groups_come_and_go() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let config = |rule: &str, groups: &str| {
        format!(
            "workers = 1\n[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n{rule}\n{groups}"
        )
    };
    let rule =
        "[[listener.rule]]\npriority = 1\nwhen = { path = \"/b\" }\nthen = { forward = \"side\" }";
    let app = group("app", &[&a], "");
    // The new group comes first in the file, so that every index shifts.
    let both = format!("{}{app}", group("side", &[&b], ""));
    let mut lb = Lb::start(&config("", &app)).await;
    let mut client = lb.connect().await;
    assert_eq!(client.get("/b").await.text(), "a");
    let diff = lb.reload(&config(rule, &both)).await.unwrap();
    assert_eq!(diff.added, ["target group side"]);
    assert_eq!(client.get("/b").await.text(), "b");
    assert_eq!(client.get("/").await.text(), "a");
    assert_eq!(b.open_connections(), 1);
    let diff = lb.reload(&config("", &app)).await.unwrap();
    assert_eq!(diff.removed, ["target group side"]);
    assert_eq!(client.get("/b").await.text(), "a");
    eventually("the pool of the removed group closes", || async {
        let open = b.open_connections();
        (open == 0).then_some(()).ok_or(format!("{open}"))
    })
    .await;
    assert_eq!(a.connections(), 1);
}

#[tokio::test]
async fn the_same_configuration_again_changes_nothing() {
    let target = Backend::answering("a").await;
    let config = web(ANY, &target, "");
    let mut lb = Lb::start(&config).await;
    let (addr, admin) = (lb.addr(), lb.admin_addr());
    let diff = lb.reload(&config).await.unwrap();
    assert_eq!(diff.to_string(), "nothing changed");
    assert_eq!((lb.addr(), lb.admin_addr()), (addr, admin));
    assert_eq!(lb.get("/").await.text(), "a");
}

#[tokio::test]
async fn a_reload_and_a_health_change_at_the_same_time_both_take_effect() {
    let logs = Logs::capture();
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let config = |algorithm: &str| {
        format!(
            r#"
            workers = 1
            [[listener]]
            bind = "127.0.0.1:0"
            forward = "app"
            [target_group.app]
            targets = ["{}", "{}"]
            algorithm = "{algorithm}"
            health = {{ path = "/health", interval = "20ms", timeout = "19ms", healthy = 1, unhealthy = 1 }}
            "#,
            a.addr(),
            b.addr()
        )
    };
    let mut lb = Lb::start(&config("round_robin")).await;
    lb.until_health("app", a.addr(), Health::Healthy).await;
    let live = lb.target("app", b.addr()).unwrap();
    let users = Users::start(lb.addr(), 1);
    for round in 0..20 {
        b.fail_health(round % 2 == 0);
        let wanted = if round % 2 == 0 {
            Health::Unhealthy
        } else {
            Health::Healthy
        };
        // Reloads as fast as possible until the health has changed.
        let algorithms = ["random", "round_robin", "least_connections"];
        let mut algorithms = algorithms.iter().cycle();
        while live.health().now() != wanted {
            let next = algorithms.next().unwrap();
            lb.reload(&config(next)).await.unwrap();
            tokio::task::yield_now().await;
        }
        // Both the health and the algorithm have changed.
        lb.reload(&config("power_of_two_choices")).await.unwrap();
        lb.until_health("app", b.addr(), wanted).await;
        let snapshot = lb.snapshot();
        let running = &snapshot.config.target_groups[0];
        assert_eq!(running.algorithm.name(), "power_of_two_choices");
    }
    assert!(users.stop().await > 0);
    assert!(Arc::ptr_eq(&live, &lb.target("app", b.addr()).unwrap()));
    let target = format!("target={}", b.addr());
    assert!(logs.lines_with(&["target is unhealthy", &target]).len() >= 10);
}

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let (a, b) = (Backend::answering("a").await, Backend::answering("b").await);
    let config = |n: usize| {
        let algorithm = ["round_robin", "random", "least_connections"][n % 3];
        let extra = if n.is_multiple_of(2) {
            ""
        } else {
            "[[listener]]\nname = \"side\"\nbind = \"127.0.0.1:0\"\nforward = \"app\""
        };
        format!(
            "workers = 2\n[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n\
             max_connections = {}\n{extra}\n{}",
            100 + n,
            group("app", &[&a, &b], &format!("algorithm = \"{algorithm}\""))
        )
    };
    let mut lb = Lb::start(&config(0)).await;
    let users = Users::start(lb.addr_of("web"), 4);
    for n in 1..=100 {
        let before = a.requests() + b.requests();
        lb.reload(&config(n)).await.unwrap();
        eventually("requests between reloads", || async {
            let now = a.requests() + b.requests();
            (now > before + 4).then_some(()).ok_or(format!("{now}"))
        })
        .await;
    }
    let answers = users.stop().await;
    assert_eq!(a.requests() + b.requests(), answers);
    assert_eq!(lb.snapshot().config.listeners[0].max_connections, 200);
}
