//! Why a file cannot be read.

use std::io;

/// Why a file is no load or no record.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's error.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A line with a mistake.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// The mistake, as a phrase.
        problem: String,
    },
    /// The lines are correct, but hold nothing to use.
    #[error("{0}")]
    Empty(String),
}
