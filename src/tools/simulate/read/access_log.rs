//! Reads Weir's own log with `access_log = "all"`: a line for each request among other lines.
//!
//! A line is written when its request ends and has its duration, so that the time of its arrival
//! is known. See `observe::access_log` for the fields.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::super::curve::Counter;
use super::reader::{FormatReader, is_blank};
use crate::tools::simulate::LoadCurve;

/// Most names of other groups in a message.
const MAX_NAMES: usize = 8;

/// Longest duration of a request, milliseconds: a day.
const MAX_MILLIS: f64 = 86_400_000.0;

/// `--log-format json`: one object a line.
#[derive(Debug)]
pub(super) struct Json(Requests);

/// `--log-format pretty`: `2026-11-22T11:40:01.123456Z  INFO request client=… ms=1.5 …`.
#[derive(Debug)]
pub(super) struct Pretty(Requests);

/// The requests to one group.
#[derive(Debug)]
struct Requests {
    group: String,
    counter: Counter,
    /// Some names of other groups in the log.
    others: BTreeSet<String>,
}

/// The used keys of a line. Only lines of requests have both `client` and `ms`.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    client: Option<serde::de::IgnoredAny>,
    ms: Option<f64>,
    // In other lines this key may have a value of another type.
    group: Option<serde_json::Value>,
}

impl Json {
    pub(super) fn new(group: &str) -> Self {
        Self(Requests::new(group))
    }
}

impl Pretty {
    pub(super) fn new(group: &str) -> Self {
        Self(Requests::new(group))
    }
}

impl FormatReader for Json {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if is_blank(line) {
            return Ok(());
        }
        let object: Object<'_> = serde_json::from_str(line)
            .map_err(|error| format!("not a line of Weir's log: {error}"))?;
        let (Some(_), Some(millis), Some(group)) = (object.client, object.ms, object.group) else {
            return Ok(());
        };
        let group = group.as_str().unwrap_or_default();
        self.0.add(&object.timestamp, millis, group)
    }

    fn finish(self: Box<Self>) -> Result<LoadCurve, String> {
        self.0.finish()
    }
}

impl FormatReader for Pretty {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let Some((time, rest)) = line.trim_start().split_once(' ') else {
            return Ok(());
        };
        let (mut millis, mut group, mut is_request) = (None, None, false);
        for (name, value) in Fields(rest) {
            match name {
                "client" => is_request = true,
                "ms" => millis = value.parse().ok(),
                "group" => group = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        match (is_request, millis, group) {
            (true, Some(millis), Some(group)) => self.0.add(time, millis, group),
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<LoadCurve, String> {
        self.0.finish()
    }
}

/// Whether a file with this first line is a log in the pretty format: it begins with a time.
pub(super) fn is_pretty(line: &str) -> bool {
    let time = line.split(' ').next().unwrap_or_default();
    time.contains('T') && time.parse::<Timestamp>().is_ok()
}

impl Requests {
    fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            counter: Counter::default(),
            others: BTreeSet::new(),
        }
    }

    fn add(&mut self, ended: &str, millis: f64, group: &str) -> Result<(), String> {
        if group != self.group {
            if self.others.len() < MAX_NAMES && !self.others.contains(group) {
                self.others.insert(group.to_owned());
            }
            return Ok(());
        }
        let ended: Timestamp = ended
            .parse()
            .map_err(|error| format!("`{ended}` is no time: {error}"))?;
        if !(0.0..=MAX_MILLIS).contains(&millis) {
            return Err(format!("a request cannot take {millis} ms"));
        }
        let duration = SignedDuration::from_micros((millis * 1000.0) as i64);
        let arrived = ended
            .checked_sub(duration)
            .map_err(|error| error.to_string())?;
        self.counter.add(arrived, 1.0)
    }

    fn finish(self) -> Result<LoadCurve, String> {
        let group = self.group;
        let names: Vec<String> = self.others.iter().map(|name| format!("`{name}`")).collect();
        self.counter.finish().ok_or_else(|| {
            if names.is_empty() {
                return "no requests are in the log: is `access_log = \"all\"` set?".to_owned();
            }
            let names = names.join(", ");
            format!("no requests to group `{group}` are in the log, only to {names}")
        })
    }
}

/// `name=value` pairs; a value in quotes may have spaces, and quotes after a backslash.
struct Fields<'a>(&'a str);

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.is_empty() {
                return None;
            }
            let name_end = self.0.find([' ', '=']).unwrap_or(self.0.len());
            let (name, rest) = self.0.split_at(name_end);
            let Some(value) = rest.strip_prefix('=') else {
                // A word of the message.
                self.0 = rest;
                continue;
            };
            let end = value_end(value);
            let (value, rest) = value.split_at(end);
            self.0 = rest;
            return Some((name, value));
        }
    }
}

fn value_end(value: &str) -> usize {
    if !value.starts_with('"') {
        return value.find(' ').unwrap_or(value.len());
    }
    let mut is_escaped = false;
    for (at, c) in value.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::super::{LoadFormat, read};
    use super::*;

    /// As Weir writes it.
    const JSON: &str = r#"{"timestamp":"2026-11-22T11:40:00.000001Z","level":"INFO","message":"listening on http://127.0.0.1:8080 (web)"}
{"timestamp":"2026-11-22T11:40:01.500000Z","level":"INFO","message":"request","client":"127.0.0.1","method":"GET","path":"/","status":200,"ms":1.5,"received":0,"sent":2,"listener":"web","group":"todo","target":"127.0.0.1:6400","attempts":1}
{"timestamp":"2026-11-22T11:40:04.100000Z","level":"INFO","message":"request","client":"127.0.0.1","ms":1100.0,"group":"todo"}
{"timestamp":"2026-11-22T11:40:04.200000Z","level":"INFO","message":"request","client":"127.0.0.1","ms":0.1}
{"timestamp":"2026-11-22T11:40:04.300000Z","level":"INFO","message":"request","client":"127.0.0.1","ms":0.1,"group":"other"}
{"timestamp":"2026-11-22T11:40:04.300000Z","level":"INFO","message":"a target is healthy","group":"todo","target":"127.0.0.1:6400"}
"#;

    const PRETTY: &str = r#"2026-11-22T11:40:00.000001Z  INFO listening on http://127.0.0.1:8080 (web)
2026-11-22T11:40:01.500000Z  INFO request client=127.0.0.1 method="GET" path="/a \" group=\"x\" b" status=200 ms=1.5 received=0 sent=2 listener=web group="todo" target=127.0.0.1:6400 attempts=1
2026-11-22T11:40:04.100000Z  INFO request client=127.0.0.1 ms=1100.0 group="todo"
2026-11-22T11:40:04.200000Z  INFO request client=127.0.0.1 ms=0.1
2026-11-22T11:40:04.300000Z  INFO request client=127.0.0.1 ms=0.1 group="other"
  a line of something else
2026-11-22T11:40:04.300000Z  INFO a target is healthy group="todo" target=127.0.0.1:6400
"#;

    #[test]
    fn requests_of_the_group_count_when_they_arrived() {
        for (text, format) in [
            (JSON, LoadFormat::AccessLogJson),
            (PRETTY, LoadFormat::AccessLogPretty),
        ] {
            let load = read(text.as_bytes(), "todo").unwrap();
            assert_eq!(load.format, format);
            assert_eq!(load.curve.rates(), [1.0, 0.0, 1.0], "{format:?}");
            let start = load.curve.start().unwrap().to_string();
            assert_eq!(start, "2026-11-22T11:40:01Z", "{format:?}");
        }
    }

    #[test]
    fn a_log_without_the_groups_requests_names_the_others() {
        let says = "no requests to group `x` are in the log, only to `other`, `todo`";
        for text in [JSON, PRETTY] {
            let problem = read(text.as_bytes(), "x").unwrap_err().to_string();
            assert_eq!(problem, says);
            let first = text.lines().next().unwrap();
            let problem = read(first.as_bytes(), "x").unwrap_err().to_string();
            assert!(
                problem.starts_with("no requests are in the log"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let line = |time: &str, ms: &str| {
            format!(
                "{JSON}{{\"timestamp\":\"{time}\",\"client\":\"::1\",\"ms\":{ms},\"group\":\"todo\"}}\n"
            )
        };
        for (text, says) in [
            (
                format!("{JSON}oops\n"),
                "line 7: not a line of Weir's log: ",
            ),
            (line("yesterday", "1"), "line 7: `yesterday` is no time"),
            (
                line("2026-11-22T11:40:01Z", "-5"),
                "line 7: a request cannot take -5 ms",
            ),
            (
                line("2026-11-22T11:40:01Z", "1e300"),
                "line 7: a request cannot take 1",
            ),
            (
                line("2026-12-22T11:40:01Z", "1"),
                "line 7: 2026-12-22T11:40:00.999Z is more than 7 days",
            ),
        ] {
            let problem = read(text.as_bytes(), "todo").unwrap_err().to_string();
            assert!(problem.starts_with(says), "{says}: {problem}");
        }
    }

    #[test]
    fn fields_may_have_spaces_quotes_and_no_end() {
        let all: Vec<_> = Fields(r#"INFO two words a=1 b="x y" c="\"q\"" d= e="open "#).collect();
        let wanted = [
            ("a", "1"),
            ("b", r#""x y""#),
            ("c", r#""\"q\"""#),
            ("d", ""),
            ("e", r#""open "#),
        ];
        assert_eq!(all, wanted);
    }
}
