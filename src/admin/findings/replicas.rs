//! What is wrong with the replicas of a group.

use std::time::Duration;

use jiff::Timestamp;

use super::super::finding::Finding;
use super::super::replica_status::ReplicaStatus;
use super::super::status::GroupStatus;
use super::super::time::{age, between};

/// So many exits within this time are a loop.
const LOOP_EXITS: usize = 3;
const LOOP_WINDOW: Duration = Duration::from_secs(600);

/// The reason of a stop that no side has asked for.
const EXITED: &str = "exited";

pub(super) fn find(group: &GroupStatus, now: Timestamp) -> Vec<Finding> {
    let found = group.replicas.iter();
    let found = found.filter_map(|replica| crash_loop(replica, group, now));
    found.map(|one| one.of_group(&group.name)).collect()
}

fn crash_loop(replica: &ReplicaStatus, group: &GroupStatus, now: Timestamp) -> Option<Finding> {
    let exits = group.stopped_replicas.iter().filter(|run| {
        let is_own = run.id == replica.id && run.reason == EXITED;
        is_own && between(run.stopped, now) < LOOP_WINDOW
    });
    let count = exits.count();
    if count < LOOP_EXITS {
        return None;
    }
    let last = replica.last_exit.as_ref();
    let last = last.map_or(String::new(), |exit| {
        let ago = age(between(exit.at, now));
        format!(", the last time {ago} ago with {}", exit.status)
    });
    let text = format!(
        "it exits again and again: {count} times in {} minutes{last}",
        LOOP_WINDOW.as_secs() / 60
    );
    let hint = "`weir logs` shows its last lines, `weir events --kind replica` how it exited";
    let finding = Finding::error("replica_crash_loop", text).hint(hint);
    Some(finding.of_replica(name(replica).unwrap_or_else(|| replica.id.to_string())))
}

fn name(replica: &ReplicaStatus) -> Option<String> {
    let address = || replica.address.map(|address| address.to_string());
    replica.name.clone().or_else(address)
}
