//! Shares the limit of open files out between clients, targets and the control plane.

use tracing::warn;

use super::worker;
use crate::config::{Config, TargetGroup};
use crate::net::descriptors::{DescriptorPool, Needs, Shares, limit, open};
use crate::observe::kind;

/// Open files of a process that has just started, assumed where the system does not tell.
const OPEN_AT_START: usize = 32;

/// Pipes and sockets for each replica that runs as a child process.
const PER_REPLICA: usize = 4;

/// Most health checks that run at a time; they are spread over their interval.
const MAX_CHECKS: usize = 1000;

/// The descriptors of the data plane, over all workers.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) clients: DescriptorPool,
    pub(super) targets: DescriptorPool,
    /// The result of the last division.
    shares: Shares,
    /// Open before the first listener.
    at_start: usize,
}

impl Descriptors {
    /// Shares the limit out for a configuration for which nothing is open yet.
    pub(super) fn new(config: &Config) -> Self {
        let at_start = open().unwrap_or(OPEN_AT_START).min(limit() / 4);
        let shares = needs(config, at_start).share(limit());
        warn_if_short(&shares);
        Self {
            clients: DescriptorPool::new(shares.clients),
            targets: DescriptorPool::new(shares.targets),
            shares,
            at_start,
        }
    }

    /// Shares it out anew. Open connections keep their descriptors.
    pub(super) fn adapt(&mut self, config: &Config) {
        let shares = needs(config, self.at_start).share(limit());
        if shares == self.shares {
            return;
        }
        warn_if_short(&shares);
        adapt(&self.clients, self.shares.clients, shares.clients);
        adapt(&self.targets, self.shares.targets, shares.targets);
        self.shares = shares;
    }
}

fn adapt(share: &DescriptorPool, from: usize, to: usize) {
    if to > from {
        share.grow(to - from);
    } else {
        share.shrink(from - to);
    }
}

fn warn_if_short(shares: &Shares) {
    if shares.is_short {
        warn!(
            event = kind::LIMIT,
            limit = limit(),
            needed = shares.needed,
            "too few open files are allowed for the `max_connections` of all listeners: at most \
             {} clients and {} connections to targets at a time, others wait; raise the limit \
             (LimitNOFILE of systemd, ulimit -n)",
            shares.clients,
            shares.targets
        );
    }
}

fn needs(config: &Config, at_start: usize) -> Needs {
    // Each socket has a copy for a process that takes over, and perhaps an inherited one.
    let sockets = 3 * worker::count(config) * config.listeners.len();
    let replicas: usize = config.target_groups.iter().map(max_own_replicas).sum();
    let checks: usize = config
        .target_groups
        .iter()
        .filter(|group| group.health.is_some())
        .map(|group| group.targets.len())
        .sum();
    Needs {
        fixed: at_start + sockets + 3 * worker::count(config),
        clients: config
            .listeners
            .iter()
            .map(|listener| listener.max_connections)
            .fold(0, usize::saturating_add),
        control: checks.min(MAX_CHECKS) + PER_REPLICA * replicas,
    }
}

/// The most replicas that a group may have as child processes.
fn max_own_replicas(group: &TargetGroup) -> usize {
    if !group.replicas.as_ref().is_some_and(|r| r.runner.is_own()) {
        return 0;
    }
    let max = group.autoscaling.as_ref().map(|scaling| scaling.max);
    max.or(group.first_replicas()).unwrap_or_default() as usize
}
