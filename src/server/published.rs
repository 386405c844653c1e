//! What is published beside the configuration in force: removed listeners while they
//! have connections, and groups that a reload is about to send requests to. Pure.

use std::collections::HashSet;

use tokio::time::Instant;

use super::ready::{find_group, named_groups};
use crate::config::{self, Config, TargetAddress};
use crate::model::ListenerId;

/// A removed listener with connections, which keep its rules until they have ended.
#[derive(Debug)]
pub(super) struct RemovedListener {
    pub(super) listener: config::Listener,
    groups: Vec<config::TargetGroup>,
    /// When it is published no longer, even if it has connections.
    pub(super) until: Instant,
}

impl RemovedListener {
    /// A listener of `config`, with the groups its rules name.
    pub(super) fn of(config: &Config, id: &ListenerId, until: Instant) -> Option<Self> {
        let listener = config
            .listeners
            .iter()
            .find(|listener| listener.id == *id)?;
        let names: HashSet<_> = named_groups(listener).map(|(id, _)| id).collect();
        Some(Self {
            listener: listener.clone(),
            groups: config
                .target_groups
                .iter()
                .filter(|group| names.contains(&group.id))
                .cloned()
                .collect(),
            until,
        })
    }
}

/// Adds removed listeners, and those of their groups that were removed with them.
pub(super) fn with_removed(mut config: Config, removed: &[RemovedListener]) -> Config {
    for removed in removed {
        if config
            .listeners
            .iter()
            .any(|listener| listener.id == removed.listener.id)
        {
            continue;
        }
        config.listeners.push(removed.listener.clone());
        for old in &removed.groups {
            if find_group(&config, &old.id).is_none() {
                config.target_groups.push(old.clone());
            }
        }
    }
    config
}

/// Adds the groups of the next configuration, and to groups of the same name their new
/// targets, so that these start and are checked while the old ones serve. The rest stays as in
/// `config`: if the check of a group changes as well, new targets must pass the old one.
pub(super) fn with_incoming(mut config: Config, next: &Config) -> Config {
    for incoming in &next.target_groups {
        let known = config
            .target_groups
            .iter_mut()
            .find(|group| group.id == incoming.id);
        match known {
            Some(known) => extend(known, incoming),
            None => config.target_groups.push(incoming.clone()),
        }
    }
    config
}

fn extend(group: &mut config::TargetGroup, incoming: &config::TargetGroup) {
    if group.targets != incoming.targets {
        let known: HashSet<&TargetAddress> = group.targets.iter().map(|t| &t.address).collect();
        let new: Vec<_> = incoming
            .targets
            .iter()
            .filter(|target| !known.contains(&target.address))
            .cloned()
            .collect();
        group.targets.extend(new);
    }
    if group.health.is_none() {
        group.health.clone_from(&incoming.health);
    }
    if group.replicas.is_none() {
        group.replicas.clone_from(&incoming.replicas);
        group.autoscaling.clone_from(&incoming.autoscaling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(text: &str) -> Config {
        parse("test.toml", text, &|_| None).unwrap().config
    }

    const OLD: &str = r#"
        listener = [{ name = "web", bind = "127.0.0.1:80", forward = "app" },
                    { name = "side", bind = "127.0.0.1:81", forward = "other" }]
        [target_group.app]
        targets = ["127.0.0.1:1", "127.0.0.1:2"]
        algorithm = "random"
        [target_group.other]
        targets = ["127.0.0.1:9"]
    "#;

    #[test]
    fn groups_and_targets_of_the_next_configuration_are_added() {
        let next = r#"
            listener = [{ name = "web", bind = "127.0.0.1:80", forward = "app" }]
            [target_group.app]
            targets = ["127.0.0.1:3", "127.0.0.1:2"]
            [target_group.new]
            targets = ["127.0.0.1:4"]
        "#;
        let both = with_incoming(config(OLD), &config(next));
        assert_eq!(both.listeners, config(OLD).listeners);
        let groups: Vec<_> = both
            .target_groups
            .iter()
            .map(|group| (&*group.id.0, group.targets.len()))
            .collect();
        assert_eq!(groups, [("app", 3), ("other", 1), ("new", 1)]);
        assert_eq!(both.target_groups[0].algorithm.name(), "random");
    }

    #[test]
    fn a_removed_listener_keeps_its_rules_and_their_groups() {
        let old = config(OLD);
        let next = r#"
            listener = [{ name = "web", bind = "127.0.0.1:80", forward = "app" }]
            target_group.app.targets = ["127.0.0.1:3"]
        "#;
        let removed = RemovedListener::of(&old, &"side".into(), Instant::now()).unwrap();
        let both = with_removed(config(next), &[removed]);
        assert_eq!(both.listeners[1], old.listeners[1]);
        assert_eq!(both.target_groups[0], config(next).target_groups[0]);
        assert_eq!(both.target_groups[1], old.target_groups[1]);
        // The next configuration has a listener of that name.
        let removed = RemovedListener::of(&old, &"web".into(), Instant::now()).unwrap();
        assert_eq!(with_removed(config(next), &[removed]), config(next));
    }
}
