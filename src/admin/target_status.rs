//! The status of one target.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::{millis, timestamp};
use crate::model::{
    CheckResult, Draining, Ejection, EjectionCounts, Endpoint, Health, HealthReason, Registration,
};
use crate::target::{Target, WHOLE_SHARE};

/// The state of a target that passes its checks.
pub(super) const HEALTHY: &str = Health::Healthy.name();
/// The registration of a target that gets no new requests.
pub(super) const DRAINING: &str = "draining";
/// The result for a target that fails more requests than its peers.
pub(super) const ANOMALOUS: &str = "anomalous";
/// The states of `weir_targets`.
pub(super) const TARGET_STATES: [&str; 4] = [
    Health::Initial.name(),
    HEALTHY,
    Health::Unhealthy.name(),
    DRAINING,
];

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Its address.
    pub address: Endpoint,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// `active` or `draining`.
    pub registration: String,
    /// Its drain, while it drains.
    pub draining: Option<DrainingStatus>,
    /// The result of its checks: `initial`, `healthy` or `unhealthy`.
    pub state: String,
    /// ALB's code for why it is not healthy, or why it is not checked.
    pub reason: Option<String>,
    /// When the state last changed.
    pub since: Option<Timestamp>,
    /// Percent of the requests it is picked for that it gets: fewer than 100 in slow start,
    /// and under `weighted_random` while it does worse than its peers.
    pub share: u32,
    /// Its ejection by outlier detection, whatever its state.
    pub ejected: Option<EjectedStatus>,
    /// Ejections so far, by reason; reasons that have not occurred are left out.
    pub ejections: BTreeMap<String, u64>,
    /// Why it would be ejected if `max_ejected` or `min_healthy` allowed one more.
    #[serde(default)]
    pub ejection_withheld: Option<String>,
    /// Ejections that were withheld so far, by reason.
    #[serde(default)]
    pub ejections_withheld: BTreeMap<String, u64>,
    /// Whether it fails more requests than its peers.
    pub anomaly_detection: AnomalyStatus,
    /// Requests that are not answered to the last byte yet.
    pub in_flight: u32,
    /// Requests sent to it so far.
    pub requests: u64,
    /// Checks that have finished.
    pub checks: u64,
    /// Checks that failed.
    pub failed_checks: u64,
    /// The last results, newest first.
    pub last_checks: Vec<CheckStatus>,
}

/// The drain of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainingStatus {
    /// ALB's code for the reason: it has left its group, or a client of this listener drains it.
    pub reason: String,
    /// When it began.
    pub since: Timestamp,
    /// The time that is left for its requests; `None` without a limit.
    pub seconds_left: Option<u64>,
}

/// An ejection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EjectedStatus {
    /// `consecutive_errors`, `consecutive_gateway_errors` or `error_ratio`.
    pub reason: String,
    /// The reason with its numbers, for operators.
    pub detail: String,
    /// When it ends, unless a check which passes ends it sooner.
    pub until: Timestamp,
    /// How many ejections count, with this one; old ones do not.
    pub times: u32,
}

/// ALB's `AnomalyDetection` of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyStatus {
    /// `anomalous` or `normal`.
    pub result: String,
    /// Whether it gets fewer requests because of that.
    pub mitigation_in_effect: bool,
}

/// One finished check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// When it started.
    pub at: Timestamp,
    /// Whether it passed.
    pub ok: bool,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// How long it took.
    #[serde(rename = "ms", with = "millis")]
    pub elapsed: Duration,
    /// ALB's code for the failure.
    pub reason: Option<String>,
    /// For operators: the system's error text, an excerpt of the body.
    pub detail: Option<String>,
}

/// The status of a member of a group. `share` is in percent.
pub(super) fn target(
    target: &Target,
    weight: u16,
    registration: Registration,
    checked: bool,
    share: u32,
) -> TargetStatus {
    // Copied, so that no prober waits for the lock while the texts are made.
    let record = target.health().lock().clone();
    let (health, reason) = if checked {
        (record.state.health(), record.reason)
    } else {
        (Health::Healthy, Some(HealthReason::HealthCheckDisabled))
    };
    TargetStatus {
        address: target.id.addr.clone(),
        weight,
        registration: registration.name().to_owned(),
        draining: match registration {
            Registration::Active => None,
            Registration::Draining(draining) => Some(self::draining(draining)),
        },
        state: health.name().to_owned(),
        reason: reason.map(|reason| reason.code().to_owned()),
        since: record.since.map(timestamp),
        share,
        ejected: record.ejection.as_ref().map(ejected),
        ejections: by_reason(record.ejections),
        ejection_withheld: record.withheld.clone(),
        ejections_withheld: by_reason(record.withheld_ejections),
        anomaly_detection: anomaly(target.share().get(), record.anomalous),
        in_flight: target.load().in_flight(),
        requests: target.load().started(),
        checks: record.checks,
        failed_checks: record.failures,
        last_checks: record.last.iter().rev().map(check).collect(),
    }
}

/// Reasons that have not occurred are left out.
fn by_reason(counts: EjectionCounts) -> BTreeMap<String, u64> {
    counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect()
}

fn ejected(ejection: &Ejection) -> EjectedStatus {
    EjectedStatus {
        reason: ejection.reason.name().to_owned(),
        detail: ejection.detail.clone(),
        until: timestamp(ejection.until),
        times: ejection.times,
    }
}

fn anomaly(share: u32, anomalous: bool) -> AnomalyStatus {
    AnomalyStatus {
        result: if anomalous { ANOMALOUS } else { "normal" }.to_owned(),
        mitigation_in_effect: share < WHOLE_SHARE,
    }
}

fn check(result: &CheckResult) -> CheckStatus {
    let failure = result.outcome.as_ref().err();
    CheckStatus {
        at: timestamp(result.at),
        ok: failure.is_none(),
        status: result.status,
        elapsed: result.elapsed,
        reason: failure.map(|failure| failure.reason.code().to_owned()),
        detail: failure
            .map(|failure| failure.detail.clone())
            .filter(|detail| !detail.is_empty()),
    }
}

fn draining(draining: Draining) -> DrainingStatus {
    let now = Instant::now();
    let since = SystemTime::now().checked_sub(now - draining.since);
    DrainingStatus {
        reason: draining.reason.code().to_owned(),
        since: timestamp(since.unwrap_or(SystemTime::UNIX_EPOCH)),
        seconds_left: draining
            .until
            .map(|until| until.saturating_duration_since(now).as_secs()),
    }
}
