//! Whether target groups are ready for requests, and if not, the reason.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{self, Config, TargetAddress};
use crate::model::{Action, Endpoint, TargetGroupId};
use crate::state::Snapshot;
use crate::target::Target;
use crate::target_group::{Registered, TargetGroup};

/// From the begin of a wait to the first line about it. A shorter wait is not logged: most
/// checks answer at once.
const FIRST_NOTICE_DELAY: Duration = Duration::from_millis(250);

/// From the first line about a wait to the second. After that the interval doubles.
const FIRST_NOTICE_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time between two lines about one wait.
const MAX_NOTICE_INTERVAL: Duration = Duration::from_secs(60);

/// When to log that something waits: soon after the wait begins, then ever more rarely.
#[derive(Debug)]
pub(super) struct Notices {
    next: Instant,
    interval: Duration,
}

impl Notices {
    pub(super) fn since(begin: Instant) -> Self {
        Self {
            next: begin + FIRST_NOTICE_DELAY,
            interval: FIRST_NOTICE_INTERVAL,
        }
    }

    /// Whether it is time for a line. If so, the next one is due an interval later.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next;
        if is_due {
            self.next = now + self.interval;
            self.interval = (self.interval * 2).min(MAX_NOTICE_INTERVAL);
        }
        is_due
    }
}

/// The groups that a listener sends requests to.
pub(super) fn forwarded_groups(listener: &config::Listener) -> BTreeSet<&TargetGroupId> {
    named_groups(listener)
        .filter(|(_, weight)| *weight > 0)
        .map(|(group, _)| group)
        .collect()
}

/// Every group that a listener's rules name, with its weight there.
pub(super) fn named_groups(
    listener: &config::Listener,
) -> impl Iterator<Item = &(TargetGroupId, u16)> {
    listener
        .rules
        .iter()
        .map(|rule| &rule.action)
        .chain([&listener.default])
        .flat_map(|action| match action {
            Action::Forward(forward) => forward.groups.as_slice(),
            Action::Redirect(_) | Action::FixedResponse(_) => &[],
        })
}

/// A group of a configuration by its name.
pub(super) fn find_group<'a>(
    config: &'a Config,
    id: &TargetGroupId,
) -> Option<&'a config::TargetGroup> {
    config.target_groups.iter().find(|group| group.id == *id)
}

/// Why the state of a group is not known yet: targets are missing, or their first checks.
/// Replicas must have passed theirs. Returns `None` if it is known.
pub(super) fn not_known_yet(snapshot: &Snapshot, config: &config::TargetGroup) -> Option<String> {
    let selection = snapshot.group_named(&config.id);
    let selection = selection.and_then(|group| group.selection.as_ref());
    if selection.is_some_and(|selection| selection.is_provisional) {
        // Keys would move to other targets after the first requests.
        return Some("its table of keys is not built yet".to_owned());
    }
    if is_ready_as_configured(config) {
        return None;
    }
    let Some(group) = snapshot.group_named(&config.id) else {
        return Some("not started yet".to_owned());
    };
    let members: Vec<&Registered> = members(group).collect();
    let replicas = config.first_replicas().unwrap_or(0) as usize;
    if members.len() < replicas {
        return Some(format!("{} of {replicas} replicas run", members.len()));
    }
    if members.is_empty() {
        return Some(no_address(config));
    }
    config.health.as_ref()?;
    let is_known = |target: &Target| {
        let record = target.health().lock();
        let passed = record.last.back().is_some_and(|last| last.outcome.is_ok());
        passed || (config.replicas.is_none() && !record.last.is_empty())
    };
    let mut unknown = members.iter().filter(|member| !is_known(&member.target));
    let first = unknown.next()?;
    let more = unknown.count() + 1;
    Some(format!(
        "{more} of {} targets not checked yet, such as {}",
        members.len(),
        explained(&first.target)
    ))
}

/// A group that must be ready before a reload sends requests to it.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) group: config::TargetGroup,
    /// Whether the configuration in force has a group of that name.
    is_old: bool,
    /// Targets that the reload removes from the group.
    removed: HashSet<Endpoint>,
}

impl Awaited {
    /// The groups of `new` which must be ready before it comes into force: those to which its
    /// listeners send requests and which are new, have other targets, or were not in use.
    pub(super) fn of(old: &Config, new: &Config, snapshot: &Snapshot) -> Vec<Self> {
        let used: BTreeSet<_> = old.listeners.iter().flat_map(forwarded_groups).collect();
        let wanted: BTreeSet<_> = new.listeners.iter().flat_map(forwarded_groups).collect();
        let wanted = wanted.into_iter().filter_map(|id| find_group(new, id));
        wanted
            .filter_map(|next| {
                let last = find_group(old, &next.id);
                let is_same = last.is_some_and(|last| has_same_targets(last, next));
                (!is_same || !used.contains(&next.id)).then(|| Self {
                    group: next.clone(),
                    is_old: last.is_some(),
                    removed: last.map_or_else(HashSet::new, |last| removed(last, next, snapshot)),
                })
            })
            .collect()
    }

    /// Why requests may not be sent to the group yet: its state must be known if it is new, and
    /// it must have a healthy target, or as many as `min_healthy` says. Returns `None` if it is
    /// ready.
    pub(super) fn lacks(&self, snapshot: &Snapshot) -> Option<String> {
        let config = &self.group;
        if is_ready_as_configured(config) {
            return None;
        }
        if !self.is_old
            && let Some(lack) = not_known_yet(snapshot, config)
        {
            return Some(lack);
        }
        let stay: Vec<&Registered> = self.stay(snapshot).collect();
        if stay.is_empty() {
            return Some(match first_socket(config) {
                Some(addr) => format!("{addr} not checked yet"),
                None => no_address(config),
            });
        }
        config.health.as_ref()?;
        let healthy = stay
            .iter()
            .filter(|t| t.target.health().is_healthy())
            .count();
        let active = stay.len().max(sockets(config).count());
        let needed = config.fail_open.min_healthy.of(active).max(1);
        if healthy >= needed {
            return None;
        }
        let failing = stay.iter().find(|t| !t.target.health().is_healthy());
        let failing = failing.map_or(String::new(), |t| format!(": {}", explained(&t.target)));
        Some(match healthy {
            0 => format!("no healthy target{failing}"),
            _ => format!("{healthy} of {active} targets healthy, {needed} needed{failing}"),
        })
    }

    /// Whether any of its targets is eligible.
    pub(super) fn has_any(&self, snapshot: &Snapshot) -> bool {
        is_ready_as_configured(&self.group)
            || self
                .stay(snapshot)
                .any(|t| self.group.health.is_none() || t.target.health().is_healthy())
    }

    /// Whether targets serve now which the reload removes from the group.
    pub(super) fn replaces_any(&self, snapshot: &Snapshot) -> bool {
        snapshot
            .group_named(&self.group.id)
            .into_iter()
            .flat_map(|group| members(group))
            .any(|t| self.removed.contains(&t.target.id.addr) && t.target.health().is_healthy())
    }

    fn stay<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Registered> {
        snapshot
            .group_named(&self.group.id)
            .into_iter()
            .flat_map(|group| members(group))
            .filter(|t| t.weight > 0 && !self.removed.contains(&t.target.id.addr))
    }
}

/// Whether a group needs no wait: requests may start it, it has no target at all, or its
/// targets are in the file and not checked.
fn is_ready_as_configured(config: &config::TargetGroup) -> bool {
    let names = config.targets.len() - sockets(config).count();
    let is_given = config.replicas.is_none() && names == 0;
    config.scales_to_zero() || is_given && (config.health.is_none() || config.targets.is_empty())
}

fn members(group: &TargetGroup) -> impl Iterator<Item = &Registered> {
    group
        .targets
        .iter()
        .filter(|registered| !registered.registration.is_leaving())
}

fn sockets(config: &config::TargetGroup) -> impl Iterator<Item = &Endpoint> {
    config
        .targets
        .iter()
        .filter_map(|spec| match &spec.address {
            TargetAddress::Socket(addr) => Some(addr),
            TargetAddress::Host { .. } | TargetAddress::Srv { .. } | TargetAddress::File { .. } => {
                None
            }
        })
}

fn first_socket(config: &config::TargetGroup) -> Option<&Endpoint> {
    sockets(config).next()
}

fn has_same_targets(old: &config::TargetGroup, new: &config::TargetGroup) -> bool {
    let all_in = |some: &config::TargetGroup, others: &config::TargetGroup| {
        let others: HashSet<_> = others.targets.iter().map(|t| &t.address).collect();
        some.targets.iter().all(|t| others.contains(&t.address))
    };
    old.replicas.is_some() == new.replicas.is_some()
        && (old.targets == new.targets || all_in(old, new) && all_in(new, old))
}

/// The targets of a group that are not in its next version. For targets that were looked up the
/// name is not known: they stay as long as any name does.
fn removed(
    old: &config::TargetGroup,
    new: &config::TargetGroup,
    snapshot: &Snapshot,
) -> HashSet<Endpoint> {
    let given: HashSet<&Endpoint> = sockets(new).collect();
    let gone = sockets(old)
        .filter(|addr| !given.contains(addr))
        .cloned()
        .collect();
    let is_name = |spec: &&config::TargetSpec| !matches!(spec.address, TargetAddress::Socket(_));
    let mut names = old.targets.iter().filter(is_name);
    let keeps_name = names.any(|name| new.targets.iter().any(|spec| spec.address == name.address));
    let keeps_replicas = old.replicas.is_some() && new.replicas.is_some();
    if keeps_name || keeps_replicas {
        return gone;
    }
    snapshot
        .group_named(&old.id)
        .into_iter()
        .flat_map(|group| members(group))
        .map(|registered| &registered.target.id.addr)
        .filter(|addr| !given.contains(addr))
        .cloned()
        .collect()
}

/// The address as the configuration file has it.
fn address(address: &TargetAddress) -> String {
    match address {
        TargetAddress::Socket(addr) => addr.to_string(),
        TargetAddress::Host { name, port } => format!("{name}:{port}"),
        TargetAddress::Srv { name } => name.clone(),
        TargetAddress::File { path, .. } => path.display().to_string(),
    }
}

fn no_address(config: &config::TargetGroup) -> String {
    let all: Vec<String> = config.targets.iter().map(|t| address(&t.address)).collect();
    match all.as_slice() {
        [] => "no replica runs yet".to_owned(),
        _ => format!("no address for {} yet", all.join(", ")),
    }
}

/// A target and the result of its last check.
fn explained(target: &Target) -> String {
    let addr = &target.id.addr;
    let record = target.health().lock();
    match record.last.back().map(|last| &last.outcome) {
        Some(Err(failure)) => format!("{addr} ({}: {})", failure.reason.code(), failure.detail),
        Some(Ok(())) | None => addr.to_string(),
    }
}
