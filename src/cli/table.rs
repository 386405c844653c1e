//! Text in aligned columns, which fits the screen: where it is too narrow, long texts are shortened
//! first, then columns are left out, those of the least importance before the others.

use super::screen::{Screen, Style};
use crate::model::Escaped;

/// Between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    /// Columns with a higher number are left out before others; one with 0 never is.
    rank: u8,
    /// How short its texts may become; `None` if they must not.
    least: Option<usize>,
}

impl Column {
    /// One that is left out before those of lower rank.
    pub(super) const fn ranked(name: &'static str, rank: u8) -> Self {
        Self {
            name,
            rank,
            least: None,
        }
    }

    /// Its texts may be shortened to so many characters.
    pub(super) const fn shrinking_to(self, least: usize) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }
}

impl From<&'static str> for Column {
    /// One that is never left out.
    fn from(name: &'static str) -> Self {
        Self::ranked(name, 0)
    }
}

/// A part of a line which looks the same from its beginning to its end.
pub(super) type Piece = (Style, String);

/// A text of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn styled(style: Style, text: impl Into<String>) -> Self {
        Self {
            text: printable(&text.into()),
            style,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Whether it says nothing.
    fn is_empty(&self) -> bool {
        self.text.is_empty() || self.text == "-"
    }

    /// At most so wide.
    fn piece(&self, width: usize) -> Piece {
        if self.width() > width {
            (self.style, shortened(&self.text, width))
        } else {
            (self.style, self.text.clone())
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(Style::Plain, text)
    }
}

/// A table with a header. Every row has as many cells as the header.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    columns: [Column; COLUMNS],
    rows: Vec<[Cell; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new<C: Into<Column>>(header: [C; COLUMNS]) -> Self {
        let columns = header.map(Into::into);
        Self {
            columns,
            rows: vec![columns.map(|column| Cell::styled(Style::Dim, column.name))],
        }
    }

    pub(super) fn row<C: Into<Cell>>(&mut self, cells: [C; COLUMNS]) {
        self.rows.push(cells.map(Into::into));
    }

    /// Whether it has no row beside its header.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Renders the lines as wide as they are, each after `indent`.
    pub(super) fn render(&self, indent: &str) -> String {
        self.render_on(&Screen::default(), indent)
    }

    /// Renders the lines as wide as the screen is at most, each after `indent`.
    pub(super) fn render_on(&self, screen: &Screen, indent: &str) -> String {
        let room = screen.width.map(|width| width.saturating_sub(indent.len()));
        let mut text = String::new();
        for line in self.lines(room.unwrap_or(usize::MAX)) {
            text.push_str(indent);
            text.push_str(&screen.paint_all(&line));
            text.push('\n');
        }
        text
    }

    /// The lines, the header first, at most so wide.
    pub(super) fn lines(&self, room: usize) -> Vec<Vec<Piece>> {
        let shown = self.fit(room);
        let rows = self.rows.iter();
        rows.map(|row| line(row, &shown)).collect()
    }

    /// The columns that are shown, with their widths.
    fn fit(&self, room: usize) -> Vec<(usize, usize)> {
        let mut shown: Vec<(usize, usize)> = (0..COLUMNS)
            .map(|column| (column, self.natural_width(column)))
            .collect();
        loop {
            let excess = total(&shown).saturating_sub(room);
            if excess == 0 {
                return shown;
            }
            let spare = shown.iter().map(|one| self.spare(*one)).sum::<usize>();
            let dispensable = self.dispensable(&shown);
            if let Some(place) = dispensable.filter(|_| spare < excess) {
                shown.remove(place);
            } else {
                self.shrink(&mut shown, excess.min(spare));
                return shown;
            }
        }
    }

    fn natural_width(&self, column: usize) -> usize {
        let widths = self.rows.iter().map(|row| row[column].width());
        widths.max().unwrap_or(0)
    }

    /// How many characters a column of a width can give up.
    fn spare(&self, (column, width): (usize, usize)) -> usize {
        let Column { least, name, .. } = self.columns[column];
        least.map_or(0, |least| width.saturating_sub(least.max(name.len())))
    }

    /// The place of the column to leave out next: first one that says nothing, then the one of the
    /// highest rank; `None` if all are needed.
    fn dispensable(&self, shown: &[(usize, usize)]) -> Option<usize> {
        let is_empty = |column: usize| self.rows.iter().skip(1).all(|row| row[column].is_empty());
        let ranked = shown
            .iter()
            .enumerate()
            .map(|(place, (column, _))| {
                let rank = self.columns[*column].rank;
                (rank, is_empty(*column), place)
            })
            .filter(|(rank, ..)| *rank > 0);
        let next = ranked.max_by_key(|(rank, is_empty, _)| (*is_empty, *rank));
        next.map(|(.., place)| place)
    }

    /// Takes so many characters away, always from the widest column that has some to spare.
    fn shrink(&self, shown: &mut [(usize, usize)], excess: usize) {
        for _ in 0..excess {
            let widest = shown
                .iter_mut()
                .filter(|one| self.spare(**one) > 0)
                .max_by_key(|(_, width)| *width);
            if let Some((_, width)) = widest {
                *width -= 1;
            }
        }
    }
}

/// A row in these columns, without spaces at its end.
fn line(row: &[Cell], shown: &[(usize, usize)]) -> Vec<Piece> {
    let is_said = |(column, _): &(usize, usize)| !row[*column].text.is_empty();
    let last = shown.iter().rposition(is_said);
    let shown = shown.iter().take(last.map_or(0, |last| last + 1));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut missing = 0;
    for (column, width) in shown {
        if !pieces.is_empty() {
            pieces.push((Style::Plain, " ".repeat(missing + GAP)));
        }
        let piece = row[*column].piece(*width);
        missing = width.saturating_sub(piece.1.chars().count());
        pieces.push(piece);
    }
    pieces
}

fn total(shown: &[(usize, usize)]) -> usize {
    let widths: usize = shown.iter().map(|(_, width)| width).sum();
    widths + GAP * shown.len().saturating_sub(1)
}

/// The first characters of a text, and a sign that there are more.
fn shortened(text: &str, width: usize) -> String {
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Escapes control characters of text from another process, which may not move the cursor.
pub(super) fn printable(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "BB", "C"]);
        table.row(["äöü", "", "x"]);
        table.row(["1", "2", ""]);
        assert_eq!(table.render(" "), " A    BB  C\n äöü      x\n 1    2\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["\u{1b}[2J\n\u{202e}"]);
        assert_eq!(table.render(""), "A\n\\u{1b}[2J\\n\\u{202e}\n");
    }

    fn sample() -> Table<4> {
        let mut table = Table::new([
            Column::from("NAME"),
            Column::ranked("LESS", 2),
            Column::ranked("REASON", 0).shrinking_to(8),
            Column::ranked("MORE", 1),
        ]);
        table.row(["a", "12345678", "a long reason for it", "1234"]);
        table
    }

    fn on(width: usize) -> String {
        let screen = Screen {
            width: Some(width),
            ..Screen::default()
        };
        sample().render_on(&screen, "")
    }

    #[test]
    fn a_table_that_fits_is_left_as_it_is() {
        assert_eq!(on(42), sample().render(""));
    }

    #[test]
    fn a_narrow_screen_shortens_texts_then_leaves_columns_out() {
        let expected = "\
NAME  LESS      REASON      MORE
a     12345678  a long re…  1234
";
        assert_eq!(on(32), expected);
        let expected = "\
NAME  REASON         MORE
a     a long reaso…  1234
";
        assert_eq!(on(25), expected);
        assert_eq!(on(14), "NAME  REASON\na     a long …\n");
        // No column can be left out any more.
        assert_eq!(on(3), "NAME  REASON\na     a long …\n");
        for width in 14..60 {
            let widest = on(width).lines().map(|line| line.chars().count()).max();
            assert!(widest.unwrap() <= width, "{width}");
        }
    }

    #[test]
    fn a_column_that_says_nothing_is_left_out_first() {
        let mut table = Table::new([
            Column::from("NAME"),
            Column::ranked("LESS", 2),
            Column::ranked("MORE", 1),
        ]);
        table.row(["a", "12345678", "-"]);
        let screen = Screen {
            width: Some(14),
            ..Screen::default()
        };
        assert_eq!(table.render_on(&screen, ""), "NAME  LESS\na     12345678\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::styled(Style::Good, "ok"), Cell::from("x")]);
        let screen = Screen {
            is_coloured: true,
            ..Screen::default()
        };
        let line = table.render_on(&screen, "");
        assert!(line.ends_with("\x1b[32mok\x1b[0m  x\n"), "{line:?}");
    }
}
