//! Metrics that the replicas of a group publish themselves.
//!
//! The pages of all replicas are read in rounds, at most [`MAX_SCRAPES`] pages at a time over all
//! groups. A round begins when the last one has ended and the group's period is over. Samples in
//! between use the values of the last round.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::prometheus_text::sum;
use super::sample::Reading;
use super::scrape::{TIMEOUT, page};
use crate::config::CustomMetric;
use crate::tls;

/// Most pages that are read at a time, over all groups.
pub(super) const MAX_SCRAPES: usize = 32;

/// Shortest time between two rounds.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Periods without a new value after which a value is not used any more.
const STALE_PERIODS: u32 = 3;

/// The custom metrics of one group.
#[derive(Debug)]
pub(super) struct CustomMetrics {
    metrics: Arc<Vec<CustomMetric>>,
    permits: Arc<Semaphore>,
    scrapes: JoinSet<ScrapeResult>,
    /// When the last round began.
    round_start: Option<Instant>,
    replicas: FxHashMap<SocketAddr, ReplicaValues>,
}

/// The values of one replica, one for each metric, or why they are missing.
#[derive(Debug)]
struct ScrapeResult {
    addr: SocketAddr,
    at: Instant,
    values: Vec<Result<f64, String>>,
}

/// The last values of one replica, one for each metric.
#[derive(Debug)]
struct ReplicaValues {
    at: Instant,
    values: Vec<Result<f64, String>>,
    /// The last value of each metric that is a counter.
    counters: Vec<Option<CounterValue>>,
}

#[derive(Clone, Copy, Debug)]
struct CounterValue {
    value: f64,
    at: Instant,
}

impl CustomMetrics {
    /// Without metrics. `permits` is shared by all groups.
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self {
            metrics: Arc::default(),
            permits,
            scrapes: JoinSet::new(),
            round_start: None,
            replicas: FxHashMap::default(),
        }
    }

    /// Sets the metrics. If they change, all values are dropped.
    pub(super) fn set_metrics(&mut self, metrics: Vec<CustomMetric>) {
        if *self.metrics != metrics {
            self.metrics = Arc::new(metrics);
            self.scrapes = JoinSet::new();
            self.round_start = None;
            self.replicas.clear();
        }
    }

    /// Records what has been read, and begins the next round over the replicas at these addresses,
    /// which are spoken to in `tls`, if it is due.
    pub(super) fn poll(
        &mut self,
        addrs: &[SocketAddr],
        tls: Option<&tls::Client>,
        period: Duration,
    ) {
        if self.metrics.is_empty() {
            return;
        }
        while let Some(scraped) = self.scrapes.try_join_next() {
            // After a panic the replica has no new values.
            if let Ok(scraped) = scraped {
                self.record(scraped);
            }
        }
        let period = period.max(MIN_INTERVAL);
        let is_due = self
            .round_start
            .is_none_or(|start| start.elapsed() >= period);
        if !self.scrapes.is_empty() || !is_due {
            return;
        }
        self.round_start = Some(Instant::now());
        let listed: FxHashSet<&SocketAddr> = addrs.iter().collect();
        self.replicas.retain(|addr, _| listed.contains(addr));
        for &addr in addrs {
            let (metrics, permits) = (Arc::clone(&self.metrics), Arc::clone(&self.permits));
            let tls = tls.cloned();
            self.scrapes.spawn(async move {
                // The semaphore is never closed.
                let _permit = permits.acquire().await;
                scrape(addr, &metrics, tls.as_ref()).await
            });
        }
    }

    fn record(&mut self, scraped: ScrapeResult) {
        let replica = self
            .replicas
            .entry(scraped.addr)
            .or_insert_with(|| ReplicaValues {
                at: scraped.at,
                values: Vec::new(),
                counters: vec![None; self.metrics.len()],
            });
        replica.values = scraped
            .values
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                if !self.metrics[index].rate {
                    return value;
                }
                let counter = CounterValue {
                    value: value?,
                    at: scraped.at,
                };
                let before = replica.counters[index].replace(counter);
                rate(before, counter).ok_or_else(|| "read once so far".to_owned())
            })
            .collect();
        replica.at = scraped.at;
    }

    /// The average over the replicas at these addresses that have a value. If none has, the
    /// reason of the first one.
    pub(super) fn reading(
        &self,
        metric: &CustomMetric,
        addrs: &[SocketAddr],
        period: Duration,
    ) -> Reading {
        let Some(index) = self.metrics.iter().position(|known| known == metric) else {
            return Reading::Missing("not read yet".to_owned());
        };
        let max_age = period.max(MIN_INTERVAL) * STALE_PERIODS + TIMEOUT;
        let (mut sum, mut count, mut problem) = (0.0, 0_u32, None);
        for addr in addrs {
            let replica = self.replicas.get(addr);
            match replica.map(|replica| (&replica.values[index], replica.at.elapsed())) {
                Some((Ok(value), age)) if age <= max_age => {
                    sum += value;
                    count += 1;
                }
                Some((Err(why), _)) => problem = problem.or(Some(why.clone())),
                Some((Ok(_), age)) => {
                    problem = problem.or(Some(format!("last read {} s ago", age.as_secs())));
                }
                None => {}
            }
        }
        if count > 0 {
            return Reading::Value(sum / f64::from(count));
        }
        Reading::Missing(problem.unwrap_or_else(|| "not read yet".to_owned()))
    }
}

/// The growth of a counter per second. A counter that decreased has restarted from zero.
fn rate(before: Option<CounterValue>, now: CounterValue) -> Option<f64> {
    let before = before?;
    let growth = if now.value >= before.value {
        now.value - before.value
    } else {
        now.value
    };
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    (seconds > 0.0).then(|| growth / seconds)
}

/// Reads each page of a replica once.
async fn scrape(
    addr: SocketAddr,
    metrics: &[CustomMetric],
    tls: Option<&tls::Client>,
) -> ScrapeResult {
    let mut pages: Vec<(u16, &str, Result<String, String>)> = Vec::new();
    let mut values = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let port = metric.port.unwrap_or(addr.port());
        let is_same = |page: &&(u16, &str, _)| (page.0, page.1) == (port, &*metric.path);
        if !pages.iter().any(|page| is_same(&page)) {
            let text = page(SocketAddr::new(addr.ip(), port), &metric.path, tls).await;
            // A series in another encoding is not the metric.
            let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
            pages.push((port, &metric.path, text));
        }
        let found = pages.iter().find(is_same).map(|(_, _, text)| text);
        values.push(match found {
            Some(Ok(text)) => value(text, metric),
            Some(Err(why)) => Err(why.clone()),
            None => Err("not read".to_owned()),
        });
    }
    ScrapeResult {
        addr,
        at: Instant::now(),
        values,
    }
}

fn value(page: &str, metric: &CustomMetric) -> Result<f64, String> {
    match sum(page, &metric.name, &metric.labels) {
        Some(value) if value.is_finite() => Ok(value),
        Some(value) => Err(format!("`{}` is {value}", metric.name)),
        None => Err(format!("no series `{}` on {}", metric.name, metric.path)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::fixture::{ok, replica};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Deadline of every wait: only a broken test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    fn gauge(name: &str) -> CustomMetric {
        CustomMetric {
            name: name.to_owned(),
            labels: Vec::new(),
            path: "/metrics".to_owned(),
            port: None,
            rate: false,
        }
    }

    fn metrics(configured: &[CustomMetric]) -> CustomMetrics {
        let mut metrics = CustomMetrics::new(Arc::new(Semaphore::new(MAX_SCRAPES)));
        metrics.set_metrics(configured.to_vec());
        metrics
    }

    /// Begins a round and waits for its end.
    async fn round(metrics: &mut CustomMetrics, addrs: &[SocketAddr]) {
        metrics.round_start = None;
        metrics.poll(addrs, None, SECOND);
        let all = async {
            while let Some(scraped) = metrics.scrapes.join_next().await {
                metrics.record(scraped.unwrap());
            }
        };
        timeout(LONG, all).await.unwrap();
    }

    #[tokio::test]
    async fn a_metric_is_the_average_over_the_replicas_that_answer() {
        let (a, b) = (gauge("a"), gauge("b"));
        let mut metrics = metrics(&[a.clone(), b.clone()]);
        let addrs = [
            replica(ok("a 1\n"), true).await,
            replica(ok("a 5\nb 7\n"), true).await,
            replica(b"HTTP/1.1 500 No\r\n\r\n".to_vec(), true).await,
        ];
        assert_eq!(
            metrics.reading(&a, &addrs, SECOND),
            Reading::Missing("not read yet".to_owned())
        );
        round(&mut metrics, &addrs).await;
        assert_eq!(metrics.reading(&a, &addrs, SECOND), Reading::Value(3.0));
        assert_eq!(metrics.reading(&b, &addrs, SECOND), Reading::Value(7.0));
        assert_eq!(
            metrics.reading(&b, &addrs[..1], SECOND),
            Reading::Missing("no series `b` on /metrics".to_owned())
        );
        let Reading::Missing(why) = metrics.reading(&a, &addrs[2..], SECOND) else {
            panic!("a value from a replica that fails");
        };
        assert!(why.ends_with("status 500 Internal Server Error"), "{why}");
    }

    #[tokio::test]
    async fn a_slow_replica_does_not_hide_the_others() {
        let a = gauge("a");
        let mut metrics = metrics(std::slice::from_ref(&a));
        let silent = replica(Vec::new(), false).await;
        let addrs = [silent, replica(ok("a 2\n"), true).await];
        round(&mut metrics, &addrs).await;
        assert_eq!(metrics.reading(&a, &addrs, SECOND), Reading::Value(2.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_counter_is_its_growth_per_second_also_over_a_restart() {
        let counter = CustomMetric {
            rate: true,
            ..gauge("done")
        };
        let mut metrics = metrics(std::slice::from_ref(&counter));
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut rate = |value: Result<f64, String>| {
            metrics.record(ScrapeResult {
                addr,
                at: Instant::now(),
                values: vec![value],
            });
            metrics.reading(&counter, &[addr], SECOND)
        };
        assert_eq!(
            rate(Ok(100.0)),
            Reading::Missing("read once so far".to_owned())
        );
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(rate(Ok(130.0)), Reading::Value(15.0));
        tokio::time::advance(SECOND).await;
        assert_eq!(rate(Err("gone".into())), Reading::Missing("gone".into()));
        tokio::time::advance(SECOND).await;
        assert_eq!(rate(Ok(20.0)), Reading::Value(10.0), "counts from zero");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_is_none() {
        let a = gauge("a");
        let mut metrics = metrics(std::slice::from_ref(&a));
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        metrics.record(ScrapeResult {
            addr,
            at: Instant::now(),
            values: vec![Ok(1.0)],
        });
        tokio::time::advance(4 * SECOND).await;
        assert_eq!(metrics.reading(&a, &[addr], SECOND), Reading::Value(1.0));
        tokio::time::advance(SECOND).await;
        assert_eq!(
            metrics.reading(&a, &[addr], SECOND),
            Reading::Missing("last read 5 s ago".to_owned())
        );
    }

    #[tokio::test]
    async fn a_round_does_not_begin_before_the_last_has_ended() {
        let mut metrics = metrics(&[gauge("a")]);
        let silent = replica(Vec::new(), false).await;
        metrics.poll(&[silent], None, Duration::ZERO);
        metrics.round_start = None;
        metrics.poll(&[silent], None, Duration::ZERO);
        assert_eq!(metrics.scrapes.len(), 1);
        assert!(metrics.round_start.is_none());
    }
}
