//! The messages to the publisher: everything that leads to another snapshot.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::diff::Diff;
use super::runtime_settings::{Refusal, TargetChange};
use crate::config::Config;
use crate::model::{Endpoint, ListenerId, Maintenance, SocketId, TargetGroupId, TargetId};
use crate::target_group::Registered;

/// Something that changes the snapshot.
#[allow(clippy::large_enum_variant, reason = "few changes wait at a time")]
#[derive(Debug)]
pub enum Change {
    /// Another configuration.
    Configure {
        /// The configuration, checked.
        config: Config,
        /// Which of its listeners serves which sockets.
        sockets: Vec<(SocketId, ListenerId)>,
        /// Receives what has changed, once the new snapshot is visible to every worker.
        done: oneshot::Sender<Diff>,
    },
    /// All members of a group that come from one source; replaces the earlier list.
    Members {
        /// The group.
        group: TargetGroupId,
        /// The source.
        source: Source,
        /// Addresses and weights.
        members: Vec<(Endpoint, u16)>,
    },
    /// A change of one target at run time, through the admin API.
    Target {
        /// The target.
        target: TargetId,
        /// The change.
        change: TargetChange,
        /// Receives the result; see [`super::Publisher::change_target`].
        done: oneshot::Sender<Result<Option<Registered>, Refusal>>,
    },
    /// A group goes into maintenance, or comes out of it.
    Maintenance {
        /// The group.
        group: TargetGroupId,
        /// Its maintenance; `None` ends it.
        maintenance: Option<Maintenance>,
        /// Receives the maintenance that is in force then.
        done: oneshot::Sender<Result<Option<Maintenance>, Refusal>>,
    },
    /// The health of a target changed; its record says to what.
    Health {
        /// The target.
        target: TargetId,
    },
}

/// Where members that are not in the file come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Processes or containers that Weir runs.
    Replicas,
    /// The addresses behind a DNS name, with the port they are asked on.
    Dns(String, u16),
    /// What the DNS service records of a name lead to.
    Srv(String),
    /// A file.
    File(PathBuf),
}
