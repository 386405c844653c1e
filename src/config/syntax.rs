//! TOML's own errors, in our words where those are clearer.
//!
//! The parser goes on after an error, but what it finds next on the same line is
//! mostly an echo: the first error of each line is kept.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::Error;

use super::problem::{Code, Problem, Severity};
use super::span::{Span, line, line_and_column};

/// What the parser says when something is there twice.
const DUPLICATE: &str = "duplicate key";

/// Most syntax errors that are listed. After an unclosed bracket every line fails.
const MAX_ERRORS: usize = 10;

/// The syntax errors of a text, and the lines whose content cannot be trusted.
pub(super) fn problems(text: &str, mut errors: Vec<Error>) -> (Vec<Problem>, BTreeSet<usize>) {
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut lines = BTreeSet::new();
    let mut list = Vec::new();
    // Where a table is there twice: each of its keys is, too.
    let mut twin: Option<usize> = None;
    for error in errors {
        let (number, span) = place(text, error.span().unwrap_or(0..0).into());
        let header = line(text, number).trim_start().starts_with('[');
        let duplicate = error.message() == DUPLICATE;
        let within = |at: usize| {
            text.get(at..span.start)
                .is_none_or(|text| !text.contains("\n["))
        };
        let echo = duplicate && twin.is_some_and(within);
        if duplicate && header {
            twin = Some(span.end);
        }
        if lines.insert(number) && !echo {
            list.push(problem(text, number, span, error.message()));
        }
        if header && !duplicate {
            lines.extend(table_below(text, number));
        }
        if list.len() == MAX_ERRORS {
            break;
        }
    }
    (list, lines)
}

/// The line of an error; one at the end of the text belongs to its last line.
fn place(text: &str, span: Span) -> (usize, Span) {
    let (number, column) = line_and_column(text, span.start);
    if column > 1 || span.start == 0 || span.start < text.len() {
        return (number, span);
    }
    let end = span.start - 1;
    (number - 1, Span { start: end, end })
}

/// The lines after a header up to the next one: whose they are is unknown if the
/// header is broken.
fn table_below(text: &str, header: usize) -> Range<usize> {
    let below = text.split('\n').skip(header);
    let length = below.take_while(|line| !line.trim_start().starts_with('['));
    header + 1..header + 1 + length.count()
}

fn problem(text: &str, number: usize, span: Span, message: &str) -> Problem {
    let word = text.get(span.start..span.end).unwrap_or_default();
    let (span, message, help) = match unquoted_value(text, number, span) {
        _ if message == DUPLICATE => (span, format!("`{word}` is there twice"), help(message)),
        Some((key, "", whole)) => (whole, format!("`{key}` has no value"), None),
        Some((key, value, whole)) => (
            whole,
            format!("`{value}` is not a TOML value; a string needs quotes"),
            Some(format!("write {key} = \"{value}\"")),
        ),
        _ => (span, message.to_owned(), help(message)),
    };
    Problem {
        severity: Severity::Error,
        code: Code::Syntax,
        key: String::new(),
        message,
        help,
        span: Some(span),
    }
}

/// `bind = 0.0.0.0:80`: the key, the value and its place, if the error lies in a
/// value that looks like a string without its quotes.
fn unquoted_value(text: &str, number: usize, span: Span) -> Option<(&str, &str, Span)> {
    let source = line(text, number);
    let before = text.get(..span.start)?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
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
