//! The desired state of a target: active or draining.

use std::time::Instant;

/// Whether a target is to get requests, by the file, the admin API or the reconciler. Independent
/// of [`Health`](super::Health): a healthy target can drain and a draining one can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Registration {
    /// May be picked.
    Active,
    /// Finishes its requests and gets no new ones, except perhaps those of its own sessions.
    Draining(Draining),
}

/// How a target drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draining {
    /// The reason.
    pub reason: DrainReason,
    /// When it began.
    pub since: Instant,
    /// When its last requests are cut off; `None` sets no limit.
    pub until: Option<Instant>,
}

/// Why a target drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DrainReason {
    /// It has left its group.
    Deregistered,
    /// It is in its group, and has been taken out of service at run time.
    Requested,
}

impl DrainReason {
    /// ALB's reason code (`TargetHealth.Reason`), or one in its style where ALB has none.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Deregistered => "Target.DeregistrationInProgress",
            Self::Requested => "Target.DrainRequested",
        }
    }
}

impl Registration {
    /// The name in `/api/v1/status`, in metrics and in responses of the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining(_) => "draining",
        }
    }

    /// Whether it may be picked.
    pub fn is_active(self) -> bool {
        self == Self::Active
    }

    /// Whether it has left its group and only finishes its requests.
    pub fn is_leaving(self) -> bool {
        matches!(self, Self::Draining(draining) if draining.reason == DrainReason::Deregistered)
    }
}
