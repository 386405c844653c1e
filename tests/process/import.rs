//! `weir import terraform`: Weir accepts what it writes, and serves with it.

use std::collections::BTreeSet;
use std::path::Path;

use crate::process::support::{Client, Target, Weir, command, eventually, taskoverflow};

const FILES: &str = "tests/terraform/taskoverflow";

struct Run {
    code: i32,
    out: String,
    errors: String,
}

fn weir(arguments: &[&str]) -> Run {
    let mut weir = command();
    weir.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    let output = weir.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        errors: text(output.stderr),
    }
}

fn import(arguments: &[&str]) -> Run {
    weir(&[&["import", "terraform"], arguments].concat())
}

/// Asserts that `weir check` accepts a configuration.
fn check(config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    std::fs::write(&file, config).unwrap();
    let checked = weir(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.code, 0, "{}\n{config}", checked.out);
}

#[test]
fn an_imported_service_is_accepted_and_serves_from_targets_that_run() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let targets = format!("{},{}", a.addr(), b.addr());
    let imported = import(&[FILES, "--targets", &targets]);
    assert_eq!(imported.code, 0, "{}", imported.errors);
    check(&imported.out);
    let weir = Weir::starting_with(&imported.out, |run| {
        run.env("WEIR_BIND", "127.0.0.1:0");
    });
    let mut client = Client::connect(weir.addr());
    let answered = eventually("answers of both targets", || {
        let replies = (0..4).map(|_| client.get("/api/v1/todos").unwrap());
        let replies: Vec<_> = replies.collect();
        assert!(replies.iter().all(|reply| reply.status == 200));
        let names: BTreeSet<String> = replies.into_iter().map(|reply| reply.body).collect();
        if names.len() == 2 {
            Ok(names)
        } else {
            Err(format!("{names:?}"))
        }
    });
    assert_eq!(Vec::from_iter(answered), ["a", "b"]);
}

#[test]
fn an_imported_service_is_accepted_and_serves_from_replicas_that_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("imported.toml");
    let written = import(&[FILES, "--output", file.to_str().unwrap()]);
    assert_eq!(
        (written.code, written.out.as_str()),
        (0, ""),
        "{}",
        written.errors
    );
    // What was not imported is printed to standard error.
    assert!(
        written.errors.contains("not taken over:\n"),
        "{}",
        written.errors
    );
    assert!(
        written.errors.contains("DATABASE_URL"),
        "{}",
        written.errors
    );
    let config = std::fs::read_to_string(&file).unwrap();
    check(&config);
    let weir = Weir::starting_with(&config, |run| {
        run.env("WEIR_BIND", "127.0.0.1:0")
            .env("TASKOVERFLOW_PROGRAM", taskoverflow())
            .current_dir(folder.path());
    });
    let addr = weir.addr();
    // 503 until the replica's first check has passed.
    let reply = eventually("a todo list", || {
        let reply = Client::connect(addr).get("/api/v1/todos").unwrap();
        if reply.status == 200 {
            Ok(reply)
        } else {
            Err(reply.head)
        }
    });
    assert!(reply.header("x-replica").is_some(), "{}", reply.head);
}

#[test]
fn another_command_and_values_of_variables_can_be_given() {
    let imported = import(&[
        FILES,
        "--command",
        "todo serve --port {port}",
        "--var",
        "cpu_target=35.5",
        "--var",
        "service_port=7000",
    ]);
    assert_eq!(imported.code, 0, "{}", imported.errors);
    let line = r#"command = ["todo", "serve", "--port", "{port}"]"#;
    assert!(imported.out.contains(line), "{}", imported.out);
    assert!(imported.out.contains("target = 35.5 }"), "{}", imported.out);
    assert!(imported.out.contains("\nport = 7000\n"), "{}", imported.out);
    for (runner, line) in [
        ("docker", "\ndocker = { image"),
        ("ecs", "\necs = { cluster"),
    ] {
        let imported = import(&[FILES, "--replicas", runner]);
        assert_eq!(imported.code, 0, "{}", imported.errors);
        assert!(imported.out.contains(line), "{}", imported.out);
    }
}

#[test]
fn files_that_cannot_be_read_and_results_that_cannot_be_used_have_their_exit_codes() {
    let missing = import(&["/no/such/file.tf"]);
    assert_eq!((missing.code, missing.out.as_str()), (2, ""));
    assert!(
        missing.errors.starts_with("cannot read /no/such/file.tf: "),
        "{}",
        missing.errors
    );
    let folder = tempfile::tempdir().unwrap();
    let empty = import(&[folder.path().to_str().unwrap()]);
    assert_eq!(empty.code, 2);
    assert!(
        empty.errors.ends_with("has no .tf files\n"),
        "{}",
        empty.errors
    );
    let nowhere = import(&[FILES, "-o", "/no/such/folder/weir.toml"]);
    assert_eq!(nowhere.code, 2);
    // No resource that could become a listener.
    let file: &Path = &folder.path().join("main.tf");
    std::fs::write(file, "resource \"aws_lambda_function\" \"a\" {\n}\n").unwrap();
    let beyond = import(&[folder.path().to_str().unwrap()]);
    assert_eq!(beyond.code, 1);
    assert!(
        beyond.errors.contains("no listener that Weir could be"),
        "{}",
        beyond.errors
    );
}

#[test]
fn files_of_variables_are_read_in_terraforms_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "main.tf",
        "resource \"aws_lb_target_group\" \"a\" { port = var.port }",
    );
    write("terraform.tfvars", "port = 1000");
    // Its name sorts before the other, and Terraform reads it after.
    write("a.auto.tfvars", "port = 2000");
    let imported = import(&[folder.path().to_str().unwrap()]);
    assert!(imported.out.contains("\nport = 2000\n"), "{}", imported.out);
}

#[test]
fn a_file_that_was_edited_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.toml");
    let path = file.to_str().unwrap();
    let first = import(&[FILES, "-o", path]);
    assert_eq!(first.code, 0, "{}", first.errors);
    let expected = format!("wrote {path}: 1 listener, 0 rules, 1 target group, 1 target; 2 things");
    assert!(first.errors.contains(&expected), "{}", first.errors);
    check(&std::fs::read_to_string(&file).unwrap());
    // An unedited file is written again.
    assert_eq!(import(&[FILES, "-o", path, "--var", "x=1"]).code, 0);
    let edited = std::fs::read_to_string(&file)
        .unwrap()
        .replace("max = 4", "max = 3");
    std::fs::write(&file, &edited).unwrap();
    let refused = import(&[FILES, "-o", path]);
    assert_eq!(refused.code, 2);
    assert!(refused.errors.contains("--force"), "{}", refused.errors);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), edited);
    assert_eq!(import(&[FILES, "-o", path, "--force"]).code, 0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("max = 4"));
}

#[test]
fn a_plan_comes_in_a_file_or_by_standard_input() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform/plan/plan.json");
    let named = import(&[path.to_str().unwrap()]);
    assert_eq!(named.code, 0, "{}", named.errors);
    let mut piped = command();
    piped.args(["import", "terraform", "-"]);
    piped.stdin(std::fs::File::open(&path).unwrap());
    let piped = piped.output().unwrap();
    assert!(piped.status.success());
    let piped = String::from_utf8(piped.stdout).unwrap();
    let path = path.to_str().unwrap();
    assert_eq!(named.out.replace(path, "standard input"), piped);
}
