//! `/api/status`: what runs, in the order of the configuration.
//!
//! `weir status` reads what this writes through the same types, so the table and the
//! API cannot drift apart. Times are RFC 3339, in UTC, to the millisecond.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::Context;
use super::autoscaling::ScalingStatus;
use crate::autoscale::Log;
use crate::model::{
    Action, Algorithm, CheckResult, Draining, Ejection, EjectionCounts, Forward, Health,
    HealthReason, RedirectPart, Registration, Target, TargetGroupId, WHOLE_SHARE,
};
use crate::replicas::{GroupReplicas, Replica, Usage};
use crate::state::Snapshot;

/// The state of a target that passes its checks.
pub(super) const HEALTHY: &str = Health::Healthy.name();
/// The registration of a target that gets nothing new.
pub(super) const DRAINING: &str = "draining";
/// The result for a target that does worse than its peers.
pub(super) const ANOMALOUS: &str = "anomalous";
/// What a target counts as in `weir_targets`.
pub(super) const TARGET_STATES: [&str; 4] = [
    Health::Initial.name(),
    HEALTHY,
    Health::Unhealthy.name(),
    DRAINING,
];

/// The whole process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Weir's.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Where in its life the process is: `serving`, when all is well.
    pub phase: String,
    /// What a start or a reload waits for, a sentence each; empty when all is well.
    #[serde(default)]
    pub waits: Vec<String>,
    /// Counts up with each publication.
    pub snapshot: u64,
    /// When the process started.
    pub started: Timestamp,
    /// When this was written.
    pub now: Timestamp,
    /// Since the start, whatever was done to the clock.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    pub uptime: Duration,
    /// In the order of the file.
    pub listeners: Vec<ListenerStatus>,
    /// In the order of the file.
    pub target_groups: Vec<GroupStatus>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The address in the configuration.
    pub bind: SocketAddr,
    /// Most client connections at a time.
    pub max_connections: usize,
    /// How many rules stand before the default action.
    pub rules: usize,
    /// What happens when no rule matches, for people.
    pub default_action: String,
}

/// One target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// How a target is chosen.
    pub algorithm: String,
    /// Whether its targets are checked; all of them count as healthy otherwise.
    pub checked: bool,
    /// Whether it may fail open.
    pub fail_open: bool,
    /// Whether requests go to targets that fail their checks, because too few pass.
    pub failing_open: bool,
    /// The least it must have healthy: a count, or a percentage with its sign.
    pub min_healthy: String,
    /// Requests each of its targets takes at a time, if there is a limit.
    pub max_concurrency: Option<u32>,
    /// Requests that wait for a place on one of them.
    pub waiting: usize,
    /// How many may.
    pub queue_length: usize,
    /// The file's, in its order, then those from elsewhere.
    pub targets: Vec<TargetStatus>,
    /// How many replicas there should be, as whoever runs them has it; `None` if there are no
    /// replicas.
    pub desired: Option<u32>,
    /// What whoever runs them cannot do at present.
    pub fault: Option<FaultStatus>,
    /// How their number follows the load; `None` if it does not.
    pub autoscaling: Option<ScalingStatus>,
    /// Those that Weir or an engine runs; empty if there are none.
    pub replicas: Vec<ReplicaStatus>,
}

/// What a provider of replicas cannot do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// For people.
    pub message: String,
    /// Since when without a success.
    pub since: Timestamp,
}

/// One replica that Weir or an engine runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// What the engine calls it.
    pub name: Option<String>,
    /// Its process, while it lives.
    pub pid: Option<u32>,
    /// Where it answers or is going to.
    pub address: Option<SocketAddr>,
    /// `starting`, `running`, `draining` or `stopping`.
    pub state: String,
    /// How many times it has been started again.
    pub restarts: u32,
    /// When it got into this state.
    pub since: Timestamp,
    /// CPU time it uses, in percent of what it may; `None` if nobody measures it.
    pub cpu: Option<f64>,
    /// Memory, likewise.
    pub memory: Option<f64>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// Where it answers.
    pub address: SocketAddr,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// What is wanted from it: `active` or `draining`.
    pub registration: String,
    /// How it drains, while it does.
    pub draining: Option<DrainingStatus>,
    /// What the checks say: `initial`, `healthy` or `unhealthy`.
    pub state: String,
    /// ALB's code for why it is not healthy, or why nobody asks.
    pub reason: Option<String>,
    /// When the state last changed.
    pub since: Option<Timestamp>,
    /// Percent of the requests it is picked for that it gets: fewer than 100 in slow start,
    /// and under `weighted_random` while it does worse than its peers.
    pub share: u32,
    /// Whether it is out because of the requests it failed, whatever its state.
    pub ejected: Option<EjectedStatus>,
    /// How often that has happened, by reason; reasons that have not occurred are left out.
    pub ejections: BTreeMap<String, u64>,
    /// Why it would be ejected if `max_ejected` or `min_healthy` allowed one more.
    #[serde(default)]
    pub ejection_withheld: Option<String>,
    /// How often that has happened, by reason.
    #[serde(default)]
    pub ejections_withheld: BTreeMap<String, u64>,
    /// Whether it does worse than its peers.
    pub anomaly_detection: AnomalyStatus,
    /// Requests whose last byte has not left yet.
    pub in_flight: u32,
    /// Requests ever sent to it.
    pub requests: u64,
    /// Checks that have finished.
    pub checks: u64,
    /// Those of them that failed.
    pub failed_checks: u64,
    /// The last results, newest first.
    pub last_checks: Vec<CheckStatus>,
}

/// How a target drains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainingStatus {
    /// ALB's code for why: it has left its group, or somebody asked for it.
    pub reason: String,
    /// From when on.
    pub since: Timestamp,
    /// How long its requests still have, at most; without it as long as they like.
    pub seconds_left: Option<u64>,
}

/// A target that is out for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EjectedStatus {
    /// `consecutive_errors`, `consecutive_gateway_errors` or `error_ratio`.
    pub reason: String,
    /// For people, with numbers.
    pub detail: String,
    /// When it comes back, unless a check brings it back sooner.
    pub until: Timestamp,
    /// The how-manieth time, counting those that are not long ago.
    pub times: u32,
}

/// ALB's `AnomalyDetection` of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyStatus {
    /// `anomalous` or `normal`.
    pub result: String,
    /// Whether it gets fewer requests for it.
    pub mitigation_in_effect: bool,
}

/// One finished check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// When it started.
    pub at: Timestamp,
    /// Whether it passed.
    pub ok: bool,
    /// The status the target answered with, if it answered.
    pub status: Option<u16>,
    /// How long it took.
    #[serde(rename = "ms", with = "millis")]
    pub elapsed: Duration,
    /// ALB's code for the failure.
    pub reason: Option<String>,
    /// For people: the system's error text, an excerpt of the body.
    pub detail: Option<String>,
}

impl Status {
    /// The picture of this moment.
    pub(super) fn of(context: &Context) -> Self {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        let (listeners, groups) = (snapshot.config.listeners.len(), snapshot.groups().len());
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: context.lifecycle.phase().name().to_owned(),
            waits: context.lifecycle.waits(),
            snapshot: snapshot.version,
            started: timestamp(context.metrics.started()),
            now: timestamp(SystemTime::now()),
            uptime: context.metrics.uptime(),
            listeners: (0..listeners).map(|i| listener(&snapshot, i)).collect(),
            target_groups: (0..groups)
                .map(|i| {
                    let id = &snapshot.groups()[i].id;
                    let log = context.autoscaling.log(id);
                    group(&snapshot, i, replicas.get(id), log.as_ref())
                })
                .collect(),
        }
    }
}

fn listener(snapshot: &Snapshot, index: usize) -> ListenerStatus {
    let listener = &snapshot.config.listeners[index];
    ListenerStatus {
        name: listener.id.to_string(),
        bind: listener.bind,
        max_connections: listener.max_connections,
        rules: listener.rules.len(),
        default_action: summary(&listener.default),
    }
}

/// A snapshot's groups stand in the order of its configuration.
fn group(
    snapshot: &Snapshot,
    index: usize,
    replicas: Option<&GroupReplicas>,
    log: Option<&Log>,
) -> GroupStatus {
    let (group, config) = (
        &snapshot.groups()[index],
        &snapshot.config.target_groups[index],
    );
    let checked = config.health.is_some();
    let targets = group.targets.iter();
    let is_automatic = config.algorithm == Algorithm::WeightedRandom;
    let share = |target: &Target| {
        let own = if is_automatic {
            target.share()
        } else {
            WHOLE_SHARE
        };
        let ramp = target.ramp().share(config.slow_start, Instant::now());
        (ramp * own).div_ceil(WHOLE_SHARE * WHOLE_SHARE / 100)
    };
    GroupStatus {
        name: group.id.to_string(),
        algorithm: config.algorithm.name().to_owned(),
        checked,
        fail_open: config.fail_open.enabled,
        failing_open: group.failing_open,
        min_healthy: config.fail_open.min_healthy.to_string(),
        max_concurrency: group.overload.max_concurrency.map(NonZeroU32::get),
        waiting: group.admission.waiting(),
        queue_length: group.overload.queue_length,
        targets: targets
            .map(|t| {
                target(
                    &t.target,
                    t.weight,
                    t.registration,
                    checked,
                    share(&t.target),
                )
            })
            .collect(),
        desired: replicas.map(|replicas| replicas.desired),
        fault: FaultStatus::of(replicas),
        autoscaling: ScalingStatus::of(snapshot, index, log, replicas),
        replicas: replicas.map(self::replicas).unwrap_or_default(),
    }
}

impl FaultStatus {
    pub(super) fn of(replicas: Option<&GroupReplicas>) -> Option<Self> {
        let fault = replicas?.fault.as_ref()?;
        Some(Self {
            message: fault.message.clone(),
            since: timestamp(fault.since),
        })
    }
}

fn replicas(group: &GroupReplicas) -> Vec<ReplicaStatus> {
    let replicas = group.replicas.iter();
    replicas
        .map(|one| replica(one, group.usage.get(&one.id)))
        .collect()
}

fn replica(replica: &Replica, usage: Option<&Usage>) -> ReplicaStatus {
    ReplicaStatus {
        name: replica.name.clone(),
        pid: replica.pid,
        address: replica.address,
        state: replica.state.name().to_owned(),
        restarts: replica.restarts,
        since: timestamp(replica.since),
        cpu: usage.and_then(|usage| usage.cpu),
        memory: usage.and_then(|usage| usage.memory),
    }
}

fn target(
    target: &Target,
    weight: u16,
    registration: Registration,
    checked: bool,
    share: u32,
) -> TargetStatus {
    // Copied, so that no prober waits while its words are made into text.
    let record = target.health().clone();
    let (health, reason) = if checked {
        (record.state.health(), record.reason)
    } else {
        (Health::Healthy, Some(HealthReason::HealthCheckDisabled))
    };
    TargetStatus {
        address: target.id.addr,
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
        anomaly_detection: anomaly(target.share(), record.anomalous),
        in_flight: target.in_flight(),
        requests: target.leases(),
        checks: record.checks,
        failed_checks: record.failures,
        last_checks: record.last.iter().rev().map(check).collect(),
    }
}

/// Reasons that have not occurred are left out.
fn by_reason(counts: EjectionCounts) -> BTreeMap<String, u64> {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts = counts.map(|(reason, count)| (reason.name().to_owned(), count));
    counts.collect()
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
    let left = |until: Instant| until.saturating_duration_since(now).as_secs();
    let since = SystemTime::now().checked_sub(now - draining.since);
    DrainingStatus {
        reason: draining.reason.code().to_owned(),
        since: timestamp(since.unwrap_or(SystemTime::UNIX_EPOCH)),
        seconds_left: draining.until.map(left),
    }
}

fn summary(action: &Action<TargetGroupId>) -> String {
    match action {
        Action::Forward(forward) => format!("forward {}", groups(forward)),
        Action::Redirect(redirect) => {
            let location: String = redirect.location.iter().map(part).collect();
            format!("redirect {} {location}", redirect.status.as_u16())
        }
        Action::FixedResponse(fixed) => format!("fixed response {}", fixed.status.as_u16()),
    }
}

/// `todo`, or `blue (90), green (10)`.
fn groups(forward: &Forward<TargetGroupId>) -> String {
    if let [(only, _)] = forward.groups.as_slice() {
        return only.to_string();
    }
    let weighted = forward.groups.iter();
    let weighted: Vec<String> = weighted
        .map(|(group, weight)| format!("{group} ({weight})"))
        .collect();
    weighted.join(", ")
}

/// As the configuration writes it.
fn part(part: &RedirectPart) -> &str {
    match part {
        RedirectPart::Literal(text) => text,
        RedirectPart::Protocol => "#{protocol}",
        RedirectPart::Host => "#{host}",
        RedirectPart::Port => "#{port}",
        RedirectPart::Path => "#{path}",
        RedirectPart::Query => "#{query}",
    }
}

/// A clock outside the years that RFC 3339 can write counts from 1970.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at)
        .and_then(|at| at.round(Unit::Millisecond))
        .unwrap_or_default()
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_millis() as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_micros() as f64 / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(from)?;
        Duration::try_from_secs_f64(millis / 1000.0).map_err(D::Error::custom)
    }
}
