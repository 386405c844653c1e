//! The line of a problem as it is shown to people.

use std::fmt::{self, Display, Formatter, Write};

use super::span::{Lines, Span};
use crate::model::is_unsafe;

/// Characters of a source line that are shown; longer ones are cut around the caret.
const MAX_COLUMNS: usize = 120;
/// Characters that stay visible left of the caret in a line that is cut.
const LEAD: usize = 40;

/// Where a problem is, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Line number.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// The line of a problem with an underline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) location: Location,
    /// The line, or the part of it around the place.
    pub(super) source: String,
    /// The underline.
    pub(super) caret: String,
}

impl Excerpt {
    /// The place is that of the text; what is `shown` of it has a mark for each byte of a secret.
    pub(super) fn cut(text: &str, shown: &str, lines: &Lines, span: Span) -> Self {
        let (line, column) = lines.line_and_column(text, span.start);
        let (_, at) = lines.line_and_column(shown, span.start);
        let (source, caret) = excerpt(lines.line(shown, line), at, width(shown, span));
        Self {
            location: Location { line, column },
            source,
            caret,
        }
    }
}

/// Characters to underline: those of the span, at least one, at most what is shown.
fn width(text: &str, span: Span) -> usize {
    let text = text.get(span.start..span.end).unwrap_or_default();
    let shown = text.chars().take(MAX_COLUMNS);
    let first_line = shown.take_while(|c| !matches!(c, '\r' | '\n'));
    first_line.count().max(1)
}

/// A source line cut to a window, and the underline for it.
fn excerpt(line: &str, column: usize, width: usize) -> (String, String) {
    let length = line.chars().count();
    let at = (column - 1).min(length);
    let start = if length > MAX_COLUMNS {
        at.saturating_sub(LEAD)
    } else {
        0
    };
    let shown: String = line.chars().skip(start).take(MAX_COLUMNS).collect();
    let (before, after) = (start > 0, start + MAX_COLUMNS < length);
    let mut source = String::new();
    if before {
        source.push_str("...");
    }
    let _ = write!(source, "{}", Clean(&shown));
    if after {
        source.push_str("...");
    }
    let lead: String = shown.chars().take(at - start).collect();
    let indent = Clean(&lead).to_string().chars().count() + if before { 3 } else { 0 };
    let marked: String = shown.chars().skip(at - start).take(width).collect();
    let carets = Clean(&marked).to_string().chars().count().max(1);
    (source, " ".repeat(indent) + &"^".repeat(carets))
}

/// Text of the file for a terminal: tabs as four spaces, so that the caret stands
/// where it should, and control characters made visible, so that a file cannot
/// send escape sequences.
pub(super) struct Clean<'a>(pub(super) &'a str);

impl Display for Clean<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\t' => f.write_str("    ")?,
                c if is_unsafe(c) => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let (source, caret) = excerpt(&line, 301, 1);
        assert!(source.starts_with("...aaa") && source.ends_with("bbb..."));
        assert_eq!(source.find('X'), caret.find('^'));
    }

    #[test]
    fn the_caret_stands_under_its_character_after_tabs() {
        let (source, caret) = excerpt("\tä = \"5\"", 6, 3);
        assert_eq!(source, "    ä = \"5\"");
        assert_eq!(caret, "        ^^^");
    }

    #[test]
    fn a_place_behind_a_secret_is_that_of_the_file() {
        let (text, shown) = ("token = \"äö\", x", "token = \"****\", x");
        let at = text.find('x').expect("it is there");
        let excerpt = Excerpt::cut(text, shown, &Lines::of(text), (at..at + 1).into());
        assert_eq!(excerpt.location.column, 15);
        assert_eq!(excerpt.source, shown);
        assert_eq!(excerpt.caret.find('^'), shown.find('x'));
    }

    #[test]
    fn a_file_cannot_send_escape_sequences() {
        let (source, _) = excerpt("a = \"\u{1b}[31m\u{202e}\"", 1, 1);
        assert_eq!(source, "a = \"\u{fffd}[31m\u{fffd}\"");
    }
}
