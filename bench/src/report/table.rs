//! Tables that are printed while they are measured, and kept for the document.

use serde::{Deserialize, Serialize};

/// Heads and rows, the first columns of words and the others of numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    /// How many of the first columns are of words.
    words: usize,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The least width of a column.
const WIDTH: usize = 7;

impl Table {
    /// Prints the title and the heads. Rows are printed as they come, so columns are as wide as their heads: a head may
    /// end in blanks, which are not kept.
    pub(crate) fn begin(title: impl Into<String>, words: usize, heads: &[impl AsRef<str>]) -> Self {
        let title = title.into();
        let table = Self {
            title,
            words,
            heads: heads.iter().map(|head| head.as_ref().to_owned()).collect(),
            rows: Vec::new(),
        };
        println!("\n{}\n\n{}", table.title, table.line(&table.heads));
        table
    }

    /// Prints a row and keeps it.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.tell(&cells);
        self.rows.push(cells);
    }

    /// Prints a row that is not worth keeping.
    pub(crate) fn tell(&self, cells: &[String]) {
        println!("{}", self.line(cells));
    }

    fn line(&self, cells: &[String]) -> String {
        let cells = cells.iter().zip(&self.heads).enumerate().map(|(column, (cell, head))| {
            let width = head.chars().count().max(WIDTH);
            if column < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let Self { title, words, heads, rows } = self;
        let line = |cells: &[String]| {
            let cells = cells.iter().map(|cell| cell.trim().replace('|', "\\|"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = (0..heads.len()).map(|column| if column < *words { "---" } else { "---:" });
        let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        let rows: String = rows.iter().map(|row| line(row)).collect();
        format!("**{title}**\n\n{}{rule}{rows}", line(heads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let heads = ["transport", "site   ", "p50"].map(ToOwned::to_owned).to_vec();
        let rows = vec![["polling", "a|b", "1.25"].map(ToOwned::to_owned).to_vec()];
        Table { title: "Times, in ms".into(), words: 2, heads, rows }
    }

    #[test]
    fn columns_are_aligned() {
        let table = table();
        assert_eq!(table.line(&table.rows[0]), "polling    a|b         1.25");
        assert_eq!(table.line(&table.heads), "transport  site         p50");
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let expected =
            "**Times, in ms**\n\n| transport | site | p50 |\n|---|---|---:|\n| polling | a\\|b | 1.25 |\n";
        assert_eq!(table().markdown(), expected);
    }
}
