//! Columns as Go's `text/tabwriter` sets them: blanks after each cell but the last.

/// The rows with their columns aligned, at least `gap` blanks apart.
pub(super) fn table(rows: &[Vec<String>], gap: usize) -> String {
    let width = |text: &String| text.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(width).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 < row.len() {
                out.extend(std::iter::repeat_n(' ', widths[at] - width(cell) + gap));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn all_cells_but_the_last_are_padded() {
        let rows = [["A", "B"], ["long", ""], ["é", "x"]].map(|r| r.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, 1), "A    B\nlong \né    x\n");
    }
}
