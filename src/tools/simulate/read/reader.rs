//! What the readers of all formats have in common.

use crate::tools::simulate::LoadCurve;

/// Reads one format line by line.
pub(super) trait FormatReader {
    /// Adds a line without its end. Fails with the mistake in it.
    fn line(&mut self, line: &str) -> Result<(), String>;

    /// The load of all lines. Fails if they have no requests.
    fn finish(self: Box<Self>) -> Result<LoadCurve, String>;
}

/// Whether a line is empty or a comment of a load curve.
pub(super) fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}
