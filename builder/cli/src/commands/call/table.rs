//! Tables of text: columns as wide as their widest cell.

/// Returns `rows` with every cell but the last of a row padded, and `gap` spaces after it.
pub fn table(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let padding = widths[column] + gap - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

/// Returns a row of `cells`.
pub fn row<'c>(cells: impl IntoIterator<Item = &'c str>) -> Vec<String> {
    cells.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [
            row(["TARGET", "DESCRIPTION"]),
            row(["ü", "x"]),
            row(["longest", ""]),
        ];
        assert_eq!(
            table(&rows, 1),
            "TARGET  DESCRIPTION\nü       x\nlongest \n"
        );
    }
}
