//! Reads the lines of a file with a bounded length.

use std::io::{BufRead, Read};

use super::error::ReadError;

/// Longest line, bytes: far more than a request with the longest head makes.
const MAX_LINE: u64 = 1024 * 1024;

/// A file, line by line.
#[derive(Debug)]
pub(in super::super) struct Lines<R> {
    input: R,
    number: u64,
}

/// A line without its end.
#[derive(Debug)]
pub(in super::super) struct Line {
    pub(in super::super) text: String,
    /// Counted from 1.
    pub(in super::super) number: u64,
    /// Whether the file ends without a line break after it.
    pub(in super::super) cut: bool,
}

impl<R: BufRead> Lines<R> {
    pub(in super::super) fn new(input: R) -> Self {
        Self { input, number: 0 }
    }

    /// The next line; `None` at the end.
    pub(in super::super) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.input).take(MAX_LINE + 1);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let cut = bytes.pop_if(|last| *last == b'\n').is_none();
        if bytes.len() as u64 > MAX_LINE {
            return Err(self.problem("it is longer than 1 MiB"));
        }
        bytes.pop_if(|last| *last == b'\r');
        // Editors on Windows begin a file with a byte order mark.
        let mark: &[u8] = if self.number == 1 {
            b"\xef\xbb\xbf"
        } else {
            b""
        };
        let bytes = bytes.strip_prefix(mark).unwrap_or(&bytes).to_vec();
        let text = String::from_utf8(bytes).map_err(|_| self.problem("it is not text"))?;
        Ok(Some(Line {
            text,
            number: self.number,
            cut,
        }))
    }

    fn problem(&self, problem: &str) -> ReadError {
        ReadError::Line {
            line: self.number,
            problem: problem.to_owned(),
        }
    }
}
