//! Step scaling: how far a metric is beyond a threshold decides how many replicas come or go.
//!
//! The alarm is on when the last `periods` datapoints all breach the threshold; their mean,
//! less the threshold, chooses the step. Bounds and rounding are AWS's (EC2 Auto Scaling,
//! "Step and simple scaling policies"). As long as an alarm is on it acts once for each
//! datapoint. For scale-out, what came by an action counts as added already until its cooldown
//! is over and its replicas have warmed up: then only a larger step adds the rest. Scale-in
//! waits for the cooldown after any scaling.

use std::time::Duration;

use crate::config::{Adjustment, Comparison, Metric, Step, StepScaling};

use super::decision::{AlarmState, Kind, Opinion, Reason};
use super::history::History;
use super::tracking::{mean, short};

/// One policy with its datapoints and its last action.
#[derive(Debug)]
pub(super) struct Stepping {
    policy: StepScaling,
    name: String,
    history: History,
    added: Option<Added>,
    /// How many periods had ended when it acted last.
    acted: Option<u64>,
}

/// A scale-out that may not be over.
#[derive(Clone, Copy, Debug)]
struct Added {
    at: Duration,
    from: u32,
}

impl Stepping {
    /// Goes on with `old` datapoints if they have the right length.
    pub(super) fn new(policy: StepScaling, old: Option<History>) -> Self {
        let keep = policy.periods;
        let mut history = old.unwrap_or_else(|| History::new(policy.period, keep));
        history.resize(keep);
        let sign = sign(policy.comparison);
        let threshold = short(policy.threshold);
        Self {
            name: format!("step_scaling {} {sign} {threshold}", policy.metric.name()),
            policy,
            history,
            added: None,
            acted: None,
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    pub(super) fn policy(&self) -> &StepScaling {
        &self.policy
    }

    pub(super) fn history(&mut self) -> &mut History {
        &mut self.history
    }

    pub(super) fn into_history(self) -> (Metric, History) {
        (self.policy.metric, self.history)
    }

    /// What it says with `base` replicas.
    pub(super) fn opinion(&self, base: u32, now: Duration, is_warming: bool) -> Opinion {
        let Some(points) = self.history.last(self.policy.periods) else {
            let state = AlarmState::InsufficientData;
            let mut opinion = Opinion::new(Kind::StepScaling, self.name.clone(), state);
            opinion.formula = format!("needs {} datapoints", self.policy.periods);
            return opinion;
        };
        let metric = mean(points.clone().map(|point| point.value));
        let breaches = |value| breaches(self.policy.comparison, value, self.policy.threshold);
        let is_on = points.map(|point| point.value).all(breaches);
        let state = if is_on {
            on(self.policy.comparison)
        } else {
            AlarmState::Ok
        };
        let mut opinion = Opinion::new(Kind::StepScaling, self.name.clone(), state);
        opinion.metric = Some(metric);
        if is_on {
            self.step(&mut opinion, metric, base);
            self.hold(&mut opinion, base, now, is_warming);
        }
        opinion
    }

    /// It was followed: from `from` replicas to more or fewer.
    pub(super) fn acted(&mut self, from: u32, is_out: bool, now: Duration, is_warming: bool) {
        self.acted = Some(self.history.ended());
        let from = self.held(now, is_warming).map_or(from, |added| added.from);
        self.added = is_out.then_some(Added { at: now, from });
    }

    /// The scale-out that is not over.
    fn held(&self, now: Duration, is_warming: bool) -> Option<Added> {
        let is_cooling = |added: &Added| now < added.at.saturating_add(self.policy.cooldown);
        self.added.filter(|added| is_warming || is_cooling(added))
    }

    fn step(&self, opinion: &mut Opinion, metric: f64, base: u32) {
        let beyond = metric - self.policy.threshold;
        let side = on(self.policy.comparison);
        let mut steps = self.policy.steps.iter();
        let Some(step) = steps.find(|step| holds(step, beyond, side)) else {
            opinion.formula = format!("no step for {}", short(beyond));
            return;
        };
        let wants = adjusted(
            base,
            step.by,
            self.policy.adjustment,
            self.policy.min_magnitude,
        );
        opinion.wants = Some(wants);
        opinion.formula = match self.policy.adjustment {
            Adjustment::Change => format!("{base} {:+} = {wants}", step.by),
            Adjustment::Exact => format!("exactly {wants}"),
            Adjustment::Percent => format!("{base} {:+} % = {wants}", step.by),
        };
    }

    /// What an earlier action of the policy still stands for.
    fn hold(&self, opinion: &mut Opinion, base: u32, now: Duration, is_warming: bool) {
        let Some(wants) = opinion.wants.filter(|wants| *wants != base) else {
            return;
        };
        if self.acted == Some(self.history.ended()) {
            opinion.reason = Some(Reason::Cooldown);
        }
        let Some(added) = self.held(now, is_warming).filter(|_| wants > base) else {
            return;
        };
        let Some(metric) = opinion.metric else { return };
        self.step(opinion, metric, added.from);
        if opinion.wants.is_some_and(|wants| wants <= base) {
            let is_cooling = now < added.at.saturating_add(self.policy.cooldown);
            opinion.reason = Some(if is_cooling {
                Reason::Cooldown
            } else {
                Reason::Warming
            });
        }
    }
}

fn breaches(comparison: Comparison, value: f64, threshold: f64) -> bool {
    match comparison {
        Comparison::Greater => value > threshold,
        Comparison::GreaterOrEqual => value >= threshold,
        Comparison::Less => value < threshold,
        Comparison::LessOrEqual => value <= threshold,
    }
}

fn on(comparison: Comparison) -> AlarmState {
    match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => AlarmState::High,
        Comparison::Less | Comparison::LessOrEqual => AlarmState::Low,
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
    }
}

/// Whether a distance from the threshold lies in a step (EC2 API, "`StepAdjustment`"): above
/// the threshold the lower bound is part of it and the upper is not, below it the other way
/// round. The threshold itself counts to the side that the comparison is for.
fn holds(step: &Step, beyond: f64, side: AlarmState) -> bool {
    let lower = step.lower.unwrap_or(f64::NEG_INFINITY);
    let upper = step.upper.unwrap_or(f64::INFINITY);
    if beyond > 0.0 || beyond == 0.0 && side == AlarmState::High {
        lower <= beyond && beyond < upper
    } else {
        lower < beyond && beyond <= upper
    }
}

/// How many replicas an adjustment makes of `from`.
fn adjusted(from: u32, by: i32, adjustment: Adjustment, least: Option<u32>) -> u32 {
    let change = match adjustment {
        Adjustment::Exact => return u32::try_from(by).unwrap_or(0),
        Adjustment::Change => i64::from(by),
        Adjustment::Percent => {
            let change = whole(i64::from(from) * i64::from(by));
            let least = i64::from(least.unwrap_or(0));
            change.abs().max(least) * i64::from(by.signum())
        }
    };
    let replicas = (i64::from(from) + change).max(0);
    u32::try_from(replicas).unwrap_or(u32::MAX)
}

/// Hundredths to whole replicas: what is between 0 and 1 becomes 1, between -1 and 0 becomes
/// -1, and the rest goes towards zero ("12.7 is rounded to 12", "-6.67 to -6").
fn whole(hundredths: i64) -> i64 {
    match hundredths / 100 {
        0 => hundredths.signum(),
        replicas => replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn step(lower: Option<f64>, upper: Option<f64>, by: i32) -> Step {
        Step { lower, upper, by }
    }

    #[test]
    fn bounds_include_what_is_nearer_to_the_threshold() {
        let above = step(Some(0.0), Some(10.0), 1);
        let below = step(Some(-10.0), Some(0.0), -1);
        let (far, low) = (step(Some(10.0), None, 3), step(None, Some(-10.0), -3));
        let cases = [
            // The API reference's examples at a threshold of 50: [50, 60) and (40, 50].
            (50.0, [true, false, false, false]),
            (59.9, [true, false, false, false]),
            (60.0, [false, true, false, false]),
            (1e9, [false, true, false, false]),
            (49.9, [false, false, true, false]),
            (40.1, [false, false, true, false]),
            (40.0, [false, false, false, true]),
            (-1e9, [false, false, false, true]),
        ];
        for (metric, expected) in cases {
            let steps = [above, far, below, low];
            let held = steps.map(|step| holds(&step, metric - 50.0, AlarmState::High));
            assert_eq!(held, expected, "{metric}");
        }
        assert!(holds(&below, 0.0, AlarmState::Low));
        assert!(!holds(&above, 0.0, AlarmState::Low));
    }

    #[test]
    fn percentages_round_as_awss_do() {
        let percent = |from, by, least| adjusted(from, by, Adjustment::Percent, least);
        let cases = [
            // 12.7 is 12, 0.4 is 1, -0.4 is -1, -6.67 is -6.
            (percent(127, 10, None), 139),
            (percent(4, 10, None), 5),
            (percent(4, -10, None), 3),
            (percent(667, -1, None), 661),
            (percent(100, 1, None), 101),
            (percent(100, -1, None), 99),
            (percent(10, 0, None), 10),
            (percent(0, 50, None), 0),
            // A magnitude of at least 2, and more where the percentage is.
            (percent(4, 25, Some(2)), 6),
            (percent(4, -25, Some(2)), 2),
            (percent(100, 25, Some(2)), 125),
            (percent(1, -50, Some(2)), 0),
            (percent(4, 0, Some(2)), 4),
        ];
        for (row, (adjusted, expected)) in cases.into_iter().enumerate() {
            assert_eq!(adjusted, expected, "row {row}");
        }
    }

    #[test]
    fn change_and_exact_are_what_they_say() {
        assert_eq!(adjusted(3, 5, Adjustment::Change, None), 8);
        assert_eq!(adjusted(3, -5, Adjustment::Change, None), 0);
        assert_eq!(adjusted(3, 5, Adjustment::Exact, None), 5);
        assert_eq!(
            adjusted(3, i32::MAX, Adjustment::Percent, None),
            64_424_511 + 3 - 2
        );
        assert_eq!(
            adjusted(u32::MAX, i32::MAX, Adjustment::Percent, None),
            u32::MAX
        );
    }

    /// The example of EC2 Auto Scaling's user guide: at a threshold of 50, 10 % more from 60
    /// on and 30 % more from 70 on.
    fn example() -> Stepping {
        let policy = StepScaling {
            metric: Metric::Cpu,
            comparison: Comparison::GreaterOrEqual,
            threshold: 50.0,
            periods: 1,
            period: 60 * SECOND,
            adjustment: Adjustment::Percent,
            steps: vec![
                step(Some(0.0), Some(10.0), 0),
                step(Some(10.0), Some(20.0), 10),
                step(Some(20.0), None, 30),
            ],
            min_magnitude: None,
            cooldown: 300 * SECOND,
        };
        Stepping::new(policy, None)
    }

    fn feed(stepping: &mut Stepping, minute: u32, value: f64) -> Duration {
        let now = minute * 60 * SECOND;
        let value = Some(value);
        let measure = super::super::history::Measure {
            value,
            measured: 1,
            running: 1,
        };
        stepping.history().take(now, measure);
        now
    }

    #[test]
    fn a_larger_step_adds_only_what_an_action_in_its_cooldown_has_not_added() {
        let mut stepping = example();
        feed(&mut stepping, 0, 0.0);
        let now = feed(&mut stepping, 1, 55.0);
        assert_eq!(stepping.opinion(10, now, false).wants, Some(10));
        let now = feed(&mut stepping, 2, 60.0);
        let opinion = stepping.opinion(10, now, false);
        assert_eq!((opinion.wants, opinion.reason), (Some(11), None));
        stepping.acted(10, true, now, false);
        // The same datapoint, and the same step with the next one.
        for minute in [2, 3] {
            let now = feed(&mut stepping, minute, 61.0);
            let opinion = stepping.opinion(11, now, false);
            assert_eq!(opinion.reason, Some(Reason::Cooldown), "{minute}");
        }
        let now = feed(&mut stepping, 4, 75.0);
        let opinion = stepping.opinion(11, now, false);
        assert_eq!((opinion.wants, opinion.reason), (Some(13), None));
        stepping.acted(11, true, now, false);
        // After the cooldown, what there is counts from anew, once it has warmed up.
        feed(&mut stepping, 9, 75.0);
        let now = feed(&mut stepping, 10, 75.0);
        assert_eq!(
            stepping.opinion(13, now, true).reason,
            Some(Reason::Warming)
        );
        assert_eq!(stepping.opinion(13, now, false).wants, Some(16));
    }

    #[test]
    fn without_a_cooldown_an_alarm_acts_once_for_each_datapoint() {
        let mut stepping = example();
        stepping.policy.cooldown = Duration::ZERO;
        feed(&mut stepping, 0, 0.0);
        let now = feed(&mut stepping, 1, 60.0);
        assert_eq!(stepping.opinion(10, now, false).reason, None);
        stepping.acted(10, true, now, false);
        for second in 1..60 {
            let opinion = stepping.opinion(11, now + second * SECOND, false);
            assert_eq!(opinion.reason, Some(Reason::Cooldown), "{second}");
        }
        let now = feed(&mut stepping, 2, 60.0);
        let opinion = stepping.opinion(11, now, false);
        assert_eq!((opinion.wants, opinion.reason), (Some(12), None));
    }

    #[test]
    fn an_alarm_needs_all_its_datapoints() {
        let mut stepping = example();
        stepping.policy.periods = 3;
        stepping.history.resize(3);
        let mut states = Vec::new();
        for (minute, value) in [60.0, 60.0, 60.0, 40.0, 60.0, 60.0, 60.0]
            .into_iter()
            .enumerate()
        {
            let now = feed(&mut stepping, minute as u32, value);
            states.push(stepping.opinion(1, now, false).alarm);
        }
        let (none, ok) = (AlarmState::InsufficientData, AlarmState::Ok);
        assert_eq!(states, [none, none, none, ok, ok, ok, AlarmState::High]);
    }
}
