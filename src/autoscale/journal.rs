//! What was decided, for people to read.
//!
//! Of each group it keeps the last changes, the last reasons why nothing happened (equal ones
//! in a row are one entry with a count, and never push a change out), every evaluation of the
//! last minute, and how often each outcome came. All of it is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{AlarmState, Decision, Forecast, Kind, Opinion, Outcome, Reading, Reason};
use crate::model::TargetGroupId;

/// Changes that are kept of a group, and as many entries about holding still.
const KEPT: usize = 256;

/// For so long every evaluation is kept.
const IN_FULL: Duration = Duration::from_secs(60);

/// Evaluations that are kept in full: one a second, and those that a waking group adds.
const FULL: usize = 128;

/// The logs of all groups. Written by the autoscaler, read by the admin listener.
#[derive(Debug, Default)]
pub struct Journal(Mutex<BTreeMap<TargetGroupId, Log>>);

/// What was decided about one group.
#[derive(Clone, Debug)]
pub struct Log {
    /// The evaluation that was the last.
    pub latest: Arc<Decision>,
    /// What was measured then, or why it was not.
    pub readings: Vec<(String, Reading)>,
    /// How often each outcome came; `None` for those that change something.
    pub counts: BTreeMap<(&'static str, Option<Reason>), u64>,
    /// What `predictive` expects; empty without it, and until it knows enough.
    pub forecast: Arc<[Forecast]>,
    /// Evaluations that are missing in the file of `record`.
    pub unrecorded: u64,
    changes: VecDeque<Entry>,
    holds: VecDeque<Entry>,
    /// The last ones, oldest first.
    full: VecDeque<Arc<Decision>>,
}

/// One or more evaluations in a row with the same outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When the first of them was.
    pub since: Timestamp,
    /// How many.
    pub count: u64,
    /// The last of them.
    pub decision: Arc<Decision>,
}

impl Journal {
    /// Takes in an evaluation, and the readings that it was made from by name.
    pub(crate) fn record(
        &self,
        group: &TargetGroupId,
        decision: Decision,
        readings: Vec<(String, Reading)>,
    ) {
        let decision = Arc::new(decision);
        let mut logs = self.logs();
        if !logs.contains_key(group) {
            logs.insert(group.clone(), Log::new(&decision));
        }
        if let Some(log) = logs.get_mut(group) {
            log.push(decision);
            log.readings = readings;
        }
    }

    /// Takes in what is expected of the hours to come.
    pub(super) fn foresee(&self, group: &TargetGroupId, forecast: Vec<Forecast>) {
        if let Some(log) = self.logs().get_mut(group)
            && *log.forecast != *forecast
        {
            log.forecast = forecast.into();
        }
    }

    /// Takes in how many evaluations could not be recorded since the start.
    pub(super) fn lost(&self, group: &TargetGroupId, unrecorded: u64) {
        if let Some(log) = self.logs().get_mut(group) {
            log.unrecorded = unrecorded;
        }
    }

    /// Forgets the groups that `keep` rejects.
    pub(super) fn retain(&self, keep: impl Fn(&TargetGroupId) -> bool) {
        self.logs().retain(|group, _| keep(group));
    }

    /// The log of a group; `None` while it was never evaluated.
    pub fn log(&self, group: &TargetGroupId) -> Option<Log> {
        self.logs().get(group).cloned()
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<TargetGroupId, Log>> {
        // Every statement under the lock leaves a legal log behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn new(first: &Arc<Decision>) -> Self {
        Self {
            latest: Arc::clone(first),
            readings: Vec::new(),
            counts: BTreeMap::new(),
            forecast: Arc::default(),
            unrecorded: 0,
            changes: VecDeque::new(),
            holds: VecDeque::new(),
            full: VecDeque::new(),
        }
    }

    fn push(&mut self, decision: Arc<Decision>) {
        *self.counts.entry(decision.outcome.words()).or_default() += 1;
        self.latest = Arc::clone(&decision);
        self.full.push_back(Arc::clone(&decision));
        self.forget_old(decision.at);
        let list = match decision.outcome {
            Outcome::ScaleOut | Outcome::ScaleIn => &mut self.changes,
            Outcome::Hold(_) => {
                let last_change = self.changes.back().map(|entry| entry.decision.at);
                if let Some(last) = self.holds.back_mut()
                    && last_change.is_none_or(|change| change <= last.since)
                    && last.decision.is_same_hold(&decision)
                {
                    last.count += 1;
                    last.decision = decision;
                    return;
                }
                &mut self.holds
            }
        };
        if list.len() == KEPT {
            list.pop_front();
        }
        list.push_back(Entry {
            since: decision.at,
            count: 1,
            decision,
        });
    }

    fn forget_old(&mut self, now: Timestamp) {
        let is_old = |first: &Arc<Decision>| {
            Duration::try_from(now.duration_since(first.at)).is_ok_and(|age| age > IN_FULL)
        };
        while self.full.len() > FULL || self.full.front().is_some_and(is_old) {
            self.full.pop_front();
        }
    }

    /// The last entries, newest first.
    pub fn last(&self, count: usize) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.changes.iter().chain(&self.holds).collect();
        // Stable: at the same moment a change comes before what follows it.
        entries.sort_by_key(|entry| entry.since);
        entries.reverse();
        entries.truncate(count);
        entries
    }

    /// Every evaluation of the last minute, oldest first.
    pub fn minute(&self) -> impl Iterator<Item = &Decision> {
        self.full.iter().map(Arc::as_ref)
    }

    /// The last one that changed something.
    pub fn last_change(&self) -> Option<&Decision> {
        self.changes.back().map(|entry| &*entry.decision)
    }

    /// How many evaluations there were.
    pub fn evaluated(&self) -> u64 {
        self.counts.values().sum()
    }
}

impl Outcome {
    /// The word in metrics, records and logs, and why nothing happens.
    pub const fn words(self) -> (&'static str, Option<Reason>) {
        match self {
            Self::ScaleOut => ("scale_out", None),
            Self::ScaleIn => ("scale_in", None),
            Self::Hold(reason) => ("hold", Some(reason)),
        }
    }
}

impl AlarmState {
    /// The word in `/api/autoscaling`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::High => "high",
            Self::Low => "low",
            Self::InsufficientData => "insufficient_data",
        }
    }
}

impl Decision {
    /// Whether both hold still for the same reasons.
    fn is_same_hold(&self, other: &Self) -> bool {
        let reasons = |decision: &Self| {
            let opinions = decision.opinions.iter();
            opinions
                .map(|opinion| (opinion.alarm, opinion.reason))
                .collect::<Vec<_>>()
        };
        self.outcome == other.outcome
            && (self.desired, self.min, self.max) == (other.desired, other.min, other.max)
            && reasons(self) == reasons(other)
    }

    /// How it came to its number, in one line: the formulas of the policies that it follows,
    /// or of all of them when nothing happens.
    pub fn formula(&self) -> String {
        let is_hold = matches!(self.outcome, Outcome::Hold(_));
        let follows = |opinion: &&Opinion| {
            is_hold || opinion.reason.is_none() && opinion.wants == Some(self.desired)
        };
        // One that wants more than the bounds allow is followed that far.
        let clamped = |opinion: &&Opinion| {
            opinion.reason.is_none() && opinion.wants.is_some() && opinion.kind != Kind::Forecast
        };
        let formulas = |which: &dyn Fn(&&Opinion) -> bool| {
            let opinions = self.opinions.iter().filter(which);
            let lines = opinions.map(|opinion| format!("{}: {}", opinion.policy, opinion.formula));
            lines.collect::<Vec<_>>().join("; ")
        };
        let exact = formulas(&follows);
        if exact.is_empty() {
            return formulas(&clamped);
        }
        exact
    }
}

#[cfg(test)]
mod tests {
    use super::super::Capacity;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn decision(second: i64, outcome: Outcome) -> Decision {
        Decision {
            at: at(second),
            group: "todo".to_owned(),
            capacity: Capacity::default(),
            before: 1,
            min: 1,
            max: 4,
            opinions: Vec::new(),
            desired: 1,
            outcome,
            out_cooldown: None,
            in_cooldown: None,
        }
    }

    const HOLD: Outcome = Outcome::Hold(Reason::InRange);
    const COOL: Outcome = Outcome::Hold(Reason::Cooldown);

    fn log(outcomes: impl IntoIterator<Item = Outcome>) -> Log {
        let journal = Journal::default();
        let group = "todo".into();
        for (second, outcome) in (0..).zip(outcomes) {
            journal.record(&group, decision(second, outcome), Vec::new());
        }
        journal.log(&group).unwrap()
    }

    #[test]
    fn equal_holds_are_one_entry_and_all_are_counted() {
        let log = log([HOLD, HOLD, HOLD, COOL, HOLD]);
        let entries: Vec<_> = log.last(10).iter().map(|e| (e.since, e.count)).collect();
        assert_eq!(entries, [(at(4), 1), (at(3), 1), (at(0), 3)]);
        assert_eq!(log.last(10)[2].decision.at, at(2), "the last of them");
        assert_eq!(log.evaluated(), 5);
        assert_eq!(log.counts[&("hold", Some(Reason::InRange))], 4);
        assert_eq!(log.latest.at, at(4));
    }

    #[test]
    fn a_change_stands_between_holds_in_the_order_of_time() {
        let log = log([HOLD, HOLD, Outcome::ScaleOut, HOLD, HOLD, HOLD]);
        let entries = log.last(10);
        let counts: Vec<_> = entries.iter().map(|entry| entry.count).collect();
        assert_eq!(counts, [3, 1, 2]);
        assert_eq!(entries[1].decision.outcome, Outcome::ScaleOut);
        assert_eq!(log.last(1).len(), 1);
        assert_eq!(log.last_change().map(|change| change.at), Some(at(2)));
    }

    #[test]
    fn restless_holds_do_not_wash_a_change_away_and_nothing_grows() {
        let restless = (0..10_000).map(|n| if n % 2 == 0 { HOLD } else { COOL });
        let log = log([Outcome::ScaleOut].into_iter().chain(restless));
        assert_eq!(log.last(100_000).len(), KEPT + 1);
        assert_eq!(log.last_change().map(|change| change.at), Some(at(0)));
        assert_eq!(log.minute().count(), 61);
        assert_eq!(log.evaluated(), 10_001);
    }

    #[test]
    fn many_evaluations_within_a_minute_are_bounded() {
        let journal = Journal::default();
        for _ in 0..1000 {
            journal.record(&"todo".into(), decision(0, HOLD), Vec::new());
        }
        assert_eq!(journal.log(&"todo".into()).unwrap().minute().count(), FULL);
        journal.retain(|_| false);
        assert!(journal.log(&"todo".into()).is_none());
    }

    #[test]
    fn the_formula_is_of_the_policy_that_is_followed() {
        let opinion = |policy: &str, wants, reason| Opinion {
            kind: Kind::TargetTracking,
            policy: policy.to_owned(),
            alarm: AlarmState::High,
            metric: None,
            formula: format!("f({policy})"),
            inputs: None,
            wants,
            reason,
        };
        let mut out = decision(0, Outcome::ScaleOut);
        out.opinions = vec![
            opinion("a", Some(4), None),
            opinion("b", Some(3), None),
            opinion("c", Some(4), Some(Reason::Cooldown)),
        ];
        out.desired = 4;
        assert_eq!(out.formula(), "a: f(a)");
        out.desired = 2;
        assert_eq!(out.formula(), "a: f(a); b: f(b)");
        out.outcome = HOLD;
        assert_eq!(out.formula(), "a: f(a); b: f(b); c: f(c)");
    }
}
