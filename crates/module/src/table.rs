//! Tables for people.

use crate::output::printable;

/// Characters of a cell that are shown; the rest is in `--json`.
const CELL_CHARS_MAX: usize = 80;
/// Spaces between columns.
const GAP: usize = 2;

/// A table: a head and rows of as many cells.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these column names.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|name| name.to_uppercase()).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus ones are left out.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> =
            cells.into_iter().take(self.head.len()).map(|cell| shown(cell.as_ref())).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, columns aligned, without white space at their ends. `bold` and `plain` go around the head.
    #[must_use]
    pub fn lines(&self, bold: &str, plain: &str) -> Vec<String> {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| self.all().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect();
        let mut lines: Vec<String> = self.all().map(|row| line(row, &widths)).collect();
        if let Some(head) = lines.first_mut() {
            *head = format!("{bold}{head}{plain}");
        }
        lines
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, widest) in row.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', widest + GAP - width(cell)));
    }
    text.trim_end().to_owned()
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn shown(cell: &str) -> String {
    let text = printable(cell);
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    let mut cut: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_cannot_drive_a_terminal() {
        let mut table = Table::new(&["slug", "name"]);
        table.row(["acme", "Acme"]);
        table.row(["a-longer-one", "x\u{1b}[31m\ny"]);
        table.row(["short"]);
        assert_eq!(
            table.lines("", ""),
            ["SLUG          NAME", "acme          Acme", "a-longer-one  x\\u{1b}[31m\\ny", "short"]
        );
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new(&["name"]);
        table.row(["x".repeat(200)]);
        assert_eq!(table.lines("", "")[1].chars().count(), CELL_CHARS_MAX);
    }
}
