//! The maintenance of a group: its requests are answered by Weir, with 503 and a time to come back.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::call::Call;
use super::operation::Answer;
use super::problem::Kind;
use super::response::json;
use super::time::{seconds, timestamp};
use crate::model::{Maintenance, TargetGroupId};
use crate::observe::kind;

/// What clients are told if nothing else is asked for.
const DEFAULT_RETRY_AFTER: u64 = 60;

/// Longest time that clients can be told: a week.
const MAX_RETRY_AFTER: u64 = 7 * 24 * 3600;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// Whether the group is in maintenance.
    pub enabled: bool,
    /// After how many seconds clients may try again, 1 to 604800; 60 if it is not given.
    #[serde(default)]
    pub retry_after: Option<u64>,
}

/// The maintenance of a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MaintenanceStatus {
    /// When it began.
    pub since: Timestamp,
    /// After which time clients may try again, in seconds.
    #[serde(rename = "retry_after_seconds", with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub retry_after: Duration,
}

impl MaintenanceStatus {
    pub(super) fn of(maintenance: Maintenance) -> Self {
        Self {
            since: timestamp(maintenance.since),
            retry_after: maintenance.retry_after,
        }
    }
}

/// A group after its maintenance was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MaintenanceChanged {
    /// The group.
    pub target_group: String,
    /// Its maintenance; `None` without.
    pub maintenance: Option<MaintenanceStatus>,
    /// The change as one sentence.
    pub message: String,
}

pub(super) async fn set(call: Call) -> Answer {
    let asked: MaintenanceRequest = call.body("{\"enabled\": true, \"retry_after\": 60}")?;
    let seconds = asked.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
    if !(1..=MAX_RETRY_AFTER).contains(&seconds) {
        let detail = format!("`retry_after` is 1 to {MAX_RETRY_AFTER} seconds, not {seconds}");
        return Err(Kind::BadValue.because(detail));
    }
    let wanted = asked.enabled.then(|| Maintenance {
        since: SystemTime::now(),
        retry_after: Duration::from_secs(seconds),
    });
    change(&call, wanted).await
}

pub(super) async fn end(call: Call) -> Answer {
    change(&call, None).await
}

async fn change(call: &Call, wanted: Option<Maintenance>) -> Answer {
    let id = TargetGroupId::from(call.part("group"));
    let publisher = &call.context.publisher;
    let now = publisher.maintain(id.clone(), wanted).await?;
    let message = match now {
        Some(now) => format!(
            "{id} is in maintenance: its requests are answered with 503 and Retry-After: {}",
            now.retry_after.as_secs()
        ),
        None => format!("{id} is not in maintenance"),
    };
    info!(event = kind::ADMIN, peer = %call.peer, group = %id, "at run time: {message}");
    let changed = MaintenanceChanged {
        target_group: id.to_string(),
        maintenance: now.map(MaintenanceStatus::of),
        message,
    };
    Ok(json(StatusCode::OK, &changed))
}
