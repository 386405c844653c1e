//! The new replicas of a group that are being warmed up.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::task::{Id, JoinSet};
use tracing::{info, warn};

use super::ReplicaId;
use super::generation::Generation;
use super::warm_up::{Warmth, warm_up};
use crate::model::TargetGroupId;

/// Most replicas that are warmed up at a time.
const MOST: usize = 256;

/// A replica that is no target yet: of which generation, which, and where.
pub(super) type New = (u64, ReplicaId, SocketAddr);

/// Owns the warm-ups; dropping it ends them.
#[derive(Debug)]
pub(super) struct Warming {
    group: TargetGroupId,
    /// Who is asking them; `None` once they are warm.
    known: HashMap<New, Option<Id>>,
    running: JoinSet<()>,
}

impl Warming {
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            known: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Begins with those who are new, and forgets those who are gone.
    pub(super) fn follow(&mut self, generations: &[Generation]) {
        self.known.retain(|(number, id, addr), _| {
            let mut generations = generations.iter();
            generations.any(|all| all.number == *number && all.runs(*id, *addr))
        });
        for generation in generations {
            let Some(wanted) = generation.warm_up() else {
                continue;
            };
            for (id, addr) in generation.new_ones() {
                let new = (generation.number, id, addr);
                if self.running.len() >= MOST || self.known.contains_key(&new) {
                    continue;
                }
                let (group, wanted) = (self.group.clone(), wanted.clone());
                let asks = self.running.spawn(async move {
                    tell(&group, id, addr, &warm_up(addr, &wanted).await);
                });
                self.known.insert(new, Some(asks.id()));
            }
        }
    }

    pub(super) fn is_warm(&self, new: &New) -> bool {
        self.known.get(new).is_some_and(Option::is_none)
    }

    /// Waits until one more is warm; for ever while nobody is being warmed up. Cancel-safe.
    pub(super) async fn progress(&mut self) {
        let Some(ended) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        // A failure of Weir's own must not keep a replica out.
        let ended = ended.map_or_else(|error| error.id(), |(id, ())| id);
        for asks in self.known.values_mut() {
            asks.take_if(|id| *id == ended);
        }
    }
}

fn tell(group: &TargetGroupId, replica: ReplicaId, addr: SocketAddr, warmth: &Warmth) {
    let (replica, served) = (replica.0, warmth.served);
    match &warmth.failure {
        None => info!(%group, replica, %addr, served, "replica is warm"),
        Some(error) => warn!(%group, replica, %addr, served, error, "warm-up requests fail"),
    }
}
