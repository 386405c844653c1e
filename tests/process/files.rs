//! Files as operators and orchestrators leave them: behind links, mounted alone, and replaced by
//! what is not a regular file.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::support::{Client, Target, Weir, command, until};

fn config(target: SocketAddr, more: &str) -> String {
    format!(
        r#"
        workers = 1
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        {more}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{target}"]
        health = {{ path = "/health", interval = "100ms", timeout = "90ms" }}
        "#
    )
}

/// Weir with a configuration at this path.
fn start_at(file: &Path) -> Weir {
    start_by(command(), &["run", "--config"], file)
}

fn start_by(mut program: Command, arguments: &[&str], file: &Path) -> Weir {
    let weir = Weir::starting_with("this file is not read", |run| {
        program.args(arguments).arg(file);
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        std::mem::swap(run, &mut program);
    });
    weir.line(&["listening on http://"]);
    weir
}

/// Waits until this target answers.
fn until_answered_by(weir: &Weir, target: &str) {
    let what = format!("an answer from {target}");
    until(&what, || weir.get("/").body, |body| body == target);
}

/// Points a link to another path in one step, as deployments do.
fn point(folder: &TempDir, link: &str, to: &str) {
    let next = folder.path().join("next");
    symlink(to, &next).unwrap();
    fs::rename(next, folder.path().join(link)).unwrap();
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn an_edited_file_behind_a_link_is_loaded() {
    let (a, b, c) = (Target::named("a"), Target::named("b"), Target::named("c"));
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("elsewhere");
    fs::create_dir(&real).unwrap();
    let real = real.join("real.toml");
    fs::write(&real, config(a.addr(), "")).unwrap();
    point(&folder, "weir.toml", "elsewhere/real.toml");
    let weir = start_at(&folder.path().join("weir.toml"));
    until_answered_by(&weir, "a");
    fs::write(&real, config(b.addr(), "")).unwrap();
    until_answered_by(&weir, "b");
    fs::write(real.with_extension("next"), config(c.addr(), "")).unwrap();
    fs::rename(real.with_extension("next"), &real).unwrap();
    until_answered_by(&weir, "c");
}

#[test]
fn a_mistake_in_the_configuration_does_not_hold_back_the_files_that_it_names() {
    let target = Target::named("a");
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("weir.toml"), folder.path().join("token"));
    let admin = "admin = { bind = \"127.0.0.1:0\", token_file = \"token\" }";
    let (before, after) = ("ab".repeat(16), "cd".repeat(16));
    fs::write(&token, &before).unwrap();
    fs::write(&file, config(target.addr(), admin)).unwrap();
    let weir = start_at(&file);
    let asked_with = |token: &str| {
        let mut client = Client::connect(weir.admin_addr());
        client
            .get_as("weir.internal", "/api/v1/status", token)
            .unwrap()
            .status
    };
    assert_eq!(asked_with(&before), 200);
    fs::write(&file, "[[listener]]\nbind = 7").unwrap();
    fs::write(&token, &after).unwrap();
    weir.line(&["with the files that it names as they are now"]);
    assert_eq!((asked_with(&before), asked_with(&after)), (401, 200));
    assert_eq!(weir.get("/").body, "a");
    assert_eq!(weir.status()["last_reload"]["accepted"], false);
    let metrics = Client::connect(weir.admin_addr())
        .get("/metrics")
        .unwrap()
        .body;
    assert!(
        metrics.contains("weir_last_reload_successful 0"),
        "{metrics}"
    );
    fs::write(&file, config(target.addr(), admin)).unwrap();
    let status = || weir.status()["last_reload"]["accepted"] == true;
    until("an accepted reload", status, |accepted| *accepted);
}

#[test]
fn a_folder_link_that_is_replaced_changes_the_configuration_and_the_targets() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let folder = tempfile::tempdir().unwrap();
    for (release, target) in [("1", &a), ("2", &b)] {
        let release = folder.path().join("releases").join(release);
        fs::create_dir_all(&release).unwrap();
        let named = config(target.addr(), "");
        let listed = named.replace(
            &format!("\"{}\"", target.addr()),
            "{ file = \"targets.txt\" }",
        );
        fs::write(release.join("named.toml"), named).unwrap();
        fs::write(release.join("listed.toml"), listed).unwrap();
        fs::write(release.join("targets.txt"), target.addr().to_string()).unwrap();
    }
    for file in ["named.toml", "listed.toml"] {
        point(&folder, "current", "releases/1");
        let weir = start_at(&folder.path().join("current").join(file));
        until_answered_by(&weir, "a");
        point(&folder, "current", "releases/2");
        until_answered_by(&weir, "b");
    }
}

#[test]
fn a_file_that_is_mounted_alone_is_loaded_when_it_is_written_to() {
    let may_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        // Without user namespaces the test cannot mount.
        return;
    }
    let (a, b) = (Target::named("a"), Target::named("b"));
    let folder = tempfile::tempdir().unwrap();
    let (outside, inside) = (folder.path().join("host.toml"), folder.path().join("etc"));
    fs::create_dir(&inside).unwrap();
    let inside = inside.join("weir.toml");
    fs::write(&outside, config(a.addr(), "")).unwrap();
    fs::write(&inside, "").unwrap();
    let script = "mount --bind \"$1\" \"$2\" && exec \"$0\" run --config \"$2\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_weir")]);
    unshare.arg(&outside).env_remove("RUST_LOG");
    let weir = start_by(unshare, &[], &inside);
    until_answered_by(&weir, "a");
    fs::write(&outside, config(b.addr(), "")).unwrap();
    until_answered_by(&weir, "b");
}

#[test]
fn a_token_that_is_replaced_is_loaded() {
    let target = Target::named("a");
    let admin = "admin = { bind = \"127.0.0.1:0\", token_file = \"token\" }";
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("weir.toml"), config(target.addr(), admin)).unwrap();
    let (first, second) = ("1".repeat(32), "2".repeat(32));
    // As Kubernetes mounts a secret: token -> ..data/token, ..data -> ..1
    for (version, token) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("token"), token).unwrap();
    }
    point(&folder, "..data", "..1");
    point(&folder, "token", "..data/token");
    let weir = start_at(&path("weir.toml"));
    // Under a foreign name, reads need the token too.
    let is_accepted = |token: &str| {
        let mut client = Client::connect(weir.admin_addr());
        let reply = client.get_as("weir.example", "/api/v1/groups", token);
        reply.unwrap().status == 200
    };
    assert!(is_accepted(&first) && !is_accepted(&second));
    let until_accepted = |token: &str| {
        until("the new token", || is_accepted(token), |accepted| *accepted);
    };
    point(&folder, "..data", "..2");
    until_accepted(&second);
    assert!(!is_accepted(&first));
    // An invalid token changes nothing, and a valid one is loaded without another step.
    fs::write(path("..2/token"), "short").unwrap();
    weir.error("5 characters long");
    assert!(is_accepted(&second));
    fs::write(path("..2/token"), &first).unwrap();
    until_accepted(&first);
    // A configuration that names another file: that one is watched from then on.
    let other = admin.replace("\"token\"", "\"other\"");
    fs::write(path("other"), &second).unwrap();
    fs::write(path("weir.toml"), config(target.addr(), &other)).unwrap();
    until_accepted(&second);
    fs::write(path("other"), &first).unwrap();
    until_accepted(&first);
}

/// Sets the flag when dropped, also if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_file_beside_it_that_always_changes_does_not_delay_a_reload() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(a.addr(), ""));
    let (ended, neighbour) = (AtomicBool::new(false), weir.file().with_file_name("..tmp"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                fs::write(&neighbour, "again").unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let _end = SetOnDrop(&ended);
        weir.replace(&config(b.addr(), ""));
        until_answered_by(&weir, "b");
    });
    weir.line(&["configuration loaded"]);
    assert_eq!(weir.lines(&["configuration loaded"]).len(), 1);
}

#[test]
fn a_configuration_that_is_not_a_regular_file_is_refused_and_nothing_stops() {
    let target = Target::named("a");
    let admin = "admin = { bind = \"127.0.0.1:0\" }";
    let mut weir = Weir::start(&config(target.addr(), admin));
    let file = weir.file();
    let become_pipe = || fifo(&file);
    let become_device = || symlink("/dev/zero", &file).unwrap();
    let become_folder = || fs::create_dir(&file).unwrap();
    let kinds: [(&str, &dyn Fn()); 3] = [
        ("a pipe", &become_pipe),
        ("a device", &become_device),
        ("a folder", &become_folder),
    ];
    for (kind, become_it) in kinds {
        fs::remove_file(&file).unwrap();
        become_it();
        weir.line(&["ERROR", &format!("it is {kind}, not a regular file")]);
        let checks = target.checks();
        until("another check", || target.checks(), |now| *now > checks);
        let live = Client::connect(weir.admin_addr()).get("/livez").unwrap();
        assert_eq!((live.status, weir.get("/").status), (200, 200));
        if kind != "a folder" {
            weir.replace(&config(target.addr(), admin));
            weir.line(&["configuration loaded"]);
        }
    }
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn a_secret_or_a_list_that_is_not_a_regular_file_is_refused_and_nothing_stops() {
    let target = Target::named("a");
    let more = "cookie_key_file = \"key\"";
    let mut weir = Weir::start(&config(target.addr(), ""));
    let path = |name: &str| weir.file().with_file_name(name);
    fifo(&path("key"));
    fifo(&path("targets"));
    weir.replace(&config(target.addr(), more));
    weir.error("cannot read `key`: it is a pipe, not a regular file");
    let listed = "[target_group.listed]\ntargets = [{ file = \"targets\" }]";
    weir.replace(&format!("{}\n{listed}", config(target.addr(), "")));
    weir.line(&[
        "cannot use the file of targets",
        "it is a pipe, not a regular file",
    ]);
    assert_eq!(weir.get("/").body, "a");
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn check_and_run_refuse_what_would_never_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    for (file, kind) in [(pipe, "a pipe"), (PathBuf::from("/dev/zero"), "a device")] {
        for arguments in [["check"].as_slice(), &["run", "--config"]] {
            let ended = command().args(arguments).arg(&file).output().unwrap();
            let text = String::from_utf8(ended.stdout).unwrap();
            assert_eq!(ended.status.code(), Some(2), "{text}");
            let expected = format!(
                "cannot read {}: it is {kind}, not a regular file",
                file.display()
            );
            assert!(
                text.contains(&expected) && text.lines().count() == 1,
                "{text}"
            );
        }
    }
}

/// A user without privileges: the limit of threads does not apply to root.
const UNPRIVILEGED: u32 = 65534;

/// Writes a file that this user may read.
fn write_readable(file: &Path, text: &str) {
    let folder = file.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(file, text).unwrap();
}

/// The program at a path where this user may execute it. A link if possible: a file that a child
/// of another test holds open for writing cannot be executed.
fn executable_program(folder: &Path) -> PathBuf {
    let program = folder.join("weir");
    let built = Path::new(env!("CARGO_BIN_EXE_weir"));
    fs::hard_link(built, &program)
        .or_else(|_| fs::copy(built, &program).map(drop))
        .unwrap();
    program
}

fn as_unprivileged(mut program: Command) -> Command {
    if rustix::process::getuid().is_root() {
        program.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    program
}

#[test]
fn a_reload_works_where_the_system_has_no_more_threads() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    write_readable(&file, &config(a.addr(), ""));
    let program = Command::new(executable_program(folder.path()));
    let mut weir = start_by(as_unprivileged(program), &["run", "--config"], &file);
    until_answered_by(&weir, "a");
    // The same user may lower the limit.
    let mut limit = as_unprivileged(Command::new("prlimit"));
    limit.args(["--pid", &weir.pid().to_string(), "--nproc=1:1"]);
    assert!(limit.status().unwrap().success());
    fs::write(folder.path().join("targets"), b.addr().to_string()).unwrap();
    let listed = config(b.addr(), "").replace(
        &format!("\"{}\"", b.addr()),
        "{ file = \"targets\" }, \"localhost:1\"",
    );
    fs::write(
        &file,
        listed.replace(
            "[target_group.app]",
            "[target_group.app]\nfail_open = false",
        ),
    )
    .unwrap();
    weir.line(&["configuration loaded"]);
    weir.line(&["file lists other targets"]);
    assert!(weir.is_running(), "{}", weir.errors());
    assert!(!weir.errors().contains("panicked"), "{}", weir.errors());
}

#[test]
fn a_start_without_threads_is_an_error_and_not_a_panic() {
    let target = Target::named("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    write_readable(&file, &config(target.addr(), ""));
    let built = executable_program(folder.path());
    // Serving needs more threads than each of these limits.
    for limit in 1..=3 {
        let mut program = as_unprivileged(Command::new("prlimit"));
        program.arg(format!("--nproc={limit}:{limit}"));
        program.arg(&built).args(["run", "--config"]);
        let ended = program.arg(&file).output().unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{limit}: {printed}");
        assert!(printed.contains("cannot start"), "{limit}: {printed}");
        assert!(!printed.contains("panicked"), "{limit}: {printed}");
    }
}
