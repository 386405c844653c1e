//! `weir logs`, and where what replicas print goes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::support::{Weir, command, eventually, until};

fn config(script: &str, more: &str) -> String {
    let command = ["sh", "-c", script, "sh", "{port}"];
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "1s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo.replicas]
        command = {command:?}
        count = 1
        {more}
        "#
    )
}

fn logs(weir: &Weir, arguments: &[&str]) -> Command {
    let mut logs = command();
    logs.arg("logs").args(arguments);
    logs.env("WEIR_ADMIN", weir.admin_addr().to_string());
    logs
}

/// What `weir logs` prints.
fn listed(weir: &Weir, arguments: &[&str]) -> String {
    let output = logs(weir, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A replica that prints its lines and a line for each time that the file is there, which it removes.
const LINES: &str = "echo first; echo second >&2; while true; do \
                     if rm \"$GO\" 2>/dev/null; then echo gone; fi; sleep 0.02; done";

#[test]
fn the_lines_of_replicas_are_listed_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let env = format!("env = {{ GO = {:?} }}", go.display().to_string());
    let weir = Weir::starting(&config(LINES, &env));
    let text = until(
        "both lines",
        || listed(&weir, &["todo"]),
        |text| text.lines().count() == 2,
    );
    assert!(text.contains("replica 0  stdout  first\n"), "{text}");
    assert!(text.contains("replica 0  stderr  second\n"), "{text}");
    assert_eq!(
        listed(&weir, &["todo", "0", "--limit", "1"])
            .lines()
            .count(),
        1
    );
    assert_eq!(listed(&weir, &["todo", "7"]), "");
    assert_eq!(
        listed(&weir, &["todo", "--since", "1h", "--json"])
            .lines()
            .count(),
        2
    );
    let mut following = logs(&weir, &["todo", "--follow", "--json"]);
    let mut child = following.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["text"].as_str().unwrap().to_owned()
    };
    let mut both = [next(), next()];
    both.sort();
    assert_eq!(both, ["first", "second"]);
    std::fs::write(&go, "").unwrap();
    assert_eq!(next(), "gone");
    child.kill().unwrap();
    child.wait().unwrap();
    let unknown = logs(&weir, &["none"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("there is no target group `none`"), "{said}");
}

#[test]
fn what_a_replica_prints_may_go_into_a_file_or_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo printed; echo more >&2; exec sleep 1000";
    let to = format!(
        "output = \"file\"\noutput_dir = {:?}",
        folder.path().display().to_string()
    );
    let weir = Weir::starting(&config(script, &to));
    let file = folder.path().join("todo.0.log");
    eventually("lines in the file", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let has_all = text.contains("printed\n") && text.contains("more\n");
        has_all.then_some(()).ok_or(text)
    });
    assert_eq!(weir.lines(&["printed", "stream="]), [""; 0]);
    let kept = listed(&weir, &["todo"]);
    assert!(kept.contains("printed"), "{kept}");
    drop(weir);
    let full = "exec yes 'no space left on device'";
    let nowhere = Weir::starting(&config(full, "output = \"off\""));
    until(
        "a replica",
        || nowhere.children().len(),
        |count| *count == 1,
    );
    assert!(nowhere.status()["target_groups"].is_array());
    assert_eq!(listed(&nowhere, &["todo"]), "");
    assert_eq!(nowhere.lines(&["no space left"]), [""; 0]);
}
