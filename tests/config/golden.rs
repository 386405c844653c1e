//! Every `broken/*.toml` has the expected answer beside it, as `.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test suite config` writes the answers anew; read the
//! difference as if the mistake were yours.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use weir::config::{self, Problems, Severity};

/// The environment of these tests: two variables, and nothing of the machine's.
fn env(name: &str) -> Option<String> {
    match name {
        "WEIR_TEST_PORT" => Some("6400".to_owned()),
        "WEIR_TEST_WORD" => Some("word".to_owned()),
        _ => None,
    }
}

/// The files beside these files: one with a key that is cut off.
fn files(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("short.key") => Ok(b"0123456789abcdef0123456789abcdef\n".to_vec()),
        // Made once: of `site.example`, from 2020 to 2045, by authorities of which `ca.crt` is the root.
        Some(name) if name.starts_with("tls/") => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
            fs::read(folder.join(name))
        }
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

pub(crate) fn broken_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken");
    let entries = fs::read_dir(dir).expect("the folder is in the repository");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 250, "found only {} files", files.len());
    files
}

/// The problems of a file, under its name without a folder.
fn problems(path: &Path) -> (Problems, bool) {
    let text = fs::read_to_string(path).expect("a text file");
    problems_of(path, &text)
}

/// The problems of a text that could be in that file, and whether it is accepted.
pub(crate) fn problems_of(path: &Path, text: &str) -> (Problems, bool) {
    let name = path.file_name().expect("a file").to_string_lossy();
    match config::parse_with_files(&name, text, &env, &files) {
        Ok(parsed) => (parsed.warnings, true),
        Err(problems) => (problems, false),
    }
}

#[test]
fn each_broken_file_gets_its_answer() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for path in broken_files() {
        let (problems, _) = problems(&path);
        let answer = format!("{problems}\n");
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &answer).expect("a writable folder");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if answer != expected {
            different.push(format!(
                "--- {}\n{expected}\n+++ now\n{answer}",
                golden.display()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn each_broken_file_is_refused_or_warned_about() {
    for path in broken_files() {
        let (problems, accepted) = problems(&path);
        assert!(!problems.is_empty(), "{}", path.display());
        let errors = problems.count(Severity::Error);
        assert_eq!(accepted, errors == 0, "{}", path.display());
        for problem in problems.iter() {
            let place = problem.location();
            let whole_file = problem.key.is_empty() || !problem.key.contains('.');
            assert!(place.is_some() || whole_file, "{problem:?} has no place");
        }
    }
}

/// Every key is wrong in at least one of the files.
#[test]
fn every_key_is_wrong_in_some_file() {
    let mut wrong = BTreeSet::new();
    for path in broken_files() {
        let (problems, _) = problems(&path);
        for problem in problems.iter() {
            let key = without_names(&problem.key);
            // Actions are the same in a rule and in a listener; the table of keys has them once.
            wrong.insert(key.replace("listener.rule.then.", "listener."));
            wrong.insert(key);
        }
    }
    let tables = config::keys::tables();
    let known: Vec<_> = tables
        .flat_map(|table| table.keys.iter().map(move |key| table.path_of(key)))
        .collect();
    assert!(known.len() > 190, "found only {} keys", known.len());
    let missing: Vec<_> = known.iter().filter(|key| !wrong.contains(*key)).collect();
    assert!(missing.is_empty(), "never wrong: {missing:#?}");
}

/// `listener[0].rule[1].then.forward[0].group` as the table of keys names it.
fn without_names(key: &str) -> String {
    let mut plain = String::new();
    let mut index = false;
    for c in key.chars() {
        index = (index || c == '[') && c != ']';
        if !index && c != ']' {
            plain.push(c);
        }
    }
    let parts = plain.split('.').enumerate();
    let group = plain.starts_with("target_group.");
    let named = parts.map(|(n, part)| if group && n == 1 { "*" } else { part });
    named.collect::<Vec<_>>().join(".")
}

/// Five mistakes, each with its place and a way out.
#[test]
fn five_mistakes_are_reported_at_once() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken/five_mistakes.toml");
    let (problems, _) = problems(&path);
    assert_eq!(problems.iter().count(), 5, "{problems}");
    for problem in problems.iter() {
        assert!(problem.location().is_some(), "{problem:?}");
        assert!(problem.help.is_some(), "{problem:?}");
    }
}

#[test]
fn programs_get_the_same_as_json() {
    let text = "workers = 0\n";
    let problems = config::parse("weir.toml", text, &env).expect_err("it has no listener");
    let json = serde_json::to_value(&problems).expect("plain data");
    let expected = serde_json::json!([
        {
            "severity": "error",
            "code": "missing-key",
            "file": "weir.toml",
            "line": null,
            "column": null,
            "key": "listener",
            "message": "there is no [[listener]]: Weir would have nothing to do",
            "help": "write\n    [[listener]]\n    bind = \"0.0.0.0:8080\"\n    forward = \"NAME\"",
        },
        {
            "severity": "error",
            "code": "out-of-range",
            "file": "weir.toml",
            "line": 1,
            "column": 11,
            "key": "workers",
            "message": "`workers` must be at least 1",
            "help": "leave it out for one per core",
        },
    ]);
    assert_eq!(json, expected);
}
