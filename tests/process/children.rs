//! The processes that Weir starts, seen from the system: what they print, what they are given,
//! and that nothing of them is left when Weir has ended, however it ended.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};

use crate::process::support::{Weir, eventually, exists};

/// Replicas that are this shell script.
fn scripts(count: usize, script: &str) -> String {
    let command = ["sh", "-c", script, "sh", "{port}"];
    group(&format!("command = {command:?}, count = {count}"))
}

/// Replicas that these two scripts list and scale.
fn helpers(list: &str, scale: &str) -> String {
    let list = ["sh", "-c", list];
    let scale = ["sh", "-c", scale, "sh", "{count}"];
    group(&format!(
        "exec = {{ list = {list:?}, scale = {scale:?}, interval = \"100ms\", timeout = \"60s\" }}, count = 1"
    ))
}

fn group(replicas: &str) -> String {
    format!(
        r#"
        workers = 1
        cookie_key = "${{SESSION_KEY}}"
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "1s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        replicas = {{ {replicas} }}
        "#
    )
}

fn start(config: &str) -> Weir {
    Weir::starting_with(config, |command| {
        command
            .env("SESSION_KEY", "0f".repeat(32))
            .env("WEIR_ADMIN_TOKEN", "correct-horse-battery")
            .env("NOTIFY_SOCKET", "@nowhere")
            .env("DATABASE_URL", "postgres://db/todo");
    })
}

/// The numbers that replicas have printed after this word.
fn printed(weir: &Weir, word: &str) -> Vec<u32> {
    let lines = weir.lines(&[word]);
    let numbers = lines.iter().filter_map(|line| {
        let (_, rest) = line.split_once(word)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    numbers.collect()
}

/// The same, once there are so many.
fn all_printed(weir: &Weir, word: &str, count: usize) -> Vec<u32> {
    eventually(&format!("{count} lines with {word:?}"), || {
        let found = printed(weir, word);
        if found.len() >= count {
            Ok(found)
        } else {
            Err(weir.log().join("\n"))
        }
    })
}

fn until_gone(pids: &[u32]) {
    eventually("the processes are gone", || {
        let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// Whether a process is there and no zombie, which the machine's init may leave for a while.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    exists(pid) && state != Some(b'Z')
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

fn guardian(weir: &Weir) -> u32 {
    eventually("a guardian", || {
        weir.guardian().ok_or_else(|| weir.log().join("\n"))
    })
}

/// Numbers in a file, one a line.
fn numbers(file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Says which process it has left behind a shell that waits: nothing but its group ties the two.
const WRAPPER: &str = "sleep 1000 & echo wrapped $!; wait";

#[test]
fn what_replicas_print_is_part_of_the_log() {
    let script = r"echo to stdout; echo to stderr >&2; printf 'bad \377 byte\n'; head -c 5000 /dev/zero | tr '\0' x; echo; printf unfinished; exit 3";
    let weir = start(&scripts(1, script));
    let line = weir.line(&[
        "INFO",
        "to stdout",
        "stream=\"stdout\"",
        "group=todo",
        "replica=0",
    ]);
    assert!(line.contains("pid="), "{line}");
    weir.line(&["INFO", "to stderr", "stream=\"stderr\""]);
    weir.line(&["bad \u{fffd} byte"]);
    weir.line(&[&"x".repeat(2048), "… (2952 bytes more)"]);
    weir.line(&["INFO", "unfinished", "stream=\"stdout\""]);
    weir.line(&["WARN", "replica died", "exit status: 3"]);
}

#[test]
fn a_replica_that_floods_its_output_is_cut_short_and_delays_nothing() {
    let weir = start(&scripts(1, "exec yes 'no space left on device'"));
    weir.line(&["WARN", "lines left out", "group=todo"]);
    let shown = weir.lines(&["no space left on device"]).len();
    assert!((1..10_000).contains(&shown), "{shown} lines");
    // The control thread answers.
    assert!(weir.status()["target_groups"].is_array());
}

#[test]
fn a_replica_is_started_again_although_its_output_is_held_open() {
    // In a session of its own nothing ends it but the test.
    let script = "setsid sleep 1000 & echo escaped $!; exit 1";
    let weir = start(&scripts(1, script));
    weir.nth_line(2, &["replica died, starting another", "exit status: 1"]);
    let escaped = all_printed(&weir, "escaped ", 2);
    drop(weir);
    for pid in escaped {
        kill(pid);
    }
}

#[test]
fn a_service_that_puts_itself_in_the_background_is_told_not_to() {
    let weir = start(&scripts(1, "exit 0"));
    weir.line(&["replica died", "a service must stay in the foreground"]);
}

#[test]
fn replicas_get_the_environment_without_what_is_weirs_alone() {
    let replicas = r#"command = ["sh", "-c", "env; echo that was all", "sh", "{port}"], env = { GIVEN = "${SESSION_KEY}" }"#;
    let weir = start(&group(replicas));
    weir.line(&["that was all"]);
    weir.line(&["DATABASE_URL=postgres://db/todo"]);
    weir.line(&["GIVEN=0f0f"]);
    for withheld in ["SESSION_KEY=", "WEIR_ADMIN_TOKEN=", "NOTIFY_SOCKET="] {
        let found = weir.lines(&[withheld]);
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn replicas_and_the_guardian_inherit_no_descriptor_of_weirs() {
    let script = "for fd in /proc/$$/fd/*; do echo has descriptor $fd; done; echo that was all";
    let weir = start(&scripts(1, &format!("{script}; exec sleep 1000")));
    weir.line(&["that was all"]);
    let mut found = printed(&weir, "/fd/");
    found.sort_unstable();
    // What the test itself was started with goes to all that it starts.
    let own = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    let mut expected: Vec<u32> = own
        .lines()
        .filter_map(|line| line.rsplit_once('/')?.1.parse().ok())
        .collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let guardian = guardian(&weir);
    let (weirs, tests) = (sockets(weir.pid()), sockets(std::process::id()));
    let mut shared = sockets(guardian);
    shared.retain(|socket| weirs.contains(socket) && !tests.contains(socket));
    assert!(shared.is_empty(), "{shared:?}");
}

/// The sockets that a process has open.
fn sockets(pid: u32) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let names = links.map(|link| link.display().to_string());
    names.filter(|name| name.starts_with("socket:")).collect()
}

#[test]
fn sigkill_ends_what_wrappers_have_started() {
    let mut weir = start(&scripts(4, WRAPPER));
    let mut pids = all_printed(&weir, "wrapped ", 4);
    pids.extend(weir.children());
    assert_eq!(pids.len(), 8);
    pids.push(guardian(&weir));
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids);
}

#[test]
fn what_ignores_sigterm_is_gone_after_sigkill_too() {
    let script =
        "(trap '' TERM; echo wrapped $(sh -c 'echo $PPID'); while :; do sleep 1000; done) & wait";
    let mut weir = start(&scripts(1, script));
    let pids = all_printed(&weir, "wrapped ", 1);
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids);
}

#[test]
fn a_guardian_that_dies_is_replaced_and_told_what_runs() {
    let mut weir = start(&scripts(2, WRAPPER));
    let pids = all_printed(&weir, "wrapped ", 2);
    let first = guardian(&weir);
    kill(first);
    weir.line(&[
        "WARN",
        "the guardian of the replicas ended, starting another",
    ]);
    eventually("another guardian", || match weir.guardian() {
        Some(pid) if pid != first => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(pids.iter().all(|pid| is_alive(*pid)), "it ended nothing");
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids);
}

#[test]
fn an_end_in_good_order_leaves_neither_replicas_nor_a_guardian() {
    let mut weir = start(&scripts(2, WRAPPER));
    let mut pids = all_printed(&weir, "wrapped ", 2);
    pids.push(guardian(&weir));
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    until_gone(&pids);
}

#[test]
fn helpers_that_fork_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let list = format!(
        r#"sleep 1000 & echo $! >> {}; echo '{{"desired": 1, "replicas": []}}'"#,
        file.display()
    );
    let weir = start(&helpers(&list, "exit 0"));
    let pids = eventually("three lists", || {
        let pids = numbers(&file);
        if pids.len() >= 3 {
            Ok(pids)
        } else {
            Err(format!("{pids:?}"))
        }
    });
    until_gone(&pids[..2]);
    drop(weir);
    until_gone(&numbers(&file));
}

#[test]
fn sigkill_ends_a_helper_that_runs_with_all_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let list = format!("sleep 1000 & echo $! >> {}; wait", file.display());
    let mut weir = start(&helpers(&list, "exit 0"));
    let pids = eventually("a helper", || {
        let pids = numbers(&file);
        if pids.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(pids)
        }
    });
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids);
}

/// A user without other processes: root is free of the limit.
const NOBODY: u32 = 65_533;

/// Lets `command`, whose last argument is the configuration, run as a user whose processes count.
fn as_nobody(command: &mut Command, folder: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let program = folder.join("weir");
    std::fs::copy(command.get_program(), &program).unwrap();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let file = Path::new(arguments.last().unwrap());
    for path in [folder, file.parent().unwrap()] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut other = Command::new(program);
    other.args(arguments).uid(NOBODY).current_dir("/");
    other.stdout(Stdio::piped()).stderr(Stdio::piped());
    *command = other;
}

fn limit_processes(weir: &Weir, most: Option<u64>) {
    let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", weir.pid()));
    command.arg(format!("--nproc={most}:"));
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY);
    }
    assert!(command.status().unwrap().success());
}

#[test]
fn at_the_limit_of_processes_replicas_are_tried_again_and_nothing_else_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        scripts(2, WRAPPER).replace("\"${SESSION_KEY}\"", &format!("\"{}\"", "0f".repeat(32)));
    let scaling = "[target_group.todo.autoscaling]\nmin = 2\nmax = 3\ntarget_tracking = [{ metric = \"cpu\", target = 50 }]\n";
    let config = format!("{config}\n{scaling}");
    let mut weir = Weir::starting_with(&config, |command| as_nobody(command, folder.path()));
    let pids = all_printed(&weir, "wrapped ", 2);
    weir.line(&["listening on"]);
    limit_processes(&weir, Some(1));
    // Found before the guardian dies: a dead one is a child like any other.
    let replica = weir.children()[0];
    kill(guardian(&weir));
    kill(replica);
    let unavailable = "Resource temporarily unavailable";
    weir.line(&["ERROR", "cannot start a replica, trying again", unavailable]);
    weir.line(&["WARN", "cannot measure the replicas", unavailable]);
    weir.line(&["WARN", "cannot start the guardian", unavailable]);
    assert!(weir.status()["target_groups"].is_array());
    limit_processes(&weir, getrlimit(Resource::Nproc).current);
    all_printed(&weir, "wrapped ", 3);
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids);
}
