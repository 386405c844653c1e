//! What the configuration needs of the limit of open files, and what it gets.

use tracing::warn;

use super::worker_count;
use crate::config::{Config, TargetGroup};
use crate::net::descriptors::{Needs, Share, Shares, limit, open};

/// Open files of a process that has just started, on systems that do not tell.
const AT_START: usize = 32;

/// Pipes and sockets for each replica that Weir runs itself.
const PER_REPLICA: usize = 4;

/// Health checks that may run at a time; they are spread over their interval.
const CHECKS: usize = 1000;

/// The descriptors of the data plane, over all workers.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) clients: Share,
    pub(super) targets: Share,
    /// As shared out last.
    shares: Shares,
    /// Open before the first listener.
    at_start: usize,
}

impl Descriptors {
    /// Shares the limit out for a configuration that nothing has been opened for yet.
    pub(super) fn new(config: &Config) -> Self {
        let at_start = open().unwrap_or(AT_START).min(limit() / 4);
        let shares = needs(config, at_start).share(limit());
        warn_if_short(&shares);
        Self {
            clients: Share::new(shares.clients),
            targets: Share::new(shares.targets),
            shares,
            at_start,
        }
    }

    /// Shares it out anew. What connections have is left to them.
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

fn adapt(share: &Share, from: usize, to: usize) {
    if to > from {
        share.grow(to - from);
    } else {
        share.shrink(from - to);
    }
}

fn warn_if_short(shares: &Shares) {
    if shares.is_short {
        warn!(
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
    // Each has a copy for a process that takes over; an inherited one may come on top.
    let sockets = 3 * worker_count(config) * config.listeners.len();
    let clients = config.listeners.iter().map(|l| l.max_connections);
    let groups = config.target_groups.iter();
    let replicas = groups.clone().map(replicas).sum::<usize>();
    let checked = groups.filter(|group| group.health.is_some());
    let checks = checked.map(|group| group.targets.len()).sum::<usize>();
    Needs {
        fixed: at_start + sockets + 3 * worker_count(config),
        clients: clients.fold(0, usize::saturating_add),
        control: checks.min(CHECKS) + PER_REPLICA * replicas,
    }
}

/// The most replicas that Weir itself may come to run in a group.
fn replicas(group: &TargetGroup) -> usize {
    let is_own = group.replicas.as_ref().is_some_and(|r| r.runner.is_own());
    let most = group.autoscaling.as_ref().map(|scaling| scaling.max);
    let most = most.or(group.first_replicas()).filter(|_| is_own);
    most.unwrap_or_default() as usize
}
