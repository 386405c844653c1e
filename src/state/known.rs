//! When a starting Weir knows enough about its targets.

use super::Snapshot;
use crate::config;
use crate::target_group::TargetGroup;

impl Snapshot {
    /// Whether every group has the targets its configuration promises, and all of them
    /// have been checked once; replicas that Weir runs must have passed.
    pub fn knows_its_targets(&self) -> bool {
        let mut groups = self.groups.iter().zip(&self.config.target_groups);
        groups.all(|(group, config)| {
            has_its_targets(group, config) && is_checked(group, config) && has_its_table(group)
        })
    }
}

fn has_its_targets(group: &TargetGroup, config: &config::TargetGroup) -> bool {
    let replicas = config.first_replicas().unwrap_or(0) as usize;
    let names = usize::from(!config.targets.is_empty());
    let members = group.targets.iter();
    let members = members.filter(|t| !t.registration.is_leaving());
    members.count() >= replicas.max(names)
}

/// Keys do not move when the first requests have come.
fn has_its_table(group: &TargetGroup) -> bool {
    let selection = group.selection.as_ref();
    !selection.is_some_and(|selection| selection.is_provisional)
}

fn is_checked(group: &TargetGroup, config: &config::TargetGroup) -> bool {
    let starting = config.replicas.is_some();
    config.health.is_none()
        || group.targets.iter().all(|registered| {
            let record = registered.target.health();
            let passed = record.last.back().is_some_and(|last| last.outcome.is_ok());
            passed || (!starting && !record.last.is_empty())
        })
}
