//! `weir check`: finds the problems of configuration files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::format::{FormatArguments, is_coloured};
use crate::config::{self, Config, LoadError, Parsed, Severity};
use crate::model::{Escaped, escape_json, escape_lines};

/// Standard input on the command line.
const STDIN: &str = "-";

#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// The files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

/// A file with the result of reading it.
struct Checked<'a> {
    file: &'a Path,
    result: Result<Parsed, LoadError>,
}

/// Checks files and prints the results: exit code 0 if all of them can be used, 1 if one has errors
/// (or, with `--strict`, warnings), 2 if one cannot be read.
pub(super) fn check(arguments: &CheckArguments) -> ExitCode {
    let load = |file: &'_ PathBuf| {
        if file == Path::new(STDIN) {
            config::load_from("standard input", io::stdin().lock())
        } else {
            config::load(file)
        }
    };
    let checked: Vec<_> = arguments
        .files
        .iter()
        .map(|file| Checked {
            file,
            result: load(file),
        })
        .collect();
    let mut out = io::stdout().lock();
    let text = if arguments.format.is_json() {
        let json = format!("{:#}\n", json(&checked, arguments.strict));
        escape_json(&json).into_owned()
    } else {
        text(&checked, is_coloured(&out), arguments.strict)
    };
    // If the output is closed, the exit code is enough.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    let codes = checked.iter().map(|file| file.exit_code(arguments.strict));
    ExitCode::from(codes.max().unwrap_or_default())
}

impl Checked<'_> {
    fn exit_code(&self, strict: bool) -> u8 {
        match &self.result {
            Ok(parsed) => u8::from(strict && !parsed.warnings.is_empty()),
            Err(LoadError::Invalid(_)) => 1,
            Err(LoadError::Read { .. }) => 2,
        }
    }

    fn name(&self) -> String {
        if self.file == Path::new(STDIN) {
            return "standard input".to_owned();
        }
        self.file.display().to_string()
    }

    fn count(&self, severity: Severity) -> usize {
        match (&self.result, severity) {
            (Ok(parsed), _) => parsed.warnings.count(severity),
            (Err(LoadError::Invalid(problems)), _) => problems.count(severity),
            (Err(LoadError::Read { .. }), Severity::Error) => 1,
            (Err(LoadError::Read { .. }), Severity::Warning) => 0,
        }
    }

    fn text(&self, coloured: bool, strict: bool) -> String {
        match &self.result {
            Ok(parsed) if parsed.warnings.is_empty() => {
                format!(
                    "{}: fine, {}",
                    Escaped(&self.name()),
                    summary(&parsed.config)
                )
            }
            Ok(parsed) => {
                let end = if strict {
                    "--strict counts them as errors"
                } else {
                    "it can be used"
                };
                format!("{}; {end}", parsed.warnings.display(coloured))
            }
            Err(LoadError::Invalid(problems)) => problems.display(coloured).to_string(),
            Err(error @ LoadError::Read { .. }) => escape_lines(&error.to_string()).into_owned(),
        }
    }

    fn problems(&self) -> Vec<Value> {
        let problems = match &self.result {
            Ok(parsed) => &parsed.warnings,
            Err(LoadError::Invalid(problems)) => problems,
            Err(error @ LoadError::Read { .. }) => {
                return vec![json!({
                    "severity": "error",
                    "code": "unreadable",
                    "file": self.name(),
                    "line": null,
                    "column": null,
                    "key": null,
                    "message": error.to_string(),
                    "help": null,
                })];
            }
        };
        problems.reports().map(|report| json!(report)).collect()
    }
}

/// A paragraph for each file, and a sum if there are several.
fn text(checked: &[Checked<'_>], coloured: bool, strict: bool) -> String {
    let files = checked.iter().map(|file| file.text(coloured, strict));
    let mut paragraphs: Vec<_> = files.map(|text| text + "\n").collect();
    if checked.len() > 1 {
        let bad = checked.iter().filter(|file| file.exit_code(strict) > 0);
        let sum = match bad.count() {
            0 => "all can be used".to_owned(),
            bad if strict => format!("{bad} with problems"),
            bad => format!("{bad} cannot be used"),
        };
        paragraphs.push(format!("{} files: {sum}\n", checked.len()));
    }
    paragraphs.concat()
}

/// The same object for one file and for several: each problem names its file.
fn json(checked: &[Checked<'_>], strict: bool) -> Value {
    let sum = |severity| {
        checked
            .iter()
            .map(|file| file.count(severity))
            .sum::<usize>()
    };
    let problems: Vec<_> = checked.iter().flat_map(Checked::problems).collect();
    json!({
        "ok": checked.iter().all(|file| file.exit_code(strict) == 0),
        "errors": sum(Severity::Error),
        "warnings": sum(Severity::Warning),
        "problems": problems,
    })
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
