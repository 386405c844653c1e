//! The read halves of the snapshot: one for the control plane, one for the data plane.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::snapshot::{CompiledListener, Snapshot};
use crate::model::{GroupIndex, SocketId, TargetGroupId};
use crate::target_group::TargetGroup;

/// What the control plane reads snapshots through: cheap to clone, cheaper to load.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) version: watch::Receiver<u64>,
}

impl Reader {
    /// The newest snapshot. Drop the guard before the first await: a snapshot that is held
    /// for long keeps removed targets alive.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The newest snapshot, to keep across awaits.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Waits for a snapshot that this reader has not waited for yet. Returns `false` if
    /// there will be no more.
    pub async fn changed(&mut self) -> bool {
        self.version.changed().await.is_ok()
    }

    /// The same snapshots for the data plane.
    pub fn data_plane(&self) -> DataPlaneReader {
        DataPlaneReader(self.clone())
    }
}

/// What the data plane reads snapshots through. It shows what requests and connections need
/// and no configuration: that stands, compiled, on listeners and groups.
#[derive(Clone, Debug)]
pub struct DataPlaneReader(Reader);

impl DataPlaneReader {
    /// The newest snapshot. Drop it before the first await: on an idle connection it would
    /// keep removed targets alive.
    pub fn load(&self) -> DataPlaneSnapshot {
        DataPlaneSnapshot(self.0.load())
    }

    /// See [`Reader::changed`].
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await
    }
}

/// A snapshot as the data plane sees it.
#[derive(Debug)]
pub struct DataPlaneSnapshot(Guard<Arc<Snapshot>>);

impl DataPlaneSnapshot {
    /// A snapshot that need not be the newest.
    pub fn of(snapshot: Arc<Snapshot>) -> Self {
        Self(Guard::from_inner(snapshot))
    }

    /// The first version that has these targets in these groups, and the same terms for them.
    pub fn targets_since(&self) -> u64 {
        self.0.targets_since
    }

    /// A group that a rule of this snapshot names.
    #[inline] // read for every request
    pub fn group(&self, index: GroupIndex) -> &Arc<TargetGroup> {
        &self.0.groups[index.0].compiled
    }

    /// A group by its name.
    pub fn group_named(&self, id: &TargetGroupId) -> Option<&TargetGroup> {
        Some(&self.0.group_named(id)?.compiled)
    }

    /// The listener that serves the connections of a socket; `None` once none does.
    #[inline] // read for every request
    pub fn serving(&self, socket: SocketId) -> Option<&Arc<CompiledListener>> {
        let slot = (*self.0.sockets.get(socket.0)?)?;
        self.0.listener(slot)
    }
}
