//! The health of targets: active checks, outlier detection and automatic weights.
//!
//! [`run`] keeps one probe loop per checked target of the current snapshot. A loop sends its
//! checks over fresh connections, writes each result into the target's record and reports a
//! change of health, which the publisher turns into another roster. The semantics are those of
//! AWS's Application Load Balancer: intervals count from start to start, the first check comes at
//! registration and one pass is then enough.
//!
//! Beside it [`monitor`] evaluates what the data plane has counted. It ejects targets that do
//! worse than their peers ([`outlier`]; Envoy's outlier detection) and shifts shares of traffic
//! ([`anomaly`]; ALB's automatic target weights).
//!
//! Whether requests go to targets that fail their checks (fail open) is decided in
//! `target_group`.

pub mod anomaly;
#[cfg(test)]
mod fixture;
mod grpc_probe;
mod http_probe;
mod monitor;
pub mod outlier;
mod probe_loop;
mod prober;
mod progress;
mod schedule;
mod supervisor;
mod tally;
mod tcp_probe;

use crate::state::{Publisher, Reader};

use monitor::Monitor;
use prober::NetworkProber;
use supervisor::Supervisor;

pub use tally::Tally;

/// Checks the targets of every snapshot until the publisher ends. Dropping the future
/// stops all checks.
pub async fn run(reader: Reader, publisher: Publisher) {
    Supervisor::new(NetworkProber, publisher).run(reader).await;
}

/// Evaluates the requests on the targets of every snapshot until the publisher ends. Dropping
/// the future stops all evaluation.
pub async fn monitor(reader: Reader, publisher: Publisher) {
    Monitor::new(publisher).run(reader).await;
}
