//! `config/full.toml` and the table of keys say the same: every key in its table and no other,
//! and in the comment of each key what it sets, its bounds and its default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use toml::Value;
use weir::config::keys::{self, DefaultValue, Key, Kind, Table};
use weir::config::{self, Config, Profile, Timing};

use super::describe;

fn full() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/full.toml");
    fs::read_to_string(path).expect("it ships")
}

/// The keys and the comments of the file.
#[derive(Default)]
struct Shown {
    /// The whole path of each key as the table of keys has it.
    keys: BTreeSet<String>,
    /// The same keys, and the places that they stand at.
    places: BTreeMap<String, BTreeSet<String>>,
    /// Keys that the table of keys lacks.
    unknown: Vec<String>,
    /// The comments of each line with a key or a header, by its path.
    comments: BTreeMap<String, String>,
}

impl Shown {
    fn of(text: &str) -> Self {
        let mut shown = Self::default();
        let lines: Vec<_> = text
            .lines()
            .map(|line| uncommented(line).unwrap_or(line))
            .collect();
        let file: toml::Table = lines.join("\n").parse().expect("TOML");
        let top = keys::tables().next().expect("the top level");
        shown.walk(top, "", &Value::Table(file));
        shown.read_comments(text);
        shown
    }

    /// Notes the keys of a value; `at` is the place of it.
    fn walk(&mut self, table: &'static Table, at: &str, value: &Value) {
        let values = match value {
            Value::Array(items) => {
                for item in items {
                    self.walk(table, at, item);
                }
                return;
            }
            Value::Table(values) => values,
            _ => return,
        };
        for (name, value) in values {
            let place = joined(at, name);
            let Some(key) = table.key(name) else {
                self.unknown.push(place);
                continue;
            };
            let path = table.path_of(key);
            self.keys.insert(path.clone());
            self.places
                .entry(path.clone())
                .or_default()
                .insert(place.clone());
            let Some(inside) = key.kind.table() else {
                continue;
            };
            if inside.path.ends_with(".*") {
                let place = joined(&place, "*");
                for group in value.as_table().expect("named tables").values() {
                    self.walk(inside, &place, group);
                }
                self.places.entry(path).or_default().insert(place);
            } else {
                self.walk(inside, &place, value);
            }
        }
    }

    /// A comment belongs to its line, an indented one to the line above and a whole line of it to
    /// the next key or header, unless an empty line is between.
    fn read_comments(&mut self, text: &str) {
        let (mut table, mut current, mut block) = (String::new(), String::new(), String::new());
        for line in text.lines() {
            let code = uncommented(line).unwrap_or(line);
            if line.is_empty() {
                block.clear();
            } else if let Some(header) = code.strip_prefix('[') {
                table = schema_path(header.trim_matches(['[', ']']));
                current.clone_from(&table);
                self.add_comment(&current, &std::mem::take(&mut block));
            } else if let Some(key) = key_of(code) {
                current = joined(&table, key);
                block.push_str("; ");
                self.add_comment(&current, &std::mem::take(&mut block));
                let comment = code.split_once(" # ").map_or("", |(_, comment)| comment);
                self.add_comment(&current, comment);
            } else if let Some(comment) = line.strip_prefix('#') {
                block.push_str(comment);
            } else if let Some(comment) = line.trim_start().strip_prefix('#') {
                self.add_comment(&current, comment);
            }
        }
    }

    fn add_comment(&mut self, path: &str, comment: &str) {
        let comments = self.comments.entry(path.to_owned()).or_default();
        comments.push(' ');
        comments.push_str(comment);
    }

    /// All comments of a key, wherever it stands, with single spaces; inside of an inline table
    /// those of the line.
    fn comments_of(&self, path: &str) -> String {
        let mut all = String::new();
        for place in self.places.get(path).into_iter().flatten() {
            let mut around = place.as_str();
            let comment = loop {
                match (self.comments.get(around), around.rsplit_once('.')) {
                    (Some(comment), _) => break comment.as_str(),
                    (None, Some((outer, _))) => around = outer,
                    (None, None) => break "",
                }
            };
            all.push_str(comment);
        }
        let words: Vec<_> = all.split_whitespace().collect();
        words.join(" ").to_lowercase()
    }

    /// Whether a key has a line of its own.
    fn has_line(&self, path: &str) -> bool {
        let mut places = self.places.get(path).into_iter().flatten();
        places.any(|place| self.comments.contains_key(place))
    }
}

fn joined(path: &str, name: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}")
}

/// `target_group.todo.health` as `target_group.*.health`.
fn schema_path(header: &str) -> String {
    let mut parts: Vec<_> = header.split('.').collect();
    if parts[0] == "target_group" && parts.len() > 1 {
        parts[1] = "*";
    }
    parts.join(".")
}

/// The key of a line `key = value`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    let key = key.trim_end();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!key.is_empty() && key.chars().all(plain)).then_some(key)
}

/// A header or a key that is commented out, because the file has an alternative.
fn uncommented(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ")?;
    (line.starts_with('[') || key_of(line).is_some()).then_some(line)
}

/// Bounds that the head of the file gives for all keys without bounds of their own.
fn has_usual_bounds(kind: &Kind) -> bool {
    let timeout = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
    match kind {
        Kind::Duration(bounds) => *bounds == timeout,
        Kind::Count(bounds) => *bounds == (1..=65_535),
        _ => false,
    }
}

/// What the comments of a key lack.
fn missing(shown: &Shown, path: &str, key: &Key) -> Vec<String> {
    let comments = shown.comments_of(path);
    let mut facts = vec![key.help.to_owned()];
    facts.extend(describe::bounds(&key.kind).filter(|_| !has_usual_bounds(&key.kind)));
    match (&key.default, describe::value(key)) {
        (DefaultValue::Required, _) => {}
        (DefaultValue::Described(text), _) => facts.push((*text).to_owned()),
        (_, value) => {
            let own = comments
                .split(['.', ';'])
                .any(|part| part.trim() == "default");
            if !own || !shown.has_line(path) {
                facts.push(format!("default {}", value.unwrap_or_default()));
            }
        }
    }
    // The default of the words is shown.
    let line = full();
    let words = describe::words(&key.kind);
    facts.extend(words.into_iter().filter(|word| {
        let value = format!("{} = {word}", key.name);
        !squeezed(&line).contains(&value)
    }));
    facts.retain(|fact| !comments.contains(&fact.to_lowercase()));
    facts
}

/// With single spaces.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_full_file_documents_every_key() {
    let shown = Shown::of(&full());
    let keys = || keys::tables().flat_map(|table| table.keys.iter().map(move |key| (table, key)));
    assert!(keys().count() > 190, "only {} keys", keys().count());
    let paths: BTreeSet<_> = keys().map(|(table, key)| table.path_of(key)).collect();
    let missing: Vec<_> = paths.difference(&shown.keys).collect();
    assert!(missing.is_empty(), "not in config/full.toml: {missing:#?}");
    assert!(
        shown.unknown.is_empty(),
        "not in the table of keys: {:#?}",
        shown.unknown
    );
}

#[test]
fn the_comments_of_the_full_file_have_what_the_table_of_keys_has() {
    let shown = Shown::of(&full());
    let mut lacking = String::new();
    for table in keys::tables() {
        for key in table.keys {
            let path = table.path_of(key);
            for fact in missing(&shown, &path, key) {
                let _ = writeln!(lacking, "{path}: {fact}\n    {}", shown.comments_of(&path));
            }
        }
    }
    assert!(lacking.is_empty(), "config/full.toml lacks\n{lacking}");
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

#[test]
fn the_timings_that_the_full_file_shows_are_those_of_the_profile() {
    let full = read(&full());
    let scaling = full.target_groups[1]
        .autoscaling
        .as_ref()
        .expect("it is shown");
    assert_eq!(scaling.profile, Profile::Fast);
    assert_eq!(scaling.timing, Timing::of(Profile::Fast));
    let step = &scaling.step_scaling[0];
    assert_eq!(step.period, scaling.timing.period);
    assert_eq!(step.periods, scaling.timing.out_periods);
    assert_eq!(step.cooldown, scaling.timing.out_cooldown);
}

#[test]
fn the_queue_of_a_group_that_scales_to_zero_is_the_one_that_the_full_file_shows() {
    let to_zero = read(
        "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"todo\"\n\
         [target_group.todo]\nreplicas = { command = [\"todo\", \"{port}\"] }\n\
         autoscaling = { min = 0, max = 1, target_tracking = [{ metric = \"cpu\", target = 1 }] }",
    );
    let overload = &to_zero.target_groups[0].overload;
    let line = format!(
        "{{ length = {}, timeout = \"{}\" }} by default",
        overload.queue_length,
        config::display_duration(overload.queue_timeout)
    );
    assert!(full().contains(&line), "{line}");
}
