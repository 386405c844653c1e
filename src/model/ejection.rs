//! What requests say about a target, beside what its checks say.

use std::time::{Instant, SystemTime};

/// Why a target was taken out although its checks pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EjectionReason {
    /// Requests in a row failed in any way.
    ConsecutiveErrors,
    /// Requests in a row failed at the gateway.
    ConsecutiveGatewayErrors,
    /// More of its requests failed than of its peers'.
    ErrorRatio,
}

impl EjectionReason {
    /// Each once, in the order of [`EjectionCounts`].
    pub const ALL: [Self; 3] = [
        Self::ConsecutiveErrors,
        Self::ConsecutiveGatewayErrors,
        Self::ErrorRatio,
    ];

    /// The word in `/api/status` and metrics: the key that switches it on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsecutiveErrors => "consecutive_errors",
            Self::ConsecutiveGatewayErrors => "consecutive_gateway_errors",
            Self::ErrorRatio => "error_ratio",
        }
    }
}

/// A target that is out for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// The class of the reason.
    pub reason: EjectionReason,
    /// For people, with numbers: `5 gateway errors in a row`.
    pub detail: String,
    /// When it was taken out, to be compared with checks.
    pub began: Instant,
    /// When it was taken out, to be shown: the wall clock may be set.
    pub since: SystemTime,
    /// When it comes back, unless a check brings it back sooner; to be shown.
    pub until: SystemTime,
    /// The how-manieth time; what went well since is taken off.
    pub times: u32,
}

/// How often a target was ejected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EjectionCounts([u64; EjectionReason::ALL.len()]);

impl EjectionCounts {
    /// One more.
    pub fn count(&mut self, reason: EjectionReason) {
        self.0[reason as usize] += 1;
    }

    /// Each reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (EjectionReason, u64)> {
        EjectionReason::ALL.into_iter().zip(self.0)
    }
}
