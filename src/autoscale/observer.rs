//! Observes which targets of a group are in service, for how long, and how many requests they get.
//!
//! A target is warm after it has been in service for the warm-up time. Before that it carries
//! less than its share, so it counts as capacity and not in the metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;

use super::{Capacity, Now};
use crate::model::{Endpoint, Health};
use crate::replicas::{GroupReplicas, Replica, ReplicaId, ReplicaState};
use crate::target::Target;

/// Longest time that a new replica counts as starting. One that takes longer, or has exited
/// before, must not prevent scale-in.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// The targets of one group, as they were at the last observation.
#[derive(Debug, Default)]
pub(super) struct TargetObserver {
    targets: FxHashMap<Endpoint, ObservedTarget>,
    ages: FxHashMap<ReplicaId, Age>,
    /// Uptime of the last observation.
    last: Option<Duration>,
    /// Number of observations.
    round: u64,
}

#[derive(Debug)]
struct ObservedTarget {
    target: Arc<Target>,
    /// Leases since its start, at the last observation.
    leases: u64,
    /// The last observation that had it.
    round: u64,
    /// `None` while it is not in service.
    service: Option<InService>,
}

/// Since when a target has been in service.
#[derive(Clone, Copy, Debug)]
struct InService {
    since: Duration,
    /// Time in service before `since`.
    before: Duration,
}

/// How long a replica has been in its state. The wall clock is read only when the state is
/// first observed, because it may be set later.
#[derive(Clone, Copy, Debug)]
struct Age {
    since: SystemTime,
    /// Uptime of the first observation of the state.
    observed: Duration,
    /// Age of the state at that time.
    before: Duration,
}

/// The targets and replicas of a group at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observation {
    pub(super) capacity: Capacity,
    /// Targets in service, warm or not.
    pub(super) in_service: u32,
    /// The warm targets.
    pub(super) warm: Vec<Endpoint>,
    /// All other targets.
    pub(super) apart: Vec<Endpoint>,
    /// The replicas behind the warm targets.
    pub(super) replicas: Vec<ReplicaId>,
    /// Requests in flight on the warm targets.
    pub(super) in_flight: u64,
    /// Requests sent to the warm targets since the last observation.
    pub(super) requests: u64,
    /// Time since the last observation; `None` at the first.
    pub(super) elapsed: Option<Duration>,
}

impl TargetObserver {
    /// Observes the active targets of a group. `is_checked` is whether the group has health
    /// checks.
    pub(super) fn observe<'a>(
        &mut self,
        now: Now,
        targets: impl Iterator<Item = &'a Arc<Target>>,
        is_checked: bool,
        replicas: &GroupReplicas,
        warm_up: Duration,
    ) -> Observation {
        let elapsed = self.last.replace(now.uptime);
        let mut observed = Observation {
            elapsed: elapsed.map(|last| now.uptime.saturating_sub(last)),
            ..Observation::default()
        };
        self.round += 1;
        let is_first = elapsed.is_none();
        for target in targets {
            self.observe_target(target, now.uptime, is_checked, is_first);
        }
        self.targets.retain(|_, target| target.round == self.round);
        self.update_ages(replicas, now);
        if is_first {
            self.credit_ages(replicas, now.uptime);
        }
        observed.capacity = self.capacity(replicas, now, warm_up);
        for replica in &replicas.replicas {
            if self.is_warm(replica, now.uptime, warm_up) {
                observed.replicas.push(replica.id);
            }
        }
        self.count_requests(&mut observed, now.uptime, warm_up);
        observed
    }

    fn observe_target(&mut self, target: &Arc<Target>, now: Duration, checked: bool, first: bool) {
        let new = |leases| ObservedTarget {
            target: Arc::clone(target),
            leases,
            round: 0,
            service: None,
        };
        // Requests before the first observation belong to no period. A target that comes later
        // got all of its requests since the last one.
        let observed = self
            .targets
            .entry(target.id.addr.clone())
            .or_insert_with(|| new(if first { target.load().started() } else { 0 }));
        if observed.target.serial != target.serial {
            // The address left the group and came back.
            *observed = new(0);
        }
        observed.round = self.round;
        observed.service = if checked && !target.health().is_healthy() {
            None
        } else {
            observed.service.or(Some(InService {
                since: now,
                before: Duration::ZERO,
            }))
        };
    }

    fn update_ages(&mut self, replicas: &GroupReplicas, now: Now) {
        let before = std::mem::take(&mut self.ages);
        let wall = SystemTime::from(now.wall);
        for replica in &replicas.replicas {
            let age = match before.get(&replica.id) {
                Some(age) if age.since == replica.since => *age,
                _ => Age {
                    since: replica.since,
                    observed: now.uptime,
                    before: wall.duration_since(replica.since).unwrap_or_default(),
                },
            };
            self.ages.insert(replica.id, age);
        }
    }

    fn age(&self, replica: &Replica, now: Duration) -> Duration {
        let age = self.ages.get(&replica.id);
        age.map_or(Duration::ZERO, |age| {
            now.saturating_sub(age.observed) + age.before
        })
    }

    /// Credits replicas that ran before this process with the age of their state.
    fn credit_ages(&mut self, replicas: &GroupReplicas, now: Duration) {
        for replica in &replicas.replicas {
            let age = self.age(replica, now);
            let target = replica
                .address
                .and_then(|addr| self.targets.get_mut(&addr.into()));
            if let Some(service) = target.and_then(|target| target.service.as_mut()) {
                service.before = age;
            }
        }
    }

    fn capacity(&self, replicas: &GroupReplicas, now: Now, warm_up: Duration) -> Capacity {
        let mut capacity = Capacity {
            desired: replicas.desired,
            ..Capacity::default()
        };
        for replica in &replicas.replicas {
            if self.is_warm(replica, now.uptime, warm_up) {
                capacity.running += 1;
            } else if self.service_of(replica).is_some() {
                capacity.running += 1;
                capacity.warming += 1;
            } else if self.is_starting(replica, now.uptime) {
                capacity.warming += 1;
            }
        }
        capacity
    }

    fn service_of(&self, replica: &Replica) -> Option<InService> {
        if replica.state != ReplicaState::Running {
            return None;
        }
        self.target_of(replica)?.service
    }

    fn target_of(&self, replica: &Replica) -> Option<&ObservedTarget> {
        self.targets.get(&replica.address?.into())
    }

    fn is_warm(&self, replica: &Replica, now: Duration, warm_up: Duration) -> bool {
        let service = self.service_of(replica);
        service.is_some_and(|service| service.is_warm(now, warm_up))
    }

    /// Whether a replica has not been in service yet and may still come.
    fn is_starting(&self, replica: &Replica, now: Duration) -> bool {
        let is_new = match replica.state {
            ReplicaState::Starting => true,
            ReplicaState::Running => {
                let target = self.target_of(replica);
                // Not registered yet, or not checked yet.
                target.is_none_or(|observed| observed.target.health().now() == Health::Initial)
            }
            ReplicaState::Draining | ReplicaState::Stopping => false,
        };
        is_new && replica.restarts == 0 && self.age(replica, now) < START_TIMEOUT
    }

    fn count_requests(&mut self, total: &mut Observation, now: Duration, warm_up: Duration) {
        for (addr, observed) in &mut self.targets {
            let leases = observed.target.load().started();
            let requests = leases.saturating_sub(observed.leases);
            observed.leases = leases;
            total.in_service += u32::from(observed.service.is_some());
            if observed
                .service
                .is_some_and(|service| service.is_warm(now, warm_up))
            {
                total.warm.push(addr.clone());
                total.in_flight += u64::from(observed.target.load().in_flight());
                total.requests += requests;
            } else {
                total.apart.push(addr.clone());
            }
        }
    }
}

impl InService {
    fn is_warm(self, now: Duration, warm_up: Duration) -> bool {
        now.saturating_sub(self.since) + self.before >= warm_up
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use jiff::Timestamp;

    use super::*;
    use crate::model::{HealthRecord, TargetId};

    const WARM_UP: Duration = Duration::from_secs(5);

    /// Targets at the ports 1, 2, ... and a replica behind each of them.
    struct Rig {
        observer: TargetObserver,
        targets: Vec<Arc<Target>>,
        replicas: GroupReplicas,
        now: Now,
    }

    impl Rig {
        fn new(count: u16) -> Self {
            let mut rig = Self {
                observer: TargetObserver::default(),
                targets: Vec::new(),
                replicas: GroupReplicas::default(),
                now: Now {
                    uptime: Duration::from_secs(100),
                    wall: Timestamp::UNIX_EPOCH + Duration::from_secs(1000),
                },
            };
            for _ in 0..count {
                rig.add(Duration::from_secs(60));
            }
            rig
        }

        /// Adds one that has run for `age`.
        fn add(&mut self, age: Duration) {
            let number = self.targets.len() as u16 + 1;
            let addr = SocketAddr::from(([127, 0, 0, 1], number));
            self.targets.push(target(addr));
            self.replicas.desired += 1;
            self.replicas.replicas.push(Replica {
                id: ReplicaId(number.into()),
                name: None,
                pid: None,
                address: Some(addr),
                state: ReplicaState::Running,
                restarts: 0,
                since: SystemTime::from(self.now.wall) - age,
                started: None,
                last_exit: None,
            });
        }

        fn pass(&mut self, time: Duration) -> Observation {
            self.now.uptime += time;
            self.now.wall += time;
            self.observe(false)
        }

        fn observe(&mut self, is_checked: bool) -> Observation {
            let targets = self.targets.iter();
            let mut observed =
                self.observer
                    .observe(self.now, targets, is_checked, &self.replicas, WARM_UP);
            observed.warm.sort_unstable();
            observed
        }

        fn ask(&self, target: usize, times: usize) {
            for _ in 0..times {
                drop(self.targets[target].lease());
            }
        }
    }

    fn target(addr: impl Into<Endpoint>) -> Arc<Target> {
        let group = "todo".into();
        Arc::new(Target::new(TargetId {
            group,
            addr: addr.into(),
        }))
    }

    fn capacity(desired: u32, running: u32, warming: u32) -> Capacity {
        Capacity {
            desired,
            running,
            warming,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_are_those_since_the_last_observation() {
        let mut rig = Rig::new(2);
        rig.ask(0, 1000);
        let first = rig.observe(false);
        assert_eq!((first.elapsed, first.requests), (None, 0));
        rig.ask(0, 30);
        rig.ask(1, 50);
        let _lease = rig.targets[1].lease();
        let observed = rig.pass(2 * SECOND);
        assert_eq!(observed.elapsed, Some(2 * SECOND));
        assert_eq!((observed.requests, observed.in_flight), (81, 1));
        assert_eq!(observed.warm.len(), 2);
        assert_eq!(rig.pass(SECOND).requests, 0);
    }

    #[test]
    fn targets_that_come_and_go_do_no_harm() {
        let mut rig = Rig::new(2);
        rig.observe(false);
        rig.ask(0, 10);
        rig.ask(1, 20);
        // The second one leaves with its count, and its address comes back.
        let addr = rig.targets.remove(1).id.addr.clone();
        assert_eq!(rig.pass(SECOND).requests, 10);
        rig.targets.push(target(addr.clone()));
        rig.ask(1, 7);
        rig.pass(SECOND);
        rig.ask(1, 5);
        assert_eq!(rig.pass(WARM_UP).requests, 5);
        // Replaced between two observations.
        rig.ask(1, 100);
        rig.targets[1] = target(addr.clone());
        rig.ask(1, 3);
        assert_eq!(rig.pass(SECOND).apart, [addr], "it is a new target");
        assert_eq!(rig.pass(WARM_UP).requests, 0);
    }

    #[test]
    fn a_new_replica_is_capacity_and_not_in_the_metric() {
        let mut rig = Rig::new(1);
        assert_eq!(
            rig.observe(false).capacity,
            capacity(1, 1, 0),
            "it ran before"
        );
        rig.add(Duration::ZERO);
        rig.ask(0, 10);
        rig.ask(1, 90);
        let observed = rig.pass(SECOND);
        assert_eq!(observed.capacity, capacity(2, 2, 1));
        assert_eq!((observed.requests, observed.warm.len()), (10, 1));
        assert_eq!(observed.replicas, [ReplicaId(1)]);
        assert_eq!(rig.pass(WARM_UP).capacity, capacity(2, 2, 0));
    }

    #[test]
    fn what_does_not_pass_its_checks_is_not_in_service() {
        let mut rig = Rig::new(2);
        let healthy = |target: &Target| {
            let mut record = HealthRecord::default();
            record.state.record(
                true,
                crate::model::Thresholds {
                    healthy: 1,
                    unhealthy: 1,
                },
            );
            *target.health().lock() = record;
        };
        healthy(&rig.targets[0]);
        let observed = rig.observe(true);
        assert_eq!(
            observed.capacity,
            capacity(2, 1, 1),
            "the other may still come"
        );
        assert_eq!((observed.warm.len(), observed.apart.len()), (1, 1));
        // The wall clock may be set in between.
        rig.now.wall += 10 * START_TIMEOUT;
        assert_eq!(
            rig.observe(true).capacity,
            capacity(2, 1, 1),
            "it may still come"
        );
        rig.now.wall -= 20 * START_TIMEOUT;
        rig.now.uptime += START_TIMEOUT;
        assert_eq!(
            rig.observe(true).capacity,
            capacity(2, 1, 0),
            "it took too long"
        );
        healthy(&rig.targets[1]);
        assert_eq!(rig.observe(true).capacity, capacity(2, 2, 1));
    }

    #[test]
    fn a_replica_that_exited_before_is_not_waited_for() {
        let mut rig = Rig::new(2);
        rig.targets.pop();
        rig.replicas.replicas[1].state = ReplicaState::Starting;
        rig.replicas.replicas[1].since = rig.now.wall.into();
        assert_eq!(rig.observe(false).capacity, capacity(2, 1, 1));
        rig.replicas.replicas[1].restarts = 1;
        assert_eq!(rig.observe(false).capacity, capacity(2, 1, 0));
    }
}
