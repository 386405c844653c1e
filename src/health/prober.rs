//! One check: a probe with a deadline, and its result.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};

use super::progress::{ProbeProgress, failure};
use super::{http_probe, tcp_probe};
use crate::config::{HealthCheck, Probe};
use crate::model::{CheckFailure, CheckResult, HealthReason};

/// Checks a target once.
pub(super) trait Prober: Clone + Send + Sync + 'static {
    /// Probes `addr`. The caller sets the deadline: the future may be dropped at any time, and
    /// `progress` then says how far it came.
    fn probe(
        &self,
        addr: SocketAddr,
        probe: &Probe,
        progress: &mut ProbeProgress,
    ) -> impl Future<Output = Result<(), CheckFailure>> + Send;
}

/// Probes over real connections, a fresh one for each check.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkProber;

impl Prober for NetworkProber {
    async fn probe(
        &self,
        addr: SocketAddr,
        probe: &Probe,
        progress: &mut ProbeProgress,
    ) -> Result<(), CheckFailure> {
        match probe {
            Probe::Tcp => tcp_probe::probe(addr).await,
            Probe::Http(http) => http_probe::probe(addr, http, progress).await,
        }
    }
}

/// Checks the target at `addr` within the check's timeout.
pub(super) async fn check(
    prober: &impl Prober,
    addr: SocketAddr,
    check: &HealthCheck,
) -> CheckResult {
    let at = SystemTime::now();
    let started = Instant::now();
    let addr = SocketAddr::new(addr.ip(), check.port.unwrap_or(addr.port()));
    let mut progress = ProbeProgress::default();
    let probe = prober.probe(addr, &check.probe, &mut progress);
    let outcome = match timeout(check.timeout, probe).await {
        Ok(outcome) => outcome,
        Err(_) => Err(too_late(&check.probe, &progress, check.timeout)),
    };
    CheckResult {
        at,
        began: started.into_std(),
        elapsed: started.elapsed(),
        status: progress.status,
        outcome,
    }
}

/// The failure of a check that did not end in time. A wrong status is the reason, however slowly
/// the body behind it arrives.
fn too_late(probe: &Probe, progress: &ProbeProgress, limit: Duration) -> CheckFailure {
    let mismatch = match probe {
        Probe::Tcp => None,
        Probe::Http(http) => http_probe::status_mismatch(http, progress),
    };
    mismatch.unwrap_or_else(|| {
        let detail = match (progress.connected, progress.status) {
            (false, _) => format!("no connection within {limit:?}"),
            (true, None) => format!("no answer within {limit:?}"),
            (true, Some(status)) => format!("status {status}, but no whole body within {limit:?}"),
        };
        failure(HealthReason::Timeout, detail)
    })
}
