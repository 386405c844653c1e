//! `/api/autoscaling`: how many replicas each group should have, and why.
//!
//! The numbers are those of the last evaluation; each group's last decisions follow, newest
//! first, as the autoscaler wrote them down: see [`Decision`].

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Context;
use super::status::{FaultStatus, timestamp};
use crate::autoscale::{AlarmState, Decision, Entry, Log, Opinion, Reading};
use crate::replicas::GroupReplicas;
use crate::state::Snapshot;

/// Decisions of each group that are shown when nobody says how many.
const LAST: usize = 10;

/// All groups that scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoscalingStatus {
    /// When this was written.
    pub now: Timestamp,
    /// In the order of the file.
    pub target_groups: Vec<GroupScaling>,
}

/// One group with its decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupScaling {
    /// The target group.
    pub name: String,
    /// How it stands.
    #[serde(flatten)]
    pub status: ScalingStatus,
    /// What each policy said at the last evaluation, in the order of the file.
    pub policies: Vec<Opinion>,
    /// What the predictive policy expects, hour by hour; empty without one, and until it knows
    /// a day.
    pub forecast: Vec<ForecastStatus>,
    /// The last decisions, newest first; holds that were alike are one of them.
    pub last: Vec<LoggedDecision>,
    /// Every evaluation of the last minute, oldest first, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<Vec<Decision>>,
}

/// What is expected of an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastStatus {
    /// When it begins.
    pub at: Timestamp,
    /// The metric times the replicas, at its highest.
    pub load: f64,
    /// The replicas that this takes, whatever the bounds.
    pub replicas: u32,
}

/// How a group stands that scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScalingStatus {
    /// Where its timing comes from: `fast`, `aws` or `aws_high_resolution`.
    pub profile: String,
    /// Fewest replicas, after scheduled actions.
    pub min: u32,
    /// Most replicas, likewise.
    pub max: u32,
    /// How many there should be; `None` while that is unknown.
    pub desired: Option<u32>,
    /// How many are in service.
    pub running: u32,
    /// How many of them are too new to be measured, and how many are starting.
    pub warming: u32,
    /// Whether this Weir decides.
    pub is_scaler: bool,
    /// Of all policies: `high` if one is, or else `insufficient_data` if one has, `low` if
    /// all are, `ok`.
    pub alarm: String,
    /// What the last evaluation led to: `scale_out`, `scale_in` or `hold`; `None` before the
    /// first.
    pub outcome: Option<String>,
    /// Why nothing happens, if nothing does.
    pub reason: Option<String>,
    /// What was measured for it.
    pub metrics: Vec<ReadingStatus>,
    /// Until then only a larger scale-out proceeds.
    pub out_cooldown: Option<Timestamp>,
    /// Until then nothing is taken away.
    pub in_cooldown: Option<Timestamp>,
    /// What the provider cannot do at present.
    pub fault: Option<FaultStatus>,
    /// The last decision that changed something.
    pub last_change: Option<ChangeStatus>,
    /// Evaluations since the start, by outcome.
    pub evaluations: Vec<OutcomeCount>,
    /// Of those, how many are missing in the file of `record`.
    #[serde(default)]
    pub unrecorded: u64,
}

/// A metric at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadingStatus {
    /// Its name, with the labels of a custom one.
    pub metric: String,
    /// In its unit; `None` if it is missing.
    pub value: Option<f64>,
    /// Why it is.
    pub missing: Option<String>,
}

/// A decision that changed something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// When.
    pub at: Timestamp,
    /// How many there should have been before.
    pub from: u32,
    /// And after.
    pub to: u32,
    /// Which policy wanted that, and how it got there.
    pub formula: String,
}

/// How often an outcome came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// `scale_out`, `scale_in` or `hold`.
    pub outcome: String,
    /// Why nothing happened; empty if something did.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// One decision, or several alike in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedDecision {
    /// When the first of them was.
    pub since: Timestamp,
    /// How many.
    pub count: u64,
    /// The last of them.
    pub decision: Decision,
}

/// What is asked of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    last: usize,
    minute: bool,
}

impl Query {
    /// Reads `last=N` and `minute=true`; says what is wrong with anything else.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut parsed = Self {
            last: LAST,
            minute: false,
        };
        let pairs = query.unwrap_or_default().split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("last", count)) => {
                    let wrong = |_| format!("last={count} is no number of decisions\n");
                    parsed.last = count.parse().map_err(wrong)?;
                }
                Some(("minute", "true")) => parsed.minute = true,
                Some(("minute", "false")) => parsed.minute = false,
                _ => {
                    return Err(format!(
                        "`{pair}` means nothing here; there are last=N and minute=true\n"
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

impl AutoscalingStatus {
    /// The picture of this moment.
    pub(super) fn of(context: &Context, query: Query) -> Self {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        let groups = snapshot.groups().iter().enumerate();
        let groups = groups.filter_map(|(index, group)| {
            let log = context.autoscaling.log(&group.id);
            let replicas = replicas.get(&group.id);
            let status = ScalingStatus::of(&snapshot, index, log.as_ref(), replicas)?;
            let latest = log.as_ref().map(|log| log.latest.opinions.clone());
            let minute = || log.iter().flat_map(Log::minute).cloned().collect();
            Some(GroupScaling {
                name: group.id.to_string(),
                status,
                policies: latest.unwrap_or_default(),
                forecast: log.iter().flat_map(forecast).collect(),
                last: log
                    .iter()
                    .flat_map(|log| log.last(query.last))
                    .map(logged)
                    .collect(),
                minute: query.minute.then(minute),
            })
        });
        Self {
            now: timestamp(SystemTime::now()),
            target_groups: groups.collect(),
        }
    }
}

fn forecast(log: &Log) -> impl Iterator<Item = ForecastStatus> {
    log.forecast.iter().map(|hour| ForecastStatus {
        at: hour.at,
        load: hour.load,
        replicas: hour.wants,
    })
}

fn logged(entry: &Entry) -> LoggedDecision {
    LoggedDecision {
        since: entry.since,
        count: entry.count,
        decision: (*entry.decision).clone(),
    }
}

impl ScalingStatus {
    /// How a group stands; `None` for one that does not scale.
    pub(super) fn of(
        snapshot: &Snapshot,
        index: usize,
        log: Option<&Log>,
        replicas: Option<&GroupReplicas>,
    ) -> Option<Self> {
        let config = &snapshot.config.target_groups[index];
        let policy = config.autoscaling.as_ref()?;
        let latest = log.map(|log| &*log.latest);
        let words = latest.map(|latest| latest.outcome.words());
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
            out_cooldown: latest.and_then(|latest| latest.out_cooldown),
            in_cooldown: latest.and_then(|latest| latest.in_cooldown),
            fault: FaultStatus::of(replicas),
            last_change: log.and_then(Log::last_change).map(change),
            evaluations: log.map(evaluations).unwrap_or_default(),
            unrecorded: log.map_or(0, |log| log.unrecorded),
        })
    }
}

fn readings(log: &Log) -> Vec<ReadingStatus> {
    let readings = log.readings.iter();
    let readings = readings.map(|(metric, reading)| {
        let (value, missing) = match reading {
            Reading::Value(value) => (Some(*value), None),
            Reading::Missing(why) => (None, Some(why.clone())),
        };
        ReadingStatus {
            metric: metric.clone(),
            value,
            missing,
        }
    });
    readings.collect()
}

/// One word for all policies.
fn alarm(latest: Option<&Decision>) -> &'static str {
    let Some(latest) = latest else {
        return AlarmState::InsufficientData.name();
    };
    let opinions = &latest.opinions;
    let some = |state| opinions.iter().any(|opinion| opinion.alarm == state);
    let state = if some(AlarmState::High) {
        AlarmState::High
    } else if some(AlarmState::InsufficientData) {
        AlarmState::InsufficientData
    } else if opinions.is_empty() || some(AlarmState::Ok) {
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

fn evaluations(log: &Log) -> Vec<OutcomeCount> {
    let counts = log.counts.iter();
    let counts = counts.map(|((outcome, reason), count)| OutcomeCount {
        outcome: (*outcome).to_owned(),
        reason: reason.map_or("", |reason| reason.name()).to_owned(),
        count: *count,
    });
    counts.collect()
}
