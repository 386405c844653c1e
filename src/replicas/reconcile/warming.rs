//! Warm-up requests to the new replicas of one provider.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::task::{Id, JoinSet};
use tracing::{info, warn};

use super::listing::{Listing, Running};
use super::warm_up::{Warmth, warm_up};
use crate::config::WarmUpRequests;
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::ReplicaId;

/// Most replicas that are warmed up at a time.
const MAX_WARM_UPS: usize = 256;

/// Owns the tasks that send the requests; dropping it ends them.
#[derive(Debug)]
pub(super) struct Warming {
    group: TargetGroupId,
    /// The task that warms a replica up; `None` once it is warm.
    known: HashMap<Running, Option<Id>>,
    tasks: JoinSet<()>,
    /// Whether there were requests when the list was followed last.
    has_requests: bool,
}

impl Warming {
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            known: HashMap::new(),
            tasks: JoinSet::new(),
            has_requests: false,
        }
    }

    /// Begins with the replicas that run and are no targets yet, and forgets those that are
    /// not listed any more. Begins nothing without `requests`. Replicas that are targets when
    /// the first requests are configured are warm: they serve already.
    pub(super) fn follow(
        &mut self,
        listing: &Listing,
        members: &[SocketAddr],
        requests: Option<&WarmUpRequests>,
    ) {
        self.known
            .retain(|known, _| listing.running.contains(known));
        let had_requests = std::mem::replace(&mut self.has_requests, requests.is_some());
        let Some(requests) = requests else {
            return;
        };
        if !had_requests {
            let running = listing.running.iter().copied();
            let serving = running.filter(|replica| members.contains(&replica.address));
            self.known.extend(serving.map(|replica| (replica, None)));
        }
        for new in &listing.running {
            let is_known = members.contains(&new.address) || self.known.contains_key(new);
            if is_known || self.tasks.len() >= MAX_WARM_UPS {
                continue;
            }
            let (group, requests, new) = (self.group.clone(), requests.clone(), *new);
            let task = self.tasks.spawn(async move {
                let warmth = warm_up(new.address, &requests).await;
                log(&group, new.id, new.address, &warmth);
            });
            self.known.insert(new, Some(task.id()));
        }
    }

    pub(super) fn is_warm(&self, replica: &Running) -> bool {
        self.known.get(replica).is_some_and(Option::is_none)
    }

    /// Waits until one more replica is warm; for ever if none is being warmed up. Cancel-safe.
    pub(super) async fn progress(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        // A failure of Weir's own must not keep a replica out.
        let ended_id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        for task in self.known.values_mut() {
            task.take_if(|id| *id == ended_id);
        }
    }
}

fn log(group: &TargetGroupId, replica: ReplicaId, addr: SocketAddr, warmth: &Warmth) {
    let (replica, served) = (replica.0, warmth.served);
    match &warmth.failure {
        None => info!(event = kind::REPLICA, %group, replica, %addr, served, "replica is warm"),
        Some(error) => warn!(
            event = kind::REPLICA, %group, replica, %addr, served, error,
            "warm-up requests fail; the replica becomes a target as it is"
        ),
    }
}
