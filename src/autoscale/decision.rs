//! The result of one evaluation of a group, with everything it was made from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Capacity;

/// One evaluation of a group: its inputs, the result of each policy, and the decided count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Decision {
    /// Wall-clock time of the evaluation.
    pub at: Timestamp,
    /// Name of the target group.
    pub group: String,
    /// The replicas at that time.
    pub capacity: Capacity,
    /// The desired count before this evaluation: that of the previous one, or the provider's
    /// at the first evaluation and while another process scales the group.
    pub before: u32,
    /// Lower bound, after scheduled actions.
    pub min: u32,
    /// Upper bound, after scheduled actions.
    pub max: u32,
    /// The result of each policy, in the order of the configuration.
    #[serde(rename = "opinions")]
    pub results: Vec<PolicyResult>,
    /// The decided count.
    pub desired: u32,
    /// Whether the count changes, or why it does not.
    pub outcome: ScalingOutcome,
    /// End of the scale-out cooldown, in which only a larger scale-out than the last one
    /// proceeds; `None` after it.
    pub out_cooldown: Option<Timestamp>,
    /// End of the scale-in cooldown, in which target tracking removes no replicas; `None` after
    /// it.
    pub in_cooldown: Option<Timestamp>,
}

impl Decision {
    /// Computes the count again from this record alone: from the bounds and the results that
    /// were not rejected. It equals `desired`.
    pub fn recompute(&self) -> u32 {
        if self.outcome == ScalingOutcome::Hold(Reason::NotScaler) {
            return self.before;
        }
        resolve(&self.results, self.before, self.min, self.max)
    }
}

/// Combines the results into one count: the largest that was not rejected wins, whether it
/// scales out or in (AWS, `PutScalingPolicy`: "precedence to the policy that provides the
/// largest capacity for both scale out and scale in"). A forecast can only add replicas.
pub(super) fn resolve(results: &[PolicyResult], before: u32, min: u32, max: u32) -> u32 {
    let base = before.clamp(min, max);
    let counts = |may_scale_in: bool| {
        results
            .iter()
            .filter(move |result| result.counts() && result.may_scale_in() == may_scale_in)
            .filter_map(PolicyResult::recompute)
    };
    let most = counts(true).chain(counts(false)).max();
    if let Some(most) = most.filter(|most| *most > base) {
        return most.min(max);
    }
    let floor = counts(false).fold(min, u32::max);
    counts(true)
        .filter(|count| *count < base)
        .max()
        .map_or(base, |fewer| fewer.max(floor).min(base))
}

/// The result of one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyResult {
    /// Kind of the policy.
    pub kind: PolicyKind,
    /// Name of the policy, such as `target_tracking cpu 20`.
    pub policy: String,
    /// State of its alarm.
    pub alarm: AlarmState,
    /// The value of the metric that it used; `None` without data.
    pub metric: Option<f64>,
    /// The calculation of `wants` with its numbers: `ceil(1 * 65 / 20) = 4`.
    pub formula: String,
    /// The numbers of target tracking; `None` for other policies and without an alarm.
    pub inputs: Option<Inputs>,
    /// The count it asks for; `None` if it asks for none.
    pub wants: Option<u32>,
    /// Why the count is rejected, or why the alarm has no data.
    pub reason: Option<Reason>,
}

/// Kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Keeps a metric near a target.
    TargetTracking,
    /// Adds or removes replicas by the size of a breach.
    StepScaling,
    /// Moves the count between the bounds after a scheduled action or a new configuration has
    /// changed them.
    Bounds,
    /// Starts the first replica of a group and stops the last one.
    Zero,
    /// A forecast that raises the count.
    Predictive,
    /// A forecast that is only shown.
    Forecast,
}

/// The numbers of target tracking's calculation besides [`PolicyResult::metric`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inputs {
    /// Replicas that the metric is an average over; a fraction if their number changed within
    /// the datapoints.
    pub replicas: f64,
    /// The target of the policy, in the metric's unit.
    pub target: f64,
    /// Number of datapoints.
    pub datapoints: u32,
    /// Standard deviation of the datapoints, in the metric's unit; 0 for scale-out and in
    /// AWS's profiles, which do not use it.
    pub spread: f64,
    /// A datapoint above this counts for scale-out, in the metric's unit.
    pub limit: f64,
}

impl Inputs {
    /// Expected distance of a datapoint from the mean, in standard deviations: one in a
    /// thousand is further above, several in a row never are.
    const RARE: f64 = 3.0;

    /// `ceil(n * m / T)`, or as many replicas as keep even a rare datapoint within the limit.
    pub(super) fn wants(&self, metric: f64) -> u32 {
        self.by_mean(metric).max(self.by_spread(metric))
    }

    /// `ceil(n * m / T)`.
    pub(super) fn by_mean(&self, metric: f64) -> u32 {
        round_up(self.replicas * metric / self.target)
    }

    /// As many replicas as keep the variance of the load from raising the high alarm again.
    pub(super) fn by_spread(&self, metric: f64) -> u32 {
        if self.spread <= 0.0 {
            return 0;
        }
        round_up(self.replicas * (metric + Self::RARE * self.spread) / self.limit)
    }
}

/// Rounds up, tolerating the error of a floating point division: 3 * 20 / 20 is 3, not 4.
pub(super) fn round_up(replicas: f64) -> u32 {
    (replicas - 1e-9 * replicas.max(1.0)).ceil() as u32
}

impl PolicyResult {
    /// A result that asks for no count.
    pub(super) fn new(kind: PolicyKind, policy: String, alarm: AlarmState) -> Self {
        Self {
            kind,
            policy,
            alarm,
            metric: None,
            formula: String::new(),
            inputs: None,
            wants: None,
            reason: None,
        }
    }

    /// The count it asks for, computed from `inputs` if there are some.
    pub(super) fn recompute(&self) -> Option<u32> {
        let wants = self.wants?;
        match (self.inputs, self.metric) {
            (Some(inputs), Some(metric)) => Some(inputs.wants(metric)),
            _ => Some(wants),
        }
    }

    /// Whether it takes part in the decision.
    fn counts(&self) -> bool {
        self.reason.is_none() && self.kind != PolicyKind::Forecast
    }

    /// Whether a smaller count removes replicas; otherwise it is only a floor for the others.
    fn may_scale_in(&self) -> bool {
        match self.kind {
            PolicyKind::TargetTracking | PolicyKind::StepScaling => true,
            PolicyKind::Zero => self.alarm == AlarmState::Low,
            PolicyKind::Bounds | PolicyKind::Predictive | PolicyKind::Forecast => false,
        }
    }
}

/// The state of a policy's alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// Neither high nor low.
    Ok,
    /// All datapoints of the window are above the target or threshold.
    High,
    /// All datapoints of the window are below it.
    Low,
    /// Too few datapoints.
    InsufficientData,
}

/// Whether an evaluation changes the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ScalingOutcome {
    /// More replicas.
    ScaleOut,
    /// Fewer replicas.
    ScaleIn,
    /// The count stays, for this reason.
    Hold(Reason),
}

/// Why a count stays or a result is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No alarm is on.
    InRange,
    /// The cooldown of an earlier action has not ended.
    Cooldown,
    /// With one replica fewer the metric would be above the target again.
    NoFlap,
    /// A metric is missing, or too few datapoints exist yet.
    InsufficientData,
    /// The upper bound is reached.
    AtMax,
    /// The lower bound is reached.
    AtMin,
    /// New replicas are starting or warming up.
    Warming,
    /// Another policy does not allow fewer replicas.
    AllMustAgree,
    /// Scaling in is turned off.
    ScaleInDisabled,
    /// Another process scales the group.
    NotScaler,
}

impl Reason {
    /// Every reason, for metric labels.
    pub const ALL: [Self; 10] = [
        Self::InRange,
        Self::Cooldown,
        Self::NoFlap,
        Self::InsufficientData,
        Self::AtMax,
        Self::AtMin,
        Self::Warming,
        Self::AllMustAgree,
        Self::ScaleInDisabled,
        Self::NotScaler,
    ];

    /// The name in `/api/v1/autoscaling`, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InRange => "in_range",
            Self::Cooldown => "cooldown",
            Self::NoFlap => "no_flap",
            Self::InsufficientData => "insufficient_data",
            Self::AtMax => "at_max",
            Self::AtMin => "at_min",
            Self::Warming => "warming",
            Self::AllMustAgree => "all_must_agree",
            Self::ScaleInDisabled => "scale_in_disabled",
            Self::NotScaler => "not_scaler",
        }
    }
}
