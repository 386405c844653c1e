//! Scheduled actions: they change the bounds at certain times.
//!
//! An action sets `min`, `max` or both, until another action sets them. At the start the latest
//! past occurrences apply: those of an `at` however old, those of a `cron` up to a year back. If
//! an action sets one bound past the other, the other one moves with it for as long as that lasts.
//! (AWS refuses such an action: "you must include both sizes".)
//!
//! The times of a `cron` follow the clock of their zone through daylight saving, and each occurs
//! once a day. Times that the clock skips occur at the first moment after the gap, in their order:
//! 2:30 at 3:00. Times that the clock shows twice occur the first time. A `rate` is counted in real
//! time.

use cronexpr::Crontab;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::config::{Scheduled, When};

/// How far back an occurrence of a `cron` is searched.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
/// The times of a `cron` are whole minutes.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The scheduled actions of a group.
#[derive(Debug)]
pub(super) struct Schedule {
    actions: Vec<Action>,
    /// The bounds of the configuration.
    own: Bounds,
    /// The bounds since the last occurrence.
    current: Bounds,
    /// The index of the action that occurred last.
    last_action: Option<usize>,
    /// The latest time that the bounds were asked for.
    evaluated: Option<Timestamp>,
}

/// Smallest and largest count of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
}

#[derive(Debug)]
struct Action {
    scheduled: Scheduled,
    times: Times,
    name: String,
    last: Option<Occurrence>,
    next: Option<Occurrence>,
}

/// One occurrence of an action, ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Occurrence {
    at: Timestamp,
    /// Below zero for a time that the clock skips: its distance to the end of the gap.
    early: SignedDuration,
}

impl Occurrence {
    fn at(at: Timestamp) -> Self {
        let early = SignedDuration::ZERO;
        Self { at, early }
    }
}

#[derive(Debug)]
enum Times {
    Once(Timestamp),
    Every(SignedDuration),
    Cron(Box<Calendar>),
    /// An invalid expression, which the configuration does not accept.
    Never,
}

impl Schedule {
    /// The schedule of a configuration with the bounds `own`.
    pub(super) fn new(own: Bounds, actions: &[Scheduled]) -> Self {
        Self {
            actions: actions.iter().map(Action::new).collect(),
            own,
            current: own,
            last_action: None,
            evaluated: None,
        }
    }

    /// The bounds at `now`.
    pub(super) fn bounds(&mut self, now: Timestamp) -> Bounds {
        // A clock that went back further than by a usual correction was wrong before.
        let is_first = self
            .evaluated
            .is_none_or(|evaluated| evaluated.duration_since(now) > MINUTE);
        let mut has_changed = is_first;
        for action in &mut self.actions {
            if is_first || action.next.is_some_and(|next| next.at <= now) {
                action.find_occurrences(now);
                has_changed = true;
            }
        }
        if has_changed {
            self.apply();
        }
        let latest = self.evaluated.filter(|_| !is_first).unwrap_or(now);
        self.evaluated = Some(latest.max(now));
        self.current
    }

    /// The name of the action that occurred last.
    pub(super) fn last_action(&self) -> Option<&str> {
        Some(&self.actions[self.last_action?].name)
    }

    /// Applies the past occurrences in the order of their times; those of the same time in the
    /// order of the configuration.
    fn apply(&mut self) {
        let mut order: Vec<(Occurrence, usize)> = self
            .actions
            .iter()
            .enumerate()
            .filter_map(|(index, action)| Some((action.last?, index)))
            .collect();
        order.sort_unstable();
        let (mut bounds, mut min_leads) = (self.own, false);
        for (_, index) in &order {
            let set = &self.actions[*index].scheduled;
            bounds.min = set.min.unwrap_or(bounds.min);
            bounds.max = set.max.unwrap_or(bounds.max);
            min_leads = set.min.is_some();
        }
        if bounds.min > bounds.max {
            let leading = if min_leads { bounds.min } else { bounds.max };
            bounds = Bounds {
                min: leading,
                max: leading,
            };
        }
        self.last_action = order.last().map(|(_, index)| *index);
        self.current = bounds;
    }
}

impl Action {
    fn new(scheduled: &Scheduled) -> Self {
        let (times, name) = match &scheduled.when {
            When::At(at) => (Times::Once(*at), format!("schedule at {at}")),
            When::Rate(rate) => {
                let every = SignedDuration::try_from(*rate).unwrap_or(YEAR).max(MINUTE);
                (Times::Every(every), format!("schedule rate {every:#}"))
            }
            When::Cron {
                expression,
                timezone,
            } => {
                let calendar = Calendar::new(expression, timezone).map(Box::new);
                let times = calendar.map_or(Times::Never, Times::Cron);
                (times, format!("schedule cron {expression} {timezone}"))
            }
        };
        let scheduled = scheduled.clone();
        Self {
            scheduled,
            times,
            name,
            last: None,
            next: None,
        }
    }

    /// Finds the last occurrence up to `now` and the next one after it.
    fn find_occurrences(&mut self, now: Timestamp) {
        (self.last, self.next) = match &self.times {
            Times::Once(time) if *time <= now => (Some(Occurrence::at(*time)), None),
            Times::Once(time) => (None, Some(Occurrence::at(*time))),
            Times::Every(every) => {
                let last = now.as_second() - now.as_second().rem_euclid(every.as_secs());
                let last = Timestamp::from_second(last).ok();
                let next = last.and_then(|last| last.checked_add(*every).ok());
                (last.map(Occurrence::at), next.map(Occurrence::at))
            }
            Times::Cron(calendar) => (calendar.latest(now), calendar.next(now)),
            Times::Never => (None, None),
        };
    }
}

/// The times of a `cron` in a time zone.
#[derive(Debug)]
struct Calendar {
    /// The times as the zone's clock shows them, written as times of UTC.
    shown: Crontab,
    zone: TimeZone,
}

impl Calendar {
    fn new(expression: &str, zone: &str) -> Option<Self> {
        Some(Self {
            shown: cronexpr::parse_crontab(&format!("{expression} UTC")).ok()?,
            zone: TimeZone::get(zone).ok()?,
        })
    }

    /// The first occurrence after a time; of those in one gap of the clock, the last.
    fn next(&self, after: Timestamp) -> Option<Occurrence> {
        let mut shown = self.shown_at(after)?;
        loop {
            shown = self.shown_after(shown)?;
            let mut found = self.occurrence(shown)?;
            // The clock shows this time a second time: it has occurred already.
            if found.at <= after {
                continue;
            }
            while found.early.is_negative() {
                shown = self.shown_after(shown)?;
                match self.occurrence(shown)? {
                    next if next.at == found.at => found = next,
                    _ => break,
                }
            }
            return Some(found);
        }
    }

    /// The latest occurrence up to `now`. The expression only gives the next time after another,
    /// so a bisection finds the last time after which one follows up to `now`.
    fn latest(&self, now: Timestamp) -> Option<Occurrence> {
        let past = |after| self.next(after).filter(|time| time.at <= now);
        let mut early = now.checked_sub(YEAR).ok()?;
        past(early)?;
        let mut late = now;
        while late.duration_since(early) > MINUTE {
            let middle = early + late.duration_since(early) / 2;
            match past(middle) {
                Some(_) => early = middle,
                None => late = middle,
            }
        }
        // Two occurrences may be within the last minute.
        let first = past(early)?;
        Some(past(first.at).unwrap_or(first))
    }

    /// What the clock shows at a time.
    fn shown_at(&self, moment: Timestamp) -> Option<Timestamp> {
        let shown = self.zone.to_datetime(moment);
        shown
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|time| time.timestamp())
    }

    fn shown_after(&self, shown: Timestamp) -> Option<Timestamp> {
        self.shown
            .find_next(shown)
            .ok()
            .map(|time| time.timestamp())
    }

    /// When the clock shows a time.
    fn occurrence(&self, shown: Timestamp) -> Option<Occurrence> {
        let on_clock = TimeZone::UTC.to_datetime(shown);
        let moment = self.zone.to_ambiguous_timestamp(on_clock);
        let is_skipped = matches!(moment.offset(), AmbiguousOffset::Gap { .. });
        let earlier = moment.earlier().ok()?;
        if !is_skipped {
            return Some(Occurrence::at(earlier));
        }
        // In a gap, this is before the clock changes.
        let at = self.zone.following(earlier).next()?.timestamp();
        let early = shown.duration_since(self.shown_at(at)?);
        Some(Occurrence { at, early })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(expression: &str, min: Option<u32>, max: Option<u32>) -> Scheduled {
        let (expression, timezone) = (expression.to_owned(), "Europe/Berlin".to_owned());
        Scheduled {
            when: When::Cron {
                expression,
                timezone,
            },
            min,
            max,
        }
    }

    fn schedule(actions: &[Scheduled]) -> Schedule {
        Schedule::new(Bounds { min: 1, max: 4 }, actions)
    }

    fn at(schedule: &mut Schedule, text: &str) -> (u32, u32) {
        let Bounds { min, max } = schedule.bounds(time(text));
        (min, max)
    }

    /// Both in a schedule that runs through these times and in one that begins at each.
    fn holds(actions: &[Scheduled], cases: &[(&str, (u32, u32))]) -> Schedule {
        let mut running = schedule(actions);
        for (now, expected) in cases {
            assert_eq!(at(&mut running, now), *expected, "{now}");
            assert_eq!(at(&mut schedule(actions), now), *expected, "from {now}");
        }
        running
    }

    /// Up at 18:00 on Thursday and down at noon on Sunday.
    fn guide() -> [Scheduled; 2] {
        [
            cron("0 18 * * 4", Some(3), None),
            cron("0 12 * * 0", Some(1), None),
        ]
    }

    /// Daylight saving ended on Sunday, 25 October 2026, at 3:00, and began on 29 March.
    const GUIDE: [(&str, (u32, u32)); 8] = [
        ("2026-10-22T17:59:59+02:00", (1, 4)),
        ("2026-10-22T18:00:00+02:00", (3, 4)),
        ("2026-10-25T11:59:59+01:00", (3, 4)),
        ("2026-10-25T12:00:00+01:00", (1, 4)),
        ("2026-10-29T17:59:59+01:00", (1, 4)),
        ("2026-10-29T18:00:00+01:00", (3, 4)),
        ("2027-03-28T11:59:59+02:00", (3, 4)),
        ("2027-03-28T12:00:00+02:00", (1, 4)),
    ];

    #[test]
    fn the_entertainment_guide_is_up_from_thursday_to_sunday_through_both_clock_changes() {
        let running = holds(&guide(), &GUIDE);
        assert_eq!(
            running.last_action(),
            Some("schedule cron 0 12 * * 0 Europe/Berlin")
        );
    }

    #[test]
    fn a_running_schedule_and_a_new_one_agree_at_any_time() {
        let mut actions = guide().to_vec();
        actions.push(cron("*/7 3 * * *", None, Some(6)));
        actions.push(cron("30 2 25,29 * *", None, Some(9)));
        actions.push(Scheduled {
            when: When::Rate(std::time::Duration::from_secs(5 * 3600)),
            min: None,
            max: Some(5),
        });
        actions.push(Scheduled {
            when: When::At(time("2026-10-24T10:00:30Z")),
            min: Some(2),
            max: Some(3),
        });
        let mut running = schedule(&actions);
        let mut now = time("2026-10-20T00:00:00Z");
        let mut seen = std::collections::BTreeSet::new();
        for step in 0..4000 {
            // From one change of the clocks to the other.
            if step == 2000 {
                now = time("2027-03-25T00:00:00Z");
                running = schedule(&actions);
            }
            let bounds = running.bounds(now);
            assert_eq!(bounds, schedule(&actions).bounds(now), "{now}");
            seen.insert((bounds.min, bounds.max));
            now += SignedDuration::from_secs(431);
        }
        assert!(seen.len() > 6, "{seen:?}");
    }

    /// The clock went from 2:00 to 3:00 on 28 March 2027.
    #[test]
    fn times_that_the_clock_skips_occur_after_the_gap_in_their_order() {
        let actions = [
            cron("30 2 * * *", Some(3), None),
            cron("10 2 * * *", Some(2), None),
            cron("0 20 * * *", Some(1), None),
        ];
        holds(
            &actions,
            &[
                ("2027-03-28T01:59:59+01:00", (1, 4)),
                ("2027-03-28T03:00:00+02:00", (3, 4)),
                ("2027-03-28T19:59:59+02:00", (3, 4)),
                ("2027-03-28T20:00:00+02:00", (1, 4)),
                ("2027-03-29T02:10:00+02:00", (2, 4)),
                ("2027-03-29T02:30:00+02:00", (3, 4)),
            ],
        );
    }

    /// It went from 3:00 back to 2:00 on 25 October 2026.
    #[test]
    fn times_that_the_clock_shows_twice_occur_once() {
        let actions = [
            cron("0 2 * * *", Some(3), None),
            cron("30 2 * * *", Some(1), None),
            cron("0 3 * * *", Some(2), None),
        ];
        holds(
            &actions,
            &[
                ("2026-10-25T01:59:59+02:00", (2, 4)),
                ("2026-10-25T02:00:00+02:00", (3, 4)),
                ("2026-10-25T02:30:00+02:00", (1, 4)),
                ("2026-10-25T02:00:00+01:00", (1, 4)),
                ("2026-10-25T02:59:59+01:00", (1, 4)),
                ("2026-10-25T03:00:00+01:00", (2, 4)),
            ],
        );
    }

    #[test]
    fn a_rate_is_counted_in_real_time() {
        let mut action = Action::new(&Scheduled {
            when: When::Rate(std::time::Duration::from_secs(3600)),
            min: Some(2),
            max: None,
        });
        for change in ["2027-03-28T03:00:00+02:00", "2026-10-25T02:00:00+01:00"] {
            let change = time(change);
            for minutes in [-60, -1, 0, 59, 60] {
                action.find_occurrences(change + SignedDuration::from_mins(minutes));
                let (last, next) = (action.last.unwrap(), action.next.unwrap());
                assert_eq!(
                    next.at.duration_since(last.at),
                    SignedDuration::from_hours(1)
                );
            }
        }
    }

    /// Samoa skipped a whole day, 30 December 2011.
    #[test]
    fn a_skipped_day_occurs_at_the_first_moment_of_the_next() {
        let calendar = Calendar::new("0 12 30 12 *", "Pacific/Apia").unwrap();
        let found = calendar.next(time("2011-12-01T00:00:00Z")).unwrap();
        assert_eq!(found.at, time("2011-12-31T00:00:00+14:00"));
        assert_eq!(found.early, SignedDuration::from_hours(-12));
    }

    #[test]
    fn a_single_time_holds_from_then_on() {
        let action = |text, min, max| Scheduled {
            when: When::At(time(text)),
            min,
            max,
        };
        let actions = [
            action("2026-11-22T10:00:00Z", Some(2), Some(8)),
            action("2026-11-22T11:00:00Z", None, Some(6)),
        ];
        let mut running = schedule(&actions);
        assert_eq!(at(&mut running, "2026-11-22T09:59:59Z"), (1, 4));
        assert_eq!(running.last_action(), None);
        assert_eq!(at(&mut running, "2026-11-22T10:00:00Z"), (2, 8));
        assert_eq!(at(&mut running, "2026-11-22T11:00:00Z"), (2, 6));
        assert_eq!(at(&mut running, "2036-11-22T11:00:00Z"), (2, 6));
        // The clock was wrong by ten years, and is set right.
        assert_eq!(at(&mut running, "2026-11-22T10:30:00Z"), (2, 8));
    }

    #[test]
    fn a_bound_past_the_other_takes_it_along() {
        let mut above = schedule(&[cron("0 6 * * *", Some(7), None)]);
        assert_eq!(at(&mut above, "2026-11-22T12:00:00Z"), (7, 7));
        let mut below = schedule(&[cron("0 6 * * *", None, Some(0))]);
        assert_eq!(at(&mut below, "2026-11-22T12:00:00Z"), (0, 0));
        // And comes back when the first one does.
        let pair = [
            cron("0 6 * * *", Some(7), None),
            cron("0 18 * * *", Some(2), None),
        ];
        let mut pair = schedule(&pair);
        assert_eq!(at(&mut pair, "2026-11-22T12:00:00Z"), (7, 7));
        assert_eq!(at(&mut pair, "2026-11-22T20:00:00Z"), (2, 4));
    }

    #[test]
    fn the_latest_time_is_the_last_of_all_that_have_been() {
        for expression in ["* * * * *", "59 23 31 12 *", "0 0 29 2 *", "*/5 8-9 * * 1"] {
            let zone = "America/New_York";
            let cron = cronexpr::parse_crontab(&format!("{expression} {zone}")).unwrap();
            let now = time("2026-11-22T10:30:30Z");
            let mut all = cron
                .iter_after(now - YEAR)
                .unwrap()
                .map(|time| time.unwrap());
            let mut expected = None;
            while let Some(time) = all.next().filter(|time| time.timestamp() <= now) {
                expected = Some(time.timestamp());
                if expression.starts_with("* ") {
                    break;
                }
            }
            if expression.starts_with("* ") {
                expected = Some(time("2026-11-22T10:30:00Z"));
            }
            let latest = Calendar::new(expression, zone).unwrap().latest(now);
            assert_eq!(latest.map(|time| time.at), expected, "{expression}");
        }
    }
}
