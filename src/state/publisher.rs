//! The one writer of the snapshots: receives changes, has them applied, keeps time.
//!
//! The [`Builder`] decides what is built and published. Heavy work goes to another thread,
//! and the builder with it, so that changes stay in order; the control thread goes on with
//! its checks and timers. Tables of large `consistent_hash` groups are built apart: their
//! group is published at once, with the keys of its last table.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::error;

use super::builder::Builder;
use super::change::Change;
use super::diff::Diff;
use super::draining::DRAIN_CHECK_INTERVAL;
use super::off_thread::off_thread;
use super::reader::Reader;
use super::runtime_settings::{Refusal, TargetChange};
use super::snapshot::Snapshot;
use super::work::Work;
use crate::balance::{KeyTable, Roster};
use crate::config::Config;
use crate::model::{ListenerId, Maintenance, SocketId, TargetGroupId, TargetId};
use crate::target_group::Registered;

/// Write half of the snapshot: sends changes to the one task that applies them.
#[derive(Clone, Debug)]
pub struct Publisher {
    changes: mpsc::Sender<Change>,
}

/// Changes that may wait; a sender beyond that waits itself. Enough for all checks that end
/// while a large group is built.
const QUEUE: usize = 4096;

/// Most targets and rules that are gone through on the control thread: a few milliseconds of
/// work.
const HEAVY_COST: usize = 2000;

/// After heavy work the publisher pauses for as long as that took, but not longer than this:
/// a target that fails must leave its group.
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// Tables that are built and published together: about 50 ms of work for groups of a hundred.
const TABLES_AT_ONCE: usize = 16;

impl Publisher {
    /// A publisher, the task that serves it, and the read half. The task ends when
    /// the last publisher is dropped. `seed` decides where rotations start.
    pub fn new(seed: u64) -> (Self, PublisherTask, Reader) {
        let (changes, receiver) = mpsc::channel(QUEUE);
        let (version, watcher) = watch::channel(0);
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
        let task = PublisherTask {
            changes: receiver,
            builder: Builder::new(current.clone(), version, seed),
        };
        let reader = Reader {
            current,
            version: watcher,
        };
        (Self { changes }, task, reader)
    }

    /// Sends a change. Returns `false` if the publisher has ended.
    pub async fn send(&self, change: Change) -> bool {
        self.changes.send(change).await.is_ok()
    }

    /// Applies a configuration and waits until it is visible. Returns `None` if the publisher
    /// has ended.
    pub async fn configure(&self, config: Config) -> Option<Diff> {
        self.configure_on(config, Vec::new()).await
    }

    /// The same, and in the same step gives sockets to the listeners that are to serve them.
    pub async fn configure_on(
        &self,
        config: Config,
        sockets: Vec<(SocketId, ListenerId)>,
    ) -> Option<Diff> {
        let (done, applied) = oneshot::channel();
        self.send(Change::Configure {
            config,
            sockets,
            done,
        })
        .await;
        applied.await.ok()
    }

    /// Puts a group into maintenance, or with `None` ends that, and waits until it is visible.
    /// Returns what is in force. Reloads keep it while they keep the group.
    pub async fn maintain(
        &self,
        group: TargetGroupId,
        maintenance: Option<Maintenance>,
    ) -> Result<Option<Maintenance>, Refusal> {
        let (done, applied) = oneshot::channel();
        self.send(Change::Maintenance {
            group,
            maintenance,
            done,
        })
        .await;
        applied.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Changes a target at run time and waits until that is visible. Returns the target as its
    /// group has it then, or `None` if it has left the group. Reloads keep the change.
    pub async fn change_target(
        &self,
        target: TargetId,
        change: TargetChange,
    ) -> Result<Option<Registered>, Refusal> {
        let (done, applied) = oneshot::channel();
        self.send(Change::Target {
            target,
            change,
            done,
        })
        .await;
        applied.await.unwrap_or(Err(Refusal::Stopping))
    }
}

/// The task behind a [`Publisher`].
#[derive(Debug)]
pub struct PublisherTask {
    changes: mpsc::Receiver<Change>,
    builder: Builder,
}

impl PublisherTask {
    /// Applies changes in order until the last publisher is gone. Those that wait together
    /// are published together: when a thousand targets pass their first check at once, their
    /// group is built once.
    pub async fn run(self) {
        let Self {
            mut changes,
            mut builder,
        } = self;
        let mut waiting = Vec::new();
        // `None` while no target drains.
        let mut next_drain_check = None;
        let mut tables: Option<oneshot::Receiver<Vec<(TargetGroupId, KeyTable)>>> = None;
        loop {
            // Every arm is cancel-safe: each either waits or took what it waited for.
            let work = tokio::select! {
                count = changes.recv_many(&mut waiting, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                    Work::Changes(std::mem::take(&mut waiting))
                }
                () = until(next_drain_check) => {
                    next_drain_check = None;
                    Work::Drained(builder.release_drained(Instant::now().into_std()))
                }
                built = finished(&mut tables) => {
                    tables = None;
                    Work::Tables(built)
                }
            };
            let Some(next) = apply(builder, work).await else {
                error!("a change panicked: the last snapshot stays, no further change is applied");
                return;
            };
            builder = next;
            if next_drain_check.is_none() && builder.is_draining() {
                next_drain_check = Some(Instant::now() + DRAIN_CHECK_INTERVAL);
            }
            if tables.is_none() {
                tables = start_tables(&mut builder);
            }
        }
    }
}

/// Applies some work, on another thread if it is heavy. Returns `None` if that panicked.
async fn apply(mut builder: Builder, work: Work) -> Option<Builder> {
    let begun = Instant::now();
    let now = begun.into_std();
    if work.cost(&builder.current()) < HEAVY_COST {
        builder.apply(work, now);
        return Some(builder);
    }
    let applied = off_thread(move || {
        builder.apply(work, now);
        builder
    });
    let builder = applied.await.ok();
    // Changes that come one by one would otherwise build a large group again and again.
    sleep(begun.elapsed().min(MAX_PAUSE)).await;
    builder
}

/// Starts to build some of the tables that are wanted, if any are.
fn start_tables(
    builder: &mut Builder,
) -> Option<oneshot::Receiver<Vec<(TargetGroupId, KeyTable)>>> {
    let wanted = builder.take_wanted_tables(TABLES_AT_ONCE);
    let build = |(id, roster): (TargetGroupId, Arc<Roster>)| (id, KeyTable::new(&roster));
    (!wanted.is_empty()).then(|| off_thread(move || wanted.into_iter().map(build).collect()))
}

/// The tables that are being built; never, while none are.
async fn finished(
    tables: &mut Option<oneshot::Receiver<Vec<(TargetGroupId, KeyTable)>>>,
) -> Vec<(TargetGroupId, KeyTable)> {
    match tables {
        Some(tables) => tables.await.unwrap_or_else(|_| {
            error!("tables of consistent_hash groups were not built: their keys stay as they were");
            Vec::new()
        }),
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
