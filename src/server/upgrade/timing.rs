//! The deadlines and intervals that both sides of an upgrade use.

use std::time::Duration;

/// Longest wait for one message, or for one to be written.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait between the handover of the sockets and the report that the new process
/// serves: its targets are checked first.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two reports of the requests in flight.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(100);
