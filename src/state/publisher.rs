//! The one writer of the picture.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::compile::{Members, compile, compile_group};
use super::diff::Diff;
use super::registry::Registry;
use super::snapshot::{Reader, Snapshot};
use crate::config::{Config, TargetAddress};
use crate::model::{Health, TargetGroupId, TargetId};
use crate::target_group::{Registered, TargetGroup};

/// Something that changes the picture.
#[derive(Debug)]
pub enum Change {
    /// Another configuration. Answers with what became of it.
    Configure {
        /// A checked one.
        config: Config,
        /// Told once the new picture is visible to every worker.
        done: oneshot::Sender<Diff>,
    },
    /// All members of a group that come from one source; replaces the earlier list.
    Members {
        /// Whose members.
        group: TargetGroupId,
        /// Who says so.
        source: Source,
        /// Addresses and weights.
        members: Vec<(std::net::SocketAddr, u16)>,
    },
    /// The health of a target changed; its record says to what.
    Health {
        /// Which target.
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
}

/// Write half of the picture: sends changes to the one task that applies them.
#[derive(Clone, Debug)]
pub struct Publisher {
    changes: mpsc::Sender<Change>,
}

/// Changes that may wait; a sender beyond that waits itself.
const QUEUE: usize = 256;

impl Publisher {
    /// A publisher, the task that serves it, and the read half. The task ends when
    /// the last publisher is dropped. `seed` decides where rotations start.
    pub fn new(seed: u64) -> (Self, PublisherTask, Reader) {
        let (changes, receiver) = mpsc::channel(QUEUE);
        let (version, watcher) = watch::channel(0);
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
        let task = PublisherTask {
            changes: receiver,
            current: current.clone(),
            version,
            registry: Registry::default(),
            members: Members::default(),
            distrusted: BTreeSet::new(),
            seed,
        };
        let reader = Reader {
            current,
            version: watcher,
        };
        (Self { changes }, task, reader)
    }

    /// Hands in a change. `false` when the publisher has ended.
    pub async fn send(&self, change: Change) -> bool {
        self.changes.send(change).await.is_ok()
    }

    /// Applies a configuration and waits until it is visible.
    pub async fn configure(&self, config: Config) -> Option<Diff> {
        let (done, outcome) = oneshot::channel();
        self.send(Change::Configure { config, done }).await;
        outcome.await.ok()
    }
}

/// The task behind a [`Publisher`].
#[derive(Debug)]
pub struct PublisherTask {
    changes: mpsc::Receiver<Change>,
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<u64>,
    registry: Registry,
    members: Members,
    /// Groups of which it was said that their checks are not believed.
    distrusted: BTreeSet<TargetGroupId>,
    seed: u64,
}

impl PublisherTask {
    /// Applies changes in order until the last publisher is gone.
    ///
    /// Health changes that wait together are published together: when a thousand targets
    /// pass their first check at once, their group is rebuilt once.
    pub async fn run(mut self) {
        let mut changes = Vec::with_capacity(QUEUE);
        while self.changes.recv_many(&mut changes, QUEUE).await > 0 {
            let mut flipped = BTreeSet::new();
            for change in changes.drain(..) {
                self.apply(change, &mut flipped);
            }
            self.refresh(&flipped);
        }
    }

    /// Applies a change, or notes the group that has to be refreshed for it.
    fn apply(&mut self, change: Change, flipped: &mut BTreeSet<TargetGroupId>) {
        match change {
            Change::Configure { config, done } => {
                let diff = self.configure(config);
                // The one who asked may have given up; the change stands.
                let _ = done.send(diff);
            }
            Change::Members {
                group,
                source,
                members,
            } => {
                let config = Arc::clone(&self.current.load().config);
                // The source may have been removed while its list was on the way.
                if still_listed(&config, &group, &source) {
                    self.members.insert((group, source), members);
                    self.rebuild(&config);
                }
            }
            Change::Health { target } => drop(flipped.insert(target.group)),
        }
    }

    fn configure(&mut self, config: Config) -> Diff {
        let old = self.current.load_full();
        self.members
            .retain(|(group, source), _| still_listed(&config, group, source));
        self.rebuild(&Arc::new(config));
        Diff::between(&old.config, &self.current.load().config)
    }

    fn rebuild(&mut self, config: &Arc<Config>) {
        let old = self.current.load_full();
        let seed = self.next_seed();
        let next = compile(
            old.version + 1,
            config,
            &self.members,
            &mut self.registry,
            seed,
        );
        for group in &next.groups {
            self.log_fail_open(group);
        }
        let listed = |id: &TargetGroupId| next.group_named(id).is_some();
        self.distrusted.retain(listed);
        self.publish(next);
    }

    /// Says once that a group's checks are not believed, and once that they are again.
    fn log_fail_open(&mut self, group: &TargetGroup) {
        if is_distrusted(group) {
            if self.distrusted.insert(group.id.clone()) {
                warn!(
                    group = %group.id,
                    targets = group.targets.len(),
                    "too few healthy targets: failing open, requests go to all of them"
                );
            }
        } else if !group.failing_open && self.distrusted.remove(&group.id) {
            info!(group = %group.id, "enough healthy targets again");
        }
    }

    /// Rebuilds the rosters of groups whose targets changed their health; everything else
    /// is shared with the snapshot before.
    fn refresh(&mut self, changed: &BTreeSet<TargetGroupId>) {
        let old = self.current.load_full();
        if !old.groups.iter().any(|group| changed.contains(&group.id)) {
            return;
        }
        let mut groups = old.groups.clone();
        for (group, config) in groups.iter_mut().zip(&old.config.target_groups) {
            if changed.contains(&group.id) {
                let next = compile_group(config, group.targets.clone(), self.next_seed());
                self.log_fail_open(&next);
                *group = Arc::new(next);
            }
        }
        self.publish(Snapshot {
            version: old.version + 1,
            config: Arc::clone(&old.config),
            listeners: old.listeners.clone(),
            groups,
        });
    }

    fn publish(&mut self, next: Snapshot) {
        let version = next.version;
        self.current.store(Arc::new(next));
        self.version.send_replace(version);
    }

    /// Rotations must not all restart at the same place (a golden-ratio walk).
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seed
    }
}

/// Whether members from `source` still belong to a group of `config`.
fn still_listed(config: &Config, group: &TargetGroupId, source: &Source) -> bool {
    let Some(group) = config.target_groups.iter().find(|g| g.id == *group) else {
        return false;
    };
    match source {
        Source::Replicas => group.replicas.is_some(),
        Source::Dns(name, port) => group.targets.iter().any(|spec| {
            matches!(&spec.address, TargetAddress::Host { name: n, port: p } if n == name && p == port)
        }),
    }
}

/// Whether a group sends requests to targets that are known to fail. A group whose
/// first checks are still out fails open too, but has nothing to report.
fn is_distrusted(group: &TargetGroup) -> bool {
    let failing = |t: &Registered| t.target.health_now() == Health::Unhealthy;
    group.failing_open && group.targets.iter().any(failing)
}
