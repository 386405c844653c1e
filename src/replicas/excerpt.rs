//! What programs and engines write, as far as errors and logs repeat it.

#[cfg(any(feature = "docker", feature = "kubernetes"))]
use std::error::Error;

use crate::model::Escaped;

/// Most characters that are repeated.
const LONGEST: usize = 300;

/// The beginning of a text on one line. Characters that could end the line or drive a terminal
/// are escaped; bytes that are not UTF-8 are replaced.
pub(super) fn excerpt(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(8 * LONGEST)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", Escaped(&line[..end])),
        None => Escaped(&line).to_string(),
    }
}

/// An error with its causes: the outermost error of an HTTP client says little by itself.
#[cfg(any(feature = "docker", feature = "kubernetes"))]
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = inner.source();
    }
    excerpt(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = excerpt("ä".repeat(1000));
        assert_eq!(text.chars().count(), 301);
    }

    #[test]
    fn an_excerpt_is_one_line_that_cannot_drive_a_terminal() {
        assert_eq!(excerpt("disk\n  full\n"), "disk full");
        assert_eq!(excerpt(b"a\x1b[2J\xff"), "a\\u{1b}[2J\u{fffd}");
    }
}
