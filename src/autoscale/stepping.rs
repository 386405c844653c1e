//! Step scaling: the distance of a metric from a threshold decides how many replicas are added or
//! removed.
//!
//! The alarm is on while the last `periods` datapoints all breach the threshold; their mean less
//! the threshold chooses the step. Bounds and rounding are AWS's (EC2 Auto Scaling, "Step and
//! simple scaling policies"). An alarm acts once for each datapoint. Until the cooldown of a
//! scale-out has ended and its replicas have warmed up, they count as added already, and only a
//! larger step adds the difference. Scale-in waits for the cooldown after any scaling.

use std::time::Duration;

use crate::config::{Adjustment, Comparison, Metric, Step, StepScaling};

use super::datapoints::Datapoints;
use super::decision::{AlarmState, PolicyKind, PolicyResult, Reason};
use super::tracking::{mean, short};

/// One policy with its datapoints and its last action.
#[derive(Debug)]
pub(super) struct Stepping {
    policy: StepScaling,
    name: String,
    datapoints: Datapoints,
    added: Option<Added>,
    /// Periods that had ended at the last action.
    last_action: Option<u64>,
}

/// The last scale-out; its cooldown or warm-up may not have ended.
#[derive(Clone, Copy, Debug)]
struct Added {
    at: Duration,
    /// The count before it.
    from: u32,
}

impl Stepping {
    /// A policy that continues with `old` datapoints, which have its period.
    pub(super) fn new(policy: StepScaling, old: Option<Datapoints>) -> Self {
        let keep = policy.periods;
        let mut datapoints = old.unwrap_or_else(|| Datapoints::new(policy.period, keep));
        datapoints.resize(keep);
        let sign = sign(policy.comparison);
        let threshold = short(policy.threshold);
        Self {
            name: format!("step_scaling {} {sign} {threshold}", policy.metric.name()),
            policy,
            datapoints,
            added: None,
            last_action: None,
        }
    }

    pub(super) fn metric(&self) -> &Metric {
        &self.policy.metric
    }

    pub(super) fn policy(&self) -> &StepScaling {
        &self.policy
    }

    pub(super) fn datapoints(&mut self) -> &mut Datapoints {
        &mut self.datapoints
    }

    pub(super) fn into_datapoints(self) -> (Metric, Datapoints) {
        (self.policy.metric, self.datapoints)
    }

    /// The result for `base` replicas.
    pub(super) fn evaluate(&self, base: u32, now: Duration, is_warming: bool) -> PolicyResult {
        let Some(points) = self.datapoints.last(self.policy.periods) else {
            let state = AlarmState::InsufficientData;
            let mut result = PolicyResult::new(PolicyKind::StepScaling, self.name.clone(), state);
            result.formula = format!("needs {} datapoints", self.policy.periods);
            return result;
        };
        let metric = mean(points.clone().map(|point| point.value));
        let is_on = points
            .map(|point| point.value)
            .all(|value| breaches(self.policy.comparison, value, self.policy.threshold));
        let state = if is_on {
            alarm(self.policy.comparison)
        } else {
            AlarmState::Ok
        };
        let mut result = PolicyResult::new(PolicyKind::StepScaling, self.name.clone(), state);
        result.metric = Some(metric);
        if is_on {
            self.apply_step(&mut result, metric, base);
            self.apply_cooldown(&mut result, base, now, is_warming);
        }
        result
    }

    /// Records that the result was followed: from `from` replicas to more or fewer.
    pub(super) fn record_action(
        &mut self,
        from: u32,
        is_out: bool,
        now: Duration,
        is_warming: bool,
    ) {
        self.last_action = Some(self.datapoints.ended());
        let from = self
            .unfinished(now, is_warming)
            .map_or(from, |added| added.from);
        self.added = is_out.then_some(Added { at: now, from });
    }

    /// The last scale-out, if its cooldown or warm-up has not ended.
    fn unfinished(&self, now: Duration, is_warming: bool) -> Option<Added> {
        let is_cooling = |added: &Added| now < added.at.saturating_add(self.policy.cooldown);
        self.added.filter(|added| is_warming || is_cooling(added))
    }

    fn apply_step(&self, result: &mut PolicyResult, metric: f64, base: u32) {
        let beyond = metric - self.policy.threshold;
        let side = alarm(self.policy.comparison);
        let Some(step) = self
            .policy
            .steps
            .iter()
            .find(|step| contains(step, beyond, side))
        else {
            result.formula = format!("no step for {}", short(beyond));
            return;
        };
        let wants = adjusted(
            base,
            step.by,
            self.policy.adjustment,
            self.policy.min_magnitude,
        );
        result.wants = Some(wants);
        result.formula = match self.policy.adjustment {
            Adjustment::Change => format!("{base} {:+} = {wants}", step.by),
            Adjustment::Exact => format!("exactly {wants}"),
            Adjustment::Percent => format!("{base} {:+} % = {wants}", step.by),
        };
    }

    /// Rejects the result, or lowers its count, if an earlier action of the policy still applies.
    fn apply_cooldown(
        &self,
        result: &mut PolicyResult,
        base: u32,
        now: Duration,
        is_warming: bool,
    ) {
        let Some(wants) = result.wants.filter(|wants| *wants != base) else {
            return;
        };
        if self.last_action == Some(self.datapoints.ended()) {
            result.reason = Some(Reason::Cooldown);
        }
        let Some(added) = self.unfinished(now, is_warming).filter(|_| wants > base) else {
            return;
        };
        let Some(metric) = result.metric else { return };
        self.apply_step(result, metric, added.from);
        if result.wants.is_some_and(|wants| wants <= base) {
            let is_cooling = now < added.at.saturating_add(self.policy.cooldown);
            result.reason = Some(if is_cooling {
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

fn alarm(comparison: Comparison) -> AlarmState {
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

/// Whether a distance from the threshold lies in a step (EC2 API, `StepAdjustment`): above the
/// threshold the step includes its lower bound, below it its upper bound. The threshold itself
/// belongs to the side of the comparison.
fn contains(step: &Step, beyond: f64, side: AlarmState) -> bool {
    let lower = step.lower.unwrap_or(f64::NEG_INFINITY);
    let upper = step.upper.unwrap_or(f64::INFINITY);
    if beyond > 0.0 || beyond == 0.0 && side == AlarmState::High {
        lower <= beyond && beyond < upper
    } else {
        lower < beyond && beyond <= upper
    }
}

/// The count after an adjustment of `from` replicas.
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

/// Converts hundredths to whole replicas: values between 0 and 1 become 1, values between -1 and
/// 0 become -1, others round towards zero ("12.7 is rounded to 12", "-6.67 to -6").
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
    fn a_step_includes_its_bound_nearer_to_the_threshold() {
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
            let held = steps.map(|step| contains(&step, metric - 50.0, AlarmState::High));
            assert_eq!(held, expected, "{metric}");
        }
        assert!(contains(&below, 0.0, AlarmState::Low));
        assert!(!contains(&above, 0.0, AlarmState::Low));
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
    fn change_adds_and_exact_replaces() {
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
        let measurement = super::super::datapoints::Measurement {
            value: Some(value),
            measured: 1,
            running: 1,
        };
        stepping.datapoints().record(now, measurement);
        now
    }

    #[test]
    fn a_larger_step_adds_only_what_an_action_in_its_cooldown_has_not_added() {
        let mut stepping = example();
        feed(&mut stepping, 0, 0.0);
        let now = feed(&mut stepping, 1, 55.0);
        assert_eq!(stepping.evaluate(10, now, false).wants, Some(10));
        let now = feed(&mut stepping, 2, 60.0);
        let result = stepping.evaluate(10, now, false);
        assert_eq!((result.wants, result.reason), (Some(11), None));
        stepping.record_action(10, true, now, false);
        // The same datapoint, and the same step with the next one.
        for minute in [2, 3] {
            let now = feed(&mut stepping, minute, 61.0);
            let result = stepping.evaluate(11, now, false);
            assert_eq!(result.reason, Some(Reason::Cooldown), "{minute}");
        }
        let now = feed(&mut stepping, 4, 75.0);
        let result = stepping.evaluate(11, now, false);
        assert_eq!((result.wants, result.reason), (Some(13), None));
        stepping.record_action(11, true, now, false);
        // After the cooldown, what there is counts from anew, once it has warmed up.
        feed(&mut stepping, 9, 75.0);
        let now = feed(&mut stepping, 10, 75.0);
        assert_eq!(
            stepping.evaluate(13, now, true).reason,
            Some(Reason::Warming)
        );
        assert_eq!(stepping.evaluate(13, now, false).wants, Some(16));
    }

    #[test]
    fn without_a_cooldown_an_alarm_acts_once_for_each_datapoint() {
        let mut stepping = example();
        stepping.policy.cooldown = Duration::ZERO;
        feed(&mut stepping, 0, 0.0);
        let now = feed(&mut stepping, 1, 60.0);
        assert_eq!(stepping.evaluate(10, now, false).reason, None);
        stepping.record_action(10, true, now, false);
        for second in 1..60 {
            let result = stepping.evaluate(11, now + second * SECOND, false);
            assert_eq!(result.reason, Some(Reason::Cooldown), "{second}");
        }
        let now = feed(&mut stepping, 2, 60.0);
        let result = stepping.evaluate(11, now, false);
        assert_eq!((result.wants, result.reason), (Some(12), None));
    }

    #[test]
    fn an_alarm_needs_all_its_datapoints() {
        let mut stepping = example();
        stepping.policy.periods = 3;
        stepping.datapoints.resize(3);
        let mut states = Vec::new();
        for (minute, value) in [60.0, 60.0, 60.0, 40.0, 60.0, 60.0, 60.0]
            .into_iter()
            .enumerate()
        {
            let now = feed(&mut stepping, minute as u32, value);
            states.push(stepping.evaluate(1, now, false).alarm);
        }
        let (none, ok) = (AlarmState::InsufficientData, AlarmState::Ok);
        assert_eq!(states, [none, none, none, ok, ok, ok, AlarmState::High]);
    }
}
