//! `weir schema`: prints the JSON Schema of configuration files.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config;

/// Prints the schema.
pub(super) fn schema() -> ExitCode {
    // A closed output has nothing more to tell.
    let _ = writeln!(io::stdout(), "{:#}", config::schema());
    ExitCode::SUCCESS
}
