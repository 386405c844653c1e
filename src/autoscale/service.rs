//! Which targets of a group are in service, for how long, and what they were asked.
//!
//! A target is warm when it has been in service for the warm-up time: one that has begun a
//! moment ago carries less than its share, and has told nothing about the load yet. It counts
//! as capacity and stays out of the metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;

use super::{Capacity, Now};
use crate::model::{Health, Target};
use crate::replicas::{GroupReplicas, Replica, ReplicaId, ReplicaState};

/// For so long a new replica counts as about to serve. One that takes longer, or that has
/// died before, must not keep the others from being taken away.
const STARTING: Duration = Duration::from_secs(300);

/// The targets of one group, as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Service {
    seen: FxHashMap<SocketAddr, Seen>,
    ages: FxHashMap<ReplicaId, Age>,
    /// When that was, and the how-manieth.
    last: Option<Duration>,
    round: u64,
}

#[derive(Debug)]
struct Seen {
    target: Arc<Target>,
    leases: u64,
    round: u64,
    /// `None` while it is not in service.
    service: Option<InService>,
}

/// For how long something has been in service.
#[derive(Clone, Copy, Debug)]
struct InService {
    since: Duration,
    /// What it had behind it then.
    before: Duration,
}

/// How long a replica has been in its state. The wall clock is asked only when that is first
/// seen, because it may be set.
#[derive(Clone, Copy, Debug)]
struct Age {
    since: SystemTime,
    seen: Duration,
    /// What it had behind it then.
    before: Duration,
}

/// What a look at a group has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) capacity: Capacity,
    /// Targets in service, warm or not.
    pub(super) in_service: u32,
    /// Those of them that are warm.
    pub(super) warm: Vec<SocketAddr>,
    /// All other targets.
    pub(super) apart: Vec<SocketAddr>,
    /// The replicas behind the warm targets.
    pub(super) replicas: Vec<ReplicaId>,
    /// Requests in flight on the warm targets.
    pub(super) in_flight: u64,
    /// Requests sent to the warm targets since the last look.
    pub(super) requests: u64,
    /// Since the last look; `None` at the first.
    pub(super) elapsed: Option<Duration>,
}

impl Service {
    /// Looks at the targets of a group that are registered and do not drain. `is_checked` is
    /// whether their health counts.
    pub(super) fn look<'a>(
        &mut self,
        now: Now,
        targets: impl Iterator<Item = &'a Arc<Target>>,
        is_checked: bool,
        replicas: &GroupReplicas,
        warm_up: Duration,
    ) -> Look {
        let elapsed = self.last.replace(now.uptime);
        let mut look = Look {
            elapsed: elapsed.map(|last| now.uptime.saturating_sub(last)),
            ..Look::default()
        };
        self.round += 1;
        let is_first = elapsed.is_none();
        for target in targets {
            self.look_at(target, now.uptime, is_checked, is_first);
        }
        self.seen.retain(|_, seen| seen.round == self.round);
        self.note_ages(replicas, now);
        if is_first {
            self.credit(replicas, now.uptime);
        }
        look.capacity = self.capacity(replicas, now, warm_up);
        for replica in &replicas.replicas {
            if self.is_warm(replica, now.uptime, warm_up) {
                look.replicas.push(replica.id);
            }
        }
        self.sum(&mut look, now.uptime, warm_up);
        look
    }

    fn look_at(&mut self, target: &Arc<Target>, now: Duration, checked: bool, first: bool) {
        let seen = self.seen.entry(target.id.addr).or_insert_with(|| Seen {
            target: Arc::clone(target),
            // What it did before anybody looked is not of this second. A target that comes
            // later has done all of it since.
            leases: if first { target.leases() } else { 0 },
            round: 0,
            service: None,
        });
        if !Arc::ptr_eq(&seen.target, target) {
            // The address left the group and came back.
            *seen = Seen {
                target: Arc::clone(target),
                leases: 0,
                round: 0,
                service: None,
            };
        }
        seen.round = self.round;
        let entered = InService {
            since: now,
            before: Duration::ZERO,
        };
        seen.service = if checked && !target.is_healthy() {
            None
        } else {
            Some(seen.service.unwrap_or(entered))
        };
    }

    fn note_ages(&mut self, replicas: &GroupReplicas, now: Now) {
        let before = std::mem::take(&mut self.ages);
        let wall = SystemTime::from(now.wall);
        for replica in &replicas.replicas {
            let known = before.get(&replica.id);
            let known = known.filter(|age| age.since == replica.since);
            let age = known.copied().unwrap_or_else(|| Age {
                since: replica.since,
                seen: now.uptime,
                before: wall.duration_since(replica.since).unwrap_or_default(),
            });
            self.ages.insert(replica.id, age);
        }
    }

    fn age(&self, replica: &Replica, now: Duration) -> Duration {
        let age = self.ages.get(&replica.id);
        age.map_or(Duration::ZERO, |age| {
            now.saturating_sub(age.seen) + age.before
        })
    }

    /// What ran before this Weir did is not new.
    fn credit(&mut self, replicas: &GroupReplicas, now: Duration) {
        for replica in &replicas.replicas {
            let age = self.age(replica, now);
            let seen = replica.address.and_then(|addr| self.seen.get_mut(&addr));
            if let Some(service) = seen.and_then(|seen| seen.service.as_mut()) {
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
        self.seen.get(&replica.address?)?.service
    }

    fn is_warm(&self, replica: &Replica, now: Duration, warm_up: Duration) -> bool {
        let service = self.service_of(replica);
        service.is_some_and(|service| service.is_warm(now, warm_up))
    }

    /// Whether a replica is on its way into service for the first time.
    fn is_starting(&self, replica: &Replica, now: Duration) -> bool {
        let is_new = match replica.state {
            ReplicaState::Starting => true,
            ReplicaState::Running => {
                let seen = replica.address.and_then(|addr| self.seen.get(&addr));
                // Not a target yet, or not checked yet.
                seen.is_none_or(|seen| seen.target.health_now() == Health::Initial)
            }
            ReplicaState::Draining | ReplicaState::Stopping => false,
        };
        is_new && replica.restarts == 0 && self.age(replica, now) < STARTING
    }

    fn sum(&mut self, look: &mut Look, now: Duration, warm_up: Duration) {
        for (addr, seen) in &mut self.seen {
            let leases = seen.target.leases();
            let requests = leases.saturating_sub(seen.leases);
            seen.leases = leases;
            look.in_service += u32::from(seen.service.is_some());
            let service = seen.service;
            if service.is_some_and(|service| service.is_warm(now, warm_up)) {
                look.warm.push(*addr);
                look.in_flight += u64::from(seen.target.in_flight());
                look.requests += requests;
            } else {
                look.apart.push(*addr);
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
    use jiff::Timestamp;

    use super::*;
    use crate::model::{HealthRecord, TargetId};

    const WARM_UP: Duration = Duration::from_secs(5);

    /// Targets at the ports 1, 2, ... and a replica behind each of them.
    struct Rig {
        service: Service,
        targets: Vec<Arc<Target>>,
        replicas: GroupReplicas,
        now: Now,
    }

    impl Rig {
        fn new(count: u16) -> Self {
            let mut rig = Self {
                service: Service::default(),
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

        /// One that has run for so long.
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
            });
        }

        fn pass(&mut self, time: Duration) -> Look {
            self.now.uptime += time;
            self.now.wall += time;
            self.look(false)
        }

        fn look(&mut self, is_checked: bool) -> Look {
            let targets = self.targets.iter();
            let mut look =
                self.service
                    .look(self.now, targets, is_checked, &self.replicas, WARM_UP);
            look.warm.sort_unstable();
            look
        }

        fn ask(&self, target: usize, times: usize) {
            for _ in 0..times {
                drop(self.targets[target].lease());
            }
        }
    }

    fn target(addr: SocketAddr) -> Arc<Target> {
        let group = "todo".into();
        Arc::new(Target::new(TargetId { group, addr }))
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
    fn requests_are_those_since_the_last_look() {
        let mut rig = Rig::new(2);
        rig.ask(0, 1000);
        let first = rig.look(false);
        assert_eq!((first.elapsed, first.requests), (None, 0));
        rig.ask(0, 30);
        rig.ask(1, 50);
        let _lease = rig.targets[1].lease();
        let look = rig.pass(2 * SECOND);
        assert_eq!(look.elapsed, Some(2 * SECOND));
        assert_eq!((look.requests, look.in_flight), (81, 1));
        assert_eq!(look.warm.len(), 2);
        assert_eq!(rig.pass(SECOND).requests, 0);
    }

    #[test]
    fn targets_that_come_and_go_do_no_harm() {
        let mut rig = Rig::new(2);
        rig.look(false);
        rig.ask(0, 10);
        rig.ask(1, 20);
        // The second one leaves with what it counted, and its address comes back.
        let addr = rig.targets.remove(1).id.addr;
        assert_eq!(rig.pass(SECOND).requests, 10);
        rig.targets.push(target(addr));
        rig.ask(1, 7);
        rig.pass(SECOND);
        rig.ask(1, 5);
        assert_eq!(rig.pass(WARM_UP).requests, 5);
        // Replaced between two looks.
        rig.ask(1, 100);
        rig.targets[1] = target(addr);
        rig.ask(1, 3);
        assert_eq!(rig.pass(SECOND).apart, [addr], "it is a new one");
        assert_eq!(rig.pass(WARM_UP).requests, 0);
    }

    #[test]
    fn a_new_replica_is_capacity_and_not_in_the_metric() {
        let mut rig = Rig::new(1);
        assert_eq!(rig.look(false).capacity, capacity(1, 1, 0), "it ran before");
        rig.add(Duration::ZERO);
        rig.ask(0, 10);
        rig.ask(1, 90);
        let look = rig.pass(SECOND);
        assert_eq!(look.capacity, capacity(2, 2, 1));
        assert_eq!((look.requests, look.warm.len()), (10, 1));
        assert_eq!(look.replicas, [ReplicaId(1)]);
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
            *target.health() = record;
        };
        healthy(&rig.targets[0]);
        let look = rig.look(true);
        assert_eq!(look.capacity, capacity(2, 1, 1), "the other one may come");
        assert_eq!((look.warm.len(), look.apart.len()), (1, 1));
        // Whatever the wall clock is set to meanwhile.
        rig.now.wall += 10 * STARTING;
        assert_eq!(rig.look(true).capacity, capacity(2, 1, 1), "it still may");
        rig.now.wall -= 20 * STARTING;
        rig.now.uptime += STARTING;
        assert_eq!(rig.look(true).capacity, capacity(2, 1, 0), "or not");
        healthy(&rig.targets[1]);
        assert_eq!(rig.look(true).capacity, capacity(2, 2, 1));
    }

    #[test]
    fn a_replica_that_died_before_is_not_waited_for() {
        let mut rig = Rig::new(2);
        rig.targets.pop();
        rig.replicas.replicas[1].state = ReplicaState::Starting;
        rig.replicas.replicas[1].since = rig.now.wall.into();
        assert_eq!(rig.look(false).capacity, capacity(2, 1, 1));
        rig.replicas.replicas[1].restarts = 1;
        assert_eq!(rig.look(false).capacity, capacity(2, 1, 0));
    }
}
