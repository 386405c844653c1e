//! A configuration that waits for its target groups before it comes into force.
//!
//! First its groups are published beside the rules in force, so that their targets are
//! looked up, started and checked. When they are ready, or their time is over, listeners and
//! rules are switched in one step.
//!
//! A group without any healthy target does not replace one that serves, however long it takes:
//! a service that works is worth more than a new configuration. The log and `/readyz` report
//! the wait; it ends with the first healthy target, or with the next reload.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::listeners::Prepared;
use super::ready::{Awaited, Notices, forwarded_groups};
use crate::config::{self, Config};
use crate::model::{ListenerId, TargetGroupId};
use crate::state::Snapshot;

/// How long a listener waits for its groups at the start, and a reload for the groups that it
/// adds or changes: a process starts in seconds, and a client waits about as long.
pub(super) const TARGETS_TIMEOUT: Duration = Duration::from_secs(10);

/// A configuration that waits for its groups. If its groups are published already, the
/// configuration in force must be published again when this is dropped.
#[derive(Debug)]
pub(super) struct PendingReload {
    pub(super) config: Config,
    /// Its sockets, bound and not yet listening.
    pub(super) prepared: Prepared,
    /// Whether its groups are published.
    pub(super) is_warming: bool,
    awaited: Vec<Awaited>,
    deadline: Instant,
    notices: Notices,
    /// Whether the log has the warning that it waits beyond the deadline.
    is_late: bool,
}

/// What has to be done with a pending reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Publish its groups.
    Warm,
    /// Ask again later.
    Wait,
    /// Put it into force.
    Switch,
}

impl PendingReload {
    pub(super) fn new(config: Config, prepared: Prepared, awaited: Vec<Awaited>) -> Self {
        let now = Instant::now();
        Self {
            config,
            prepared,
            is_warming: false,
            awaited,
            deadline: now + TARGETS_TIMEOUT,
            notices: Notices::since(now),
            is_late: false,
        }
    }

    /// Checks the groups that are waited for. `running` is the configuration in force, which
    /// serves at those of its listeners that are open.
    pub(super) fn next_step(
        &mut self,
        running: &Config,
        snapshot: &Snapshot,
        is_open: impl Fn(&ListenerId) -> bool,
        now: Instant,
    ) -> NextStep {
        let lacking = self.lacking(snapshot);
        if lacking.is_empty() {
            return NextStep::Switch;
        }
        if !self.is_warming {
            return NextStep::Warm;
        }
        let lacking: Vec<_> = lacking
            .into_iter()
            .map(|(awaited, lack)| (awaited.group.id.clone(), lack))
            .collect();
        if now < self.deadline {
            if self.notices.is_due(now) {
                for (group, reason) in lacking {
                    info!(%group, reason, "reload waits for a target group; the previous configuration serves");
                }
            }
            return NextStep::Wait;
        }
        if self.would_end_a_service(running, snapshot, is_open) {
            let is_first = !std::mem::replace(&mut self.is_late, true);
            if self.notices.is_due(now) || is_first {
                for (group, reason) in lacking {
                    warn!(
                        %group, reason,
                        "reload goes on waiting: a target group that serves would be replaced by one without a healthy target; correct the file, or the targets"
                    );
                }
            }
            return NextStep::Wait;
        }
        for (group, reason) in lacking {
            warn!(%group, reason, "reload switches to a target group that is not ready");
        }
        NextStep::Switch
    }

    /// The groups that are waited for, a sentence each.
    pub(super) fn waits(&self, snapshot: &Snapshot) -> Vec<String> {
        self.lacking(snapshot)
            .into_iter()
            .map(|(awaited, lack)| format!("reload waits for {}: {lack}", awaited.group.id))
            .collect()
    }

    fn lacking(&self, snapshot: &Snapshot) -> Vec<(&Awaited, String)> {
        self.awaited
            .iter()
            .filter_map(|awaited| Some((awaited, awaited.lacks(snapshot)?)))
            .collect()
    }

    /// Whether a listener that serves would send requests to a group without any healthy
    /// target instead of one with some.
    fn would_end_a_service(
        &self,
        running: &Config,
        snapshot: &Snapshot,
        is_open: impl Fn(&ListenerId) -> bool,
    ) -> bool {
        let open: Vec<&config::Listener> = running
            .listeners
            .iter()
            .filter(|listener| is_open(&listener.id))
            .collect();
        self.awaited
            .iter()
            .filter(|awaited| !awaited.has_any(snapshot))
            .any(|awaited| {
                self.config
                    .listeners
                    .iter()
                    .any(|next| would_lose_a_group(next, &open, awaited, snapshot))
            })
    }
}

/// Whether `next` sends requests to `awaited` and replaces a listener that would lose a group
/// which serves.
fn would_lose_a_group(
    next: &config::Listener,
    open: &[&config::Listener],
    awaited: &Awaited,
    snapshot: &Snapshot,
) -> bool {
    let groups = forwarded_groups(next);
    groups.contains(&awaited.group.id)
        && open.iter().any(|last| {
            let has_address = !next.bind.is_any_port() && last.bind == next.bind;
            let is_same = last.id == next.id || has_address;
            is_same && ends(&forwarded_groups(last), &groups, awaited, snapshot)
        })
}

/// Whether the switch would take a group that serves from a listener: one of its `last` groups
/// that is not among its `next` ones, or `awaited` itself if its targets are replaced.
fn ends(
    last: &BTreeSet<&TargetGroupId>,
    next: &BTreeSet<&TargetGroupId>,
    awaited: &Awaited,
    snapshot: &Snapshot,
) -> bool {
    let is_replaced = last.contains(&awaited.group.id) && awaited.replaces_any(snapshot);
    is_replaced
        || last
            .difference(next)
            .any(|id| snapshot.group_named(id).is_some_and(|group| group.is_alive))
}

#[cfg(test)]
mod tests {
    use super::super::listeners::Listeners;
    use super::*;
    use crate::config::parse;
    use crate::model::Health;
    use crate::model::fixture::{ONCE, check_result};
    use crate::net::descriptors::DescriptorPool;
    use crate::state::{Change, Publisher, Reader};

    /// A published configuration and a reload that is to replace it.
    struct Rig {
        running: Config,
        reload: PendingReload,
        publisher: Publisher,
        reader: Reader,
    }

    fn config(text: &str) -> Config {
        parse("test.toml", text, &|_| None).unwrap().config
    }

    /// A listener that forwards to a group, and groups with their targets.
    fn forwarding(to: &str, groups: &[(&str, &str)]) -> Config {
        let groups = groups.iter().map(|(name, targets)| {
            format!("[target_group.{name}]\ntargets = [{targets}]\nhealth = {{ path = \"/\" }}\n")
        });
        let groups: String = groups.collect();
        config(&format!(
            "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:80\"\n{to}\n{groups}"
        ))
    }

    const A: &str = "\"127.0.0.1:1\"";
    const B: &str = "\"127.0.0.1:2\"";

    impl Rig {
        async fn new(running: Config, next: Config, interim: Config) -> Self {
            let (publisher, task, reader) = Publisher::new(0);
            tokio::spawn(task.run());
            publisher.configure(running.clone()).await.unwrap();
            let awaited = Awaited::of(&running, &next, &reader.load());
            publisher.configure(interim).await.unwrap();
            let prepared = Listeners::new(DescriptorPool::new(1))
                .prepare(&Config::empty(), 1)
                .unwrap();
            let mut reload = PendingReload::new(next, prepared, awaited);
            reload.is_warming = true;
            Self {
                running,
                reload,
                publisher,
                reader,
            }
        }

        async fn check(&self, port: u16, passes: bool) {
            let result = check_result(passes, std::time::Instant::now());
            let snapshot = self.reader.load_full();
            for group in snapshot.groups() {
                let targets = group.targets.iter().map(|t| &t.target);
                for target in
                    targets.filter(|target| target.id.addr.address().unwrap().port() == port)
                {
                    target.health().lock().record(result.clone(), ONCE);
                    let target = target.id.clone();
                    self.publisher.send(Change::Health { target }).await;
                }
            }
            // Changes are applied in order: when this one is refused, those before are applied.
            let unknown = crate::model::TargetId {
                group: "none".into(),
                addr: ([127, 0, 0, 1], port).into(),
            };
            let change = crate::state::TargetChange::Drain;
            let refused = self.publisher.change_target(unknown, change).await;
            assert!(refused.is_err());
        }

        fn next_step(&mut self, after: u64) -> NextStep {
            let snapshot = self.reader.load_full();
            let now = Instant::now() + Duration::from_secs(after);
            self.reload
                .next_step(&self.running, &snapshot, |_| true, now)
        }
    }

    #[tokio::test]
    async fn a_new_group_is_waited_for_until_it_is_checked_and_healthy() {
        let blue = forwarding("forward = \"blue\"", &[("blue", A)]);
        let green = forwarding("forward = \"green\"", &[("green", B)]);
        let both = forwarding("forward = \"blue\"", &[("blue", A), ("green", B)]);
        let mut rig = Rig::new(blue, green, both).await;
        rig.check(1, true).await;
        assert_eq!(rig.next_step(0), NextStep::Wait);
        rig.check(2, false).await;
        assert_eq!(rig.next_step(0), NextStep::Wait);
        // The deadline does not count, because blue serves.
        assert_eq!(rig.next_step(60), NextStep::Wait);
        rig.check(2, true).await;
        assert_eq!(rig.next_step(0), NextStep::Switch);
    }

    #[tokio::test]
    async fn a_group_that_does_not_serve_is_replaced_after_the_deadline() {
        let blue = forwarding("forward = \"blue\"", &[("blue", A)]);
        let green = forwarding("forward = \"green\"", &[("green", B)]);
        let both = forwarding("forward = \"blue\"", &[("blue", A), ("green", B)]);
        let mut rig = Rig::new(blue, green, both).await;
        rig.check(1, false).await;
        assert_eq!(rig.next_step(0), NextStep::Wait);
        assert_eq!(rig.next_step(60), NextStep::Switch);
    }

    #[tokio::test]
    async fn targets_serve_until_one_in_their_place_does() {
        let old = forwarding("forward = \"blue\"", &[("blue", A)]);
        let new = forwarding("forward = \"blue\"", &[("blue", B)]);
        let union = forwarding("forward = \"blue\"", &[("blue", &format!("{A}, {B}"))]);
        let mut rig = Rig::new(old, new, union).await;
        rig.check(1, true).await;
        assert_eq!(rig.next_step(60), NextStep::Wait);
        rig.check(2, true).await;
        assert_eq!(rig.next_step(0), NextStep::Switch);
    }

    #[tokio::test]
    async fn a_rule_for_one_more_group_waits_only_until_the_deadline() {
        let old = forwarding("forward = \"blue\"", &[("blue", A)]);
        let more = "forward = \"blue\"\n\
                    rule = [{ priority = 1, when = { path = \"/b\" }, then = { forward = \"b\" } }]";
        let groups = [("blue", A), ("b", B)];
        let new = forwarding(more, &groups);
        let mut rig = Rig::new(old, new, forwarding("forward = \"blue\"", &groups)).await;
        rig.check(1, true).await;
        assert_eq!(rig.next_step(0), NextStep::Wait);
        assert_eq!(rig.next_step(60), NextStep::Switch);
    }

    #[tokio::test]
    async fn groups_that_stay_as_they_are_are_not_waited_for() {
        let old = forwarding("forward = \"blue\"", &[("blue", A)]);
        let mut new = old.clone();
        new.target_groups[0].slow_start = Duration::from_secs(30);
        let mut rig = Rig::new(old.clone(), new, old).await;
        let snapshot = rig.reader.load_full();
        let targets = &snapshot.groups()[0].targets;
        assert_eq!(targets[0].target.health().now(), Health::Initial);
        assert_eq!(rig.next_step(0), NextStep::Switch);
    }
}
