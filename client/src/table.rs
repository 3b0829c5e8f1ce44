//! Aligned columns for people.

use std::io::{self, Write};

/// Prints rows below their headings. The first column is aligned to the left, all others to the right.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = io::stdout().lock();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>();
    for row in [&headings].into_iter().chain(rows) {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
