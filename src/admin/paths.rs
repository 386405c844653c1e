//! The paths of the admin listener.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The dashboard.
pub const DASHBOARD: &str = "/";
/// What its page loads.
pub(super) const DASHBOARD_FILE: &str = "/dashboard/{file}";
/// Answers 200 while the process runs.
pub const LIVE: &str = "/livez";
/// Answers 200 while requests are wanted.
pub const READY: &str = "/readyz";
/// For Prometheus.
pub const METRICS: &str = "/metrics";
/// [`Status`](super::Status) as JSON, or a stream of it.
pub const STATUS: &str = "/api/v1/status";
/// [`HistoryStatus`](super::HistoryStatus) as JSON.
pub const HISTORY: &str = "/api/v1/history";
/// The listeners of [`Status`](super::Status).
pub const LISTENERS: &str = "/api/v1/listeners";
/// One of them.
pub(super) const LISTENER: &str = "/api/v1/listeners/{listener}";
/// The target groups of [`Status`](super::Status).
pub const GROUPS: &str = "/api/v1/groups";
/// One of them.
pub(super) const GROUP: &str = "/api/v1/groups/{group}";
/// Its maintenance.
pub(super) const MAINTENANCE: &str = "/api/v1/groups/{group}/maintenance";
/// How many replicas it should have.
pub(super) const DESIRED: &str = "/api/v1/groups/{group}/desired";
/// Replaces one of its replicas.
pub(super) const RESTART: &str = "/api/v1/groups/{group}/replicas/{replica}/restart";
/// One target of a group.
pub(super) const TARGET: &str = "/api/v1/groups/{group}/targets/{address}";
/// Takes a target out of service.
pub(super) const DRAIN: &str = "/api/v1/groups/{group}/targets/{address}/drain";
/// [`LineList`](super::LineList) as JSON, or a stream of lines.
pub(super) const LOGS: &str = "/api/v1/groups/{group}/logs";
/// [`AutoscalingStatus`](super::AutoscalingStatus) as JSON; `?last=N` decisions of each group,
/// and with `?minute=true` every evaluation of the last minute.
pub const AUTOSCALING: &str = "/api/v1/autoscaling";
/// [`EventList`](super::EventList) as JSON, or a stream of events.
pub const EVENTS: &str = "/api/v1/events";
/// [`Question`](crate::explain::Question) for an [`Explanation`](crate::explain::Explanation).
pub const EXPLAIN: &str = "/api/v1/explain";
/// Reads the configuration again.
pub const RELOAD: &str = "/api/v1/reload";
/// [`LogLevel`](super::LogLevel), which may be changed.
pub const LOG_LEVEL: &str = "/api/v1/log-level";
/// This API as an `OpenAPI` document.
pub const OPENAPI: &str = "/api/v1/openapi.json";

/// Paths of earlier versions, and where they are now. What follows a path is kept.
pub(super) const MOVED: [(&str, &str); 3] = [
    ("/api/status", STATUS),
    ("/api/autoscaling", AUTOSCALING),
    ("/api/target-groups/", "/api/v1/groups/"),
];

/// One target, for GET, PUT, PATCH and DELETE.
pub fn target(group: &str, address: &str) -> String {
    let address = encoded(address);
    format!("{}/targets/{address}", self::group(group))
}

/// What the replicas of a group print.
pub fn logs(group: &str) -> String {
    format!("{}/logs", self::group(group))
}

/// One group.
pub fn group(name: &str) -> String {
    format!("{GROUPS}/{}", encoded(name))
}

fn encoded(part: &str) -> impl std::fmt::Display {
    utf8_percent_encode(part, NON_ALPHANUMERIC)
}
