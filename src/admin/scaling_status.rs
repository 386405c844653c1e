//! The state of a group that scales, as the status and autoscaling pages show it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::timestamp;
use crate::autoscale::{AlarmState, Decision, GroupJournal, PolicyKind, PolicyResult, Reading};
use crate::replicas::GroupReplicas;
use crate::state::Group;

/// The state of a group that scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ScalingStatus {
    /// The source of its timing: `fast`, `aws` or `aws_high_resolution`.
    pub profile: String,
    /// Fewest replicas, after scheduled actions.
    pub min: u32,
    /// Most replicas, after scheduled actions.
    pub max: u32,
    /// How many there should be; `None` while that is unknown.
    pub desired: Option<u32>,
    /// How many are in service.
    pub running: u32,
    /// How many are too new to be measured or are starting.
    pub warming: u32,
    /// Whether this Weir decides.
    pub is_scaler: bool,
    /// Of all policies: `high` if one is, or else `insufficient_data` if one has, `low` if
    /// all are, `ok`.
    pub alarm: String,
    /// The outcome of the last evaluation: `scale_out`, `scale_in` or `hold`; `None` before the
    /// first.
    pub outcome: Option<String>,
    /// Why the group holds, if it does.
    pub reason: Option<String>,
    /// The measurements of the last evaluation.
    pub metrics: Vec<ReadingStatus>,
    /// The metric of each policy beside its target, and the state of its alarm; in the order of the
    /// file.
    #[serde(default)]
    pub alarms: Vec<AlarmStatus>,
    /// Until then only a larger scale-out proceeds.
    pub out_cooldown: Option<Timestamp>,
    /// Until then no replica is removed.
    pub in_cooldown: Option<Timestamp>,
    /// What fails at the provider now.
    pub fault: Option<FaultStatus>,
    /// The last decision that changed something.
    pub last_change: Option<ChangeStatus>,
    /// Evaluations since the start, by outcome.
    pub evaluations: Vec<OutcomeCount>,
    /// How many evaluations are missing in the file of `record`.
    #[serde(default)]
    pub unrecorded: u64,
}

/// A metric at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReadingStatus {
    /// Its name, with the labels of a custom one.
    pub metric: String,
    /// The value in the metric's unit; `None` if it is missing.
    pub value: Option<f64>,
    /// Why it is missing.
    pub missing: Option<String>,
}

/// The alarm of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AlarmStatus {
    /// The policy: `target_tracking cpu 20`.
    pub policy: String,
    /// Its metric.
    pub metric: String,
    /// The value that the last evaluation used; `None` without data.
    pub value: Option<f64>,
    /// The target, or the threshold of a step policy, in the metric's unit.
    pub target: f64,
    /// `ok`, `high`, `low` or `insufficient_data`.
    pub state: String,
    /// Since when it is in this state; `None` before the first evaluation.
    pub since: Option<Timestamp>,
}

/// A decision that changed something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangeStatus {
    /// When it was made.
    pub at: Timestamp,
    /// The desired count before.
    pub from: u32,
    /// The desired count after.
    pub to: u32,
    /// The policy that caused it, with its calculation.
    pub formula: String,
}

/// How often an outcome occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutcomeCount {
    /// `scale_out`, `scale_in` or `hold`.
    pub outcome: String,
    /// Why the group held; empty for other outcomes.
    pub reason: String,
    /// The number of evaluations.
    pub count: u64,
}

/// A failure of a provider of replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FaultStatus {
    /// For operators.
    pub message: String,
    /// The time of the first failure since the last success.
    pub since: Timestamp,
}

impl ScalingStatus {
    /// The state of a group; `None` for a group that does not scale.
    pub(super) fn of(
        group: &Group,
        log: Option<&GroupJournal>,
        replicas: Option<&GroupReplicas>,
    ) -> Option<Self> {
        let policy = group.config.autoscaling.as_ref()?;
        let latest = log.map(|log| &*log.latest);
        let words = latest.map(|latest| latest.outcome.names());
        let capacity = latest.map(|latest| latest.capacity).unwrap_or_default();
        let reason = words.and_then(|(_, reason)| reason);
        Some(Self {
            profile: policy.profile.name().to_owned(),
            min: latest.map_or(policy.min, |latest| latest.min),
            max: latest.map_or(policy.max, |latest| latest.max),
            desired: latest.map(|latest| latest.desired),
            running: capacity.running,
            warming: capacity.warming,
            is_scaler: replicas.is_some_and(|replicas| replicas.is_scaler),
            alarm: alarm(latest).to_owned(),
            outcome: words.map(|(outcome, _)| outcome.to_owned()),
            reason: reason.map(|reason| reason.name().to_owned()),
            metrics: log.map(readings).unwrap_or_default(),
            alarms: log.map(|log| alarms(group, log)).unwrap_or_default(),
            out_cooldown: latest.and_then(|latest| latest.out_cooldown),
            in_cooldown: latest.and_then(|latest| latest.in_cooldown),
            fault: FaultStatus::of(replicas),
            last_change: log.and_then(GroupJournal::last_change).map(change),
            evaluations: log.map(evaluations).unwrap_or_default(),
            unrecorded: log.map_or(0, |log| log.unrecorded),
        })
    }
}

impl FaultStatus {
    pub(super) fn of(replicas: Option<&GroupReplicas>) -> Option<Self> {
        let fault = replicas?.fault.as_ref()?;
        Some(Self {
            message: fault.message.clone(),
            since: timestamp(fault.since),
        })
    }
}

fn readings(log: &GroupJournal) -> Vec<ReadingStatus> {
    log.readings
        .iter()
        .map(|(metric, reading)| {
            let (value, missing) = match reading {
                Reading::Value(value) => (Some(*value), None),
                Reading::Missing(why) => (None, Some(why.clone())),
            };
            ReadingStatus {
                metric: metric.clone(),
                value,
                missing,
            }
        })
        .collect()
}

/// Of the policies that keep a metric near a target or within a threshold. Results come in their
/// order.
fn alarms(group: &Group, log: &GroupJournal) -> Vec<AlarmStatus> {
    let Some(policy) = &group.config.autoscaling else {
        return Vec::new();
    };
    let of_kind = |kind| {
        let results = log.latest.results.iter();
        results.filter(move |result| result.kind == kind)
    };
    let tracking = policy.target_tracking.iter();
    let tracking = tracking.map(|one| (one.metric.name(), one.target));
    let stepping = policy.step_scaling.iter();
    let stepping = stepping.map(|one| (one.metric.name(), one.threshold));
    let tracking = of_kind(PolicyKind::TargetTracking).zip(tracking);
    let stepping = of_kind(PolicyKind::StepScaling).zip(stepping);
    let alarm = |(result, (metric, target)): (&PolicyResult, (&str, f64))| AlarmStatus {
        policy: result.policy.clone(),
        metric: metric.to_owned(),
        value: result.metric,
        target,
        state: result.alarm.name().to_owned(),
        since: log.alarms.get(&result.policy).map(|(_, since)| *since),
    };
    tracking.chain(stepping).map(alarm).collect()
}

/// One alarm state for all policies.
fn alarm(latest: Option<&Decision>) -> &'static str {
    let Some(latest) = latest else {
        return AlarmState::InsufficientData.name();
    };
    let results = &latest.results;
    let some = |state| results.iter().any(|result| result.alarm == state);
    let state = if some(AlarmState::High) {
        AlarmState::High
    } else if some(AlarmState::InsufficientData) {
        AlarmState::InsufficientData
    } else if results.is_empty() || some(AlarmState::Ok) {
        AlarmState::Ok
    } else {
        AlarmState::Low
    };
    state.name()
}

fn change(decision: &Decision) -> ChangeStatus {
    ChangeStatus {
        at: decision.at,
        from: decision.before,
        to: decision.desired,
        formula: decision.formula(),
    }
}

fn evaluations(log: &GroupJournal) -> Vec<OutcomeCount> {
    log.counts
        .iter()
        .map(|((outcome, reason), count)| OutcomeCount {
            outcome: (*outcome).to_owned(),
            reason: reason.map_or("", |reason| reason.name()).to_owned(),
            count: *count,
        })
        .collect()
}
