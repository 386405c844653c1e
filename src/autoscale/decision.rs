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
    /// How many there should have been until now: what the evaluation before said, and at
    /// first, or while another Weir decides, what the engine says.
    pub before: u32,
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
    /// Until then only a larger scale-out than the last one proceeds; `None` when it is over.
    pub out_cooldown: Option<Timestamp>,
    /// Until then target tracking takes no replicas away; `None` when it is over.
    pub in_cooldown: Option<Timestamp>,
}

impl Decision {
    /// The number of replicas by what is written here alone: the bounds, the opinions
    /// without a reason against them, and their numbers. It equals `desired`.
    pub fn recompute(&self) -> u32 {
        if self.outcome == Outcome::Hold(Reason::NotScaler) {
            return self.before;
        }
        settle(&self.opinions, self.before, self.min, self.max)
    }
}

/// The largest of the opinions that count wins, whether it scales out or in (AWS,
/// "`PutScalingPolicy`": "precedence to the policy that provides the largest capacity for both
/// scale out and scale in"). What a forecast says can only add.
pub(super) fn settle(opinions: &[Opinion], before: u32, min: u32, max: u32) -> u32 {
    let base = before.clamp(min, max);
    let heard = || opinions.iter().filter(|opinion| opinion.counts());
    let most = heard().filter_map(Opinion::recompute).max();
    if let Some(most) = most.filter(|most| *most > base) {
        return most.min(max);
    }
    let takers = heard().filter(|opinion| opinion.may_take_away());
    let fewer = takers.filter_map(Opinion::recompute).filter(|n| *n < base);
    let floors = heard().filter(|opinion| !opinion.may_take_away());
    let floor = floors.filter_map(Opinion::recompute).fold(min, u32::max);
    fewer.max().map_or(base, |fewer| fewer.max(floor).min(base))
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// What kind of policy it is.
    pub kind: Kind,
    /// Such as `target_tracking cpu 20`.
    pub policy: String,
    /// Its alarm.
    pub alarm: AlarmState,
    /// The value it went by; `None` without data.
    pub metric: Option<f64>,
    /// How it got from the value to `wants`, with numbers: `ceil(1 * 65 / 20) = 4`.
    pub formula: String,
    /// The numbers of target tracking; `None` elsewhere, and without an alarm.
    pub inputs: Option<Inputs>,
    /// How many replicas it wants; `None` when it has nothing to say.
    pub wants: Option<u32>,
    /// Why what it wants does not count, or why its alarm has no data.
    pub reason: Option<Reason>,
}

/// Kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Keeps a metric near a target.
    TargetTracking,
    /// Acts on an alarm in steps.
    StepScaling,
    /// Brings the number between the bounds when a scheduled action, or a new configuration,
    /// has moved them.
    Bounds,
    /// Wakes a group that has no replicas, and lets the last one go when nobody asks.
    Zero,
    /// A forecast that raises the number.
    Predictive,
    /// A forecast that is only shown.
    Forecast,
}

/// What target tracking calculates with, besides [`Opinion::metric`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// How many replicas the metric is an average over; a fraction when the number changed
    /// within the datapoints.
    pub replicas: f64,
    /// The policy's target.
    pub target: f64,
    /// How many datapoints went in.
    pub datapoints: u32,
    /// Standard deviation of the datapoints, in the metric's unit; only for scale-in, and 0
    /// in AWS's profiles, which do not go by it.
    pub spread: f64,
    /// A datapoint above this counts for scale-out; only for scale-in.
    pub limit: f64,
}

impl Inputs {
    /// How far from the mean a datapoint can be expected, in standard deviations: one in a
    /// thousand is further up, several in a row never are.
    const RARE: f64 = 3.0;

    /// `ceil(n * m / T)`, and enough replicas that even a rare datapoint stays within the
    /// limit.
    pub(super) fn wants(&self, metric: f64) -> u32 {
        self.by_mean(metric).max(self.by_spread(metric))
    }

    /// By the rule of three.
    pub(super) fn by_mean(&self, metric: f64) -> u32 {
        round_up(self.replicas * metric / self.target)
    }

    /// So many that the load's own unrest does not bring the high alarm back.
    pub(super) fn by_spread(&self, metric: f64) -> u32 {
        if self.spread <= 0.0 {
            return 0;
        }
        round_up(self.replicas * (metric + Self::RARE * self.spread) / self.limit)
    }
}

/// Up to the next whole number, but for what a floating point division is off by:
/// 3 * 20 / 20 is 3 and not 4.
pub(super) fn round_up(replicas: f64) -> u32 {
    (replicas - 1e-9 * replicas.max(1.0)).ceil() as u32
}

impl Opinion {
    /// One that wants nothing and has no numbers.
    pub(super) fn new(kind: Kind, policy: String, alarm: AlarmState) -> Self {
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

    /// What it wants, from its numbers where it has some.
    pub(super) fn recompute(&self) -> Option<u32> {
        let wants = self.wants?;
        let numbers = self.inputs.zip(self.metric);
        Some(numbers.map_or(wants, |(inputs, metric)| inputs.wants(metric)))
    }

    /// Whether it counts in the result.
    fn counts(&self) -> bool {
        self.reason.is_none() && self.kind != Kind::Forecast
    }

    /// Whether wanting fewer takes replicas away, and does not only keep others from it.
    fn may_take_away(&self) -> bool {
        match self.kind {
            Kind::TargetTracking | Kind::StepScaling => true,
            Kind::Zero => self.alarm == AlarmState::Low,
            Kind::Bounds | Kind::Predictive | Kind::Forecast => false,
        }
    }
}

/// The state of a policy's alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// Neither of the others.
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
