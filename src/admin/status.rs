//! `/api/status`: the listeners and target groups, in the order of the configuration.
//!
//! `weir status` reads this page with the same types, so that the command and the page cannot
//! differ.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::scaling_status::{FaultStatus, ScalingStatus};
use super::target_status::{TargetStatus, target};
use super::time::{seconds, timestamp};
use crate::acme::Report;
use crate::autoscale::GroupJournal;
use crate::model::{Action, Algorithm, Endpoint, Forward, RedirectPart, TargetGroupId};
use crate::replicas::{GroupReplicas, Replica, Usage};
use crate::state::Group;
use crate::target::{Target, WHOLE_SHARE};
use crate::tls::ServerSettings;

/// The whole process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Counts up with each publication.
    pub snapshot: u64,
    /// When the process started.
    pub started: Timestamp,
    /// When this was written.
    pub now: Timestamp,
    /// Since the start, by a clock which is never set.
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
    /// Where it listens, as configured.
    pub bind: Endpoint,
    /// Most client connections at a time.
    pub max_connections: usize,
    /// How many rules come before the default action.
    pub rules: usize,
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
    /// The least number of healthy targets: a count, or a percentage with its sign.
    pub min_healthy: String,
    /// Most requests on each of its targets at a time; `None` without a limit.
    pub max_concurrency: Option<u32>,
    /// Requests that wait for a free target.
    pub waiting: usize,
    /// Most requests that may wait.
    pub queue_length: usize,
    /// The targets of the configuration in its order, then the others.
    pub targets: Vec<TargetStatus>,
    /// The desired count of the provider; `None` if the group has no replicas.
    pub desired: Option<u32>,
    /// What fails at the provider now.
    pub fault: Option<FaultStatus>,
    /// How the desired count follows the load; `None` if it does not.
    pub autoscaling: Option<ScalingStatus>,
    /// The replicas of the group; empty without a provider.
    pub replicas: Vec<ReplicaStatus>,
}

/// One replica that Weir or an engine runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Its name at the provider.
    pub name: Option<String>,
    /// Its process id, while it runs as a process of this host.
    pub pid: Option<u32>,
    /// Its address, once it has one.
    pub address: Option<SocketAddr>,
    /// `starting`, `running`, `draining` or `stopping`.
    pub state: String,
    /// How many times it was restarted.
    pub restarts: u32,
    /// When it got into this state.
    pub since: Timestamp,
    /// CPU time that it uses, in percent of its limit; `None` if it is not measured.
    pub cpu: Option<f64>,
    /// Memory that it uses, in percent of its limit; `None` if it is not measured.
    pub memory: Option<f64>,
}

impl Status {
    /// The state at this moment.
    pub(super) fn of(context: &Context) -> Self {
        let snapshot = context.reader.load_full();
        let replicas = context.replicas.borrow();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: context.lifecycle.phase().name().to_owned(),
            waits: context.lifecycle.waits(),
            reload_refused: context.lifecycle.is_reload_refused(),
            snapshot: snapshot.version,
            started: timestamp(context.metrics.started()),
            now: timestamp(SystemTime::now()),
            uptime: context.metrics.uptime(),
            listeners: snapshot
                .config
                .listeners
                .iter()
                .map(|listener| ListenerStatus {
                    name: listener.id.to_string(),
                    bind: listener.bind.clone(),
                    max_connections: listener.max_connections,
                    rules: listener.rules.len(),
                    default_action: summary(&listener.default),
                    certificates: certificates(listener.tls.as_ref()),
                    acme: acme(listener.tls.as_ref(), &context.certificates),
                })
                .collect(),
            target_groups: snapshot
                .groups()
                .iter()
                .map(|one| {
                    let log = context.autoscaling.group(&one.id);
                    group(one, replicas.get(&one.id), log.as_ref())
                })
                .collect(),
        }
    }
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
    replicas: Option<&GroupReplicas>,
    log: Option<&GroupJournal>,
) -> GroupStatus {
    let config = &group.config;
    let checked = config.health.is_some();
    let is_automatic = config.algorithm == Algorithm::WeightedRandom;
    let share = |target: &Target| {
        let own = if is_automatic {
            target.share().get()
        } else {
            WHOLE_SHARE
        };
        let ramp = target.ramp().get().share(config.slow_start, Instant::now());
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
        targets: group
            .targets
            .iter()
            .map(|member| {
                let share = share(&member.target);
                target(
                    &member.target,
                    member.weight,
                    member.registration,
                    checked,
                    share,
                )
            })
            .collect(),
        desired: replicas.map(|replicas| replicas.desired),
        fault: FaultStatus::of(replicas),
        autoscaling: ScalingStatus::of(group, log, replicas),
        replicas: replicas.map(self::replicas).unwrap_or_default(),
    }
}

fn replicas(group: &GroupReplicas) -> Vec<ReplicaStatus> {
    group
        .replicas
        .iter()
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
    let weighted: Vec<String> = forward
        .groups
        .iter()
        .map(|(group, weight)| format!("{group} ({weight})"))
        .collect();
    weighted.join(", ")
}

/// The part as the configuration has it.
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
