//! The admin API: liveness, readiness, metrics, status, and changes at run time.
//!
//! A client that reaches it by an address or as `localhost` may read the snapshot, the counters
//! and the phase. Changes need the token, and so does everything but a probe under any other host
//! name. Connections are kept alive; a limit bounds their number, and deadlines what each can do
//! to it: one beyond the limit replaces the oldest of the client with the most. All of it runs on
//! the control thread.
//!
//! One table, `routes`, has every operation: the router and the `OpenAPI` document are made from
//! it, so that neither has what the other does not. What is refused is a [`Problem`].

mod authorize;
mod autoscaling;
mod call;
mod connections;
mod context;
mod dashboard;
mod discovery_status;
mod event_stream;
mod events;
mod explain;
mod finding;
mod findings;
mod history;
mod history_status;
mod host;
mod logs;
mod maintenance;
mod metrics;
mod metrics_format;
mod operation;
mod pages;
pub mod paths;
mod points;
mod problem;
mod process;
mod process_changes;
mod replica_status;
mod replicas;
mod response;
mod router;
mod routes;
mod rule_status;
mod scaling_status;
mod serve;
mod stalling;
mod status;
mod status_feed;
mod status_stream;
mod target_status;
mod targets;
#[cfg(test)]
mod tests;
mod time;

pub use autoscaling::{AutoscalingStatus, ForecastStatus, GroupScaling, LoggedDecision};
pub use context::Context;
pub use discovery_status::DiscoveryStatus;
pub use events::EventList;
pub use finding::{Finding, Severity};
pub use history::History;
pub use history_status::{GroupHistory, HistoryStatus, LoadHistory, MetricHistory};
pub use logs::LineList;
pub use maintenance::{MaintenanceChanged, MaintenanceRequest, MaintenanceStatus};
pub use problem::Problem;
pub use process_changes::{LogLevel, ReloadAsked};
pub use replica_status::{ExitStatus, ReplicaStatus, StoppedReplicaStatus};
pub use replicas::{DesiredChanged, DesiredRequest, RestartAsked};
pub use rule_status::RuleStatus;
pub use scaling_status::{
    AlarmStatus, ChangeStatus, FaultStatus, OutcomeCount, ReadingStatus, ScalingStatus,
};
pub use serve::serve;
pub use status::{
    AcmeStatus, CertificateStatus, GroupList, GroupMinuteStatus, GroupStatus, ListenerList,
    ListenerStatus, ProcessStatus, ReloadStatus, RetryStatus, Status,
};
pub use target_status::{
    AnomalyStatus, CheckRequestStatus, CheckStatus, DrainingStatus, EjectedStatus, MinuteStatus,
    TargetStatus,
};
pub use targets::{TargetChanged, TargetPatch};
pub use time::{age, between};
