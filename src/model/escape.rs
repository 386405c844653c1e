//! Text of clients, targets, files and other programs, escaped so that it can be shown.
//!
//! Escaped is what could end or forge a line, drive a terminal or make text read in another
//! order than it is written: control characters (C0, DEL, C1), line and paragraph separators,
//! bidirectional marks, overrides and isolates. Everything else stays as it is. Each place
//! that writes for people or programs escapes by itself; what calls it need not think of it.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

/// Whether a character must not reach a log, a terminal or a page as it is.
pub const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Shows text with its unsafe characters as `\n`, `\r`, `\t` or `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Escaping(f).write_str(self.0)
    }
}

/// Passes text on as [`Escaped`] shows it.
#[derive(Debug)]
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, from) = rest.split_at(at);
            self.0.write_str(safe)?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Text of several lines with what is unsafe within them escaped.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| Escaped(line).to_string())
        .collect();
    Cow::Owned(lines.join("\n"))
}

/// The same JSON text without unsafe characters in its strings. JSON's own escapes leave those above
/// 0x7e as they are; none of them can stand outside of a string.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    // Characters below the space outside of strings are JSON's own whitespace.
    let is_hidden = |c: char| c >= '\x7f' && is_unsafe(c);
    if json.bytes().all(|byte| byte < 0x7f) || !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) {
            // All of them are in the first plane. Writing into a `String` does not fail.
            let _ = write!(escaped, "\\u{:04x}", c as u32);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    const UNSAFE: &str = "\0\n\r\t\u{1b}\u{7f}\u{80}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\
        \u{202a}\u{202e}\u{2066}\u{2069}";

    #[test]
    fn each_unsafe_character_is_escaped_in_text() {
        assert!(UNSAFE.chars().all(is_unsafe));
        let shown = Escaped(UNSAFE).to_string();
        assert!(shown.is_ascii() && !shown.contains(is_unsafe), "{shown}");
        assert!(
            shown.starts_with(r"\u{0}\n\r\t\u{1b}\u{7f}\u{80}"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_safe_stays_as_it_is() {
        let text = "plain äöü 漢字 👩‍💻 \\ \" '";
        assert_eq!(Escaped(text).to_string(), text);
        assert!(matches!(escape_json(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(escape_lines("a\n\u{9b}b\r\n"), "a\n\\u{9b}b\\r\n");
        assert!(matches!(escape_lines("a\nb"), Cow::Borrowed("a\nb")));
    }

    #[test]
    fn escaped_json_means_the_same() {
        let json = serde_json::to_string(&[UNSAFE, "ä"]).unwrap();
        let escaped = escape_json(&json);
        assert!(!escaped.contains(is_unsafe), "{escaped}");
        let back: Vec<String> = serde_json::from_str(&escaped).unwrap();
        assert_eq!(back, [UNSAFE, "ä"]);
        // Lines and indents of a pretty text are not in a string.
        assert_eq!(escape_json("{\n\t\"a\": 1\n}"), "{\n\t\"a\": 1\n}");
    }
}
