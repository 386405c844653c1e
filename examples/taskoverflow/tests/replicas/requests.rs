//! Todos over HTTP, legal requests and others.

use serde_json::{Value, json};

use crate::new_file;
use crate::process::Replica;

#[test]
fn a_todo_is_created_read_changed_and_deleted() {
    let (_folder, file) = new_file();
    crud(&Replica::start(&file, &[]));
}

/// One todo from creation to deletion; the PostgreSQL tests run it too.
pub(crate) fn crud(replica: &Replica) {
    let sent = r#"{"title":"Buy milk","description":"two litres","deadline_at":"2030-01-01T10:00:00+10:00"}"#;
    let created = replica.json("POST", "/api/v1/todos", sent);
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.body["title"], "Buy milk");
    assert_eq!(created.body["completed"], false);
    assert_eq!(created.body["deadline_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(created.body["created_at"], created.body["updated_at"]);
    let path = format!("/api/v1/todos/{}", created.body["id"]);
    assert_eq!(created.header("location"), Some(path.as_str()));
    assert_eq!(replica.get(&path).body, created.body);
    assert!(replica.list().contains(&created.body));

    let changed = replica.json("PUT", &path, r#"{"completed":true,"deadline_at":null}"#);
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.body["completed"], true);
    assert_eq!(changed.body["deadline_at"], Value::Null);
    assert_eq!(changed.body["title"], "Buy milk");
    assert_eq!(changed.body["description"], "two litres");
    assert!(changed.text("updated_at") >= changed.text("created_at"));
    assert_eq!(replica.get(&path).body, changed.body);

    let deleted = replica.json("DELETE", &path, "");
    assert_eq!((deleted.status, &deleted.body), (200, &changed.body));
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(replica.json(method, &path, "{}").status, 404, "{method}");
    }
}

#[test]
fn a_list_is_filtered_and_limited() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    let all = replica.list();
    assert!(all.len() > 2);
    for completed in [true, false] {
        let expected: Vec<_> = all
            .iter()
            .filter(|todo| todo["completed"] == completed)
            .cloned()
            .collect();
        assert!(!expected.is_empty());
        let filtered = replica.get(&format!("/api/v1/todos?completed={completed}"));
        assert_eq!(filtered.body, json!(expected));
    }
    assert_eq!(
        replica.get("/api/v1/todos?limit=2&unknown=1").body,
        json!(all[..2])
    );
}

#[test]
fn every_bad_request_gets_its_status_and_a_json_error() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    let before = replica.list();
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(201));
    let cases: [(&str, &str, &str, u16); 16] = [
        ("POST", "/api/v1/todos", "", 400),
        ("POST", "/api/v1/todos", r#"{"title":"#, 400),
        ("POST", "/api/v1/todos", "{}", 422),
        ("POST", "/api/v1/todos", r#"{"title":" "}"#, 422),
        ("POST", "/api/v1/todos", r#"{"title":7}"#, 422),
        ("POST", "/api/v1/todos", &long, 422),
        ("POST", "/api/v1/todos", r#"{"title":"a\u0000b"}"#, 422),
        ("POST", "/api/v1/todos", r#"{"title":"a","owner":"b"}"#, 422),
        (
            "POST",
            "/api/v1/todos",
            r#"{"title":"a","deadline_at":"tomorrow"}"#,
            422,
        ),
        ("PUT", "/api/v1/todos/1", r#"{"title":null}"#, 422),
        ("PUT", "/api/v1/todos/1", r#"{"completed":"yes"}"#, 422),
        ("GET", "/api/v1/todos/one", "", 400),
        ("GET", "/api/v1/todos?limit=0", "", 400),
        ("GET", "/api/v1/todos?completed=perhaps", "", 400),
        ("GET", "/api/v2/todos", "", 404),
        ("PATCH", "/api/v1/todos", "", 405),
    ];
    for (method, path, body, status) in cases {
        let response = replica.json(method, path, body);
        assert_eq!(
            response.status, status,
            "{method} {path} {body}: {}",
            response.body
        );
        assert!(!response.text("error").is_empty(), "{method} {path} {body}");
        assert!(
            response.header("x-replica").is_some(),
            "{method} {path} {body}"
        );
    }
    assert_eq!(replica.list(), before);
}

#[test]
fn a_body_that_is_not_json_or_too_large_is_refused() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &[]);
    let form = replica.send(
        "POST",
        "/api/v1/todos",
        &[("content-type", "text/plain")],
        br#"{"title":"a"}"#,
    );
    assert_eq!(form.status, 415);
    let large = format!(
        r#"{{"title":"a","description":"{}"}}"#,
        "x".repeat(64 * 1024)
    );
    let large = replica.json("POST", "/api/v1/todos", &large);
    assert_eq!(large.status, 413);
    assert!(!large.text("error").is_empty());
}
