//! `schedule`: other bounds at times.

use std::time::Duration;

use cronexpr::{MakeTimestamp, parse_crontab};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use toml::de::DeValue;

use crate::config::autoscaling::{Scheduled, When};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::{bounds, defaults};

/// The keys of which one says when.
const TIMES: [&str; 3] = ["cron", "at", "rate"];

/// `base` are the group's own bounds.
pub(super) fn read(node: &Node<'_>, base: Option<(u32, u32)>) -> Option<Scheduled> {
    let section = node.section(Place::Scheduled)?;
    let when = when(&section);
    let most = bounds::ENGINE_REPLICAS;
    let min = section.get("min").map(|node| node.integer(0..=most));
    let max = section.get("max").map(|node| node.integer(1..=most));
    if min.is_none() && max.is_none() && !section.is_meant("min") && !section.is_meant("max") {
        let message = format!("{} changes neither `min` nor `max`", section.heading());
        section.error(Code::MissingKey, "min", message, "write min = 4, max = 8");
        return None;
    }
    let (min, max) = match (min, max) {
        // Something is wrong with one of them; that has been said.
        (Some(None), _) | (_, Some(None)) => return None,
        (min, max) => (min.flatten(), max.flatten()),
    };
    check_bounds(&section, min, max, base);
    Some(Scheduled {
        when: when?,
        min,
        max,
    })
}

/// Against each other, and where only one is changed against the other one of the group.
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
    let mut given: Vec<_> = TIMES.iter().filter_map(|key| section.get(key)).collect();
    given.sort_by_key(|node| node.span);
    let zone = section.get("timezone");
    let zone = match &zone {
        Some(node) => timezone(node),
        None => Some((defaults::TIMEZONE.to_owned(), TimeZone::UTC)),
    };
    let Some((first, others)) = given.split_first() else {
        if !TIMES.iter().any(|key| section.is_meant(key)) {
            let message = format!("{} does not say when", section.heading());
            let help =
                "write cron = \"0 18 * * THU\", at = \"2026-12-24T18:00:00\" or rate = \"1h\"";
            section.error(Code::MissingKey, "cron", message, help);
        }
        return None;
    };
    for other in others {
        let message = format!(
            "`{}` and `{}` exclude each other",
            first.name(),
            other.name()
        );
        other.error(Code::Conflict, message, "write an entry for each of them");
    }
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
    node.error(Code::InvalidValue, message, help);
    None
}

fn refuse_zone(section: &Section<'_>) {
    if let Some(node) = section.get("timezone") {
        let message = "`timezone` does nothing: a `rate` is the same in every zone";
        node.warn(Code::NoEffect, message, "take it out");
    }
}

/// What `at` looks like.
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
            node.error(Code::Conflict, message, "leave one of them out");
            return None;
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
        node.error(Code::InvalidValue, message, help);
        return None;
    };
    let ambiguous = zone.to_ambiguous_zoned(time);
    if ambiguous.is_ambiguous() {
        let name = zone.iana_name().unwrap_or("that zone");
        let message = format!("`{text}` is there twice or never: the clocks of {name} change then");
        node.error(
            Code::InvalidValue,
            message,
            "write it with its offset: \"...+01:00\"",
        );
        return None;
    }
    match ambiguous.compatible() {
        Ok(zoned) => Some(zoned.timestamp()),
        Err(error) => {
            node.error(Code::OutOfRange, error.to_string(), AT);
            None
        }
    }
}

/// Whole minutes: schedules are looked at once a minute.
fn rate(node: &Node<'_>) -> Option<Duration> {
    let inside = match node.value {
        DeValue::String(text) => text
            .strip_prefix("rate(")
            .and_then(|text| text.strip_suffix(')')),
        _ => None,
    };
    if let Some(inside) = inside {
        let message = format!("`rate({inside})` is AWS's way to write it");
        node.error(Code::Unit, message, "write a duration: \"5m\", \"1h\"");
        return None;
    }
    let rate = node.duration(&bounds::RATE_OF_SCHEDULE)?;
    if rate.as_secs() % 60 == 0 && rate.subsec_nanos() == 0 {
        return Some(rate);
    }
    let message = "`rate` must be a whole number of minutes";
    let help = format!("write \"{}m\"", rate.as_secs() / 60 + 1);
    node.error(Code::InvalidValue, message, help);
    None
}

/// Five fields.
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
        node.error(Code::InvalidValue, message, help);
        return None;
    }
    let crontab = match parse_crontab(&format!("{expression} {timezone}")) {
        Ok(crontab) => crontab,
        Err(error) => {
            // Its last line names the field; those before show the text, which is shown here.
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
            node.error(Code::InvalidValue, message, help);
            return None;
        }
    };
    // A year without 29 February is the first of three: none of the next four is missed.
    let from = MakeTimestamp(Timestamp::constant(1_735_689_600, 0));
    if crontab.find_next(from).is_err() {
        let message = format!("`{text}` never comes");
        node.error(
            Code::NeverMatches,
            message,
            "is there such a day in that month?",
        );
        return None;
    }
    Some(When::Cron {
        expression,
        timezone,
    })
}
