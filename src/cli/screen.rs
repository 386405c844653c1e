//! What a command prints to: how wide it is, and whether it has colours.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

use super::format::is_coloured;

/// Standard output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Screen {
    /// Columns; `None` without a bound, as of a pipe.
    pub(super) width: Option<usize>,
    /// Lines; `None` as above.
    pub(super) height: Option<usize>,
    /// Whether it shows colours.
    pub(super) is_coloured: bool,
    /// Whether what is written can be replaced: it is a terminal that knows more than lines.
    pub(super) is_addressable: bool,
}

/// What a text is to look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Of less importance.
    Dim,
    Good,
    Warning,
    Bad,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "1;31",
        }
    }
}

impl Screen {
    /// Standard output as it is now: a window may have got another size. `COLUMNS` says how wide it
    /// is if the system does not.
    pub(super) fn now() -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        let size = tcgetwinsize(&out).ok().filter(|_| is_terminal);
        let positive = |count: u16| (count > 0).then_some(usize::from(count));
        let columns = || {
            std::env::var("COLUMNS")
                .ok()?
                .parse()
                .ok()
                .and_then(positive)
        };
        Self {
            width: size.and_then(|size| positive(size.ws_col)).or_else(columns),
            height: size.and_then(|size| positive(size.ws_row)),
            is_coloured: is_coloured(&out),
            is_addressable: is_terminal && std::env::var_os("TERM").is_some_and(|it| it != "dumb"),
        }
    }

    /// The text in a style, if there are colours.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if !self.is_coloured || style == Style::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{}m{text}\x1b[0m", style.code())
    }

    /// A line of several texts, each in its style.
    pub(super) fn paint_all(&self, line: &[(Style, String)]) -> String {
        let painted = line.iter().map(|(style, text)| self.paint(*style, text));
        painted.collect()
    }
}

/// The words of a text in lines that fit into `width`, each after `indent`. A line is at least twenty
/// columns wide, whatever the screen is.
pub(super) fn wrapped(text: &str, indent: usize, width: Option<usize>) -> Vec<String> {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
        }
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_coloured_screen_paints() {
        let plain = Screen::default();
        assert_eq!(plain.paint(Style::Bad, "x"), "x");
        let coloured = Screen {
            is_coloured: true,
            ..plain
        };
        assert_eq!(coloured.paint(Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(coloured.paint(Style::Plain, "x"), "x");
        assert_eq!(coloured.paint(Style::Bad, ""), "");
    }

    #[test]
    fn words_go_to_the_next_line_where_they_do_not_fit() {
        let text = "one two three four five six seven";
        assert_eq!(wrapped(text, 4, None), [text]);
        let lines = wrapped(text, 4, Some(24));
        assert_eq!(lines, ["one two three four", "five six seven"]);
        let long = "a".repeat(50);
        assert_eq!(wrapped(&long, 0, Some(10)), [long]);
    }
}
