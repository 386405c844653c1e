//! `/api/v1/status`: the listeners and target groups, in the order of the configuration.
//!
//! `weir status` reads this page with the same types, so that the command and the page cannot
//! differ.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::discovery_status::{DiscoveryStatus, Sources};
use super::finding::Finding;
use super::maintenance::MaintenanceStatus;
use super::process;
use super::replica_status::{ReplicaStatus, StoppedReplicaStatus};
use super::rule_status::{RuleStatus, rules, summary};
use super::scaling_status::{FaultStatus, ScalingStatus};
use super::target_status::{CheckRequestStatus, MinuteStatus, TargetFacts, TargetStatus, target};
use super::time::{seconds, timestamp};
use crate::acme::Report;
use crate::autoscale::GroupJournal;
use crate::lifecycle::LastReload;
use crate::listener::ConnectionLimit;
use crate::model::{Algorithm, Endpoint, TargetGroupId};
use crate::net::descriptors;
use crate::observe::{
    Faults, Metrics, TargetName, TargetTraffic, dropped_log_lines, journal, log_fault,
};
use crate::replicas::GroupReplicas;
use crate::state::{Group, Snapshot};
use crate::target::{Target, WHOLE_SHARE};
use crate::tls::ServerSettings;

/// The whole process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The version of Weir.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// The phase of the process: `serving` in normal operation.
    pub phase: String,
    /// What a start or a reload waits for, a sentence each; empty if it waits for nothing.
    #[serde(default)]
    pub waits: Vec<String>,
    /// Whether the configuration, or a file that it names, was changed and is not in force, because
    /// it cannot be; the log says why.
    #[serde(default)]
    pub reload_refused: bool,
    /// The last reload; `None` before the first.
    #[serde(default)]
    pub last_reload: Option<ReloadStatus>,
    /// Counts up with each publication.
    pub snapshot: u64,
    /// When the process started.
    pub started: Timestamp,
    /// When this was written.
    pub now: Timestamp,
    /// Since the start, by a clock which is never set.
    #[serde(rename = "uptime_seconds", with = "seconds")]
    #[cfg_attr(test, schemars(with = "f64"))]
    pub uptime: Duration,
    /// What is wrong, the most severe first; empty if nothing is.
    // Filled in by `findings`, which reads the rest.
    #[serde(default)]
    pub problems: Vec<Finding>,
    /// What the process itself uses.
    #[serde(default)]
    pub process: ProcessStatus,
    /// Requests that have ended since the start, by class of their status (`2xx`), or
    /// `client_gone`; those that Weir answers itself are in it.
    #[serde(default)]
    pub responses: BTreeMap<String, u64>,
    /// Requests that failed before a group was chosen, since the start, by reason.
    #[serde(default)]
    pub failures: BTreeMap<String, u64>,
    /// In the order of the file.
    pub listeners: Vec<ListenerStatus>,
    /// In the order of the file.
    pub target_groups: Vec<GroupStatus>,
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReloadStatus {
    /// When it ended.
    pub at: Timestamp,
    /// Whether it is in force. The configuration before it stays otherwise.
    pub accepted: bool,
    /// What it has changed, or why it was refused.
    pub summary: String,
    /// What is wrong with the files, and where what was set at run time contradicts them.
    pub problems: Vec<String>,
}

impl ReloadStatus {
    fn of(last: LastReload) -> Self {
        Self {
            at: timestamp(last.at),
            accepted: last.accepted,
            summary: last.summary,
            problems: last.problems,
        }
    }
}

/// The listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListenerList {
    /// In the order of the file.
    pub listeners: Vec<ListenerStatus>,
}

/// The target groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupList {
    /// In the order of the file.
    pub groups: Vec<GroupStatus>,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens, as configured.
    #[cfg_attr(test, schemars(with = "String"))]
    pub bind: Endpoint,
    /// What it speaks: `http1` or `tcp`, over TLS if it has certificates or orders them.
    #[serde(default)]
    pub protocol: String,
    /// Most client connections at a time.
    pub max_connections: usize,
    /// Client connections that are open.
    #[serde(default)]
    pub connections: usize,
    /// Clients that wait until a connection ends: of this listener, or of another one if open files
    /// are short.
    #[serde(default)]
    pub waiting: usize,
    /// When a client last had to wait; `None` if none has.
    #[serde(default)]
    pub limit_reached: Option<Timestamp>,
    /// How many rules come before the default action.
    pub rules: usize,
    /// These rules in their order, then the default action, with their hits.
    #[serde(default)]
    pub rule_hits: Vec<RuleStatus>,
    /// What happens if no rule matches, for operators.
    pub default_action: String,
    /// The certificates of its `tls`; empty without.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// The hosts for which certificates are ordered by ACME; empty without.
    #[serde(default)]
    pub acme: Vec<AcmeStatus>,
}

/// A host for which a certificate is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AcmeStatus {
    /// The host.
    pub domain: String,
    /// `served`, or what is done or waited for.
    pub state: String,
    /// Orders that have failed since the last that did not.
    pub failures: u32,
    /// Why the last order has failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// When it is looked at again: to order, or to ask the authority whether to.
    pub next_try: Timestamp,
}

/// One certificate that clients get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CertificateStatus {
    /// The file that it comes from.
    pub file: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// Until when it is valid.
    pub expires: Timestamp,
}

/// One target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Its maintenance; `None` if its requests are forwarded.
    #[serde(default)]
    pub maintenance: Option<MaintenanceStatus>,
    /// The least number of healthy targets: a count, or a percentage with its sign.
    pub min_healthy: String,
    /// Most requests on each of its targets at a time; `None` without a limit.
    pub max_concurrency: Option<u32>,
    /// Requests that wait for a free target.
    pub waiting: usize,
    /// Most requests that may wait.
    pub queue_length: usize,
    /// Its requests that failed, since the start, by reason: `queue_full`, `connect_error`.
    #[serde(default)]
    pub failures: BTreeMap<String, u64>,
    /// Its retries.
    #[serde(default)]
    pub retries: RetryStatus,
    /// What went wrong with its requests within about the last minute.
    #[serde(default)]
    pub minute: GroupMinuteStatus,
    /// The targets of the configuration in its order, then the others.
    pub targets: Vec<TargetStatus>,
    /// The names and files that targets come from.
    #[serde(default)]
    pub discovery: Vec<DiscoveryStatus>,
    /// The desired count of the provider; `None` if the group has no replicas.
    pub desired: Option<u32>,
    /// What fails at the provider now.
    pub fault: Option<FaultStatus>,
    /// How the desired count follows the load; `None` if it does not.
    pub autoscaling: Option<ScalingStatus>,
    /// The replicas of the group; empty without a provider.
    pub replicas: Vec<ReplicaStatus>,
    /// The last hundred that have stopped, newest first, and runs of those that were restarted.
    #[serde(default)]
    pub stopped_replicas: Vec<StoppedReplicaStatus>,
    /// How many have stopped since the start, by reason; reasons that have not occurred are left out.
    #[serde(default)]
    pub replica_stops: BTreeMap<String, u64>,
}

/// The retries of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RetryStatus {
    /// Most retries for a hundred requests.
    pub budget_percent: u8,
    /// So many retries at a time need no budget.
    pub free: u32,
    /// Retries in flight.
    pub in_flight: u32,
    /// Requests within the last ten seconds.
    pub recent_requests: u64,
    /// Retries within the last ten seconds that needed budget.
    pub recent_retries: u64,
    /// Retries since the start, by reason.
    pub total: BTreeMap<String, u64>,
}

/// What went wrong with the requests of a group within about the last minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupMinuteStatus {
    /// How long that is, in seconds.
    pub seconds: f64,
    /// Requests that no target answered to the end, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Retries by reason; `budget_exhausted` counts those that were not made.
    pub retries: BTreeMap<String, u64>,
}

/// What the process itself uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProcessStatus {
    /// Resident memory, in bytes; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// File descriptors in use; `None` where the system does not tell.
    pub open_files: Option<usize>,
    /// Most file descriptors.
    pub max_open_files: usize,
    /// Lines of the access log that were dropped, because the output of the log does not take them.
    pub access_lines_dropped: u64,
    /// The same of all other lines.
    pub event_lines_dropped: u64,
    /// Lines of the log that were dropped within about the last minute.
    #[serde(default)]
    pub recent_lines_dropped: u64,
    /// Why the log, or the access log, cannot be written now; `None` if it can.
    #[serde(default)]
    pub log_fault: Option<String>,
    /// The number of the last event of the journal.
    pub last_event: u64,
    /// Clients that follow the journal.
    pub followers: usize,
    /// Clients that have followed it too slowly, and were cut off.
    pub followers_lost: usize,
}

impl ProcessStatus {
    fn now(recent: &Faults) -> Self {
        let (access, events) = dropped_log_lines();
        let (followers, followers_lost) = journal().followers();
        Self {
            memory_bytes: process::memory().map(|memory| memory.resident),
            open_files: descriptors::open(),
            max_open_files: descriptors::limit(),
            access_lines_dropped: access,
            event_lines_dropped: events,
            recent_lines_dropped: recent.dropped_lines,
            log_fault: log_fault(),
            last_event: journal().last(),
            followers,
            followers_lost,
        }
    }
}

impl Status {
    /// The state at this moment.
    pub(super) fn of(context: &Context) -> Self {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        let traffic = Traffic::of(context);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: context.lifecycle.phase().name().to_owned(),
            waits: context.lifecycle.waits(),
            reload_refused: context.lifecycle.is_reload_refused(),
            last_reload: context.lifecycle.last_reload().map(ReloadStatus::of),
            snapshot: snapshot.version,
            started: timestamp(context.metrics.started()),
            now: timestamp(SystemTime::now()),
            uptime: context.metrics.uptime(),
            problems: Vec::new(),
            process: ProcessStatus::now(&traffic.recent),
            responses: responses(&context.metrics),
            failures: of_group(None, &traffic.faults.failures),
            listeners: listeners(context, &snapshot),
            target_groups: snapshot
                .groups()
                .iter()
                .map(|one| {
                    let log = context.autoscaling.group(&one.id);
                    let replicas = replicas.get(&one.id);
                    let sources = Sources::of(one, &context.discovery, replicas);
                    group(one, (replicas, log.as_ref()), sources, &traffic)
                })
                .collect(),
        }
    }
}

impl Status {
    /// One group; `None` if there is none of that name.
    pub(super) fn of_group(context: &Context, id: &TargetGroupId) -> Option<GroupStatus> {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        let log = context.autoscaling.group(id);
        let found = snapshot.group_named(id)?;
        let traffic = Traffic::of(context);
        let replicas = replicas.get(id);
        let sources = Sources::of(found, &context.discovery, replicas);
        Some(group(found, (replicas, log.as_ref()), sources, &traffic))
    }
}

/// In the order of the file.
fn listeners(context: &Context, snapshot: &Snapshot) -> Vec<ListenerStatus> {
    let (hits, limits) = (context.metrics.rule_hits(), context.connections.borrow());
    let listeners = snapshot.config.listeners.iter().map(|listener| {
        let limit = limits.iter().find(|(id, _)| *id == listener.id);
        let limit = limit.map(|(_, limit)| &**limit);
        let reached = limit.and_then(ConnectionLimit::last_reached);
        ListenerStatus {
            name: listener.id.to_string(),
            bind: listener.bind.clone(),
            protocol: listener.protocol.name().to_owned(),
            max_connections: listener.max_connections,
            connections: limit.map_or(0, ConnectionLimit::open),
            waiting: limit.map_or(0, ConnectionLimit::waiting_clients),
            limit_reached: reached.and_then(ago),
            rules: listener.rules.len(),
            rule_hits: rules(&listener.id, (&listener.rules, &listener.default), &hits),
            default_action: summary(&listener.default),
            certificates: certificates(listener.tls.as_ref()),
            acme: acme(listener.tls.as_ref(), &context.certificates),
        }
    });
    listeners.collect()
}

/// What the time was when the monotonic clock was at `at`.
fn ago(at: Instant) -> Option<Timestamp> {
    SystemTime::now().checked_sub(at.elapsed()).map(timestamp)
}

fn responses(metrics: &Metrics) -> BTreeMap<String, u64> {
    let mut sum = TargetTraffic::default();
    for traffic in metrics.group_traffic().values() {
        sum.add(traffic);
    }
    let classes = sum.classes();
    classes
        .map(|(class, count)| (class.to_owned(), count))
        .collect()
}

/// How many targets of a group count as healthy.
pub(super) fn healthy(group: &Group) -> u32 {
    let checked = group.config.health.is_some();
    let targets = group.targets.iter();
    let healthy = targets.filter(|member| !checked || member.target.health().is_healthy());
    healthy.count() as u32
}

fn certificates(tls: Option<&ServerSettings>) -> Vec<CertificateStatus> {
    let certificates = tls.map_or(&[][..], |tls| &tls.certificates);
    certificates
        .iter()
        .map(|certificate| CertificateStatus {
            file: certificate.file.to_string(),
            names: certificate.names.iter().map(ToString::to_string).collect(),
            expires: timestamp(certificate.not_after),
        })
        .collect()
}

fn acme(tls: Option<&ServerSettings>, report: &Report) -> Vec<AcmeStatus> {
    let Some(settings) = tls.and_then(|tls| tls.acme.as_ref()) else {
        return Vec::new();
    };
    let known = settings.domains.iter().filter_map(|domain| {
        let known = report.domain(&settings.certificate_file(domain))?;
        Some(AcmeStatus {
            domain: domain.to_string(),
            state: known.state.to_owned(),
            failures: known.failures,
            last_error: known.last_error,
            next_try: timestamp(known.next_try),
        })
    });
    known.collect()
}

fn group(
    group: &Group,
    (replicas, log): (Option<&GroupReplicas>, Option<&GroupJournal>),
    sources: Sources,
    traffic: &Traffic,
) -> GroupStatus {
    let config = &group.config;
    GroupStatus {
        name: group.id.to_string(),
        algorithm: config.algorithm.name().to_owned(),
        checked: config.health.is_some(),
        fail_open: config.fail_open.enabled,
        failing_open: group.failing_open,
        maintenance: group.live.maintenance.map(MaintenanceStatus::of),
        min_healthy: config.fail_open.min_healthy.to_string(),
        max_concurrency: group.overload.max_concurrency.map(NonZeroU32::get),
        waiting: group.admission.waiting(),
        queue_length: group.overload.queue_length,
        targets: targets(group, &sources, traffic),
        failures: of_group(Some(&group.id), &traffic.faults.failures),
        retries: retries(group, traffic),
        minute: minute(group, traffic),
        discovery: sources.discovery,
        desired: replicas.map(|replicas| replicas.desired),
        fault: FaultStatus::of(replicas),
        autoscaling: ScalingStatus::of(group, log, replicas),
        replicas: replicas.map(ReplicaStatus::all).unwrap_or_default(),
        stopped_replicas: replicas.map(StoppedReplicaStatus::all).unwrap_or_default(),
        replica_stops: replicas.map(stops).unwrap_or_default(),
    }
}

fn targets(group: &Group, sources: &Sources, traffic: &Traffic) -> Vec<TargetStatus> {
    let config = &group.config;
    let status = group.targets.iter().map(|member| {
        let (all, minute) = traffic.target(&member.target);
        let check = config.health.as_ref().map(|check| {
            let request = check.request(&member.target.id.addr);
            CheckRequestStatus {
                method: request.method,
                url: request.url,
                wanted: request.wanted,
                interval: check.interval,
                timeout: check.timeout,
            }
        });
        let facts = TargetFacts {
            weight: member.weight,
            registration: member.registration,
            source: sources.of_target(&member.target.id.addr, member.registration),
            share: share(group, &member.target),
            is_http2: group.upstream.protocol.is_http2(),
            check,
            traffic: all,
            minute,
        };
        target(&member.target, facts)
    });
    status.collect()
}

/// In percent, rounded up.
fn share(group: &Group, target: &Target) -> u32 {
    let is_automatic = group.config.algorithm == Algorithm::WeightedRandom;
    let own = if is_automatic {
        target.share().get()
    } else {
        WHOLE_SHARE
    };
    let ramp = target.ramp().get();
    let ramp = ramp.share(group.config.slow_start, Instant::now());
    (ramp * own).div_ceil(WHOLE_SHARE * WHOLE_SHARE / 100)
}

fn stops(replicas: &GroupReplicas) -> BTreeMap<String, u64> {
    let counts = replicas.stopped.counts();
    counts
        .map(|(reason, count)| (reason.name().to_owned(), count))
        .collect()
}

fn retries(group: &Group, traffic: &Traffic) -> RetryStatus {
    let (requests, retries, in_flight) = group.live.budget.usage(Instant::now());
    RetryStatus {
        budget_percent: group.retry.budget,
        free: group.retry.min_concurrency,
        in_flight,
        recent_requests: requests,
        recent_retries: retries,
        total: of_group(Some(&group.id), &traffic.faults.retries),
    }
}

fn minute(group: &Group, traffic: &Traffic) -> GroupMinuteStatus {
    GroupMinuteStatus {
        seconds: traffic.minute.0.as_secs_f64(),
        failures: of_group(Some(&group.id), &traffic.recent.failures),
        retries: of_group(Some(&group.id), &traffic.recent.retries),
    }
}

/// The counts of a group, or of requests without one, by reason.
fn of_group(
    group: Option<&TargetGroupId>,
    counts: &BTreeMap<(Option<TargetGroupId>, &'static str), u64>,
) -> BTreeMap<String, u64> {
    let own = counts.iter().filter(|((id, _), _)| id.as_ref() == group);
    own.map(|((_, reason), count)| ((*reason).to_owned(), *count))
        .collect()
}

/// The counters of requests.
struct Traffic {
    all: HashMap<TargetName, TargetTraffic>,
    /// How long the last minute is so far, and what it has.
    minute: (Duration, HashMap<TargetName, TargetTraffic>),
    /// What went wrong since the start, and within the last minute.
    faults: Faults,
    recent: Faults,
}

impl Traffic {
    fn of(context: &Context) -> Self {
        let (all, faults) = (context.metrics.traffic(), context.metrics.faults());
        Self {
            minute: context.metrics.recent(&all, Instant::now()),
            all,
            recent: context.metrics.recent_faults(&faults),
            faults,
        }
    }

    fn target(&self, target: &Target) -> (TargetTraffic, MinuteStatus) {
        let name = (target.id.group.to_string(), target.id.addr.to_string());
        let minute = self.minute.1.get(&name).cloned().unwrap_or_default();
        let all = self.all.get(&name).cloned().unwrap_or_default();
        (all, MinuteStatus::of(self.minute.0, &minute))
    }
}
