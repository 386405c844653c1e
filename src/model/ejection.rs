//! Ejections of a target because of the requests it failed (outlier detection).

use std::time::{Instant, SystemTime};

/// Why a target was ejected although its checks pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EjectionReason {
    /// Requests in a row failed in any way.
    ConsecutiveErrors,
    /// Requests in a row failed at the gateway.
    ConsecutiveGatewayErrors,
    /// A larger part of its requests failed than of its peers'.
    ErrorRatio,
}

impl EjectionReason {
    /// Each once, in the order of [`EjectionCounts`].
    pub const ALL: [Self; 3] = [
        Self::ConsecutiveErrors,
        Self::ConsecutiveGatewayErrors,
        Self::ErrorRatio,
    ];

    /// The name in `/api/v1/status` and metrics, which is that of the key that enables it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsecutiveErrors => "consecutive_errors",
            Self::ConsecutiveGatewayErrors => "consecutive_gateway_errors",
            Self::ErrorRatio => "error_ratio",
        }
    }
}

/// One ejection of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The class of the reason.
    pub reason: EjectionReason,
    /// For people, with numbers: `5 gateway errors in a row`.
    pub detail: String,
    /// When it began, by the monotonic clock; to be compared with checks.
    pub began: Instant,
    /// When it began, by the wall clock; to be shown.
    pub since: SystemTime,
    /// When it ends, unless a check ends it sooner; to be shown.
    pub until: SystemTime,
    /// How many ejections count, with this one; one less for each interval without one.
    pub times: u32,
}

/// How often a target was ejected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EjectionCounts([u64; EjectionReason::ALL.len()]);

impl EjectionCounts {
    /// Counts an ejection.
    pub fn count(&mut self, reason: EjectionReason) {
        self.0[reason as usize] += 1;
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (EjectionReason, u64)> {
        EjectionReason::ALL.into_iter().zip(self.0)
    }
}
