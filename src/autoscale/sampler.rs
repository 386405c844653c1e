//! Takes the samples of one group.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::custom::CustomMetrics;
use super::observer::{Observation, TargetObserver};
use super::sample::{Now, Reading, Sample};
use super::usage::average;
use crate::config::{Metric, Timing};
use crate::observe::{Durations, Metrics, ResponseTimes};
use crate::replicas::{GroupReplicas, Usage};
use crate::state::Group;

/// Samples one group, and keeps what the next sample is compared with.
#[derive(Debug)]
pub(super) struct Sampler {
    metrics: Vec<Metric>,
    observer: TargetObserver,
    response_times: ResponseTimes,
    last_p95: Option<MeasuredP95>,
    custom: CustomMetrics,
}

/// A 95th percentile of the response time, and the uptime when it was measured.
#[derive(Clone, Copy, Debug)]
struct MeasuredP95 {
    seconds: f64,
    at: Duration,
}

/// The group that a sample is taken of.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleContext<'a> {
    pub(super) group: &'a Group,
    pub(super) timing: &'a Timing,
    pub(super) replicas: &'a GroupReplicas,
    pub(super) metrics: &'a Metrics,
}

/// One time on three clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) now: Now,
    /// The clock of measurements.
    pub(super) instant: Instant,
}

impl Sampler {
    /// `permits` limits how many pages all groups read at a time.
    pub(super) fn new(permits: Arc<Semaphore>) -> Self {
        Self {
            metrics: Vec::new(),
            observer: TargetObserver::default(),
            response_times: ResponseTimes::default(),
            last_p95: None,
            custom: CustomMetrics::new(permits),
        }
    }

    /// Sets the metrics of later samples.
    pub(super) fn set_metrics(&mut self, metrics: Vec<Metric>) {
        let custom = metrics.iter().filter_map(|metric| match metric {
            Metric::Custom(custom) => Some(custom.clone()),
            Metric::Cpu
            | Metric::Memory
            | Metric::RequestsPerTarget
            | Metric::InFlightPerTarget
            | Metric::QueueLength
            | Metric::LatencyP95 => None,
        });
        self.custom.set_metrics(custom.collect());
        self.metrics = metrics;
    }

    /// Takes a sample. Call it about once a second.
    pub(super) fn sample(&mut self, context: SampleContext<'_>, clocks: Clocks) -> Sample {
        let group = context.group;
        let active = group
            .targets
            .iter()
            .filter(|member| member.registration.is_active());
        let observed = self.observer.observe(
            clocks.now,
            active.map(|member| &member.target),
            group.config.health.is_some(),
            context.replicas,
            context.timing.warm_up,
        );
        let addrs = replica_addresses(context.replicas, &observed);
        let tls = group.config.tls.as_ref();
        self.custom.poll(&addrs, tls, context.timing.period);
        let mut readings = Vec::with_capacity(self.metrics.len());
        for metric in self.metrics.clone() {
            let reading = self.read(&metric, &observed, &addrs, context, clocks);
            readings.push((metric, reading));
        }
        Sample {
            now: clocks.now,
            capacity: observed.capacity,
            readings,
        }
    }

    fn read(
        &mut self,
        metric: &Metric,
        observed: &Observation,
        addrs: &[SocketAddr],
        context: SampleContext<'_>,
        clocks: Clocks,
    ) -> Reading {
        let group = context.group;
        let waiting = group.admission.waiting();
        let usage = |part: fn(&Usage) -> Option<f64>| {
            average(context.replicas, &observed.replicas, clocks.instant, part)
        };
        match metric {
            Metric::Cpu => usage(|usage| usage.cpu),
            Metric::Memory => usage(|usage| usage.memory),
            Metric::RequestsPerTarget => requests_per_target(observed),
            Metric::InFlightPerTarget => in_flight_per_target(observed, waiting),
            Metric::QueueLength => queue_length(observed, waiting),
            Metric::LatencyP95 => {
                // Read at every sample, so that each one covers the time since the last.
                let times =
                    self.response_times
                        .since_last(context.metrics, &group.id, &observed.apart);
                if observed.warm.is_empty() {
                    return no_target();
                }
                let Some(times) = times else {
                    return Reading::Missing("measured once so far".to_owned());
                };
                let is_idle = observed.in_flight == 0 && waiting == 0;
                let (now, period) = (clocks.now.uptime, context.timing.period);
                latency_p95(&times, is_idle, &mut self.last_p95, now, period)
            }
            Metric::Custom(custom) => self.custom.reading(custom, addrs, context.timing.period),
        }
    }
}

/// The addresses of the warm replicas.
fn replica_addresses(replicas: &GroupReplicas, observed: &Observation) -> Vec<SocketAddr> {
    // Both lists have the provider's order.
    let mut warm = observed.replicas.iter().peekable();
    replicas
        .replicas
        .iter()
        .filter(|replica| warm.next_if_eq(&&replica.id).is_some())
        .filter_map(|replica| replica.address)
        .collect()
}

/// Requests per second and target.
fn requests_per_target(observed: &Observation) -> Reading {
    if observed.warm.is_empty() {
        return no_target();
    }
    match observed.elapsed.map(|elapsed| elapsed.as_secs_f64()) {
        Some(seconds) if seconds > 0.0 => {
            Reading::Value(observed.requests as f64 / seconds / observed.warm.len() as f64)
        }
        _ => Reading::Missing("measured once so far".to_owned()),
    }
}

/// Requests on a target or in the queue, per target. Queued requests wait for all targets in
/// service, warm or not.
fn in_flight_per_target(observed: &Observation, waiting: usize) -> Reading {
    match (observed.in_service, observed.warm.len()) {
        // Without targets all requests are in the queue, and the first target will get them.
        (0, _) => Reading::Value(waiting as f64),
        (_, 0) => no_target(),
        (all, warm) => {
            let each = observed.in_flight as f64 / warm as f64;
            Reading::Value(each + waiting as f64 / f64::from(all))
        }
    }
}

/// Requests in the queue, per target.
fn queue_length(observed: &Observation, waiting: usize) -> Reading {
    Reading::Value(waiting as f64 / f64::from(observed.in_service.max(1)))
}

/// The 95th percentile in milliseconds. `times` are those of the requests that have ended since
/// the last sample.
///
/// A measured time holds for a period, so that few requests make datapoints as well. After that
/// it is 0 if there are no requests, and unknown if there are some.
fn latency_p95(
    times: &Durations,
    is_idle: bool,
    last: &mut Option<MeasuredP95>,
    now: Duration,
    period: Duration,
) -> Reading {
    if let Some(seconds) = times.quantile(0.95) {
        *last = Some(MeasuredP95 { seconds, at: now });
    }
    match *last {
        Some(MeasuredP95 { seconds, at }) if now.saturating_sub(at) < period => {
            Reading::Value(seconds * 1000.0)
        }
        _ if is_idle => Reading::Value(0.0),
        _ => Reading::Missing("no request has ended for a period".to_owned()),
    }
}

fn no_target() -> Reading {
    Reading::Missing("no target is in service and warm".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(in_service: u32, warm: u16) -> Observation {
        Observation {
            in_service,
            warm: (1..=warm).map(|n| ([127, 0, 0, 1], n).into()).collect(),
            in_flight: 30,
            requests: 60,
            elapsed: Some(Duration::from_secs(2)),
            ..Observation::default()
        }
    }

    #[test]
    fn requests_are_per_second_and_target() {
        assert_eq!(requests_per_target(&observed(3, 3)), Reading::Value(10.0));
        assert_eq!(requests_per_target(&observed(3, 0)), no_target());
        let first = Observation {
            elapsed: None,
            ..observed(1, 1)
        };
        assert!(matches!(requests_per_target(&first), Reading::Missing(_)));
    }

    #[test]
    fn a_queued_request_is_in_flight_on_all_targets_warm_or_not() {
        assert_eq!(
            in_flight_per_target(&observed(3, 3), 0),
            Reading::Value(10.0)
        );
        assert_eq!(
            in_flight_per_target(&observed(4, 3), 8),
            Reading::Value(12.0)
        );
        assert_eq!(in_flight_per_target(&observed(4, 0), 8), no_target());
        assert_eq!(
            in_flight_per_target(&observed(0, 0), 8),
            Reading::Value(8.0)
        );
        assert_eq!(queue_length(&observed(4, 3), 8), Reading::Value(2.0));
        assert_eq!(queue_length(&observed(0, 0), 8), Reading::Value(8.0));
    }

    #[test]
    fn a_response_time_stands_for_a_period_and_silence_is_zero() {
        let (mut last, period) = (None, Duration::from_secs(3));
        let (none, mut one) = (Durations::default(), Durations::default());
        one.count(Duration::from_millis(250));
        let mut at = |second, times, is_idle| {
            let now = Duration::from_secs(second);
            latency_p95(times, is_idle, &mut last, now, period)
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
