//! Reads strings in any quotes.

use toml::de::DeTable;

use super::quotes::QUOTES;
use super::reader::Reader;

impl<'t> Reader<'t> {
    /// A string in any quotes, and whether it is one without escapes. Returns `Some(None)` if it is
    /// not closed and its end is not clear.
    #[allow(clippy::option_option)] // no string, one without an end, and one are three cases
    pub(super) fn quoted(&mut self) -> Option<Option<(String, bool)>> {
        let open = self.rest.chars().next()?;
        let inside = &self.rest[open.len_utf8()..];
        if matches!(open, '"' | '\'') {
            return Some(self.straight(open, inside));
        }
        let (_, closing) = QUOTES.iter().find(|(quote, _)| *quote == open)?;
        let Some(end) = inside.find(*closing) else {
            return Some(None);
        };
        self.blame(open.len_utf8(), || {
            format!("`{open}` is no quote of TOML: a string stands between two `\"`")
        });
        let (text, rest) = inside.split_at(end);
        self.rest = rest
            .get(rest.chars().next().map_or(0, char::len_utf8)..)
            .unwrap_or_default();
        Some(Some((text.to_owned(), false)))
    }

    fn straight(&mut self, quote: char, inside: &'t str) -> Option<(String, bool)> {
        let typographic = QUOTES
            .iter()
            .flat_map(|(open, close)| close.iter().chain([open]));
        let closing: Vec<char> = typographic.copied().filter(|c| !c.is_ascii()).collect();
        let mut escaped = false;
        let mut end = None;
        for (at, c) in inside.char_indices() {
            if c == quote && !escaped {
                end = Some((at, c));
                break;
            }
            escaped = c == '\\' && quote == '"' && !escaped;
        }
        let Some((end, close)) = end.or_else(|| {
            let at = inside.find(closing.as_slice())?;
            Some((at, inside[at..].chars().next()?))
        }) else {
            return self.unclosed(quote, inside);
        };
        let text = &inside[..end];
        let length = end + 1 + close.len_utf8();
        if close != quote {
            self.blame(length, || format!("`{close}` does not close the string"));
        }
        if quote == '\'' {
            self.rest = &self.rest[length..];
            return Some((text.to_owned(), true));
        }
        // As it is, if TOML can read it.
        let source = format!("x = \"{text}\"");
        let read = if let Ok(table) = DeTable::parse(&source) {
            let value = table.get_ref().get("x")?.get_ref().as_str()?.to_owned();
            (value, false)
        } else {
            self.blame(length, || {
                "a backslash in \"...\" begins an escape; between single quotes it is itself"
                    .to_owned()
            });
            (text.to_owned(), true)
        };
        self.rest = &self.rest[length..];
        Some(read)
    }

    /// A string without its closing quote: the rest of the line, if that has no other signs.
    fn unclosed(&mut self, quote: char, inside: &'t str) -> Option<(String, bool)> {
        if inside.contains([',', ']', '}', '#', '"', '\'']) {
            return None;
        }
        self.blame(self.rest.len(), || {
            format!("the string is not closed: a `{quote}` is missing")
        });
        self.rest = "";
        Some((inside.trim().trim_end_matches(';').to_owned(), false))
    }
}
