//! Adds the counters of all workers up, and writes them to a metrics page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::durations::Durations;
use super::exposition::{Family, Label, Page};
use super::log;
use super::metrics::{LastReload, Metrics, UNKNOWN_GRPC_STATUS, lock};
use super::names;
use super::readings::CLASSES;
use super::rule_hits::rule_label;
use super::series::{GroupLabels, Labels, Series, Times};
use super::spans::span_counts;
use crate::model::{ListenerId, Protocol, TargetGroupId};

/// The sum over all workers.
#[derive(Default)]
struct Sum {
    series: BTreeMap<Labels, SeriesSum>,
    /// By group, which keeps the page short.
    times: BTreeMap<GroupLabels, Times>,
    /// By protocol, target group, empty if none was chosen, and reason.
    ends: BTreeMap<(Protocol, String, &'static str), u64>,
    /// By class and reason.
    desync: BTreeMap<(&'static str, &'static str), u64>,
    /// By listener and result.
    handshakes: BTreeMap<(ListenerId, &'static str), u64>,
    handshake_times: BTreeMap<ListenerId, Durations>,
    /// By target group and whether there was a connection.
    connects: BTreeMap<(String, bool), Durations>,
    /// By target group.
    queued: BTreeMap<String, Durations>,
    retries: BTreeMap<(String, &'static str), u64>,
    calls: BTreeMap<(String, u16), u64>,
    connections: u64,
    fail_open: u64,
    unsolicited: u64,
    tunnels: u64,
    tcp_open: u64,
    /// Connections that ended in a panic.
    panics: u64,
}

#[derive(Default)]
struct SeriesSum {
    classes: [u64; CLASSES.len()],
    received: u64,
    sent: u64,
    reused: u64,
}

impl Sum {
    fn over_workers(metrics: &Metrics) -> Self {
        let mut sum = Self::default();
        for shard in lock(&metrics.workers).iter() {
            sum.connections += load(&shard.connections);
            sum.fail_open += load(&shard.fail_open);
            sum.unsolicited += load(&shard.unsolicited);
            sum.tunnels += load(&shard.tunnels);
            sum.tcp_open += load(&shard.tcp_open);
            sum.panics += load(&shard.panics);
            for ((protocol, group, code), count) in lock(&shard.ends).iter() {
                let group = group
                    .as_ref()
                    .map_or(String::new(), TargetGroupId::to_string);
                let series = (protocol.without_version(), group, *code);
                *sum.ends.entry(series).or_default() += count;
            }
            for (series, count) in lock(&shard.handshakes).iter() {
                *sum.handshakes.entry(series.clone()).or_default() += count;
            }
            for (listener, times) in lock(&shard.handshake_times).iter() {
                let series = sum.handshake_times.entry(listener.clone());
                series.or_default().add(times);
            }
            for ((group, has_connected), times) in lock(&shard.connects).iter() {
                let series = (group.to_string(), *has_connected);
                sum.connects.entry(series).or_default().add(times);
            }
            for (desync, count) in lock(&shard.desync).iter() {
                let series = (desync.class, desync.reason);
                *sum.desync.entry(series).or_default() += count;
            }
            for (group, waits) in lock(&shard.queued).iter() {
                sum.queued.entry(group.to_string()).or_default().add(waits);
            }
            for ((group, reason), count) in lock(&shard.retries).iter() {
                let series = (group.to_string(), *reason);
                *sum.retries.entry(series).or_default() += count;
            }
            for ((group, status), count) in lock(&shard.calls).iter() {
                let group = group.as_ref().map_or(String::new(), ToString::to_string);
                *sum.calls.entry((group, *status)).or_default() += count;
            }
            let ledger = lock(&shard.ledger);
            for series in &ledger.live {
                let labels = &series.labels;
                sum.series.entry(labels.clone()).or_default().add(series);
                let group = sum.times.entry(labels.group_key()).or_default();
                group.add(&series.times());
            }
            for (group, retired) in &ledger.retired {
                let times = sum.times.entry(group.clone()).or_default();
                times.add(&retired.times);
            }
        }
        sum
    }
}

impl Sum {
    fn of(&self, protocol: Protocol) -> impl Iterator<Item = (&Labels, &SeriesSum)> {
        let series = self.series.iter();
        series.filter(move |(labels, _)| labels.protocol.without_version() == protocol)
    }
}

impl SeriesSum {
    fn add(&mut self, series: &Series) {
        for (sum, counter) in self.classes.iter_mut().zip(&series.classes) {
            *sum += load(counter);
        }
        self.received += load(&series.received);
        self.sent += load(&series.sent);
        self.reused += load(&series.reused);
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Page::new(encoder))
    }
}

impl Metrics {
    /// Adds everything that is counted to a page.
    pub(crate) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let sum = Sum::over_workers(self);
        requests(page, &sum)?;
        rules(page, self)?;
        tcp_connections(page, &sum)?;
        durations(page, &sum)?;
        bytes(page, &sum)?;
        ends(page, &sum)?;
        page.counters(names::DESYNC, |family| {
            for ((class, reason), count) in &sum.desync {
                family.count(*count, &[("class", class), ("reason", reason)])?;
            }
            Ok(())
        })?;
        handshakes(page, &sum)?;
        target_connections(page, &sum)?;
        queues(page, &sum)?;
        page.counters(names::RETRIES, |family| {
            for ((group, reason), count) in &sum.retries {
                let labels = [("target_group", &**group), ("reason", reason)];
                family.count(*count, &labels)?;
            }
            Ok(())
        })?;
        calls(page, &sum)?;
        page.counters(names::RELOADS, |family| {
            family.count(load(&self.reloads), &[("outcome", "accepted")])?;
            family.count(load(&self.rejected_reloads), &[("outcome", "rejected")])
        })?;
        last_reload(page, *lock(&self.last_reload))?;
        log_lines(page)?;
        spans(page)?;
        page.counters(names::PANICS, |family| {
            family.count(sum.panics, &[("place", "connection")])?;
            for (place, count) in lock(&self.panics).iter() {
                family.count(*count, &[("place", place)])?;
            }
            Ok(())
        })?;
        page.counters(names::CONNECTIONS, |family| {
            family.count(sum.connections, &[])
        })?;
        page.counters(names::UNSOLICITED, |family| {
            family.count(sum.unsolicited, &[])
        })?;
        page.gauges(names::TUNNELS, |family| family.gauge(&sum.tunnels, &[]))?;
        page.gauges(names::TCP_OPEN, |family| family.gauge(&sum.tcp_open, &[]))?;
        page.counters(names::FAIL_OPEN, |family| family.count(sum.fail_open, &[]))
    }
}

fn requests(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::REQUESTS, |family| {
        for (labels, series) in sum.of(Protocol::Http1) {
            let [listener, group, target] = labels.pairs();
            let protocol = ("protocol", labels.protocol.name());
            for (class, count) in CLASSES.iter().zip(series.classes) {
                if count > 0 {
                    let code = ("code", *class);
                    family.count(count, &[listener, group, target, protocol, code])?;
                }
            }
        }
        Ok(())
    })
}

fn tcp_connections(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::TCP_CONNECTIONS, |family| {
        for (labels, series) in sum.of(Protocol::Tcp) {
            family.count(series.classes.iter().sum(), &labels.pairs())?;
        }
        Ok(())
    })
}

/// By rule, in the order of the listeners' names and of priority.
fn rules(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.counters(names::RULE_REQUESTS, |family| {
        for ((listener, rule), hits) in metrics.rule_hits() {
            let rule = rule_label(rule);
            family.count(hits.count, &[("listener", &*listener.0), ("rule", &rule)])?;
        }
        Ok(())
    })
}

fn durations(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    type Of = fn(&Times) -> &Durations;
    let families: [(_, _, Of); 3] = [
        (names::DURATION, Protocol::Http1, |times| &times.whole),
        (names::FIRST_BYTE, Protocol::Http1, |times| {
            &times.first_byte
        }),
        (names::TCP_DURATION, Protocol::Tcp, |times| &times.whole),
    ];
    for (name, protocol, of) in families {
        page.histograms(name, |family| {
            for ((known, listener, group), times) in &sum.times {
                if *known == protocol {
                    let labels = [("listener", &**listener), ("target_group", group)];
                    of(times).write(family, &labels)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn handshakes(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::TLS_HANDSHAKES, |family| {
        for ((listener, result), count) in &sum.handshakes {
            family.count(*count, &[("listener", &*listener.0), ("result", result)])?;
        }
        Ok(())
    })?;
    page.histograms(names::TLS_HANDSHAKE_TIME, |family| {
        for (listener, times) in &sum.handshake_times {
            times.write(family, &[("listener", &*listener.0)])?;
        }
        Ok(())
    })
}

fn target_connections(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.histograms(names::CONNECT_TIME, |family| {
        for ((group, has_connected), times) in &sum.connects {
            let result = if *has_connected {
                "connected"
            } else {
                "failed"
            };
            times.write(family, &[("target_group", group), ("result", result)])?;
        }
        Ok(())
    })?;
    page.counters(names::REUSED, |family| {
        for (labels, series) in sum.of(Protocol::Http1) {
            if !labels.target.is_empty() {
                family.count(series.reused, &labels.pairs())?;
            }
        }
        Ok(())
    })
}

fn ends(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    for (name, of) in [
        (names::FAILURES, Protocol::Http1),
        (names::TCP_ENDS, Protocol::Tcp),
    ] {
        page.counters(name, |family| {
            for ((protocol, group, code), count) in &sum.ends {
                if *protocol == of {
                    family.count(*count, &[("target_group", group), ("reason", code)])?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn calls(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::GRPC_CALLS, |family| {
        for ((group, status), count) in &sum.calls {
            let code = match *status {
                UNKNOWN_GRPC_STATUS => "other".to_owned(),
                status => status.to_string(),
            };
            family.count(*count, &[("target_group", group), ("code", &code)])?;
        }
        Ok(())
    })
}

fn queues(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::QUEUED, |family| {
        for (group, waits) in &sum.queued {
            family.count(waits.total(), &[("target_group", group)])?;
        }
        Ok(())
    })?;
    page.histograms(names::QUEUE_WAIT, |family| {
        for (group, waits) in &sum.queued {
            waits.write(family, &[("target_group", group)])?;
        }
        Ok(())
    })
}

fn last_reload(page: &mut Page<'_>, last: LastReload) -> fmt::Result {
    page.gauges(names::RELOAD_SUCCESSFUL, |family| {
        family.gauge(&u32::from(last.accepted), &[])
    })?;
    let loaded = last.in_use.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.gauges(names::RELOAD_TIME, |family| {
        family.gauge(&loaded.as_secs_f64(), &[])
    })
}

/// Lines of the log that were dropped: of the access log, and of events.
pub fn dropped_log_lines() -> (u64, u64) {
    let dropped = log::dropped();
    (dropped.access, dropped.events)
}

fn log_lines(page: &mut Page<'_>) -> fmt::Result {
    let dropped = log::dropped();
    page.counters(names::LOG_DROPPED, |family| {
        family.count(dropped.access, &[("kind", "access")])?;
        family.count(dropped.events, &[("kind", "event")])
    })
}

fn spans(page: &mut Page<'_>) -> fmt::Result {
    let counts = span_counts();
    page.counters(names::SPANS_EXPORTED, |family| {
        family.count(counts.exported, &[])
    })?;
    page.counters(names::SPANS_DROPPED, |family| {
        family.count(counts.dropped, &[])
    })
}

impl Durations {
    fn write(&self, family: &mut Family<'_>, labels: &[Label<'_>]) -> fmt::Result {
        family.histogram(self, labels)
    }
}

fn bytes(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    for (received, sent, of) in [
        (names::RECEIVED, names::SENT, Protocol::Http1),
        (names::TCP_RECEIVED, names::TCP_SENT, Protocol::Tcp),
    ] {
        page.counters(received, |family| {
            for (labels, series) in sum.of(of) {
                family.count(series.received, &labels.pairs())?;
            }
            Ok(())
        })?;
        page.counters(sent, |family| {
            for (labels, series) in sum.of(of) {
                family.count(series.sent, &labels.pairs())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

impl Labels {
    fn pairs(&self) -> [Label<'_>; 3] {
        [
            ("listener", &self.listener),
            ("target_group", &self.group),
            ("target", &self.target),
        ]
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
