//! Every shell command of the documentation runs as it stands, except those listed here.
//!
//! The commands run in a folder which looks like the repository after a build, beside the
//! quickstart. Only addresses differ: ports are free ones, and a target is on loopback.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::page::{Page, root};
use crate::process::support::{Weir, eventually, taskoverflow};

/// How commands begin which no test runs, and the reason.
const NOT_RUN: [(&str, &str); 10] = [
    (
        "cargo ",
        "builds, which takes minutes and the lock of the cargo that runs this test",
    ),
    (
        "benches/peers/",
        "takes minutes and needs peers; .ci/run runs memory",
    ),
    ("tests/autobahn/", "takes minutes and packages"),
    ("k6 ", "needs k6; .ci/run runs it"),
    ("STAGES=", "needs k6; .ci/run runs it"),
    (
        "WEIR_CI_SKIP_CONTAINER=",
        "is the whole check without a part",
    ),
    ("examples/k6/", "needs k6; .ci/run runs it"),
    (
        "docker ",
        "needs a Docker Engine; .ci/container runs the same",
    ),
    ("aws ", "needs an account; .ci/deploy checks the same files"),
    (
        "for name in taskoverflow weir",
        "is a loop of commands of aws",
    ),
];

/// Of the admin listener, for `weir target`.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const REPLICAS: usize = 4;

/// A folder like the repository after `cargo build --release`, and the quickstart running.
struct Site {
    folder: TempDir,
    weir: Weir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        for new in ["bin", "data/scale", "target/release"] {
            fs::create_dir_all(path.join(new)).expect("a folder");
        }
        let link = |original: &Path, name: &str| {
            symlink(original, path.join(name)).expect("a link");
        };
        link(&root().join("config"), "config");
        link(&root().join("examples"), "examples");
        link(&root().join("tests/terraform/taskoverflow"), "infra");
        link(Path::new(env!("CARGO_BIN_EXE_weir")), "bin/weir");
        link(Path::new(env!("CARGO_BIN_EXE_weir")), "target/release/weir");
        link(taskoverflow(), "target/release/taskoverflow");
        // What examples/k6/scale would have left behind.
        fs::copy(
            root().join("examples/load/ramp.csv"),
            path.join("data/scale/load.csv"),
        )
        .expect("a copy");
        // The program may be missing, and would need an account.
        let state = root().join("tests/terraform/state/show.json");
        let script = format!("#!/bin/sh\nexec cat '{}'\n", state.display());
        let terraform = path.join("bin/terraform");
        fs::write(&terraform, script).expect("a file");
        fs::set_permissions(terraform, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let weir = Weir::starting_with(&quickstart(), |run| {
            run.current_dir(path);
        });
        Self { folder, weir }
    }

    /// The processes of the replicas, once all are healthy and they are not these.
    fn replicas(&self, other_than: &[u32]) -> Vec<u32> {
        self.weir.addr();
        eventually("healthy replicas", || {
            let targets = self.weir.targets("todo");
            let healthy = targets.iter().filter(|target| target["state"] == "healthy");
            let (healthy, pids) = (healthy.count(), self.weir.children());
            if healthy == REPLICAS && pids.len() == REPLICAS && pids != other_than {
                Ok(pids)
            } else {
                Err(format!("{pids:?} {targets:?}"))
            }
        })
    }

    fn run(&self, command: &str) -> Output {
        let admin = self.weir.admin_addr().to_string();
        let command = command
            .replace("127.0.0.1:8080", &self.weir.addr().to_string())
            .replace("127.0.0.1:9090", &admin)
            .replace("10.0.0.3:6400", "127.0.0.3:6400");
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.folder.path().join("bin");
        Command::new("sh")
            .args(["-c", &command])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", own.display()))
            .env("WEIR_ADMIN", admin)
            .env("WEIR_ADMIN_TOKEN", TOKEN)
            .output()
            .expect("a shell")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// The shipped file on free ports, and with a token.
fn quickstart() -> String {
    let mut text = fs::read_to_string(root().join("config/quickstart.toml")).expect("it ships");
    for (fixed, free) in [
        ("\"127.0.0.1:8080\"", "\"127.0.0.1:0\"".to_owned()),
        (
            "\"127.0.0.1:9090\"",
            format!("\"127.0.0.1:0\", token = \"{TOKEN}\""),
        ),
    ] {
        assert_eq!(text.matches(fixed).count(), 1, "{fixed}");
        text = text.replace(fixed, &free);
    }
    text
}

/// All commands of all pages, each with where it stands. Indented lines and `done` belong to
/// the line before.
fn commands() -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for page in Page::all() {
        for block in page.blocks() {
            if block.language() != "sh" {
                continue;
            }
            assert_eq!(block.info, "sh", "{}:{}", page.name, block.line);
            for (number, line) in (block.line..).zip(block.text.lines()) {
                if line.starts_with(' ') || line == "done" {
                    let (_, command) = commands.last_mut().expect("a line before");
                    command.push('\n');
                    command.push_str(line);
                } else if !line.is_empty() && !line.starts_with('#') {
                    commands.push((format!("{}:{number}", page.name), line.to_owned()));
                }
            }
        }
    }
    commands
}

/// Whether a command is to be run here.
fn is_run(command: &str) -> bool {
    !NOT_RUN
        .iter()
        .any(|(beginning, _)| command.starts_with(beginning))
}

#[test]
fn every_command_of_the_documentation_runs() {
    let commands = commands();
    for (beginning, reason) in NOT_RUN {
        let applies = commands
            .iter()
            .any(|(_, command)| command.starts_with(beginning));
        assert!(
            applies,
            "no command begins with `{beginning}` any more, which {reason}"
        );
    }
    let site = Site::new();
    let replicas = site.replicas(&[]);
    let mut run = 0;
    for (place, command) in commands.iter().filter(|(_, command)| is_run(command)) {
        let output = site.run(command);
        let out = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{place}: {command}\n{out}{errors}");
        if command.contains(" simulate ") {
            assert!(out.contains("\nfast "), "{place}: {command}\n{out}");
        }
        run += 1;
    }
    assert!(run >= 15, "only {run} commands");
    // One command has killed a replica, some have drawn pictures, and some have imported.
    site.replicas(&replicas);
    for picture in ["simulated.svg", "run.svg", "data/scale/simulated.svg"] {
        assert!(site.read(picture).contains("</svg>"), "{picture}");
    }
    assert!(site.read("weir.toml").contains("[[listener]]"));
}

/// Scripts of the repository which are not run are there, at least.
#[test]
fn every_script_that_the_documentation_names_can_be_executed() {
    let mut checked = 0;
    for (place, command) in commands() {
        let word = command.split_whitespace().next().unwrap_or_default();
        if [".ci/", "benches/", "examples/", "tests/"]
            .iter()
            .any(|folder| word.starts_with(folder))
        {
            checked += 1;
            let file =
                fs::metadata(root().join(word)).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_ne!(file.permissions().mode() & 0o111, 0, "{place}: {word}");
        }
    }
    assert!(checked >= 5, "only {checked} scripts");
}
