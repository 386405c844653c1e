//! Files as others leave them: behind links, mounted alone, and turned into what is no file.

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

use crate::process::support::{Client, Target, Weir, command, eventually};

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

/// Weir with a configuration elsewhere.
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

/// The body of the answer, once the new configuration is in force.
fn answers(weir: &Weir, wanted: &str) {
    eventually(&format!("answers from {wanted}"), || {
        let body = weir.get("/").body;
        if body == wanted { Ok(()) } else { Err(body) }
    });
}

/// A link in one step, as deployments turn it.
fn turn(folder: &TempDir, link: &str, to: &str) {
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
    turn(&folder, "weir.toml", "elsewhere/real.toml");
    let weir = start_at(&folder.path().join("weir.toml"));
    answers(&weir, "a");
    fs::write(&real, config(b.addr(), "")).unwrap();
    answers(&weir, "b");
    fs::write(real.with_extension("next"), config(c.addr(), "")).unwrap();
    fs::rename(real.with_extension("next"), &real).unwrap();
    answers(&weir, "c");
}

#[test]
fn a_folder_link_that_is_turned_changes_the_configuration_and_the_targets() {
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
        turn(&folder, "current", "releases/1");
        let weir = start_at(&folder.path().join("current").join(file));
        answers(&weir, "a");
        turn(&folder, "current", "releases/2");
        answers(&weir, "b");
    }
}

#[test]
fn a_file_that_is_mounted_alone_is_loaded_when_it_is_written_to() {
    let may_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        // Without user namespaces there is nothing to mount in.
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
    answers(&weir, "a");
    fs::write(&outside, config(b.addr(), "")).unwrap();
    answers(&weir, "b");
}

#[test]
fn a_token_that_is_replaced_is_the_one_that_counts() {
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
    turn(&folder, "..data", "..1");
    turn(&folder, "token", "..data/token");
    let weir = start_at(&path("weir.toml"));
    // Nothing is asked for, but only of those with a token.
    let is_taken = |token: &str| {
        let mut client = Client::connect(weir.admin_addr());
        let reply = client.get_with_token("/api/target-groups/", token);
        reply.unwrap().status != 401
    };
    assert!(is_taken(&first) && !is_taken(&second));
    let until = |token: &str| {
        eventually("the new token", || {
            is_taken(token).then_some(()).ok_or("401".to_owned())
        });
    };
    turn(&folder, "..data", "..2");
    until(&second);
    assert!(!is_taken(&first));
    // One that is wrong changes nothing, and putting it right is enough.
    fs::write(path("..2/token"), "short").unwrap();
    weir.error("5 characters long");
    assert!(is_taken(&second));
    fs::write(path("..2/token"), &first).unwrap();
    until(&first);
    // Another configuration names another file, and that one is watched from then on.
    let other = admin.replace("\"token\"", "\"other\"");
    fs::write(path("other"), &second).unwrap();
    fs::write(path("weir.toml"), config(target.addr(), &other)).unwrap();
    until(&second);
    fs::write(path("other"), &first).unwrap();
    until(&first);
}

/// Sets it when dropped, also by a test that fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_neighbour_that_never_rests_does_not_keep_a_change_from_being_read() {
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
        let _rest = Ends(&ended);
        weir.replace(&config(b.addr(), ""));
        answers(&weir, "b");
    });
    weir.line(&["configuration loaded"]);
    assert_eq!(weir.lines(&["configuration loaded"]).len(), 1);
}

#[test]
fn a_configuration_that_is_no_regular_file_is_refused_and_nothing_stops() {
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
        eventually("another check", || {
            let more = target.checks();
            (more > checks).then_some(()).ok_or(more.to_string())
        });
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
fn a_secret_or_a_list_that_is_no_regular_file_is_refused_and_nothing_stops() {
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
            let said = format!(
                "cannot read {}: it is {kind}, not a regular file",
                file.display()
            );
            assert!(text.contains(&said) && text.lines().count() == 1, "{text}");
        }
    }
}

/// An account without privileges: root may start as many threads as it likes.
const NOBODY: u32 = 65534;

/// A file where that account may read it.
fn write_for_nobody(file: &Path, text: &str) {
    let folder = file.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(file, text).unwrap();
}

/// The program where that account may execute it: a link, where it can be one, because what
/// is being written cannot be executed, and a child of another test may hold it open.
fn program_for_nobody(folder: &Path) -> PathBuf {
    let program = folder.join("weir");
    let built = Path::new(env!("CARGO_BIN_EXE_weir"));
    fs::hard_link(built, &program)
        .or_else(|_| fs::copy(built, &program).map(drop))
        .unwrap();
    program
}

fn as_nobody(mut program: Command) -> Command {
    if rustix::process::getuid().is_root() {
        program.uid(NOBODY).gid(NOBODY);
    }
    program
}

#[test]
fn a_reload_needs_no_thread_that_the_system_does_not_give() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    write_for_nobody(&file, &config(a.addr(), ""));
    let program = Command::new(program_for_nobody(folder.path()));
    let mut weir = start_by(as_nobody(program), &["run", "--config"], &file);
    answers(&weir, "a");
    // By the same account, which may lower it.
    let mut limit = as_nobody(Command::new("prlimit"));
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
fn a_start_without_threads_is_an_error_and_no_panic() {
    let target = Target::named("a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    write_for_nobody(&file, &config(target.addr(), ""));
    let built = program_for_nobody(folder.path());
    // Serving takes more of them than any of these.
    for limit in 1..=3 {
        let mut program = as_nobody(Command::new("prlimit"));
        program.arg(format!("--nproc={limit}:{limit}"));
        program.arg(&built).args(["run", "--config"]);
        let ended = program.arg(&file).output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{limit}: {said}");
        assert!(said.contains("cannot start"), "{limit}: {said}");
        assert!(!said.contains("panicked"), "{limit}: {said}");
    }
}
