//! The processes that Weir starts, as the system sees them: what they print, what they inherit,
//! and that none of them is left when Weir has ended, however it ended.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};

use crate::process::support::{Weir, eventually, runs, until, until_gone};

/// A configuration with replicas that run this shell script.
fn scripts(count: usize, script: &str) -> String {
    let command = ["sh", "-c", script, "sh", "{port}"];
    group(&format!("command = {command:?}, count = {count}"))
}

/// A configuration with replicas that these two scripts list and scale.
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
    weir.lines(&[word])
        .iter()
        .filter_map(|line| {
            let (_, rest) = line.split_once(word)?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        })
        .collect()
}

/// Waits until there are at least so many of these numbers.
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

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

fn guardian(weir: &Weir) -> u32 {
    eventually("a guardian", || {
        weir.guardian().ok_or_else(|| weir.log().join("\n"))
    })
}

/// The numbers in a file, one on each line.
fn numbers(file: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A shell that waits and prints the process that it has started: only the group connects the two.
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
    weir.line(&["WARN", "replica exited", "exit status: 3"]);
}

#[test]
fn a_replica_that_floods_its_output_is_logged_in_part_and_delays_nothing() {
    let weir = start(&scripts(1, "exec yes 'no space left on device'"));
    weir.line(&["WARN", "lines left out", "group=todo"]);
    let logged = weir.lines(&["no space left on device"]).len();
    assert!((1..10_000).contains(&logged), "{logged} lines");
    // The control thread answers.
    assert!(weir.status()["target_groups"].is_array());
}

#[test]
fn a_replica_is_restarted_although_its_output_is_held_open() {
    // In a session of its own only the test ends it.
    let script = "setsid sleep 1000 & echo escaped $!; exit 1";
    let weir = start(&scripts(1, script));
    weir.nth_line(2, &["replica exited, restarting in", "exit status: 1"]);
    let escaped = all_printed(&weir, "escaped ", 2);
    drop(weir);
    for pid in escaped {
        kill(pid);
    }
}

#[test]
fn a_service_that_puts_itself_into_the_background_gets_a_hint() {
    let weir = start(&scripts(1, "exit 0"));
    weir.line(&["replica exited", "a service must stay in the foreground"]);
}

#[test]
fn replicas_get_the_environment_without_variables_for_weir_alone() {
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
    // Descriptors that the test itself has inherited go to all that it starts.
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
    until_gone(&pids, runs);
}

#[test]
fn what_ignores_sigterm_ends_after_sigkill_too() {
    let script =
        "(trap '' TERM; echo wrapped $(sh -c 'echo $PPID'); while :; do sleep 1000; done) & wait";
    let mut weir = start(&scripts(1, script));
    let pids = all_printed(&weir, "wrapped ", 1);
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids, runs);
}

#[test]
fn a_guardian_that_exits_is_replaced_and_knows_what_runs() {
    let mut weir = start(&scripts(2, WRAPPER));
    let pids = all_printed(&weir, "wrapped ", 2);
    let first = guardian(&weir);
    kill(first);
    weir.line(&["WARN", "guardian process exited, starting another"]);
    until(
        "another guardian",
        || weir.guardian(),
        |pid| pid.is_some_and(|pid| pid != first),
    );
    assert!(pids.iter().all(|pid| runs(*pid)), "it ended nothing");
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids, runs);
}

#[test]
fn a_graceful_end_leaves_neither_replicas_nor_a_guardian() {
    let mut weir = start(&scripts(2, WRAPPER));
    let mut pids = all_printed(&weir, "wrapped ", 2);
    pids.push(guardian(&weir));
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    until_gone(&pids, runs);
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
    let pids = until("three lists", || numbers(&file), |pids| pids.len() >= 3);
    until_gone(&pids[..2], runs);
    drop(weir);
    until_gone(&numbers(&file), runs);
}

#[test]
fn sigkill_ends_a_helper_that_runs_with_all_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let list = format!("sleep 1000 & echo $! >> {}; wait", file.display());
    let mut weir = start(&helpers(&list, "exit 0"));
    let pids = until("a helper", || numbers(&file), |pids| !pids.is_empty());
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids, runs);
}

/// A user without other processes. The limit does not apply to root.
const UNPRIVILEGED: u32 = 65_533;

/// Runs `command`, which ends with the configuration file, as a user under the limit.
fn as_unprivileged(command: &mut Command, folder: &Path) {
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
    other.args(arguments).uid(UNPRIVILEGED).current_dir("/");
    other.stdout(Stdio::piped()).stderr(Stdio::piped());
    *command = other;
}

fn limit_processes(weir: &Weir, most: Option<u64>) {
    let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", weir.pid()));
    command.arg(format!("--nproc={most}:"));
    if rustix::process::geteuid().is_root() {
        command.uid(UNPRIVILEGED);
    }
    assert!(command.status().unwrap().success());
}

#[test]
fn at_the_limit_of_processes_replicas_are_started_later_and_nothing_else_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        scripts(2, WRAPPER).replace("\"${SESSION_KEY}\"", &format!("\"{}\"", "0f".repeat(32)));
    let scaling = "[target_group.todo.autoscaling]\nmin = 2\nmax = 3\ntarget_tracking = [{ metric = \"cpu\", target = 50 }]\n";
    let config = format!("{config}\n{scaling}");
    let mut weir = Weir::starting_with(&config, |command| as_unprivileged(command, folder.path()));
    let pids = all_printed(&weir, "wrapped ", 2);
    weir.line(&["listening on"]);
    limit_processes(&weir, Some(1));
    // Before the guardian is killed: a zombie counts as a child.
    let replica = weir.children()[0];
    kill(guardian(&weir));
    kill(replica);
    let unavailable = "Resource temporarily unavailable";
    weir.line(&["ERROR", "cannot start a replica, trying again", unavailable]);
    weir.line(&["WARN", "cannot measure the replicas", unavailable]);
    weir.line(&["WARN", "cannot start the guardian process", unavailable]);
    assert!(weir.status()["target_groups"].is_array());
    limit_processes(&weir, getrlimit(Resource::Nproc).current);
    all_printed(&weir, "wrapped ", 3);
    guardian(&weir);
    weir.signal(Signal::KILL);
    assert_eq!(weir.end(), 128 + 9);
    until_gone(&pids, runs);
}
