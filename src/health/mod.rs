//! Health checks, active and passive: which target is asked when and what its answers
//! mean, and what the requests it fails mean.
//!
//! [`run`] keeps one probe loop per checked target of the current snapshot. A loop
//! asks over a fresh connection, writes the result into the target's record and
//! reports a change of health, which the publisher turns into another roster. The
//! semantics are those of AWS's Application Load Balancer: intervals count from
//! start to start, the first check comes at registration and one pass is then enough.
//!
//! Beside them [`watch`] looks at what the data plane has counted. It ejects targets that
//! do worse than their peers ([`passive`]; Envoy's outlier detection) and shifts shares of
//! traffic ([`anomaly`]; ALB's automatic target weights).
//!
//! Whether failing checks are believed (fail open) is decided in `target_group`.

pub mod anomaly;
#[cfg(test)]
mod fixture;
mod http_probe;
pub mod passive;
mod prober;
mod probing;
mod schedule;
mod supervisor;
mod tally;
mod tcp_probe;
mod watcher;

use crate::state::{Publisher, Reader};

use prober::NetworkProber;
use supervisor::Supervisor;
use watcher::Watcher;

pub use tally::Tally;

/// Checks the targets of every snapshot until the publisher ends. Dropping the future
/// stops all checks.
pub async fn run(reader: Reader, publisher: Publisher) {
    Supervisor::new(NetworkProber, publisher).run(reader).await;
}

/// Watches what requests make of the targets of every snapshot until the publisher ends.
pub async fn watch(reader: Reader, publisher: Publisher) {
    Watcher::new(publisher).run(reader).await;
}
