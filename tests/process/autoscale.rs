//! TaskOverflow replicas that Weir runs and scales with the load.

use std::collections::BTreeMap;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::support::{Client, Users, Weir, taskoverflow, until};

/// A group of TaskOverflow replicas that begins with the minimum; `scaling` is its table.
fn config(folder: &TempDir, scaling: &str) -> String {
    let database = folder.path().join("todos.db");
    let program = taskoverflow().to_str().unwrap();
    let database = database.to_str().unwrap();
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        health = {{ path = "/api/v1/health", interval = "500ms", timeout = "490ms" }}
        [target_group.todo.replicas]
        command = ["{program}", "--port", "{{port}}", "--database", "{database}", "--delay", "20ms"]
        [target_group.todo.autoscaling]
        {scaling}
        "#
    )
}

/// The desired count, and the number of targets in service.
fn counts(weir: &Weir) -> (u64, usize) {
    let groups = weir.autoscaling();
    let desired = groups["target_groups"][0]["desired"].as_u64().unwrap();
    let targets = weir.targets("todo");
    let in_service = targets
        .iter()
        .filter(|target| target["state"] == "healthy" && target["registration"] == "active");
    (desired, in_service.count())
}

fn until_counts(weir: &Weir, wanted: (u64, usize), what: &str) {
    until(what, || counts(weir), |now| *now == wanted);
}

#[test]
fn each_request_of_a_burst_without_replicas_is_answered() {
    let folder = TempDir::new().unwrap();
    let scaling = r#"
        min = 0
        max = 2
        in_periods = 3
        in_cooldown = "1s"
        target_tracking = [{ metric = "in_flight_per_target", target = 1000 }]
    "#;
    let weir = Weir::start(&config(&folder, scaling));
    for round in 0..2 {
        assert_eq!(counts(&weir), (0, 0), "round {round}");
        let addr = weir.addr();
        let request = || thread::spawn(move || Client::connect(addr).get("/api/v1/todos"));
        let clients: Vec<_> = (0..100).map(|_| request()).collect();
        let mut answers = BTreeMap::new();
        for client in clients {
            let reply = client.join().unwrap().expect("an answer");
            *answers.entry(reply.status).or_insert(0) += 1;
        }
        assert_eq!(answers, BTreeMap::from([(200, 100)]), "round {round}");
        until_counts(&weir, (0, 0), "no replica without requests");
    }
}

#[test]
fn replicas_follow_the_load_and_no_request_is_lost() {
    let folder = TempDir::new().unwrap();
    let scaling = r#"
        min = 1
        max = 3
        in_periods = 3
        in_cooldown = "1s"
        out_cooldown = "1s"
        warm_up = "1s"
        target_tracking = [{ metric = "in_flight_per_target", target = 3 }]
    "#;
    let weir = Weir::start(&config(&folder, scaling));
    assert_eq!(counts(&weir), (1, 1));
    let few = Users::start(weir.addr(), 1, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200);
    });
    let many = Users::start(weir.addr(), 16, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200);
    });
    until_counts(&weir, (3, 3), "three replicas under load");
    assert!(many.stop() > 0);
    until_counts(&weir, (1, 1), "one replica after it");
    assert!(few.stop() > 0);
    let group = weir.autoscaling()["target_groups"][0].take();
    let decisions: Vec<_> = group["last"].as_array().unwrap().iter().collect();
    for outcome in ["scale_out", "scale_in"] {
        let of_that_kind = |entry: &&&Value| entry["decision"]["outcome"] == outcome;
        let decision = &decisions.iter().find(of_that_kind).expect(outcome)["decision"];
        let formula = decision["opinions"][0]["formula"].as_str().unwrap();
        assert!(formula.starts_with("ceil("), "{outcome}: {formula}");
    }
}
