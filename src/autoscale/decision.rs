//! The record of one evaluation.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Capacity;

/// One evaluation of a group: what it was made from, what each policy wanted, and what came
/// of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// The target group.
    pub group: String,
    /// How many replicas there were, and should have been.
    pub capacity: Capacity,
    /// The bounds that held, after scheduled actions.
    pub min: u32,
    /// Likewise.
    pub max: u32,
    /// What each policy said, in the order of the configuration.
    pub opinions: Vec<Opinion>,
    /// How many there should be now.
    pub desired: u32,
    /// What happens.
    pub outcome: Outcome,
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// Such as `target_tracking cpu 20`.
    pub policy: String,
    /// Its alarm.
    pub alarm: AlarmState,
    /// The value it went by; `None` without data.
    pub metric: Option<f64>,
    /// How it got from the value to `wants`, with numbers: `ceil(1 * 65 / 20) = 4`.
    pub formula: String,
    /// How many replicas it wants; `None` when it has nothing to say.
    pub wants: Option<u32>,
    /// Why it does not want more or fewer although its alarm is on, or why its alarm has no
    /// data.
    pub reason: Option<Reason>,
}

/// The state of a policy's alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// Nothing to do.
    Ok,
    /// Above the target or threshold for long enough.
    High,
    /// Below it for long enough.
    Low,
    /// Too few datapoints.
    InsufficientData,
}

/// What an evaluation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// More replicas.
    ScaleOut,
    /// Fewer replicas.
    ScaleIn,
    /// As many as before.
    Hold(Reason),
}

/// Why nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No alarm is on.
    InRange,
    /// An earlier action still holds.
    Cooldown,
    /// One replica fewer would bring the metric back above the target.
    NoFlap,
    /// A metric is missing, or there are too few datapoints yet.
    InsufficientData,
    /// The bound is reached.
    AtMax,
    /// The bound is reached.
    AtMin,
    /// New replicas have not shown yet what they carry.
    Warming,
    /// Another policy does not agree to fewer.
    AllMustAgree,
    /// Scaling in is turned off.
    ScaleInDisabled,
    /// Another Weir decides.
    NotScaler,
}

impl Reason {
    /// All of them, for metrics.
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

    /// The word in `/api/autoscaling`, metrics and logs.
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
