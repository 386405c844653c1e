//! TOML's own errors, in our words where those are clearer.
//!
//! The parser goes on after an error, but what it finds next on the same line is
//! mostly an echo: the first error of each line is kept.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::Error;

use super::context::Context;
use super::problem::{Code, Problem, Severity};
use super::span::{Lines, Span};

/// What the parser says when something is there twice.
const DUPLICATE: &str = "duplicate key";

/// Most syntax errors that are listed. After an unclosed bracket every line fails.
const MAX_ERRORS: usize = 10;

/// Reports the syntax errors of a text, and says which lines cannot be trusted.
pub(super) fn check(cx: &Context<'_>, mut errors: Vec<Error>) {
    if errors.is_empty() {
        return;
    }
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let (text, lines) = (cx.shown(), cx.lines());
    let mut broken = BTreeSet::new();
    let mut listed = 0;
    // Where a table that is there twice ends: each of its keys is there twice, too.
    let mut twin_until = 0;
    for error in errors {
        let (number, span) = place(text, lines, error.span().unwrap_or(0..0).into());
        let header = lines.line(text, number).trim_start().starts_with('[');
        let duplicate = error.message() == DUPLICATE;
        let echo = duplicate && number < twin_until;
        if duplicate && header {
            twin_until = table_below(text, lines, number).end;
        }
        if broken.insert(number) && !echo {
            cx.report(problem(text, lines, number, span, error.message()));
            listed += 1;
        }
        if header && !duplicate {
            broken.extend(table_below(text, lines, number));
        }
        if listed == MAX_ERRORS {
            break;
        }
    }
    cx.distrust(broken);
}

/// The line of an error; one at the end of the text belongs to its last line.
fn place(text: &str, lines: &Lines, span: Span) -> (usize, Span) {
    let number = lines.number(span.start);
    let at_start = lines.range(text, number).start == span.start;
    if !at_start || span.start == 0 || span.start < text.len() {
        return (number, span);
    }
    let end = span.start - 1;
    (number - 1, Span { start: end, end })
}

/// The lines after a header up to the next one: whose they are is unknown if the
/// header is broken.
fn table_below(text: &str, lines: &Lines, header: usize) -> Range<usize> {
    let is_header = |number: &usize| lines.line(text, *number).trim_start().starts_with('[');
    let end = (header + 1..=lines.count()).find(is_header);
    header + 1..end.unwrap_or(lines.count() + 1)
}

fn problem(text: &str, lines: &Lines, number: usize, span: Span, message: &str) -> Problem {
    let word = text.get(span.start..span.end).unwrap_or_default();
    let (span, message, help) = match unquoted_value(text, lines, number, span) {
        _ if message == DUPLICATE => (span, format!("`{word}` is there twice"), help(message)),
        Some((key, "", whole)) => (whole, format!("`{key}` has no value"), None),
        Some((key, value, whole)) => (
            whole,
            format!("`{value}` is not a TOML value; a string needs quotes"),
            Some(format!("write {key} = \"{value}\"")),
        ),
        _ => (span, message.to_owned(), help(message)),
    };
    let (severity, code) = (Severity::Error, Code::Syntax);
    Problem::new(severity, code, String::new(), message, help, Some(span))
}

/// `bind = 0.0.0.0:80`: the key, the value and its place, if the error lies in a
/// value that looks like a string without its quotes.
fn unquoted_value<'t>(
    text: &'t str,
    lines: &Lines,
    number: usize,
    span: Span,
) -> Option<(&'t str, &'t str, Span)> {
    let source = lines.line(text, number);
    let line_start = lines.range(text, number).start;
    let (key, rest) = source.split_once('=')?;
    let value = rest.split('#').next().unwrap_or(rest).trim();
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let structured = value.contains(['"', '\'', '[', ']', '{', '}', ',', '=', '\\']);
    if structured || key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    let start = line_start + source.find('=')? + 1;
    let start = start + text[start..].find(value)?;
    let whole = Span {
        start,
        end: start + value.len(),
    };
    let inside = (whole.start..=line_start + source.len()).contains(&span.start);
    inside.then_some((key, value, whole))
}

fn help(message: &str) -> Option<String> {
    let help = if message == DUPLICATE {
        "each key and each [header] can be written once; [[header]] begins another entry of a list"
    } else if message.starts_with("invalid basic string") {
        "the string is not closed; add a `\"`"
    } else if message.starts_with("missing escaped value") {
        "a backslash starts an escape; write it twice, or use single quotes: '^/a\\d+$'"
    } else if message.starts_with("unclosed") {
        "a bracket is opened here and not closed"
    } else if message.starts_with("missing comma") {
        "is the list or table before it closed?"
    } else if message.starts_with("key with no value") || message.starts_with("invalid unquoted") {
        "TOML writes key = \"value\""
    } else {
        return None;
    };
    Some(help.to_owned())
}
