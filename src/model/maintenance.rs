//! The maintenance of a target group.

use std::time::{Duration, SystemTime};

/// That a group gets no requests for a while, because an operator says so. Clients are told when to
/// come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// When it began.
    pub since: SystemTime,
    /// After which time clients may try again.
    pub retry_after: Duration,
}
