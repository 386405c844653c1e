//! Which replicas of a provider are targets, and when those that are told to go may be
//! stopped. Pure but for log lines.
//!
//! A replica that runs is a target once it is warm. One that is told to go stays a target
//! until one that comes in its place can serve, drains then, and is released when its last
//! request has ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::{info, warn};

use super::listing::{Listing, Running};
use crate::model::{Health, TargetGroupId};
use crate::observe::kind;
use crate::replicas::{Fault, ReplicaId};
use crate::target::Target;

/// Between looks at whether draining targets have been released.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// The live targets of a group, by address.
pub(super) type Targets = HashMap<SocketAddr, Arc<Target>>;

/// The targets of a group as the newest snapshot has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetView<'a> {
    pub(super) targets: &'a Targets,
    /// Whether they are checked; all of them count as healthy otherwise.
    pub(super) is_checked: bool,
}

/// How far a provider's list is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Replicas that are told to go stay targets while those in their place cannot serve.
    /// Not those of an engine, which has begun to stop them.
    pub(super) awaits_successors: bool,
    /// A list without a running replica is not believed against health checks that pass. Not
    /// where Weir runs the replicas itself and knows, or where none should run.
    pub(super) doubts_empty_lists: bool,
}

/// What the replicas of one provider are to their group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The addresses that are to be targets.
    pub(super) members: Vec<SocketAddr>,
    drains: BTreeMap<ReplicaId, Drain>,
    /// Why the list is not believed, if it is not.
    pub(super) doubt: Option<Fault>,
}

/// How far a replica is that is told to go and is no member any more.
#[derive(Debug)]
enum Drain {
    /// Its last requests are waited for.
    Waiting(Arc<Target>),
    /// The provider is to be told that it may be stopped.
    Done,
    /// The provider has been told.
    Released,
}

impl TargetView<'_> {
    /// Whether the target at an address gets requests.
    fn serves(&self, addr: &SocketAddr) -> bool {
        let target = self.targets.get(addr);
        target.is_some_and(|target| !self.is_checked || target.health().is_healthy())
    }

    fn passes_checks(&self, addr: &SocketAddr) -> bool {
        self.is_checked && self.serves(addr)
    }

    fn awaits_check(&self, addr: &SocketAddr) -> bool {
        let target = self.targets.get(addr);
        self.is_checked && target.is_none_or(|target| target.health().now() == Health::Initial)
    }
}

impl Membership {
    /// Whether any member gets requests.
    pub(super) fn serves(&self, view: &TargetView<'_>) -> bool {
        self.members.iter().any(|addr| view.serves(addr))
    }

    /// Decides which addresses are to be targets: of the replicas that run those for which
    /// `is_warm` says so, and a few that the list has not, see [`Rules`].
    pub(super) fn choose(
        &mut self,
        group: &TargetGroupId,
        listing: &Listing,
        view: &TargetView<'_>,
        rules: Rules,
        is_warm: impl Fn(&Running) -> bool,
    ) {
        let warm = listing.running.iter().filter(|replica| is_warm(replica));
        let mut members: Vec<SocketAddr> = warm.map(|replica| replica.address).collect();
        if rules.awaits_successors {
            let cold = listing.running.len() - members.len();
            let unchecked = members.iter().filter(|a| view.awaits_check(a)).count();
            members.extend(self.predecessors(listing, cold + unchecked));
        }
        let forgotten = if rules.doubts_empty_lists && listing.running.is_empty() {
            self.forgotten(listing, view)
        } else {
            Vec::new()
        };
        self.note_doubt(group, listing.ignored, forgotten.len());
        members.extend(forgotten);
        self.members = members;
    }

    /// Members that are told to go, one for each of `awaited` that cannot serve yet.
    fn predecessors(&self, listing: &Listing, awaited: usize) -> Vec<SocketAddr> {
        let draining = listing.draining.iter();
        draining
            .filter(|replica| !self.drains.contains_key(&replica.id))
            .filter_map(|replica| replica.address.filter(|addr| self.members.contains(addr)))
            .take(awaited)
            .collect()
    }

    /// Members that the list has not, although they pass their checks.
    fn forgotten(&self, listing: &Listing, view: &TargetView<'_>) -> Vec<SocketAddr> {
        let members = self.members.iter();
        members
            .filter(|addr| !listing.addresses.contains(addr) && view.passes_checks(addr))
            .copied()
            .collect()
    }

    fn note_doubt(&mut self, group: &TargetGroupId, ignored: usize, forgotten: usize) {
        let message = if forgotten > 0 {
            format!(
                "lists no replica that runs, but {forgotten} targets pass their checks: not believed"
            )
        } else if ignored > 0 {
            format!("lists {ignored} replicas more than are believed")
        } else {
            if self.doubt.take().is_some() {
                info!(event = kind::REPLICA, %group, "the list of replicas is believed again");
            }
            return;
        };
        if let Some(doubt) = &mut self.doubt {
            doubt.message = message;
            return;
        }
        warn!(event = kind::REPLICA, %group, error = %message, "the list of replicas is not believed as it is");
        self.doubt = Some(Fault {
            message,
            since: SystemTime::now(),
        });
    }

    /// Begins to drain the listed replicas that are told to go and are no members any more,
    /// and notes which have drained. Takes their targets out of `targets`. None is waited for
    /// if `at_once`.
    pub(super) fn drain(
        &mut self,
        group: &TargetGroupId,
        listing: &Listing,
        targets: &mut Targets,
        at_once: bool,
    ) {
        let listed: HashSet<ReplicaId> = listing.draining.iter().map(|r| r.id).collect();
        self.drains.retain(|id, _| listed.contains(id));
        for replica in &listing.draining {
            let is_member = replica.address.is_some_and(|a| self.members.contains(&a));
            if is_member || self.drains.contains_key(&replica.id) {
                continue;
            }
            let drain = match replica.address.and_then(|addr| targets.remove(&addr)) {
                Some(target) if !at_once => {
                    info!(event = kind::REPLICA, %group, address = %target.id.addr, "replica drains");
                    Drain::Waiting(target)
                }
                Some(_) | None => Drain::Done,
            };
            self.drains.insert(replica.id, drain);
        }
        for drain in self.drains.values_mut() {
            if matches!(drain, Drain::Waiting(target) if at_once || target.is_released()) {
                *drain = Drain::Done;
            }
        }
    }

    /// The next replica that the provider is to release.
    pub(super) fn next_release(&self) -> Option<ReplicaId> {
        let mut drains = self.drains.iter();
        let (id, _) = drains.find(|(_, drain)| matches!(drain, Drain::Done))?;
        Some(*id)
    }

    /// The provider has been told to release a replica.
    pub(super) fn note_release(&mut self, replica: ReplicaId) {
        if let Some(drain) = self.drains.get_mut(&replica) {
            *drain = Drain::Released;
        }
    }

    /// Waits until another target has drained; for ever if none drains. Cancel-safe.
    pub(super) fn drained(&self) -> impl Future<Output = ()> + use<> {
        let waiting: Vec<Arc<Target>> = self
            .drains
            .values()
            .filter_map(|drain| match drain {
                Drain::Waiting(target) => Some(Arc::clone(target)),
                Drain::Done | Drain::Released => None,
            })
            .collect();
        async move {
            if waiting.is_empty() {
                return std::future::pending().await;
            }
            while !waiting.iter().any(|target| target.is_released()) {
                sleep(DRAIN_INTERVAL).await;
            }
        }
    }
}
