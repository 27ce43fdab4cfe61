//! The one table at the end: what was measured, beside what, their ratio, and the goal.

use std::io::Write as _;

/// One line of the table.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// The figure.
    pub(crate) measured: String,
    /// The figure it is held against, and what that is.
    pub(crate) beside: String,
    /// The one over the other.
    pub(crate) ratio: String,
    /// What it should be.
    pub(crate) goal: String,
}

impl Row {
    pub(crate) fn new(
        what: impl Into<String>,
        measured: impl Into<String>,
        beside: impl Into<String>,
        ratio: impl Into<String>,
        goal: impl Into<String>,
    ) -> Row {
        Row {
            what: what.into(),
            measured: measured.into(),
            beside: beside.into(),
            ratio: ratio.into(),
            goal: goal.into(),
        }
    }

    fn cells(&self) -> [&str; 5] {
        [
            &self.what,
            &self.measured,
            &self.beside,
            &self.ratio,
            &self.goal,
        ]
    }
}

/// Prints the rows; where `SPARKMESH_BENCH_ROWS` names a file they are added to it instead, for
/// the script that prints those of all benchmarks together.
///
/// Figures of a run that measured nothing are not shown.
pub(crate) fn print(rows: &[Row]) {
    if !super::is_measuring() {
        println!("{} rows, not measured: `cargo bench` measures", rows.len());
        return;
    }
    if let Some(path) = std::env::var_os("SPARKMESH_BENCH_ROWS") {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        let mut file = file.expect("the file for the rows can be written");
        for row in rows {
            writeln!(file, "{}", row.cells().join("\t")).expect("written");
        }
        return;
    }
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let cells = row.cells().into_iter().zip(widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", padded.join("  ").trim_end());
    }
}

/// The middle of the values, of an even number the upper of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
