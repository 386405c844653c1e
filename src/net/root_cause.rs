//! What an error of an HTTP library says to people.

use std::error::Error;

/// The innermost error names the cause, those around it only where it was noticed.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
