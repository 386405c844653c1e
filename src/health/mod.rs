//! Active health checks: which target is asked when, and what its answers mean.
//!
//! [`run`] keeps one probe loop per checked target of the current snapshot. A loop
//! asks over a fresh connection, writes the result into the target's record and
//! reports a change of health, which the publisher turns into another roster. The
//! semantics are those of AWS's Application Load Balancer: intervals count from
//! start to start, the first check comes at registration and one pass is then enough.
//!
//! Whether failing checks are believed (fail open) is decided in `target_group`.

#[cfg(test)]
mod fixture;
mod http_probe;
mod prober;
mod probing;
mod schedule;
mod supervisor;
mod tcp_probe;

use crate::state::{Publisher, Reader};

use prober::NetworkProber;
use supervisor::Supervisor;

/// Checks the targets of every snapshot until the publisher ends. Dropping the future
/// stops all checks.
pub async fn run(reader: Reader, publisher: Publisher) {
    Supervisor::new(NetworkProber, publisher).run(reader).await;
}
