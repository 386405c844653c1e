//! Predictive scaling: forecasts the replicas of the next hours from the load of earlier days.
//!
//! The history has, for 14 days, the highest five-minute mean of each hour of the group's load
//! (the metric times the replicas in service). The forecast of an hour is the mean of similar
//! earlier hours, moved along a linear trend. Similar are the same hours of the same weekday if
//! there are two; else of the same kind of day (working day or weekend) if there are two; else of
//! all days. Hours and days are those of UTC. The trend is the slope by least squares within each
//! hour of the week or, in the first week, of each kind of day; it makes the forecast at least half
//! and at most twice the mean.
//!
//! As on AWS the policy needs 24 hours of data, can only add replicas, and holds for its hour:
//! scale-in by other policies stops at the forecast.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{Metric, Predictive};

use super::decision::{AlarmState, PolicyKind, PolicyResult, Reason, round_up};
use super::sample::Now;
use super::tracking::{mean, short};

const HOUR: i64 = 3600;
/// Length of the means of which an hour keeps the highest, seconds.
const SLOT: i64 = 300;
/// Hours that are kept. AWS: "up to the past 14 days".
const KEPT: i64 = 14 * 24;
/// Hours of data before the first forecast. AWS: "at least 24 hours of data".
const NEEDED: usize = 24;
/// Longest time that one reading covers.
const MAX_COVER: Duration = Duration::from_secs(60);
/// Length of the forecast, hours.
const AHEAD: i64 = 48;
/// Version of the exported format.
const VERSION: u32 = 1;

/// The forecast of one hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Start of the hour.
    pub at: Timestamp,
    /// Highest load: the metric times the replicas.
    pub load: f64,
    /// Replicas that bring the metric to its target, not limited by the bounds.
    pub wants: u32,
}

/// A stored history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It is no export.
    #[error("not a history: {0}")]
    Text(#[from] serde_json::Error),
    /// An unknown version of Weir has written it.
    #[error("version {0} of the format is unknown")]
    Version(u32),
    /// It was written for a policy of another metric.
    #[error("a history of {found}, not of {wanted}")]
    Metric {
        /// Metric of the text.
        found: String,
        /// Metric of the policy.
        wanted: String,
    },
}

/// The policy with its history.
#[derive(Debug)]
pub(super) struct Predictor {
    policy: Predictive,
    name: String,
    /// The highest load of each hour since the epoch.
    hours: BTreeMap<i64, f64>,
    open: OpenHour,
    /// Uptime of the last sample.
    last: Option<Duration>,
    /// Loads of the open hour and of those after it.
    forecast: Vec<Option<f64>>,
}

/// The hour that has not ended, and its slot of five minutes that has not.
#[derive(Clone, Copy, Debug, Default)]
struct OpenHour {
    /// The open slot, counted since the epoch.
    slot: i64,
    /// Seconds of it that readings cover.
    seconds: f64,
    /// Sum of the load over these seconds.
    sum: f64,
    /// Highest mean of the slots that have ended.
    highest: f64,
    /// Number of slots that have ended with enough data.
    slots: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    metric: String,
    /// Hour since the epoch, and its load.
    hours: Vec<(i64, f64)>,
}

impl Predictor {
    pub(super) fn new(policy: Predictive) -> Self {
        let name = format!("predictive {} {}", policy.metric.name(), policy.target);
        Self {
            policy,
            name,
            hours: BTreeMap::new(),
            open: OpenHour::default(),
            last: None,
            forecast: Vec::new(),
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    /// Continues with another policy; the history stays if the metric is the same.
    pub(super) fn configure(self, policy: Predictive) -> Self {
        if policy.metric != self.policy.metric {
            return Self::new(policy);
        }
        Self {
            name: Self::new(policy.clone()).name,
            policy,
            ..self
        }
    }

    /// Records the load of the whole group.
    pub(super) fn record(&mut self, now: Now, load: Option<f64>) {
        let slot = now.wall.as_second().div_euclid(SLOT);
        if slot != self.open.slot || self.last.is_none() {
            self.begin_slot(slot);
        }
        let last = self.last.replace(now.uptime).unwrap_or(now.uptime);
        let covers = now.uptime.saturating_sub(last).min(MAX_COVER).as_secs_f64();
        if let Some(load) = load {
            self.open.seconds += covers;
            self.open.sum += covers * load;
        }
    }

    /// The result for the current hour and the one that begins within the buffer.
    pub(super) fn evaluate(&self, base: u32, now: Timestamp) -> PolicyResult {
        let kind = if self.policy.scale {
            PolicyKind::Predictive
        } else {
            PolicyKind::Forecast
        };
        let mut result = PolicyResult::new(kind, self.name.clone(), AlarmState::Ok);
        let buffer = SignedDuration::try_from(self.policy.buffer).unwrap_or(SignedDuration::ZERO);
        let soon = now.checked_add(buffer).unwrap_or(now);
        let highest = (hour_of(now)..=hour_of(soon))
            .filter_map(|hour| Some((self.at(hour)?, hour)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((load, hour)) = highest else {
            result.alarm = AlarmState::InsufficientData;
            result.reason = Some(Reason::InsufficientData);
            result.formula = format!("{} of {NEEDED} hours of data", self.hours.len());
            return result;
        };
        let wants = self.wants(load);
        let (load_text, target) = (short(load), short(self.policy.target));
        result.formula = format!("{}: ceil({load_text} / {target}) = {wants}", start_of(hour));
        result.metric = Some(load);
        result.wants = Some(wants);
        if wants > base {
            result.alarm = AlarmState::High;
        }
        result
    }

    /// The forecasts of the current hour and of those after it that have one.
    pub(super) fn forecast(&self) -> Vec<Forecast> {
        let first = self.open_hour();
        self.forecast
            .iter()
            .zip(first..)
            .filter_map(|(load, hour)| {
                let load = (*load)?;
                Some(Forecast {
                    at: start_of(hour),
                    load,
                    wants: self.wants(load),
                })
            })
            .collect()
    }

    /// The history as text, without the open hour.
    pub(super) fn export(&self) -> String {
        let stored = Stored {
            version: VERSION,
            metric: self.policy.metric.name().to_owned(),
            hours: self
                .hours
                .iter()
                .map(|(hour, load)| (*hour, *load))
                .collect(),
        };
        serde_json::to_string(&stored).expect("numbers and a name are JSON")
    }

    /// Adds an export; hours that are known already stay.
    pub(super) fn import(&mut self, text: &str) -> Result<(), HistoryError> {
        let stored: Stored = serde_json::from_str(text)?;
        if stored.version != VERSION {
            return Err(HistoryError::Version(stored.version));
        }
        let wanted = self.policy.metric.name();
        if stored.metric != wanted {
            let (found, wanted) = (stored.metric, wanted.to_owned());
            return Err(HistoryError::Metric { found, wanted });
        }
        for (hour, load) in stored.hours {
            if !load.is_finite() || load < 0.0 {
                continue;
            }
            self.hours.entry(hour).or_insert(load);
            if self.hours.len() > 2 * KEPT as usize {
                self.hours.pop_first();
            }
        }
        if self.last.is_some() {
            self.update_forecast();
        }
        Ok(())
    }

    /// Ends the open slot, and its hour if the new slot belongs to another one.
    fn begin_slot(&mut self, slot: i64) {
        let is_start = self.last.is_none();
        let per_hour = HOUR / SLOT;
        let (old, new) = (self.open_hour(), slot.div_euclid(per_hour));
        self.open.end_slot();
        if old == new {
            self.open.slot = slot;
        } else {
            // With less than half of its slots the highest load of an hour is not known.
            if i64::from(self.open.slots) * 2 >= per_hour {
                self.hours.insert(old, self.open.highest);
            }
            self.open = OpenHour {
                slot,
                ..OpenHour::default()
            };
        }
        if is_start || old != new {
            self.update_forecast();
        }
    }

    fn open_hour(&self) -> i64 {
        self.open.slot.div_euclid(HOUR / SLOT)
    }

    /// Removes hours that are too old, or in the future after the clock was wrong, and computes
    /// the forecast.
    fn update_forecast(&mut self) {
        let now = self.open_hour();
        self.hours
            .retain(|hour, _| (now - KEPT..now).contains(hour));
        self.forecast.clear();
        if self.hours.len() >= NEEDED {
            let trend = trend(&self.hours);
            self.forecast = (now..=now + AHEAD)
                .map(|hour| expected(&self.hours, hour, trend))
                .collect();
        }
    }

    fn at(&self, hour: i64) -> Option<f64> {
        let index = usize::try_from(hour - self.open_hour()).ok()?;
        self.forecast.get(index).copied().flatten()
    }

    fn wants(&self, load: f64) -> u32 {
        round_up(load / self.policy.target)
    }
}

impl OpenHour {
    /// Ends the slot. It counts if readings cover at least half of it.
    fn end_slot(&mut self) {
        if self.seconds * 2.0 >= SLOT as f64 {
            self.highest = self.highest.max(self.sum / self.seconds);
            self.slots += 1;
        }
        (self.seconds, self.sum) = (0.0, 0.0);
    }
}

fn hour_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(HOUR)
}

fn start_of(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(HOUR)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The hour of the day, and whether the day is on a weekend: 1 January 1970 was a Thursday.
fn kind_of_hour(hour: i64) -> (i64, bool) {
    let weekday = (hour.div_euclid(24) + 3).rem_euclid(7);
    (hour.rem_euclid(24), weekday >= 5)
}

/// Change of the load per hour: from week to week if there are two weeks, so that a busy weekday
/// does not look like growth, else from day to day.
fn trend(hours: &BTreeMap<i64, f64>) -> f64 {
    let weekly = slope(hours, |hour| hour.rem_euclid(7 * 24));
    weekly.or_else(|| slope(hours, kind_of_hour)).unwrap_or(0.0)
}

/// The slope by least squares within groups of hours; `None` if no group has two hours.
fn slope<G: Ord>(hours: &BTreeMap<i64, f64>, group: impl Fn(i64) -> G) -> Option<f64> {
    let mut groups: BTreeMap<G, Vec<(f64, f64)>> = BTreeMap::new();
    for (hour, load) in hours {
        let points = groups.entry(group(*hour)).or_default();
        points.push((*hour as f64, *load));
    }
    let (mut covariance, mut variance) = (0.0, 0.0);
    for points in groups.values() {
        let time = mean(points.iter().map(|(time, _)| *time));
        let load = mean(points.iter().map(|(_, load)| *load));
        for point in points {
            covariance += (point.0 - time) * (point.1 - load);
            variance += (point.0 - time).powi(2);
        }
    }
    (variance > 0.0).then(|| covariance / variance)
}

/// The expected load of an hour; `None` without similar hours.
fn expected(hours: &BTreeMap<i64, f64>, hour: i64, trend: f64) -> Option<f64> {
    let matching = |is_similar: &dyn Fn(i64) -> bool| -> Vec<(f64, f64)> {
        hours
            .iter()
            .filter(|(past, _)| is_similar(**past))
            .map(|(past, load)| (*past as f64, *load))
            .collect()
    };
    let mut similar = matching(&|past| (hour - past).rem_euclid(7 * 24) == 0);
    if similar.len() < 2 {
        similar = matching(&|past| kind_of_hour(past) == kind_of_hour(hour));
    }
    if similar.len() < 2 {
        similar = matching(&|past| (hour - past).rem_euclid(24) == 0);
    }
    if similar.is_empty() {
        return None;
    }
    let load = mean(similar.iter().map(|(_, load)| *load));
    let time = mean(similar.iter().map(|(time, _)| *time));
    let moved = load + trend * (hour as f64 - time);
    Some(moved.clamp(load / 2.0, load * 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24;
    /// Midnight before a Monday, 2 November 2026, in hours since the epoch.
    const MONDAY: i64 = 20_759 * DAY;

    fn predictor() -> Predictor {
        Predictor::new(Predictive {
            metric: Metric::RequestsPerTarget,
            target: 10.0,
            scale: true,
            buffer: Duration::from_secs(300),
            history: None,
        })
    }

    /// After hours of a load, in the middle of the hour after them.
    fn after(hours: i64, load: impl Fn(i64) -> f64) -> Predictor {
        let mut predictor = predictor();
        predictor.hours = (MONDAY..MONDAY + hours)
            .map(|hour| (hour, load(hour - MONDAY)))
            .collect();
        predictor.record(now(hours * HOUR + HOUR / 2), None);
        predictor
    }

    fn now(second: i64) -> Now {
        Now {
            uptime: Duration::from_secs(second.unsigned_abs()),
            wall: Timestamp::from_second(MONDAY * HOUR + second).unwrap(),
        }
    }

    fn loads(predictor: &Predictor) -> Vec<f64> {
        predictor
            .forecast()
            .iter()
            .map(|forecast| forecast.load)
            .collect()
    }

    #[test]
    fn a_day_of_data_is_needed() {
        let short = after(23, |_| 1.0);
        assert_eq!(short.forecast(), []);
        let result = short.evaluate(1, now(23 * HOUR).wall);
        assert_eq!(result.reason, Some(Reason::InsufficientData));
        assert_eq!(result.formula, "23 of 24 hours of data");
        assert_eq!(after(24, |_| 1.0).forecast().len(), 49);
    }

    #[test]
    fn the_same_hour_of_the_days_before_is_expected() {
        let loads = loads(&after(3 * DAY, |hour| (hour % DAY) as f64));
        let expected: Vec<f64> = (0..=48).map(|hour| f64::from(hour % 24)).collect();
        assert_eq!(loads, expected);
    }

    #[test]
    fn a_load_that_grows_is_expected_to_grow_on() {
        let load = |hour: i64| 100.0 + (hour % DAY) as f64 + (hour / DAY) as f64;
        let loads = loads(&after(4 * DAY, load));
        for (ahead, expected) in (4 * DAY..).zip(loads) {
            assert!((expected - load(ahead)).abs() < 1e-6, "{ahead}: {expected}");
        }
    }

    #[test]
    fn weekends_are_like_weekends_and_weekdays_like_themselves() {
        let weekend = |hour: i64| if hour / DAY % 7 >= 5 { 10.0 } else { 50.0 };
        // A week and two days: the next weekend is like the one that was.
        let week = loads(&after(11 * DAY, weekend));
        assert!((week[0] - 50.0).abs() < 1e-6, "{}", week[0]);
        assert!((week[25] - 10.0).abs() < 1e-6, "{}", week[25]);
        let wednesday = |hour: i64| if hour / DAY % 7 == 2 { 90.0 } else { 50.0 };
        let weeks = after(16 * DAY, wednesday);
        assert_eq!(weeks.hours.len(), KEPT as usize);
        assert!(
            (loads(&weeks)[0] - 90.0).abs() < 1.0,
            "{}",
            loads(&weeks)[0]
        );
        assert!(
            (loads(&weeks)[25] - 50.0).abs() < 1.0,
            "{}",
            loads(&weeks)[25]
        );
    }

    #[test]
    fn the_hour_that_begins_within_the_buffer_counts() {
        // 61 from 6:00 on.
        let load = |hour: i64| if hour % DAY < 6 { 12.0 } else { 61.0 };
        let predictor = after(2 * DAY + 5, load);
        let at = |second: i64| predictor.evaluate(3, now((2 * DAY + 5) * HOUR + second).wall);
        assert_eq!((at(3299).wants, at(3299).alarm), (Some(2), AlarmState::Ok));
        assert_eq!(
            (at(3300).wants, at(3300).alarm),
            (Some(7), AlarmState::High)
        );
        assert_eq!(at(3300).formula, "2026-11-04T06:00:00Z: ceil(61 / 10) = 7");
    }

    #[test]
    fn an_hour_keeps_its_highest_five_minutes_if_it_is_known_by_half() {
        let mut predictor = predictor();
        for second in (0..3 * HOUR).step_by(10) {
            let load = match second {
                600..900 => Some(40.0),
                0..7000 => Some(20.0),
                // The second hour is known to its end, the third for 40 minutes less.
                7000..9600 => None,
                _ => Some(10.0),
            };
            predictor.record(now(second + 1), load);
        }
        predictor.record(now(3 * HOUR), Some(10.0));
        let hours: Vec<_> = predictor
            .hours
            .iter()
            .map(|(hour, load)| (hour - MONDAY, *load))
            .collect();
        let [(0, first), (1, second)] = hours[..] else {
            panic!("{hours:?}")
        };
        assert!(
            (39.0..=40.0).contains(&first) && (second - 20.0).abs() < 1e-9,
            "{hours:?}"
        );
    }

    #[test]
    fn what_was_exported_is_imported_and_nothing_else() {
        let old = after(3 * DAY, |hour| hour as f64 / 7.0);
        let text = old.export();
        let mut new = predictor();
        new.import(&text).unwrap();
        assert_eq!(new.hours, old.hours);
        new.record(now(3 * DAY * HOUR + HOUR / 2), None);
        assert_eq!(new.forecast(), old.forecast());
        let refused = [
            text.replace("requests_per_target", "cpu"),
            text.replace("\"version\":1", "\"version\":2"),
            text[..text.len() / 2].to_owned(),
            "[]".to_owned(),
        ];
        for text in refused {
            assert!(predictor().import(&text).is_err(), "{text}");
        }
        // Years of hours, half of them invalid.
        let hours: Vec<_> = (0..100_000)
            .map(|hour| (hour, if hour % 2 == 0 { 1.0 } else { -1.0 }))
            .collect();
        let many = Stored {
            version: 1,
            metric: "requests_per_target".to_owned(),
            hours,
        };
        let mut full = predictor();
        full.import(&serde_json::to_string(&many).unwrap()).unwrap();
        assert!(full.hours.len() <= 2 * KEPT as usize);
    }
}
