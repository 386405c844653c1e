//! The probe loop of one target.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::prober::{self, Prober};
use super::schedule;
use crate::config::HealthCheck;
use crate::model::{CheckResult, Health, TargetId};
use crate::observe::kind;
use crate::target::Target;

/// Checks one target again and again.
#[derive(Debug)]
pub(super) struct ProbeLoop<P> {
    pub(super) prober: P,
    pub(super) target: Arc<Target>,
    pub(super) check: Arc<HealthCheck>,
    /// Bounds the checks that come at registration, of which there may be thousands at once.
    /// Later ones have drifted apart, and must not queue behind dead targets.
    pub(super) registrations: Arc<Semaphore>,
    /// Gets every change of health. Never full: recording a result and reporting the change is
    /// one step that an abort cannot split.
    pub(super) changes: mpsc::UnboundedSender<TargetId>,
}

impl<P: Prober> ProbeLoop<P> {
    /// Checks the target now and then once per interval, until aborted.
    pub(super) async fn run(self) {
        let mut due = {
            // The timeout starts inside: it does not include the wait for the permit.
            let permit = self.registrations.acquire().await;
            let due = self.check_once().await;
            drop(permit);
            due
        };
        loop {
            sleep_until(due).await;
            due = self.check_once().await;
        }
    }

    /// Like [`Self::run`], with the first check one interval from now.
    pub(super) async fn run_later(self) {
        tokio::time::sleep(self.gap()).await;
        self.run().await;
    }

    /// Checks once. Returns when the next check is due.
    async fn check_once(&self) -> Instant {
        let started = Instant::now();
        // On the heap: most of the time a loop waits, and there may be many of them.
        let check = prober::check(&self.prober, &self.target.id.addr, &self.check);
        self.record(Box::pin(check).await);
        started + self.gap()
    }

    fn gap(&self) -> Duration {
        schedule::gap(self.check.interval, fastrand::f64())
    }

    fn record(&self, result: CheckResult) {
        let outcome = result.outcome.clone();
        let changed = self
            .target
            .health()
            .lock()
            .record(result, self.check.thresholds);
        let Some(health) = changed else { return };
        let TargetId { group, addr } = &self.target.id;
        match (health, outcome) {
            (Health::Healthy, _) => {
                info!(event = kind::HEALTH, %group, target = %addr, "target is healthy");
            }
            (Health::Unhealthy, Err(failure)) => warn!(
                event = kind::HEALTH, %group,
                target = %addr,
                reason = %failure.reason,
                detail = %failure.detail,
                "target is unhealthy"
            ),
            // A pass makes no target unhealthy, and no result makes a target initial.
            (Health::Unhealthy, Ok(())) | (Health::Initial, _) => {}
        }
        // Fails when the supervisor has ended: then no report is needed.
        let _ = self.changes.send(self.target.id.clone());
    }
}
