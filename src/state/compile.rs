//! Configuration plus live members to snapshot: names become indexes, pickers are built.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::publisher::Source;
use super::registry::Registry;
use super::snapshot::{Listener, Snapshot};
use crate::config::{self, Config, MinHealthy, TargetAddress};
use crate::model::{
    Algorithm, GroupIndex, ListenerId, Registration, Rule, TargetGroupId, TargetId,
};
use crate::observe::AccessLog;
use crate::router::RuleTable;
use crate::target_group::{self, FailOpen, Registered, Selection, TargetGroup};

/// Members that did not come from the file, by where they came from.
pub(super) type Members = HashMap<(TargetGroupId, Source), Vec<(SocketAddr, u16)>>;

/// Builds the whole next snapshot.
pub(super) fn compile(
    version: u64,
    config: &Arc<Config>,
    members: &Members,
    registry: &mut Registry,
    seed: u64,
) -> Snapshot {
    let groups: Vec<Arc<TargetGroup>> = config
        .target_groups
        .iter()
        .map(|group| {
            let admission = registry.admission(&group.id);
            admission.set_limit(group.overload.max_concurrency);
            Arc::new(compile_group(
                group,
                registered(group, members, registry),
                seed,
            ))
        })
        .collect();
    let kept: HashSet<TargetId> = groups
        .iter()
        .flat_map(|group| group.targets.iter().map(|t| t.target.id.clone()))
        .collect();
    registry.retain_targets(&kept);
    registry.retain_groups(&config.target_groups.iter().map(|group| &group.id).collect());
    Snapshot {
        version,
        config: Arc::clone(config),
        listeners: compile_listeners(config, registry),
        groups,
    }
}

fn compile_listeners(config: &Config, registry: &mut Registry) -> Vec<Option<Arc<Listener>>> {
    let ids: Vec<ListenerId> = config.listeners.iter().map(|l| l.id.clone()).collect();
    registry.retain_slots(&ids);
    let indexes: HashMap<&TargetGroupId, GroupIndex> = config
        .target_groups
        .iter()
        .enumerate()
        .map(|(index, group)| (&group.id, GroupIndex(index)))
        .collect();
    let compiled: Vec<Listener> = config
        .listeners
        .iter()
        .map(|listener| compile_listener(listener, config.access_log, &indexes, registry))
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
        access_log: match access_log {
            config::AccessLog::Off => AccessLog::Off,
            config::AccessLog::Failures => AccessLog::Failures,
            config::AccessLog::All => AccessLog::All,
        },
        rules: RuleTable::new(rules, default),
    }
}

/// The members of a group from the file and from elsewhere, each address once: the
/// file's weight wins.
fn registered(
    group: &config::TargetGroup,
    members: &Members,
    registry: &mut Registry,
) -> Vec<Registered> {
    let mut seen = HashSet::new();
    let configured = group.targets.iter().filter_map(|spec| match &spec.address {
        TargetAddress::Socket(addr) => Some((*addr, spec.weight)),
        TargetAddress::Host { .. } => None,
    });
    let mut sources: Vec<_> = members
        .iter()
        .filter(|((id, _), _)| *id == group.id)
        .collect();
    // The order of a map changes from run to run; that of a roster must not.
    sources.sort_by(|((_, a), _), ((_, b), _)| a.cmp(b));
    configured
        .chain(
            sources
                .into_iter()
                .flat_map(|(_, list)| list.iter().copied()),
        )
        .filter(|(addr, _)| seen.insert(*addr))
        .map(|(addr, weight)| Registered {
            target: registry.target(&group.id, addr),
            weight,
            registration: Registration::Active,
        })
        .collect()
}

/// Builds a group over its targets as they are now.
pub(super) fn compile_group(
    config: &config::TargetGroup,
    targets: Vec<Registered>,
    seed: u64,
) -> TargetGroup {
    let active = targets.iter().filter(|t| t.weight > 0).count();
    let fail_open = FailOpen {
        min_healthy: min_healthy(config.fail_open.min_healthy, active),
        enabled: config.fail_open.enabled,
    };
    let choice = target_group::choose(&targets, config.health.is_some(), fail_open);
    let selection = choice.roster.map(|roster| {
        let roster = Arc::new(roster);
        let picker = crate::balance::build(config.algorithm, &config.hash, roster.clone(), seed);
        Selection { roster, picker }
    });
    TargetGroup {
        id: config.id.clone(),
        upstream: config.upstream,
        retry: config.retry.clone(),
        hash_key: (config.algorithm == Algorithm::ConsistentHash).then(|| config.hash.key.clone()),
        targets,
        selection,
        failing_open: choice.failing_open,
    }
}

fn min_healthy(min: MinHealthy, active: usize) -> usize {
    match min {
        MinHealthy::Count(count) => count as usize,
        MinHealthy::Percent(percent) => (active * usize::from(percent)).div_ceil(100),
    }
}
