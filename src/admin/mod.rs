//! The admin listener: liveness, readiness, metrics, status, and changes of targets.
//!
//! A client that reaches it by an address or as `localhost` may read the snapshot, the counters
//! and the phase. Changes of targets need the token, and so does everything but a probe under any
//! other host name. One request per connection, so that one deadline bounds everything that a
//! client can do to it, and a limit of connections: one beyond it replaces the oldest. It runs on
//! the control thread.

mod authorize;
mod autoscaling;
mod connections;
mod context;
mod host;
mod metrics;
mod metrics_format;
mod pages;
pub mod paths;
mod process;
mod response;
mod scaling_status;
mod serve;
mod status;
mod target_status;
mod targets;
#[cfg(test)]
mod tests;
mod time;

pub use autoscaling::{AutoscalingStatus, ForecastStatus, GroupScaling, LoggedDecision};
pub use context::Context;
pub use scaling_status::{ChangeStatus, FaultStatus, OutcomeCount, ReadingStatus, ScalingStatus};
pub use serve::serve;
pub use status::{AcmeStatus, GroupStatus, ListenerStatus, ReplicaStatus, Status};
pub use target_status::{AnomalyStatus, CheckStatus, DrainingStatus, EjectedStatus, TargetStatus};
pub use targets::TargetChanged;
