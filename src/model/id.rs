//! Names of listeners, groups and targets, and their positions in a snapshot.

use std::fmt;
use std::sync::Arc;

use super::Endpoint;

/// The name of a listener, unique in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub Arc<str>);

/// The name of a target group, unique in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetGroupId(pub Arc<str>);

/// A target is one address *in one group*: the same address registered with two
/// groups is two targets, each with its own health checks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId {
    /// The group the target is registered with.
    pub group: TargetGroupId,
    /// Its address.
    pub addr: Endpoint,
}

/// Position of a group in the snapshot a rule came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupIndex(pub usize);

/// The listening sockets of one address, one or more for each worker. A reload may give them
/// to another listener, with every connection they have accepted; the snapshot knows which
/// listener they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub usize);

/// Position of a listener in every snapshot. A listener keeps its slot for as
/// long as it exists, so a connection finds its current rules without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerSlot(pub usize);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TargetGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.addr)
    }
}

impl From<&str> for ListenerId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&str> for TargetGroupId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}
