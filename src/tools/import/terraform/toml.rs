//! The text of a TOML file.

use std::fmt::Write;

/// Lines of TOML.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    pub(super) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.lines()
    }

    pub(super) fn blank(&mut self) {
        self.0.push('\n');
    }

    /// A comment of one line; control characters become spaces.
    pub(super) fn comment(&mut self, text: &str) {
        let clean: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.line(format!("# {clean}").trim_end());
    }

    pub(super) fn entry(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {value}"));
    }
}

/// A string with exactly this text; `${` is escaped.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

pub(super) fn list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A key, in quotes if it needs them.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    // Keys have no variables.
    quote(name).replace("$${", "${")
}

/// A name as the name of an environment variable.
pub(super) fn variable(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    // A variable must not begin with a digit.
    let prefix = if name.starts_with(|c: char| c.is_ascii_digit()) {
        "_"
    } else {
        ""
    };
    format!("{prefix}{name}")
}
