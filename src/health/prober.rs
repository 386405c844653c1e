//! One check: a probe with a deadline, and its result.

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};

use super::progress::{ProbeProgress, failure};
use super::{grpc_probe, http_probe, tcp_probe};
use crate::config::{HealthCheck, Probe};
use crate::model::{CheckFailure, CheckResult, Endpoint, HealthReason};

/// Checks a target once.
pub(super) trait Prober: Clone + Send + Sync + 'static {
    /// Probes `endpoint`. The caller sets the deadline: the future may be dropped at any time, and
    /// `progress` then says how far it came.
    fn probe(
        &self,
        endpoint: &Endpoint,
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
        endpoint: &Endpoint,
        probe: &Probe,
        progress: &mut ProbeProgress,
    ) -> Result<(), CheckFailure> {
        match probe {
            Probe::Tcp => tcp_probe::probe(endpoint).await,
            Probe::Http(http) => http_probe::probe(endpoint, http, progress).await,
            Probe::Grpc(grpc) => grpc_probe::probe(endpoint, grpc, progress).await,
        }
    }
}

/// Checks the target at `endpoint` within the check's timeout. A Unix socket has no other port
/// that could be checked: the check's is ignored.
pub(super) async fn check(
    prober: &impl Prober,
    endpoint: &Endpoint,
    check: &HealthCheck,
) -> CheckResult {
    let at = SystemTime::now();
    let started = Instant::now();
    let endpoint = checked(endpoint, check.port);
    let mut progress = ProbeProgress::default();
    let probe = prober.probe(&endpoint, &check.probe, &mut progress);
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

fn checked(endpoint: &Endpoint, port: Option<u16>) -> Endpoint {
    match (endpoint, port) {
        (Endpoint::Address(address), Some(port)) => (address.ip(), port).into(),
        (Endpoint::Address(_) | Endpoint::Unix(_), _) => endpoint.clone(),
    }
}

/// The failure of a check that did not end in time. A wrong status is the reason, however slowly
/// the body behind it arrives.
fn too_late(probe: &Probe, progress: &ProbeProgress, limit: Duration) -> CheckFailure {
    let mismatch = match probe {
        Probe::Tcp | Probe::Grpc(_) => None,
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
