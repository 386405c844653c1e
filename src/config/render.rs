//! Problems as text: the place, the line with a caret, and what to write instead.

use std::fmt::{self, Display, Formatter, Write};

use super::excerpt::{Clean, Location};
use super::problem::{Problem, Problems, Severity};

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

#[cfg(test)]
mod tests {
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
}
