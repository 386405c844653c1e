//! `weir logs`: what the replicas of a group print.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::{Timestamp, Unit};

use super::admin::AdminArguments;
use super::ask::{ask, finish};
use super::format::FormatArguments;
use super::screen::{Screen, Style};
use super::since::Since;
use super::stream::follow;
use super::table::printable;
use crate::admin::{LineList, paths};
use crate::model::escape_json;
use crate::observe::ReplicaLine;

/// Most lines that the API has for a group.
const ALL: usize = 10_000;

/// Lines that are shown without `--limit` and `--since`.
const DEFAULT_LIMIT: usize = 100;

/// `weir logs`.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArguments {
    /// The name of the target group
    group: String,
    /// Only the replica of this number
    replica: Option<u64>,
    /// Show what is printed from now on too, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only what came after: a time (2026-11-30T09:00:00Z), so long ago (10m), or a line's number
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Most lines, the last ones; default: 100, or with `--since` all that are kept
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    format: FormatArguments,
}

/// Prints the lines, oldest first: exit code 0, or 2 and one line on standard error if there is no
/// answer or no such group.
pub(super) fn logs(arguments: &LogsArguments) -> ExitCode {
    finish(show(arguments), note)
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn note(text: &str) {
    eprintln!("weir logs: {text}");
}

fn show(arguments: &LogsArguments) -> Result<(), String> {
    let screen = Screen::now();
    let mut out = io::stdout();
    let path = paths::logs(&arguments.group);
    let replica = arguments.replica;
    let replica = replica.map_or(String::new(), |replica| format!("&replica={replica}"));
    let admin = &arguments.admin.admin;
    let (answer, _) = ask::<LineList>(admin, &format!("{path}?limit={ALL}{replica}"))?;
    let mut last = answer.last;
    for line in wanted(arguments, answer.lines) {
        last = last.max(line.sequence);
        if print(&mut out, &line, arguments, &screen).is_err() {
            return Ok(());
        }
    }
    if !arguments.follow {
        return Ok(());
    }
    // A process that has come in its place counts from one: then all of its lines are wanted.
    let path = format!("{path}?since=0{replica}");
    follow(admin, path, last, note, |line: &ReplicaLine| {
        print(&mut out, line, arguments, &screen)
    })
}

fn wanted(arguments: &LogsArguments, mut lines: Vec<ReplicaLine>) -> Vec<ReplicaLine> {
    let now = Timestamp::now();
    if let Some(since) = arguments.since {
        lines.retain(|line| since.precedes(line.sequence, line.at, now));
    }
    let default = if arguments.since.is_some() {
        ALL
    } else {
        DEFAULT_LIMIT
    };
    let limit = arguments.limit.unwrap_or(default);
    lines.split_off(lines.len().saturating_sub(limit))
}

fn print(
    out: &mut impl Write,
    line: &ReplicaLine,
    arguments: &LogsArguments,
    screen: &Screen,
) -> io::Result<()> {
    let text = if arguments.format.is_json() {
        // A struct of texts and numbers is always written.
        let json = serde_json::to_string(line).unwrap_or_default();
        escape_json(&json).into_owned()
    } else {
        text(line, screen)
    };
    writeln!(out, "{text}")?;
    out.flush()
}

/// `2026-11-30T09:00:00Z  replica 3  stderr  no space left on device`.
fn text(line: &ReplicaLine, screen: &Screen) -> String {
    let at = line.at.round(Unit::Second).unwrap_or(line.at);
    let style = match line.stream.as_str() {
        "stdout" => Style::Dim,
        _ => Style::Warning,
    };
    let stream = screen.paint(style, &format!("{:<6}", printable(&line.stream)));
    format!(
        "{}  replica {}  {stream}  {}",
        screen.paint(Style::Dim, &at.to_string()),
        line.replica,
        printable(&line.text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_safe() {
        let line = ReplicaLine {
            sequence: 7,
            at: "2026-11-30T09:00:00.4Z".parse().unwrap(),
            group: "todo".to_owned(),
            replica: 3,
            stream: "stderr".to_owned(),
            text: "no\u{1b}[2J space".to_owned(),
        };
        assert_eq!(
            text(&line, &Screen::default()),
            "2026-11-30T09:00:00Z  replica 3  stderr  no\\u{1b}[2J space"
        );
    }
}
