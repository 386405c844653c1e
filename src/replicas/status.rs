//! What is shown of the replicas: to the autoscaler, the admin listener and the process that
//! takes over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::provider::{Replica, ReplicaId, Usage};
use super::stopped::StopHistory;
use crate::model::TargetGroupId;

/// The replicas of all groups that have some. Written by the group's reconciler alone.
pub type Status = BTreeMap<TargetGroupId, GroupReplicas>;

/// The replicas of one group, as their provider reported them last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReplicas {
    /// How many there should be, as the provider has it.
    pub desired: u32,
    /// Those that exist.
    pub replicas: Vec<Replica>,
    /// What each used when that was last measured. Empty when no policy goes by it or the
    /// provider cannot tell; a replica that is missing could not be measured.
    pub usage: BTreeMap<ReplicaId, Usage>,
    /// When `usage` was measured.
    pub measured: Option<Instant>,
    /// What the provider cannot do at present.
    pub fault: Option<Fault>,
    /// Whether this Weir decides how many there are.
    pub is_scaler: bool,
    /// Whether Weir runs them itself, and not an engine.
    pub is_own: bool,
    /// Those that have stopped.
    pub stopped: Arc<StopHistory>,
}

/// Why a provider does not do what it should. It is asked again, less and less often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For people.
    pub message: String,
    /// When the first failure was that no success has followed.
    pub since: SystemTime,
}
