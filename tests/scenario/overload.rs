//! More requests than the targets may have: which are served, which wait, which are refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::scenario::support::{
    ADMIN, Backend, Connection, Held, Lb, Refusing, Reply, Rig, answer, ask, eventually,
    until_waiting,
};

/// Targets that answer when the test lets them, and count their concurrent requests.
struct BlockedTargets {
    backends: Vec<Backend>,
    release: Arc<Semaphore>,
    peaks: Vec<Arc<AtomicUsize>>,
}

impl BlockedTargets {
    async fn start(count: usize) -> Self {
        let release = Arc::new(Semaphore::new(0));
        let peaks: Vec<Arc<AtomicUsize>> = (0..count).map(|_| Arc::default()).collect();
        let mut backends = Vec::new();
        for peak in &peaks {
            let (release, peak, running) =
                (release.clone(), peak.clone(), Arc::new(AtomicUsize::new(0)));
            let backend = Backend::with(move |_| {
                let (release, peak, running) = (release.clone(), peak.clone(), running.clone());
                async move {
                    peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _permit = release.acquire().await.unwrap();
                    // Other requests come in meanwhile, if Weir sends them.
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    answer(200, "done")
                }
            });
            backends.push(backend.await);
        }
        Self {
            backends,
            release,
            peaks,
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.backends.iter().map(Backend::addr).collect()
    }

    /// Answers the requests that wait and all later ones, eight at a time.
    fn unblock(&self) {
        self.release.add_permits(8);
    }

    fn requests(&self) -> usize {
        self.backends.iter().map(Backend::requests).sum()
    }

    fn peaks(&self) -> Vec<usize> {
        self.peaks
            .iter()
            .map(|peak| peak.load(Ordering::SeqCst))
            .collect()
    }
}

fn config(targets: &[SocketAddr], group: &str) -> String {
    let targets: Vec<String> = targets.iter().map(|t| format!("\"{t}\"")).collect();
    format!(
        r#"
        {ADMIN}
        workers = 4
        [shutdown]
        lame_duck = "0s"
        drain = "5s"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = [{}]
        health = false
        {group}
        "#,
        targets.join(", ")
    )
}

fn assert_refused(reply: &Reply, reason: &str) {
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(reply.text().contains(reason), "{}", reply.text());
}

#[tokio::test]
async fn no_target_ever_sees_more_than_its_limit_and_the_rest_are_refused_at_once() {
    let targets = BlockedTargets::start(4).await;
    let lb = Lb::start(&config(&targets.addresses(), "max_concurrency = 10")).await;
    let mut replies = ask(lb.addr(), 200);
    // The targets do not answer yet: a response comes from Weir.
    for _ in 0..160 {
        assert_refused(&replies.join_next().await.unwrap().unwrap(), "overloaded");
    }
    // The last of the others may not have reached their targets yet.
    eventually("40 requests on the targets", || async {
        let peaks = targets.peaks();
        if peaks == [10; 4] {
            Ok(())
        } else {
            Err(format!("{peaks:?}"))
        }
    })
    .await;
    targets.unblock();
    let served = replies.join_all().await;
    assert_eq!(
        served.iter().filter(|reply| reply.status == 200).count(),
        40
    );
    // The same with targets that answer at once.
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let addr = lb.addr();
        clients.spawn(async move {
            let mut client = Connection::open(addr).await;
            for _ in 0..10 {
                let reply = client.get("/").await;
                assert!(
                    reply.status == 200 || reply.status == 503,
                    "{}",
                    reply.text()
                );
            }
        });
    }
    clients.join_all().await;
    assert_eq!(targets.peaks(), [10; 4]);
    assert!(targets.requests() > 40);
}

#[tokio::test]
async fn three_times_the_capacity_fills_targets_and_queue_and_the_rest_fail_fast() {
    let targets = BlockedTargets::start(4).await;
    let group = "max_concurrency = 10\nqueue = { length = 40, timeout = \"60s\" }";
    let lb = Lb::start(&config(&targets.addresses(), group)).await;
    let mut replies = ask(lb.addr(), 120);
    for _ in 0..40 {
        assert_refused(&replies.join_next().await.unwrap().unwrap(), "queue_full");
    }
    until_waiting(&lb, 40).await;
    eventually("40 requests on the targets", || async {
        let requests = targets.requests();
        (requests == 40).then_some(()).ok_or(format!("{requests}"))
    })
    .await;
    let labels = ["target_group=\"app\""];
    assert_eq!(lb.metric("weir_queue_waiting", &labels).await, 40);
    targets.unblock();
    for reply in replies.join_all().await {
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "done"));
    }
    assert_eq!(targets.peaks(), [10; 4]);
    assert_eq!(lb.group_status("app").await.waiting, 0);
    assert_eq!(lb.metric("weir_queued_requests_total", &labels).await, 40);
    assert_eq!(
        lb.metric("weir_queue_wait_seconds_count", &labels).await,
        40
    );
}

const ONE_AT_A_TIME: &str = "max_concurrency = 1\nqueue = { length = 3, timeout = \"60s\" }";

/// Sends requests one after another, each when the one before is in the queue.
async fn enqueue(rig: &Rig, paths: &[&'static str]) -> Vec<tokio::task::JoinHandle<Reply>> {
    let mut replies = Vec::new();
    let before = rig.lb.group_status("app").await.waiting;
    for (index, &path) in paths.iter().enumerate() {
        let mut client = rig.connect().await;
        replies.push(tokio::spawn(async move { client.get(path).await }));
        until_waiting(&rig.lb, before + index + 1).await;
    }
    replies
}

/// Sends a request that uses the whole capacity, until the test answers it.
async fn occupy(rig: &Rig, target: &mut Backend) -> (tokio::task::JoinHandle<Reply>, Held) {
    let mut client = rig.connect().await;
    let reply = tokio::spawn(async move { client.get("/first").await });
    (reply, target.next_request().await)
}

#[tokio::test]
async fn the_queue_is_served_in_order_and_the_log_has_the_time_of_each_wait() {
    let mut target = Backend::manual().await;
    let rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    let (first, mut held) = occupy(&rig, &mut target).await;
    let waiting = enqueue(&rig, &["/1", "/2", "/3"]).await;
    assert_refused(&rig.lb.get("/4").await, "queue_full");
    for path in ["/1", "/2", "/3"] {
        held.respond("ok");
        held = target.next_request().await;
        assert_eq!(held.request.uri().path(), path);
    }
    held.respond("ok");
    assert_eq!(first.await.unwrap().status, 200);
    for reply in waiting {
        assert_eq!(reply.await.unwrap().status, 200);
    }
    for entry in rig.logged(5).await {
        let waited = matches!(entry.get("path"), "/1" | "/2" | "/3");
        assert_eq!(!entry.get("queued_ms").is_empty(), waited, "{entry:?}");
    }
    rig.quiet().await;
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_refused_and_leaves_room_for_the_next() {
    for (queue, upstream) in [("30ms", "60s"), ("60s", "30ms")] {
        let mut target = Backend::manual().await;
        let group = format!(
            "max_concurrency = 1\nqueue = {{ length = 3, timeout = \"{queue}\" }}\n\
             upstream = {{ request_timeout = \"{upstream}\" }}"
        );
        let rig = Rig::with(&[target.addr()], "", &group).await;
        let lease = rig.lb.target("app", target.addr()).unwrap().lease();
        let reply = rig.lb.get("/").await;
        assert_refused(&reply, "queue_timeout");
        // Counted when the record has ended, which may be after the client has the response.
        rig.logged(1).await;
        assert_eq!(rig.failures("queue_timeout").await, 1);
        drop(lease);
        if upstream == "60s" {
            let (reply, held) = occupy(&rig, &mut target).await;
            held.respond("ok");
            assert_eq!(reply.await.unwrap().status, 200);
        }
        rig.quiet().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_leaves_the_queue() {
    let mut target = Backend::manual().await;
    let rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    let (first, held) = occupy(&rig, &mut target).await;
    let leaving = rig.wire("GET /leaving HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_waiting(&rig.lb, 1).await;
    let staying = enqueue(&rig, &["/staying"]).await.remove(0);
    drop(leaving);
    until_waiting(&rig.lb, 1).await;
    held.respond("ok");
    let next = target.next_request().await;
    assert_eq!(next.request.uri().path(), "/staying");
    next.respond("ok");
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(staying.await.unwrap().status, 200);
    let entries = rig.logged(3).await;
    let left = entries
        .iter()
        .find(|e| e.get("path") == "/leaving")
        .unwrap();
    assert_eq!(left.get("reason"), "client_gone");
    assert!(!left.get("queued_ms").is_empty());
    rig.quiet().await;
}

#[tokio::test]
async fn a_reload_with_more_capacity_serves_waiting_requests() {
    let mut target = Backend::manual().await;
    let other = Backend::answering("other").await;
    let mut rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    let (first, held) = occupy(&rig, &mut target).await;
    let waiting = enqueue(&rig, &["/1", "/2"]).await;
    // Another target.
    let both = [target.addr(), other.addr()];
    let changed = rig.changed(&both, "", ONE_AT_A_TIME);
    rig.lb.reload(&changed).await.unwrap();
    for reply in waiting {
        assert_eq!(reply.await.unwrap().text(), "other");
    }
    // A larger limit.
    let alone = [target.addr()];
    let changed = rig.changed(&alone, "", ONE_AT_A_TIME);
    rig.lb.reload(&changed).await.unwrap();
    let waiting = enqueue(&rig, &["/3"]).await.remove(0);
    let changed = rig.changed(&alone, "", "max_concurrency = 2");
    rig.lb.reload(&changed).await.unwrap();
    target.next_request().await.respond("third");
    assert_eq!(waiting.await.unwrap().text(), "third");
    held.respond("ok");
    assert_eq!(first.await.unwrap().status, 200);
    rig.quiet().await;
}

#[tokio::test]
async fn a_removed_target_serves_no_waiting_request() {
    let (mut leaving, mut staying) = (Backend::manual().await, Backend::manual().await);
    let both = [leaving.addr(), staying.addr()];
    let mut rig = Rig::with(&both, "", ONE_AT_A_TIME).await;
    let clients = [rig.connect().await, rig.connect().await];
    let first = clients.map(|mut client| tokio::spawn(async move { client.get("/first").await }));
    let (on_leaving, on_staying) = (leaving.next_request().await, staying.next_request().await);
    let waiting = enqueue(&rig, &["/1"]).await.remove(0);
    let changed = rig.changed(&both[1..], "", ONE_AT_A_TIME);
    rig.lb.reload(&changed).await.unwrap();
    on_leaving.respond("ok");
    on_staying.respond("ok");
    staying.next_request().await.respond("here");
    assert_eq!(waiting.await.unwrap().text(), "here");
    assert_eq!(leaving.requests(), 1);
    for reply in first {
        assert_eq!(reply.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn no_request_waits_in_a_group_without_targets() {
    let mut target = Backend::manual().await;
    let mut rig = Rig::with(&[target.addr()], "", ONE_AT_A_TIME).await;
    let (first, held) = occupy(&rig, &mut target).await;
    let waiting = enqueue(&rig, &["/1"]).await.remove(0);
    let gone = format!(
        "{}\n[[target_group.app.targets]]\naddress = \"{}\"\nweight = 0",
        rig.changed(&[], "", ONE_AT_A_TIME)
            .replace("targets = []", ""),
        target.addr(),
    );
    rig.lb.reload(&gone).await.unwrap();
    assert_refused(&waiting.await.unwrap(), "no_target");
    assert_refused(&rig.lb.get("/2").await, "no_target");
    held.respond("ok");
    assert_eq!(first.await.unwrap().status, 200);
    rig.quiet().await;
}

#[tokio::test]
async fn a_request_whose_target_refused_waits_for_another() {
    let mut target = Backend::manual().await;
    let refusing = Refusing::new();
    let rig = Rig::with(&[refusing.addr(), target.addr()], "", ONE_AT_A_TIME).await;
    let (first, held) = occupy(&rig, &mut target).await;
    let waiting = enqueue(&rig, &["/1"]).await.remove(0);
    held.respond("ok");
    let next = target.next_request().await;
    assert_eq!(next.request.uri().path(), "/1");
    next.respond("ok");
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(first.await.unwrap().status, 200);
    rig.quiet().await;
}
