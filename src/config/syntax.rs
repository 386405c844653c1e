//! Syntax errors of TOML, in words of Weir where those are clearer.
//!
//! The parser goes on after an error, but what it finds next on the same line is
//! mostly a consequence: the first error of each line is kept. Where it is clear what was meant, the
//! help is the line as it should be, which is read again to see whether it would be accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::{DeTable, Error};

use super::context::Context;
use super::cross;
use super::mend::{self, Mended};
use super::problem::{Code, Problem, Severity};
use super::read;
use super::section::Section;
use super::span::{Lines, Span};

/// The parser's message for a key that is there twice.
const DUPLICATE: &str = "duplicate key";

/// Most errors that are listed of which it is not clear what was meant: after an unclosed bracket
/// every line fails.
const MAX_UNCLEAR: usize = 10;

/// Most errors that are listed at all.
const MAX_ERRORS: usize = 50;

/// Most lines that are tried to be mended, most rounds of it, and the longest text, bytes: what
/// is longer was not written by hand.
const MAX_TRIED: usize = 200;
const MAX_ROUNDS: usize = 5;
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Most lines above a line in which the beginning of its list is looked for.
const MAX_LIST: usize = 1000;

/// The first error of a line.
struct Slip {
    number: usize,
    span: Span,
    message: String,
    mended: Option<Mended>,
    /// The mended line with its secrets.
    line: Option<String>,
}

/// Reports the syntax errors of a text, and marks their lines in the context. Returns `true` if all
/// of them can be mended: then the rest of the file was read as if they were, and every problem has
/// been reported.
pub(super) fn check(cx: &Context<'_>, errors: &[Error]) -> bool {
    if errors.is_empty() {
        return false;
    }
    let mut slips = Slips::default();
    slips.add(
        cx,
        errors
            .iter()
            .map(|error| (place_of(error), error.message())),
    );
    let again = slips.mend_all(cx);
    let (still_wrong, others) = again
        .as_ref()
        .map(|again| again.problems(cx, &slips))
        .unwrap_or_default();
    for slip in &slips.list {
        cx.report(problem(cx, slip, still_wrong.get(&slip.number)));
    }
    cx.count_errors(slips.unlisted);
    let is_mended = again.is_some_and(|again| again.errors.is_empty());
    if is_mended && slips.list.iter().all(|slip| slip.mended.is_some()) {
        for problem in others {
            cx.report(problem);
        }
        return true;
    }
    cx.distrust(slips.broken);
    false
}

fn place_of(error: &Error) -> Span {
    error.span().unwrap_or(0..0).into()
}

/// The errors to list, and the lines that have errors.
#[derive(Default)]
struct Slips {
    list: Vec<Slip>,
    /// The lines that have been looked at.
    seen: BTreeSet<usize>,
    broken: BTreeSet<usize>,
    /// How many are counted and not listed.
    unlisted: usize,
}

impl Slips {
    /// Mends what can be and reads it again: the parser may lose what comes after an error, and
    /// find the next one once that is mended.
    fn mend_all(&mut self, cx: &Context<'_>) -> Option<Again> {
        let mut again = None;
        for _ in 0..MAX_ROUNDS {
            if self.list.iter().all(|slip| slip.mended.is_none()) {
                break;
            }
            let read = again.insert(Again::of(cx, self));
            let errors = read.errors.iter();
            if !self.add(cx, errors.map(|(span, message)| (*span, &**message))) {
                break;
            }
        }
        again
    }

    /// Adds the first error of each line that has none so far. Returns whether reading the text
    /// again may find more.
    fn add<'e>(&mut self, cx: &Context<'_>, errors: impl Iterator<Item = (Span, &'e str)>) -> bool {
        let (text, lines) = (cx.shown(), cx.lines());
        let mut errors: Vec<_> = errors
            .map(|(span, message)| (place(text, lines, span), message))
            .collect();
        errors.sort_by_key(|((_, span), _)| span.start);
        // Where a table that is there twice ends: each of its keys is there twice, too.
        let mut twin_until = 0;
        let mut is_mended = false;
        for ((number, span), message) in errors {
            let duplicate = message == DUPLICATE;
            if !self.seen.insert(number) || (duplicate && number < twin_until) {
                continue;
            }
            self.broken.insert(number);
            let mut slip = Slip {
                number,
                span,
                message: message.to_owned(),
                mended: None,
                line: None,
            };
            if !duplicate && self.list.len() < MAX_ERRORS && self.seen.len() < MAX_TRIED {
                slip.mend(cx);
                self.seen.insert(slip.number);
            }
            is_mended |= slip.mended.is_some();
            if lines.line(text, number).trim_start().starts_with('[') {
                let below = table_below(text, lines, number);
                if duplicate {
                    twin_until = below.end;
                } else if slip.mended.is_none() {
                    self.seen.extend(below.clone());
                    self.broken.extend(below);
                }
            }
            let unclear = self
                .list
                .iter()
                .filter(|slip| slip.mended.is_none())
                .count();
            if self.list.len() < MAX_ERRORS && (slip.mended.is_some() || unclear < MAX_UNCLEAR) {
                self.list.push(slip);
            } else {
                self.unlisted += 1;
            }
        }
        is_mended && self.list.len() < MAX_ERRORS
    }
}

impl Slip {
    fn mend(&mut self, cx: &Context<'_>) {
        let (text, lines) = (cx.shown(), cx.lines());
        if text.len() > MAX_TEXT {
            return;
        }
        let mend = match list_above(text, lines, self.number) {
            Some(_) => mend::mend_item,
            None => mend::mend,
        };
        self.mended = mend(lines.line(text, self.number));
        if self.mended.is_none()
            && let Some((above, mended)) = missing_comma(text, lines, self)
        {
            self.number = above;
            self.line.clone_from(&mended.line);
            self.mended = Some(mended);
            return;
        }
        self.line = mend(lines.line(cx.text, self.number)).and_then(|mended| mended.line);
    }
}

/// A text with its slips mended.
struct Again {
    text: String,
    lines: Lines,
    /// Its syntax errors, at their places in the text as it is.
    errors: Vec<(Span, String)>,
}

impl Again {
    fn of(cx: &Context<'_>, slips: &Slips) -> Self {
        let mended = slips.list.iter().filter(|slip| slip.mended.is_some());
        // A line to be taken out becomes a comment, so that no line moves.
        let mended: BTreeMap<usize, &str> = mended
            .map(|slip| (slip.number, slip.line.as_deref().unwrap_or("#")))
            .collect();
        let lines = cx.text.split('\n').enumerate();
        let text: Vec<_> = lines
            .map(|(n, line)| mended.get(&(n + 1)).copied().unwrap_or(line))
            .collect();
        let text = text.join("\n");
        let (lines, (_, errors)) = (Lines::of(&text), DeTable::parse_recoverable(&text));
        let errors = errors.iter().map(|error| {
            let span = moved(cx, place_of(error), &text, &lines);
            (span, error.message().to_owned())
        });
        let errors = errors.collect();
        Self {
            text,
            lines,
            errors,
        }
    }

    /// What would still be wrong with the mended lines, by line, and the problems of the others.
    fn problems(&self, cx: &Context<'_>, slips: &Slips) -> (BTreeMap<usize, String>, Vec<Problem>) {
        let (tree, _) = DeTable::parse_recoverable(&self.text);
        let again = Context::new(&self.text, cx.around);
        read::file(&Section::root(&again, tree.get_ref()));
        cross::check(&again);
        let mended: BTreeSet<_> = slips.list.iter().map(|slip| slip.number).collect();
        let mut still_wrong: BTreeMap<_, _> = BTreeMap::new();
        for (span, message) in &self.errors {
            let number = cx.lines().number(span.start);
            still_wrong.entry(number).or_insert_with(|| message.clone());
        }
        let mut others = Vec::new();
        for problem in again.take_problems("").iter() {
            let line = problem.span.map(|span| self.lines.number(span.start));
            if let Some(number) = line.filter(|line| mended.contains(line)) {
                // The value of a variable is not in the file.
                if problem.severity == Severity::Error && problem.code != Code::Variable {
                    let help = problem.help.iter().flat_map(|help| help.lines());
                    let words: Vec<_> = std::iter::once(&*problem.message).chain(help).collect();
                    still_wrong
                        .entry(number)
                        .or_insert_with(|| words.join("\n"));
                }
            } else {
                let span = problem
                    .span
                    .map(|span| moved(cx, span, &self.text, &self.lines));
                others.push(Problem {
                    span,
                    ..problem.clone()
                });
            }
        }
        (still_wrong, others)
    }
}

/// A place of the mended text as a place of the text itself, in which lines have other lengths.
fn moved(cx: &Context<'_>, span: Span, mended: &str, places: &Lines) -> Span {
    let offset = |at: usize| {
        let number = places.number(at);
        let within = at - places.range(mended, number).start;
        let line = cx.lines().range(cx.text, number);
        (line.start + within).min(line.end)
    };
    Span {
        start: offset(span.start),
        end: offset(span.end),
    }
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

/// The lines after a header up to the next one. The table that they belong to is unknown if the
/// header is broken.
fn table_below(text: &str, lines: &Lines, header: usize) -> Range<usize> {
    let end = (header + 1..=lines.count())
        .find(|number| lines.line(text, *number).trim_start().starts_with('['));
    header + 1..end.unwrap_or(lines.count() + 1)
}

/// The line that opens the list which a line stands in.
fn list_above(text: &str, lines: &Lines, number: usize) -> Option<usize> {
    for above in (1..number).rev().take(MAX_LIST) {
        let line = lines.line(text, above);
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some((_, value)) = line.split_once('=') {
            let opens = value.trim().starts_with('[') && !value.contains(']');
            return opens.then_some(above);
        }
        if line.starts_with('[') || line.ends_with(']') {
            return None;
        }
    }
    None
}

fn problem(cx: &Context<'_>, slip: &Slip, left: Option<&String>) -> Problem {
    let (text, lines) = (cx.shown(), cx.lines());
    let start = lines.range(text, slip.number).start;
    let (span, message, help) = if slip.message == DUPLICATE {
        let word = text.get(slip.span.start..slip.span.end).unwrap_or_default();
        let message = format!("`{word}` is there twice");
        (slip.span, message, help(&slip.message))
    } else if let Some(mended) = &slip.mended {
        let span = Span::from(start + mended.at.start..start + mended.at.end);
        let help = match (&mended.line, left) {
            (line, _) if *line != slip.line => "put the value in quotes".to_owned(),
            (Some(line), None) => format!("write {line}"),
            (Some(line), Some(left)) => format!("as TOML it is {line}, and then\n{left}"),
            (None, _) => "take the line out".to_owned(),
        };
        (span, mended.message.clone(), Some(help))
    } else if let Some((key, at)) = empty_value(lines.line(text, slip.number)) {
        let span = Span::from(start + at..start + at);
        (
            span,
            format!("`{key}` has no value"),
            Some("give it one, or take the line out".to_owned()),
        )
    } else if let Some(above) = unclosed_list(text, lines, slip) {
        let message = format!("the list that begins in line {above} is not closed");
        (
            slip.span,
            message,
            Some("a `]` is missing behind its last value".to_owned()),
        )
    } else {
        (slip.span, slip.message.clone(), help(&slip.message))
    };
    let (severity, code) = (Severity::Error, Code::Syntax);
    Problem::new(severity, code, String::new(), message, help, Some(span))
}

/// A value of a list behind one that ends its line without a comma: that line.
fn missing_comma(text: &str, lines: &Lines, slip: &Slip) -> Option<(usize, Mended)> {
    let value = |line: &str| line.trim_start().starts_with(['"', '\'', '{']);
    if !slip.message.starts_with("missing comma") || !value(lines.line(text, slip.number)) {
        return None;
    }
    let is_empty = |number: &usize| lines.line(text, *number).trim().is_empty();
    let above = (1..slip.number).rev().find(|number| !is_empty(number))?;
    let line = lines.line(text, above).trim_end();
    let item = line.trim_start();
    let ends = item.ends_with(['"', '\'', '}']) && !item.contains('#');
    let mended = Mended {
        message: "there is no comma between two values of a list".to_owned(),
        line: Some(format!("{item},")),
        at: line.len() - 1..line.len(),
    };
    (value(line) && ends).then_some((above, mended))
}

/// The line of the list that a header or another key stands in.
fn unclosed_list(text: &str, lines: &Lines, slip: &Slip) -> Option<usize> {
    let line = lines.line(text, slip.number).trim_start();
    let key = line.split_once('=').map(|(key, _)| key.trim_end());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins = key.is_some_and(|key| key.chars().all(plain)) || line.starts_with('[');
    list_above(text, lines, slip.number).filter(|_| begins)
}

/// The key of `key =`, and where its value should be.
fn empty_value(line: &str) -> Option<(&str, usize)> {
    let (key, rest) = line.split_once('=')?;
    let empty = rest.split('#').next().unwrap_or_default().trim().is_empty();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = key.trim();
    (empty && !name.is_empty() && name.chars().all(plain)).then_some((name, key.len() + 1))
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
    } else if message.starts_with("unexpected key or value") {
        "each [header] and each key = value stands on a line of its own"
    } else if message.starts_with("key with no value") || message.starts_with("invalid unquoted") {
        "TOML writes key = \"value\""
    } else {
        return None;
    };
    Some(help.to_owned())
}
