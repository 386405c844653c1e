//! `schedule`: other bounds at times.

use std::time::Duration;

use cronexpr::{MakeTimestamp, parse_crontab};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use toml::de::DeValue;

use crate::config::autoscaling::{Scheduled, When};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};

/// The keys of which one is the time.
const TIMES: [&str; 3] = ["cron", "at", "rate"];

/// `base` is `min` and `max` of the group.
pub(super) fn read(node: &Node<'_>, base: Option<(u32, u32)>) -> Option<Scheduled> {
    let section = node.section(&keys::SCHEDULED)?;
    let when = when(&section);
    let min = section.optional("min", Node::count);
    let max = section.optional("max", Node::count);
    if min == Some(None)
        && max == Some(None)
        && !section.is_meant("min")
        && !section.is_meant("max")
    {
        let message = format!("{} changes neither `min` nor `max`", section.heading());
        section.error(Code::MissingKey, "min", message, "write min = 4, max = 8");
        return None;
    }
    let (min, max) = (min?, max?);
    check_bounds(&section, min, max, base);
    Some(Scheduled {
        when: when?,
        min,
        max,
    })
}

/// Compares `min` and `max`, where only one is changed with the other one of the group.
fn check_bounds(
    section: &Section<'_>,
    min: Option<u32>,
    max: Option<u32>,
    base: Option<(u32, u32)>,
) {
    let (least, most, key, of) = match (min, max, base) {
        (Some(min), Some(max), _) => (min, max, "min", "`max`"),
        (Some(min), None, Some((_, max))) => (min, max, "min", "the group's `max`"),
        (None, Some(max), Some((min, _))) => (min, max, "max", "the group's `min`"),
        _ => return,
    };
    if least <= most {
        return;
    }
    let Some(node) = section.get(key) else {
        return;
    };
    let (message, help) = if key == "min" {
        (
            format!("`min` ({least}) is above {of} ({most})"),
            format!("write max = {least} beside it, or a lower one"),
        )
    } else {
        (
            format!("`max` ({most}) is below {of} ({least})"),
            format!("write min = {most} beside it, or a higher one"),
        )
    };
    node.error(Code::OutOfRange, message, help);
}

fn when(section: &Section<'_>) -> Option<When> {
    let mut given = section.given(&TIMES);
    given.sort_by_key(|node| node.span);
    let zone = section.get("timezone");
    let zone = match &zone {
        Some(node) => timezone(node),
        None => Some((keys::SCHEDULED.text("timezone").to_owned(), TimeZone::UTC)),
    };
    let Some(first) = given.first() else {
        if !TIMES.iter().any(|key| section.is_meant(key)) {
            let message = format!("{} does not say when", section.heading());
            let help =
                "write cron = \"0 18 * * THU\", at = \"2026-12-24T18:00:00\" or rate = \"1h\"";
            section.error(Code::MissingKey, "cron", message, help);
        }
        return None;
    };
    exclude_each_other(&given, "write an entry for each of them");
    match first.name() {
        "at" => at(first, section.get("timezone").is_some(), &zone?.1).map(When::At),
        "rate" => {
            refuse_zone(section);
            rate(first).map(When::Rate)
        }
        _ => cron(first, zone?.0),
    }
}

/// A name of the IANA database, which comes with the binary.
fn timezone(node: &Node<'_>) -> Option<(String, TimeZone)> {
    let text = node.text()?;
    // jiff finds names without regard to case; cronexpr splits at spaces.
    let named = !text.contains(|c: char| c.is_whitespace());
    if let Some(zone) = named.then(|| TimeZone::get(&text).ok()).flatten() {
        return Some((zone.iana_name().unwrap_or(&text).to_owned(), zone));
    }
    let message = format!("there is no time zone `{}`", text.escape_default());
    let help =
        "write a name of the IANA database: \"Europe/Berlin\", \"America/New_York\", \"UTC\"";
    node.refuse(Code::InvalidValue, message, help)
}

fn refuse_zone(section: &Section<'_>) {
    if let Some(node) = section.get("timezone") {
        let message = "`timezone` does nothing: a `rate` is the same in every zone";
        node.warn(Code::NoEffect, message, "take it out");
    }
}

/// Help for a wrong `at`.
const AT: &str = "write a date and a time: \"2026-12-24T18:00:00\"";

/// A date and time in the zone, or one with an offset of its own.
fn at(node: &Node<'_>, has_zone: bool, zone: &TimeZone) -> Option<Timestamp> {
    let text = match node.value {
        // TOML has dates and times of its own, and they are written the same.
        DeValue::Datetime(time) => time.to_string(),
        _ => node.text()?,
    };
    if let Ok(time) = text.parse::<Timestamp>() {
        if has_zone {
            let message = format!("`{text}` has an offset, so that `timezone` says nothing");
            return node.refuse(Code::Conflict, message, "leave one of them out");
        }
        return Some(time);
    }
    let date_only = text.parse::<jiff::civil::Date>().is_ok() && !text.contains(':');
    let Some(time) = text.parse::<DateTime>().ok().filter(|_| !date_only) else {
        let inside = text
            .strip_prefix("at(")
            .and_then(|text| text.strip_suffix(')'));
        let help = match inside {
            Some(inside) => format!("write \"{inside}\""),
            None => AT.to_owned(),
        };
        let message = format!("`{}` is not a date and a time", text.escape_default());
        return node.refuse(Code::InvalidValue, message, help);
    };
    let ambiguous = zone.to_ambiguous_zoned(time);
    if ambiguous.is_ambiguous() {
        let name = zone.iana_name().unwrap_or("that zone");
        let message = format!("`{text}` is there twice or never: the clocks of {name} change then");
        return node.refuse(
            Code::InvalidValue,
            message,
            "write it with its offset: \"...+01:00\"",
        );
    }
    match ambiguous.compatible() {
        Ok(zoned) => Some(zoned.timestamp()),
        Err(error) => node.refuse(Code::OutOfRange, error.to_string(), AT),
    }
}

/// A whole number of minutes: schedules are evaluated once a minute.
fn rate(node: &Node<'_>) -> Option<Duration> {
    let inside = match node.value {
        DeValue::String(text) => text
            .strip_prefix("rate(")
            .and_then(|text| text.strip_suffix(')')),
        _ => None,
    };
    if let Some(inside) = inside {
        let message = format!("`rate({inside})` is AWS's way to write it");
        return node.refuse(Code::Unit, message, "write a duration: \"5m\", \"1h\"");
    }
    let rate = node.duration()?;
    if rate.as_secs() % 60 == 0 && rate.subsec_nanos() == 0 {
        return Some(rate);
    }
    let message = "`rate` must be a whole number of minutes";
    let help = format!("write \"{}m\"", rate.as_secs() / 60 + 1);
    node.refuse(Code::InvalidValue, message, help)
}

/// Five fields of crontab, which come true at some time.
fn cron(node: &Node<'_>, timezone: String) -> Option<When> {
    let text = node.text()?;
    let expression = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let count = expression.split(' ').count();
    if count != 5 || expression.contains('?') {
        let message = format!("`{}` is not five fields of crontab", text.escape_default());
        let help = if expression.starts_with("cron(") || (count == 6 && expression.contains('?')) {
            "Weir's is crontab's, not AWS's: no `cron()`, no year, and `*` for `?`: \"0 18 * * THU\""
        } else {
            "write minute, hour, day of month, month and day of week: \"0 18 * * THU\""
        };
        return node.refuse(Code::InvalidValue, message, help);
    }
    let crontab = match parse_crontab(&format!("{expression} {timezone}")) {
        Ok(crontab) => crontab,
        Err(error) => {
            // The last line of the error is the reason; those before show the text.
            let error = error.to_string();
            let reason = error
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches([' ', '^']);
            let message = format!(
                "`{}` is not a time of crontab: {reason}",
                text.escape_default()
            );
            let help = "write minute, hour, day of month, month and day of week: \"0 18 * * THU\"";
            return node.refuse(Code::InvalidValue, message, help);
        }
    };
    // From the first of three years without a 29 February, so that the search reaches the next one.
    let from = MakeTimestamp(Timestamp::constant(1_735_689_600, 0));
    if crontab.find_next(from).is_err() {
        let message = format!("`{text}` never comes");
        return node.refuse(
            Code::NeverMatches,
            message,
            "is there such a day in that month?",
        );
    }
    Some(When::Cron {
        expression,
        timezone,
    })
}
