//! The metrics page: the counters of the workers, and gauges.
//!
//! The gauges are made from [`Status`], so that this page and `/api/v1/status` never differ.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::context::Context;
use super::discovery_status::DiscoveryStatus;
use super::process;
use super::replica_status::ReplicaStatus;
use super::scaling_status::{AlarmStatus, OutcomeCount, ScalingStatus};
use super::status::{AcmeStatus, Status};
use super::target_status::{ANOMALOUS, DRAINING, HEALTHY, TARGET_STATES, TargetStatus};
use crate::autoscale::AlarmState;
use crate::net::descriptors;
use crate::observe::exposition::{Family, Label, Page};
use crate::observe::names::Name;
use crate::observe::{Metrics, names, protobuf};
use crate::replicas::ReplicaState;

/// The value of a gauge; without one the series is left out.
type Value<From, To> = fn(&From) -> Option<To>;

/// The page in the `OpenMetrics` text format.
pub(super) fn page(context: &Context) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Counters(Arc::clone(&context.metrics))));
    registry.register_collector(Box::new(Gauges::of(context)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// The page in Prometheus' protobuf format, with native histograms.
pub(super) fn protobuf_page(context: &Context) -> Result<Vec<u8>, fmt::Error> {
    let mut families = Vec::new();
    let page = &mut Page::protobuf(&mut families);
    context.metrics.write(page)?;
    Gauges::of(context).write(page)?;
    Ok(protobuf::write(&families))
}

#[derive(Debug)]
struct Counters(Arc<Metrics>);

impl Collector for Counters {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

#[derive(Debug)]
struct Gauges {
    status: Status,
    ready: bool,
    started: SystemTime,
}

impl Collector for Gauges {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Page::new(encoder))
    }
}

impl Gauges {
    fn of(context: &Context) -> Self {
        Self {
            status: Status::of(context),
            ready: context.lifecycle.phase().is_ready(),
            started: context.metrics.started(),
        }
    }

    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self.targets(page)?;
        self.groups(page)?;
        self.autoscaling(page)?;
        self.replicas(page)?;
        self.listeners(page)?;
        self.certificates(page)?;
        self.acme(page)?;
        page.gauges(names::READY, |family| {
            family.gauge(&u32::from(self.ready), &[])
        })?;
        page.gauges(names::SNAPSHOT, |family| {
            family.gauge(&self.status.snapshot, &[])
        })?;
        page.gauges(names::BUILD, |family| {
            family.gauge(&1_u32, &[("version", &self.status.version)])
        })?;
        self.process(page)
    }
}

impl Gauges {
    fn listeners(&self, page: &mut Page<'_>) -> fmt::Result {
        let listeners = &self.status.listeners;
        page.gauges(names::LISTENER_CONNECTIONS, |family| {
            listeners.iter().try_for_each(|listener| {
                let labels = [("listener", &*listener.name)];
                family.gauge(&(listener.connections as u64), &labels)
            })
        })?;
        page.gauges(names::LISTENER_MAX_CONNECTIONS, |family| {
            listeners.iter().try_for_each(|listener| {
                let labels = [("listener", &*listener.name)];
                family.gauge(&(listener.max_connections as u64), &labels)
            })
        })
    }

    fn targets(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::IN_FLIGHT, |family| {
            self.each_target(|target, labels| family.gauge(&target.in_flight, labels))
        })?;
        page.gauges(names::TARGET_CONNECTIONS, |family| {
            self.each_target(|target, labels| family.gauge(&target.open_connections, labels))
        })?;
        page.gauges(names::TARGET_IDLE, |family| {
            self.each_target(|target, labels| family.gauge(&target.idle_connections, labels))
        })?;
        page.gauges(names::HEALTH, |family| {
            self.each_target(|target, labels| {
                family.gauge(&u32::from(target.state == HEALTHY), labels)
            })
        })?;
        self.ejections(page)?;
        page.counters(names::CHECKS, |family| {
            self.each_target(|target, labels| {
                let outcomes = [
                    ("passed", target.checks - target.failed_checks),
                    ("failed", target.failed_checks),
                ];
                for (outcome, count) in outcomes {
                    family.count(count, &[labels, &[("outcome", outcome)]].concat())?;
                }
                Ok(())
            })
        })
    }

    /// The results of outlier and anomaly detection.
    fn ejections(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::EJECTED, |family| {
            self.each_target(|target, labels| {
                family.gauge(&u32::from(target.ejected.is_some()), labels)
            })
        })?;
        page.counters(names::EJECTIONS, |family| {
            self.each_target(|target, labels| {
                for (reason, count) in &target.ejections {
                    family.count(*count, &[labels, &[("reason", reason)]].concat())?;
                }
                Ok(())
            })
        })?;
        page.counters(names::EJECTIONS_WITHHELD, |family| {
            self.each_target(|target, labels| {
                for (reason, count) in &target.ejections_withheld {
                    family.count(*count, &[labels, &[("reason", reason)]].concat())?;
                }
                Ok(())
            })
        })?;
        page.gauges(names::ANOMALOUS, |family| {
            self.each_target(|target, labels| {
                let anomalous = target.anomaly_detection.result == ANOMALOUS;
                family.gauge(&u32::from(anomalous), labels)
            })
        })?;
        page.gauges(names::SHARE, |family| {
            self.each_target(|target, labels| {
                family.gauge(&(f64::from(target.share) / 100.0), labels)
            })
        })
    }

    fn each_target(
        &self,
        mut write: impl FnMut(&TargetStatus, &[Label<'_>]) -> fmt::Result,
    ) -> fmt::Result {
        for group in &self.status.target_groups {
            for target in &group.targets {
                let address = target.address.to_string();
                write(
                    target,
                    &[("target_group", &group.name), ("target", &address)],
                )?;
            }
        }
        Ok(())
    }

    fn groups(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::TARGETS, |family| {
            for group in &self.status.target_groups {
                for state in TARGET_STATES {
                    let targets = group.targets.iter();
                    let count = targets.filter(|target| counted_as(target) == state).count();
                    family.gauge(&count, &[("target_group", &group.name), ("state", state)])?;
                }
            }
            Ok(())
        })?;
        self.discovery(page)?;
        page.gauges(names::QUEUE_WAITING, |family| {
            for group in &self.status.target_groups {
                family.gauge(&group.waiting, &[("target_group", &group.name)])?;
            }
            Ok(())
        })?;
        page.gauges(names::QUEUE_LIMIT, |family| {
            for group in &self.status.target_groups {
                family.gauge(&group.queue_length, &[("target_group", &group.name)])?;
            }
            Ok(())
        })?;
        page.gauges(names::MAINTENANCE, |family| {
            for group in &self.status.target_groups {
                let maintenance = u32::from(group.maintenance.is_some());
                family.gauge(&maintenance, &[("target_group", &group.name)])?;
            }
            Ok(())
        })?;
        page.gauges(names::FAILING_OPEN, |family| {
            for group in &self.status.target_groups {
                let failing_open = u32::from(group.failing_open);
                family.gauge(&failing_open, &[("target_group", &group.name)])?;
            }
            Ok(())
        })
    }

    /// The names and files that targets come from.
    fn discovery(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::DISCOVERY_SUCCESS, |family| {
            self.each_source(|one, labels| match one.last_success {
                Some(at) => family.gauge(&at.as_second(), labels),
                None => Ok(()),
            })
        })?;
        page.gauges(names::DISCOVERY_NEXT, |family| {
            self.each_source(|one, labels| match one.next_lookup {
                Some(at) => family.gauge(&at.as_second(), labels),
                None => Ok(()),
            })
        })?;
        page.gauges(names::DISCOVERY_TARGETS, |family| {
            self.each_source(|one, labels| family.gauge(&one.targets.len(), labels))
        })?;
        page.counters(names::DISCOVERY_FAILURES, |family| {
            self.each_source(|one, labels| family.count(one.failures_total, labels))
        })
    }

    fn each_source(
        &self,
        mut write: impl FnMut(&DiscoveryStatus, &[Label<'_>]) -> fmt::Result,
    ) -> fmt::Result {
        for group in &self.status.target_groups {
            for one in &group.discovery {
                let source = one.source();
                write(one, &[("target_group", &group.name), ("source", &source)])?;
            }
        }
        Ok(())
    }

    fn autoscaling(&self, page: &mut Page<'_>) -> fmt::Result {
        let gauges: [(Name, Value<ScalingStatus, u32>); 4] = [
            (names::SCALING_DESIRED, |scaling| scaling.desired),
            (names::SCALING_RUNNING, |scaling| Some(scaling.running)),
            (names::SCALING_MIN, |scaling| Some(scaling.min)),
            (names::SCALING_MAX, |scaling| Some(scaling.max)),
        ];
        for (name, value) in gauges {
            page.gauges(name, |family| {
                for (group, scaling) in self.scaling() {
                    if let Some(value) = value(scaling) {
                        family.gauge(&value, &[("target_group", group)])?;
                    }
                }
                Ok(())
            })?;
        }
        self.alarms(page)?;
        page.counters(names::SCALING_DECISIONS, |family| {
            for (group, scaling) in self.scaling() {
                for OutcomeCount {
                    outcome,
                    reason,
                    count,
                } in &scaling.evaluations
                {
                    let labels = [
                        ("target_group", group),
                        ("outcome", &**outcome),
                        ("reason", &**reason),
                    ];
                    family.count(*count, &labels)?;
                }
            }
            Ok(())
        })?;
        page.counters(names::SCALING_UNRECORDED, |family| {
            for (group, scaling) in self.scaling() {
                family.count(scaling.unrecorded, &[("target_group", group)])?;
            }
            Ok(())
        })
    }

    /// The metric of each policy, its target, and the state of its alarm.
    fn alarms(&self, page: &mut Page<'_>) -> fmt::Result {
        let values: [(Name, Value<AlarmStatus, f64>); 2] = [
            (names::SCALING_METRIC, |alarm| alarm.value),
            (names::SCALING_TARGET, |alarm| Some(alarm.target)),
        ];
        for (name, value) in values {
            page.gauges(name, |family| {
                self.each_alarm(|alarm, labels| match value(alarm) {
                    Some(value) => family.gauge(&value, labels),
                    None => Ok(()),
                })
            })?;
        }
        page.gauges(names::SCALING_ALARM, |family| {
            self.each_alarm(|alarm, labels| {
                for state in AlarmState::ALL.map(AlarmState::name) {
                    let is_on = u32::from(alarm.state == state);
                    family.gauge(&is_on, &[labels, &[("state", state)]].concat())?;
                }
                Ok(())
            })
        })
    }

    /// One series for each policy. Of two with one name the first counts.
    fn each_alarm(
        &self,
        mut write: impl FnMut(&AlarmStatus, &[Label<'_>]) -> fmt::Result,
    ) -> fmt::Result {
        for (group, scaling) in self.scaling() {
            let mut named = BTreeSet::new();
            for alarm in &scaling.alarms {
                if named.insert(&alarm.policy) {
                    write(alarm, &[("target_group", group), ("policy", &alarm.policy)])?;
                }
            }
        }
        Ok(())
    }

    fn scaling(&self) -> impl Iterator<Item = (&str, &ScalingStatus)> {
        self.status
            .target_groups
            .iter()
            .filter_map(|group| Some((&*group.name, group.autoscaling.as_ref()?)))
    }

    /// When each certificate ends. If a listener names a file twice, one of them counts.
    fn certificates(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::TLS_EXPIRY, |family| {
            for listener in &self.status.listeners {
                let mut named = BTreeSet::new();
                for certificate in &listener.certificates {
                    let labels = [
                        ("listener", &*listener.name),
                        ("certificate", &*certificate.file),
                    ];
                    if named.insert(&certificate.file) {
                        family.gauge(&certificate.expires.as_second(), &labels)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The orders of certificates.
    fn acme(&self, page: &mut Page<'_>) -> fmt::Result {
        let each = |value: &dyn Fn(&AcmeStatus) -> i64, family: &mut Family<'_>| {
            for listener in &self.status.listeners {
                for acme in &listener.acme {
                    let labels = [("listener", &*listener.name), ("domain", &*acme.domain)];
                    family.gauge(&value(acme), &labels)?;
                }
            }
            Ok(())
        };
        page.gauges(names::ACME_FAILURES, |family| {
            each(&|acme| i64::from(acme.failures), family)
        })?;
        page.gauges(names::ACME_NEXT_TRY, |family| {
            each(&|acme| acme.next_try.as_second(), family)
        })
    }

    /// The replicas as their provider reports them.
    fn replicas(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::REPLICAS_FAULT, |family| {
            for group in &self.status.target_groups {
                if group.desired.is_some() {
                    let fault = u32::from(group.fault.is_some());
                    family.gauge(&fault, &[("target_group", &group.name)])?;
                }
            }
            Ok(())
        })?;
        self.replica_counts(page)?;
        let usage: [(Name, Value<ReplicaStatus, f64>); 2] = [
            (names::REPLICA_CPU, |replica| replica.cpu),
            (names::REPLICA_MEMORY, |replica| replica.memory),
        ];
        for (name, value) in usage {
            page.gauges(name, |family| self.each_usage(family, value))?;
        }
        Ok(())
    }

    /// How many there are, should be, and have stopped.
    fn replica_counts(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(names::REPLICAS_DESIRED, |family| {
            for group in &self.status.target_groups {
                if let Some(desired) = group.desired {
                    family.gauge(&desired, &[("target_group", &group.name)])?;
                }
            }
            Ok(())
        })?;
        page.gauges(names::REPLICAS, |family| {
            for group in &self.status.target_groups {
                for state in ReplicaState::ALL.map(ReplicaState::name) {
                    let replicas = group.replicas.iter();
                    let count = replicas.filter(|replica| replica.state == state).count();
                    if group.desired.is_some() {
                        family.gauge(&count, &[("target_group", &group.name), ("state", state)])?;
                    }
                }
            }
            Ok(())
        })?;
        page.counters(names::REPLICA_RESTARTS, |family| {
            self.each_replica(|replica, labels| family.count(replica.restarts.into(), labels))
        })?;
        page.counters(names::REPLICA_STOPS, |family| {
            for group in &self.status.target_groups {
                for (reason, count) in &group.replica_stops {
                    family.count(*count, &[("target_group", &group.name), ("reason", reason)])?;
                }
            }
            Ok(())
        })
    }

    fn each_usage(&self, family: &mut Family<'_>, value: Value<ReplicaStatus, f64>) -> fmt::Result {
        self.each_replica(|replica, labels| match value(replica) {
            Some(value) => family.gauge(&value, labels),
            None => Ok(()),
        })
    }

    /// One series for each replica, by name or else by address. If a provider gives a name twice,
    /// the first replica with it counts.
    fn each_replica(
        &self,
        mut write: impl FnMut(&ReplicaStatus, &[Label<'_>]) -> fmt::Result,
    ) -> fmt::Result {
        for group in &self.status.target_groups {
            let mut named = BTreeSet::new();
            for replica in &group.replicas {
                let address = || replica.address.map(|address| address.to_string());
                let Some(name) = replica.name.clone().or_else(address) else {
                    continue;
                };
                if named.contains(&name) {
                    continue;
                }
                let labels = [("target_group", &*group.name), ("replica", &*name)];
                write(replica, &labels)?;
                named.insert(name);
            }
        }
        Ok(())
    }

    /// Values that the system does not give are left out.
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        if let Ok(started) = self.started.duration_since(SystemTime::UNIX_EPOCH) {
            page.gauges(names::PROCESS_START, |family| {
                family.gauge(&started.as_secs_f64(), &[])
            })?;
        }
        if let Some(seconds) = process::cpu_seconds() {
            page.counters(names::PROCESS_CPU, |family| {
                family.count_seconds(seconds, &[])
            })?;
        }
        let memory = process::memory();
        let measured = [
            (names::PROCESS_MEMORY, memory.map(|memory| memory.resident)),
            (names::PROCESS_VIRTUAL, memory.map(|memory| memory.reserved)),
            (
                names::PROCESS_FDS,
                descriptors::open().map(|open| open as u64),
            ),
            (names::PROCESS_MAX_FDS, Some(descriptors::limit() as u64)),
        ];
        for (name, value) in measured {
            if let Some(value) = value {
                page.gauges(name, |family| family.gauge(&value, &[]))?;
            }
        }
        Ok(())
    }
}

/// The one state that a target counts as: while it drains it is neither healthy nor unhealthy.
fn counted_as(target: &TargetStatus) -> &str {
    if target.registration == DRAINING {
        DRAINING
    } else {
        &target.state
    }
}
