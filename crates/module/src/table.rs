//! Tables for people.

use crate::output::printable;
use base::Timestamp;

/// Characters of a cell that are shown; the rest is in `--json`.
const CELL_CHARS_MAX: usize = 80;
/// Spaces between columns.
const GAP: usize = 2;

/// Characters of a time that are shown: down to its second.
const TIME_CHARS: usize = "2026-11-20 17:05:00".len();

/// A table: a head and rows of as many cells. One made by [`Table::of_one`] has no head.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: Option<Vec<String>>,
    columns: usize,
    rows: Vec<Vec<String>>,
}

/// A time as a cell: in UTC, to the second. JSON has all of it.
#[must_use]
pub fn when(time: Timestamp) -> String {
    time.to_string().replacen('T', " ", 1).chars().take(TIME_CHARS).collect()
}

impl Table {
    /// One with these column names.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        let names: Vec<String> = head.iter().map(|name| name.to_uppercase()).collect();
        Self { columns: names.len(), head: Some(names), rows: Vec::new() }
    }

    /// One that shows a single thing: each row is the name of a field and its value. Fields without a value are left out.
    #[must_use]
    pub fn of_one<N: AsRef<str>, V: AsRef<str>>(fields: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut table = Self { columns: 2, ..Self::default() };
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.as_ref().is_empty()) {
            table.row([name.as_ref(), value.as_ref()]);
        }
        table
    }

    /// Adds a row. Missing cells are empty, surplus ones are left out.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> =
            cells.into_iter().take(self.columns).map(|cell| shown(cell.as_ref())).collect();
        row.resize(self.columns, String::new());
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
        let widths: Vec<usize> = (0..self.columns)
            .map(|column| self.all().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect();
        let mut lines: Vec<String> = self.all().map(|row| line(row, &widths)).collect();
        if let (Some(_), Some(head)) = (&self.head, lines.first_mut()) {
            *head = format!("{bold}{head}{plain}");
        }
        lines
    }

    fn all(&self) -> impl Iterator<Item = &Vec<String>> {
        self.head.iter().chain(&self.rows)
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
    fn one_thing_is_shown_field_by_field() {
        let table = Table::of_one([("slug", "acme"), ("region", ""), ("time zone", "UTC")]);
        assert_eq!(table.lines("<b>", "</b>"), ["slug       acme", "time zone  UTC"]);
    }

    #[test]
    fn a_time_is_short() {
        assert_eq!(when(Timestamp::from_micros(1_795_194_300_123_456)), "2026-11-20 17:05:00");
        assert_eq!(when(Timestamp::EPOCH), "1970-01-01 00:00:00");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new(&["name"]);
        table.row(["x".repeat(200)]);
        assert_eq!(table.lines("", "")[1].chars().count(), CELL_CHARS_MAX);
    }
}
