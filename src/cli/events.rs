//! `weir events`: what has happened in a running Weir, and what happens.

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp, Unit};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::admin::AdminArguments;
use super::ask::ask;
use super::format::FormatArguments;
use super::screen::{Screen, Style};
use super::stream::{Stream, StreamError};
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

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Since {
    /// After the event of this number.
    Number(u64),
    Ago(SignedDuration),
    Time(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Ok(ago) = text.parse::<SignedDuration>() {
            return Ok(Self::Ago(ago.abs()));
        }
        text.parse().map(Self::Time).map_err(|_| {
            "neither a time as 2026-11-30T09:00:00Z, nor a duration as 10m, nor a number".to_owned()
        })
    }
}

impl Since {
    /// Whether an event comes after it.
    fn precedes(self, event: &Event, now: Timestamp) -> bool {
        match self {
            Self::Number(number) => event.sequence > number,
            Self::Ago(ago) => now.duration_since(event.at) <= ago,
            Self::Time(at) => event.at >= at,
        }
    }
}

/// Prints the events, oldest first, a line each: exit code 0, or 2 and one line on standard error if
/// there is no answer.
pub(super) fn events(arguments: &EventsArguments) -> ExitCode {
    let screen = Screen::now();
    let mut out = io::stdout();
    let shown = list(arguments).and_then(|(events, last)| {
        let mut last = last;
        for event in &events {
            last = last.max(event.sequence);
            if print(&mut out, event, arguments, &screen).is_err() {
                return Ok(());
            }
        }
        if arguments.follow {
            follow(arguments, last, &screen)
        } else {
            Ok(())
        }
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            note(&problem);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command talks to its terminal")]
fn note(text: &str) {
    eprintln!("weir events: {text}");
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
        events.retain(|event| since.precedes(event, now));
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

/// Prints what happens after event `last`, also when Weir is away for a while; ends when the output
/// does.
fn follow(arguments: &EventsArguments, last: u64, screen: &Screen) -> Result<(), String> {
    // A process that has come in its place counts from one: then all of its events are wanted.
    let path = format!("{}?since=0{}", paths::EVENTS, query(arguments));
    let mut stream = Stream::new(&arguments.admin.admin, path, Some(last.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut out = io::stdout();
    let mut is_lost = false;
    loop {
        match runtime.block_on(stream.next()) {
            Ok(message) => {
                is_lost = false;
                let event = serde_json::from_str(&message.data);
                let event = event.map_err(|error| format!("not an event of Weir: {error}"))?;
                if print(&mut out, &event, arguments, screen).is_err() {
                    return Ok(());
                }
            }
            Err(StreamError::Refused(why)) => return Err(why),
            Err(StreamError::Interrupted(why)) => {
                if !std::mem::replace(&mut is_lost, true) {
                    note(&format!("{why}; trying again"));
                }
            }
        }
    }
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

    #[test]
    fn a_beginning_is_a_number_a_duration_or_a_time() {
        let now: Timestamp = "2026-11-30T09:00:00Z".parse().unwrap();
        let event = |sequence, at: &str| Event {
            sequence,
            at: at.parse().unwrap(),
            ..Event::default()
        };
        let cases = [
            ("7", 8, "2026-11-30T08:00:00Z", true),
            ("7", 7, "2026-11-30T08:00:00Z", false),
            ("10m", 1, "2026-11-30T08:51:00Z", true),
            ("10m", 1, "2026-11-30T08:49:00Z", false),
            ("1h30m", 1, "2026-11-30T07:31:00Z", true),
            ("2026-11-30T08:00:00Z", 1, "2026-11-30T08:00:00Z", true),
            ("2026-11-30T08:00:00Z", 1, "2026-11-30T07:59:59Z", false),
        ];
        for (since, sequence, at, expected) in cases {
            let since: Since = since.parse().unwrap();
            assert_eq!(
                since.precedes(&event(sequence, at), now),
                expected,
                "{since:?} {at}"
            );
        }
        assert!("yesterday".parse::<Since>().is_err());
    }
}
