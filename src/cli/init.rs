//! `weir init`: writes a configuration file to begin with.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

/// `weir init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitArguments {
    /// The file to write; `-` is standard output
    #[arg(default_value = "weir.toml")]
    file: PathBuf,
    /// What the file is for
    #[arg(long = "for", value_enum, value_name = "CASE", default_value_t)]
    case: Case,
}

/// A common case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Servers that run already
    #[default]
    Targets,
    /// Processes that Weir starts, and as many as the load needs
    Replicas,
    /// HTTPS at the edge of the internet, before containers
    Edge,
}

impl Case {
    /// The file, with comments.
    fn text(self) -> &'static str {
        match self {
            Self::Targets => include_str!("init/targets.toml"),
            Self::Replicas => include_str!("init/replicas.toml"),
            Self::Edge => include_str!("init/edge.toml"),
        }
    }
}

/// Writes the file and says what to do next: exit code 0, or 2 if it is there already or cannot be
/// written.
pub(super) fn init(arguments: &InitArguments) -> ExitCode {
    let (file, text) = (&arguments.file, arguments.case.text());
    if file == Path::new("-") {
        // A closed output has nothing more to tell.
        let _ = io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    match write_new(file, text) {
        Ok(()) => {
            let name = file.display();
            print(&format!(
                "{name} is written. Next:\n  \
                 $EDITOR {name}\n  weir check {name}\n  weir run --config {name}"
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    "it is there already, and stays as it is".to_owned()
                }
                _ => error.to_string(),
            };
            fail(&format!("cannot write {}: {reason}", file.display()));
            ExitCode::from(2)
        }
    }
}

/// Never replaces a file.
fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).open(file)?;
    new.write_all(text.as_bytes())
}

fn print(text: &str) {
    // The file is there, whether anything reads this or not.
    let _ = writeln!(io::stdout(), "{text}");
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn fail(problem: &str) {
    eprintln!("weir init: {problem}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn every_case_is_a_file_without_a_problem() {
        for case in Case::value_variants() {
            let parsed = config::parse("weir.toml", case.text(), &|_| None);
            let parsed = parsed.unwrap_or_else(|problems| panic!("{case:?}: {problems}"));
            assert!(parsed.warnings.is_empty(), "{case:?}: {}", parsed.warnings);
            assert!(case.text().starts_with('#'), "it says what it is");
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        write_new(&file, "one").unwrap();
        let error = write_new(&file, "two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "one");
    }
}
