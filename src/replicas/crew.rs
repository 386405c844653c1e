//! The replicas of one group as targets: who runs is registered, who drains is taken
//! out and let go once its requests have ended.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Provider, ProviderError, Replica, ReplicaId, ReplicaState, Status};
use crate::config::Replicas;
use crate::model::{Target, TargetGroupId};
use crate::state::{Change, Publisher, Reader, Source};

/// Between looks at whether a draining replica's target has been released.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Configured replicas all take the same share.
const WEIGHT: u16 = 1;

/// What is to become of a group's replicas.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Run as configured, so many; `None` leaves the number as the provider has it.
    Run(Replicas, Option<u32>),
    /// Drain all of them: the group has no replicas any more.
    Retire,
    /// Stop all of them now: Weir ends, and has drained.
    Stop,
}

/// Owns the provider of one group.
pub(super) struct Crew {
    pub(super) group: TargetGroupId,
    pub(super) provider: Box<dyn Provider>,
    pub(super) publisher: Publisher,
    pub(super) reader: Reader,
    pub(super) status: watch::Sender<Status>,
    /// What the publisher was told last; `None` when it has to be told (again), as at
    /// the start, when it may still list what an earlier crew has left.
    published: Option<Vec<SocketAddr>>,
    /// The targets behind running replicas: once removed, no snapshot has them.
    targets: HashMap<SocketAddr, Arc<Target>>,
    draining: HashSet<ReplicaId>,
    drains: JoinSet<ReplicaId>,
    /// Whether there will be more snapshots.
    is_followed: bool,
}

impl Crew {
    pub(super) fn new(
        group: TargetGroupId,
        provider: Box<dyn Provider>,
        publisher: Publisher,
        reader: Reader,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            group,
            provider,
            publisher,
            reader,
            status,
            published: None,
            targets: HashMap::new(),
            draining: HashSet::new(),
            drains: JoinSet::new(),
            is_followed: true,
        }
    }

    /// Follows orders until the last replica is gone after one to retire or stop.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut order = orders.borrow_and_update().clone();
        let mut obeyed = self.obey(&order).await;
        loop {
            self.complain(obeyed);
            let left = self.sync(&order).await;
            if left == Some(0) && !matches!(order, Order::Run(..)) {
                break;
            }
            // Every arm is cancel-safe: each either waits or took what it waited for.
            obeyed = tokio::select! {
                open = orders.changed() => {
                    order = match open {
                        Ok(()) => orders.borrow_and_update().clone(),
                        // Without a supervisor Weir ends.
                        Err(_) if order == Order::Stop => return,
                        Err(_) => Order::Stop,
                    };
                    self.obey(&order).await
                }
                () = self.provider.changed() => Ok(()),
                Some(drained) = self.drains.join_next() => match drained {
                    Ok(replica) => self.provider.release(replica).await,
                    Err(_) => Ok(()),
                },
                more = self.reader.changed(), if self.is_followed => {
                    self.is_followed = more;
                    Ok(())
                }
            };
        }
        self.status.send_modify(|status| {
            status.remove(&self.group);
        });
    }

    async fn obey(&mut self, order: &Order) -> Result<(), ProviderError> {
        match order {
            Order::Run(settings, count) => {
                self.provider.configure(settings).await?;
                match count {
                    Some(count) => self.provider.set_count(*count, &[]).await,
                    None => Ok(()),
                }
            }
            Order::Retire => self.provider.set_count(0, &[]).await,
            Order::Stop => {
                self.drains.shutdown().await;
                self.draining.clear();
                self.provider.set_count(0, &[]).await
            }
        }
    }

    /// Brings targets, drains and status in line with the provider's list, and says how
    /// many replicas there are; `None` when the provider cannot tell.
    async fn sync(&mut self, order: &Order) -> Option<usize> {
        let fleet = match self.provider.fleet().await {
            Ok(fleet) => fleet,
            Err(error) => {
                self.complain(Err(error));
                return None;
            }
        };
        self.status.send_if_modified(|status| {
            let group = status.entry(self.group.clone()).or_default();
            let is_other = group.desired != fleet.desired || group.replicas != fleet.replicas;
            group.desired = fleet.desired;
            group.replicas.clone_from(&fleet.replicas);
            is_other
        });
        let replicas = fleet.replicas;
        self.remember_targets();
        self.publish(&replicas).await;
        for replica in &replicas {
            if replica.state == ReplicaState::Draining && self.draining.insert(replica.id) {
                self.let_go(replica, order).await;
            }
        }
        let is_listed = |id: &ReplicaId| replicas.iter().any(|replica| replica.id == *id);
        self.draining.retain(is_listed);
        let is_used = |addr: &SocketAddr| replicas.iter().any(|r| r.address == Some(*addr));
        self.targets.retain(|addr, _| is_used(addr));
        Some(replicas.len())
    }

    /// Keeps hold of the targets that were published, and notices when they got lost.
    fn remember_targets(&mut self) {
        let snapshot = self.reader.load_full();
        let listed = snapshot
            .group_named(&self.group)
            .map(|group| &group.targets);
        let find = |addr: SocketAddr| {
            let mut members = listed?.iter().filter(|t| !t.registration.is_leaving());
            let found = members.find(|t| t.target.id.addr == addr)?;
            Some((addr, found.target.clone()))
        };
        let published = self.published.iter().flatten();
        let found: Option<Vec<_>> = published.map(|&addr| find(addr)).collect();
        match found {
            Some(found) => self.targets.extend(found),
            // Not visible yet, or lost by a group that was removed and came back before
            // anybody looked: saying it twice does no harm.
            None => self.published = None,
        }
    }

    async fn publish(&mut self, replicas: &[Replica]) {
        let is_running = |replica: &&Replica| replica.state == ReplicaState::Running;
        let running = replicas.iter().filter(is_running);
        let addresses: Vec<SocketAddr> = running.filter_map(|replica| replica.address).collect();
        if self.published.as_ref() == Some(&addresses) {
            return;
        }
        // A reload that takes the replicas out of a group takes their members out too;
        // saying more would bring back the dead when the replicas come back.
        if self.is_configured() {
            let members = addresses.iter().map(|&addr| (addr, WEIGHT)).collect();
            let change = Change::Members {
                group: self.group.clone(),
                source: Source::Replicas,
                members,
            };
            // Without a publisher nobody is sent requests.
            let _ = self.publisher.send(change).await;
        }
        self.published = Some(addresses);
    }

    fn is_configured(&self) -> bool {
        let snapshot = self.reader.load_full();
        let mut groups = snapshot.config.target_groups.iter();
        groups.any(|group| group.id == self.group && group.replicas.is_some())
    }

    /// Releases a replica once its target has left the group and has drained, or has had
    /// the group's deregistration delay.
    async fn let_go(&mut self, replica: &Replica, order: &Order) {
        let id = replica.id;
        let target = replica.address.and_then(|addr| self.targets.remove(&addr));
        match target {
            Some(target) if *order != Order::Stop => {
                info!(group = %self.group, replica = replica.pid, "replica drains");
                self.drains.spawn(async move {
                    while !target.is_released() {
                        sleep(LOOK_AGAIN).await;
                    }
                    id
                });
            }
            Some(_) | None => {
                let released = self.provider.release(id).await;
                self.complain(released);
            }
        }
    }

    fn complain(&self, result: Result<(), ProviderError>) {
        if let Err(error) = result {
            warn!(group = %self.group, %error, "cannot manage replicas");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use async_trait::async_trait;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::super::Fleet;
    use super::super::fixture::processes;
    use super::*;
    use crate::state::fixture::{empty_group, publish};

    const DELAY: Duration = Duration::from_secs(30);

    /// Replicas that run at once, and go when they are released.
    #[derive(Clone, Default)]
    struct Fake {
        replicas: Arc<Mutex<Vec<Replica>>>,
        news: Arc<Notify>,
    }

    #[async_trait]
    impl Provider for Fake {
        async fn configure(&mut self, _: &Replicas) -> Result<(), ProviderError> {
            Ok(())
        }

        async fn set_count(&mut self, count: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
            let mut replicas = self.replicas.lock().unwrap();
            for n in replicas.len() as u32..count {
                replicas.push(Replica {
                    id: ReplicaId(n.into()),
                    name: None,
                    pid: None,
                    address: Some(([127, 0, 0, 1], 6400 + n as u16).into()),
                    state: ReplicaState::Running,
                    restarts: 0,
                    since: SystemTime::UNIX_EPOCH,
                });
            }
            for replica in replicas.iter_mut().skip(count as usize) {
                replica.state = ReplicaState::Draining;
            }
            self.news.notify_one();
            Ok(())
        }

        async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
            let replicas = self.replicas.lock().unwrap().clone();
            Ok(Fleet {
                desired: replicas.len() as u32,
                replicas,
            })
        }

        async fn changed(&mut self) {
            self.news.notified().await;
        }

        async fn release(&mut self, id: ReplicaId) -> Result<(), ProviderError> {
            let mut replicas = self.replicas.lock().unwrap();
            let released = replicas
                .iter()
                .position(|replica| replica.id == id)
                .unwrap();
            assert_eq!(replicas[released].state, ReplicaState::Draining);
            replicas.remove(released);
            self.news.notify_one();
            Ok(())
        }
    }

    struct Rig {
        fake: Fake,
        reader: Reader,
        orders: watch::Sender<Order>,
        crew: JoinHandle<()>,
    }

    fn replicas(count: u32) -> Replicas {
        processes(count, &["replica"])
    }

    fn run(count: u32) -> Order {
        Order::Run(replicas(count), Some(count))
    }

    impl Rig {
        /// A crew with two replicas, both of them targets.
        async fn start() -> Self {
            let mut group = empty_group();
            group.replicas = Some(replicas(2));
            group.deregistration_delay = DELAY;
            let (publisher, reader) = publish(vec![group]).await;
            let fake = Fake::default();
            let crew = Crew::new(
                "todo".into(),
                Box::new(fake.clone()),
                publisher,
                reader.clone(),
                watch::Sender::default(),
            );
            let (orders, receiver) = watch::channel(run(2));
            let crew = tokio::spawn(crew.run(receiver));
            let rig = Self {
                fake,
                reader,
                orders,
                crew,
            };
            rig.settle().await;
            assert_eq!(rig.targets().len(), 2);
            rig
        }

        /// Under a paused clock every task runs until all of them wait.
        async fn settle(&self) {
            sleep(4 * LOOK_AGAIN).await;
        }

        fn targets(&self) -> Vec<Arc<Target>> {
            let snapshot = self.reader.load_full();
            let targets = snapshot.groups()[0].targets.iter();
            let active = targets.filter(|t| t.registration.is_active());
            active.map(|t| t.target.clone()).collect()
        }

        fn count(&self) -> usize {
            self.fake.replicas.lock().unwrap().len()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_let_go_when_its_last_request_has_ended() {
        let rig = Rig::start().await;
        let lease = rig.targets()[1].lease();
        rig.orders.send_replace(run(1));
        rig.settle().await;
        assert_eq!(rig.targets().len(), 1, "no new requests");
        sleep(DELAY / 2).await;
        assert_eq!(rig.count(), 2);
        drop(lease);
        rig.settle().await;
        assert_eq!(rig.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_end_does_not_keep_a_replica_for_ever() {
        let rig = Rig::start().await;
        let _lease = rig.targets()[1].lease();
        rig.orders.send_replace(run(1));
        sleep(DELAY / 2).await;
        assert_eq!(rig.count(), 2);
        sleep(DELAY / 2).await;
        rig.settle().await;
        assert_eq!(rig.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_nobody() {
        let rig = Rig::start().await;
        let _lease = rig.targets()[1].lease();
        rig.orders.send_replace(run(1));
        rig.settle().await;
        rig.orders.send_replace(Order::Stop);
        rig.settle().await;
        assert_eq!(rig.count(), 0);
        assert!(rig.crew.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_supervisor_everything_stops() {
        let rig = Rig::start().await;
        let _lease = rig.targets()[0].lease();
        drop(rig.orders);
        sleep(LOOK_AGAIN).await;
        assert!(rig.crew.is_finished());
        assert!(rig.fake.replicas.lock().unwrap().is_empty());
    }
}
