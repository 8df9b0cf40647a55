//! Tables: columns as wide as their widest cell.

use crate::output::visible;
use std::fmt;

/// A table with titles.
pub struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Returns a table of titles alone.
    pub fn new(titles: [&str; COLUMNS]) -> Self {
        Table {
            rows: vec![titles.map(str::to_owned)],
        }
    }

    /// Adds a row.
    pub fn add(&mut self, row: [String; COLUMNS]) {
        self.rows.push(row.map(|cell| visible(&cell).into_owned()));
    }

    fn width(&self, column: usize) -> usize {
        let widths = self.rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..COLUMNS).map(|column| self.width(column)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "B"]);
        table.add(["first".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "A      B\nfirst  x\n");
        table.add(["\u{1b}[2J".to_owned(), String::new()]);
        assert!(table.to_string().ends_with("\n\\u{1b}[2J\n"), "{table}");
    }
}
