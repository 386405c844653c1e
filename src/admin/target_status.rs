//! The status of one target.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::{millis, seconds, timestamp};
use crate::model::{
    CheckResult, Draining, Ejection, EjectionCounts, Endpoint, Health, HealthReason, Registration,
};
use crate::observe::TargetTraffic;
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetStatus {
    /// Its address.
    #[cfg_attr(test, schemars(with = "String"))]
    pub address: Endpoint,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// `active` or `draining`.
    pub registration: String,
    /// Where it comes from: `static` in the file, `dns NAME`, `srv NAME`, `file PATH`, `replicas`, or
    /// `registered` at run time; `None` once it has left its group.
    #[serde(default)]
    pub source: Option<String>,
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
    /// Connections to it that have no request, as last counted: about once a second.
    #[serde(default)]
    pub idle_connections: usize,
    /// All connections to it: those, and those with requests.
    #[serde(default)]
    pub open_connections: usize,
    /// Requests sent to it so far.
    pub requests: u64,
    /// Requests that have ended, by class of their status (`2xx`), or `client_gone`; classes
    /// without any are left out.
    #[serde(default)]
    pub responses: BTreeMap<String, u64>,
    /// What it has answered within about the last minute.
    #[serde(default)]
    pub minute: MinuteStatus,
    /// The check as it is made; `None` if it is not checked.
    #[serde(default)]
    pub check: Option<CheckRequestStatus>,
    /// Checks that have finished.
    pub checks: u64,
    /// Checks that failed.
    pub failed_checks: u64,
    /// The last results, newest first.
    pub last_checks: Vec<CheckStatus>,
}

/// What a target has answered within about the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MinuteStatus {
    /// How long that is, in seconds.
    pub seconds: f64,
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them that were answered with 5xx.
    pub errors: u64,
    /// The median of their response times, in milliseconds; `None` without requests.
    pub p50_ms: Option<f64>,
    /// 95 of 100 were faster, in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99 of 100 were faster, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// A check as it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckRequestStatus {
    /// The method; `CONNECT` of a check that only connects.
    pub method: String,
    /// Where it goes.
    pub url: String,
    /// What passes, such as the statuses `200-299`.
    pub wanted: String,
    /// From the start of one check to that of the next, in seconds.
    #[serde(rename = "interval_seconds", with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub interval: Duration,
    /// For connection and answer together, in seconds.
    #[serde(rename = "timeout_seconds", with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub timeout: Duration,
}

/// The drain of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AnomalyStatus {
    /// `anomalous` or `normal`.
    pub result: String,
    /// Whether it gets fewer requests because of that.
    pub mitigation_in_effect: bool,
}

/// One finished check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CheckStatus {
    /// When it started.
    pub at: Timestamp,
    /// Whether it passed.
    pub ok: bool,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// How long it took.
    #[serde(rename = "ms", with = "millis")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub elapsed: Duration,
    /// ALB's code for the failure.
    pub reason: Option<String>,
    /// For operators: the system's error text, an excerpt of the body.
    pub detail: Option<String>,
}

/// What the status of a target is made from, beside the target.
pub(super) struct TargetFacts {
    pub(super) weight: u16,
    pub(super) registration: Registration,
    pub(super) source: Option<String>,
    /// In percent.
    pub(super) share: u32,
    /// Whether its connections carry several requests at a time.
    pub(super) is_http2: bool,
    /// `None` if it is not checked.
    pub(super) check: Option<CheckRequestStatus>,
    pub(super) traffic: TargetTraffic,
    pub(super) minute: MinuteStatus,
}

impl MinuteStatus {
    pub(super) fn of(time: Duration, traffic: &TargetTraffic) -> Self {
        let millis = |share| traffic.durations.quantile(share).map(|time| time * 1000.0);
        Self {
            seconds: time.as_secs_f64(),
            requests: traffic.requests(),
            errors: traffic.errors(),
            p50_ms: millis(0.5),
            p95_ms: millis(0.95),
            p99_ms: millis(0.99),
        }
    }
}

/// The status of a member of a group.
pub(super) fn target(target: &Target, facts: TargetFacts) -> TargetStatus {
    let TargetFacts {
        weight,
        registration,
        source,
        share,
        is_http2,
        check,
        traffic,
        minute,
    } = facts;
    let checked = check.is_some();
    let (in_flight, kept) = (target.load().in_flight(), target.kept().sum());
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
        source,
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
        in_flight,
        idle_connections: kept.idle,
        open_connections: if is_http2 {
            kept.http2
        } else {
            kept.idle + in_flight as usize
        },
        requests: target.load().started(),
        responses: traffic
            .classes()
            .map(|(class, count)| (class.to_owned(), count))
            .collect(),
        minute,
        check,
        checks: record.checks,
        failed_checks: record.failures,
        last_checks: record.last.iter().rev().map(self::check).collect(),
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
