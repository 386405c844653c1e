//! Text in aligned columns.

use crate::model::Escaped;

/// A table with a header. Every row has as many cells as the header.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(super) fn new(header: [&str; COLUMNS]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned)],
        }
    }

    pub(super) fn row(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// Renders the lines, each after `indent`, with two spaces between columns.
    pub(super) fn render(&self, indent: &str) -> String {
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(indent);
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
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
        table.row(["äöü".into(), String::new(), "x".into()]);
        table.row(["1".into(), "2".into(), String::new()]);
        assert_eq!(table.render(" "), " A    BB  C\n äöü      x\n 1    2\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["\u{1b}[2J\n\u{202e}".into()]);
        assert_eq!(table.render(""), "A\n\\u{1b}[2J\\n\\u{202e}\n");
    }
}
