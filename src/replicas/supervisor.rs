//! One crew per group that has replicas, started and retired as snapshots come.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::error;

use super::crew::{Crew, Order, Start};
use super::{Status, Wishes};
use crate::config::{Runner, Scaler, TargetGroup};
use crate::model::TargetGroupId;
use crate::state::{Publisher, Reader, Snapshot};

/// Owns the crews; dropping it drops them.
pub(super) struct Supervisor {
    reader: Reader,
    publisher: Publisher,
    wishes: watch::Receiver<Wishes>,
    status: watch::Sender<Status>,
    start: Start,
    crews: HashMap<TargetGroupId, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    orders: watch::Sender<Order>,
    task: Id,
}

impl Supervisor {
    /// `start` makes the provider of a group.
    pub(super) fn new(
        reader: Reader,
        publisher: Publisher,
        wishes: watch::Receiver<Wishes>,
        status: watch::Sender<Status>,
        start: Start,
    ) -> Self {
        Self {
            reader,
            publisher,
            wishes,
            status,
            start,
            crews: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Follows the snapshots until `shutdown` is done, and ends when the last replica
    /// has.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        self.follow(&self.reader.load_full());
        loop {
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                () = &mut shutdown => break,
                more = self.reader.changed() => {
                    if !more {
                        break;
                    }
                }
                Ok(()) = self.wishes.changed() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            }
            self.follow(&self.reader.load_full());
        }
        for crew in self.crews.values() {
            // A crew that has ended needs no order.
            let _ = crew.orders.send(Order::Stop);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Gives every crew its order, and starts those that are missing.
    fn follow(&mut self, snapshot: &Snapshot) {
        let groups = snapshot.config.target_groups.iter();
        let mut wanted: HashMap<&TargetGroupId, Order> = groups
            .filter_map(|group| Some((&group.id, self.order(group)?)))
            .collect();
        for (group, crew) in &self.crews {
            let order = wanted.remove(group).unwrap_or(Order::Retire);
            crew.orders.send_if_modified(|current| {
                let is_other = *current != order;
                *current = order;
                is_other
            });
        }
        for (group, order) in wanted {
            self.start_crew(group, order);
        }
    }

    /// What a group's crew is to do. A wish for a group that has no replicas yet is kept for
    /// when it has.
    fn order(&self, group: &TargetGroup) -> Option<Order> {
        let replicas = group.replicas.clone()?;
        let wish = self.wishes.borrow().get(&group.id).copied();
        // What another Weir scales, nobody's wish here is for.
        let wish = wish.filter(|_| replicas.scaler != Scaler::No);
        let is_engine = match replicas.runner {
            Runner::Process(_) | Runner::Docker(_) => false,
            Runner::Swarm(_)
            | Runner::Kubernetes(_)
            | Runner::Ecs(_)
            | Runner::Exec(_)
            | Runner::Webhook(_) => true,
        };
        // What an engine has scaled to stands when Weir is started again.
        let stands = is_engine && group.autoscaling.is_some();
        let first = group.first_replicas().filter(|_| !stands);
        Some(Order::Run(Box::new(replicas), wish.or(first)))
    }

    fn start_crew(&mut self, group: &TargetGroupId, order: Order) {
        let crew = Crew::new(
            group.clone(),
            self.start.clone(),
            self.publisher.clone(),
            self.reader.clone(),
            self.status.clone(),
        );
        let (orders, receiver) = watch::channel(order);
        let task = self.tasks.spawn(crew.run(receiver)).id();
        self.crews.insert(group.clone(), Running { orders, task });
    }

    /// Forgets a crew that has ended. The next look at the snapshot starts another one
    /// if there is to be one.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                error!(%error, "managing the replicas of a group panicked, starting again");
                error.id()
            }
        };
        self.crews.retain(|_, crew| crew.task != id);
    }
}
