//! A place in the source.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// File, line and column of a panic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    file: Arc<str>,
    line: u32,
    column: u32,
}

impl Location {
    /// A location; `line` and `column` count from 1.
    pub fn new(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }

    /// The path as the compiler saw it: of the machine that built the program, with its separators.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The file's name without its folders, whatever system it was built on.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.file.rsplit(['/', '\\']).next().unwrap_or(&self.file)
    }
}

/// The short form, `ws.rs:190`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file_name(), self.line)
    }
}

/// The long form, `path/ws.rs:190:18`.
impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { file, line, column } = self;
        serializer.collect_str(&format_args!("{file}:{line}:{column}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_form_drops_folders_of_both_systems() {
        assert_eq!(Location::new("src/main.rs", 3, 1).to_string(), "main.rs:3");
        let windows =
            r"C:\Users\GIGABYTE\.cargo\registry\src\<registry>\engineioxide-0.10.2\src\transport\ws.rs";
        assert_eq!(Location::new(windows, 190, 18).to_string(), "ws.rs:190");
    }
}
