//! The one writer of the picture.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::compile::{compile, compile_group};
use super::diff::Diff;
use super::leaving::LOOK;
use super::membership::{Membership, Refusal, TargetChange, still_listed};
use super::registry::Registry;
use super::snapshot::{Reader, Snapshot};
use crate::config::{Config, CookieKey};
use crate::model::{Action, Health, TargetGroupId, TargetId};
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
    /// Somebody wants something of a target at run time.
    Target {
        /// Which target.
        target: TargetId,
        /// What.
        change: TargetChange,
        /// Told what became of it; see [`Publisher::change_target`].
        done: oneshot::Sender<Result<Option<Registered>, Refusal>>,
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
    /// What the DNS service records of a name lead to.
    Srv(String),
    /// A file.
    File(PathBuf),
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
            membership: Membership::default(),
            distrusted: BTreeSet::new(),
            next_look: None,
            own_key: random_key(),
            key_was_missed: false,
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

    /// Changes a target at run time and waits until that is visible: the target as its
    /// group has it then, or `None` when it is gone. It stays so whatever configuration
    /// comes.
    pub async fn change_target(
        &self,
        target: TargetId,
        change: TargetChange,
    ) -> Result<Option<Registered>, Refusal> {
        let (done, outcome) = oneshot::channel();
        self.send(Change::Target {
            target,
            change,
            done,
        })
        .await;
        outcome.await.unwrap_or(Err(Refusal::Stopping))
    }
}

/// The task behind a [`Publisher`].
#[derive(Debug)]
pub struct PublisherTask {
    changes: mpsc::Receiver<Change>,
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<u64>,
    registry: Registry,
    membership: Membership,
    /// Groups of which it was said that their checks are not believed.
    distrusted: BTreeSet<TargetGroupId>,
    /// When to see who has drained; `None` while nobody leaves.
    next_look: Option<Instant>,
    /// Seals sessions when the configuration has no key; the same across reloads.
    own_key: CookieKey,
    /// Whether it was said that there is none.
    key_was_missed: bool,
    seed: u64,
}

impl PublisherTask {
    /// Applies changes in order until the last publisher is gone.
    ///
    /// Health changes that wait together are published together: when a thousand targets
    /// pass their first check at once, their group is rebuilt once.
    pub async fn run(mut self) {
        let mut changes = Vec::with_capacity(QUEUE);
        loop {
            // Both arms are cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                count = self.changes.recv_many(&mut changes, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                    self.take_in(&mut changes);
                }
                () = until(self.next_look) => self.let_go(),
            }
            if self.next_look.is_none() && self.registry.is_draining() {
                self.next_look = Some(Instant::now() + LOOK);
            }
        }
    }

    fn take_in(&mut self, changes: &mut Vec<Change>) {
        let mut flipped = BTreeSet::new();
        for change in changes.drain(..) {
            self.apply(change, &mut flipped);
        }
        self.refresh(&flipped);
    }

    /// Parts with those who have drained or had their time.
    fn let_go(&mut self) {
        self.next_look = None;
        let config = Arc::clone(&self.current.load().config);
        if self.registry.let_go(&config, Instant::now().into_std()) {
            self.rebuild(&config);
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
                    self.membership.set(&group, source, members);
                    self.rebuild(&config);
                }
            }
            Change::Target {
                target,
                change,
                done,
            } => {
                // As above.
                let _ = done.send(self.change_target(&target, change));
            }
            Change::Health { target } => drop(flipped.insert(target.group)),
        }
    }

    fn configure(&mut self, config: Config) -> Diff {
        let old = self.current.load_full();
        let contradictions = self.membership.contradictions(&config);
        self.membership.retain(&config);
        if config.cookie_key.is_none() && has_sessions(&config) && !self.key_was_missed {
            self.key_was_missed = true;
            info!("no cookie_key: sessions end with this process, and no other Weir knows them");
        }
        self.rebuild(&Arc::new(config));
        Diff {
            contradictions,
            ..Diff::between(&old.config, &self.current.load().config)
        }
    }

    fn change_target(
        &mut self,
        target: &TargetId,
        change: TargetChange,
    ) -> Result<Option<Registered>, Refusal> {
        let config = Arc::clone(&self.current.load().config);
        let now = Instant::now().into_std();
        self.membership.change(&config, target, change, now)?;
        self.rebuild(&config);
        let snapshot = self.current.load();
        let mut groups = snapshot.groups.iter();
        let group = groups.find(|group| group.id == target.group);
        let mut targets = group.iter().flat_map(|group| &group.targets);
        Ok(targets.find(|t| t.target.id == *target).cloned())
    }

    fn rebuild(&mut self, config: &Arc<Config>) {
        let seed = self.next_seed();
        let next = compile(
            &self.current.load_full(),
            config,
            &self.membership,
            &mut self.registry,
            config.cookie_key.as_ref().unwrap_or(&self.own_key),
            seed,
            Instant::now().into_std(),
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
        let now = Instant::now().into_std();
        let mut groups = old.groups.clone();
        for (group, config) in groups.iter_mut().zip(&old.config.target_groups) {
            if changed.contains(&group.id) {
                let (targets, admission) = (group.targets.clone(), group.admission.clone());
                let live = group.live.clone();
                let seed = self.next_seed();
                let key = old.config.cookie_key.as_ref().unwrap_or(&self.own_key);
                let next = compile_group(config, targets, admission, live, key, seed, now);
                self.log_fail_open(&next);
                *group = Arc::new(next);
            }
        }
        self.publish(Snapshot {
            version: old.version + 1,
            targets_since: old.targets_since,
            config: Arc::clone(&old.config),
            listeners: old.listeners.clone(),
            groups,
        });
    }

    fn publish(&mut self, next: Snapshot) {
        for group in &next.groups {
            open(group);
        }
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

/// Lets those who wait have the places of everybody who may be picked now.
fn open(group: &TargetGroup) {
    let members = group.selection.iter().flat_map(|s| s.roster.members());
    let eligible: Vec<_> = members.map(|member| member.target.clone()).collect();
    let limit = group.overload.max_concurrency;
    group.admission.open(limit, &eligible, group.scales_to_zero);
}

fn random_key() -> CookieKey {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the maps of std need random numbers of the system too");
    CookieKey(key)
}

/// Whether anything in a configuration keeps clients together.
fn has_sessions(config: &Config) -> bool {
    let is_sticky = |action: &Action<TargetGroupId>| match action {
        Action::Forward(forward) => forward.sticky.is_some(),
        Action::Redirect(_) | Action::FixedResponse(_) => false,
    };
    let mut listeners = config.listeners.iter();
    config
        .target_groups
        .iter()
        .any(|group| group.sticky.is_some())
        || listeners.any(|listener| {
            is_sticky(&listener.default)
                || listener.rules.iter().any(|rule| is_sticky(&rule.action))
        })
}

/// Whether a group sends requests to targets that are known to fail. A group whose
/// first checks are still out fails open too, but has nothing to report.
fn is_distrusted(group: &TargetGroup) -> bool {
    let failing =
        |t: &Registered| t.registration.is_active() && t.target.health_now() == Health::Unhealthy;
    group.failing_open && group.targets.iter().any(failing)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
