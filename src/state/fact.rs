//! What was said about a target at run time, and what a list says of it.
//!
//! What was said at run time is kept over reloads and outweighs the file, which is told
//! when they contradict each other. It ends with its group, and with the process.

use std::net::SocketAddr;
use std::time::Instant;

use crate::model::{DrainReason, Draining, Registration, TargetGroupId, TargetId};

/// What is asked for one target at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// To be in its group and active, with this weight (0-999), or else the listed one, or
    /// else 1. Takes back whatever was asked before.
    Register {
        /// See there.
        weight: Option<u16>,
    },
    /// To leave its group, wherever it is listed.
    Deregister,
    /// To stay in its group and get nothing new, until it is registered again.
    Drain,
    /// To have this weight: 0-999.
    Weight(u16),
}

/// Why a target is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such group.
    #[error("there is no target group `{0}`")]
    UnknownGroup(TargetGroupId),
    /// Only what is in a group can be changed.
    #[error("{} is not a target of {}", .0.addr, .0.group)]
    UnknownTarget(TargetId),
    /// Its process would go on running, and count.
    #[error(
        "{} is a replica of {} that Weir runs: `replicas.count` says how many there are, \
         and drain takes one out of service", .0.addr, .0.group
    )]
    Replica(TargetId),
    /// Somebody registers without end.
    #[error("{MOST_FACTS} targets have been changed at run time, more are not remembered")]
    TooMany,
    /// The publisher has ended.
    #[error("Weir is stopping")]
    Stopping,
}

/// Targets with something said at run time: some hundred bytes each, and more than any
/// file lists.
pub(super) const MOST_FACTS: usize = 10_000;

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) addr: SocketAddr,
    pub(super) weight: u16,
    pub(super) registration: Registration,
}

/// What was said about a target at run time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fact {
    pub(super) presence: Presence,
    weight: Option<u16>,
    drained: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// In the group while a source lists it.
    #[default]
    Listed,
    /// In the group, whoever lists it.
    Registered,
    /// Not in the group.
    Deregistered,
}

/// An address that a source lists, and the weight it has there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) addr: SocketAddr,
    pub(super) weight: u16,
    pub(super) by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    File,
    Discovery,
    Replicas,
}

impl Fact {
    /// What is known after a change; `None` when nothing is left to be said.
    pub(super) fn changed(
        self,
        change: TargetChange,
        is_listed: bool,
        now: Instant,
    ) -> Option<Self> {
        match change {
            TargetChange::Register { weight: None } if is_listed => None,
            TargetChange::Register { weight } => Some(Self {
                presence: if is_listed {
                    Presence::Listed
                } else {
                    Presence::Registered
                },
                weight,
                drained: None,
            }),
            TargetChange::Deregister => is_listed.then_some(Self {
                presence: Presence::Deregistered,
                ..Self::default()
            }),
            TargetChange::Drain => Some(Self {
                drained: self.drained.or(Some(now)),
                ..self
            }),
            TargetChange::Weight(weight) => Some(Self {
                weight: Some(weight),
                ..self
            }),
        }
    }

    pub(super) fn entry(self, addr: SocketAddr, listed: u16) -> Entry {
        let draining = |since| {
            Registration::Draining(Draining {
                reason: DrainReason::Requested,
                since,
                until: None,
            })
        };
        Entry {
            addr,
            weight: self.weight.unwrap_or(listed),
            registration: self.drained.map_or(Registration::Active, draining),
        }
    }

    pub(super) fn contradiction(self, listed: Option<&Listed>) -> Option<String> {
        let said_by = |listed: &Listed| match listed.by {
            By::File => "the file lists it",
            By::Discovery | By::Replicas => "the file leads to it",
        };
        match (self.presence, listed, self.weight) {
            (Presence::Deregistered, Some(listed), _) if listed.by != By::Replicas => Some(
                format!("deregistered at run time, stays out; {}", said_by(listed)),
            ),
            (Presence::Registered, None, _) => {
                Some("registered at run time, stays; the file does not list it".to_owned())
            }
            (Presence::Listed | Presence::Registered, Some(listed), Some(weight))
                if listed.weight != weight && listed.by != By::Replicas =>
            {
                Some(format!(
                    "weight {weight} set at run time stays, the file says {}",
                    listed.weight
                ))
            }
            (Presence::Listed | Presence::Registered | Presence::Deregistered, _, _) => None,
        }
    }
}
