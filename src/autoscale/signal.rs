//! The sample of one group.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::custom::CustomMetrics;
use super::service::{Look, Service};
use super::usage::average;
use super::{Now, Reading, Sample};
use crate::config::{Metric, Timing};
use crate::observe::{Durations, Metrics, ResponseTimes};
use crate::replicas::GroupReplicas;
use crate::state::Snapshot;

/// Follows one group from sample to sample.
#[derive(Debug)]
pub(super) struct Signal {
    wanted: Vec<Metric>,
    service: Service,
    times: ResponseTimes,
    /// The last response time, and when it was measured.
    slowness: Option<(f64, Duration)>,
    custom: CustomMetrics,
}

/// What a sample is taken of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Its place in the snapshot, and in the configuration of that.
    pub(super) index: usize,
    pub(super) timing: &'a Timing,
    pub(super) replicas: &'a GroupReplicas,
    pub(super) metrics: &'a Metrics,
}

/// A moment on three clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Now,
    /// The clock that measurements are stamped with.
    pub(super) instant: Instant,
}

impl Signal {
    /// `places` bounds how many pages all groups read at a time.
    pub(super) fn new(places: Arc<Semaphore>) -> Self {
        Self {
            wanted: Vec::new(),
            service: Service::default(),
            times: ResponseTimes::default(),
            slowness: None,
            custom: CustomMetrics::new(places),
        }
    }

    /// What the samples from now on hold.
    pub(super) fn want(&mut self, wanted: Vec<Metric>) {
        let custom = wanted.iter().filter_map(|metric| match metric {
            Metric::Custom(custom) => Some(custom.clone()),
            Metric::Cpu
            | Metric::Memory
            | Metric::RequestsPerTarget
            | Metric::InFlightPerTarget
            | Metric::QueueLength
            | Metric::LatencyP95 => None,
        });
        self.custom.want(custom.collect());
        self.wanted = wanted;
    }

    /// Takes a sample. Call it about once a second.
    pub(super) fn sample(&mut self, subject: Subject<'_>, moment: Moment) -> Sample {
        let group = &subject.snapshot.groups()[subject.index];
        let config = &subject.snapshot.config.target_groups[subject.index];
        let targets = group.targets.iter();
        let active = targets.filter(|t| t.registration.is_active());
        let look = self.service.look(
            moment.now,
            active.map(|t| &t.target),
            config.health.is_some(),
            subject.replicas,
            subject.timing.warm_up,
        );
        let addrs = &replica_addresses(subject.replicas, &look);
        self.custom.tend(addrs, subject.timing.period);
        let readings = self.wanted.iter().map(|metric| {
            let reading = match metric {
                Metric::Cpu => average(subject.replicas, &look.replicas, moment.instant, |u| u.cpu),
                Metric::Memory => average(subject.replicas, &look.replicas, moment.instant, |u| {
                    u.memory
                }),
                Metric::RequestsPerTarget => requests(&look),
                Metric::InFlightPerTarget => in_flight(&look, group.admission.waiting()),
                Metric::QueueLength => waiting(&look, group.admission.waiting()),
                Metric::LatencyP95 => {
                    let (metrics, id) = (subject.metrics, &group.id);
                    let times = self.times.since_last(metrics, id, &look.apart);
                    let is_idle = look.in_flight == 0 && group.admission.waiting() == 0;
                    let (now, period) = (moment.now.uptime, subject.timing.period);
                    match times {
                        _ if look.warm.is_empty() => nobody(),
                        Some(times) => p95(&times, is_idle, &mut self.slowness, now, period),
                        None => Reading::Missing("measured once so far".to_owned()),
                    }
                }
                Metric::Custom(custom) => self.custom.reading(custom, addrs, subject.timing.period),
            };
            (metric.clone(), reading)
        });
        let readings = readings.collect();
        Sample {
            now: moment.now,
            capacity: look.capacity,
            readings,
        }
    }
}

/// Where the warm replicas are.
fn replica_addresses(replicas: &GroupReplicas, look: &Look) -> Vec<SocketAddr> {
    // Both lists are in the order of the provider's.
    let mut warm = look.replicas.iter().peekable();
    let all = replicas.replicas.iter();
    all.filter(|replica| warm.next_if_eq(&&replica.id).is_some())
        .filter_map(|replica| replica.address)
        .collect()
}

/// Requests per second and target.
fn requests(look: &Look) -> Reading {
    let seconds = look.elapsed.map_or(0.0, |elapsed| elapsed.as_secs_f64());
    if look.warm.is_empty() {
        return nobody();
    }
    if seconds <= 0.0 {
        return Reading::Missing("measured once so far".to_owned());
    }
    Reading::Value(look.requests as f64 / seconds / look.warm.len() as f64)
}

/// Requests that are on a target or wait for one, per target. Who waits, waits for all of
/// them, warm or not.
fn in_flight(look: &Look, waiting: usize) -> Reading {
    match (look.in_service, look.warm.len()) {
        // Without targets what waits is all there is, and the first one will get it.
        (0, _) => Reading::Value(waiting as f64),
        (_, 0) => nobody(),
        (all, warm) => {
            let each = look.in_flight as f64 / warm as f64;
            Reading::Value(each + waiting as f64 / f64::from(all))
        }
    }
}

/// Requests that wait, per target.
fn waiting(look: &Look, waiting: usize) -> Reading {
    Reading::Value(waiting as f64 / f64::from(look.in_service.max(1)))
}

/// In milliseconds. `times` are those of the requests that have ended since the last sample.
///
/// A time that was measured stands for a period, so that few requests make datapoints as well.
/// After that requests take no time if there are none, and nobody knows how long if there are.
fn p95(
    times: &Durations,
    is_idle: bool,
    last: &mut Option<(f64, Duration)>,
    now: Duration,
    period: Duration,
) -> Reading {
    if let Some(seconds) = times.quantile(0.95) {
        *last = Some((seconds, now));
    }
    match *last {
        Some((seconds, at)) if now.saturating_sub(at) < period => Reading::Value(seconds * 1000.0),
        _ if is_idle => Reading::Value(0.0),
        _ => Reading::Missing("no request has ended for a period".to_owned()),
    }
}

fn nobody() -> Reading {
    Reading::Missing("no target is in service and warm".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(in_service: u32, warm: u16) -> Look {
        Look {
            in_service,
            warm: (1..=warm)
                .map(|n| SocketAddr::from(([127, 0, 0, 1], n)))
                .collect(),
            in_flight: 30,
            requests: 60,
            elapsed: Some(Duration::from_secs(2)),
            ..Look::default()
        }
    }

    #[test]
    fn requests_are_per_second_and_target() {
        assert_eq!(requests(&look(3, 3)), Reading::Value(10.0));
        assert_eq!(requests(&look(3, 0)), nobody());
        let first = Look {
            elapsed: None,
            ..look(1, 1)
        };
        assert!(matches!(requests(&first), Reading::Missing(_)));
    }

    #[test]
    fn who_waits_is_in_flight_on_all_targets_warm_or_not() {
        assert_eq!(in_flight(&look(3, 3), 0), Reading::Value(10.0));
        assert_eq!(in_flight(&look(4, 3), 8), Reading::Value(12.0));
        assert_eq!(in_flight(&look(4, 0), 8), nobody());
        assert_eq!(in_flight(&look(0, 0), 8), Reading::Value(8.0));
        assert_eq!(waiting(&look(4, 3), 8), Reading::Value(2.0));
        assert_eq!(waiting(&look(0, 0), 8), Reading::Value(8.0));
    }

    #[test]
    fn a_response_time_stands_for_a_period_and_silence_is_zero() {
        let (mut last, period) = (None, Duration::from_secs(3));
        let (none, mut one) = (Durations::default(), Durations::default());
        one.count(Duration::from_millis(250));
        let mut at = |second, times, is_idle| {
            let now = Duration::from_secs(second);
            p95(times, is_idle, &mut last, now, period)
        };
        assert_eq!(at(1, &none, true), Reading::Value(0.0));
        assert!(matches!(at(2, &none, false), Reading::Missing(_)));
        let Reading::Value(measured) = at(3, &one, false) else {
            panic!("a request has ended");
        };
        assert!((212.5..=250.0).contains(&measured), "{measured}");
        assert_eq!(at(5, &none, true), Reading::Value(measured));
        assert_eq!(at(6, &none, true), Reading::Value(0.0));
        assert!(matches!(at(7, &none, false), Reading::Missing(_)));
    }
}
