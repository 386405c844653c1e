//! `replicas`: how many there are at first, what each may use, and how a new one begins.

use super::{health, runner};
use crate::config::bounds;
use crate::config::defaults;
use crate::config::node::Node;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::types::{Allowance, Replicas, Scaler, WarmUpRequests};

/// `may_be_none`: the group has `autoscaling`, which says whether it may begin with none.
pub(super) fn read(
    node: &Node<'_>,
    port: runner::GroupPort,
    may_be_none: bool,
) -> Option<Replicas> {
    let section = node.section(Place::Replicas)?;
    let runner = runner::read(&section, port);
    let is_local = section.get("command").is_some() || section.get("docker").is_some();
    let least = u32::from(!may_be_none);
    let count = section
        .get("count")
        .map(|node| node.integer(least..=most(is_local)));
    let cpus = section.get("cpus").map(|node| node.number(&bounds::CPUS));
    let memory = section.get("memory").map(|node| node.size(&bounds::MEMORY));
    let scaler = section.get("scaler").map(|node| node.boolean());
    let warm_up = section.get("warm_up").map(|node| warm_up(&node));
    Some(Replicas {
        runner: runner?,
        count: count.flatten(),
        allowance: Allowance {
            cpus: cpus.flatten(),
            memory: memory.flatten(),
        },
        warm_up: warm_up.flatten(),
        scaler: match scaler.flatten() {
            None => Scaler::Lease,
            Some(true) => Scaler::Yes,
            Some(false) => Scaler::No,
        },
    })
}

/// How many replicas there may be, on one machine or on those of an engine.
pub(super) fn most(is_local: bool) -> u32 {
    if is_local {
        bounds::REPLICAS
    } else {
        bounds::ENGINE_REPLICAS
    }
}

fn warm_up(node: &Node<'_>) -> Option<WarmUpRequests> {
    let section: Section<'_> = node.section(Place::WarmUp)?;
    let path = section
        .require("path", "write { path = \"/api/v1/todos\", requests = 20 }")
        .and_then(|node| health::path(&node));
    let count = section.integer(
        "requests",
        bounds::WARM_UP_REQUESTS,
        defaults::WARM_UP_REQUESTS,
    );
    let timeout = section.duration("timeout", &bounds::TIMEOUT, defaults::WARM_UP_TIMEOUT);
    Some(WarmUpRequests {
        path: path?,
        count,
        timeout,
    })
}
