//! The switches that experiments use, and the name in every response.

use std::time::{Duration, Instant};

use crate::new_file;
use crate::process::{Replica, run};

#[test]
fn fail_health_answers_503_while_todos_are_served() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &["--fail-health"]);
    let health = replica.get("/api/v1/health");
    assert_eq!((health.status, health.text("status")), (503, "unavailable"));
    assert!(health.text("reason").contains("--fail-health"));
    assert_eq!(replica.list().len(), 5);
}

#[test]
fn delay_slows_todos_down_and_leaves_health_alone() {
    let (_folder, file) = new_file();
    let delay = Duration::from_secs(2);
    let replica = Replica::start(&file, &["--delay", "2s"]);
    let start = Instant::now();
    assert_eq!(replica.get("/api/v1/health").status, 200);
    let healthy = start.elapsed();
    let start = Instant::now();
    replica.list();
    assert!(start.elapsed() >= delay);
    assert!(healthy < delay, "{healthy:?}");
}

#[test]
fn every_response_carries_the_name_of_its_replica() {
    let (_folder, file) = new_file();
    let named = Replica::start(&file, &["--replica", "todo-3"]);
    for path in ["/api/v1/todos", "/api/v1/health", "/api/v1/todos/0", "/"] {
        assert_eq!(
            named.get(path).header("x-replica"),
            Some("todo-3"),
            "{path}"
        );
    }
    assert_eq!(
        named.line.trim_end(),
        format!(
            "taskoverflow {} (replica todo-3, database {file})",
            named.address
        )
    );
    let unnamed = Replica::start(&file, &[]);
    let address = unnamed.address.to_string();
    assert_eq!(
        unnamed.get("/api/v1/health").header("x-replica"),
        Some(address.as_str())
    );
}

#[test]
fn what_the_command_line_cannot_mean_is_refused() {
    let cases = [
        "--delay=50",
        "--delay=-1s",
        "--replica=a\nb",
        "--replica=",
        "--database=:memory:",
        "--database=mysql://localhost/todos",
        "--port=65536",
    ];
    for case in cases {
        let output = run(&[case]);
        assert_eq!(output.status.code(), Some(2), "{case}");
        let flag = case.split('=').next().unwrap();
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(flag),
            "{case}"
        );
    }
}
