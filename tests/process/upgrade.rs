//! A new process takes the place of the one that runs.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::support::{
    Client, Successor, Target, Users, Weir, command, runs, taskoverflow, until, wait_timeout,
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

#[test]
fn a_new_process_takes_the_place_of_the_old_one_and_loses_no_request() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let mut weir = Weir::start(&config(&target, &folder, 2));
    let (addr, admin) = (weir.addr(), weir.admin_addr());
    let users: Vec<Users> = (0..8)
        .map(|_| {
            Users::start(addr, 1, "/", |reply| {
                assert_eq!((reply.status, reply.body.as_str()), (200, "app"));
            })
        })
        .collect();
    let pid = || {
        let reply = Client::connect(admin).get("/api/v1/status").unwrap();
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
    assert_eq!(pid(), u64::from(first.pid()));

    first.signal(Signal::USR2);
    let second = Successor::of(&weir, 2);
    until(
        "the end of the process in between",
        || runs(first.pid()),
        |runs| !runs,
    );
    assert_eq!(pid(), u64::from(second.pid()));

    for user in users {
        assert!(user.stop() > 0);
    }
    let zoo = weir.line(&["listening on http://", "(zoo)"]);
    let (_, rest) = zoo.split_once("http://").unwrap();
    let zoo = rest.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(Client::connect(zoo).get("/").unwrap().body, "zoo");
}

/// The service manager's end of the notify socket.
struct Manager(UnixDatagram);

impl Manager {
    fn at(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(wait_timeout())).unwrap();
        Self(socket)
    }

    /// Waits for a notice with this beginning. Returns those before it, except watchdog notices.
    fn receive(&self, begin: &str) -> Vec<String> {
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
fn the_service_manager_is_notified_of_each_step() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let socket = folder.path().join("notify.sock");
    let manager = Manager::at(UnixDatagram::bind(&socket).unwrap());
    let mut weir = Weir::starting_with(&config(&target, &folder, 1), |command| {
        command.env("NOTIFY_SOCKET", &socket);
    });
    assert!(
        manager.receive("READY=1\n").is_empty(),
        "serving is the first notice"
    );
    weir.signal(Signal::HUP);
    assert!(manager.receive("RELOADING=1\nMONOTONIC_USEC=").is_empty());
    assert!(manager.receive("READY=1\n").is_empty());
    weir.signal(Signal::TERM);
    assert!(manager.receive("STOPPING=1\nSTATUS=").is_empty());
    assert_eq!(weir.end(), 0);
}

#[test]
fn the_service_manager_is_notified_of_the_process_that_serves() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let manager = folder.path().join("notify.sock");
    let socket = UnixDatagram::bind(&manager).unwrap();
    let mut weir = Weir::starting_with(&config(&target, &folder, 1), |command| {
        command.env("NOTIFY_SOCKET", &manager);
        command.env("WATCHDOG_USEC", "200000");
    });
    let manager = Manager::at(socket);
    manager.receive("READY=1\nSTATUS=serving: listeners: 2, target groups: 1\n");
    weir.signal(Signal::USR2);
    let successor = Successor::of(&weir, 1);
    let before = manager.receive(&format!("MAINPID={}\n", successor.pid()));
    assert_eq!(before, [""; 0]);
    assert!(manager.receive("READY=1\n").is_empty());
    assert_eq!(weir.end(), 0);
    // The new process sends watchdog notices, and the old one has sent none of its end.
    for _ in 0..3 {
        assert!(manager.receive("WATCHDOG=1\n").is_empty());
    }
}

#[test]
fn a_new_process_that_cannot_start_leaves_the_old_one_serving() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let good = config(&target, &folder, 2);
    let mut weir = Weir::start(&good);
    // Only the new process reads it: the old one waits until the file stays unchanged.
    weir.overwrite("listener = 5");
    weir.signal(Signal::USR2);
    weir.line(&["the new process ended: exit status: 2"]);
    assert_eq!(weir.get("/").body, "app");
    // The same holds for one that got the sockets and then finds an address in use.
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
fn another_number_of_workers_leaves_no_connection_in_a_queue() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    for (before, after) in [(3, 1), (1, 3)] {
        let weir = Weir::start(&config(&target, &folder, before));
        let addr = weir.addr();
        weir.overwrite(&config(&target, &folder, after));
        weir.signal(Signal::USR2);
        let _successor = Successor::of(&weir, 1);
        // The kernel spreads connections over all sockets.
        for _ in 0..50 {
            assert_eq!(Client::connect(addr).get("/").unwrap().body, "app");
        }
    }
}

/// GET over a Unix socket: the whole answer.
fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(wait_timeout())).unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_file_of_a_unix_socket_goes_to_the_new_process_once_that_serves() {
    let (target, folder) = (Target::named("app"), tempfile::tempdir().unwrap());
    let socket = |name: &str| folder.path().join(name);
    let (kept, moved, next) = (socket("kept"), socket("moved"), socket("next"));
    let with = |second: &Path| {
        format!(
            "{}\n[[listener]]\nbind = \"unix:{}\"\nforward = \"app\"\n\
             [[listener]]\nname = \"second\"\nbind = \"unix:{}\"\nforward = \"app\"\n",
            config(&target, &folder, 2),
            kept.display(),
            second.display()
        )
    };
    let mut weir = Weir::start(&with(&moved));
    assert!(ask_unix(&kept).ends_with("app"));
    // One that cannot start takes nothing along.
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "").unwrap();
    weir.overwrite(&with(&taken));
    weir.signal(Signal::USR2);
    weir.line(&["the new process gave up; this one goes on"]);
    assert!(ask_unix(&kept).ends_with("app"));
    assert!(ask_unix(&moved).ends_with("app"));

    weir.overwrite(&with(&next));
    weir.signal(Signal::USR2);
    let successor = Successor::of(&weir, 1);
    for _ in 0..20 {
        assert!(ask_unix(&kept).ends_with("app"));
    }
    assert_eq!(weir.end(), 0);
    assert!(
        ask_unix(&kept).ends_with("app"),
        "the old one left the file"
    );
    assert!(ask_unix(&next).ends_with("app"));
    until(
        "the end of the file that is not needed",
        || moved.exists(),
        |is_there| !is_there,
    );
    successor.signal(Signal::TERM);
    until(
        "the end of the new process",
        || runs(successor.pid()),
        |runs| !runs,
    );
    assert!(!kept.exists() && !next.exists(), "removed by the new one");
}

#[test]
fn without_a_weir_to_take_over_from_it_fails() {
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

/// Scales out to three replicas with the first request, and never in.
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

#[derive(Debug)]
struct Scaling {
    desired: u64,
    healthy: usize,
    evaluations: u64,
}

fn scaling(weir: &Weir) -> Scaling {
    let reply = Client::connect(weir.admin_addr()).get("/api/v1/autoscaling");
    let state: serde_json::Value = serde_json::from_str(&reply.unwrap().body).unwrap();
    let group = &state["target_groups"][0];
    let counts = group["evaluations"].as_array().unwrap().iter();
    let evaluations = counts.map(|count| count["count"].as_u64().unwrap()).sum();
    let targets = weir.targets("todo");
    let healthy = targets.iter().filter(|t| t["state"] == "healthy").count();
    Scaling {
        desired: group["desired"].as_u64().unwrap_or_default(),
        healthy,
        evaluations,
    }
}

#[test]
fn a_new_process_begins_with_the_desired_count_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut weir = Weir::start(&scaled(&folder, "10s"));
    let users = Users::start(weir.addr(), 1, "/api/v1/todos", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    let until_three = |weir: &Weir, evaluations: u64| {
        let is_there = |state: &Scaling| {
            (state.desired, state.healthy) == (3, 3) && state.evaluations >= evaluations
        };
        until("three replicas", || scaling(weir), is_there).evaluations
    };
    until_three(&weir, 1);
    // From here on the load needs one replica.
    assert!(users.stop() > 0);
    weir.signal(Signal::USR2);
    let _successor = Successor::of(&weir, 1);
    assert_eq!(weir.end(), 0);
    let evaluations = until_three(&weir, 3);
    // A reload does not change the count either.
    weir.replace(&scaled(&folder, "9s"));
    weir.line(&["configuration loaded"]);
    until_three(&weir, evaluations + 3);
    assert_eq!(weir.lines(&["replica drains"]), [""; 0]);
    assert_eq!(weir.lines(&["scaling out"]).len(), 1);
}
