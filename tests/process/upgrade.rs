//! A new process takes the place of the one that runs.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::support::{
    Client, Target, Users, Weir, command, eventually, patience, runs, taskoverflow,
};

fn config(target: &Target, folder: &TempDir, workers: usize) -> String {
    format!(
        r#"
        workers = {workers}
        upgrade_socket = "{}/upgrade.sock"
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "300ms", drain = "10s" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        [[listener]]
        name = "zoo"
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200, body = "zoo" }}
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health", interval = "1h" }}
        "#,
        folder.path().display(),
        target.addr()
    )
}

/// Asks one thing after another, on a new connection whenever the old one was announced
/// to close. A broken connection or a bad answer is a panic.
struct User {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl User {
    fn start(addr: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut client = Client::connect(addr);
            let mut answers = 0;
            while !stopped.load(Ordering::SeqCst) {
                let reply = client.get("/").expect("no broken connection");
                assert_eq!((reply.status, reply.body.as_str()), (200, "app"));
                if reply.header("connection") == Some("close") {
                    client = Client::connect(addr);
                }
                answers += 1;
            }
            answers
        });
        Self { stop, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// The process that serves after the first one; ended when dropped.
struct Successor(u32);

impl Successor {
    /// Waits for the `n`th one, counted from 1.
    fn of(weir: &Weir, n: usize) -> Self {
        let line = weir.nth_line(n, &["a new process serves in this one's place"]);
        let (_, pid) = line.rsplit_once("pid=").unwrap();
        Self(pid.trim().parse().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.cast_signed()).unwrap();
        // It may have ended already.
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[test]
fn a_new_process_takes_the_place_of_the_old_one_and_loses_no_request() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let mut weir = Weir::start(&config(&target, &folder, 2));
    let (addr, admin) = (weir.addr(), weir.admin_addr());
    let users: Vec<User> = (0..8).map(|_| User::start(addr)).collect();
    let pid = || {
        let reply = Client::connect(admin).get("/api/status").unwrap();
        let status: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        status["pid"].as_u64().unwrap()
    };
    assert_eq!(pid(), u64::from(weir.pid()));

    weir.signal(Signal::USR2);
    let first = Successor::of(&weir, 1);
    assert_eq!(
        weir.end(),
        0,
        "every request of the old process was finished"
    );
    assert_eq!(pid(), u64::from(first.0));

    first.signal(Signal::USR2);
    let second = Successor::of(&weir, 2);
    eventually("the end of the process in between", || {
        if runs(first.0) {
            Err(format!("{} runs", first.0))
        } else {
            Ok(())
        }
    });
    assert_eq!(pid(), u64::from(second.0));

    for user in users {
        assert!(user.stop() > 0);
    }
    let zoo = weir.line(&["listening on http://", "(zoo)"]);
    let (_, rest) = zoo.split_once("http://").unwrap();
    let zoo = rest.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(Client::connect(zoo).get("/").unwrap().body, "zoo");
}

/// The other end of the notify socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(patience())).unwrap();
        Self(socket)
    }

    /// Waits for a notice that begins so; returns those before it, signs of life aside.
    fn hear(&self, begin: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut notice = [0; 500];
            let length = self.0.recv(&mut notice).expect(begin);
            let notice = String::from_utf8_lossy(&notice[..length]).into_owned();
            if notice.starts_with(begin) {
                return before;
            }
            if notice != "WATCHDOG=1\n" {
                before.push(notice);
            }
        }
    }
}

#[test]
fn the_service_manager_is_told_of_each_step() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let socket = folder.path().join("notify.sock");
    let manager = Manager::at(UnixDatagram::bind(&socket).unwrap());
    let mut weir = Weir::starting_with(&config(&target, &folder, 1), |command| {
        command.env("NOTIFY_SOCKET", &socket);
    });
    assert!(
        manager.hear("READY=1\n").is_empty(),
        "serving is the first thing"
    );
    weir.signal(Signal::HUP);
    assert!(manager.hear("RELOADING=1\nMONOTONIC_USEC=").is_empty());
    assert!(manager.hear("READY=1\n").is_empty());
    weir.signal(Signal::TERM);
    assert!(manager.hear("STOPPING=1\nSTATUS=").is_empty());
    assert_eq!(weir.end(), 0);
}

#[test]
fn the_service_manager_is_told_which_process_serves() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let manager = folder.path().join("notify.sock");
    let socket = UnixDatagram::bind(&manager).unwrap();
    let mut weir = Weir::starting_with(&config(&target, &folder, 1), |command| {
        command.env("NOTIFY_SOCKET", &manager);
        command.env("WATCHDOG_USEC", "200000");
    });
    let manager = Manager::at(socket);
    manager.hear("READY=1\nSTATUS=serving: listeners: 2, target groups: 1\n");
    weir.signal(Signal::USR2);
    let successor = Successor::of(&weir, 1);
    let before = manager.hear(&format!("MAINPID={}\n", successor.0));
    assert_eq!(before, [""; 0]);
    assert!(manager.hear("READY=1\n").is_empty());
    assert_eq!(weir.end(), 0);
    // The new process goes on to say that it lives, and the old one said nothing of its end.
    for _ in 0..3 {
        assert!(manager.hear("WATCHDOG=1\n").is_empty());
    }
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let good = config(&target, &folder, 2);
    let mut weir = Weir::start(&good);
    // Read by the new process only: the old one is told of no change that settles.
    weir.overwrite("listener = 5");
    weir.signal(Signal::USR2);
    weir.line(&["the new process ended: exit status: 2"]);
    assert_eq!(weir.get("/").body, "app");
    // Nor is one that got the sockets and then found its address taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!(
        "{good}\n[[listener]]\nbind = \"{}\"\nforward = \"app\"\n",
        taken.local_addr().unwrap()
    );
    weir.overwrite(&more);
    weir.signal(Signal::USR2);
    weir.line(&["the new process gave up; this one goes on"]);
    assert_eq!(weir.get("/").body, "app");
    assert!(weir.is_running());
}

#[test]
fn another_number_of_workers_leaves_nobody_in_a_queue() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    for (before, after) in [(3, 1), (1, 3)] {
        let weir = Weir::start(&config(&target, &folder, before));
        let addr = weir.addr();
        weir.overwrite(&config(&target, &folder, after));
        weir.signal(Signal::USR2);
        let _successor = Successor::of(&weir, 1);
        // The kernel spreads them over all sockets.
        for _ in 0..50 {
            assert_eq!(Client::connect(addr).get("/").unwrap().body, "app");
        }
    }
}

#[test]
fn without_a_weir_to_take_over_from_it_says_so() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, config(&target, &folder, 1)).unwrap();
    let output = command()
        .args(["run", "--upgrade", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains("cannot take over from the Weir at"), "{log}");
}

#[test]
fn without_an_upgrade_socket_the_signal_changes_nothing() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let config = config(&target, &folder, 1);
    let without: Vec<&str> = config
        .lines()
        .filter(|line| !line.contains("upgrade_socket"))
        .collect();
    let weir = Weir::start(&without.join("\n"));
    weir.signal(Signal::USR2);
    weir.line(&["cannot be upgraded: the configuration has no `upgrade_socket`"]);
    assert_eq!(weir.get("/").body, "app");
}

/// Three replicas as soon as anybody asks, and nothing that takes one away.
fn scaled(folder: &TempDir, drain: &str) -> String {
    let database = folder.path().join("todos.db");
    let (program, database) = (taskoverflow().to_str().unwrap(), database.to_str().unwrap());
    format!(
        r#"
        workers = 1
        upgrade_socket = "{}/upgrade.sock"
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "{drain}" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        health = {{ path = "/api/v1/health", interval = "500ms", timeout = "490ms" }}
        replicas = {{ command = [{program:?}, "--port", "{{port}}", "--database", {database:?}] }}
        [target_group.todo.autoscaling]
        min = 1
        max = 4
        [[target_group.todo.autoscaling.step_scaling]]
        metric = "requests_per_target"
        comparison = ">="
        threshold = 1
        steps = [{{ lower = 0, by = 3 }}]
        adjustment = "exact"
        "#,
        folder.path().display(),
    )
}

/// How many replicas there should be, how many are healthy, and how often that was decided.
fn scaling(weir: &Weir) -> (u64, usize, u64) {
    let reply = Client::connect(weir.admin_addr()).get("/api/autoscaling");
    let state: serde_json::Value = serde_json::from_str(&reply.unwrap().body).unwrap();
    let group = &state["target_groups"][0];
    let counts = group["evaluations"].as_array().unwrap().iter();
    let evaluations = counts.map(|count| count["count"].as_u64().unwrap()).sum();
    let targets = weir.targets("todo");
    let healthy = targets.iter().filter(|t| t["state"] == "healthy").count();
    let desired = group["desired"].as_u64().unwrap_or_default();
    (desired, healthy, evaluations)
}

#[test]
fn a_new_process_begins_with_as_many_replicas_as_the_old_one_had_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut weir = Weir::start(&scaled(&folder, "10s"));
    let users = Users::start(weir.addr(), 1, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    let until_three = |weir: &Weir, evaluations: u64| {
        eventually("three replicas", || {
            let state = scaling(weir);
            let is_there = state.0 == 3 && state.1 == 3 && state.2 >= evaluations;
            is_there.then_some(state.2).ok_or(format!("{state:?}"))
        })
    };
    until_three(&weir, 1);
    // From here on nothing asks for more than one.
    assert!(users.stop() > 0);
    weir.signal(Signal::USR2);
    let _successor = Successor::of(&weir, 1);
    assert_eq!(weir.end(), 0);
    let decided = until_three(&weir, 3);
    // Nor does the file, when it is read again.
    weir.replace(&scaled(&folder, "9s"));
    weir.line(&["configuration loaded"]);
    until_three(&weir, decided + 3);
    assert_eq!(weir.lines(&["replica drains"]), [""; 0]);
    assert_eq!(weir.lines(&["scaling out"]).len(), 1);
}
