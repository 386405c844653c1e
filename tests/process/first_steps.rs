//! What is met first of Weir: `weir run --to`, `weir init`, `weir schema`, completions and
//! manual pages.

use std::process::Output;

use tempfile::TempDir;

use crate::process::support::{Client, Target, Weir, command};

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut run = command();
    run.current_dir(folder.path()).args(arguments);
    run.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn weir_runs_without_a_file_and_says_what_it_does() {
    let (one, two) = (Target::named("one"), Target::named("two"));
    let to = [&one, &two].map(|target| target.addr().to_string());
    let addresses = ["--bind", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let arguments = [&["--to", &to[0], "--to", &to[1]], &addresses[..]].concat();
    let mut weir = Weir::without_file(&arguments);
    let line = weir.line(&["no file: http://127.0.0.1:0 is forwarded to"]);
    assert!(line.contains(&to[0]) && line.contains(&to[1]), "{line}");
    let mut client = Client::connect(weir.addr());
    let mut bodies: Vec<String> = (0..4).map(|_| client.get("/").unwrap().body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    let page = Client::connect(weir.admin_addr()).get("/").unwrap();
    assert_eq!(page.status, 200, "the dashboard");
    // A reload without a file changes nothing.
    weir.signal(rustix::process::Signal::HUP);
    weir.line(&["configuration loaded: nothing changed"]);
    weir.signal(rustix::process::Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn a_target_that_is_none_is_explained() {
    let output = run(&folder(), &["run", "--to", "not an address"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the command line"), "{said}");
}

#[test]
fn each_case_of_init_is_written_once_and_can_be_used() {
    for case in ["targets", "replicas", "edge"] {
        let folder = folder();
        let output = run(&folder, &["init", "--for", case]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(
            text(&output).contains("weir check weir.toml"),
            "{}",
            text(&output)
        );
        let mut check = command();
        check
            .current_dir(folder.path())
            .env("WEIR_STATE", folder.path().join("acme"));
        let checked = check
            .args(["check", "--strict", "weir.toml"])
            .output()
            .unwrap();
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
        let before = std::fs::read(folder.path().join("weir.toml")).unwrap();
        let again = run(&folder, &["init", "--for", "targets"]);
        assert_eq!(again.status.code(), Some(2));
        assert!(text(&again).contains("stays as it is"), "{}", text(&again));
        assert_eq!(
            std::fs::read(folder.path().join("weir.toml")).unwrap(),
            before
        );
    }
}

#[test]
fn a_schema_is_printed_for_editors() {
    let output = run(&folder(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["listener"]));
    assert!(schema["definitions"]["target_group.*"].is_object());
}

#[cfg(feature = "tools")]
#[test]
fn completions_and_pages_know_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(&folder, &["completions", shell]));
        for name in ["explain", "init", "status", "--to"] {
            assert!(
                script.contains(name.trim_start_matches('-')),
                "{name} for {shell}"
            );
        }
    }
    let page = text(&run(&folder, &["man"]));
    assert!(
        page.contains(".TH weir 1") && page.contains("weir\\-explain(1)"),
        "{page}"
    );
    let written = run(&folder, &["man", "--directory", "pages"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written));
    for name in [
        "weir.1",
        "weir-run.1",
        "weir-explain.1",
        "weir-target-drain.1",
    ] {
        assert!(folder.path().join("pages").join(name).exists(), "{name}");
    }
}
