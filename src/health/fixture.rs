//! A prober that answers from a script, for tests under a paused clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::prober::Prober;
use super::progress::{ProbeProgress, failure};
use crate::config::{HealthCheck, Probe, TargetAddress, TargetGroup, TargetSpec};
use crate::model::{CheckFailure, Endpoint, HealthReason, Thresholds};
use crate::state::fixture::empty_group;

pub(super) use crate::state::fixture::publish;

/// A group with a check every 10 s: 5 s to answer, unhealthy after two failures, healthy after
/// three passes.
pub(super) fn group(addrs: &[&str]) -> TargetGroup {
    let target = |addr: &&str| TargetSpec {
        address: TargetAddress::Socket(addr.parse().unwrap()),
        weight: 1,
    };
    TargetGroup {
        targets: addrs.iter().map(target).collect(),
        health: Some(HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds {
                healthy: 3,
                unhealthy: 2,
            },
        }),
        ..empty_group()
    }
}

/// Gives scripted results, and passes beyond them.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    answers: HashMap<Endpoint, VecDeque<bool>>,
    panics: HashSet<Endpoint>,
    starts: Vec<(Endpoint, Instant)>,
    delay: Duration,
    running: usize,
    most: usize,
}

impl Script {
    pub(super) fn answer(&self, addr: &str, answers: &[bool]) {
        let answers = answers.iter().copied().collect();
        self.inner().answers.insert(addr.parse().unwrap(), answers);
    }

    pub(super) fn panic_once(&self, addr: &str) {
        self.inner().panics.insert(addr.parse().unwrap());
    }

    /// Makes every check take this long.
    pub(super) fn take(&self, delay: Duration) {
        self.inner().delay = delay;
    }

    pub(super) fn starts(&self, addr: &str) -> Vec<Instant> {
        let addr: Endpoint = addr.parse().unwrap();
        let inner = self.inner();
        let starts = inner.starts.iter().filter(|(a, _)| *a == addr);
        starts.map(|(_, at)| *at).collect()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.inner().most
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, addr: &Endpoint) -> (bool, Duration) {
        let mut inner = self.inner();
        inner.starts.push((addr.clone(), Instant::now()));
        assert!(!inner.panics.remove(addr), "told to panic");
        inner.running += 1;
        inner.most = inner.most.max(inner.running);
        let answers = inner.answers.entry(addr.clone()).or_default();
        (answers.pop_front().unwrap_or(true), inner.delay)
    }
}

impl Prober for Script {
    async fn probe(
        &self,
        addr: &Endpoint,
        _probe: &Probe,
        _progress: &mut ProbeProgress,
    ) -> Result<(), CheckFailure> {
        let (passes, delay) = self.begin(addr);
        sleep(delay).await;
        self.inner().running -= 1;
        if passes {
            Ok(())
        } else {
            Err(failure(HealthReason::ConnectionError, "told to fail"))
        }
    }
}
