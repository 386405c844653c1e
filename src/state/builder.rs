//! Builds the next snapshot: only those parts of it which a change concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tracing::{info, warn};

use super::batch::{Batch, Reply, Scope};
use super::change::Change;
use super::compile::{GroupParts, ListenerParts, compile_listeners};
use super::diff::Diff;
use super::membership::Membership;
use super::registry::Registry;
use super::runtime_settings::Refusal;
use super::snapshot::{Group, Positions, Snapshot};
use super::work::Work;
use crate::balance::Roster;
use crate::config::{self, Config, CookieKey};
use crate::model::{Action, Health, ListenerId, SocketId, TargetGroupId};
use crate::observe::kind;
use crate::target_group::{Registered, TargetGroup};

/// Builds snapshots and publishes them. Keeps what outlives them.
#[derive(Debug)]
pub(super) struct Builder {
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<u64>,
    registry: Registry,
    membership: Membership,
    /// Which listener serves which sockets.
    sockets: Vec<(SocketId, ListenerId)>,
    /// Rosters which tables are to be built of, the newest of each group.
    wanted_tables: BTreeMap<TargetGroupId, Arc<Roster>>,
    /// Groups that were logged as failing open.
    failing_open: BTreeSet<TargetGroupId>,
    /// Seals sessions when the configuration has no key; the same across reloads.
    own_key: CookieKey,
    /// Whether it was logged that there is none.
    logged_missing_key: bool,
    seed: u64,
}

impl Builder {
    pub(super) fn new(
        current: Arc<ArcSwap<Snapshot>>,
        version: watch::Sender<u64>,
        seed: u64,
    ) -> Self {
        Self {
            current,
            version,
            registry: Registry::default(),
            membership: Membership::default(),
            sockets: Vec::new(),
            wanted_tables: BTreeMap::new(),
            failing_open: BTreeSet::new(),
            own_key: random_key(),
            logged_missing_key: false,
            seed,
        }
    }

    /// The newest snapshot.
    pub(super) fn current(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Does some work and publishes what has changed, once; then sends the replies.
    pub(super) fn apply(&mut self, work: Work, now: Instant) {
        let mut batch = Batch::default();
        match work {
            Work::Changes(changes) => {
                for change in changes {
                    self.note(change, &mut batch, now);
                }
            }
            Work::Tables(tables) => {
                for (id, table) in tables {
                    self.registry.set_table(&id, table);
                    self.note_roster(id, &mut batch);
                }
            }
            Work::Drained(groups) => {
                for id in groups {
                    batch.note(id, Scope::Targets);
                }
            }
        }
        if !batch.is_empty() {
            self.publish(&batch, now);
        }
        self.reply(batch.replies);
    }

    /// Whether a target drains that has left its group.
    pub(super) fn is_draining(&self) -> bool {
        self.registry.is_draining()
    }

    /// Releases targets that have drained or had their time. Returns the groups that have to
    /// be built anew for it.
    pub(super) fn release_drained(&mut self, now: Instant) -> Vec<TargetGroupId> {
        self.registry.release_drained(now)
    }

    /// Takes out at most `most` of the rosters which tables are to be built of.
    pub(super) fn take_wanted_tables(&mut self, most: usize) -> Vec<(TargetGroupId, Arc<Roster>)> {
        std::iter::from_fn(|| self.wanted_tables.pop_first())
            .take(most)
            .collect()
    }

    /// Notes in `batch` what a change concerns.
    fn note(&mut self, change: Change, batch: &mut Batch, now: Instant) {
        match change {
            Change::Configure {
                config,
                sockets,
                done,
            } => {
                self.sockets = sockets;
                let diff = self.configure(config, batch);
                batch.replies.push(Reply::Configured(diff, done));
            }
            Change::Members {
                group,
                source,
                members,
            } => {
                if self.membership.set(&group, &source, members) {
                    batch.note(group, Scope::Targets);
                }
            }
            Change::Target {
                target,
                change,
                done,
            } => match self.membership.change(&target, change, now) {
                Ok(()) => {
                    batch.note(target.group.clone(), Scope::Targets);
                    batch.replies.push(Reply::Changed(target, done));
                }
                // The receiver may have given up.
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            Change::Maintenance {
                group,
                maintenance,
                done,
            } => {
                if !self.membership.has(&group) {
                    // The receiver may have given up.
                    drop(done.send(Err(Refusal::UnknownGroup(group))));
                    return;
                }
                let now = self.registry.group(&group).maintain(maintenance);
                batch.note(group, Scope::Roster);
                batch.replies.push(Reply::Maintained(now, done));
            }
            Change::Health { target } => self.note_roster(target.group, batch),
        }
    }

    /// The roster of a group is to be built, unless the group has been removed meanwhile.
    fn note_roster(&self, group: TargetGroupId, batch: &mut Batch) {
        if self.membership.has(&group) {
            batch.note(group, Scope::Roster);
        }
    }

    /// Takes over the groups of a configuration. Returns what it changes.
    fn configure(&mut self, config: Config, batch: &mut Batch) -> Diff {
        let old = batch
            .config
            .take()
            .unwrap_or_else(|| Arc::clone(&self.current.load().config));
        let mut before: HashMap<&TargetGroupId, &config::TargetGroup> = old
            .target_groups
            .iter()
            .map(|group| (&group.id, group))
            .collect();
        for group in &config.target_groups {
            if before.remove(&group.id) != Some(group) {
                self.membership.configure(group);
                batch.note(group.id.clone(), Scope::Targets);
            }
        }
        let mut contradictions: Vec<String> = before
            .keys()
            .filter_map(|id| self.membership.remove(id))
            .collect();
        contradictions.sort();
        for group in &config.target_groups {
            contradictions.extend(self.membership.contradictions(&group.id));
        }
        if config.cookie_key.is_none() && has_sessions(&config) && !self.logged_missing_key {
            self.logged_missing_key = true;
            info!("no cookie_key: sessions end with this process, and no other Weir knows them");
        }
        let diff = Diff {
            contradictions,
            ..Diff::between(&old, &config)
        };
        batch.config = Some(Arc::new(config));
        diff
    }

    fn publish(&mut self, batch: &Batch, now: Instant) {
        let old = self.current.load_full();
        let version = old.version + 1;
        let next = match &batch.config {
            Some(config) => self.reload(&old, config, batch, now),
            None => self.update(&old, batch, now),
        };
        let same_targets = Arc::ptr_eq(&next.positions, &old.positions)
            && next.changed_since(&old).all(|group| {
                old.group_named(&group.id).is_some_and(|before| {
                    has_same_targets(before, group) && has_same_terms(before, group)
                })
            });
        for group in next.changed_since(&old) {
            open(group);
        }
        self.current.store(Arc::new(Snapshot {
            version,
            targets_since: if same_targets {
                old.targets_since
            } else {
                version
            },
            ..next
        }));
        self.version.send_replace(version);
    }

    /// The next snapshot of the same configuration.
    fn update(&mut self, old: &Snapshot, batch: &Batch, now: Instant) -> Snapshot {
        let mut groups = old.groups.clone();
        let key = self.key(&old.config);
        for (id, scope) in &batch.groups {
            // A group may have been removed since.
            if let Some(position) = old.positions.get(id).copied() {
                let group: &mut Group = &mut groups[position];
                group.compiled =
                    self.build(&group.config, Some(&group.compiled), *scope, &key, now);
            }
        }
        Snapshot {
            version: old.version,
            targets_since: old.targets_since,
            config: Arc::clone(&old.config),
            listeners: old.listeners.clone(),
            sockets: old.sockets.clone(),
            groups,
            positions: Arc::clone(&old.positions),
            challenges: Arc::clone(&old.challenges),
        }
    }

    /// The next snapshot, of another configuration. Groups and listeners that are configured
    /// as before are shared with the one before.
    fn reload(
        &mut self,
        old: &Snapshot,
        config: &Arc<Config>,
        batch: &Batch,
        now: Instant,
    ) -> Snapshot {
        let key = self.key(config);
        let is_same_key = key == self.key(&old.config);
        let positions = positions(old, config);
        for group in &old.groups {
            if !positions.contains_key(&group.id) {
                self.registry.remove(&group.config, &group.targets, now);
                self.failing_open.remove(&group.id);
                self.wanted_tables.remove(&group.id);
            }
        }
        let build = |group: &config::TargetGroup| {
            let before = old.group_named(&group.id);
            let is_sealed_anew = !is_same_key && group.sticky.is_some();
            match (before, batch.groups.get(&group.id)) {
                (Some(before), None) if !is_sealed_anew => before.clone(),
                (before, scope) => {
                    let scope = scope.copied().unwrap_or(Scope::Roster);
                    let before = before.map(|before| &before.compiled);
                    Group {
                        config: Arc::new(group.clone()),
                        compiled: self.build(group, before, scope, &key, now),
                    }
                }
            }
        };
        let groups = config.target_groups.iter().map(build).collect();
        // A rule names its group by position.
        let may_keep = is_same_key
            && Arc::ptr_eq(&positions, &old.positions)
            && config.access_policy() == old.config.access_policy()
            && config.tracing == old.config.tracing
            && config.is_asked_by_http() == old.config.is_asked_by_http();
        let kept = may_keep.then_some(old);
        let parts = ListenerParts {
            config,
            positions: &positions,
            key: &key,
            challenges: &old.challenges,
        };
        Snapshot {
            version: old.version,
            targets_since: old.targets_since,
            config: Arc::clone(config),
            listeners: compile_listeners(kept, &parts, &mut self.registry),
            sockets: Vec::new(),
            groups,
            positions,
            challenges: Arc::clone(&old.challenges),
        }
        .with_sockets(&self.sockets)
    }

    /// Builds the next version of a group.
    fn build(
        &mut self,
        config: &config::TargetGroup,
        before: Option<&Arc<TargetGroup>>,
        scope: Scope,
        key: &CookieKey,
        now: Instant,
    ) -> Arc<TargetGroup> {
        let targets = match (scope, before) {
            (Scope::Roster, Some(before)) => Arc::clone(&before.targets),
            (Scope::Roster | Scope::Targets, before) => self.targets(config, before, now),
        };
        let seed = self.next_seed();
        let record = self.registry.group(&config.id);
        let parts = GroupParts {
            config,
            targets,
            admission: Arc::clone(&record.admission),
            live: record.live.clone(),
            key,
            seed,
            now,
        };
        let group = parts.compile(record.table.as_ref());
        match group.selection.as_ref().filter(|s| s.is_provisional) {
            Some(selection) => {
                let roster = Arc::clone(&selection.roster);
                self.wanted_tables.insert(group.id.clone(), roster);
            }
            None => drop(self.wanted_tables.remove(&group.id)),
        }
        self.log_fail_open(&group);
        Arc::new(group)
    }

    /// The targets of the next version of a group; the same list if they are the same.
    fn targets(
        &mut self,
        config: &config::TargetGroup,
        before: Option<&Arc<TargetGroup>>,
        now: Instant,
    ) -> Arc<[Registered]> {
        let members = self.membership.of(&config.id);
        let listed = before.map_or(&[][..], |before| &before.targets);
        let targets = self.registry.set_members(config, &members, listed, now);
        match before {
            Some(before) if *before.targets == *targets => Arc::clone(&before.targets),
            Some(_) | None => targets.into(),
        }
    }

    fn reply(&self, replies: Vec<Reply>) {
        let snapshot = self.current.load();
        for reply in replies {
            // The receiver may have given up; the change stands.
            match reply {
                Reply::Configured(diff, done) => drop(done.send(diff)),
                Reply::Maintained(now, done) => drop(done.send(Ok(now))),
                Reply::Changed(id, done) => {
                    let changed = snapshot
                        .group_named(&id.group)
                        .and_then(|group| group.targets.iter().find(|t| t.target.id == id));
                    drop(done.send(Ok(changed.cloned())));
                }
            }
        }
    }

    /// Logs once that a group fails open, and once that it does no longer.
    fn log_fail_open(&mut self, group: &TargetGroup) {
        if has_failing_targets(group) {
            if self.failing_open.insert(group.id.clone()) {
                warn!(
                    event = kind::FAIL_OPEN, group = %group.id,
                    targets = group.targets.len(),
                    "too few healthy targets: failing open, requests go to all of them"
                );
            }
        } else if !group.failing_open && self.failing_open.remove(&group.id) {
            info!(event = kind::FAIL_OPEN, group = %group.id, "enough healthy targets again");
        }
    }

    /// The key which sessions are sealed with.
    fn key(&self, config: &Config) -> CookieKey {
        config.cookie_key.as_ref().unwrap_or(&self.own_key).clone()
    }

    /// Rotations must not all restart at the same member (a golden-ratio walk).
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.seed
    }
}

/// Where the groups of a configuration stand: shared with `old` if they stand there too.
fn positions(old: &Snapshot, config: &Config) -> Arc<Positions> {
    let ids = || config.target_groups.iter().map(|group| &group.id);
    if ids().eq(old.groups.iter().map(|group| &group.id)) {
        return Arc::clone(&old.positions);
    }
    Arc::new(ids().cloned().zip(0..).collect())
}

/// Whether the same live targets stand at the same positions.
fn has_same_targets(before: &TargetGroup, next: &TargetGroup) -> bool {
    let pairs = || before.targets.iter().zip(&*next.targets);
    Arc::ptr_eq(&before.targets, &next.targets)
        || (before.targets.len() == next.targets.len()
            && pairs().all(|(a, b)| a.target.serial == b.target.serial))
}

/// Whether connections to the targets of one are such as the other wants them.
fn has_same_terms(before: &TargetGroup, next: &TargetGroup) -> bool {
    before.upstream == next.upstream && before.tls == next.tls
}

/// Gives requests that wait for a group the slots of all targets that may be picked now.
fn open(group: &TargetGroup) {
    let eligible: Vec<_> = group
        .selection
        .iter()
        .flat_map(|selection| selection.roster.members())
        .map(|member| member.target.clone())
        .collect();
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

/// Whether a group sends requests to targets that are known to fail. A group fails open
/// before its first checks have finished too, but that is nothing to report.
fn has_failing_targets(group: &TargetGroup) -> bool {
    group.failing_open
        && group
            .targets
            .iter()
            .any(|t| t.registration.is_active() && t.target.health().now() == Health::Unhealthy)
}
