//! Turns a line that is not TOML into the TOML that was probably meant.
//!
//! The line is read leniently (any quotes, `:` for `=`, bare words, missing commas, semicolons, other
//! comments) and written again. The result is TOML, or there is none.

mod quotes;
mod reader;
mod strings;

use std::ops::Range;

use toml::de::DeTable;

use super::keys;
use super::suggest::nearest;
pub(super) use quotes::variables;
use reader::Reader;

/// What is wrong with a line, and the line that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mended {
    /// What is wrong, in one sentence without a full stop.
    pub(super) message: String,
    /// What to write; `None` if the line has to go.
    pub(super) line: Option<String>,
    /// The wrong part of the line, in bytes.
    pub(super) at: Range<usize>,
}

/// Longest line that is mended, bytes.
const MAX_LENGTH: usize = 2000;

/// Mends a line. Returns `None` if it is not clear what was meant.
pub(super) fn mend(line: &str) -> Option<Mended> {
    let text = line.trim();
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mended = conflict(text)
        .or_else(|| fence(text))
        .or_else(|| comment(text))
        .or_else(|| header(text))
        .or_else(|| statement(text))?;
    finish(line, mended, |line| DeTable::parse(line).is_ok())
}

/// Mends a line between the brackets of a list.
pub(super) fn mend_item(line: &str) -> Option<Mended> {
    let text = line.trim();
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mended = comment(text).or_else(|| items(text))?;
    let parses = |line: &String| {
        DeTable::parse(&format!("x = [\n{}\n]", line.trim_end_matches(']'))).is_ok()
    };
    finish(line, mended, parses)
}

/// Drops a result that changes nothing or is not TOML; `at` becomes a place in the whole line.
fn finish(line: &str, mut mended: Mended, parses: impl Fn(&String) -> bool) -> Option<Mended> {
    let text = line.trim();
    let changed = mended.line.as_deref() != Some(text);
    let indent = line.len() - line.trim_start().len();
    mended.at = mended.at.start + indent..mended.at.end + indent;
    (changed && mended.line.as_ref().is_none_or(parses)).then_some(mended)
}

fn drop_line(text: &str, message: &str) -> Mended {
    Mended {
        message: message.to_owned(),
        line: None,
        at: 0..text.len(),
    }
}

/// The marks of a merge conflict.
fn conflict(text: &str) -> Option<Mended> {
    let marks = ["<<<<<<<", "=======", ">>>>>>>", "|||||||"];
    marks
        .iter()
        .any(|mark| text.starts_with(mark))
        .then(|| drop_line(text, "a merge conflict that is not resolved"))
}

/// Lines that are copied along with a file from a page or a script.
fn fence(text: &str) -> Option<Mended> {
    let shell = text.starts_with("cat >") || text.starts_with("cat <<") || text == "EOF";
    (text.starts_with("```") || shell)
        .then(|| drop_line(text, "this line is not part of the configuration"))
}

/// A line that is a comment elsewhere.
fn comment(text: &str) -> Option<Mended> {
    let marks = [
        "//", "/*", "*/", "* ", "--", ";", "<!--", "REM ", "rem ", "!",
    ];
    let mark = marks.iter().find(|mark| text.starts_with(*mark))?;
    let inside = text[mark.len()..]
        .trim_end_matches("*/")
        .trim_end_matches("-->");
    Some(Mended {
        message: format!("`{}` begins no comment in TOML", mark.trim()),
        line: Some(format!("# {}", inside.trim()).trim_end().to_owned()),
        at: 0..mark.trim().len(),
    })
}

/// `[[listener]`, `[target_group "web"]` and the like.
fn header(text: &str) -> Option<Mended> {
    let inside = text.strip_prefix('[')?;
    let inside = inside.trim_start_matches(['[', ' ']);
    let (name, comment) = match inside.split_once('#') {
        Some((name, comment)) => (name, format!(" #{comment}")),
        None => (inside, String::new()),
    };
    let name = name.trim_end_matches([']', ' ', ';', ':', '{', ',']);
    let parts: Vec<_> = name
        .split(['.', ' ', ':', '/', '"', '\'', '\u{201c}', '\u{201d}'])
        .filter(|part| !part.is_empty())
        .collect();
    let first = nearest(parts.first()?, keys::FILE.names())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !parts.iter().all(|part| part.chars().all(plain)) {
        return None;
    }
    let name = [&[first], &parts[1..]].concat().join(".");
    let list = matches!(&*name, "listener" | "listener.rule");
    let (open, close) = if list { ("[[", "]]") } else { ("[", "]") };
    let line = format!("{open}{name}{close}{comment}");
    Some(Mended {
        message: if text.ends_with(';') {
            "a line of TOML ends without `;`".to_owned()
        } else {
            format!("`{text}` is not a header of TOML")
        },
        line: Some(line),
        at: 0..text.len(),
    })
}

/// A key and its value.
fn statement(text: &str) -> Option<Mended> {
    let mut reader = Reader::of(text);
    let key = reader.key()?;
    reader.separator(&key)?;
    let value = reader.values(&key);
    let line = match value {
        Some(value) => Some(format!("{key} = {value}{}", reader.comment()?)),
        None if reader.is_null => None,
        None => return None,
    };
    let (message, at) = reader.reason?;
    Some(Mended { message, line, at })
}

/// Values of a list, and perhaps its end.
fn items(text: &str) -> Option<Mended> {
    let (key, _) = text.split_once('=').unwrap_or(("=", ""));
    // Another key: the list above it is not closed.
    if key
        .trim_end()
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return None;
    }
    let mut reader = Reader::of(text);
    let mut values = Vec::new();
    let mut end = "";
    loop {
        reader.skip_space();
        if reader.rest.is_empty() || reader.rest.starts_with('#') {
            break;
        }
        if reader.take(']') {
            end = "]";
            break;
        }
        if !reader.take(',') {
            values.push(reader.value("", &[',', ';', ']'])?);
        }
    }
    let comment = reader.comment()?;
    let (message, at) = reader.reason?;
    let comma = if end.is_empty() { "," } else { "" };
    let line = Some(format!("{}{comma}{end}{comment}", values.join(", ")));
    (!values.is_empty()).then_some(Mended { message, line, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_becomes_what_was_meant() {
        let cases = [
            ("bind = \u{201c}0.0.0.0:80\u{201d}", "bind = \"0.0.0.0:80\""),
            ("bind = \u{201e}0.0.0.0:80\u{201c}", "bind = \"0.0.0.0:80\""),
            ("bind = \u{2018}0.0.0.0:80\u{2019}", "bind = \"0.0.0.0:80\""),
            ("bind = `0.0.0.0:80`", "bind = \"0.0.0.0:80\""),
            ("bind = \"0.0.0.0:80\u{201d}", "bind = \"0.0.0.0:80\""),
            ("bind = 0.0.0.0:80", "bind = \"0.0.0.0:80\""),
            ("bind = 0.0.0.0:80;", "bind = \"0.0.0.0:80\""),
            ("bind = \"0.0.0.0:80\";", "bind = \"0.0.0.0:80\""),
            ("bind = \"0.0.0.0:80\",", "bind = \"0.0.0.0:80\""),
            ("bind: 0.0.0.0:80", "bind = \"0.0.0.0:80\""),
            ("bind => \"0.0.0.0:80\"", "bind = \"0.0.0.0:80\""),
            ("bind 0.0.0.0:80;", "bind = \"0.0.0.0:80\""),
            ("bind = \"0.0.0.0:80", "bind = \"0.0.0.0:80\""),
            ("bind = 0.0.0.0:80\"", "bind = \"0.0.0.0:80\""),
            ("bind = 0.0.0.0:$PORT", "bind = \"0.0.0.0:${PORT}\""),
            (
                "bind = \"0.0.0.0:80\" // all",
                "bind = \"0.0.0.0:80\" # all",
            ),
            ("bind = 0.0.0.0:80 /* all */", "bind = \"0.0.0.0:80\" # all"),
            ("\"bind\": \"0.0.0.0:80\",", "bind = \"0.0.0.0:80\""),
            ("bind\u{a0}= \"0.0.0.0:80\"", "bind = \"0.0.0.0:80\""),
            ("fail_open = True", "fail_open = true"),
            ("fail_open = off # why", "fail_open = false # why"),
            ("access_log = off", "access_log = \"off\""),
            ("interval = 5s", "interval = \"5s\""),
            ("priority = 010", "priority = 10"),
            ("targets = [a:1, b:2]", "targets = [\"a:1\", \"b:2\"]"),
            (
                "targets = [\"a:1\" \"b:2\"]",
                "targets = [\"a:1\", \"b:2\"]",
            ),
            ("targets = \"a:1\", \"b:2\"", "targets = [\"a:1\", \"b:2\"]"),
            ("targets = a:1 b:2", "targets = [\"a:1\", \"b:2\"]"),
            ("targets = a:1, b:2", "targets = [\"a:1\", \"b:2\"]"),
            ("when = { path: \"/a\" }", "when = { path = \"/a\" }"),
            (
                "health = { path = /up interval = 5s }",
                "health = { path = \"/up\", interval = \"5s\" }",
            ),
            ("path_regex = \"^/a\\d+$\"", "path_regex = '^/a\\d+$'"),
            ("// a comment", "# a comment"),
            ("; a comment", "# a comment"),
            ("/* a comment */", "# a comment"),
            ("[[listener]", "[[listener]]"),
            ("[listener.rule]]", "[[listener.rule]]"),
            ("[target_group \"web\"]", "[target_group.web]"),
            ("[target-group web]", "[target_group.web]"),
            ("[target_group.web", "[target_group.web]"),
            ("[[listener]];", "[[listener]]"),
        ];
        for (line, expected) in cases {
            let mended = mend(line).and_then(|mended| mended.line);
            assert_eq!(mended.as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_line_without_a_meaning_goes() {
        for line in [
            "max_body = None",
            "hash = null",
            "<<<<<<< HEAD",
            "```toml",
            "EOF",
        ] {
            assert_eq!(mend(line).map(|mended| mended.line), Some(None), "{line}");
        }
    }

    #[test]
    fn a_guess_is_not_made() {
        for line in ["targets = [", "{", "what is this?", "a = \"b, c", ""] {
            assert_eq!(mend(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_mended_parses(line in "[a-c]{0,3}( |=|:|\"|'|\\[|\\]|\\{|\\}|,|;|#|/|\\$|\\\\|\u{201c}|\u{201d}|[a-z0-9.]){0,30}") {
            if let Some(Mended { line: Some(line), .. }) = mend(&line) {
                prop_assert!(DeTable::parse(&line).is_ok(), "{line}");
                prop_assert_eq!(line.lines().count(), 1);
            }
        }
    }
}
