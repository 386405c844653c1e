//! The live state of targets: what the data path counts, what the control plane learns, and
//! the queue of requests that wait for a target.
//!
//! A [`Target`] outlives snapshots and reloads. It is composed of small types, one for each
//! question that is asked about a target: [`Load`], [`Outcomes`], [`Latency`],
//! [`SessionCount`], [`ShareCell`], [`RampCell`] and [`HealthCell`]. Settings that a reload
//! may change (weight, limits) are not here; they are in `balance::Member`.
//!
//! This room lies below `balance`: pickers read load and latency through the same pointer
//! by which the group then takes a lease, without dynamic dispatch and without another
//! pointer to follow.

mod admission;
mod health;
mod keep_alive;
mod kept;
mod latency;
mod load;
mod outcomes;
mod ramp;
mod remote;
mod serial;
mod sessions;
mod share;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::CachePadded;

use crate::model::TargetId;

pub use admission::{Admission, Slots, Waiter, Wants};
pub use health::HealthCell;
pub use keep_alive::KeepAlive;
pub use kept::{KeptConnections, KeptCount};
pub use latency::{Latency, Moment};
pub use load::Load;
pub use outcomes::{Failings, Outcomes, RequestResult};
pub use ramp::{Ramp, RampCell};
pub use remote::RemoteLeases;
pub use serial::Serial;
pub use sessions::SessionCount;
pub use share::{ShareCell, WHOLE_SHARE};

/// One target of one group.
///
/// Created by `state::Registry` and shared by every snapshot that lists the target.
#[derive(Debug)]
pub struct Target {
    /// The group it belongs to and its address.
    pub id: TargetId,
    /// Its address as text, for the access log and filters.
    pub address: Box<str>,
    /// Tells it from every other target, also from one with the same id.
    pub serial: Serial,
    /// The limit and the queue of its group.
    admission: Arc<Admission<Self>>,
    /// Written by every request on every worker: padded, so that two targets never
    /// share a cache line.
    counters: CachePadded<Counters>,
    health: HealthCell,
    ramp: RampCell,
    kept: KeptConnections,
    /// Set once, when it has left its group for good.
    released: AtomicBool,
    /// Whether the newest snapshot has it.
    listed: AtomicBool,
}

#[derive(Debug, Default)]
struct Counters {
    load: Load,
    outcomes: Outcomes,
    share: ShareCell,
    sessions: SessionCount,
    /// Written only in groups with an algorithm that compares response times.
    latency: Latency,
}

impl Target {
    /// A target without history, in a group without limits.
    pub fn new(id: TargetId) -> Self {
        Self::with_admission(id, Arc::default())
    }

    /// A target without history.
    pub fn with_admission(id: TargetId, admission: Arc<Admission<Self>>) -> Self {
        Self {
            address: id.addr.to_string().into(),
            id,
            serial: Serial::next(),
            admission,
            counters: CachePadded::default(),
            health: HealthCell::default(),
            ramp: RampCell::default(),
            kept: KeptConnections::default(),
            released: AtomicBool::new(false),
            listed: AtomicBool::new(true),
        }
    }

    /// The connections that are kept to it.
    pub fn kept(&self) -> &KeptConnections {
        &self.kept
    }

    /// Its requests in flight.
    #[inline] // read once per target and pick
    pub fn load(&self) -> &Load {
        &self.counters.load
    }

    /// How its requests have ended; see [`Target::report`].
    pub fn outcomes(&self) -> &Outcomes {
        &self.counters.outcomes
    }

    /// Its times to the head of a response.
    #[inline] // read once per target and pick
    pub fn latency(&self) -> &Latency {
        &self.counters.latency
    }

    /// The requests of sessions it has served lately.
    pub fn sessions(&self) -> &SessionCount {
        &self.counters.sessions
    }

    /// Its share of the requests it is picked for, which anomaly mitigation lowers.
    pub fn share(&self) -> &ShareCell {
        &self.counters.share
    }

    /// How far it is on its way into service; for the control plane.
    pub fn ramp(&self) -> &RampCell {
        &self.ramp
    }

    /// What its checks have found.
    pub fn health(&self) -> &HealthCell {
        &self.health
    }

    /// Whether [`Target::try_lease`] would have succeeded a moment ago.
    pub fn has_free_slot(&self) -> bool {
        self.load().in_flight() < self.admission.limit()
    }

    /// Starts a request on this target, whatever its limit; it ends when the lease is
    /// dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.load().start();
        self.leased()
    }

    /// Starts a request on this target, unless it has as many as its group allows. The limit
    /// is never passed, however many workers ask at once.
    pub fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let limit = self.admission.limit();
        if limit == u32::MAX {
            return Some(self.lease());
        }
        self.load().try_start(limit).then(|| self.leased())
    }

    fn leased(self: &Arc<Self>) -> Lease {
        Lease {
            target: Arc::clone(self),
            settled: false,
        }
    }

    /// Ends `count` requests in flight; their slots go to requests that wait.
    fn end(self: &Arc<Self>, count: u32) {
        self.load().end(count);
        if self.admission.waiting() > 0 {
            self.admission.serve(self);
        }
    }

    /// Counts the result of a request on this target.
    pub fn report(&self, result: RequestResult) {
        self.outcomes().record(result);
        if result.is_failure() {
            self.load().penalize();
        }
    }

    /// What it has failed at. Only reads, so it may be called often.
    pub fn failings(&self) -> Failings {
        self.outcomes().read(self.load().finished())
    }

    /// About how many clients its removal affects: the requests in flight, and those of
    /// sessions in the last minutes. A client that sends many of them counts as often.
    pub fn clients(&self) -> u64 {
        u64::from(self.load().in_flight()) + u64::from(self.sessions().get())
    }

    /// Marks it as gone: it has left its group, and the time its last requests were given is
    /// over. It never comes back: the same address in the group is another target then.
    pub fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// Whether [`Target::release`] was called. What holds a target without an end of its own
    /// (an upgraded or a TCP connection) checks this at intervals, and ends.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Sets whether the next snapshot has it. A target that has left may come back until it
    /// is released.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// Whether the newest snapshot has it. What is kept for a target that has left, such as
    /// idle connections, is of no more use.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }
}

impl Slots for Target {
    type Lease = Lease;

    fn serial(&self) -> Serial {
        self.serial
    }

    fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        Self::try_lease(self)
    }
}

/// One request in flight on a target; dropping it ends the request.
///
/// The proxy holds the lease until the last byte of the response was read from the target, so the
/// target counts as loaded for as long as it works, and not only until the head arrives.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
    settled: bool,
}

impl Lease {
    /// The target the request is on.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Counts the result of a request that goes on, as a tunnel does: it is finished as far as the
    /// target's failures are concerned, and in flight until the lease is dropped. To be called once.
    pub fn settle(&mut self, result: RequestResult) {
        self.target.report(result);
        if !std::mem::replace(&mut self.settled, true) {
            self.target.load().settle();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.settled {
            self.target.load().forget_settled();
        }
        self.target.end(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Arc<Target> {
        Arc::new(Target::new(TargetId {
            group: "todo".into(),
            addr: "127.0.0.1:6400".parse().unwrap(),
        }))
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let target = target();
        let load = target.load();
        let first = target.lease();
        let second = target.lease();
        assert_eq!((load.in_flight(), load.started()), (2, 2));
        drop(first);
        assert_eq!((load.in_flight(), load.started()), (1, 2));
        drop(second);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_settled_lease_is_finished_and_in_flight() {
        let target = target();
        let (mut open, other) = (target.lease(), target.lease());
        open.settle(RequestResult::Served);
        assert_eq!(target.load().in_flight(), 2);
        assert_eq!(target.failings().finished, 1);
        drop((open, other));
        assert_eq!(target.load().in_flight(), 0);
        assert_eq!(target.failings().finished, 2);
    }

    #[test]
    fn a_limit_is_never_passed() {
        let admission = Arc::new(Admission::default());
        admission.open(std::num::NonZeroU32::new(10), &[], false);
        let target = Arc::new(Target::with_admission(target().id.clone(), admission));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let lease = target.try_lease();
                        assert!(target.load().in_flight() <= 10);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(target.load().in_flight(), 0);
    }

    #[test]
    fn failures_are_penalized_and_counted() {
        let target = target();
        target.report(RequestResult::ServerError);
        target.report(RequestResult::GatewayError);
        target.report(RequestResult::Served);
        assert_eq!(target.load().score(), 2);
        assert_eq!(target.failings().errors, 2);
    }

    #[test]
    fn sessions_count_as_clients_until_they_are_forgotten() {
        let target = target();
        let _lease = target.lease();
        for _ in 0..5 {
            target.sessions().count();
        }
        let mut clients = vec![target.clients()];
        for _ in 0..4 {
            target.sessions().halve();
            clients.push(target.clients());
        }
        assert_eq!(clients, [6, 3, 2, 1, 1]);
    }

    #[test]
    fn two_targets_at_one_address_differ() {
        assert_ne!(target().serial, target().serial);
    }
}
