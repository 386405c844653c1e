//! Places in a text.

use std::ops::Range;

/// A range of bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Where the lines of a text begin: finding the line of a byte is a binary search, so that a
/// file with a problem in every line is read in linear time.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// The first byte of each line, ascending; the first is 0.
    starts: Vec<u32>,
}

impl Lines {
    /// The lines of a text of less than 4 GiB.
    pub(super) fn of(text: &str) -> Self {
        let starts = text
            .match_indices('\n')
            .map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
        Self {
            starts: std::iter::once(0).chain(starts).collect(),
        }
    }

    /// The line of a byte, from 1; past the end of the text it is the last one.
    pub(super) fn number(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start as usize <= offset)
    }

    /// How many there are; a text that ends with a line break has an empty one behind it.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of a line (from 1) with its end. Past the last line it is empty.
    pub(super) fn range(&self, text: &str, number: usize) -> Range<usize> {
        let start = |n: usize| self.starts.get(n).map_or(text.len(), |at| *at as usize);
        start(number.saturating_sub(1))..start(number)
    }

    /// A line (from 1) without its end.
    pub(super) fn line<'t>(&self, text: &'t str, number: usize) -> &'t str {
        let line = text.get(self.range(text, number)).unwrap_or_default();
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.trim_end_matches('\r')
    }

    /// The line and column of a byte, both from 1; the column counts characters.
    ///
    /// An offset inside a character counts as its start, one past the end as the end.
    pub(super) fn line_and_column(&self, text: &str, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let number = self.number(offset);
        let start = self.range(text, number).start;
        let before = text.get(start..offset).unwrap_or_default();
        (number, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "ä = 1\r\nb = 2";
        let lines = Lines::of(text);
        assert_eq!(lines.line_and_column(text, 0), (1, 1));
        assert_eq!(lines.line_and_column(text, 1), (1, 1), "in the character");
        assert_eq!(lines.line_and_column(text, 2), (1, 2));
        assert_eq!(lines.line_and_column(text, 8), (2, 1));
        assert_eq!(lines.line_and_column(text, 999), (2, 6), "past the end");
        let all = [1, 2, 3].map(|number| lines.line(text, number));
        assert_eq!(all, ["ä = 1", "b = 2", ""]);
    }

    #[test]
    fn a_text_that_ends_with_a_line_break_has_an_empty_line_behind_it() {
        let lines = Lines::of("a\n");
        assert_eq!((lines.count(), lines.number(1), lines.number(2)), (2, 1, 2));
        assert_eq!(Lines::of("").line_and_column("", 0), (1, 1));
    }
}
