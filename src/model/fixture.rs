//! Results of health checks, for tests.

use std::time::{Duration, Instant, SystemTime};

use super::{CheckFailure, CheckResult, HealthReason, Thresholds};

/// Each check decides alone.
pub(crate) const ONCE: Thresholds = Thresholds {
    healthy: 1,
    unhealthy: 1,
};

/// The result of a check that began at `began`: it passed, or got no response in time.
pub(crate) fn check_result(passed: bool, began: Instant) -> CheckResult {
    let timeout = CheckFailure {
        reason: HealthReason::Timeout,
        detail: String::new(),
    };
    CheckResult {
        at: SystemTime::UNIX_EPOCH,
        began,
        elapsed: Duration::ZERO,
        status: None,
        outcome: if passed { Ok(()) } else { Err(timeout) },
    }
}
