//! `/api/v1/autoscaling`: how many replicas each group should have, and why.
//!
//! The numbers are those of the last evaluation; each group's last [`Decision`]s follow, newest
//! first.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::scaling_status::ScalingStatus;
use super::time::timestamp;
use crate::autoscale::{Decision, GroupJournal, JournalEntry, PolicyResult};

/// Decisions of each group that are shown without `last=N`.
const DEFAULT_LAST: usize = 10;

/// All groups that scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AutoscalingStatus {
    /// When this was written.
    pub now: Timestamp,
    /// In the order of the file.
    pub target_groups: Vec<GroupScaling>,
}

/// One group with its decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupScaling {
    /// The target group.
    pub name: String,
    /// Its state.
    #[serde(flatten)]
    pub status: ScalingStatus,
    /// The result of each policy at the last evaluation, in the order of the file.
    pub policies: Vec<PolicyResult>,
    /// What the predictive policy expects, hour by hour; empty without one, and until it has data
    /// of a day.
    pub forecast: Vec<ForecastStatus>,
    /// The last decisions, newest first; equal holds in a row are one of them.
    pub last: Vec<LoggedDecision>,
    /// Every evaluation of the last minute, oldest first, with `minute=true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minute: Option<Vec<Decision>>,
}

/// The forecast of one hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForecastStatus {
    /// When it begins.
    pub at: Timestamp,
    /// The highest expected product of the metric and the replicas.
    pub load: f64,
    /// The replicas that this load needs, without regard to the bounds.
    pub replicas: u32,
}

/// One decision, or several equal ones in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoggedDecision {
    /// The time of the first of them.
    pub since: Timestamp,
    /// Their number.
    pub count: u64,
    /// The last of them.
    pub decision: Decision,
}

/// The query of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    last: usize,
    minute: bool,
}

impl Query {
    /// Asks for so many decisions, and whether for all of the last minute.
    pub(super) fn new(last: Option<usize>, minute: bool) -> Self {
        Self {
            last: last.unwrap_or(DEFAULT_LAST),
            minute,
        }
    }
}

impl AutoscalingStatus {
    /// The state at this moment.
    pub(super) fn of(context: &Context, query: Query) -> Self {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        let groups = snapshot.groups().iter().filter_map(|group| {
            let log = context.autoscaling.group(&group.id);
            let replicas = replicas.get(&group.id);
            let status = ScalingStatus::of(group, log.as_ref(), replicas)?;
            let latest = log.as_ref().map(|log| log.latest.results.clone());
            let minute = || log.iter().flat_map(GroupJournal::minute).cloned().collect();
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

fn forecast(log: &GroupJournal) -> impl Iterator<Item = ForecastStatus> {
    log.forecast.iter().map(|hour| ForecastStatus {
        at: hour.at,
        load: hour.load,
        replicas: hour.wants,
    })
}

fn logged(entry: &JournalEntry) -> LoggedDecision {
    LoggedDecision {
        since: entry.since,
        count: entry.count,
        decision: (*entry.decision).clone(),
    }
}
