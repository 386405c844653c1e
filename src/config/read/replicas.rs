//! `replicas`: how many there are at first, what each may use, and how a new one begins.

use super::group_port::GroupPort;
use super::{health, runner};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::section::Section;
use crate::config::types::{Allowance, Replicas, Runner, Scaler, WarmUpRequests};
use crate::model::TargetProtocol;

/// `may_be_none`: the group has `autoscaling`, which says whether it may begin with none.
pub(super) fn read(
    node: &Node<'_>,
    port: GroupPort,
    protocol: TargetProtocol,
    may_be_none: bool,
) -> Option<Replicas> {
    let section = node.section(&keys::REPLICAS)?;
    let runner = runner::read(&section, port);
    let is_local = section.get("command").is_some() || section.get("docker").is_some();
    let least = i64::from(!may_be_none);
    let count = section.get("count");
    let count = count.and_then(|node| node.count_within(&(least..=keys::most_replicas(is_local))));
    let allowance = Allowance {
        cpus: section.get("cpus").and_then(|node| node.number()),
        memory: section.get("memory").and_then(|node| node.size()),
    };
    let scaler = section.get("scaler").and_then(|node| node.boolean());
    let warm_up = section.get("warm_up");
    let warm_up = warm_up.and_then(|node| self::warm_up(&node, protocol));
    Some(Replicas {
        runner: runner?,
        count,
        allowance,
        warm_up,
        scaler: match scaler {
            None => Scaler::Lease,
            Some(true) => Scaler::Yes,
            Some(false) => Scaler::No,
        },
    })
}

impl Runner {
    /// The most replicas that a group may have.
    pub fn most_replicas(&self) -> u32 {
        u32::try_from(keys::most_replicas(self.is_own())).unwrap_or(u32::MAX)
    }
}

fn warm_up(node: &Node<'_>, protocol: TargetProtocol) -> Option<WarmUpRequests> {
    let section: Section<'_> = node.section(&keys::WARM_UP)?;
    let path = section
        .require("path", "write { path = \"/api/v1/todos\", requests = 20 }")
        .and_then(|node| health::path(&node));
    let count = section.count("requests");
    let timeout = section.duration("timeout");
    Some(WarmUpRequests {
        is_http2: protocol.is_http2(),
        path: path?,
        count,
        timeout,
        tls: None,
    })
}
