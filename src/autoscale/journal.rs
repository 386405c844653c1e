//! Keeps the last decisions of each group for the admin listener.
//!
//! For each group: the last changes, the last holds (equal ones in a row are one entry with a
//! count, and never evict a change), every evaluation of the last minute, and the number of
//! evaluations by outcome. All of it is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::decision::{AlarmState, Decision, PolicyKind, PolicyResult, Reason, ScalingOutcome};
use super::predictive::Forecast;
use super::sample::Reading;
use crate::model::TargetGroupId;

/// Changes that are kept of a group, and as many holds.
const KEPT: usize = 256;

/// Time for which every evaluation is kept.
const RECENT: Duration = Duration::from_secs(60);

/// Evaluations that are kept at most: one a second, plus those of requests that wait.
const MAX_RECENT: usize = 128;

/// The journals of all groups. Written by the autoscaler, read by the admin listener.
#[derive(Debug, Default)]
pub struct Journal(Mutex<BTreeMap<TargetGroupId, GroupJournal>>);

/// The decisions about one group.
#[derive(Clone, Debug)]
pub struct GroupJournal {
    /// The last evaluation.
    pub latest: Arc<Decision>,
    /// Its readings, by the names of the metrics.
    pub readings: Vec<(String, Reading)>,
    /// Evaluations by outcome and, for holds, reason.
    pub counts: BTreeMap<(&'static str, Option<Reason>), u64>,
    /// The forecast of `predictive`; empty without that policy and until it has enough data.
    pub forecast: Arc<[Forecast]>,
    /// The alarm of each policy, by its name, and since when it is in its state.
    pub alarms: BTreeMap<String, (AlarmState, Timestamp)>,
    /// Evaluations that could not be written to the file of `record`.
    pub unrecorded: u64,
    changes: VecDeque<JournalEntry>,
    holds: VecDeque<JournalEntry>,
    /// The evaluations of the last minute, oldest first.
    recent: VecDeque<Arc<Decision>>,
}

/// One or more equal evaluations in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Time of the first of them.
    pub since: Timestamp,
    /// Their number.
    pub count: u64,
    /// The last of them.
    pub decision: Arc<Decision>,
}

impl Journal {
    /// Records an evaluation with its readings, by the names of the metrics.
    pub(crate) fn record(
        &self,
        group: &TargetGroupId,
        decision: Decision,
        readings: Vec<(String, Reading)>,
    ) {
        let decision = Arc::new(decision);
        let mut groups = self.groups();
        let journal = groups
            .entry(group.clone())
            .or_insert_with(|| GroupJournal::new(&decision));
        journal.push(decision);
        journal.readings = readings;
    }

    /// Sets the forecast of a group that was evaluated.
    pub(super) fn set_forecast(&self, group: &TargetGroupId, forecast: Vec<Forecast>) {
        if let Some(journal) = self.groups().get_mut(group)
            && *journal.forecast != *forecast
        {
            journal.forecast = forecast.into();
        }
    }

    /// Sets how many evaluations of a group could not be recorded since the start.
    pub(super) fn set_unrecorded(&self, group: &TargetGroupId, unrecorded: u64) {
        if let Some(journal) = self.groups().get_mut(group) {
            journal.unrecorded = unrecorded;
        }
    }

    /// Removes the groups that `keep` rejects.
    pub(super) fn retain(&self, keep: impl Fn(&TargetGroupId) -> bool) {
        self.groups().retain(|group, _| keep(group));
    }

    /// The journal of a group; `None` before its first evaluation.
    pub fn group(&self, group: &TargetGroupId) -> Option<GroupJournal> {
        self.groups().get(group).cloned()
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<TargetGroupId, GroupJournal>> {
        // Every statement under the lock leaves a consistent journal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GroupJournal {
    fn new(first: &Arc<Decision>) -> Self {
        Self {
            latest: Arc::clone(first),
            readings: Vec::new(),
            counts: BTreeMap::new(),
            forecast: Arc::default(),
            alarms: BTreeMap::new(),
            unrecorded: 0,
            changes: VecDeque::new(),
            holds: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    fn push(&mut self, decision: Arc<Decision>) {
        *self.counts.entry(decision.outcome.names()).or_default() += 1;
        self.note_alarms(&decision);
        self.latest = Arc::clone(&decision);
        self.recent.push_back(Arc::clone(&decision));
        self.drop_old(decision.at);
        let list = match decision.outcome {
            ScalingOutcome::ScaleOut | ScalingOutcome::ScaleIn => &mut self.changes,
            ScalingOutcome::Hold(_) => {
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
        list.push_back(JournalEntry {
            since: decision.at,
            count: 1,
            decision,
        });
    }

    fn note_alarms(&mut self, decision: &Decision) {
        let before = std::mem::take(&mut self.alarms);
        for result in &decision.results {
            let known = before.get(&result.policy);
            let known = known.filter(|(state, _)| *state == result.alarm);
            let since = known.map_or(decision.at, |(_, since)| *since);
            self.alarms
                .insert(result.policy.clone(), (result.alarm, since));
        }
    }

    fn drop_old(&mut self, now: Timestamp) {
        let is_old = |first: &Arc<Decision>| {
            Duration::try_from(now.duration_since(first.at)).is_ok_and(|age| age > RECENT)
        };
        while self.recent.len() > MAX_RECENT || self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    /// The last entries, newest first.
    pub fn last(&self, count: usize) -> Vec<&JournalEntry> {
        let mut entries: Vec<&JournalEntry> = self.changes.iter().chain(&self.holds).collect();
        // A stable sort: at the same time a change comes before the hold that follows it.
        entries.sort_by_key(|entry| entry.since);
        entries.reverse();
        entries.truncate(count);
        entries
    }

    /// Every evaluation of the last minute, oldest first.
    pub fn minute(&self) -> impl Iterator<Item = &Decision> {
        self.recent.iter().map(Arc::as_ref)
    }

    /// The last evaluation that changed the count.
    pub fn last_change(&self) -> Option<&Decision> {
        self.changes.back().map(|entry| &*entry.decision)
    }

    /// The number of evaluations.
    pub fn evaluated(&self) -> u64 {
        self.counts.values().sum()
    }
}

impl ScalingOutcome {
    /// The name in metrics, records and logs, and the reason of a hold.
    pub const fn names(self) -> (&'static str, Option<Reason>) {
        match self {
            Self::ScaleOut => ("scale_out", None),
            Self::ScaleIn => ("scale_in", None),
            Self::Hold(reason) => ("hold", Some(reason)),
        }
    }
}

impl AlarmState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::High, Self::Low, Self::InsufficientData];

    /// The name in `/api/v1/autoscaling`.
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
    /// Whether both are holds with the same reasons.
    fn is_same_hold(&self, other: &Self) -> bool {
        self.outcome == other.outcome
            && (self.desired, self.min, self.max) == (other.desired, other.min, other.max)
            && self.results.len() == other.results.len()
            && iter::zip(&self.results, &other.results)
                .all(|(own, other)| (own.alarm, own.reason) == (other.alarm, other.reason))
    }

    /// The calculation of the count in one line: the formulas of the policies that it follows,
    /// or those of all policies if it stays.
    pub fn formula(&self) -> String {
        let is_hold = matches!(self.outcome, ScalingOutcome::Hold(_));
        let exact = self.formulas(|result| {
            is_hold || result.reason.is_none() && result.wants == Some(self.desired)
        });
        if !exact.is_empty() {
            return exact;
        }
        // The bounds do not allow the exact count of any policy.
        self.formulas(|result| {
            result.reason.is_none() && result.wants.is_some() && result.kind != PolicyKind::Forecast
        })
    }

    fn formulas(&self, is_wanted: impl Fn(&PolicyResult) -> bool) -> String {
        let lines: Vec<String> = self
            .results
            .iter()
            .filter(|result| is_wanted(result))
            .map(|result| format!("{}: {}", result.policy, result.formula))
            .collect();
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Capacity;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn decision(second: i64, outcome: ScalingOutcome) -> Decision {
        Decision {
            at: at(second),
            group: "todo".to_owned(),
            capacity: Capacity::default(),
            before: 1,
            min: 1,
            max: 4,
            results: Vec::new(),
            desired: 1,
            outcome,
            out_cooldown: None,
            in_cooldown: None,
        }
    }

    const HOLD: ScalingOutcome = ScalingOutcome::Hold(Reason::InRange);
    const COOL: ScalingOutcome = ScalingOutcome::Hold(Reason::Cooldown);

    fn log(outcomes: impl IntoIterator<Item = ScalingOutcome>) -> GroupJournal {
        let journal = Journal::default();
        let group = "todo".into();
        for (second, outcome) in (0..).zip(outcomes) {
            journal.record(&group, decision(second, outcome), Vec::new());
        }
        journal.group(&group).unwrap()
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
        let log = log([HOLD, HOLD, ScalingOutcome::ScaleOut, HOLD, HOLD, HOLD]);
        let entries = log.last(10);
        let counts: Vec<_> = entries.iter().map(|entry| entry.count).collect();
        assert_eq!(counts, [3, 1, 2]);
        assert_eq!(entries[1].decision.outcome, ScalingOutcome::ScaleOut);
        assert_eq!(log.last(1).len(), 1);
        assert_eq!(log.last_change().map(|change| change.at), Some(at(2)));
    }

    #[test]
    fn alternating_holds_do_not_evict_a_change_and_nothing_grows() {
        let alternating = (0..10_000).map(|n| if n % 2 == 0 { HOLD } else { COOL });
        let log = log([ScalingOutcome::ScaleOut].into_iter().chain(alternating));
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
        assert_eq!(
            journal.group(&"todo".into()).unwrap().minute().count(),
            MAX_RECENT
        );
        journal.retain(|_| false);
        assert!(journal.group(&"todo".into()).is_none());
    }

    #[test]
    fn the_formula_is_of_the_policy_that_is_followed() {
        let result = |policy: &str, wants, reason| PolicyResult {
            kind: PolicyKind::TargetTracking,
            policy: policy.to_owned(),
            alarm: AlarmState::High,
            metric: None,
            formula: format!("f({policy})"),
            inputs: None,
            wants,
            reason,
        };
        let mut out = decision(0, ScalingOutcome::ScaleOut);
        out.results = vec![
            result("a", Some(4), None),
            result("b", Some(3), None),
            result("c", Some(4), Some(Reason::Cooldown)),
        ];
        out.desired = 4;
        assert_eq!(out.formula(), "a: f(a)");
        out.desired = 2;
        assert_eq!(out.formula(), "a: f(a); b: f(b)");
        out.outcome = HOLD;
        assert_eq!(out.formula(), "a: f(a); b: f(b); c: f(c)");
    }
}
