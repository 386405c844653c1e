//! `weir check`: says what is wrong with a configuration file.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use weir::config::{self, Config, LoadError, Parsed};

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: an object with `ok` and `problems`.
    Json,
}

/// Checks a file and prints the answer. The exit code is 0 if the file can be used
/// (there may be warnings), 1 if not, 2 if it cannot be read.
pub(crate) fn check(file: &Path, format: Format) -> ExitCode {
    let result = config::load(file);
    let code = match &result {
        Ok(_) => 0,
        Err(LoadError::Invalid(_)) => 1,
        Err(LoadError::Read { .. }) => 2,
    };
    let text = match format {
        Format::Text => text(file, &result),
        Format::Json => json(file, &result),
    };
    // A reader that went away has seen enough; the exit code still tells.
    let _ = writeln!(io::stdout().lock(), "{text}");
    ExitCode::from(code)
}

fn text(file: &Path, result: &Result<Parsed, LoadError>) -> String {
    match result {
        Ok(parsed) if parsed.warnings.is_empty() => {
            format!("{}: fine, {}", file.display(), summary(&parsed.config))
        }
        Ok(parsed) => format!("{}; it can be used", parsed.warnings),
        Err(error) => error.to_string(),
    }
}

fn json(file: &Path, result: &Result<Parsed, LoadError>) -> String {
    let answer = match result {
        Ok(parsed) => json!({ "ok": true, "problems": parsed.warnings }),
        Err(LoadError::Invalid(problems)) => json!({ "ok": false, "problems": problems }),
        Err(error @ LoadError::Read { .. }) => json!({
            "ok": false,
            "problems": [{
                "severity": "error",
                "code": "unreadable",
                "file": file.display().to_string(),
                "line": null,
                "column": null,
                "key": null,
                "message": error.to_string(),
                "help": null,
            }],
        }),
    };
    format!("{answer:#}")
}

/// "2 listeners, 3 rules, 1 target group with 4 targets".
pub(super) fn summary(config: &Config) -> String {
    let count = |count: usize, noun: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {noun}{plural}")
    };
    let rules = config
        .listeners
        .iter()
        .map(|listener| listener.rules.len())
        .sum();
    let targets = config.target_groups.iter().map(|group| {
        let running = group.first_replicas().unwrap_or(0) as usize;
        group.targets.len() + running
    });
    format!(
        "{}, {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(rules, "rule"),
        count(config.target_groups.len(), "target group"),
        count(targets.sum(), "target"),
    )
}
