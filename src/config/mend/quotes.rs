//! Quotes of all kinds, and strings as TOML writes them.

/// Quotes that word processors and web pages write, and what closes them.
pub(super) const QUOTES: [(char, &[char]); 9] = [
    ('\u{201c}', &['\u{201d}', '\u{201c}', '"']),
    ('\u{201d}', &['\u{201d}', '"']),
    ('\u{201e}', &['\u{201c}', '\u{201d}', '"']),
    ('\u{2018}', &['\u{2019}', '\'']),
    ('\u{2019}', &['\u{2019}', '\'']),
    ('\u{201a}', &['\u{2018}', '\u{2019}']),
    ('\u{ab}', &['\u{bb}']),
    ('\u{2033}', &['\u{2033}']),
    ('`', &['`', '\u{b4}']),
];

/// Whether a string may begin with this sign that TOML does not know.
pub(super) fn is_quote(c: char) -> bool {
    QUOTES.iter().any(|(quote, _)| *quote == c)
}

/// A text as a string of TOML; `$PORT` as Weir reads variables.
pub(super) fn string(text: &str) -> String {
    let mut escaped = String::from("\"");
    for c in variables(text).chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c => escaped.push(c),
        }
    }
    escaped + "\""
}

/// `$PORT` as `${PORT}`.
pub(in crate::config) fn variables(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let end = after.find(|c| !name(c)).unwrap_or(after.len());
        if after.starts_with(|c: char| c.is_ascii_uppercase()) {
            out.extend(["${", &after[..end], "}"]);
            rest = &after[end..];
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}
