//! Places in a text.

use std::ops::Range;

/// A range of bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// A value and where the file says it.
#[derive(Clone, Debug)]
pub(super) struct Mark<T> {
    pub(super) value: T,
    /// The key it belongs to, like `listener[0].forward`.
    pub(super) key: String,
    pub(super) span: Span,
}

/// The line and column of a byte, both from 1; the column counts characters.
///
/// An offset inside a character counts as its start, one past the end as the end.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[line_start..].chars().count() + 1)
}

/// A line (from 1) without its end; empty past the end of the text.
pub(super) fn line(text: &str, number: usize) -> &str {
    let line = text.split('\n').nth(number.saturating_sub(1));
    line.unwrap_or_default().trim_end_matches('\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "ä = 1\r\nb = 2";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 1), (1, 1), "inside the character");
        assert_eq!(line_and_column(text, 2), (1, 2));
        assert_eq!(line_and_column(text, 8), (2, 1));
        assert_eq!(line_and_column(text, 999), (2, 6), "past the end");
        assert_eq!(
            (line(text, 1), line(text, 2), line(text, 3)),
            ("ä = 1", "b = 2", "")
        );
    }
}
