//! The admin API of the running program: events, reloads and the levels of the log.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::support::{Weir, until, wait_timeout};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config(more: &str) -> String {
    format!(
        r#"
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        {more}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["127.0.0.1:9"]
        health = {{ interval = "1s", timeout = "500ms" }}
        "#
    )
}

/// Sends a request with the token on a connection of its own.
fn send(weir: &Weir, method: &str, path: &str, fields: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(weir.admin_addr()).unwrap();
    stream.set_read_timeout(Some(wait_timeout())).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {length}\r\n{fields}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn change(weir: &Weir, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut answer = String::new();
    let mut stream = send(weir, method, path, "connection: close\r\n", body);
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn events(weir: &Weir, query: &str) -> Vec<Value> {
    let (status, list) = change(weir, "GET", &format!("/api/v1/events?{query}"), "");
    assert_eq!(status, 200, "{list}");
    list["events"].as_array().unwrap().clone()
}

#[test]
fn what_happens_is_in_the_journal_whatever_the_levels_of_the_log() {
    let weir = Weir::starting_with(&config(""), |run| {
        run.env("RUST_LOG", "info");
    });
    let (status, level) = change(&weir, "PUT", "/api/v1/log-level", r#"{"level": "off"}"#);
    assert_eq!((status, level["level"].as_str()), (200, Some("off")));
    let path = "/api/v1/groups/app/targets/127.0.0.1:10";
    assert_eq!(change(&weir, "PUT", path, r#"{"weight": 7}"#).0, 200);
    let registered = events(&weir, "kinds=target&group=app");
    let [event] = registered.as_slice() else {
        panic!("{registered:?}");
    };
    assert_eq!(event["target"], "127.0.0.1:10");
    assert_eq!(event["severity"], "info");
    assert!(
        event["text"].as_str().unwrap().contains("weight 7"),
        "{event}"
    );
    assert!(event["details"]["peer"].is_string(), "{event}");
    let found = || events(&weir, "kinds=health&group=app");
    let unhealthy = until("a failed check", found, |events| !events.is_empty());
    assert_eq!(unhealthy[0]["text"], "target is unhealthy");
    let since = event["sequence"].as_u64().unwrap();
    for later in events(&weir, &format!("since={since}")) {
        assert!(later["sequence"].as_u64().unwrap() > since);
    }
    assert_eq!(weir.lines(&["weight 7"]).len(), 0);
    let (status, problem) = change(&weir, "PUT", "/api/v1/log-level", r#"{"level": "a=b=c"}"#);
    assert_eq!(status, 422, "{problem}");
    let (status, problem) = change(&weir, "GET", "/api/v1/events?kinds=nope", "");
    assert_eq!(status, 400, "{problem}");
}

#[test]
fn a_reload_that_was_asked_for_and_refused_is_shown_with_its_problems() {
    let weir = Weir::start(&config(""));
    std::fs::write(weir.file(), config("acess_log = \"all\"")).unwrap();
    assert_eq!(change(&weir, "POST", "/api/v1/reload", "").0, 202);
    let last = || change(&weir, "GET", "/api/v1/status", "").1["last_reload"].clone();
    let last = until("a refused reload", last, |last| last["accepted"] == false);
    let problem = last["problems"][0].as_str().unwrap();
    assert!(problem.contains("acess_log"), "{last}");
    let refused = events(&weir, "kinds=reload");
    let details = &refused[0]["details"]["problems"];
    assert!(
        details.as_str().unwrap().contains("acess_log"),
        "{refused:?}"
    );
    std::fs::write(weir.file(), config("access_log = \"all\"")).unwrap();
    assert_eq!(change(&weir, "POST", "/api/v1/reload", "").0, 202);
    let last = || change(&weir, "GET", "/api/v1/status", "").1["last_reload"].clone();
    until("an accepted reload", last, |last| last["accepted"] == true);
}

#[test]
fn a_stream_of_events_goes_on_and_ends_with_the_process() {
    let mut weir = Weir::start(&config(""));
    let fields = "accept: text/event-stream\r\nlast-event-id: 0\r\n";
    let mut stream = send(&weir, "GET", "/api/v1/events", fields, "");
    let mut text = String::new();
    let mut read_to = |mark: &str| {
        let mut buffer = [0; 4096];
        while !text.contains(mark) {
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    read_to("id: 1\n");
    let path = "/api/v1/groups/app/targets/127.0.0.1:11";
    assert_eq!(change(&weir, "PUT", path, "").0, 200);
    read_to("127.0.0.1:11");
    weir.signal(rustix::process::Signal::TERM);
    assert_eq!(weir.end(), 0);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}
