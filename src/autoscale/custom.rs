//! Metrics that the replicas of a group publish themselves.
//!
//! The pages of all replicas are read in rounds, at most [`AT_ONCE`] pages at a time over all
//! groups. A round begins when the last one has ended and the group's period is over; a sample
//! in between has what the last round brought.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Reading;
use super::page::sum;
use super::scrape::{TIMEOUT, page};
use crate::config::CustomMetric;

/// Most pages that are read at a time.
pub(super) const AT_ONCE: usize = 32;

/// No replica is asked more often.
const LEAST_PERIOD: Duration = Duration::from_secs(1);

/// After so many periods without an answer what was read before is no more.
const STALE_PERIODS: u32 = 3;

/// The custom metrics of one group.
#[derive(Debug)]
pub(super) struct CustomMetrics {
    wanted: Arc<Vec<CustomMetric>>,
    places: Arc<Semaphore>,
    scrapes: JoinSet<Scraped>,
    /// When the last round began.
    begun: Option<Instant>,
    replicas: FxHashMap<SocketAddr, Replica>,
}

/// What one replica said: one result per wanted metric.
#[derive(Debug)]
struct Scraped {
    addr: SocketAddr,
    at: Instant,
    values: Vec<Result<f64, String>>,
}

/// One replica, with one entry per wanted metric.
#[derive(Debug)]
struct Replica {
    at: Instant,
    values: Vec<Result<f64, String>>,
    /// What its counters stood at, and when.
    counters: Vec<Option<(f64, Instant)>>,
}

impl CustomMetrics {
    /// Nothing is wanted yet. `places` is what all groups share.
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self {
            wanted: Arc::default(),
            places,
            scrapes: JoinSet::new(),
            begun: None,
            replicas: FxHashMap::default(),
        }
    }

    /// Other metrics than before begin from nothing.
    pub(super) fn want(&mut self, wanted: Vec<CustomMetric>) {
        if *self.wanted != wanted {
            self.wanted = Arc::new(wanted);
            self.scrapes = JoinSet::new();
            self.begun = None;
            self.replicas.clear();
        }
    }

    /// Takes in what has been read, and begins the next round if it is time: of the replicas
    /// at these addresses.
    pub(super) fn tend(&mut self, addrs: &[SocketAddr], period: Duration) {
        if self.wanted.is_empty() {
            return;
        }
        while let Some(scraped) = self.scrapes.try_join_next() {
            // A panic is a replica that did not answer.
            if let Ok(scraped) = scraped {
                self.take_in(scraped);
            }
        }
        let period = period.max(LEAST_PERIOD);
        let is_due = self.begun.is_none_or(|begun| begun.elapsed() >= period);
        if !self.scrapes.is_empty() || !is_due {
            return;
        }
        self.begun = Some(Instant::now());
        let listed: FxHashSet<&SocketAddr> = addrs.iter().collect();
        self.replicas.retain(|addr, _| listed.contains(addr));
        for &addr in addrs {
            let (wanted, places) = (Arc::clone(&self.wanted), Arc::clone(&self.places));
            self.scrapes.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire().await;
                scrape(addr, &wanted).await
            });
        }
    }

    fn take_in(&mut self, scraped: Scraped) {
        let replica = self.replicas.entry(scraped.addr);
        let replica = replica.or_insert_with(|| Replica {
            at: scraped.at,
            values: Vec::new(),
            counters: vec![None; self.wanted.len()],
        });
        let values = scraped.values.into_iter().enumerate();
        replica.values = values
            .map(|(index, value)| {
                if !self.wanted[index].rate {
                    return value;
                }
                let counter = (value?, scraped.at);
                let before = replica.counters[index].replace(counter);
                growth(before, counter).ok_or_else(|| "read once so far".to_owned())
            })
            .collect();
        replica.at = scraped.at;
    }

    /// The average over those of the replicas at these addresses that answered, or what the
    /// first of the others said.
    pub(super) fn reading(
        &self,
        metric: &CustomMetric,
        addrs: &[SocketAddr],
        period: Duration,
    ) -> Reading {
        let Some(index) = self.wanted.iter().position(|wanted| wanted == metric) else {
            return Reading::Missing("not read yet".to_owned());
        };
        let longest = period.max(LEAST_PERIOD) * STALE_PERIODS + TIMEOUT;
        let (mut sum, mut count, mut problem) = (0.0, 0_u32, None);
        for addr in addrs {
            let replica = self.replicas.get(addr);
            match replica.map(|replica| (&replica.values[index], replica.at.elapsed())) {
                Some((Ok(value), age)) if age <= longest => {
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

/// What a counter grew by in a second. One that has fallen began again at zero.
fn growth(before: Option<(f64, Instant)>, (now, at): (f64, Instant)) -> Option<f64> {
    let (before, since) = before?;
    let growth = if now >= before { now - before } else { now };
    let seconds = at.duration_since(since).as_secs_f64();
    (seconds > 0.0).then(|| growth / seconds)
}

/// Reads each page of a replica once.
async fn scrape(addr: SocketAddr, wanted: &[CustomMetric]) -> Scraped {
    let mut pages: Vec<(u16, &str, Result<String, String>)> = Vec::new();
    let mut values = Vec::with_capacity(wanted.len());
    for metric in wanted {
        let port = metric.port.unwrap_or(addr.port());
        let is_same = |page: &&(u16, &str, _)| (page.0, page.1) == (port, &*metric.path);
        if !pages.iter().any(|page| is_same(&page)) {
            let text = page(SocketAddr::new(addr.ip(), port), &metric.path).await;
            // Series in another encoding are none of ours.
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
    Scraped {
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

    use super::super::scrape::tests::{ok, replica};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// For whatever is waited for: only a broken test takes this long.
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

    fn metrics(wanted: &[CustomMetric]) -> CustomMetrics {
        let mut metrics = CustomMetrics::new(Arc::new(Semaphore::new(AT_ONCE)));
        metrics.want(wanted.to_vec());
        metrics
    }

    /// Begins a round and waits for its end.
    async fn round(metrics: &mut CustomMetrics, addrs: &[SocketAddr]) {
        metrics.begun = None;
        metrics.tend(addrs, SECOND);
        let all = async {
            while let Some(scraped) = metrics.scrapes.join_next().await {
                metrics.take_in(scraped.unwrap());
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
            metrics.take_in(Scraped {
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
        metrics.take_in(Scraped {
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
        metrics.tend(&[silent], Duration::ZERO);
        metrics.begun = None;
        metrics.tend(&[silent], Duration::ZERO);
        assert_eq!(metrics.scrapes.len(), 1);
        assert!(metrics.begun.is_none());
    }
}
