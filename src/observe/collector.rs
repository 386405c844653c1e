//! Adds the counters of all workers up, and writes them to a metrics page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::durations::Durations;
use super::exposition::{Family, Label, Page};
use super::log;
use super::metrics::{CLASSES, Labels, Metrics, Series, lock};
use super::names;
use crate::model::TargetGroupId;

/// The sum over all workers.
#[derive(Default)]
struct Sum {
    series: BTreeMap<Labels, SeriesSum>,
    /// By listener and group: the targets of a group share one histogram, which keeps the page
    /// short.
    durations: BTreeMap<(String, String), Durations>,
    /// By target group, empty if none was chosen, and reason.
    failures: BTreeMap<(String, &'static str), u64>,
    /// By class and reason.
    desync: BTreeMap<(&'static str, &'static str), u64>,
    /// By target group.
    queued: BTreeMap<String, Durations>,
    retries: BTreeMap<(String, &'static str), u64>,
    connections: u64,
    fail_open: u64,
    unsolicited: u64,
    tunnels: u64,
    /// Connections that ended in a panic.
    panics: u64,
}

#[derive(Default)]
struct SeriesSum {
    classes: [u64; CLASSES.len()],
    received: u64,
    sent: u64,
}

impl Sum {
    fn of(metrics: &Metrics) -> Self {
        let mut sum = Self::default();
        for shard in lock(&metrics.workers).iter() {
            sum.connections += load(&shard.connections);
            sum.fail_open += load(&shard.fail_open);
            sum.unsolicited += load(&shard.unsolicited);
            sum.tunnels += load(&shard.tunnels);
            sum.panics += load(&shard.panics);
            for ((group, code), count) in lock(&shard.failures).iter() {
                let group = group
                    .as_ref()
                    .map_or(String::new(), TargetGroupId::to_string);
                *sum.failures.entry((group, *code)).or_default() += count;
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
            let ledger = lock(&shard.ledger);
            for series in &ledger.live {
                let labels = &series.labels;
                sum.series.entry(labels.clone()).or_default().add(series);
                let group = sum.durations.entry(labels.group_key()).or_default();
                group.add(&series.durations.read());
            }
            for (group, durations) in &ledger.retired {
                let group = sum.durations.entry(group.clone()).or_default();
                group.add(durations);
            }
        }
        sum
    }
}

impl SeriesSum {
    fn add(&mut self, series: &Series) {
        for (sum, counter) in self.classes.iter_mut().zip(&series.classes) {
            *sum += load(counter);
        }
        self.received += load(&series.received);
        self.sent += load(&series.sent);
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sum = Sum::of(self);
        let page = &mut Page::new(encoder);
        requests(page, &sum)?;
        durations(page, &sum)?;
        bodies(page, &sum)?;
        page.counters(names::FAILURES, |family| {
            for ((group, code), count) in &sum.failures {
                family.count(*count, &[("target_group", group), ("reason", code)])?;
            }
            Ok(())
        })?;
        page.counters(names::DESYNC, |family| {
            for ((class, reason), count) in &sum.desync {
                family.count(*count, &[("class", class), ("reason", reason)])?;
            }
            Ok(())
        })?;
        queues(page, &sum)?;
        page.counters(names::RETRIES, |family| {
            for ((group, reason), count) in &sum.retries {
                let labels = [("target_group", &**group), ("reason", reason)];
                family.count(*count, &labels)?;
            }
            Ok(())
        })?;
        page.counters(names::RELOADS, |family| {
            family.count(load(&self.reloads), &[("outcome", "accepted")])?;
            family.count(load(&self.rejected_reloads), &[("outcome", "rejected")])
        })?;
        log_lines(page)?;
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
        page.counters(names::FAIL_OPEN, |family| family.count(sum.fail_open, &[]))
    }
}

fn requests(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::REQUESTS, |family| {
        for (labels, series) in &sum.series {
            let [listener, group, target] = labels.pairs();
            for (class, count) in CLASSES.iter().zip(series.classes) {
                if count > 0 {
                    family.count(count, &[listener, group, target, ("code", class)])?;
                }
            }
        }
        Ok(())
    })
}

fn durations(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.histograms(names::DURATION, |family| {
        for ((listener, group), durations) in &sum.durations {
            let labels = [("listener", &**listener), ("target_group", group)];
            durations.write(family, &labels)?;
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

fn log_lines(page: &mut Page<'_>) -> fmt::Result {
    let dropped = log::dropped();
    page.counters(names::LOG_DROPPED, |family| {
        family.count(dropped.access, &[("kind", "access")])?;
        family.count(dropped.events, &[("kind", "event")])
    })
}

impl Durations {
    fn write(&self, family: &mut Family<'_>, labels: &[Label<'_>]) -> fmt::Result {
        family.histogram(self.sum.as_secs_f64(), &self.buckets(), labels)
    }
}

fn bodies(page: &mut Page<'_>, sum: &Sum) -> fmt::Result {
    page.counters(names::RECEIVED, |family| {
        for (labels, series) in &sum.series {
            family.count(series.received, &labels.pairs())?;
        }
        Ok(())
    })?;
    page.counters(names::SENT, |family| {
        for (labels, series) in &sum.series {
            family.count(series.sent, &labels.pairs())?;
        }
        Ok(())
    })
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
