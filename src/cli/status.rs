//! `weir status`: prints `/api/v1/status` of a running Weir: what is wrong, then tables.

pub(super) mod group;
pub(super) mod listeners;
pub(super) mod page;
pub(super) mod words;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::admin::AdminArguments;
use super::ask::ask;
use super::format::FormatArguments;
use super::screen::Screen;
use super::table::printable;
use crate::admin::{Severity, Status, paths};
use crate::model::escape_json;

/// Between two pages of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The exit codes, for its help.
pub(super) const EXIT_CODES: &str = "Exit codes:\n  \
     0  no problem is an error: every target group that has targets has a healthy one\n  \
     1  a problem is an error: clients get errors now, or will soon\n  \
     2  not done: wrong arguments, no response";

/// `weir status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    /// Only this target group
    group: Option<String>,
    /// Print it every two seconds until interrupted
    #[arg(long)]
    watch: bool,
    /// Show the rules of the listeners, with the requests that they took
    #[arg(long)]
    rules: bool,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    format: FormatArguments,
}

/// Prints the status, in JSON as `/api/v1/status` has it. The exit code is 1 if a problem is an error,
/// and 2, with one line on standard error, if the status cannot be read.
pub(super) fn status(arguments: &StatusArguments) -> ExitCode {
    if arguments.watch {
        return watch(arguments);
    }
    match report(arguments, &Screen::now()) {
        Ok(report) => {
            // The output may be closed early.
            let _ = io::stdout().lock().write_all(report.text.as_bytes());
            ExitCode::from(u8::from(report.has_errors))
        }
        Err(problem) => {
            print_problem(&problem);
            ExitCode::from(2)
        }
    }
}

/// Prints it again and again, also when there is no answer for a while; ends when the output does.
fn watch(arguments: &StatusArguments) -> ExitCode {
    loop {
        let screen = Screen::now();
        let text = match report(arguments, &screen) {
            Ok(report) => report.text,
            Err(problem) => format!("weir status: {problem}; trying again\n"),
        };
        let mut out = io::stdout().lock();
        let written = out.write_all(page::framed(&text, &screen).as_bytes());
        if written.and_then(|()| out.flush()).is_err() {
            return ExitCode::SUCCESS;
        }
        drop(out);
        thread::sleep(WATCH_INTERVAL);
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn print_problem(problem: &str) {
    eprintln!("weir status: {problem}");
}

/// What is printed.
#[derive(Debug)]
struct Report {
    text: String,
    /// Whether a problem is an error.
    has_errors: bool,
}

fn report(arguments: &StatusArguments, screen: &Screen) -> Result<Report, String> {
    let (mut status, body) = ask::<Status>(&arguments.admin.admin, paths::STATUS)?;
    if let Some(group) = &arguments.group {
        choose(&mut status, group)?;
    }
    let is_error = |severity| severity == Severity::Error;
    let has_errors = status.problems.iter().any(|one| is_error(one.severity));
    let text = if arguments.format.is_json() {
        json(&body, arguments.group.as_deref())
    } else {
        page::page(&status, arguments.rules, arguments.group.is_some(), screen)
    };
    Ok(Report { text, has_errors })
}

/// Leaves only a group, and its problems.
fn choose(status: &mut Status, name: &str) -> Result<(), String> {
    if !status.target_groups.iter().any(|group| group.name == name) {
        let names = status.target_groups.iter().map(|group| &*group.name);
        let names = printable(&names.collect::<Vec<_>>().join(", "));
        let name = printable(name);
        return Err(format!(
            "there is no target group `{name}`; there is {names}"
        ));
    }
    status.target_groups.retain(|group| group.name == name);
    let is_own = |group: &Option<String>| group.as_deref() == Some(name);
    status.problems.retain(|problem| is_own(&problem.group));
    Ok(())
}

/// The document as it is, or with nothing but a group and its problems.
fn json(body: &Bytes, group: Option<&str>) -> String {
    let whole = String::from_utf8_lossy(body);
    let Some(group) = group else {
        return format!("{}\n", escape_json(&whole));
    };
    // It was read before.
    let mut document: Value = serde_json::from_str(&whole).unwrap_or_default();
    for (list, name) in [("target_groups", "name"), ("problems", "group")] {
        if let Some(list) = document.get_mut(list).and_then(Value::as_array_mut) {
            list.retain(|one| one[name] == *group);
        }
    }
    format!("{}\n", escape_json(&format!("{document:#}")))
}

#[cfg(test)]
pub(super) use tests::SAMPLE;

#[cfg(test)]
mod tests;
