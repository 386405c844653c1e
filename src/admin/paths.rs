//! The paths of the admin listener.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Answers 200 while the process runs.
pub const LIVE: &str = "/livez";
/// Answers 200 while requests are wanted.
pub const READY: &str = "/readyz";
/// For Prometheus.
pub const METRICS: &str = "/metrics";
/// [`Status`](super::Status) as JSON.
pub const STATUS: &str = "/api/status";
/// [`AutoscalingStatus`](super::AutoscalingStatus) as JSON; `?last=N` decisions of each group,
/// and with `?minute=true` every evaluation of the last minute.
pub const AUTOSCALING: &str = "/api/autoscaling";
/// Every path which changes a target begins with this.
pub(super) const TARGET_GROUPS: &str = "/api/target-groups/";

/// One target, for PUT, PATCH and DELETE.
pub fn target(group: &str, address: &str) -> String {
    let [group, address] = [group, address].map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC));
    format!("{TARGET_GROUPS}{group}/targets/{address}")
}
