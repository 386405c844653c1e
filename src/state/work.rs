//! What leads to the next snapshot, and how much there is to do for it.

use std::collections::HashSet;

use super::change::Change;
use super::snapshot::Snapshot;
use crate::balance::KeyTable;
use crate::config::Config;
use crate::model::TargetGroupId;

/// Something for the next snapshot.
#[derive(Debug)]
pub(super) enum Work {
    /// Changes that have waited together.
    Changes(Vec<Change>),
    /// Tables that have been built.
    Tables(Vec<(TargetGroupId, KeyTable)>),
    /// Groups which drained targets have left: see `Builder::release_drained`.
    Drained(Vec<TargetGroupId>),
}

impl Work {
    /// About how many targets and rules it has to go through.
    pub(super) fn cost(&self, current: &Snapshot) -> usize {
        let targets = |id: &TargetGroupId| current.group_named(id).map_or(1, |g| g.targets.len());
        let mut known: HashSet<&TargetGroupId> = HashSet::new();
        match self {
            Self::Changes(changes) => {
                changes
                    .iter()
                    .map(|change| {
                        let (group, own) = match change {
                            Change::Configure { config, .. } => return cost(config),
                            Change::Members { group, members, .. } => (group, members.len()),
                            Change::Maintenance { group, .. } => (group, 1),
                            Change::Target { target, .. } | Change::Health { target } => {
                                (&target.group, 1)
                            }
                        };
                        // Many changes of one group build it once.
                        let is_first = known.insert(group);
                        own + if is_first { targets(group) } else { 0 }
                    })
                    .sum()
            }
            Self::Tables(tables) => tables.iter().map(|(id, _)| targets(id)).sum(),
            Self::Drained(groups) => groups.iter().map(targets).sum(),
        }
    }
}

/// About how many targets and rules a configuration has.
fn cost(config: &Config) -> usize {
    let groups = config
        .target_groups
        .iter()
        .map(|group| 1 + group.targets.len());
    let listeners = config
        .listeners
        .iter()
        .map(|listener| 1 + listener.rules.len());
    groups.chain(listeners).sum()
}
