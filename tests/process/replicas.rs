//! Replicas that Weir runs itself: TaskOverflow, and commands that fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::support::{Client, Users, Weir, exists, taskoverflow, until, until_gone};

/// A group of TaskOverflow replicas over one database file in `folder`.
fn todo(count: usize, database: &str) -> String {
    group(
        &[
            taskoverflow().to_str().unwrap(),
            "--port",
            "{port}",
            "--database",
            database,
        ],
        count,
    )
}

fn group(command: &[&str], count: usize) -> String {
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        health = {{ path = "/api/v1/health", interval = "500ms", timeout = "490ms", healthy = 2, unhealthy = 2 }}
        replicas = {{ command = {command:?}, count = {count} }}
        "#
    )
}

/// How many requests each replica answered, by its `x-replica` field.
fn shares(weir: &Weir, requests: usize) -> BTreeMap<String, usize> {
    let mut client = Client::connect(weir.addr());
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let reply = client.get("/api/v1/todos").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        let replica = reply.header("x-replica").unwrap().to_owned();
        *shares.entry(replica).or_default() += 1;
    }
    shares
}

/// Waits until there are exactly so many targets, all of them healthy.
fn until_healthy(weir: &Weir, count: usize) {
    until(
        &format!("{count} healthy targets"),
        || {
            let targets = weir.targets("todo");
            let healthy = targets.iter().filter(|t| t["state"] == "healthy").count();
            (targets.len(), healthy)
        },
        |counts| *counts == (count, count),
    );
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn four_replicas_share_one_database_and_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let mut weir = Weir::start(&todo(4, database.to_str().unwrap()));
    // As soon as Weir logs its address it answers.
    let shares = shares(&weir, 40);
    assert_eq!(shares.len(), 4, "{shares:?}");
    assert!(shares.values().all(|share| *share == 10), "{shares:?}");
    weir.line(&["target group todo: 4 targets, 4 healthy, round_robin"]);
    let pids = weir.children();
    assert_eq!(pids.len(), 4);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    // Reaped before Weir ended, not after.
    assert!(!pids.iter().any(|pid| exists(*pid)));
}

/// TaskOverflow speaks HTTP/2 to what begins with it; warm-up and checks do so too.
#[test]
fn replicas_that_speak_http_2_share_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let config = todo(2, database.to_str().unwrap())
        .replace("health = {", "protocol = \"http2\"\n        health = {")
        .replace(
            "count = 2",
            "count = 2, warm_up = { path = \"/api/v1/todos\", requests = 2 }",
        );
    let weir = Weir::start(&config);
    let shares = shares(&weir, 40);
    assert_eq!(shares.len(), 2, "{shares:?}");
    assert!(shares.values().all(|share| *share == 20), "{shares:?}");
    until_healthy(&weir, 2);
}

#[test]
fn a_killed_replica_is_restarted_and_gets_requests_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let weir = Weir::start(&todo(4, database.to_str().unwrap()));
    let before = shares(&weir, 8);
    let failed = Arc::new(AtomicUsize::new(0));
    let failures = Arc::clone(&failed);
    let users = Users::start(weir.addr(), 2, "/api/v1/todos", move |reply| {
        failures.fetch_add(usize::from(reply.status != 200), Ordering::SeqCst);
    });
    let victim = weir.children()[0];
    kill(victim, Signal::KILL);
    weir.line(&["WARN", "replica exited, restarting in", "signal: 9"]);
    let known_targets = || {
        let targets = weir.targets("todo");
        let known = targets
            .iter()
            .filter(|target| before.contains_key(target["address"].as_str().unwrap()));
        known.count()
    };
    until("the killed replica is not a target", known_targets, |n| {
        *n == 3
    });
    let until_out = failed.load(Ordering::SeqCst);
    until_healthy(&weir, 4);
    assert!(users.stop() > 0);
    let failed = failed.load(Ordering::SeqCst);
    println!("{failed} requests failed when a replica was killed");
    // Each user may have had one request in flight.
    assert!(failed <= until_out + 2, "{failed} {until_out}");
    let after = shares(&weir, 40);
    assert_eq!(after.len(), 4, "{after:?}");
    assert!(after.values().all(|share| *share == 10), "{after:?}");
    let new: Vec<_> = after.keys().filter(|n| !before.contains_key(*n)).collect();
    assert_eq!(new.len(), 1, "{before:?} {after:?}");
    assert!(!weir.children().contains(&victim));
}

/// One replica over a database of its own, and its address. A Weir of its own runs it, so that it
/// ends with the test.
fn replica(database: &Path) -> (Weir, String) {
    let weir = Weir::start(&todo(1, database.to_str().unwrap()));
    let address = weir.targets("todo")[0]["address"].clone();
    (weir, address.as_str().unwrap().to_owned())
}

/// With the real service: the database file of one replica is deleted while it runs.
#[test]
fn a_replica_without_its_database_is_out_by_http_and_in_by_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let (_good, good_at) = replica(&folder.path().join("good.db"));
    let (_broken, broken_at) = replica(&folder.path().join("bad.db"));
    let config = |health: &str| {
        format!(
            r#"
            workers = 1
            admin = {{ bind = "127.0.0.1:0" }}
            [[listener]]
            bind = "127.0.0.1:0"
            forward = "todo"
            [target_group.todo]
            targets = ["{good_at}", "{broken_at}"]
            health = {{ {health}, interval = "500ms", timeout = "490ms", healthy = 2, unhealthy = 2 }}
            "#
        )
    };
    let http = Weir::start(&config("path = \"/api/v1/health\""));
    let tcp = Weir::start(&config("type = \"tcp\""));
    let failures = |weir: &Weir| {
        let mut client = Client::connect(weir.addr());
        let answers = (0..20).map(|_| client.get("/api/v1/todos").unwrap().status);
        answers.filter(|status| *status != 200).count()
    };
    assert_eq!((failures(&http), failures(&tcp)), (0, 0));

    for file in ["bad.db", "bad.db-wal", "bad.db-shm"] {
        // The last two need not exist while the database is open.
        let _ = std::fs::remove_file(folder.path().join(file));
    }
    http.line(&[
        "target is unhealthy",
        &broken_at,
        "Target.ResponseCodeMismatch",
    ]);
    until(
        "the broken replica gets no requests",
        || failures(&http),
        |failed| *failed == 0,
    );
    assert_eq!((failures(&http), failures(&tcp)), (0, 10));
    assert!(tcp.targets("todo").iter().all(|t| t["state"] == "healthy"));
}

#[test]
fn replicas_that_exit_at_once_are_restarted_more_and_more_slowly_and_quoted() {
    let script = "echo no database >&2; exit 3";
    let started = Instant::now();
    let weir = Weir::starting(&group(&["sh", "-c", script, "{port}"], 1));
    weir.nth_line(4, &["replica exited, restarting in", "exit status: 3"]);
    let elapsed = started.elapsed();
    // 100, 200 and 400 milliseconds lie between the first four.
    assert!(elapsed >= Duration::from_millis(700), "{elapsed:?}");
    let exits = weir.lines(&["replica exited"]).len();
    assert!(exits <= 5, "{exits} exits in {elapsed:?}");
    // The same last lines are not repeated.
    assert_eq!(
        weir.lines(&["last output of the replica: no database"])
            .len(),
        1
    );
    // Weir serves all the same, and answers that there is no target.
    let reply = weir.get("/");
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert_eq!(reply.header("retry-after"), Some("1"));
    weir.line(&["listener opens without a target group"]);
}

#[test]
fn a_command_that_does_not_exist_is_named_once() {
    let weir = Weir::starting(&group(&["/no/such/program", "{port}"], 1));
    weir.line(&[
        "ERROR",
        "cannot start a replica",
        "command `/no/such/program` not found",
    ]);
    // The next attempts come after 100, 300 and 700 milliseconds; the listener opens after ten
    // seconds.
    weir.line(&["listener opens without a target group"]);
    assert_eq!(weir.lines(&["cannot start a replica"]).len(), 1);
}

#[test]
fn a_signal_while_replicas_start_leaves_none() {
    let mut weir = Weir::starting(&group(&["sleep", "1000{port}"], 3));
    let pids = until(
        "three processes",
        || weir.children(),
        |pids| pids.len() == 3,
    );
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    until_gone(&pids, exists);
}

#[test]
fn sigkill_leaves_no_orphan() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let mut weir = Weir::start(&todo(4, database.to_str().unwrap()));
    let pids = weir.children();
    assert_eq!(pids.len(), 4);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids, exists);
}

#[test]
fn a_second_signal_leaves_no_replica_either() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let config =
        todo(2, database.to_str().unwrap()).replace("lame_duck = \"0s\"", "lame_duck = \"1h\"");
    let mut weir = Weir::start(&config);
    let pids = weir.children();
    assert_eq!(pids.len(), 2);
    weir.signal(Signal::TERM);
    weir.line(&["lame duck"]);
    assert!(pids.iter().all(|pid| exists(*pid)));
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0, "no request was in flight");
    assert!(!pids.iter().any(|pid| exists(*pid)));
}

#[test]
fn another_count_starts_and_stops_replicas_without_failing_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let database = database.to_str().unwrap();
    let weir = Weir::start(&todo(2, database));
    let users = Users::start(weir.addr(), 1, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    let first = weir.children();
    weir.replace(&todo(4, database));
    until_healthy(&weir, 4);
    assert!(first.iter().all(|pid| weir.children().contains(pid)));
    weir.replace(&todo(1, database));
    until_healthy(&weir, 1);
    until("one process", || weir.children(), |pids| pids.len() == 1);
    assert!(users.stop() > 0);
}
