//! What is set for a target at run time, through the admin API, and what a list says of it.
//!
//! What is set at run time is kept over reloads and takes precedence over the file; a reload
//! reports where they contradict each other. It ends with its group, and with the process.

use std::time::Instant;

use crate::model::{DrainReason, Draining, Endpoint, Registration, TargetGroupId, TargetId};

/// A change of one target at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// It is to be in its group and active. Takes back whatever was set before.
    Register {
        /// The weight (0-999). `None` stands for the listed one, or 1 if no source lists it.
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
    /// The group does not exist.
    #[error("there is no target group `{0}`")]
    UnknownGroup(TargetGroupId),
    /// Only a target of a group can be changed.
    #[error("{} is not a target of {}", .0.addr, .0.group)]
    UnknownTarget(TargetId),
    /// A replica cannot be deregistered: it would go on running, and count.
    #[error(
        "{} is a replica of {}: the count of replicas decides how many there are, \
         and drain takes one out of service", .0.addr, .0.group
    )]
    Replica(TargetId),
    /// 10 000 targets have been changed, the most that are remembered.
    #[error("{MAX_CHANGED_TARGETS} targets have been changed at run time, more are not remembered")]
    TooMany,
    /// The publisher has ended.
    #[error("Weir is stopping")]
    Stopping,
}

/// Targets with something set at run time, over all groups: some hundred bytes each, and more
/// than any file lists.
pub(super) const MAX_CHANGED_TARGETS: usize = 10_000;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupMember {
    pub(super) addr: Endpoint,
    pub(super) weight: u16,
    pub(super) registration: Registration,
}

/// What is set for a target at run time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RuntimeSettings {
    pub(super) presence: Presence,
    weight: Option<u16>,
    drained: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// In the group while a source lists it.
    #[default]
    Listed,
    /// In the group, whether a source lists it or not.
    Registered,
    /// Not in the group.
    Deregistered,
}

/// An address that a source lists, and the weight it has there.
#[derive(Clone, Debug)]
pub(super) struct ListedTarget {
    pub(super) addr: Endpoint,
    pub(super) weight: u16,
    pub(super) by: ListedBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedBy {
    File,
    Discovery,
    Replicas,
}

impl RuntimeSettings {
    /// The settings after a change; `None` when nothing is left that differs from the list.
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

    /// The member at an address that is listed with this weight.
    pub(super) fn member(self, addr: Endpoint, listed_weight: u16) -> GroupMember {
        GroupMember {
            addr,
            weight: self.weight.unwrap_or(listed_weight),
            registration: match self.drained {
                None => Registration::Active,
                Some(since) => Registration::Draining(Draining {
                    reason: DrainReason::Requested,
                    since,
                    until: None,
                }),
            },
        }
    }

    /// Where these settings hold although the configuration says something else, in words.
    pub(super) fn contradiction(self, listed: Option<&ListedTarget>) -> Option<String> {
        match (self.presence, listed, self.weight) {
            (Presence::Deregistered, Some(listed), _) if listed.by != ListedBy::Replicas => {
                let source = match listed.by {
                    ListedBy::File => "the file lists it",
                    ListedBy::Discovery | ListedBy::Replicas => "the file leads to it",
                };
                Some(format!("deregistered at run time, stays out; {source}"))
            }
            (Presence::Registered, None, _) => {
                Some("registered at run time, stays; the file does not list it".to_owned())
            }
            (Presence::Listed | Presence::Registered, Some(listed), Some(weight))
                if listed.weight != weight && listed.by != ListedBy::Replicas =>
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
