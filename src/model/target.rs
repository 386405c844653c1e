//! Live state of one target: what outlives a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_utils::CachePadded;

use super::admission::Admission;
use super::health::HealthRecord;
use super::latency::Latency;
use super::{Health, Moment, Ramp, TargetId};

/// Live state of one target.
///
/// Created once by `state::Registry` and shared by every snapshot that lists the
/// target, so counters and health outlive a reload. Settings that a reload may
/// change (weight, limits) are not here; they are in `balance::Member`.
#[derive(Debug)]
pub struct Target {
    /// Which group it belongs to and where it answers.
    pub id: TargetId,
    /// What its group lets it take.
    admission: Arc<Admission>,
    /// Written by every request on every worker: padded, so that two targets never
    /// share a cache line.
    counters: CachePadded<Counters>,
    /// Written by the prober, read by the publisher and the status page. Never
    /// touched by a request.
    health: Mutex<HealthRecord>,
    /// Set once, when it has left its group for good.
    released: AtomicBool,
    /// Whether the newest snapshot has it.
    listed: AtomicBool,
    /// Written and read by whoever builds its group's rosters.
    ramp: Mutex<Ramp>,
}

#[derive(Debug)]
struct Counters {
    /// Requests in flight in the low half, the bias of failures in the high half: a
    /// picker reads both at once.
    load: AtomicU64,
    leases: AtomicU64,
    /// How many of those in flight are another process's: see [`super::Elsewhere`].
    elsewhere: AtomicU32,
    errors: AtomicU64,
    /// Errors since the last request that was served.
    run: AtomicU32,
    /// Gateway errors since the last request that ended in any other way.
    gateway_run: AtomicU32,
    /// See [`Target::share`].
    share: AtomicU32,
    /// See [`Target::served_session`].
    sessions: AtomicU32,
    /// Written only in groups whose algorithm goes by it.
    latency: Latency,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            load: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            elsewhere: AtomicU32::new(0),
            errors: AtomicU64::new(0),
            run: AtomicU32::new(0),
            gateway_run: AtomicU32::new(0),
            share: AtomicU32::new(WHOLE_SHARE),
            sessions: AtomicU32::new(0),
            latency: Latency::default(),
        }
    }
}

/// A target that gets all requests it is picked for, in thousandths.
pub const WHOLE_SHARE: u32 = 1000;

/// What a target made of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered, with anything below 500.
    Served,
    /// It answered with a 5xx that is its own.
    ServerError,
    /// It could not be reached, broke off, kept silent, or answered 502, 503 or 504.
    GatewayError,
}

/// What a target has failed at so far: the difference of two readings says how it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failings {
    /// Requests sent to it whose last byte has left.
    pub finished: u64,
    /// Requests that failed in any way.
    pub errors: u64,
    /// Errors since the last request that was served.
    pub run: u32,
    /// Gateway errors since the last request that ended in any other way.
    pub gateway_run: u32,
}

/// In the high half of `Counters::load`.
const BIAS: u64 = 1 << 32;

/// Beyond this many failures the bias stays: nobody has more requests in flight.
const MAX_BIAS: u64 = 1 << 20;

impl Target {
    /// A target nothing is known about yet, in a group without limits.
    pub fn new(id: TargetId) -> Self {
        Self::admitted(id, Arc::default())
    }

    /// A target nothing is known about yet.
    pub fn admitted(id: TargetId, admission: Arc<Admission>) -> Self {
        Self {
            id,
            admission,
            counters: CachePadded::default(),
            health: Mutex::new(HealthRecord::default()),
            released: AtomicBool::new(false),
            listed: AtomicBool::new(true),
            ramp: Mutex::default(),
        }
    }

    /// Requests picked for this target whose last byte has not left yet, those of another
    /// process included while a handover lasts.
    #[inline] // see `load`
    pub fn in_flight(&self) -> u32 {
        (self.counters.load.load(Ordering::Relaxed) % BIAS) as u32
    }

    /// What pickers go by: the requests in flight, and one more for each failure of the
    /// last moments. Without that a target that fails at once would look idle, and get
    /// all requests.
    #[inline] // read once per target and pick; a call would cost more than the read
    pub fn load(&self) -> u32 {
        let load = self.counters.load.load(Ordering::Relaxed);
        (load % BIAS + load / BIAS) as u32
    }

    /// Whether [`Target::try_lease`] would have succeeded a moment ago.
    pub fn has_place(&self) -> bool {
        self.in_flight() < self.admission.limit()
    }

    /// Requests ever sent here.
    pub fn leases(&self) -> u64 {
        self.counters.leases.load(Ordering::Relaxed)
    }

    /// Starts a request on this target, whatever its limit; it ends when the lease is
    /// dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.counters.load.fetch_add(1, Ordering::Relaxed);
        self.leased()
    }

    /// Starts a request on this target, unless it has as many as its group allows. Never
    /// one more, however many workers ask.
    pub fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let limit = self.admission.limit();
        if limit == u32::MAX {
            return Some(self.lease());
        }
        let one_more = |load| (load % BIAS < u64::from(limit)).then_some(load + 1);
        self.counters
            .load
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()
            .map(|_| self.leased())
    }

    fn leased(self: &Arc<Self>) -> Lease {
        self.counters.leases.fetch_add(1, Ordering::Relaxed);
        Lease {
            target: Arc::clone(self),
        }
    }

    /// Counts requests of another process as in flight, whatever the limit.
    pub(super) fn add_elsewhere(&self, count: u32) {
        let counters = &*self.counters;
        counters.elsewhere.fetch_add(count, Ordering::Relaxed);
        counters.load.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Takes as many of them back; their places go to the requests that wait.
    pub(super) fn remove_elsewhere(self: &Arc<Self>, count: u32) {
        self.leave(count);
        let counters = &*self.counters;
        counters.elsewhere.fetch_sub(count, Ordering::Relaxed);
    }

    /// Ends so many requests in flight.
    fn leave(self: &Arc<Self>, count: u32) {
        // `SeqCst`: a request that begins to wait looks at the load once more, and either
        // sees this place or is seen here.
        self.counters.load.fetch_sub(count.into(), Ordering::SeqCst);
        if self.admission.waiting() > 0 {
            self.admission.serve(self);
        }
    }

    /// Takes in what became of a request.
    pub fn report(&self, verdict: Verdict) {
        let counters = &*self.counters;
        match verdict {
            Verdict::Served => {
                // Read first: a line that is only read stays in every core's cache.
                if counters.run.load(Ordering::Relaxed) != 0 {
                    counters.run.store(0, Ordering::Relaxed);
                    counters.gateway_run.store(0, Ordering::Relaxed);
                }
            }
            Verdict::ServerError => {
                counters.gateway_run.store(0, Ordering::Relaxed);
                self.failed();
            }
            Verdict::GatewayError => {
                counters.gateway_run.fetch_add(1, Ordering::Relaxed);
                self.failed();
            }
        }
    }

    fn failed(&self) {
        let counters = &*self.counters;
        counters.errors.fetch_add(1, Ordering::Relaxed);
        counters.run.fetch_add(1, Ordering::Relaxed);
        if counters.load.load(Ordering::Relaxed) / BIAS < MAX_BIAS {
            counters.load.fetch_add(BIAS, Ordering::Relaxed);
        }
    }

    /// Takes in how long an answer took, from the pick to the head of the response. For
    /// groups whose algorithm goes by it: others need not read the clock.
    pub fn answered(&self, begun: Instant, now: Instant, verdict: Verdict) {
        let failed = verdict != Verdict::Served;
        self.counters.latency.record(begun, now, failed);
    }

    /// Nanoseconds to the head of a response, by the recent worst; `None` while it has not
    /// answered yet.
    #[inline] // see `load`
    pub fn peak_time(&self, now: Moment) -> Option<f64> {
        self.counters.latency.peak(now)
    }

    /// Nanoseconds to the head of a response, on average; `None` while it has not answered
    /// yet.
    #[inline] // see `load`
    pub fn mean_time(&self, now: Moment) -> Option<u64> {
        self.counters.latency.mean(now)
    }

    /// Whether it has answered often enough for its times to be compared with those of
    /// others.
    #[inline] // see `load`
    pub fn is_tried_out(&self) -> bool {
        self.counters.latency.is_tried_out()
    }

    /// Lets half of the bias of past failures go. Called at a steady pace.
    pub fn forgive(&self) {
        let halve = |load: u64| match load / BIAS {
            0 => None,
            bias => Some(load - bias.div_ceil(2) * BIAS),
        };
        // `Err` is a target that has not failed.
        let _ = self
            .counters
            .load
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, halve);
    }

    /// Notes that it has answered a request that begins a session with it or belongs to one.
    /// Only groups whose clients stay on their targets call this: others pay nothing.
    pub fn served_session(&self) {
        self.counters.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Who would notice if it went: the requests in flight, and those of sessions in the last
    /// minutes. A client that sends many of them counts as often; nobody remembers clients.
    pub fn clients(&self) -> u64 {
        let sessions = self.counters.sessions.load(Ordering::Relaxed);
        u64::from(self.in_flight()) + u64::from(sessions)
    }

    /// Forgets half of what is known of its sessions. Called at a steady pace.
    pub fn forget_sessions(&self) {
        let sessions = &self.counters.sessions;
        let known = sessions.load(Ordering::Relaxed);
        if known > 0 {
            sessions.fetch_sub(known.div_ceil(2), Ordering::Relaxed);
        }
    }

    /// How many of the requests it is picked for it gets, in thousandths: less than
    /// [`WHOLE_SHARE`] while it does worse than its peers.
    pub fn share(&self) -> u32 {
        self.counters.share.load(Ordering::Relaxed)
    }

    /// Changes its share, at most to the whole.
    pub fn set_share(&self, thousandths: u32) {
        let share = thousandths.min(WHOLE_SHARE);
        self.counters.share.store(share, Ordering::Relaxed);
    }

    /// What it has failed at. Only reads, so that it may be asked often.
    pub fn failings(&self) -> Failings {
        let counters = &*self.counters;
        let elsewhere = counters.elsewhere.load(Ordering::Relaxed);
        let own = self.in_flight().saturating_sub(elsewhere);
        Failings {
            finished: self.leases().saturating_sub(own.into()),
            errors: counters.errors.load(Ordering::Relaxed),
            run: counters.run.load(Ordering::Relaxed),
            gateway_run: counters.gateway_run.load(Ordering::Relaxed),
        }
    }

    /// Counts its runs of errors anew: for a target that gets another chance.
    pub fn forget_run(&self) {
        self.counters.run.store(0, Ordering::Relaxed);
        self.counters.gateway_run.store(0, Ordering::Relaxed);
    }

    /// What the checks have found so far, with exclusive access.
    ///
    /// For the control plane: the lock is held for the length of a statement.
    pub fn health(&self) -> MutexGuard<'_, HealthRecord> {
        // A panic while the record was held leaves plain numbers behind, all legal.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is on its way into service; for the control plane.
    pub fn ramp(&self) -> Ramp {
        *self.ramp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it along on its way into service.
    pub fn set_ramp(&self, ramp: Ramp) {
        *self.ramp.lock().unwrap_or_else(PoisonError::into_inner) = ramp;
    }

    /// What the checks say now.
    pub fn health_now(&self) -> Health {
        self.health().state.health()
    }

    /// Says that it has left its group and that what is still on it has had its time. It
    /// never comes back: the same address in the group is another target then.
    pub fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::release`] was called. Whoever holds a target without an end of its
    /// own (an upgraded connection) looks now and then, and ends.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Says whether the next snapshot has it. A target that has left may come back until it
    /// is released.
    pub fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// Whether the newest snapshot has it. What is kept for a target that has left, such as
    /// idle connections, is of no more use.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Whether the checks say that it serves.
    pub fn is_healthy(&self) -> bool {
        self.health_now() == Health::Healthy
    }
}

/// One request in flight on a target; dropping it ends the request.
///
/// The relay moves the lease into the response body, so the target stays loaded
/// until the last byte is sent and not only until the head arrives.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
}

impl Lease {
    /// The target the request is on.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.leave(1);
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
        let first = target.lease();
        let second = target.lease();
        assert_eq!((target.in_flight(), target.leases()), (2, 2));
        drop(first);
        assert_eq!((target.in_flight(), target.leases()), (1, 2));
        drop(second);
        assert_eq!(target.in_flight(), 0);
    }

    #[test]
    fn a_limit_is_never_passed() {
        let admission = Arc::new(Admission::default());
        admission.open(std::num::NonZeroU32::new(10), &[], false);
        let target = Arc::new(Target::admitted(target().id.clone(), admission));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let lease = target.try_lease();
                        assert!(target.in_flight() <= 10);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(target.in_flight(), 0);
    }

    #[test]
    fn failures_weigh_like_requests_until_they_are_forgiven() {
        let target = target();
        let _lease = target.lease();
        for _ in 0..5 {
            target.report(Verdict::ServerError);
        }
        assert_eq!((target.load(), target.in_flight()), (6, 1));
        let mut loads = vec![];
        for _ in 0..4 {
            target.forgive();
            loads.push(target.load());
        }
        assert_eq!(loads, [3, 2, 1, 1]);
    }

    #[test]
    fn sessions_count_as_clients_until_they_are_forgotten() {
        let target = target();
        let _lease = target.lease();
        for _ in 0..5 {
            target.served_session();
        }
        let mut clients = vec![target.clients()];
        for _ in 0..4 {
            target.forget_sessions();
            clients.push(target.clients());
        }
        assert_eq!(clients, [6, 3, 2, 1, 1]);
    }

    #[test]
    fn runs_of_failures_end_with_a_request_that_is_served() {
        use Verdict::{GatewayError, Served, ServerError};
        let target = target();
        let runs = [
            (GatewayError, (1, 1)),
            (GatewayError, (2, 2)),
            (ServerError, (3, 0)),
            (GatewayError, (4, 1)),
            (Served, (0, 0)),
            (GatewayError, (1, 1)),
        ];
        for (verdict, expected) in runs {
            target.report(verdict);
            let failings = target.failings();
            assert_eq!((failings.run, failings.gateway_run), expected);
        }
        assert_eq!(target.failings().errors, 5);
        target.forget_run();
        let failings = target.failings();
        assert_eq!((failings.run, failings.gateway_run), (0, 0));
    }
}
