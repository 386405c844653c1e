//! `weir diff`: what a reload would change.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::format::FormatArguments;
use super::table::printable;
use crate::config::{self, Config, LoadError};
use crate::model::{escape_json, escape_lines};
use crate::server::socket_effects;
use crate::state::Diff;

/// `weir diff`.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArguments {
    /// The file that runs
    old: PathBuf,
    /// The file that is to run
    new: PathBuf,
    #[command(flatten)]
    format: FormatArguments,
}

/// Prints what a running Weir would log of the reload, and what follows from it: exit code 0 if nothing
/// changes, 1 if something does, 2 if a file cannot be used.
pub(super) fn diff(arguments: &DiffArguments) -> ExitCode {
    let (old, new) = match (load(&arguments.old), load(&arguments.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(problem), _) | (_, Err(problem)) => return failed(&problem),
    };
    let diff = Diff::between(&old, &new);
    let mut effects = socket_effects(&old, &new);
    effects.extend(diff.effects.iter().cloned());
    let refused = (new.workers.is_some() && old.workers != new.workers)
        .then(|| "another number of workers: a reload is refused, it takes a restart".to_owned());
    let text = if arguments.format.is_json() {
        let json = json!({
            "same": diff.is_empty() && refused.is_none(),
            "added": diff.added,
            "removed": diff.removed,
            "changed": diff.changed,
            "effects": effects,
            "refused": refused,
        });
        escape_json(&format!("{json:#}\n")).into_owned()
    } else {
        let mut lines = vec![diff.to_string()];
        lines.extend(effects.iter().map(|effect| format!("  {effect}")));
        lines.extend(refused.clone());
        let lines = lines.iter().map(|line| printable(line) + "\n");
        lines.collect()
    };
    // If the output is closed, the exit code is enough.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(!diff.is_empty() || refused.is_some()))
}

fn load(file: &Path) -> Result<Config, String> {
    match config::load(file) {
        Ok(parsed) => Ok(parsed.config),
        Err(error @ LoadError::Read { .. }) => Err(error.to_string()),
        Err(LoadError::Invalid(_)) => {
            Err(format!("{} has errors: see `weir check`", file.display()))
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn failed(problem: &str) -> ExitCode {
    eprintln!("weir diff: {}", escape_lines(problem));
    ExitCode::from(2)
}
