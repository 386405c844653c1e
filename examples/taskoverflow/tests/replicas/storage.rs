//! One SQLite file under several replicas, and what they say when it goes away.

use std::fs;
use std::path::Path;

use crate::new_file;
use crate::process::{Replica, Response, Starting};

#[test]
fn replicas_that_start_together_seed_once_and_share_their_todos() {
    for _ in 0..5 {
        let (_folder, file) = new_file();
        let starting: Vec<_> = (0..4).map(|_| Replica::starting(&file, &[])).collect();
        let replicas: Vec<_> = starting.into_iter().map(Starting::started).collect();
        let seeds = replicas[0].list();
        assert_eq!(seeds.len(), 5);
        for replica in &replicas {
            assert_eq!(replica.list(), seeds);
        }
        let created = replicas[3].json("POST", "/api/v1/todos", r#"{"title":"shared"}"#);
        assert_eq!(created.status, 201, "{}", created.body);
        assert!(replicas[0].list().contains(&created.body));
    }
}

#[test]
fn an_emptied_table_is_not_seeded_again() {
    let (_folder, file) = new_file();
    let first = Replica::start(&file, &[]);
    for todo in first.list() {
        assert_eq!(
            first
                .json("DELETE", &format!("/api/v1/todos/{}", todo["id"]), "")
                .status,
            200
        );
    }
    assert!(Replica::start(&file, &[]).list().is_empty());
}

#[test]
fn todos_and_their_ids_survive_a_restart() {
    let (_folder, file) = new_file();
    let first = Replica::start(&file, &[]);
    let created = first.json("POST", "/api/v1/todos", r#"{"title":"kept"}"#);
    let deleted = first.json("POST", "/api/v1/todos", r#"{"title":"deleted"}"#);
    assert_eq!(
        first
            .json(
                "DELETE",
                &format!("/api/v1/todos/{}", deleted.body["id"]),
                ""
            )
            .status,
        200
    );
    drop(first); // killed, as a crash would
    let second = Replica::start(&file, &[]);
    assert!(second.list().contains(&created.body));
    let next = second.json("POST", "/api/v1/todos", r#"{"title":"next"}"#);
    assert!(next.body["id"].as_i64() > deleted.body["id"].as_i64());
}

#[test]
fn a_deleted_file_makes_health_and_todos_answer_503_while_the_port_stays_open() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    assert_eq!(replica.get("/api/v1/health").status, 200);
    fs::remove_file(&file).unwrap();
    assert_unavailable(&replica, "No such file");
}

#[test]
fn a_deleted_folder_makes_health_and_todos_answer_503() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    fs::remove_dir_all(Path::new(&file).parent().unwrap()).unwrap();
    assert_unavailable(&replica, "No such file");
}

#[test]
fn a_file_that_is_put_back_is_served_again() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    let todos = replica.list();
    let aside = format!("{file}.aside");
    fs::rename(&file, &aside).unwrap();
    assert_unavailable(&replica, "No such file");
    fs::rename(&aside, &file).unwrap();
    assert_eq!(replica.get("/api/v1/health").status, 200);
    assert_eq!(replica.list(), todos);
}

#[test]
fn a_new_replica_starts_afresh_where_the_file_was_deleted_and_the_old_one_stays_out() {
    let (_folder, file) = new_file();
    let old = Replica::start(&file, &[]);
    fs::remove_file(&file).unwrap();
    let new = Replica::start(&file, &[]);
    assert_eq!(new.list().len(), 5);
    assert_eq!(new.get("/api/v1/health").status, 200);
    assert_unavailable(&old, "another file");
    // The old replica's end must not take the new one's write-ahead log with it.
    old.signal("TERM");
    assert_eq!(old.end().code(), Some(0));
    let created = new.json("POST", "/api/v1/todos", r#"{"title":"after"}"#);
    assert!(Replica::start(&file, &[]).list().contains(&created.body));
}

#[test]
fn an_emptied_file_makes_health_and_todos_answer_503() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_unavailable(&replica, "emptied");
}

fn assert_unavailable(replica: &Replica, reason: &str) {
    let health = replica.get("/api/v1/health");
    assert_eq!((health.status, health.text("status")), (503, "unavailable"));
    let todos = [
        replica.get("/api/v1/todos"),
        replica.get("/api/v1/todos/1"),
        replica.json("POST", "/api/v1/todos", r#"{"title":"lost"}"#),
        replica.json("PUT", "/api/v1/todos/1", "{}"),
        replica.json("DELETE", "/api/v1/todos/1", ""),
    ];
    for response in todos.iter().chain([&health]) {
        assert_eq!(response.status, 503, "{}", response.body);
        assert_reason(response, reason);
    }
}

fn assert_reason(response: &Response, reason: &str) {
    assert!(
        response.text("reason").contains(reason),
        "{}",
        response.body
    );
}
