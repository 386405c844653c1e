//! What operators want of the replicas at run time.

use tokio::sync::{mpsc, watch};

use super::desired::DesiredCounts;
use super::provider::ReplicaId;
use crate::model::TargetGroupId;

/// Requests that may wait: they are handed on at once.
const QUEUE: usize = 64;

/// A replica that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Its group.
    pub group: TargetGroupId,
    /// Its number.
    pub replica: ReplicaId,
}

/// Changes what is wanted of the replicas. The default one leads nowhere.
#[derive(Clone, Debug)]
pub struct ReplicaControl {
    desired: watch::Sender<DesiredCounts>,
    restarts: mpsc::Sender<Restart>,
}

impl ReplicaControl {
    /// One that writes desired counts, and where its restarts lead to.
    pub fn new(desired: watch::Sender<DesiredCounts>) -> (Self, mpsc::Receiver<Restart>) {
        let (restarts, receiver) = mpsc::channel(QUEUE);
        (Self { desired, restarts }, receiver)
    }

    /// Wants another replica in place of one: it is started, and once it runs the one before drains
    /// and is stopped. Returns `false` if the request cannot be taken. One for a replica that is
    /// gone, or that an engine runs, changes nothing.
    pub fn restart(&self, group: TargetGroupId, replica: ReplicaId) -> bool {
        self.restarts.try_send(Restart { group, replica }).is_ok()
    }

    /// Wants so many replicas of a group: until the autoscaler decides on another number, or a
    /// reload where none does.
    pub fn set_desired(&self, group: TargetGroupId, count: u32) {
        self.desired.send_modify(|desired| {
            desired.entry(group).or_default().set(count);
        });
    }
}

impl Default for ReplicaControl {
    fn default() -> Self {
        Self::new(watch::Sender::new(DesiredCounts::new())).0
    }
}
