//! How far a probe came, and the words in which a failed check is reported.

use std::fmt::Write as _;

use crate::model::{CheckFailure, HealthReason};

/// What a probe has learned so far. The deadline may end a probe at any time: this remains.
#[derive(Debug, Default)]
pub(super) struct ProbeProgress {
    /// Whether the connection is open.
    pub(super) connected: bool,
    /// The status, once the head of the response is in.
    pub(super) status: Option<u16>,
    /// The start of the body.
    pub(super) body: Vec<u8>,
}

/// A failed check.
pub(super) fn failure(reason: HealthReason, detail: impl Into<String>) -> CheckFailure {
    CheckFailure {
        reason,
        detail: detail.into(),
    }
}

/// Most characters of a body that are shown: one or two lines of a terminal.
const EXCERPT: usize = 200;

/// Most bytes of a body that are needed for that: a character takes at most four.
pub(super) const EXCERPT_BYTES: usize = 4 * EXCERPT;

/// The start of a body for operators: characters that could move a cursor or hide text are
/// escaped.
pub(super) fn excerpt(body: &[u8]) -> String {
    let start = &body[..body.len().min(EXCERPT_BYTES)];
    let mut shown = String::new();
    let mut length = 0;
    for c in String::from_utf8_lossy(start).chars() {
        let mut escaped = String::new();
        match c {
            '"' | '\'' => escaped.push(c),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "{}", other.escape_debug());
            }
        }
        length += escaped.chars().count();
        if length >= EXCERPT {
            shown.push('…');
            break;
        }
        shown.push_str(&escaped);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_cannot_move_the_cursor() {
        assert_eq!(excerpt(br#"{"status":"down"}"#), r#"{"status":"down"}"#);
        assert_eq!(excerpt(b"a\x1b[2J\r\nb"), r"a\u{1b}[2J\r\nb");
        assert_eq!(excerpt("a\u{202e}b".as_bytes()), r"a\u{202e}b");
        let long = excerpt("é".repeat(70_000).as_bytes());
        assert_eq!(long.chars().count(), 200);
        let escapes = excerpt(&[0x1b; 1000]);
        assert!(escapes.chars().count() <= 200);
        assert!(excerpt(&[0xff; 3]).chars().all(|c| c == '\u{fffd}'));
    }
}
