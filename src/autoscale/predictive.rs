//! Predictive scaling: the load of earlier days says how many replicas the next hour needs.
//!
//! What is kept of an hour is the highest five-minute mean of the whole service's load (the
//! metric times the replicas in service), for 14 days. The forecast of an hour is the mean of
//! those before it that are like it, moved along a linear trend. Like it are the same hours of
//! the same weekday where there are two; else of the same kind of day, which is a working day
//! or a weekend, where there are two; else of all days. Hours and days are those of UTC. The
//! trend is the slope by least squares within each hour of the week, or, in the first week, of
//! each kind of day, and makes a forecast half of the mean at least and twice at most.
//!
//! As on AWS it needs 24 hours of data, can only add, and holds for its hour: scale-in by
//! other policies stops at the forecast.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{Metric, Predictive};

use super::decision::{AlarmState, Kind, Opinion, Reason, round_up};
use super::sample::Now;
use super::tracking::{mean, short};

const HOUR: i64 = 3600;
/// What the highest mean of an hour is taken over, in seconds.
const SLOT: i64 = 300;
/// As AWS has it: "up to the past 14 days".
const KEPT: i64 = 14 * 24;
/// "This metric must have at least 24 hours of data."
const NEEDED: usize = 24;
/// A reading is not taken to hold for longer.
const MAX_COVER: Duration = Duration::from_secs(60);
/// How far ahead the forecast reaches, in hours.
const AHEAD: i64 = 48;
/// How an export that this version reads begins.
const VERSION: u32 = 1;

/// What is expected of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// When it begins.
    pub at: Timestamp,
    /// The metric times the replicas, at its highest.
    pub load: f64,
    /// The replicas that bring it to the target; within no bounds.
    pub wants: u32,
}

/// A stored history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It is not what was written.
    #[error("not a history: {0}")]
    Text(#[from] serde_json::Error),
    /// Another version of Weir has written it.
    #[error("version {0} of the format is unknown")]
    Version(u32),
    /// It was written for another policy.
    #[error("a history of {found}, not of {wanted}")]
    Metric {
        /// Of the text.
        found: String,
        /// Of the policy.
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
    open: Open,
    last: Option<Duration>,
    /// Of the open hour and those after it.
    forecast: Vec<Option<f64>>,
}

/// The hour that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    slot: i64,
    seconds: f64,
    sum: f64,
    highest: f64,
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
            open: Open::default(),
            last: None,
            forecast: Vec::new(),
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    /// Goes on with another policy, and with what is known of the metric if it is the same.
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

    /// Takes in the load of the whole service.
    pub(super) fn take(&mut self, now: Now, load: Option<f64>) {
        let slot = now.wall.as_second().div_euclid(SLOT);
        if slot != self.open.slot || self.last.is_none() {
            self.begin(slot);
        }
        let last = self.last.replace(now.uptime).unwrap_or(now.uptime);
        let covers = now.uptime.saturating_sub(last).min(MAX_COVER).as_secs_f64();
        if let Some(load) = load {
            self.open.seconds += covers;
            self.open.sum += covers * load;
        }
    }

    /// What it says of the hour now and of the one that begins within the buffer.
    pub(super) fn opinion(&self, base: u32, now: Timestamp) -> Opinion {
        let kind = if self.policy.scale {
            Kind::Predictive
        } else {
            Kind::Forecast
        };
        let mut opinion = Opinion::new(kind, self.name.clone(), AlarmState::Ok);
        let buffer = SignedDuration::try_from(self.policy.buffer).unwrap_or(SignedDuration::ZERO);
        let soon = now.checked_add(buffer).unwrap_or(now);
        let hours = hour(now)..=hour(soon);
        let highest = hours.filter_map(|hour| Some((self.at(hour)?, hour)));
        let Some((load, hour)) = highest.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            opinion.alarm = AlarmState::InsufficientData;
            opinion.reason = Some(Reason::InsufficientData);
            opinion.formula = format!("{} of {NEEDED} hours of data", self.hours.len());
            return opinion;
        };
        let wants = self.wants(load);
        let (load_text, target) = (short(load), short(self.policy.target));
        opinion.formula = format!("{}: ceil({load_text} / {target}) = {wants}", begin(hour));
        opinion.metric = Some(load);
        opinion.wants = Some(wants);
        if wants > base {
            opinion.alarm = AlarmState::High;
        }
        opinion
    }

    /// Of the hour now and the days after it, as far as something is known.
    pub(super) fn forecast(&self) -> Vec<Forecast> {
        let first = self.open_hour();
        let known = self.forecast.iter().zip(first..);
        let known = known.filter_map(|(load, hour)| Some(((*load)?, hour)));
        let forecast = known.map(|(load, hour)| Forecast {
            at: begin(hour),
            load,
            wants: self.wants(load),
        });
        forecast.collect()
    }

    /// The history as text; it does not have the hour that is not over.
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

    /// Takes in an export; what is known already of an hour stays.
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
        let is_sane = |load: f64| load.is_finite() && load >= 0.0;
        for (hour, load) in stored.hours.into_iter().filter(|(_, load)| is_sane(*load)) {
            self.hours.entry(hour).or_insert(load);
            if self.hours.len() > 2 * KEPT as usize {
                self.hours.pop_first();
            }
        }
        if self.last.is_some() {
            self.look_ahead();
        }
        Ok(())
    }

    /// Ends the slot that was open, and its hour if the new one is of another.
    fn begin(&mut self, slot: i64) {
        let is_start = self.last.is_none();
        let per_hour = HOUR / SLOT;
        let (old, new) = (self.open_hour(), slot.div_euclid(per_hour));
        self.open.end();
        if old == new {
            self.open.slot = slot;
        } else {
            // An hour of which less than a half is known says little of its highest load.
            if i64::from(self.open.slots) * 2 >= per_hour {
                self.hours.insert(old, self.open.highest);
            }
            self.open = Open {
                slot,
                ..Open::default()
            };
        }
        if is_start || old != new {
            self.look_ahead();
        }
    }

    fn open_hour(&self) -> i64 {
        self.open.slot.div_euclid(HOUR / SLOT)
    }

    /// Forgets what is too old, and what would be ahead if the clock was wrong once, and
    /// makes the forecast.
    fn look_ahead(&mut self) {
        let now = self.open_hour();
        self.hours
            .retain(|hour, _| (now - KEPT..now).contains(hour));
        self.forecast.clear();
        if self.hours.len() >= NEEDED {
            let trend = trend(&self.hours);
            let forecast = (now..=now + AHEAD).map(|hour| expected(&self.hours, hour, trend));
            self.forecast = forecast.collect();
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

impl Open {
    /// A slot of which less than a half is known does not count.
    fn end(&mut self) {
        if self.seconds * 2.0 >= SLOT as f64 {
            self.highest = self.highest.max(self.sum / self.seconds);
            self.slots += 1;
        }
        (self.seconds, self.sum) = (0.0, 0.0);
    }
}

fn hour(time: Timestamp) -> i64 {
    time.as_second().div_euclid(HOUR)
}

fn begin(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(HOUR)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The hour of the day and whether it is of a weekend: 1 January 1970 was a Thursday.
fn profile(hour: i64) -> (i64, bool) {
    let weekday = (hour.div_euclid(24) + 3).rem_euclid(7);
    (hour.rem_euclid(24), weekday >= 5)
}

/// Change of the load for each hour that passes: from week to week where there are two, so
/// that a busy weekday is not taken for growth, else from day to day.
fn trend(hours: &BTreeMap<i64, f64>) -> f64 {
    let weekly = slope(hours, |hour| hour.rem_euclid(7 * 24));
    weekly.or_else(|| slope(hours, profile)).unwrap_or(0.0)
}

/// By least squares within groups of hours; `None` if each hour is alone in its group.
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

/// The load that is expected of an hour.
fn expected(hours: &BTreeMap<i64, f64>, hour: i64, trend: f64) -> Option<f64> {
    let of = |is_like: &dyn Fn(i64) -> bool| -> Vec<(f64, f64)> {
        let like = hours.iter().filter(|(past, _)| is_like(**past));
        like.map(|(past, load)| (*past as f64, *load)).collect()
    };
    let mut like = of(&|past| (hour - past).rem_euclid(7 * 24) == 0);
    if like.len() < 2 {
        like = of(&|past| profile(past) == profile(hour));
    }
    if like.len() < 2 {
        like = of(&|past| (hour - past).rem_euclid(24) == 0);
    }
    if like.is_empty() {
        return None;
    }
    let load = mean(like.iter().map(|(_, load)| *load));
    let time = mean(like.iter().map(|(time, _)| *time));
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
        predictor.take(now(hours * HOUR + HOUR / 2), None);
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
        let opinion = short.opinion(1, now(23 * HOUR).wall);
        assert_eq!(opinion.reason, Some(Reason::InsufficientData));
        assert_eq!(opinion.formula, "23 of 24 hours of data");
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
        let at = |second: i64| predictor.opinion(3, now((2 * DAY + 5) * HOUR + second).wall);
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
            predictor.take(now(second + 1), load);
        }
        predictor.take(now(3 * HOUR), Some(10.0));
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
        new.take(now(3 * DAY * HOUR + HOUR / 2), None);
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
        // Years of it, and in part nonsense.
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
