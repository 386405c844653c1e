//! When an alarm is raised, and how long its action holds.

use std::time::Duration;

use crate::config::autoscaling::{Profile, Timing};
use crate::config::keys::DAY;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::units::display_duration;

/// All datapoints of an alarm together, CloudWatch's.
const ALARM: Duration = DAY;

/// The timing of the profile, except for what is written.
pub(super) fn read(section: &Section<'_>, profile: Profile) -> Timing {
    let default = Timing::of(profile);
    let number = |key| section.get(key).and_then(|node| node.number());
    let timing = Timing {
        period: period(section, default.period),
        out_periods: section.count_or("out_periods", default.out_periods),
        in_periods: section.count_or("in_periods", default.in_periods),
        out_above: number("out_above").unwrap_or(default.out_above),
        in_below: number("in_below").unwrap_or(default.in_below),
        out_cooldown: section.duration_or("out_cooldown", default.out_cooldown),
        in_cooldown: section.duration_or("in_cooldown", default.in_cooldown),
        warm_up: section.duration_or("warm_up", default.warm_up),
    };
    check_alarm(section, "out_periods", timing.out_periods, timing.period);
    check_alarm(section, "in_periods", timing.in_periods, timing.period);
    timing
}

/// A whole number of seconds: samples come once a second.
pub(super) fn period(section: &Section<'_>, default: Duration) -> Duration {
    let read = section.duration_or("period", default);
    if read.subsec_nanos() == 0 {
        return read;
    }
    if let Some(node) = section.get("period") {
        let message = "`period` must be a whole number of seconds: samples come once a second";
        let help = format!("write \"{}s\"", read.as_secs() + 1);
        node.error(Code::InvalidValue, message, help);
    }
    default
}

/// CloudWatch's limit: all datapoints of an alarm within a day.
pub(super) fn check_alarm(section: &Section<'_>, key: &str, periods: u32, period: Duration) {
    let node = section.get(key).or_else(|| section.get("period"));
    if let Some(node) = node
        && period.saturating_mul(periods) > ALARM
    {
        let message = format!(
            "{periods} periods of {} are longer than a day",
            display_duration(period)
        );
        node.error(
            Code::OutOfRange,
            message,
            "no load is answered after so long",
        );
    }
}
