//! The admin API of the running program: events, reloads and the levels of the log.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tempfile::TempDir;

use super::support::{Client, Target, Users, Weir, taskoverflow, until, wait_timeout};

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

#[test]
fn a_group_in_maintenance_answers_503_until_it_is_ended_whatever_is_reloaded() {
    let target = Target::named("app");
    let config =
        |more: &str| config(more).replace("127.0.0.1:9\"", &format!("{}\"", target.addr()));
    let weir = Weir::start(&config(""));
    assert_eq!(weir.get("/").body, "app");
    let path = "/api/v1/groups/app/maintenance";
    let body = r#"{"enabled": true, "retry_after": 300}"#;
    assert_eq!(change(&weir, "PUT", path, body).0, 200);
    let refused = weir.get("/");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("300"));
    assert!(refused.body.contains("maintenance"), "{}", refused.body);
    weir.line(&["reason=\"maintenance\"", "group=\"app\""]);
    weir.replace(&config("").replace("\"1s\"", "\"2s\""));
    weir.line(&["configuration loaded: changed target group app"]);
    assert_eq!(weir.get("/").status, 503);
    let checks = || weir.targets("app")[0]["checks"].as_u64().unwrap();
    let before = checks();
    until("another check", checks, |now| *now > before);
    let page = Client::connect(weir.admin_addr())
        .get("/metrics")
        .unwrap()
        .body;
    let failures = "weir_request_failures_total{target_group=\"app\",reason=\"maintenance\"} 2";
    assert!(page.contains(failures), "{page}");
    assert_eq!(change(&weir, "DELETE", path, "").0, 200);
    assert_eq!(weir.get("/").body, "app");
    let told = events(&weir, "kinds=admin&group=app");
    assert_eq!(told.len(), 2, "{told:?}");
}

/// Two replicas of TaskOverflow.
fn replicas(folder: &TempDir, more: &str) -> String {
    let database = folder.path().join("todos.db");
    let (program, database) = (taskoverflow().display(), database.display());
    format!(
        r#"
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        health = {{ path = "/api/v1/health", interval = "500ms", timeout = "490ms" }}
        [target_group.todo.replicas]
        command = ["{program}", "--port", "{{port}}", "--database", "{database}"]
        {more}
        "#
    )
}

/// The group's own part of the status.
fn group(weir: &Weir) -> Value {
    change(weir, "GET", "/api/v1/groups/todo", "").1
}

/// The numbers of the replicas, and of those in service.
fn in_service(weir: &Weir) -> (Vec<u64>, usize) {
    let group = group(weir);
    let replicas = group["replicas"].as_array().unwrap().iter();
    let targets = group["targets"].as_array().unwrap().iter();
    let healthy =
        targets.filter(|one| one["state"] == "healthy" && one["registration"] == "active");
    let ids = replicas.map(|one| one["id"].as_u64().unwrap());
    (ids.collect(), healthy.count())
}

#[test]
fn a_restarted_replica_is_replaced_without_a_lost_request_and_stays_in_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&replicas(&folder, "count = 2"));
    until(
        "two in service",
        || in_service(&weir),
        |now| *now == (vec![0, 1], 2),
    );
    let users = Users::start(weir.addr(), 4, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200);
    });
    let path = "/api/v1/groups/todo/replicas/0/restart";
    let (status, asked) = change(&weir, "POST", path, "");
    assert_eq!(status, 202, "{asked}");
    until(
        "another in its place",
        || in_service(&weir),
        |now| *now == (vec![1, 2], 2),
    );
    assert!(users.stop() > 0);
    let shown = group(&weir);
    let stopped = &shown["stopped_replicas"][0];
    assert_eq!(
        (&stopped["id"], &stopped["reason"]),
        (&0.into(), &"restart".into())
    );
    assert_eq!(stopped["desired_state"], "stopped");
    assert!(
        stopped["exit"].is_string() && stopped["started"].is_string(),
        "{stopped}"
    );
    // One that is killed is started again under its number.
    let pid = shown["replicas"][0]["pid"].as_u64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let killed = || group(&weir)["stopped_replicas"][0].clone();
    let killed = until("a killed replica", killed, |one| one["reason"] == "exited");
    assert_eq!(
        (&killed["id"], &killed["desired_state"]),
        (&1.into(), &"running".into())
    );
    assert_eq!(killed["exit"], "signal: 9 (SIGKILL)");
    until(
        "both again",
        || in_service(&weir),
        |now| *now == (vec![1, 2], 2),
    );
    let exit = &group(&weir)["replicas"][0]["last_exit"];
    assert_eq!(exit["status"], "signal: 9 (SIGKILL)");
    let page = Client::connect(weir.admin_addr())
        .get("/metrics")
        .unwrap()
        .body;
    for reason in ["restart", "exited"] {
        let series =
            format!("weir_replica_stops_total{{target_group=\"todo\",reason=\"{reason}\"}} 1");
        assert!(page.contains(&series), "{page}");
    }
    let events = events(&weir, "kinds=replica&group=todo&limit=1000");
    let said = |text: &str| events.iter().any(|event| event["text"] == text);
    assert!(said("replica has stopped"), "{events:?}");
}

#[test]
fn a_desired_count_holds_until_a_reload_or_until_autoscaling_decides() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&replicas(&folder, "count = 1"));
    let path = "/api/v1/groups/todo/desired";
    let (status, changed) = change(&weir, "PUT", path, r#"{"desired": 3}"#);
    assert_eq!((status, &changed["holds_until"]), (200, &"reload".into()));
    until("three in service", || in_service(&weir).1, |now| *now == 3);
    weir.replace(&replicas(&folder, "count = 2"));
    until("as the file says", || in_service(&weir).1, |now| *now == 2);
    let reasons = || group(&weir)["stopped_replicas"][0]["reason"].clone();
    until("a stop", reasons, |reason| reason == "scale_in");

    let scaling = "[target_group.todo.autoscaling]\nmin = 1\nmax = 3\nin_periods = 3\n\
                   in_cooldown = \"5s\"\n\
                   target_tracking = [{ metric = \"in_flight_per_target\", target = 10 }]";
    weir.replace(&replicas(&folder, scaling));
    until("one without load", || in_service(&weir).1, |now| *now == 1);
    let (status, changed) = change(&weir, "PUT", path, r#"{"desired": 3}"#);
    assert_eq!(
        (status, &changed["holds_until"]),
        (200, &"autoscaling".into())
    );
    assert_eq!((&changed["min"], &changed["max"]), (&1.into(), &3.into()));
    assert_eq!(change(&weir, "PUT", path, r#"{"desired": 4}"#).0, 422);
    until("three in service", || in_service(&weir).1, |now| *now == 3);
    until("scaled in again", || in_service(&weir).1, |now| *now == 1);
}
