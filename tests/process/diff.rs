//! `weir diff`: what it says of two files is what a reload of the second one logs.

use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::support::{Target, Weir, command};

fn diff(folder: &TempDir, old: &str, new: &str, arguments: &[&str]) -> (i32, String) {
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (old, new) = (path("old.toml", old), path("new.toml", new));
    let output: Output = command()
        .arg("diff")
        .args([old, new])
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

fn config(one: &Target, two: &Target) -> String {
    format!(
        "shutdown = {{ lame_duck = \"0s\" }}\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n\
         [target_group.todo]\ntargets = [\"{}\", \"{}\"]\nhealth = false\n\
         sticky = {{ type = \"lb_cookie\" }}\n",
        one.addr(),
        two.addr()
    )
}

#[test]
fn a_reload_logs_what_diff_has_said() {
    let (one, two) = (Target::named("one"), Target::named("two"));
    let old = config(&one, &two);
    let new = old
        .replace(&format!(", \"{}\"", two.addr()), "")
        .replace("lb_cookie\"", "lb_cookie\", cookie = \"OTHER\"")
        + "[[listener]]\nname = \"more\"\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 200 }\n";
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = diff(&folder, &old, &new, &[]);
    assert_eq!(code, 1, "{text}");
    let mut lines = text.lines();
    let summary = lines.next().unwrap();
    assert_eq!(summary, "added listener more; changed target group todo");
    assert!(
        text.contains("  listener more: listens on 127.0.0.1:0"),
        "{text}"
    );
    let weir = Weir::start(&old);
    weir.replace(&new);
    weir.line(&[&format!("configuration loaded: {summary}")]);
    for line in lines.filter(|line| line.contains("target group")) {
        weir.line(&["effect of the reload", line.trim()]);
    }
    let sessions = "target group todo: sessions end, because their cookie has another name";
    assert!(text.contains(sessions), "{text}");
}

#[test]
fn equal_files_are_the_same_for_people_and_programs() {
    let (one, two) = (Target::named("one"), Target::named("two"));
    let old = config(&one, &two);
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = diff(&folder, &old, &format!("# another comment\n{old}"), &[]);
    assert_eq!((code, text.as_str()), (0, "nothing changed\n"));
    let (code, text) = diff(&folder, &old, &format!("workers = 3\n{old}"), &["--json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["same"]), (1, &false.into()));
    assert!(
        told["refused"].as_str().unwrap().contains("restart"),
        "{told}"
    );
    let (code, text) = diff(&folder, &old, "[[listener]]\n", &[]);
    assert_eq!(code, 2);
    assert!(text.contains("new.toml has errors"), "{text}");
}
