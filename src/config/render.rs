//! Problems for people: the place, the line, a caret, the way out.

use std::fmt::{self, Display, Formatter, Write};

use super::problem::{Location, Problem, Problems, Severity};
use super::span::{Lines, Span};
use crate::model::is_unsafe;

/// Characters of a source line that are shown; longer ones are cut around the caret.
const MAX_COLUMNS: usize = 120;
/// What stays visible left of the caret in a line that is cut.
const LEAD: usize = 40;

impl Display for Problems {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.display(false).fmt(f)
    }
}

/// Problems with or without colours.
struct Rendered<'a> {
    problems: &'a Problems,
    is_coloured: bool,
}

impl Display for Rendered<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter() {
            self.write(problem, f)?;
            f.write_char('\n')?;
        }
        let left_out = self.problems.left_out();
        if left_out > 0 {
            writeln!(f, "and {left_out} more\n")?;
        }
        let file = Clean(&self.problems.file);
        write!(f, "{file}: {}", self.problems.summary())
    }
}

/// The colours of rustc, as the numbers of ANSI terminals.
#[derive(Clone, Copy)]
enum Colour {
    Error = 31,
    Warning = 33,
    Frame = 34,
    Help = 36,
}

impl Problems {
    /// As text for people; with colours if they are wanted.
    pub fn display(&self, is_coloured: bool) -> impl Display {
        Rendered {
            problems: self,
            is_coloured,
        }
    }

    /// "2 errors, 1 warning".
    fn summary(&self) -> String {
        let parts = [(Severity::Error, "error"), (Severity::Warning, "warning")];
        let parts = parts
            .map(|(severity, word)| (self.count(severity), word))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            return "no problems".to_owned();
        }
        parts.join(", ")
    }
}

impl Rendered<'_> {
    fn write(&self, problem: &Problem, f: &mut Formatter<'_>) -> fmt::Result {
        let (severity, colour) = match problem.severity {
            Severity::Error => ("error", Colour::Error),
            Severity::Warning => ("warning", Colour::Warning),
        };
        let severity = self.paint(colour, &format!("{severity}[{}]", problem.code.name()));
        writeln!(f, "{severity}: {}", Clean(&problem.message))?;
        let file = Clean(&self.problems.file);
        let (arrow, bar) = (
            self.paint(Colour::Frame, "-->"),
            self.paint(Colour::Frame, "|"),
        );
        let Some(excerpt) = &problem.excerpt else {
            writeln!(f, "  {arrow} {file}")?;
            return self.write_help(problem, "", f);
        };
        let Location { line, column } = excerpt.location;
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "{margin}{arrow} {file}:{line}:{column}")?;
        writeln!(f, "{margin} {bar}")?;
        writeln!(f, "{line} {bar} {}", excerpt.source)?;
        writeln!(f, "{margin} {bar} {}", self.paint(colour, &excerpt.caret))?;
        self.write_help(problem, &margin, f)
    }

    fn write_help(&self, problem: &Problem, margin: &str, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(help) = &problem.help else {
            return Ok(());
        };
        let lead = self.paint(Colour::Help, "= help:");
        for (n, line) in help.lines().enumerate() {
            let lead = if n == 0 { &lead } else { "       " };
            writeln!(f, "{margin} {lead} {}", Clean(line))?;
        }
        Ok(())
    }

    /// Bold and in colour.
    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.is_coloured {
            format!("\u{1b}[1;{}m{text}\u{1b}[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

/// What is shown of the place of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) location: Location,
    /// The line, or the part of it around the place.
    source: String,
    /// The underline.
    caret: String,
}

impl Excerpt {
    pub(super) fn cut(text: &str, lines: &Lines, span: Span) -> Self {
        let (line, column) = lines.line_and_column(text, span.start);
        let (source, caret) = excerpt(lines.line(text, line), column, width(text, span));
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
struct Clean<'a>(&'a str);

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
    fn colours_are_added_and_change_nothing_else() {
        let text = "workers = 0\n";
        let problems = crate::config::parse("weir.toml", text, &|_| None).unwrap_err();
        let coloured = problems.display(true).to_string();
        assert!(
            coloured.contains("\u{1b}[1;31merror[out-of-range]\u{1b}[0m: "),
            "{coloured}"
        );
        let codes = ["0m", "1;31m", "1;34m", "1;36m"].map(|code| format!("\u{1b}[{code}"));
        let plain = codes
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, problems.to_string());
    }

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
    fn a_file_cannot_send_escape_sequences() {
        let (source, _) = excerpt("a = \"\u{1b}[31m\u{202e}\"", 1, 1);
        assert_eq!(source, "a = \"\u{fffd}[31m\u{fffd}\"");
    }
}
