//! Takes the points of the history.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::context::Context;
use super::history::{GroupPoint, Load, Point};
use super::status::healthy;
use super::time::timestamp;
use crate::autoscale::Reading;
use crate::observe::TargetTraffic;
use crate::replicas::{GroupReplicas, ReplicaState};
use crate::state::Group;

/// Groups that have points of their own, the first of the configuration: what a point takes is
/// bounded by them.
const MAX_GROUPS: usize = 64;

/// Takes a point, if the last is old enough. To be called every
/// [`POINT_INTERVAL`](super::history::POINT_INTERVAL).
pub(super) fn take(context: &Context, now: Instant) {
    let traffic = context.metrics.group_traffic();
    context.history.add(now, traffic, |interval, recent| {
        point(context, interval, recent)
    });
}

fn point(context: &Context, interval: Duration, recent: &HashMap<String, TargetTraffic>) -> Point {
    let snapshot = context.reader.load_full();
    let mut all = TargetTraffic::default();
    for traffic in recent.values() {
        all.add(traffic);
    }
    let in_flight = snapshot.groups().iter().map(in_flight).sum();
    let groups = snapshot.groups().iter().take(MAX_GROUPS).map(|group| {
        let traffic = recent.get(&*group.id.0).cloned().unwrap_or_default();
        let load = Load::of(&traffic, interval, self::in_flight(group));
        (group.id.clone(), group_point(context, group, load))
    });
    Point {
        at: timestamp(SystemTime::now()),
        load: Load::of(&all, interval, in_flight),
        groups: groups.collect(),
    }
}

fn group_point(context: &Context, group: &Group, load: Load) -> GroupPoint {
    let replicas = context.replicas.borrow();
    let replicas = replicas.get(&group.id);
    let log = context.autoscaling.group(&group.id);
    let targets = group.config.autoscaling.iter();
    let targets = targets.flat_map(|policies| &policies.target_tracking);
    let target = |label: &str| {
        // A custom metric has labels after its name.
        let is_of = |name: &str| {
            let rest = label.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let mut policies = targets.clone();
        let found = policies.find(|policy| is_of(policy.metric.name()));
        found.map(|policy| policy.target)
    };
    let readings = log.iter().flat_map(|log| &log.readings);
    GroupPoint {
        load,
        healthy: healthy(group),
        desired: replicas.map(|replicas| replicas.desired),
        running: replicas.map(running),
        metrics: readings
            .map(|(label, reading)| {
                let value = match reading {
                    Reading::Value(value) => Some(*value),
                    Reading::Missing(_) => None,
                };
                (label.clone(), value, target(label))
            })
            .collect(),
    }
}

fn running(group: &GroupReplicas) -> u32 {
    let replicas = group.replicas.iter();
    let running = replicas.filter(|replica| replica.state == ReplicaState::Running);
    running.count() as u32
}

fn in_flight(group: &Group) -> u32 {
    let targets = group.targets.iter();
    targets.map(|member| member.target.load().in_flight()).sum()
}
