//! Reads a line of almost TOML.

use std::ops::Range;

use toml::de::DeTable;

use super::quotes::{is_quote, string};
use crate::config::keys;

/// Deepest nesting that is mended: each level is a call.
const MAX_DEPTH: usize = 8;

/// The rest of a line, and the first thing that was wrong with it.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) rest: &'t str,
    /// The message, and the part of the line.
    pub(super) reason: Option<(String, Range<usize>)>,
    /// Whether the value is another language's word for no value.
    pub(super) is_null: bool,
    /// How many lists and tables are open.
    depth: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self {
            text,
            rest: text,
            reason: None,
            is_null: false,
            depth: 0,
        }
    }

    /// Notes what is wrong with a part of the line; `length` bytes of what is left.
    pub(super) fn blame(&mut self, length: usize, reason: impl FnOnce() -> String) {
        let start = self.text.len() - self.rest.len();
        self.reason
            .get_or_insert_with(|| (reason(), start..start + length));
    }

    pub(super) fn skip_space(&mut self) {
        let odd = [
            '\u{a0}', '\u{200b}', '\u{feff}', '\u{202f}', '\u{2003}', '\u{3000}',
        ];
        let rest = self
            .rest
            .trim_start_matches(|c: char| c.is_whitespace() || odd.contains(&c));
        let space = self.rest.len() - rest.len();
        if self.rest[..space].contains(odd) {
            self.blame(space, || {
                "there is a space here that is none in TOML".to_owned()
            });
        }
        self.rest = rest;
    }

    pub(super) fn take(&mut self, expected: char) -> bool {
        let found = self.rest.strip_prefix(expected);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// A key as TOML has it: words with `-` for a space are kept.
    pub(super) fn key(&mut self) -> Option<String> {
        self.skip_space();
        if let Some(text) = self.quoted() {
            let (text, _) = text?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let bare = !text.is_empty() && text.chars().all(plain);
            return Some(if bare { text } else { string(&text) });
        }
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (key, rest) = self.rest.split_at(end);
        self.rest = rest;
        let word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        word.then(|| key.to_owned())
    }

    /// What stands between a key and its value.
    pub(super) fn separator(&mut self, key: &str) -> Option<()> {
        let before = self.rest.len();
        self.skip_space();
        for sign in ["=>", ":=", "==", "->", "=", ":", "\u{ff1d}", "\u{ff1a}"] {
            if let Some(rest) = self.rest.strip_prefix(sign) {
                if sign != "=" {
                    self.blame(sign.len(), || {
                        format!("TOML writes `=` between a key and its value, not `{sign}`")
                    });
                }
                self.rest = rest;
                return Some(());
            }
        }
        let quoted = |c: char| "\"'[".contains(c) || is_quote(c);
        // Several words may be prose.
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        let alone = word.starts_with(char::is_alphanumeric)
            && (rest.is_empty() || rest.trim_start().starts_with(['#', ';', '/']));
        let value = alone || self.rest.starts_with(quoted);
        (before > self.rest.len() && value).then(|| {
            self.blame(1, || {
                format!("there is no `=` between `{key}` and its value")
            });
        })
    }

    /// The value of a line; several values become a list. Returns `None` if there is no value.
    pub(super) fn values(&mut self, key: &str) -> Option<String> {
        let mut values = vec![self.value(key, &[',', ';', '#'])?];
        loop {
            self.skip_space();
            let before = self.rest;
            self.take(',');
            self.skip_space();
            let more = self
                .rest
                .starts_with(|c: char| "\"'[{".contains(c) || is_quote(c) || c.is_alphanumeric());
            if !more {
                let after = std::mem::replace(&mut self.rest, before);
                if before.starts_with(',') {
                    self.blame(1, || "a line of TOML ends without a comma".to_owned());
                }
                self.rest = after;
                break;
            }
            let at = std::mem::replace(&mut self.rest, before);
            self.blame(1, || "several values are a list: [\"a\", \"b\"]".to_owned());
            self.rest = at;
            values.push(self.value(key, &[',', ';', '#'])?);
        }
        match values.len() {
            1 => values.pop(),
            _ => Some(format!("[{}]", values.join(", "))),
        }
    }

    /// The rest of a line after its value, as a comment of TOML.
    pub(super) fn comment(&mut self) -> Option<String> {
        self.skip_space();
        if self.rest.starts_with(';') {
            self.blame(1, || "a line of TOML ends without `;`".to_owned());
            self.take(';');
            self.skip_space();
        }
        if self.rest.is_empty() {
            return Some(String::new());
        }
        if self.rest.starts_with('#') {
            return Some(format!(" {}", self.rest));
        }
        let mark = ["//", "/*", "<!--"]
            .into_iter()
            .find(|mark| self.rest.starts_with(mark))?;
        self.blame(mark.len(), || format!("`{mark}` begins no comment in TOML"));
        let text = self.rest[mark.len()..]
            .trim_end_matches("*/")
            .trim_end_matches("-->");
        Some(format!(" # {}", text.trim()))
    }

    /// One value as TOML writes it.
    pub(super) fn value(&mut self, key: &str, ends: &[char]) -> Option<String> {
        self.skip_space();
        if self.depth == MAX_DEPTH {
            return None;
        }
        if self.take('[') {
            self.depth += 1;
            let list = self.list(key);
            self.depth -= 1;
            return list;
        }
        if self.take('{') {
            self.depth += 1;
            let table = self.table();
            self.depth -= 1;
            return table;
        }
        if let Some(text) = self.quoted() {
            return text.map(|(text, literal)| {
                if literal && !text.contains('\'') {
                    format!("'{text}'")
                } else {
                    string(&text)
                }
            });
        }
        let end = self.word_end(ends);
        let (word, rest) = self.rest.split_at(end);
        let value = self.word(key, word.trim());
        self.rest = rest;
        value
    }

    /// The end of a bare word; `#` and `//` end it only after a space, as they may be part of it.
    fn word_end(&self, ends: &[char]) -> usize {
        let mut space = false;
        for (at, c) in self.rest.char_indices() {
            let rest = &self.rest[at..];
            let remark = space && ["#", "//", "/*"].iter().any(|mark| rest.starts_with(mark));
            if remark || (ends.contains(&c) && c != '#') {
                return at;
            }
            space = c.is_whitespace();
        }
        self.rest.len()
    }

    fn list(&mut self, key: &str) -> Option<String> {
        let mut items: Vec<String> = Vec::new();
        let mut comma = true;
        loop {
            self.skip_space();
            if self.take(']') {
                return Some(format!("[{}]", items.join(", ")));
            }
            if self.take(',') {
                comma = true;
                continue;
            }
            if self.rest.starts_with(';') {
                self.blame(1, || {
                    "the values of a list are separated by commas, not `;`".to_owned()
                });
                self.take(';');
                comma = true;
                continue;
            }
            // The list goes on in the next line.
            if self.rest.is_empty() {
                return None;
            }
            if !comma {
                self.blame(1, || {
                    "there is no comma between two values of a list".to_owned()
                });
            }
            items.push(self.value(key, &[',', ';', ']', ' '])?);
            comma = false;
        }
    }

    fn table(&mut self) -> Option<String> {
        let mut pairs: Vec<String> = Vec::new();
        let mut comma = true;
        loop {
            self.skip_space();
            if self.take('}') {
                let inside = pairs.join(", ");
                return Some(if inside.is_empty() {
                    "{}".to_owned()
                } else {
                    format!("{{ {inside} }}")
                });
            }
            if self.take(',') {
                comma = true;
                continue;
            }
            if self.rest.starts_with(';') {
                self.blame(1, || {
                    "the keys of a table are separated by commas, not `;`".to_owned()
                });
                self.take(';');
                comma = true;
                continue;
            }
            if !comma {
                self.blame(1, || {
                    "there is no comma between two keys of a table".to_owned()
                });
            }
            let key = self.key()?;
            self.separator(&key)?;
            let value = self.value(&key, &[',', ';', '}', ' '])?;
            pairs.push(format!("{key} = {value}"));
            comma = false;
        }
    }

    /// A word without quotes. Returns `None` if TOML has nothing for it.
    fn word(&mut self, key: &str, word: &str) -> Option<String> {
        let word = word.trim_end_matches(['"', '\'']);
        if word.is_empty() {
            return None;
        }
        if DeTable::parse(&format!("x = {word}")).is_ok() {
            return Some(word.to_owned());
        }
        let lower = word.to_ascii_lowercase();
        let boolean = match &*lower {
            "true" | "false" => Some(lower == "true"),
            "yes" | "on" | "enabled" | "enable" if is_boolean(key) => Some(true),
            "no" | "off" | "disabled" | "disable" if is_boolean(key) => Some(false),
            _ => None,
        };
        if let Some(value) = boolean {
            self.blame(word.len(), || {
                format!("`{word}` is not a TOML value: it is written {value}")
            });
            return Some(value.to_string());
        }
        if matches!(&*lower, "none" | "null" | "nil" | "undefined" | "~") {
            self.reason = None;
            self.blame(word.len(), || {
                format!("TOML has no `{word}`: a key without a value is left out")
            });
            self.is_null = true;
            return None;
        }
        let digits = word.trim_start_matches('0');
        if !digits.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            self.blame(word.len(), || {
                format!("`{word}` is not a number of TOML: those have no leading zeros")
            });
            return Some(digits.to_owned());
        }
        self.blame(word.len(), || {
            format!("`{word}` is not a TOML value; a string needs quotes")
        });
        let addresses: Vec<_> = word.split_whitespace().collect();
        if addresses.len() > 1 && addresses.iter().all(|word| word.contains([':', '.'])) {
            let list: Vec<_> = addresses.iter().map(|word| string(word)).collect();
            return Some(format!("[{}]", list.join(", ")));
        }
        Some(string(word))
    }
}

/// Whether a key of that name may be `true` or `false`.
fn is_boolean(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    keys::named(last).any(|key| key.kind.is_flag())
}
