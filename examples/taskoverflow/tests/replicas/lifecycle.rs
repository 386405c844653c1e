//! Starting, refusing to start, and stopping.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use crate::new_file;
use crate::process::{Replica, Response, eventually, run};

#[test]
fn a_port_in_use_is_one_line_and_exit_code_1() {
    let (_folder, file) = new_file();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["--port", &port, "--database", &file]);
    assert_one_line(&output, &format!("cannot listen on 127.0.0.1:{port}"));
}

#[test]
fn a_database_that_cannot_be_opened_is_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(
        &text,
        "not a database, and long enough that it is not taken for an empty one".repeat(20),
    )
    .unwrap();
    let below_a_file = text.join("todos.db");
    let cases = [
        text.to_str().unwrap(),
        below_a_file.to_str().unwrap(),
        folder.path().to_str().unwrap(),
    ];
    for database in cases {
        let output = run(&["--port", "0", "--database", database]);
        assert_one_line(&output, &format!("cannot open the database {database}"));
    }
    // Port 0 is never listened on.
    let output = run(&[
        "--port",
        "0",
        "--database",
        "postgres://todo:secret@127.0.0.1:0/todos",
    ]);
    assert_one_line(
        &output,
        "cannot open the database postgres://127.0.0.1:0/todos",
    );
}

#[test]
fn terminate_finishes_a_request_and_closes_idle_connections() {
    for signal in ["TERM", "INT"] {
        let (_folder, file) = new_file();
        let replica = Replica::start(&file, &["--delay", "1s"]);
        let mut idle = replica.connect();
        idle.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        read_until(&mut idle, b"{\"status\":\"ok\"}");
        let mut fresh = replica.connect();
        let mut busy = replica.connect();
        // Health is answered on the same thread after the delayed request has begun.
        busy.write_all(b"GET /api/v1/todos HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        assert_eq!(replica.get("/api/v1/health").status, 200);

        replica.signal(signal);
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(fresh.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(Response::read(&mut busy).status, 200);
        assert_eq!(replica.end().code(), Some(0));
    }
}

#[test]
fn a_lame_duck_serves_on_after_the_signal() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &["--lame-duck", "1h"]);
    let mut idle = replica.connect();
    replica.signal("TERM");
    // The signal may arrive after one of them, but not after all.
    for _ in 0..20 {
        assert_eq!(replica.get("/api/v1/todos").status, 200);
    }
    idle.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    read_until(&mut idle, b"{\"status\":\"ok\"}");
    replica.signal("TERM");
    assert_eq!(replica.end().code(), Some(1));

    let replica = Replica::start(&file, &["--lame-duck", "1ms"]);
    replica.signal("TERM");
    assert_eq!(replica.end().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_folder, file) = new_file();
    let replica = Replica::start(&file, &["--delay", "1h"]);
    let mut busy = replica.connect();
    busy.write_all(b"GET /api/v1/todos HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    assert_eq!(replica.get("/api/v1/health").status, 200);
    replica.signal("TERM");
    let mut replica = replica;
    eventually("the port closes", || {
        std::net::TcpStream::connect(replica.address).err()
    });
    assert!(
        replica.process.try_wait().unwrap().is_none(),
        "the request is still being answered"
    );
    replica.signal("TERM");
    assert_eq!(replica.end().code(), Some(1));
}

/// Reads until the bytes received end with `end`.
fn read_until(stream: &mut impl Read, end: &[u8]) {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        received.push(byte[0]);
    }
}

fn assert_one_line(output: &std::process::Output, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
