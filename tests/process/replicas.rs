//! Replicas that Weir runs itself: TaskOverflow, and commands that fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::support::{Client, Users, Weir, eventually, exists, taskoverflow};

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

/// How often each replica answered, by what its `x-replica` says.
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

/// Waits until so many targets are healthy and there are no others.
fn until_healthy(weir: &Weir, count: usize) {
    eventually(&format!("{count} healthy targets"), || {
        let targets = weir.targets("todo");
        let healthy = targets.iter().filter(|t| t["state"] == "healthy").count();
        if (targets.len(), healthy) == (count, count) {
            Ok(())
        } else {
            Err(format!("{healthy} of {}", targets.len()))
        }
    });
}

fn until_gone(pids: &[u32]) {
    eventually("the replicas are gone", || {
        let left: Vec<_> = pids.iter().filter(|pid| exists(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Done when, 1.
#[test]
fn four_replicas_share_one_database_and_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("todos.db");
    let mut weir = Weir::start(&todo(4, database.to_str().unwrap()));
    // Whoever is told where Weir listens can ask at once.
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

/// Done when, 2.
#[test]
fn a_killed_replica_is_replaced_and_its_successor_gets_requests() {
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
    weir.line(&["WARN", "replica died, starting another", "signal: 9"]);
    eventually("the dead replica is no target", || {
        let targets = weir.targets("todo");
        let known = targets.iter().filter(|target| {
            let address = target["address"].as_str().unwrap();
            before.contains_key(address)
        });
        match known.count() {
            3 => Ok(()),
            n => Err(n.to_string()),
        }
    });
    let until_out = failed.load(Ordering::SeqCst);
    until_healthy(&weir, 4);
    assert!(users.stop() > 0);
    let failed = failed.load(Ordering::SeqCst);
    println!("{failed} requests failed when a replica was killed");
    // Each user may have had one on the way.
    assert!(failed <= until_out + 2, "{failed} {until_out}");
    let after = shares(&weir, 40);
    assert_eq!(after.len(), 4, "{after:?}");
    assert!(after.values().all(|share| *share == 10), "{after:?}");
    let new: Vec<_> = after.keys().filter(|n| !before.contains_key(*n)).collect();
    assert_eq!(new.len(), 1, "{before:?} {after:?}");
    assert!(!weir.children().contains(&victim));
}

/// One replica over a database of its own, and where it answers. It is run by a Weir of
/// its own, so that nothing outlives the test.
fn replica(database: &Path) -> (Weir, String) {
    let weir = Weir::start(&todo(1, database.to_str().unwrap()));
    let address = weir.targets("todo")[0]["address"].clone();
    (weir, address.as_str().unwrap().to_owned())
}

/// The zombie, with the real service: its database file is deleted under it.
#[test]
fn a_replica_whose_database_vanished_is_out_by_http_and_in_by_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let (_well, well_at) = replica(&folder.path().join("good.db"));
    let (_zombie, zombie_at) = replica(&folder.path().join("bad.db"));
    let config = |health: &str| {
        format!(
            r#"
            workers = 1
            admin = {{ bind = "127.0.0.1:0" }}
            [[listener]]
            bind = "127.0.0.1:0"
            forward = "todo"
            [target_group.todo]
            targets = ["{well_at}", "{zombie_at}"]
            health = {{ {health}, interval = "500ms", timeout = "490ms", healthy = 2, unhealthy = 2 }}
            "#
        )
    };
    let asking = Weir::start(&config("path = \"/api/v1/health\""));
    let knocking = Weir::start(&config("type = \"tcp\""));
    let failures = |weir: &Weir| {
        let mut client = Client::connect(weir.addr());
        let answers = (0..20).map(|_| client.get("/api/v1/todos").unwrap().status);
        answers.filter(|status| *status != 200).count()
    };
    assert_eq!((failures(&asking), failures(&knocking)), (0, 0));

    for file in ["bad.db", "bad.db-wal", "bad.db-shm"] {
        // The last two exist while the database is open, or do not.
        let _ = std::fs::remove_file(folder.path().join(file));
    }
    asking.line(&[
        "target is unhealthy",
        &zombie_at,
        "Target.ResponseCodeMismatch",
    ]);
    eventually("the zombie is out", || {
        let failed = failures(&asking);
        if failed == 0 {
            Ok(())
        } else {
            Err(failed.to_string())
        }
    });
    assert_eq!((failures(&asking), failures(&knocking)), (0, 10));
    assert!(
        knocking
            .targets("todo")
            .iter()
            .all(|t| t["state"] == "healthy")
    );
}

#[test]
fn replicas_that_crash_at_once_are_tried_ever_more_slowly_and_quoted() {
    let script = "echo no database >&2; exit 3";
    let started = Instant::now();
    let weir = Weir::starting(&group(&["sh", "-c", script, "{port}"], 1));
    weir.nth_line(4, &["replica died, starting another", "exit status: 3"]);
    let elapsed = started.elapsed();
    // 100, 200 and 400 milliseconds lie between the first four.
    assert!(elapsed >= Duration::from_millis(700), "{elapsed:?}");
    let deaths = weir.lines(&["replica died"]).len();
    assert!(deaths <= 5, "{deaths} deaths in {elapsed:?}");
    // The same last words are not repeated.
    assert_eq!(weir.lines(&["it said: no database"]).len(), 1);
    // It serves all the same, and says that nobody is there.
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
    // The next attempts come after 100, 300 and 700 milliseconds, the end of the wait
    // for first checks after ten seconds.
    weir.line(&["listener opens without a target group"]);
    assert_eq!(weir.lines(&["cannot start a replica"]).len(), 1);
}

#[test]
fn a_signal_while_replicas_start_leaves_none() {
    let mut weir = Weir::starting(&group(&["sleep", "1000{port}"], 3));
    let pids = eventually("three processes", || {
        let pids = weir.children();
        if pids.len() == 3 {
            Ok(pids)
        } else {
            Err(format!("{pids:?}"))
        }
    });
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    until_gone(&pids);
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
    until_gone(&pids);
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
    assert_eq!(weir.end(), 0, "nobody had a request to lose");
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
    eventually("one process", || {
        let pids = weir.children();
        if pids.len() == 1 {
            Ok(())
        } else {
            Err(format!("{pids:?}"))
        }
    });
    assert!(users.stop() > 0);
}
