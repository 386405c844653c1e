//! `weir check`: what it prints for people and programs, and its exit codes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::process::support::command;

/// Exit code, standard output, standard error.
fn check(file: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command().arg("check").arg(file).args(arguments).output();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn five_mistakes() -> PathBuf {
    repository("tests/config/broken/five_mistakes.toml")
}

/// Line, column and help of each mistake.
const MISTAKES: [(u64, u64, &str); 5] = [
    (4, 11, "did you mean `todo`? (line 11)"),
    (7, 12, "the most is 50000"),
    (13, 38, "did you mean `interval`?"),
    (13, 67, "write \"5s\""),
    (13, 80, "a 1xx is no answer"),
];

#[test]
fn a_valid_file_is_summed_up() {
    let (code, answer, errors) = check(&repository("examples/deploy/weir.toml"), &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let summary = "weir.toml: fine, 1 listener, 0 rules, 1 target group, 2 targets\n";
    assert!(answer.ends_with(summary), "{answer}");
}

#[test]
fn five_mistakes_are_shown_at_once_with_place_and_help() {
    let file = five_mistakes();
    let (code, answer, errors) = check(&file, &[]);
    assert_eq!((code, errors.as_str()), (1, ""));
    assert_eq!(answer.matches("error[").count(), 5, "{answer}");
    for (line, column, help) in MISTAKES {
        let place = format!("--> {}:{line}:{column}\n", file.display());
        assert!(answer.contains(&place), "{place} in {answer}");
        assert!(
            answer.contains(&format!("= help: {help}")),
            "{help} in {answer}"
        );
    }
    let end = format!("{}: 5 errors\n", file.display());
    assert!(answer.ends_with(&end), "{answer}");
}

#[test]
fn programs_get_the_same_as_json() {
    let (code, answer, _) = check(&five_mistakes(), &["--format", "json"]);
    assert_eq!(code, 1);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["ok"], false);
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 5);
    for (problem, (line, column, help)) in problems.iter().zip(MISTAKES) {
        assert_eq!(problem["severity"], "error");
        assert_eq!(
            (&problem["line"], &problem["column"]),
            (&line.into(), &column.into())
        );
        assert!(
            problem["help"].as_str().unwrap().contains(help),
            "{problem}"
        );
    }
    let (code, answer, _) = check(
        &repository("examples/deploy/weir.toml"),
        &["--format", "json"],
    );
    assert_eq!(code, 0);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let expected = serde_json::json!({ "ok": true, "errors": 0, "warnings": 0, "problems": [] });
    assert_eq!(answer, expected);
    // The older name of the option still works.
    let (_, short, _) = check(&repository("examples/deploy/weir.toml"), &["--json"]);
    assert_eq!(serde_json::from_str::<Value>(&short).unwrap(), expected);
}

#[test]
fn warnings_are_shown_and_do_not_fail_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unused.toml");
    let config = "[[listener]]\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }\n\
                  [target_group.idle]\ntargets = [\"10.0.0.1:80\"]\n";
    std::fs::write(&file, config).unwrap();
    let (code, answer, _) = check(&file, &[]);
    assert_eq!(code, 0, "{answer}");
    assert!(answer.contains("warning[unused]"), "{answer}");
    assert!(answer.ends_with("1 warning; it can be used\n"), "{answer}");
    let (code, answer, _) = check(&file, &["--strict"]);
    assert_eq!(code, 1, "{answer}");
    let (code, answer, _) = check(&file, &["--strict", "--format", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (code, &answer["ok"], &answer["warnings"]),
        (1, &false.into(), &1.into())
    );
}

#[test]
fn several_files_are_checked_at_once_and_the_worst_decides() {
    let good = repository("examples/deploy/weir.toml");
    let (good, bad) = (
        good.display().to_string(),
        five_mistakes().display().to_string(),
    );
    let (code, answer, _) = check(Path::new(&good), &[&bad]);
    assert_eq!(code, 1, "{answer}");
    assert!(answer.contains("weir.toml: fine, 1 listener"), "{answer}");
    assert!(
        answer.ends_with("5 errors\n2 files: 1 cannot be used\n"),
        "{answer}"
    );
    let (code, answer, _) = check(Path::new(&good), &[&good]);
    assert_eq!(code, 0);
    assert!(answer.ends_with("2 files: all can be used\n"), "{answer}");
    let (code, answer, _) = check(Path::new(&bad), &["/no/such/file", "--format", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["errors"]), (2, &6.into()));
    assert_eq!(answer["problems"][5]["file"], "/no/such/file");
}

#[test]
fn standard_input_is_a_file_too() {
    let text = std::fs::read(five_mistakes()).unwrap();
    let mut command = command();
    command.args(["check", "-"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(answer.contains("--> standard input:4:11\n"), "{answer}");
    assert!(answer.ends_with("standard input: 5 errors\n"), "{answer}");
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let answer = |variables: &[(&str, &str)]| {
        let mut command = command();
        command.arg("check").arg(five_mistakes());
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command.envs(variables.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!answer(&[]).contains('\u{1b}'), "a pipe is not a terminal");
    assert!(answer(&[("CLICOLOR_FORCE", "1")]).contains("\u{1b}[1;31merror"));
    let both = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    assert!(!answer(&both).contains('\u{1b}'));
}

#[test]
fn every_command_documents_its_exit_codes() {
    let commands = [
        "run", "check", "import", "status", "target", "simulate", "plot", "health",
    ];
    for name in commands {
        let output = command().args([name, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Exit codes:"), "{name}: {help}");
    }
}

#[test]
fn a_status_without_an_answer_has_its_own_exit_code() {
    let output = command()
        .args(["status", "--admin", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_program_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    let config = "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n\
                  [target_group.todo.replicas]\ncommand = [\"/no/such/todo\", \"{port}\"]\n";
    std::fs::write(&file, config).unwrap();
    let (code, answer, _) = check(&file, &[]);
    assert_eq!(code, 0, "{answer}");
    let message = "warning[missing-program]: there is no program `/no/such/todo`\n";
    assert!(answer.contains(message), "{answer}");
}

#[test]
fn a_file_that_cannot_be_read_has_its_own_exit_code() {
    let missing = Path::new("/no/such/weir.toml");
    let (code, answer, _) = check(missing, &[]);
    assert_eq!(code, 2);
    assert!(
        answer.starts_with("cannot read /no/such/weir.toml: "),
        "{answer}"
    );
    let (code, answer, _) = check(missing, &["--format", "json"]);
    assert_eq!(code, 2);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["problems"][0]["code"], "unreadable");
    let (code, _, _) = check(Path::new("/"), &[]);
    assert_eq!(code, 2);
}

/// Names and contents of files may come from other people.
#[test]
fn no_name_of_a_file_can_drive_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}\u{9b}31m\u{202e}.toml"));
    let listener = "[[listener]]\nbind = \"127.0.0.1:1\"\nfixed_response = { status = 200 }\n";
    std::fs::write(path("good"), listener).unwrap();
    std::fs::write(path("bad"), format!("{listener}\"k\u{9b}\" = 1\n")).unwrap();
    for name in ["good", "bad", "missing"] {
        for format in ["text", "json"] {
            let mut check = command();
            check
                .arg("check")
                .arg(path(name))
                .args(["--format", format]);
            let printed = String::from_utf8(check.output().unwrap().stdout).unwrap();
            // JSON names the file of each problem, and a good one has none.
            let is_named = printed.contains(name) || (name, format) == ("good", "json");
            assert!(is_named, "{format}: {printed:?}");
            let is_hostile = |c: char| matches!(c, '\u{9b}' | '\u{202e}' | '\u{1b}');
            assert!(
                !printed.contains(is_hostile),
                "{name}, {format}: {printed:?}"
            );
        }
    }
}
