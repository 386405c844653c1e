//! New processes that are silent, hang, send a false report or exit: the old one goes on.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::support::{Client, Successor, Target, Users, Weir, eventually, runs, until};

fn config(target: &Target, folder: &TempDir, group: &str) -> String {
    format!(
        r#"
        workers = 2
        upgrade_socket = "{}/upgrade.sock"
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "20s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health", interval = "1h" }}
        {group}
        "#,
        folder.path().display(),
        target.addr()
    )
}

/// A process that connects to the upgrade socket.
struct Peer(UnixStream);

impl Peer {
    fn connect(folder: &TempDir) -> Self {
        Self(UnixStream::connect(folder.path().join("upgrade.sock")).unwrap())
    }

    fn send(&mut self, text: &str) {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        self.0
            .write_all(&[&length, text.as_bytes()].concat())
            .unwrap();
    }

    /// Waits for a message that contains `part`.
    fn receive(&mut self, part: &str) {
        loop {
            let mut length = [0; 4];
            self.0.read_exact(&mut length).unwrap();
            let mut text = vec![0; u32::from_be_bytes(length) as usize];
            self.0.read_exact(&mut text).unwrap();
            if String::from_utf8(text).unwrap().contains(part) {
                return;
            }
        }
    }
}

fn upgrades(weir: &mut Weir) {
    weir.signal(Signal::USR2);
    let _successor = Successor::of(weir, 1);
    assert_eq!(weir.end(), 0);
}

#[test]
fn silent_processes_delay_neither_an_upgrade_nor_the_end() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let config = config(&target, &folder, "");
    let mut weir = Weir::start(&config);
    let _silent: Vec<Peer> = (0..3).map(|_| Peer::connect(&folder)).collect();
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);

    let mut weir = Weir::start(&config);
    let _silent: Vec<Peer> = (0..3).map(|_| Peer::connect(&folder)).collect();
    upgrades(&mut weir);

    let mut weir = Weir::start(&config);
    // One takes the sockets and is silent after that.
    let mut taker = Peer::connect(&folder);
    taker.send(r#""hello""#);
    taker.receive("done");
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn a_process_that_takes_the_sockets_reports_that_it_serves_and_exits_costs_no_request() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let mut weir = Weir::start(&config(&target, &folder, ""));
    let users = Users::start(weir.addr(), 4, "/", |reply| {
        assert_eq!((reply.status, reply.body.as_str()), (200, "app"));
    });
    for n in 1..=2 {
        let mut peer = Peer::connect(&folder);
        peer.send(r#""hello""#);
        peer.receive("done");
        peer.send(r#"{"serving":4711}"#);
        peer.receive("check");
        drop(peer);
        weir.nth_line(n, &["the new process gave up; this one goes on"]);
        for _ in 0..20 {
            assert_eq!(weir.get("/").body, "app");
        }
    }
    assert!(users.stop() > 0);
    upgrades(&mut weir);
}

#[test]
fn a_program_that_hangs_is_started_once_and_killed_in_the_end() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let bin = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program: PathBuf = bin.path().join("weir");
    std::fs::hard_link(env!("CARGO_BIN_EXE_weir"), &program).unwrap();
    let mut weir = Weir::starting_program(&program, &config(&target, &folder, ""));
    weir.line(&["listening on http://"]);
    let pids = folder.path().join("pids");
    let script = format!("#!/bin/sh\necho $$ >> {}\nsleep 1000\n", pids.display());
    let next = bin.path().join("next");
    std::fs::write(&next, script).unwrap();
    std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&next, &program).unwrap();

    weir.signal(Signal::USR2);
    let started = eventually("the program starts", || {
        let pids = std::fs::read_to_string(&pids).unwrap_or_default();
        pids.trim()
            .parse::<u32>()
            .map_err(|error| format!("{pids:?}: {error}"))
    });
    for n in 1..=2 {
        weir.signal(Signal::USR2);
        weir.nth_line(n, &["an upgrade is under way already"]);
    }
    weir.line(&["the new process does not serve in time; killing it"]);
    weir.line(&["the new process ended: signal: 9"]);
    assert!(!runs(started));
    assert_eq!(weir.get("/").body, "app");
    let pids = std::fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 1, "{pids}");
    // A process that hangs when Weir ends is ended with it.
    weir.signal(Signal::USR2);
    let second = eventually("the program starts again", || {
        let pids = std::fs::read_to_string(folder.path().join("pids")).unwrap();
        let second = pids.lines().nth(1).and_then(|pid| pid.parse().ok());
        second.ok_or(pids)
    });
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    until("the end of what hangs", || runs(second), |runs| !runs);
}

#[test]
fn a_file_in_the_place_of_the_upgrade_socket_is_not_lost() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let file = folder.path().join("upgrade.sock");
    std::fs::write(&file, "not to be lost").unwrap();
    let mut weir = Weir::starting(&config(&target, &folder, ""));
    assert_eq!(weir.end(), 2);
    weir.error("is there already and no socket");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not to be lost");
}

#[test]
fn the_used_part_of_a_rate_limit_is_handed_over() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let limit = "rate_limit = { requests = 2, per = \"1h\" }";
    let config = config(&target, &folder, "");
    let config = config.replace("forward = \"app\"", &format!("forward = \"app\"\n{limit}"));
    let mut weir = Weir::start(&config);
    let addr = weir.addr();
    let status = || Client::connect(addr).get("/").unwrap().status;
    assert_eq!([status(), status(), status()], [200, 200, 429]);
    weir.signal(Signal::USR2);
    let _successor = Successor::of(&weir, 1);
    weir.line(&["draining for at most"]);
    assert_eq!(status(), 429);
    assert_eq!(weir.end(), 0);
}

#[test]
fn the_limit_of_a_target_holds_over_both_processes() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let config = config(&target, &folder, "max_concurrency = 2");
    let mut weir = Weir::start(&config);
    let addr = weir.addr();
    let held: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(move || {
                let reply = Client::connect(addr).get("/held").unwrap();
                (reply.status, reply.body)
            })
        })
        .collect();
    until("two requests are held", || target.requests(), |n| *n == 2);
    weir.signal(Signal::USR2);
    let _successor = Successor::of(&weir, 1);
    weir.line(&["draining for at most"]);
    // The old process does not accept any more: the new one answers.
    for _ in 0..10 {
        let reply = Client::connect(addr).get("/").unwrap();
        assert_eq!(reply.status, 503, "{}", reply.body);
        assert!(
            reply.body.contains("every target is busy"),
            "{}",
            reply.body
        );
    }
    target.open();
    for held in held {
        assert_eq!(held.join().unwrap(), (200, "app".to_owned()));
    }
    eventually("the target has capacity again", || {
        let reply = Client::connect(addr).get("/").unwrap();
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply.body)
        }
    });
    assert_eq!(weir.end(), 0);
}
