//! A target group under load in virtual time: requests come by chance, and each is on its
//! target for a while.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use weir::config::{self, HealthCheck};
use weir::model::{
    Algorithm, CheckFailure, CheckResult, HealthReason, Registration, TargetId, Thresholds,
};
use weir::state::compile_group;
use weir::target::{Admission, Lease, RequestResult, Target};
use weir::target_group::{Live, PickRequest, Registered, TargetGroup, Tried};

/// From one request to the next, on average.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// How a target responds.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// Mean time of a response; a single one takes half of it to half more.
    pub(crate) takes: Duration,
    pub(crate) verdict: RequestResult,
}

/// Ten milliseconds, without failures.
pub(crate) const WELL: Manner = Manner {
    takes: Duration::from_millis(10),
    verdict: RequestResult::Served,
};

/// A request on its target.
struct Running {
    verdict: RequestResult,
    begun: Instant,
    lease: Lease,
}

fn compile(
    config: &config::TargetGroup,
    targets: &[(Arc<Target>, Manner)],
    seed: u64,
    now: Instant,
) -> TargetGroup {
    let key = config::CookieKey([0; 32]);
    let live = Live::new(now);
    compile_group(
        config,
        registered(targets).into(),
        Arc::default(),
        live,
        &key,
        seed,
        now,
    )
}

/// A group, the requests on its targets and the virtual clock.
pub(crate) struct Simulation {
    pub(crate) config: config::TargetGroup,
    pub(crate) targets: Vec<(Arc<Target>, Manner)>,
    pub(crate) now: Instant,
    pub(crate) group: TargetGroup,
    pub(crate) rng: Rng,
    /// When a request ends, and which.
    ends: BinaryHeap<Reverse<(Instant, usize)>>,
    leases: Vec<Option<Running>>,
}

impl Simulation {
    pub(crate) fn new(config: config::TargetGroup, targets: Vec<(Arc<Target>, Manner)>) -> Self {
        let now = Instant::now();
        Self {
            group: compile(&config, &targets, 1, now),
            rng: Rng::with_seed(51),
            ends: BinaryHeap::new(),
            leases: Vec::new(),
            config,
            targets,
            now,
        }
    }

    /// Builds the group anew, as after a change.
    pub(crate) fn rebuild(&mut self) {
        let seed = self.rng.u64(..);
        self.group = compile(&self.config, &self.targets, seed, self.now);
    }

    pub(crate) fn request(&mut self) -> PickRequest {
        PickRequest {
            key: self.group.hash_key.is_some().then(|| self.rng.u64(..)),
            entropy: self.rng.u64(..),
            now: self.now,
            session: None,
        }
    }

    /// The part of the requests that each target gets in the time to come. Penalties for
    /// failures are halved ten times a second.
    pub(crate) fn shares(&mut self, while_: Duration) -> Vec<f64> {
        let mut counts = vec![0.0; self.targets.len()];
        let mut forgiving = self.now;
        let until = self.now + while_;
        let mut all = 0.0;
        while self.now < until {
            self.now += PAUSE.mul_f64(2.0 * self.rng.f64());
            self.end_requests();
            while forgiving < self.now {
                forgiving += Duration::from_millis(100);
                self.targets
                    .iter()
                    .for_each(|(target, _)| target.load().forgive());
            }
            let index = self.begin_request();
            counts[index] += 1.0;
            all += 1.0;
        }
        counts.iter().map(|count| count / all).collect()
    }

    fn begin_request(&mut self) -> usize {
        let request = self.request();
        let lease = self.group.acquire(&request, &mut Tried::default()).unwrap();
        let is_picked = |(target, _): &(Arc<Target>, _)| target.serial == lease.target().serial;
        let index = self.targets.iter().position(is_picked).unwrap();
        let manner = self.targets[index].1;
        let takes = manner.takes.mul_f64(0.5 + self.rng.f64());
        self.ends
            .push(Reverse((self.now + takes, self.leases.len())));
        self.leases.push(Some(Running {
            verdict: manner.verdict,
            begun: self.now,
            lease,
        }));
        index
    }

    fn end_requests(&mut self) {
        while let Some(&Reverse((end, request))) = self.ends.peek()
            && end <= self.now
        {
            self.ends.pop();
            let running = self.leases[request].take().unwrap();
            let target = running.lease.target();
            target.report(running.verdict);
            if self.group.measures_time {
                target
                    .latency()
                    .record(running.begun, end, running.verdict.is_failure());
            }
        }
    }
}

/// A group with every default but the algorithm.
pub(crate) fn group(algorithm: Algorithm) -> config::TargetGroup {
    config::TargetGroup {
        algorithm,
        ..config::TargetGroup::new("todo".into())
    }
}

/// A target at 10.0.0.`n`, in a group without limits.
pub(crate) fn target(n: u8) -> Arc<Target> {
    target_of(n, &Arc::default())
}

/// The same in a group with a limit.
pub(crate) fn target_of(n: u8, admission: &Arc<Admission<Target>>) -> Arc<Target> {
    let id = TargetId {
        group: "todo".into(),
        addr: ([10, 0, 0, n], 6400).into(),
    };
    Arc::new(Target::with_admission(id, Arc::clone(admission)))
}

fn registered(targets: &[(Arc<Target>, Manner)]) -> Vec<Registered> {
    let register = |(target, _): &(Arc<Target>, Manner)| Registered {
        target: Arc::clone(target),
        weight: 1,
        registration: Registration::Active,
    };
    targets.iter().map(register).collect()
}

/// One check that decides alone.
pub(crate) fn check(target: &Target, passed: bool) {
    let failure = || CheckFailure {
        reason: HealthReason::Timeout,
        detail: String::new(),
    };
    let result = CheckResult {
        at: SystemTime::UNIX_EPOCH,
        began: Instant::now(),
        elapsed: Duration::ZERO,
        status: None,
        outcome: passed.then_some(()).ok_or_else(failure),
    };
    let once = Thresholds {
        healthy: 1,
        unhealthy: 1,
    };
    target.health().lock().record(result, once);
}

/// A check that is never run: results come from [`check`].
pub(crate) fn checked() -> HealthCheck {
    HealthCheck {
        probe: config::Probe::Tcp,
        port: None,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        thresholds: Thresholds {
            healthy: 1,
            unhealthy: 1,
        },
    }
}
