//! `weir explain`: why a request goes where it goes, by a configuration file.

mod records;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::format::FormatArguments;
use crate::config::{self, LoadError};
use crate::explain::{Question, explain as answer, offline};
use crate::model::{escape_json, escape_lines};
use crate::state::Snapshot;

/// `weir explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// The configuration file
    file: PathBuf,
    /// A method and a URL: `GET https://host/path`; without it, records of the access log are read
    /// from standard input, in JSON
    #[arg(value_name = "REQUEST")]
    request: Option<String>,
    /// A header field of the request; may be given several times
    #[arg(
        long = "header",
        short = 'H',
        value_name = "NAME: VALUE",
        requires = "request"
    )]
    headers: Vec<String>,
    /// The address of the client, or `unix:`
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "request",
        default_value = "127.0.0.1"
    )]
    from: String,
    /// The listener; default: that of the URL's port
    #[arg(long, value_name = "NAME", requires = "request")]
    listener: Option<String>,
    #[command(flatten)]
    format: FormatArguments,
}

/// Exit code 0 if there is an answer and, of records, all agree; 1 if Weir would refuse the request or
/// a record does not agree; 2 if the file or the request cannot be used.
pub(super) fn explain(arguments: &ExplainArguments) -> ExitCode {
    let snapshot = match load(arguments) {
        Ok(snapshot) => snapshot,
        Err(problem) => return failed(&problem),
    };
    let Some(request) = arguments.request.clone() else {
        return records::compare(&snapshot, arguments.format, io::stdin().lock())
            .unwrap_or_else(|problem| failed(&problem));
    };
    let question = Question {
        request,
        headers: arguments.headers.clone(),
        from: Some(arguments.from.clone()),
        listener: arguments.listener.clone(),
    };
    let explanation = match answer(&snapshot, &question, false) {
        Ok(explanation) => explanation,
        Err(error) => return failed(&error.to_string()),
    };
    if arguments.format.is_json() {
        let json = serde_json::to_string_pretty(&explanation).unwrap_or_default();
        print(&format!("{}\n", escape_json(&json)));
    } else {
        print(&text::render(&explanation));
    }
    ExitCode::from(u8::from(explanation.is_refused()))
}

fn load(arguments: &ExplainArguments) -> Result<Arc<Snapshot>, String> {
    match config::load(&arguments.file) {
        Ok(parsed) => Ok(offline(&parsed.config)),
        Err(error @ LoadError::Read { .. }) => Err(error.to_string()),
        Err(LoadError::Invalid(_)) => Err(format!(
            "{} has errors: see `weir check`",
            arguments.file.display()
        )),
    }
}

/// If the output is closed, the exit code is enough.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn failed(problem: &str) -> ExitCode {
    eprintln!("weir explain: {}", escape_lines(problem));
    ExitCode::from(2)
}
