//! Configuration plus live members to snapshot: names become indexes, pickers are built.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::membership::{Entry, Membership};
use super::registry::Registry;
use super::snapshot::{Listener, Snapshot};
use crate::balance;
use crate::config::{self, Config, CookieKey};
use crate::model::{Admission, Algorithm, GroupIndex, ListenerId, Rule, TargetGroupId};
use crate::observe::AccessLog;
use crate::router::RuleTable;
use crate::target_group::{
    self, Choices, FailOpen, Live, Registered, Selection, Sessions, TargetGroup, Thinning,
};

/// Builds the whole next snapshot. Who is in the one before and not in this one leaves.
pub(super) fn compile(
    old: &Snapshot,
    config: &Arc<Config>,
    membership: &Membership,
    registry: &mut Registry,
    key: &CookieKey,
    seed: u64,
    now: Instant,
) -> Snapshot {
    let version = old.version + 1;
    let members: Vec<Vec<Registered>> = config
        .target_groups
        .iter()
        .map(|group| registered(&group.id, &membership.of(group), registry))
        .collect();
    registry.part(old, config, &members, now);
    let groups: Vec<Arc<TargetGroup>> = config
        .target_groups
        .iter()
        .zip(members)
        .map(|(group, mut targets)| {
            let admission = registry.admission(&group.id);
            targets.extend(registry.leaving(&group.id));
            let live = registry.live(&group.id);
            let next = compile_group(group, targets, admission, live, key, seed, now);
            Arc::new(next)
        })
        .collect();
    registry.retain(config, &groups);
    Snapshot {
        version,
        targets_since: if has_same_targets(old, &groups) {
            old.targets_since
        } else {
            version
        },
        config: Arc::clone(config),
        listeners: compile_listeners(config, registry, key),
        groups,
    }
}

/// Whether the same live targets stand in the same places.
fn has_same_targets(old: &Snapshot, groups: &[Arc<TargetGroup>]) -> bool {
    let same = |(a, b): (&Registered, &Registered)| Arc::ptr_eq(&a.target, &b.target);
    old.groups.len() == groups.len()
        && old.groups.iter().zip(groups).all(|(a, b)| {
            a.targets.len() == b.targets.len() && a.targets.iter().zip(&b.targets).all(same)
        })
}

fn compile_listeners(
    config: &Config,
    registry: &mut Registry,
    key: &CookieKey,
) -> Vec<Option<Arc<Listener>>> {
    let ids: Vec<ListenerId> = config.listeners.iter().map(|l| l.id.clone()).collect();
    registry.retain_listeners(&ids);
    let indexes: HashMap<&TargetGroupId, GroupIndex> = config
        .target_groups
        .iter()
        .enumerate()
        .map(|(index, group)| (&group.id, GroupIndex(index)))
        .collect();
    let compiled: Vec<Listener> = config
        .listeners
        .iter()
        .map(|listener| compile_listener(listener, config.access_log, &indexes, registry, key))
        .collect();
    let mut slots: Vec<Option<Arc<Listener>>> = vec![None; registry.slots()];
    for listener in compiled {
        let slot = listener.slot.0;
        slots[slot] = Some(Arc::new(listener));
    }
    slots
}

fn compile_listener(
    listener: &config::Listener,
    access_log: config::AccessLog,
    indexes: &HashMap<&TargetGroupId, GroupIndex>,
    registry: &mut Registry,
    key: &CookieKey,
) -> Listener {
    let index = |id: &TargetGroupId| indexes.get(id).copied().ok_or(());
    let named = "a checked configuration names only groups it has";
    let rules = listener
        .rules
        .iter()
        .map(|rule| Rule {
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            action: rule.action.try_map(index).expect(named),
        })
        .collect();
    let default = listener.default.try_map(index).expect(named);
    Listener {
        id: listener.id.clone(),
        slot: registry.slot(&listener.id),
        client: listener.client,
        forwarded: listener.forwarded.clone(),
        rate_limit: listener
            .rate_limit
            .as_ref()
            .map(|limit| registry.limiter(&listener.id, limit)),
        access_log: match access_log {
            config::AccessLog::Off => AccessLog::Off,
            config::AccessLog::Failures => AccessLog::Failures,
            config::AccessLog::All => AccessLog::All,
        },
        rules: RuleTable::new(rules, default),
        choices: Choices::seal_of(&key.0),
    }
}

fn registered(
    group: &TargetGroupId,
    members: &[Entry],
    registry: &mut Registry,
) -> Vec<Registered> {
    let register = |entry: &Entry| Registered {
        target: registry.target(group, entry.addr),
        weight: entry.weight,
        registration: entry.registration,
    };
    members.iter().map(register).collect()
}

/// Builds a group over its targets as they are now. `seed` decides where rotations start.
pub fn compile_group(
    config: &config::TargetGroup,
    targets: Vec<Registered>,
    admission: Arc<Admission>,
    live: Live,
    key: &CookieKey,
    seed: u64,
    now: Instant,
) -> TargetGroup {
    let active = targets.iter();
    let active = active.filter(|t| t.registration.is_active() && t.weight > 0);
    let fail_open = FailOpen {
        min_healthy: config.fail_open.min_healthy.of(active.count()),
        enabled: config.fail_open.enabled,
        before_checks: !config.scales_to_zero(),
    };
    let checked = config.health.is_some();
    let choice = target_group::choose(&targets, checked, fail_open);
    let serving = match &choice.roster {
        Some(roster) if !choice.failing_open => roster.members(),
        _ => &[],
    };
    target_group::advance(&targets, serving, config.slow_start, now);
    let roster = choice.roster.as_ref();
    let is_alive = roster.is_some_and(|roster| {
        let mut members = roster.members().iter();
        !choice.failing_open || members.any(|member| member.target.is_healthy())
    });
    let sticky = config.sticky.clone().map(|sticky| {
        let draining = target_group::draining(&targets, checked);
        Sessions::new(sticky, &key.0, &config.id, roster, draining)
    });
    let selection = choice.roster.map(|roster| {
        let roster = Arc::new(roster);
        Selection {
            picker: balance::build(config.algorithm, &config.hash, Arc::clone(&roster), seed),
            thinning: Thinning::new(&roster, config.algorithm, config.slow_start, now),
            roster,
        }
    });
    TargetGroup {
        id: config.id.clone(),
        upstream: config.upstream,
        retry: config.retry.clone(),
        overload: config.overload,
        scales_to_zero: config.scales_to_zero(),
        admission,
        hash_key: (config.algorithm == Algorithm::ConsistentHash).then(|| config.hash.key.clone()),
        measures_time: config.algorithm.measures_time(),
        targets,
        selection,
        failing_open: choice.failing_open,
        is_alive,
        sticky,
        live,
    }
}
