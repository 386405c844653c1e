//! `weir explain`: why a request goes where it goes, by a configuration file or a running Weir.

mod live;
mod records;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::format::FormatArguments;
use crate::config::{self, LoadError};
use crate::explain::{self, Explanation, Question, explain as answer};
use crate::model::{escape_json, escape_lines};
use crate::state::Snapshot;

/// `weir explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// The configuration file; none with --admin
    #[arg(value_name = "FILE", required_unless_present = "admin")]
    file: Option<PathBuf>,
    /// A method and a URL: `GET https://host/path`; without it, records of the access log are read
    /// from standard input, in JSON
    #[arg(value_name = "REQUEST")]
    request: Option<String>,
    /// A header field of the request; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address of the client, or `unix:`; default: 127.0.0.1
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The listener; default: that of the URL's port
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Ask the running Weir whose admin listener has this address, which knows its targets
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    #[command(flatten)]
    format: FormatArguments,
}

/// Exit code 0 if there is an answer and, of records, all agree; 1 if Weir would refuse the request or
/// a record does not agree; 2 if the file or the request cannot be used.
pub(super) fn explain(arguments: &ExplainArguments) -> ExitCode {
    let explained = match (&arguments.admin, &arguments.request) {
        (Some(admin), None) => live(admin, arguments),
        (Some(_), Some(_)) => Err("--admin asks a running Weir: give no file".to_owned()),
        (None, Some(request)) => offline(arguments, request),
        (None, None) => {
            return records(arguments).unwrap_or_else(|problem| failed(&problem));
        }
    };
    match explained {
        Ok(explanation) => show(&explanation, arguments.format),
        Err(problem) => failed(&problem),
    }
}

fn offline(arguments: &ExplainArguments, request: &str) -> Result<Explanation, String> {
    let question = arguments.question(request)?;
    answer(&load(arguments)?, &question, false).map_err(|error| error.to_string())
}

/// With `--admin` there is no file, and the request comes first.
fn live(admin: &str, arguments: &ExplainArguments) -> Result<Explanation, String> {
    let request = arguments.file.as_deref().and_then(Path::to_str);
    let request = request.ok_or("--admin needs a request: 'GET https://host/path'")?;
    live::ask(admin, &arguments.question(request)?)
}

fn records(arguments: &ExplainArguments) -> Result<ExitCode, String> {
    let is_about_request =
        !arguments.headers.is_empty() || arguments.from.is_some() || arguments.listener.is_some();
    if is_about_request {
        return Err("-H, --from and --listener need a request".to_owned());
    }
    let snapshot = load(arguments)?;
    records::compare(&snapshot, arguments.format, io::stdin().lock())
}

fn show(explanation: &Explanation, format: FormatArguments) -> ExitCode {
    if format.is_json() {
        let json = serde_json::to_string_pretty(explanation).unwrap_or_default();
        print(&format!("{}\n", escape_json(&json)));
    } else {
        print(&text::render(explanation));
    }
    ExitCode::from(u8::from(explanation.is_refused()))
}

impl ExplainArguments {
    fn question(&self, request: &str) -> Result<Question, String> {
        let question = Question::about(request).map_err(|error| error.to_string())?;
        Ok(Question {
            headers: self.headers.clone(),
            from: self.from.clone(),
            listener: self.listener.clone(),
            ..question
        })
    }
}

fn load(arguments: &ExplainArguments) -> Result<Arc<Snapshot>, String> {
    let file = arguments.file.as_deref().unwrap_or(Path::new(""));
    match config::load(file) {
        Ok(parsed) => Ok(explain::offline(&parsed.config)),
        Err(error @ LoadError::Read { .. }) => Err(error.to_string()),
        Err(LoadError::Invalid(_)) => {
            Err(format!("{} has errors: see `weir check`", file.display()))
        }
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
