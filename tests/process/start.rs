//! What `weir run` prints when it starts, and when it cannot.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use rustix::process::Signal;

use crate::process::support::{Client, Target, Weir, command};

/// Two listeners, three groups, an admin listener.
fn full(target: &Target) -> String {
    let addr = target.addr();
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "todo"
        [[listener]]
        name = "welcome"
        bind = "[::1]:0"
        fixed_response = {{ status = 200, body = "hello" }}
        [target_group.todo]
        targets = ["{addr}"]
        algorithm = "least_connections"
        health = {{ path = "/health" }}
        [[listener]]
        name = "bytes"
        bind = "127.0.0.1:0"
        protocol = "tcp"
        forward = "raw"
        [target_group.raw]
        protocol = "tcp"
        targets = ["{addr}"]
        health = false
        [target_group.spare]
        targets = ["{addr}", "127.0.0.1:1"]
        health = false
        "#
    )
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_start_names_listeners_groups_and_targets() {
    let target = Target::named("a");
    let mut weir = Weir::start(&full(&target));
    let admin = weir.line(&["admin on http://127.0.0.1:"]);
    let hello = weir.line(&["listening on http://[::1]:", " (welcome)"]);
    let web = weir.line(&["listening on http://127.0.0.1:", " (web)"]);
    weir.line(&["listening on tcp://127.0.0.1:", " (bytes)"]);
    weir.line(&["target group todo: 1 target, 1 healthy, least_connections"]);
    weir.line(&["target group spare: 2 targets, not checked, round_robin"]);
    for line in [&admin, &hello, &web] {
        assert!(!line.contains('\u{1b}'), "no colours in a file: {line:?}");
    }
    let hello = hello.split(['/', ' ']).find(|part| part.contains("[::1]"));
    let mut client = Client::connect(hello.unwrap().parse().unwrap());
    assert_eq!(client.get("/").unwrap().body, "hello");
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn json_logs_are_one_object_a_line() {
    let target = Target::named("a");
    let mut weir = Weir::starting_with(&full(&target), |run| {
        run.args(["--log-format", "json"]);
    });
    let addr = weir.addr();
    assert_eq!(Client::connect(addr).get("/").unwrap().body, "a");
    // A reload, an error and the end are JSON too.
    weir.signal(Signal::HUP);
    weir.line(&["configuration loaded"]);
    weir.overwrite("workers = 3");
    weir.signal(Signal::HUP);
    weir.line(&["configuration not applied"]);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    weir.line(&["stopped: every request was finished"]);
    let lines = weir.log();
    assert!(lines.len() > 6, "{lines:?}");
    for line in lines {
        let object: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        for field in ["timestamp", "level", "message"] {
            assert!(object[field].is_string(), "{field} in {line}");
        }
        // A second field with the same name would hide the first.
        assert!(line.matches("\"target\":").count() <= 1, "{line}");
    }
    let healthy = weir.line(&["target is healthy"]);
    let healthy: serde_json::Value = serde_json::from_str(&healthy).unwrap();
    assert_eq!(healthy["target"], target.addr().to_string());
    assert_eq!(healthy["group"], "todo");
}

#[test]
fn the_log_level_comes_from_the_environment() {
    let target = Target::named("a");
    let weir = Weir::starting_with(&full(&target), |run| {
        run.env("RUST_LOG", "debug");
    });
    weir.line(&["DEBUG"]);
    weir.line(&["INFO", "listening on"]);
    let addr = weir.addr();
    let taken = full(&target).replacen(
        "127.0.0.1:0\"\n        forward",
        &format!("{addr}\"\n        forward"),
        1,
    );
    let mut quiet = Weir::starting_with(&taken, |run| {
        run.env("RUST_LOG", "off");
    });
    assert_eq!(quiet.end(), 2);
    assert_eq!(quiet.log(), Vec::<String>::new());
}

#[test]
fn the_file_can_come_from_the_environment() {
    let target = Target::named("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.toml");
    std::fs::write(&file, full(&target)).unwrap();
    let weir = Weir::starting_with("this file is not read", |run| {
        *run = command();
        run.arg("run").env("WEIR_CONFIG", &file);
        run.stdout(std::process::Stdio::piped());
        run.stderr(std::process::Stdio::piped());
    });
    assert_eq!(weir.get("/").body, "a");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = run(&["run", "--config", "/no/such/weir.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(
        printed.contains("cannot read /no/such/weir.toml"),
        "{printed}"
    );
    assert!(printed.contains("No such file or directory"), "{printed}");
}

#[test]
fn the_default_file_is_in_etc() {
    let output = run(&["run", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    assert!(help.contains("[default: /etc/weir/weir.toml]"), "{help}");
    assert!(help.contains("WEIR_CONFIG"), "{help}");
    let version = text(&run(&["-V"]).stdout);
    assert_eq!(version, format!("weir {}\n", env!("CARGO_PKG_VERSION")));
    let version = text(&run(&["--version"]).stdout);
    for part in ["\ncommit: ", "\nfeatures: ", "\ntarget: "] {
        assert!(version.contains(part), "{version}");
    }
}

#[test]
fn a_wrong_file_is_explained_and_nothing_starts() {
    let mut weir = Weir::starting("[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n");
    assert_eq!(weir.end(), 2);
    let problems = weir.error("1 error");
    let place = format!("--> {}:3:11", weir.file().display());
    assert!(problems.contains("error[unknown-group]"), "{problems}");
    assert!(problems.contains(&place), "{problems}");
    assert_eq!(weir.lines(&["listening"]), Vec::<String>::new());
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let target = Target::named("a");
    for config in [
        full(&target).replacen("bind = \"127.0.0.1:0\"", &format!("bind = \"{addr}\""), 1),
        full(&target).replace("bind = \"[::1]:0\"", &format!("bind = \"{addr}\"")),
    ] {
        let mut weir = Weir::starting(&config);
        assert_eq!(weir.end(), 2);
        let expected = format!("cannot start: cannot listen on {addr}: Address already in use");
        weir.line(&["ERROR", &expected]);
    }
}

#[test]
fn two_processes_do_not_share_a_port() {
    let target = Target::named("a");
    let first = Weir::start(&full(&target));
    let addr = first.addr();
    let config = format!(
        "[[listener]]\nbind = \"{addr}\"\nfixed_response = {{ status = 200, body = \"second\" }}"
    );
    let mut second = Weir::starting(&config);
    assert_eq!(second.end(), 2);
    second.line(&[&format!("cannot listen on {addr}")]);
    assert_eq!(first.get("/").body, "a");
}

#[test]
fn a_target_that_is_down_does_not_delay_the_start() {
    let target = Target::named("a");
    let down = "targets = [\"127.0.0.1:1\", \"";
    let config = full(&target).replacen("targets = [\"", down, 1);
    let weir = Weir::start(&config);
    weir.line(&["target group todo: 2 targets, 1 healthy"]);
    for _ in 0..4 {
        assert_eq!(weir.get("/").body, "a");
    }
}

/// A listener with a healthy target, and one with a target that accepts checks and does not answer.
fn half_silent(target: &Target, silent: &TcpListener, timeout: &str) -> String {
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        [[listener]]
        name = "slow"
        bind = "127.0.0.1:0"
        forward = "silent"
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health" }}
        [target_group.silent]
        targets = ["{}"]
        health = {{ timeout = "{timeout}", interval = "1h" }}
        "#,
        target.addr(),
        silent.local_addr().unwrap()
    )
}

#[test]
fn each_listener_waits_for_its_own_groups_and_logs_it() {
    let target = Target::named("a");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let weir = Weir::starting(&half_silent(&target, &silent, "4s"));
    let web = weir.addr_of("web");
    assert_eq!(Client::connect(web).get("/").unwrap().body, "a");
    let addr = silent.local_addr().unwrap().to_string();
    let waits = [
        "listener waits",
        "listener=slow",
        "group=silent",
        "not checked yet",
        &addr,
    ];
    weir.line(&waits);
    let ready = Client::connect(weir.admin_addr()).get("/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(
        ready
            .body
            .starts_with("starting\nlistener slow waits for silent: "),
        "{ready:?}"
    );
    assert_eq!(weir.status()["waits"].as_array().unwrap().len(), 1);
    assert_eq!(
        weir.lines(&["listening on", "(slow)"]),
        Vec::<String>::new()
    );
    // After a failed check the listener opens, and the group fails open.
    weir.addr_of("slow");
    let ready = Client::connect(weir.admin_addr()).get("/readyz").unwrap();
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
}

#[test]
fn a_file_that_is_corrected_while_the_start_waits_is_loaded_at_once() {
    let target = Target::named("a");
    let config = |address: &str| {
        format!(
            "admin = {{ bind = \"127.0.0.1:0\" }}\n[[listener]]\nname = \"web\"\n\
             bind = \"127.0.0.1:0\"\nforward = \"app\"\n\
             [target_group.app]\ntargets = [\"{address}\"]\nhealth = {{ path = \"/health\" }}"
        )
    };
    let weir = Weir::starting(&config("web.invalid:80"));
    weir.line(&["listener waits", "no address for web.invalid:80 yet"]);
    weir.replace(&config(&target.addr().to_string()));
    assert_eq!(
        Client::connect(weir.addr_of("web")).get("/").unwrap().body,
        "a"
    );
    let late = weir.lines(&["listener opens without a target group"]);
    assert_eq!(late, Vec::<String>::new(), "loaded after the wait");
}

#[test]
fn a_client_that_speaks_tls_is_logged() {
    let config = r#"
        [[listener]]
        name = "http"
        bind = "127.0.0.1:0"
        fixed_response = { status = 200 }
    "#;
    let weir = Weir::start(config);
    let mut client = TcpStream::connect(weir.addr()).unwrap();
    // The beginning of a ClientHello (RFC 8446 section 4.1.2).
    client
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .unwrap();
    weir.line(&[
        "a client speaks TLS to a listener that has no `tls`; its connection is closed",
        "listener=http",
    ]);
}
