//! `config/full.toml` and the schema say the same: every key, in its table, and no other; and
//! what the file calls a default is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use toml::{Table, Value};
use weir::config::{self, Config};

/// Tables whose keys are names of the operator's choice.
const NAMED: [&str; 5] = ["header", "query", "env", "labels", "X-Client"];

fn full() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/full.toml");
    fs::read_to_string(path).expect("it ships")
}

/// The keys that the file shows, commented out or not, as the schema writes them.
fn shown() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    // The tables that a list in a comment is about: "Of docker and swarm:".
    let mut of: Vec<String> = Vec::new();
    let mut pending = String::new();
    for line in full().lines() {
        let comment = line.strip_prefix("# ").or_else(|| line.strip_prefix('#'));
        let code = comment.unwrap_or(line);
        if let Some(names) = comment.and_then(|text| text.strip_prefix("Of ")) {
            let names = names.split([',', ':']).next().unwrap_or_default();
            let names = if names == "both" {
                "exec and webhook"
            } else {
                names
            };
            let runner = |name| format!("target_group.*.replicas.{name}");
            of = names.split(" and ").map(runner).collect();
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            table = schema_path(name.trim_matches(['[', ']']));
            let dots = table.match_indices('.').map(|(at, _)| at);
            keys.extend(dots.chain([table.len()]).map(|end| table[..end].to_owned()));
            of.clear();
            continue;
        }
        let continues = !pending.is_empty();
        let key = code.split('=').next().unwrap_or_default().trim();
        let is_key =
            code.contains(" = ") && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if comment.is_some() && !is_key {
            continue;
        }
        if continues || is_key {
            pending.push_str(code.trim_start());
            pending.push('\n');
        }
        let Ok(value) = pending.parse::<Table>() else {
            continue;
        };
        pending.clear();
        // "or { header = ... }": another shape of the value.
        if let Some((_, other)) = code.split_once(" or { ") {
            let other = other.split('}').next().unwrap_or_default();
            let shape = format!("{key} = {{ {other} }}").parse::<Table>();
            add(
                &mut keys,
                &table,
                &Value::Table(shape.expect("an inline table")),
            );
        }
        let tables = if comment.is_some() && code.starts_with("  ") {
            of.clone()
        } else {
            vec![table.clone()]
        };
        for table in &tables {
            add(&mut keys, table, &Value::Table(value.clone()));
        }
    }
    keys
}

/// `target_group.todo.health` as `target_group.*.health`.
fn schema_path(header: &str) -> String {
    let mut parts: Vec<_> = header.trim_end_matches(']').split('.').collect();
    if parts[0] == "target_group" && parts.len() > 1 {
        parts[1] = "*";
    }
    parts.join(".")
}

fn add(keys: &mut BTreeSet<String>, path: &str, value: &Value) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                keys.insert(path.clone());
                if !NAMED.contains(&key.as_str()) {
                    add(keys, &path, value);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add(keys, path, item)),
        _ => {}
    }
}

/// Actions are the same in a rule and in a listener; the schema has the tables below them once.
fn of_the_listener(key: &str) -> String {
    key.replace("listener.rule.then.", "listener.")
}

#[test]
fn every_key_of_the_schema_is_in_the_full_file_and_every_key_of_it_in_the_schema() {
    let schema: BTreeSet<_> = config::keys().into_iter().collect();
    let shown = shown();
    assert!(
        schema.len() > 190 && shown.len() > 190,
        "{} and {}",
        schema.len(),
        shown.len()
    );
    let as_listener: BTreeSet<_> = shown.iter().map(|key| of_the_listener(key)).collect();
    let is_shown =
        |key: &&String| !shown.contains(*key) && !as_listener.contains(&of_the_listener(key));
    let missing: Vec<_> = schema.iter().filter(is_shown).collect();
    assert!(missing.is_empty(), "not in config/full.toml: {missing:#?}");
    let is_known = |key: &&String| {
        let named = NAMED.iter().any(|name| key.contains(&format!(".{name}.")));
        let header = ["listener", "target_group", "target_group.*"].contains(&key.as_str());
        !schema.contains(*key) && !schema.contains(&of_the_listener(key)) && !named && !header
    };
    let unknown: Vec<_> = shown.iter().filter(is_known).collect();
    assert!(unknown.is_empty(), "not in the schema: {unknown:#?}");
}

fn read(text: &str) -> Config {
    match config::parse("full.toml", text, &|_| None) {
        Ok(parsed) => parsed.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// Whether the comment at the end of a line says that its value is the default.
fn says_default(line: &str) -> bool {
    let comment = line.split_once(" # ").map(|(_, comment)| comment);
    let parts = comment.into_iter().flat_map(|comment| comment.split("; "));
    parts
        .map(str::trim)
        .any(|part| part == "default" || part.starts_with("default. "))
}

#[test]
fn a_line_whose_value_is_called_the_default_can_be_left_out() {
    let text = full();
    let left_out = text.lines().filter(|line| says_default(line)).count();
    assert!(left_out > 20, "only {left_out} lines say it");
    let rest: Vec<_> = text.lines().filter(|line| !says_default(line)).collect();
    let (shown, short) = (read(&text), read(&rest.join("\n")));
    assert_eq!(format!("{shown:#?}"), format!("{short:#?}"));
}
