//! Values that no message may show.
//!
//! A problem quotes its line of the file, and a line with a secret may be quoted for a
//! mistake beside it, so secrets are masked in the text that problems quote from. That works
//! on the text, not on the tree, because a broken line has no tree.

use super::keys;
use super::suggest::nearest;

/// Parts of names that show that the value is secret.
const PARTS: [&str; 6] = ["token", "secret", "password", "passwd", "bearer", "_key"];

/// Whether the value of such a key is secret: also of one that only resembles it.
pub(super) fn is_secret(key: &str) -> bool {
    if keys::secrets().any(|secret| secret == key) {
        return true;
    }
    let lower = key.to_ascii_lowercase();
    let resembles =
        PARTS.iter().any(|part| lower.contains(part)) || nearest(key, keys::secrets()).is_some();
    resembles && keys::named(key).next().is_none()
}

/// The text with a `*` for every byte of a secret except line ends, so that no place in it moves.
pub(super) fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut kept = 0;
    for (at, _) in text.match_indices('=') {
        if at < kept || !key_before(&text[..at]).is_some_and(is_secret) {
            continue;
        }
        let rest = &text[at + 1..];
        let start = at + 1 + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let (inside, length) = value(&text[start..]);
        let (start, end) = (start + inside, start + inside + length);
        if is_variable(&text[start..end]) {
            continue;
        }
        shown.push_str(&text[kept..start]);
        shown.extend(text[start..end].bytes().map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                char::from(byte)
            } else {
                '*'
            }
        }));
        kept = end;
    }
    shown.push_str(&text[kept..]);
    shown
}

/// The key that ends here, if what stands before it shows that it is one.
fn key_before(before: &str) -> Option<&str> {
    let before = before.trim_end_matches([' ', '\t']);
    let quote = before
        .chars()
        .next_back()
        .filter(|c| matches!(c, '"' | '\''));
    let before = quote.map_or(before, |_| &before[..before.len() - 1]);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let rest = before.trim_end_matches(plain);
    let key = &before[rest.len()..];
    let rest = match quote {
        Some(quote) => rest.strip_suffix(quote)?,
        None => rest,
    };
    let rest = rest.trim_end_matches([' ', '\t', '\u{feff}', '#']);
    let first = rest.is_empty() || rest.ends_with(['\n', '\r', '{', ',', '.']);
    (first && !key.is_empty()).then_some(key)
}

/// Where a value's own text begins and how long it is: without quotes, to the end of the
/// line if they are not closed or not there.
fn value(text: &str) -> (usize, usize) {
    for quote in ["\"\"\"", "'''"] {
        if let Some(inside) = text.strip_prefix(quote) {
            return (3, inside.find(quote).unwrap_or(inside.len()));
        }
    }
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return (0, text.find(['\r', '\n']).unwrap_or(text.len()));
    };
    let mut escaped = false;
    let inside = &text[1..];
    let end = inside.find(|c| {
        let ends = (c == quote && !escaped) || matches!(c, '\r' | '\n');
        escaped = c == '\\' && quote == '"' && !escaped;
        ends
    });
    (1, end.unwrap_or(inside.len()))
}

/// Whether the value is `${NAME}`, which names the secret and does not show it.
fn is_variable(text: &str) -> bool {
    let name = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        let cases = [
            ("token = \"abc\" # x", "token = \"***\" # x"),
            (
                "admin = { token = 'abc', bind = 1 }",
                "admin = { token = '***', bind = 1 }",
            ),
            ("admin.token=\"a\\\"c\"", "admin.token=\"****\""),
            ("\"cookie_key\" = \"ab\"", "\"cookie_key\" = \"**\""),
            ("token = \"abc", "token = \"***"),
            ("token = abc, d\nbind = 1", "token = ******\nbind = 1"),
            ("tokne = \"abc\"", "tokne = \"***\""),
            ("cookie_secret = \"abc\"", "cookie_secret = \"***\""),
            ("#token = \"abc\"", "#token = \"***\""),
            (
                "cookie_key = \"\"\"\na\nb\"\"\"\nc = 1",
                "cookie_key = \"\"\"\n*\n*\"\"\"\nc = 1",
            ),
            (
                "env = { API_TOKEN = \"abc\" }",
                "env = { API_TOKEN = \"***\" }",
            ),
            ("token = \"${TOKEN}\"", "token = \"${TOKEN}\""),
            ("token = \"${TOKEN:-ab}\"", "token = \"************\""),
            ("token_file = \"/a\"", "token_file = \"/a\""),
            (
                "rate_limit = { key = \"client_ip\" }",
                "rate_limit = { key = \"client_ip\" }",
            ),
            ("query = [\"token=abc\"]", "query = [\"token=abc\"]"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected);
        }
    }

    proptest! {
        #[test]
        fn places_stay_where_they_are(text in "(token|=|\"|\\PC|\n| |'''){0,40}") {
            let masked = masked(&text);
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(masked.lines().count(), text.lines().count());
        }
    }
}
