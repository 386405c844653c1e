//! `weir events`: what has happened in a running Weir, and what happens.

use std::io::{self, Write};
use std::process::ExitCode;

use jiff::{Timestamp, Unit};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::AdminArguments;
use super::ask::{ask, finish};
use super::format::FormatArguments;
use super::screen::{Screen, Style};
use super::since::Since;
use super::stream::follow;
use super::table::{Piece, printable};
use crate::admin::{EventList, paths};
use crate::model::escape_json;
use crate::observe::{Event, KEPT_EVENTS, kind};

/// Events that are shown without `--limit` and `--since`.
const DEFAULT_LIMIT: usize = 50;

/// `weir events`.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArguments {
    /// Show what happens from now on too, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only what came after: a time (2026-11-30T09:00:00Z), so long ago (10m), or an event's number
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only events of this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = kind::ALL)]
    kinds: Vec<String>,
    /// Only events of this target group
    #[arg(long)]
    group: Option<String>,
    /// Most events, the last ones; default: 50, or with `--since` all that are kept
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    format: FormatArguments,
}

/// Prints the events, oldest first, a line each: exit code 0, or 2 and one line on standard error if
/// there is no answer.
pub(super) fn events(arguments: &EventsArguments) -> ExitCode {
    finish(show(arguments), note)
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn note(text: &str) {
    eprintln!("weir events: {text}");
}

fn show(arguments: &EventsArguments) -> Result<(), String> {
    let screen = Screen::now();
    let mut out = io::stdout();
    let (events, mut last) = list(arguments)?;
    for event in &events {
        last = last.max(event.sequence);
        if print(&mut out, event, arguments, &screen).is_err() {
            return Ok(());
        }
    }
    if !arguments.follow {
        return Ok(());
    }
    // A process that has come in its place counts from one: then all of its events are wanted.
    let path = format!("{}?since=0{}", paths::EVENTS, query(arguments));
    follow(&arguments.admin.admin, path, last, note, |event: &Event| {
        print(&mut out, event, arguments, &screen)
    })
}

/// The events so far, and the number of the last one of all.
fn list(arguments: &EventsArguments) -> Result<(Vec<Event>, u64), String> {
    let default = if arguments.since.is_some() {
        KEPT_EVENTS
    } else {
        DEFAULT_LIMIT
    };
    let limit = arguments.limit.unwrap_or(default);
    // What came after a number is the first of it in the answer, and here the last of all.
    let path = format!("{}?limit={KEPT_EVENTS}{}", paths::EVENTS, query(arguments));
    let (list, _) = ask::<EventList>(&arguments.admin.admin, &path)?;
    let (mut events, now) = (list.events, Timestamp::now());
    if let Some(since) = arguments.since {
        events.retain(|event| since.precedes(event.sequence, event.at, now));
    }
    let first = events.len().saturating_sub(limit);
    Ok((events.split_off(first), list.last))
}

/// What is asked for, as further parameters of a query.
fn query(arguments: &EventsArguments) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let kinds =
        (!arguments.kinds.is_empty()).then(|| format!("&kinds={}", arguments.kinds.join(",")));
    let group = arguments.group.as_deref();
    let group = group.map(|group| format!("&group={}", encoded(group)));
    kinds.into_iter().chain(group).collect()
}

fn print(
    out: &mut impl Write,
    event: &Event,
    arguments: &EventsArguments,
    screen: &Screen,
) -> io::Result<()> {
    let line = if arguments.format.is_json() {
        // A struct of texts and numbers is always written.
        let json = serde_json::to_string(event).unwrap_or_default();
        escape_json(&json).into_owned()
    } else {
        text(event, screen)
    };
    writeln!(out, "{line}")?;
    out.flush()
}

fn text(event: &Event, screen: &Screen) -> String {
    let pieces = pieces(event);
    let pieces = pieces
        .iter()
        .map(|(style, piece)| screen.paint(*style, piece));
    pieces.collect()
}

/// `2026-11-30T09:00:00Z  warning  health       todo 10.0.0.1:6400: target is unhealthy  check=…`.
pub(super) fn pieces(event: &Event) -> Vec<Piece> {
    let at = event.at.round(Unit::Second).unwrap_or(event.at);
    let style = match event.severity.as_str() {
        "error" => Style::Bad,
        "warning" => Style::Warning,
        _ => Style::Plain,
    };
    let subject = subject(event);
    let colon = if subject.is_empty() { "" } else { ": " };
    let text = printable(&format!("{subject}{colon}{}", event.text));
    let kind = printable(&event.kind);
    let mut pieces = vec![
        (Style::Plain, format!("{at}  ")),
        (style, format!("{:<7}", printable(&event.severity))),
        (Style::Plain, format!("  {kind:<11}  {text}")),
    ];
    let details = event.details.iter().map(|(name, value)| match value {
        serde_json::Value::String(text) => format!("  {name}={text}"),
        value => format!("  {name}={value}"),
    });
    let details: String = details.collect();
    if !details.is_empty() {
        pieces.push((Style::Dim, printable(&details)));
    }
    pieces
}

/// What an event concerns: `todo 10.0.0.1:6400`; empty for the process.
fn subject(event: &Event) -> String {
    let listener = event
        .listener
        .as_ref()
        .map(|name| format!("listener {name}"));
    let replica = event.replica.as_ref().map(|name| format!("replica {name}"));
    let parts = [listener, event.group.clone(), event.target.clone(), replica];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_safe() {
        let event = Event {
            at: "2026-11-30T09:00:00.123Z".parse().unwrap(),
            kind: "health".to_owned(),
            severity: "warning".to_owned(),
            group: Some("todo".to_owned()),
            target: Some("10.0.0.1:6400".to_owned()),
            text: "target is unhealthy\u{1b}[2J".to_owned(),
            details: serde_json::json!({ "reason": "a\nb", "checks": 3 })
                .as_object()
                .cloned()
                .unwrap(),
            ..Event::default()
        };
        assert_eq!(
            text(&event, &Screen::default()),
            "2026-11-30T09:00:00Z  warning  health       todo 10.0.0.1:6400: target is \
             unhealthy\\u{1b}[2J  checks=3  reason=a\\nb"
        );
    }
}
