//! The counters of the process. Each worker has its own; a scrape adds them up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;

use super::durations::{Durations, add};
use super::exchange::{Desync, ExchangeFacts};
use super::live_hits::LiveHits;
use super::readings::Readings;
use super::series::{GroupLabels, Labels, Retired, Series};
use crate::model::{Failure, ListenerId, ListenerSlot, Protocol, TargetGroupId};
use crate::target::{Serial, Target};

/// The first number that is no status of gRPC: all beyond are counted as this one, so that a target
/// cannot make series without end.
pub(super) const UNKNOWN_GRPC_STATUS: u16 = 17;

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    pub(super) workers: Mutex<Vec<Arc<Shard>>>,
    pub(super) reloads: AtomicU64,
    pub(super) rejected_reloads: AtomicU64,
    pub(super) last_reload: Mutex<LastReload>,
    /// By the part of Weir that panicked.
    pub(super) panics: Mutex<BTreeMap<&'static str, u64>>,
    pub(super) readings: Mutex<Readings>,
    started: (SystemTime, Instant),
}

/// The last configuration that was read. The first one is that of the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastReload {
    pub(super) accepted: bool,
    /// When the one in use was loaded.
    pub(super) in_use: SystemTime,
}

/// The counters of one worker. Written by that worker alone.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) ledger: Mutex<Ledger>,
    /// By protocol, target group, if one was chosen, and reason: failures of requests, and the ends
    /// of all connections of protocol `tcp`.
    pub(super) ends: Mutex<FxHashMap<End, u64>>,
    /// By class and reason.
    pub(super) desync: Mutex<FxHashMap<Desync, u64>>,
    /// By target group.
    pub(super) queued: Mutex<FxHashMap<TargetGroupId, Durations>>,
    /// By group and reason.
    pub(super) retries: Mutex<FxHashMap<(TargetGroupId, &'static str), u64>>,
    /// By listener and result.
    pub(super) handshakes: Mutex<FxHashMap<(ListenerId, &'static str), u64>>,
    /// Of handshakes that have succeeded, by listener.
    pub(super) handshake_times: Mutex<FxHashMap<ListenerId, Durations>>,
    /// New connections to targets, with TLS and all else that goes before a request, by target group
    /// and whether there was one in the end.
    pub(super) connects: Mutex<FxHashMap<(TargetGroupId, bool), Durations>>,
    /// By group and status of gRPC.
    pub(super) calls: Mutex<FxHashMap<(Option<TargetGroupId>, u16), u64>>,
    /// Rules that have matched.
    pub(super) rules: Mutex<Vec<Arc<LiveHits>>>,
    pub(super) connections: AtomicU64,
    pub(super) unsolicited: AtomicU64,
    pub(super) fail_open: AtomicU64,
    /// Requests that have become tunnels and are open.
    pub(super) tunnels: AtomicU64,
    /// Connections of protocol `tcp` that have a target and are open.
    pub(super) tcp_open: AtomicU64,
    /// Connections that ended in a panic.
    pub(super) panics: AtomicU64,
}

/// The series of one worker. Locked when a series opens or closes and by a scrape,
/// never to count.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) live: Vec<Arc<Series>>,
    /// What removed targets have answered. Without it the histogram of the group would fall, and
    /// Prometheus would take that for a restart and count all of it again.
    pub(super) retired: BTreeMap<GroupLabels, Retired>,
}

/// A protocol, a target group, if one was chosen, and a reason.
pub(super) type End = (Protocol, Option<TargetGroupId>, &'static str);

impl Default for Metrics {
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            workers: Mutex::default(),
            reloads: AtomicU64::default(),
            rejected_reloads: AtomicU64::default(),
            last_reload: Mutex::new(LastReload {
                accepted: true,
                in_use: now,
            }),
            panics: Mutex::default(),
            readings: Mutex::default(),
            started: (now, Instant::now()),
        }
    }
}

impl Metrics {
    /// The counters of one more worker.
    pub fn worker(&self) -> Rc<WorkerMetrics> {
        let shard = Arc::new(Shard::default());
        lock(&self.workers).push(Arc::clone(&shard));
        Rc::new(WorkerMetrics {
            shard,
            started: self.started.1,
            by_target: RefCell::default(),
            without_target: RefCell::default(),
            by_rule: RefCell::default(),
            last_rule: RefCell::default(),
            second: Cell::new((0, self.started.1)),
            ending: Cell::default(),
        })
    }

    /// Counts a configuration that was loaded, or one that was refused.
    pub fn reloaded(&self, accepted: bool) {
        let counter = if accepted {
            &self.reloads
        } else {
            &self.rejected_reloads
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut last = lock(&self.last_reload);
        last.accepted = accepted;
        if accepted {
            last.in_use = SystemTime::now();
        }
    }

    /// What was loaded last is not what the file says: that was refused before.
    pub fn refused_before(&self) {
        lock(&self.last_reload).accepted = false;
    }

    /// Retries of each group, by reason.
    pub(super) fn retries(&self) -> BTreeMap<(Option<TargetGroupId>, &'static str), u64> {
        let mut sum = BTreeMap::new();
        for shard in lock(&self.workers).iter() {
            for ((group, reason), count) in lock(&shard.retries).iter() {
                *sum.entry((Some(group.clone()), *reason)).or_default() += count;
            }
        }
        sum
    }

    /// Requests of each group that have failed in this way.
    pub fn failures(&self, failure: Failure) -> BTreeMap<TargetGroupId, u64> {
        self.sum_of_ends(|(_, group, reason)| group.clone().filter(|_| *reason == failure.code()))
    }

    /// Requests that Weir answered itself because they failed, by reason, of each group and of none.
    pub(super) fn failures_by_reason(
        &self,
    ) -> BTreeMap<(Option<TargetGroupId>, &'static str), u64> {
        // Of connections, it is every end.
        let of_requests = |(protocol, group, reason): &End| {
            (*protocol != Protocol::Tcp).then(|| (group.clone(), *reason))
        };
        self.sum_of_ends(of_requests)
    }

    /// The sum over all workers by what `key` makes of each series, if anything.
    fn sum_of_ends<K: Ord>(&self, key: impl Fn(&End) -> Option<K>) -> BTreeMap<K, u64> {
        let mut sum = BTreeMap::new();
        for shard in lock(&self.workers).iter() {
            for (end, count) in lock(&shard.ends).iter() {
                if let Some(key) = key(end) {
                    *sum.entry(key).or_default() += count;
                }
            }
        }
        sum
    }

    /// Counts a panic that was caught, by the part of Weir that panicked.
    pub fn panicked(&self, place: &'static str) {
        *lock(&self.panics).entry(place).or_default() += 1;
    }

    /// When the process began to count.
    pub fn started(&self) -> SystemTime {
        self.started.0
    }

    /// How long it has counted, by a clock which is never set.
    pub fn uptime(&self) -> Duration {
        self.started.1.elapsed()
    }
}

/// Counts on one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    shard: Arc<Shard>,
    /// When the process began to count.
    started: Instant,
    /// By slot, protocol and target: a reload may change the protocol of a listener.
    by_target: RefCell<FxHashMap<(ListenerSlot, Protocol, Serial), TargetSeries>>,
    /// Requests that reached no target: answered by a rule, or by an error.
    without_target: RefCell<FxHashMap<GroupKey, Arc<Series>>>,
    /// By slot and priority.
    by_rule: RefCell<FxHashMap<RuleKey, Arc<LiveHits>>>,
    /// The rule of the last request, which most often is that of the next.
    last_rule: RefCell<Option<(RuleKey, Arc<LiveHits>)>>,
    /// The second of the last request since the process began to count, and its end.
    second: Cell<(u64, Instant)>,
    /// Whether Weir cuts off the exchanges that are left.
    ending: Cell<bool>,
}

/// A tunnel: a request that has switched to another protocol, or a connection of protocol `tcp`
/// that has a target. Dropping it ends the counting.
#[derive(Debug)]
pub struct OpenTunnel(Rc<WorkerMetrics>, Protocol);

impl OpenTunnel {
    pub(super) fn new(metrics: &Rc<WorkerMetrics>, protocol: Protocol) -> Self {
        add(metrics.shard.open_tunnels(protocol), 1);
        Self(Rc::clone(metrics), protocol)
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let tunnels = self.0.shard.open_tunnels(self.1);
        tunnels.store(tunnels.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

/// A listener, and the priority of a rule; `None` for the default action.
type RuleKey = (ListenerSlot, Option<u32>);

/// What is known of a request or connection that reached no target.
type GroupKey = (ListenerSlot, Protocol, Option<TargetGroupId>);

#[derive(Debug)]
struct TargetSeries {
    series: Arc<Series>,
    presence: Presence,
}

/// Whether the target of a series still is one.
#[derive(Debug)]
enum Presence {
    Present(Arc<Target>),
    /// It was removed then.
    Gone(Instant),
}

/// How long the series of a removed target stay, so that a scraper gets their last values. Scrapers
/// come every few seconds, some every minute.
const GONE_KEPT: Duration = Duration::from_secs(300);

/// Series of removed targets that a worker keeps; beyond, the oldest go.
const MOST_GONE: usize = 100;

impl WorkerMetrics {
    /// Counts a connection.
    pub fn connected(&self) {
        add(&self.shard.connections, 1);
    }

    /// Counts a TLS handshake of a client by its result.
    pub fn handshake(&self, listener: &ListenerId, result: &'static str) {
        let mut handshakes = lock(&self.shard.handshakes);
        *handshakes.entry((listener.clone(), result)).or_default() += 1;
    }

    /// Counts the time of a TLS handshake that has succeeded.
    pub fn handshake_took(&self, listener: &ListenerId, time: Duration) {
        let mut times = lock(&self.shard.handshake_times);
        times.entry(listener.clone()).or_default().count(time);
    }

    /// Counts a new connection to a target of a group, or an attempt at one that has failed.
    pub fn connect_took(&self, group: &TargetGroupId, has_connected: bool, time: Duration) {
        let mut connects = lock(&self.shard.connects);
        let key = (group.clone(), has_connected);
        connects.entry(key).or_default().count(time);
    }

    /// Counts a connection that ended in a panic.
    pub fn panicked(&self) {
        add(&self.shard.panics, 1);
    }

    /// Counts a request that goes to a group that fails open.
    pub fn failed_open(&self) {
        add(&self.shard.fail_open, 1);
    }

    /// Counts times at which targets have sent bytes that no request asked for.
    pub fn unsolicited(&self, count: u64) {
        add(&self.shard.unsolicited, count);
    }

    /// Counts a retry by its reason.
    pub fn retried(&self, group: &TargetGroupId, reason: &'static str) {
        let mut retries = lock(&self.shard.retries);
        *retries.entry((group.clone(), reason)).or_default() += 1;
    }

    /// Exchanges that break off from now on count as cut off by Weir.
    pub fn end(&self) {
        self.ending.set(true);
    }

    /// The failure of an exchange that was neither completed nor failed.
    pub(super) fn abandoned(&self) -> Failure {
        if self.ending.get() {
            Failure::ShuttingDown
        } else {
            Failure::ClientGone
        }
    }

    /// Forgets the series of targets that `keep` rejects, some minutes after it did so first and so
    /// that their number stays bounded while replicas come and go. A request that ends on such a
    /// target later opens its series again.
    pub fn retain(&self, now: Instant, keep: impl Fn(&Target) -> bool) {
        let mut by_target = self.by_target.borrow_mut();
        let mut gone: Vec<Instant> = Vec::new();
        for entry in by_target.values_mut() {
            match &entry.presence {
                Presence::Present(target) if keep(target) => {}
                Presence::Present(_) => {
                    entry.presence = Presence::Gone(now);
                    gone.push(now);
                }
                Presence::Gone(since) => gone.push(*since),
            }
        }
        if gone.is_empty() {
            return;
        }
        gone.sort_unstable_by(|one, other| other.cmp(one));
        // Of a moment at which more went than are kept, none is.
        let too_many = gone.get(MOST_GONE).copied();
        let is_kept = |since: Instant| {
            now.saturating_duration_since(since) < GONE_KEPT
                && too_many.is_none_or(|limit| since > limit)
        };
        let mut ledger = lock(&self.shard.ledger);
        let Ledger { live, retired } = &mut *ledger;
        by_target.retain(|_, entry| {
            let kept = match entry.presence {
                Presence::Present(_) => true,
                Presence::Gone(since) => is_kept(since),
            };
            if !kept {
                let series = &entry.series;
                let group = retired.entry(series.labels.group_key()).or_default();
                group.add(series);
            }
            kept
        });
        // The others are still in one of the two maps.
        live.retain(|series| Arc::strong_count(series) > 1);
    }

    pub(super) fn record(&self, exchange: &ExchangeFacts, elapsed: Duration) {
        if let Some(reason) = exchange.reason() {
            let key = (exchange.protocol, exchange.group.clone(), reason);
            *lock(&self.shard.ends).entry(key).or_default() += 1;
        }
        if let Some(status) = exchange.grpc_status {
            let key = (exchange.group.clone(), status.min(UNKNOWN_GRPC_STATUS));
            *lock(&self.shard.calls).entry(key).or_default() += 1;
        }
        if let Some(desync) = exchange.desync {
            *lock(&self.shard.desync).entry(desync).or_default() += 1;
        }
        if let (Some(time), Some(group)) = (exchange.queued(), &exchange.group) {
            let mut queued = lock(&self.shard.queued);
            queued.entry(group.clone()).or_default().count(time);
        }
        if exchange.is_routed {
            self.count_rule(exchange, elapsed);
        }
        let (slot, protocol) = (exchange.listener.0, exchange.protocol);
        if let Some(target) = &exchange.target {
            let key = (slot, protocol, target.serial);
            let mut known = self.by_target.borrow_mut();
            let entry = known.entry(key).or_insert_with(|| TargetSeries {
                series: self.open(exchange),
                presence: Presence::Present(Arc::clone(target)),
            });
            entry.series.count(exchange, elapsed);
        } else {
            let key = (slot, protocol, exchange.group.clone());
            let mut known = self.without_target.borrow_mut();
            let series = known.entry(key).or_insert_with(|| self.open(exchange));
            series.count(exchange, elapsed);
        }
    }

    fn count_rule(&self, exchange: &ExchangeFacts, elapsed: Duration) {
        let key = (exchange.listener.0, exchange.rule);
        let second = self.second_of(exchange.started() + elapsed);
        let mut last = self.last_rule.borrow_mut();
        match &*last {
            Some((known, hits)) if *known == key => hits.count(second),
            _ => {
                let hits = self.hits(key, &exchange.listener.1);
                hits.count(second);
                *last = Some((key, hits));
            }
        }
    }

    fn hits(&self, key: RuleKey, listener: &ListenerId) -> Arc<LiveHits> {
        let mut known = self.by_rule.borrow_mut();
        let hits = known.entry(key).or_insert_with(|| {
            let hits = LiveHits::new((listener.clone(), key.1));
            lock(&self.shard.rules).push(Arc::clone(&hits));
            hits
        });
        Arc::clone(hits)
    }

    /// The second of a moment since the process began to count. Moments mostly follow each other.
    fn second_of(&self, now: Instant) -> u64 {
        let (second, end) = self.second.get();
        if now < end {
            return second;
        }
        let second = now.saturating_duration_since(self.started).as_secs();
        let end = self.started + Duration::from_secs(second + 1);
        self.second.set((second, end));
        second
    }

    fn open(&self, exchange: &ExchangeFacts) -> Arc<Series> {
        let target = exchange.target.as_ref().map(|target| &target.id);
        let group = target.map(|id| &id.group).or(exchange.group.as_ref());
        let series = Arc::new(Series::new(Labels {
            protocol: exchange.protocol,
            listener: exchange.listener.1.to_string(),
            group: group.map_or(String::new(), TargetGroupId::to_string),
            target: target.map_or(String::new(), |id| id.addr.to_string()),
        }));
        lock(&self.shard.ledger).live.push(Arc::clone(&series));
        series
    }
}

impl Shard {
    fn open_tunnels(&self, protocol: Protocol) -> &AtomicU64 {
        match protocol {
            Protocol::Http1 | Protocol::Http2 => &self.tunnels,
            Protocol::Tcp => &self.tcp_open,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic leaves the counters consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccessLog, AccessPolicy, ClientAddress, TargetId};
    use crate::observe::Record;
    use crate::observe::openmetrics::ParsedPage;

    fn target(group: &str, port: u16) -> Arc<Target> {
        Arc::new(Target::new(TargetId {
            group: group.into(),
            addr: ([127, 0, 0, 1], port).into(),
        }))
    }

    fn record(worker: &Rc<WorkerMetrics>, target: Option<&Arc<Target>>) -> Record {
        let listener = (ListenerSlot(0), "http".into());
        let client = ClientAddress::Ip([127, 0, 0, 1].into());
        let log = AccessPolicy {
            logged: AccessLog::Off,
            ..AccessPolicy::FAILURES
        };
        let protocol = Protocol::Http1;
        let mut record = Record::begin(worker, log, protocol, Instant::now(), listener, client);
        record.target = target.cloned();
        record.group = target.map(|target| target.id.group.clone());
        record.status = Some(200);
        record.complete = true;
        record
    }

    fn page(metrics: &Arc<Metrics>) -> ParsedPage {
        ParsedPage::of(Arc::clone(metrics))
    }

    const DURATION: &str =
        r#"weir_request_duration_seconds_count{listener="http",target_group="todo"}"#;

    #[test]
    fn a_page_without_requests_is_a_legal_page() {
        let page = page(&Arc::new(Metrics::default()));
        assert_eq!(page.value("weir_connections_total"), Some(0.0));
        let accepted = r#"weir_reloads_total{outcome="accepted"}"#;
        assert_eq!(page.value(accepted), Some(0.0));
    }

    #[test]
    fn workers_are_summed_into_one_series() {
        let metrics = Arc::new(Metrics::default());
        let target = target("todo", 6400);
        for _ in 0..2 {
            let worker = metrics.worker();
            worker.connected();
            record(&worker, Some(&target)).sent = 10;
        }
        let page = page(&metrics);
        let labels = r#"{listener="http",target_group="todo",target="127.0.0.1:6400""#;
        let requests = format!(r#"weir_requests_total{labels},protocol="http1",code="2xx"}}"#);
        assert_eq!(page.value(&requests), Some(2.0));
        let sent = format!("weir_response_body_bytes_total{labels}}}");
        assert_eq!(page.value(&sent), Some(20.0));
        assert_eq!(page.value("weir_connections_total"), Some(2.0));
    }

    #[test]
    fn a_duration_counts_in_every_bucket_that_holds_it() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let target = target("todo", 6400);
        for millis in [1, 30, 90_000] {
            let record = record(&worker, Some(&target));
            worker.record(&record, Duration::from_millis(millis));
            // The record counts once more when it is dropped: a few microseconds.
        }
        let page = page(&metrics);
        let bucket = |le: &str| {
            let name = "weir_request_duration_seconds_bucket";
            page.value(&format!(
                r#"{name}{{le="{le}",listener="http",target_group="todo"}}"#
            ))
        };
        assert_eq!(bucket("0.001"), Some(4.0), "a bound belongs to its bucket");
        assert_eq!(bucket("0.025"), Some(4.0));
        assert_eq!(bucket("0.05"), Some(5.0));
        assert_eq!(bucket("60.0"), Some(5.0));
        assert_eq!(bucket("+Inf"), Some(6.0));
        assert_eq!(page.value(DURATION), Some(6.0));
    }

    #[test]
    fn first_bytes_and_connections_to_targets_are_counted() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let target = target("todo", 6400);
        for connecting in [Some(Duration::from_millis(3)), None, None] {
            let mut record = record(&worker, Some(&target));
            record.answered = Some(record.started() + Duration::from_millis(7));
            record.connecting = connecting;
        }
        // Its target has not answered.
        drop(record(&worker, Some(&target)));
        worker.connect_took(&"todo".into(), true, Duration::from_millis(3));
        worker.connect_took(&"todo".into(), false, Duration::from_secs(2));
        worker.handshake_took(&"http".into(), Duration::from_millis(4));
        let page = page(&metrics);
        let labels = r#"{listener="http",target_group="todo""#;
        for (series, value) in [
            (format!("weir_first_byte_seconds_count{labels}}}"), 3.0),
            (format!("weir_first_byte_seconds_sum{labels}}}"), 0.021),
            (
                format!(r#"weir_target_connection_reuses_total{labels},target="127.0.0.1:6400"}}"#),
                2.0,
            ),
            (
                r#"weir_target_connect_seconds_sum{target_group="todo",result="connected"}"#
                    .to_owned(),
                0.003,
            ),
            (
                r#"weir_target_connect_seconds_count{target_group="todo",result="failed"}"#
                    .to_owned(),
                1.0,
            ),
            (
                r#"weir_tls_handshake_seconds_count{listener="http"}"#.to_owned(),
                1.0,
            ),
        ] {
            assert_eq!(page.value(&series), Some(value), "{series}");
        }
    }

    #[test]
    fn requests_are_counted_by_rule() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        for rule in [Some(10), None, Some(10), Some(20), None, Some(10)] {
            let mut record = record(&worker, None);
            record.is_routed = true;
            record.rule = rule;
        }
        // No listener serves it: no rule was looked for.
        drop(record(&worker, None));
        let page = page(&metrics);
        for (rule, count) in [("10", 3.0), ("20", 1.0), ("default", 2.0)] {
            let series = format!(r#"weir_rule_requests_total{{listener="http",rule="{rule}"}}"#);
            assert_eq!(page.value(&series), Some(count), "{series}");
        }
    }

    #[test]
    fn a_group_without_a_target_for_a_request_is_named() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        for group in ["todo", "other"] {
            let mut record = record(&worker, None);
            record.group = Some(group.into());
            record.status = Some(503);
            record.failure = Some(Failure::NoTarget);
        }
        drop(record(&worker, None));
        let page = page(&metrics);
        for (group, class) in [("todo", "5xx"), ("other", "5xx"), ("", "2xx")] {
            let labels = format!(r#"listener="http",target_group="{group}",target="""#);
            let series =
                format!(r#"weir_requests_total{{{labels},protocol="http1",code="{class}"}}"#);
            assert_eq!(page.value(&series), Some(1.0), "{series}");
        }
        for group in ["todo", "other"] {
            let labels = format!(r#"target_group="{group}",reason="no_target""#);
            let failures = format!("weir_request_failures_total{{{labels}}}");
            assert_eq!(page.value(&failures), Some(1.0), "{failures}");
        }
    }

    #[test]
    fn requests_that_are_not_compliant_are_counted_by_class_and_reason() {
        let metrics = Arc::new(Metrics::default());
        for (class, reason) in [("ambiguous", "a"), ("ambiguous", "a"), ("severe", "b")] {
            let mut record = record(&metrics.worker(), None);
            record.desync = Some(Desync { class, reason });
        }
        drop(record(&metrics.worker(), None));
        let page = page(&metrics);
        for (labels, count) in [
            (r#"class="ambiguous",reason="a""#, 2.0),
            (r#"class="severe",reason="b""#, 1.0),
        ] {
            let series = format!("weir_desync_total{{{labels}}}");
            assert_eq!(page.value(&series), Some(count), "{series}");
        }
        assert!(!page.has(r#"class="""#));
    }

    #[test]
    fn a_removed_target_takes_its_series_but_not_its_share_of_the_group() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let (kept, removed) = (target("todo", 6400), target("todo", 6401));
        for target in [&kept, &removed, &removed] {
            drop(record(&worker, Some(target)));
        }
        drop(record(&worker, None));
        let removal = Instant::now();
        let keep = |target: &Target| target.id == kept.id;
        worker.retain(removal, keep);
        assert!(page(&metrics).has("127.0.0.1:6401"), "for the next scrape");
        worker.retain(removal + GONE_KEPT, keep);
        let after = page(&metrics);
        assert_eq!(after.value(DURATION), Some(3.0));
        assert!(after.has("127.0.0.1:6400"));
        assert!(after.has(r#"target_group="",target="""#));
        assert!(!after.has("127.0.0.1:6401"));
        // A request which was still in flight on it.
        drop(record(&worker, Some(&removed)));
        assert_eq!(page(&metrics).value(DURATION), Some(4.0));
    }

    #[test]
    fn series_of_removed_targets_are_bounded() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let begin = Instant::now();
        let ports = 1..=2 * MOST_GONE as u16;
        for port in ports {
            drop(record(&worker, Some(&target("todo", port))));
            worker.retain(begin + Duration::from_millis(port.into()), |_| false);
            assert!(worker.by_target.borrow().len() <= MOST_GONE);
        }
        let after = page(&metrics);
        assert_eq!(after.value(DURATION), Some(2.0 * MOST_GONE as f64));
        assert!(after.has(r#"target="127.0.0.1:200""#), "the newest");
        assert!(!after.has(r#"target="127.0.0.1:1""#), "the oldest");
    }

    #[test]
    fn names_are_escaped() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        drop(record(&worker, Some(&target("a\"b\\c\nd", 6400))));
        assert!(page(&metrics).has(r#"target_group="a\"b\\c\nd""#));
    }

    #[test]
    fn a_client_that_leaves_has_a_class_of_its_own() {
        let metrics = Arc::new(Metrics::default());
        let worker = metrics.worker();
        let mut gone = record(&worker, None);
        (gone.status, gone.complete) = (None, false);
        drop(gone);
        assert!(page(&metrics).has(r#"code="client_gone"} 1"#));
    }
}
