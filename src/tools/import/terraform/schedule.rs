//! Reads AWS's schedule expressions: `cron(…)`, `rate(…)` and `at(…)`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::plan::When;

/// The ranges of minute, hour, day of month, month and day of week.
const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (1, 7)];

/// Reads an expression. Fails with the part that has no counterpart.
pub(super) fn read(text: &str, timezone: &str) -> Result<When, String> {
    let inner = |name: &str| {
        let rest = text.trim().strip_prefix(name)?.trim_start();
        rest.strip_prefix('(')?.strip_suffix(')')
    };
    if let Some(fields) = inner("cron") {
        return Ok(When::Cron(cron(fields)?, timezone.to_owned()));
    }
    if let Some(rate) = inner("rate") {
        return minutes(rate)
            .map(When::Rate)
            .ok_or_else(|| "not a rate".to_owned());
    }
    if let Some(at) = inner("at") {
        return at_time(at, timezone).map(When::At);
    }
    Err("neither cron, rate nor at".to_owned())
}

/// Converts AWS's six fields to the five of `crontab(5)`. In AWS's fields `?` is one of the days
/// without a condition, `a/b` starts at `a`, and Sunday is 1.
fn cron(text: &str) -> Result<String, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [fields @ .., year] = fields.as_slice() else {
        return Err("no fields".to_owned());
    };
    if fields.len() != RANGES.len() {
        return Err("cron has six fields".to_owned());
    }
    if *year != "*" {
        return Err("a year cannot be kept".to_owned());
    }
    let converted = fields
        .iter()
        .zip(RANGES)
        .enumerate()
        .map(|(n, (field, range))| {
            let items = field.split(',').map(|item| cron_item(item, range, n == 4));
            Ok(items.collect::<Result<Vec<_>, String>>()?.join(","))
        });
    Ok(converted.collect::<Result<Vec<_>, String>>()?.join(" "))
}

fn cron_item(item: &str, range: (u32, u32), is_weekday: bool) -> Result<String, String> {
    let (values, step) = match item.split_once('/') {
        Some((values, step)) => (values, Some(step)),
        None => (item, None),
    };
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number) if is_weekday => Ok(number
            .checked_sub(1)
            .ok_or("days of week begin at 1")?
            .to_string()),
        Ok(number) => Ok(number.to_string()),
        Err(_) if text.len() == 3 && text.chars().all(|c| c.is_ascii_alphabetic()) => {
            Ok(text.to_ascii_uppercase())
        }
        Err(_) => Err(format!("`{item}` has no counterpart")),
    };
    let last = if is_weekday { range.1 - 1 } else { range.1 };
    let values = match values.split_once('-') {
        _ if matches!(values, "*" | "?") => "*".to_owned(),
        Some((from, to)) => format!("{}-{}", number(from)?, number(to)?),
        None if step.is_some() => format!("{}-{last}", number(values)?),
        None => number(values)?,
    };
    match step {
        None => Ok(values),
        Some(step) => match step.parse::<u32>() {
            Ok(step) if step > 0 => Ok(format!("{values}/{step}")),
            _ => Err(format!("`{item}` has no counterpart")),
        },
    }
}

/// Parses `5 minutes`, `1 hour` or `2 days`.
fn minutes(text: &str) -> Option<u32> {
    let (count, unit) = text.trim().split_once(' ')?;
    let unit = match unit.trim() {
        "minute" | "minutes" => 1,
        "hour" | "hours" => 60,
        "day" | "days" => 24 * 60,
        _ => return None,
    };
    count
        .parse::<u32>()
        .ok()?
        .checked_mul(unit)
        .filter(|minutes| *minutes > 0)
}

fn at_time(text: &str, timezone: &str) -> Result<String, String> {
    let time: DateTime = text.trim().parse().map_err(|_| "not a time".to_owned())?;
    let zone = TimeZone::get(timezone).map_err(|_| format!("no time zone `{timezone}`"))?;
    let zoned = time.to_zoned(zone).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_fields_become_five() {
        let cases = [
            ("cron(0 18 ? * THU *)", "0 18 * * THU"),
            ("cron(0 12 ? * 1 *)", "0 12 * * 0"),
            ("cron(0/15 8-17 ? * 2-6 *)", "0-59/15 8-17 * * 1-5"),
            ("cron(30 6 1,15 */3 ? *)", "30 6 1,15 */3 *"),
            ("cron(0 0 ? * 2/2 *)", "0 0 * * 1-6/2"),
        ];
        for (text, expected) in cases {
            let expected = When::Cron(expected.to_owned(), "Europe/Berlin".to_owned());
            assert_eq!(read(text, "Europe/Berlin"), Ok(expected), "{text}");
        }
    }

    #[test]
    fn expressions_without_a_counterpart_in_crontab_are_refused() {
        for text in [
            "cron(0 0 L * ? *)",
            "cron(0 0 ? * 6#3 *)",
            "cron(0 0 15W * ? *)",
            "cron(0 0 1 1 ? 2027)",
            "cron(0 0 * * *)",
            "cron()",
            "cron(0/0 0 1 1 ? *)",
            "rate(0 minutes)",
            "rate(5)",
            "at(tomorrow)",
            "",
        ] {
            assert!(read(text, "UTC").is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_minutes_and_times_are_utc() {
        assert_eq!(read("rate(2 hours)", "UTC"), Ok(When::Rate(120)));
        let at = read("at(2027-01-01T00:30:00)", "Europe/Berlin");
        assert_eq!(at, Ok(When::At("2026-12-31T23:30:00Z".to_owned())));
        assert!(read("at(2027-01-01T00:30:00)", "Europe/Nowhere").is_err());
    }
}
