//! The health of a target: what active checks and outlier detection have found.
//!
//! [`HealthState`] is the pure rule (ALB's: consecutive results, one pass is enough
//! for a new target); [`HealthRecord`] adds the reason and the last results for
//! people to read.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::{Ejection, EjectionCounts};

/// What active checks say about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Registered, and no check result has decided yet.
    Initial,
    /// Its checks pass.
    Healthy,
    /// Its checks fail.
    Unhealthy,
}

impl Health {
    /// The name in `/api/v1/status`, metrics and logs (ALB's `TargetHealth.State`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How many consecutive results change a target's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that bring an unhealthy target back; at least 1.
    pub healthy: u32,
    /// Failures that take a target out; at least 1.
    pub unhealthy: u32,
}

/// Consecutive-result counter behind [`Health`]. Pure: no clock, no I/O.
///
/// `streak` counts results that contradict `health`; one that agrees clears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    health: Health,
    streak: u32,
}

impl HealthState {
    /// The state of a target that was just registered.
    pub const fn new() -> Self {
        Self {
            health: Health::Initial,
            streak: 0,
        }
    }

    /// The health by the results so far.
    pub const fn health(self) -> Health {
        self.health
    }

    /// Records one result. Returns the new health if it has changed.
    ///
    /// A new target needs one pass to become healthy, whatever the threshold
    /// (ALB user guide, "Target health status").
    pub fn record(&mut self, passed: bool, thresholds: Thresholds) -> Option<Health> {
        let (needed, next) = match (self.health, passed) {
            (Health::Healthy, true) | (Health::Unhealthy, false) => {
                self.streak = 0;
                return None;
            }
            (Health::Initial, true) => (1, Health::Healthy),
            (Health::Unhealthy, true) => (thresholds.healthy, Health::Healthy),
            (Health::Initial | Health::Healthy, false) => (thresholds.unhealthy, Health::Unhealthy),
        };
        self.streak += 1;
        if self.streak < needed {
            return None;
        }
        *self = Self {
            health: next,
            streak: 0,
        };
        Some(next)
    }
}

impl Default for HealthState {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a target is in its state (ALB's `TargetHealth.Reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthReason {
    /// No check has finished yet.
    InitialHealthChecking,
    /// The group checks nothing; its targets count as healthy.
    HealthCheckDisabled,
    /// The check got no complete response in time.
    Timeout,
    /// The target refused or reset the connection, or could not be reached.
    ConnectionError,
    /// The status was outside the matcher.
    ResponseCodeMismatch,
    /// The body did not contain what the check asks for.
    ResponseBodyMismatch,
    /// What came back was not HTTP.
    MalformedResponse,
    /// Weir itself could not run the check: the result says nothing about the target.
    InternalError,
}

impl HealthReason {
    /// ALB's reason code, or one in its style where ALB has none.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InitialHealthChecking => "Elb.InitialHealthChecking",
            Self::HealthCheckDisabled => "Target.HealthCheckDisabled",
            Self::Timeout => "Target.Timeout",
            Self::ConnectionError => "Target.ConnectionError",
            Self::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            Self::ResponseBodyMismatch => "Target.ResponseBodyMismatch",
            Self::MalformedResponse => "Target.MalformedResponse",
            Self::InternalError => "Elb.InternalError",
        }
    }
}

impl fmt::Display for HealthReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why one check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailure {
    /// The class of the failure.
    pub reason: HealthReason,
    /// For people: the status, an excerpt of the body, the system's error text.
    pub detail: String,
}

/// One finished check.
#[derive(Clone, Debug)]
pub struct CheckResult {
    /// When it started, by the wall clock; to be shown.
    pub at: SystemTime,
    /// When it started, by the monotonic clock; to be compared.
    pub began: Instant,
    /// How long it took.
    pub elapsed: Duration,
    /// The status of the target's response; `None` without one.
    pub status: Option<u16>,
    /// Whether it passed.
    pub outcome: Result<(), CheckFailure>,
}

impl CheckResult {
    /// Whether it says anything about the target.
    pub fn is_conclusive(&self) -> bool {
        match &self.outcome {
            Ok(()) => true,
            Err(failure) => failure.reason != HealthReason::InternalError,
        }
    }
}

/// All that is known about a target's health.
#[derive(Clone, Debug)]
pub struct HealthRecord {
    /// The state machine.
    pub state: HealthState,
    /// Why the target is not healthy; `None` when it is.
    pub reason: Option<HealthReason>,
    /// The last results, oldest first; at most [`HealthRecord::KEPT`].
    pub last: VecDeque<CheckResult>,
    /// When the health last changed.
    pub since: Option<SystemTime>,
    /// Checks ever finished.
    pub checks: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Set while it is ejected because of the requests it failed, whatever the checks say.
    pub ejection: Option<Ejection>,
    /// How often it has been ejected.
    pub ejections: EjectionCounts,
    /// Why it would be ejected, and which limit prevents that; for people.
    pub withheld: Option<String>,
    /// How often an ejection was prevented.
    pub withheld_ejections: EjectionCounts,
    /// Whether it fails more of its requests than its peers.
    pub anomalous: bool,
}

impl HealthRecord {
    /// How many results are kept for `/api/v1/status`.
    pub const KEPT: usize = 10;

    /// Records one result. Returns the new health if it has changed.
    pub fn record(&mut self, result: CheckResult, thresholds: Thresholds) -> Option<Health> {
        let at = result.at;
        self.checks += 1;
        self.failures += u64::from(result.outcome.is_err());
        let changed = if result.is_conclusive() {
            self.state.record(result.outcome.is_ok(), thresholds)
        } else {
            None
        };
        match (self.state.health(), &result.outcome) {
            (Health::Healthy, _) => self.reason = None,
            (Health::Initial | Health::Unhealthy, Err(failure)) if result.is_conclusive() => {
                self.reason = Some(failure.reason);
            }
            // On its way back: the reason of its last failure still holds.
            (Health::Initial | Health::Unhealthy, _) => {}
        }
        if changed.is_some() {
            self.since = Some(at);
        }
        if self.last.len() == Self::KEPT {
            self.last.pop_front();
        }
        self.last.push_back(result);
        changed
    }
}

impl Default for HealthRecord {
    fn default() -> Self {
        Self {
            state: HealthState::new(),
            reason: Some(HealthReason::InitialHealthChecking),
            last: VecDeque::with_capacity(Self::KEPT),
            since: None,
            checks: 0,
            failures: 0,
            ejection: None,
            ejections: EjectionCounts::default(),
            withheld: None,
            withheld_ejections: EjectionCounts::default(),
            anomalous: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::check_result;

    const ALB: Thresholds = Thresholds {
        healthy: 5,
        unhealthy: 2,
    };

    fn run(results: &[bool]) -> Vec<Health> {
        let mut state = HealthState::new();
        results
            .iter()
            .map(|&passed| {
                state.record(passed, ALB);
                state.health()
            })
            .collect()
    }

    #[test]
    fn one_pass_is_enough_for_a_new_target() {
        assert_eq!(run(&[true]), [Health::Healthy]);
        assert_eq!(run(&[false, true]), [Health::Initial, Health::Healthy]);
    }

    #[test]
    fn only_consecutive_failures_take_a_target_out() {
        use Health::{Healthy, Unhealthy};
        assert_eq!(
            run(&[true, false, true, false, false]),
            [Healthy, Healthy, Healthy, Healthy, Unhealthy]
        );
    }

    #[test]
    fn an_unhealthy_target_needs_the_whole_threshold_to_return() {
        let mut results = vec![false, false];
        results.extend([true; 4]);
        assert_eq!(run(&results).last(), Some(&Health::Unhealthy));
        results.push(true);
        assert_eq!(run(&results).last(), Some(&Health::Healthy));
    }

    #[test]
    fn a_check_that_weir_could_not_run_is_kept_and_changes_nothing() {
        let mut record = HealthRecord::default();
        record.record(check_result(true, Instant::now()), ALB);
        for _ in 0..5 {
            let mut result = check_result(true, Instant::now());
            result.outcome = Err(CheckFailure {
                reason: HealthReason::InternalError,
                detail: String::new(),
            });
            assert_eq!(record.record(result, ALB), None);
        }
        assert_eq!(record.state.health(), Health::Healthy);
        assert_eq!((record.last.len(), record.failures), (6, 5));
    }

    #[test]
    fn the_record_keeps_the_reason_until_the_target_is_back_and_only_ten_results() {
        let mut record = HealthRecord::default();
        let result = |passed| check_result(passed, Instant::now());
        record.record(result(false), ALB);
        record.record(result(false), ALB);
        assert_eq!(record.state.health(), Health::Unhealthy);
        for _ in 0..4 {
            record.record(result(true), ALB);
            assert_eq!(record.reason, Some(HealthReason::Timeout));
        }
        assert_eq!(record.record(result(true), ALB), Some(Health::Healthy));
        assert_eq!(record.reason, None);
        for _ in 0..20 {
            record.record(result(true), ALB);
        }
        assert_eq!(record.last.len(), HealthRecord::KEPT);
        assert_eq!((record.checks, record.failures), (27, 2));
    }
}
