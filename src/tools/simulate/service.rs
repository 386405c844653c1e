//! A model of the service: how a number of replicas serves a number of requests.
//!
//! The replicas are one queue with many servers, M/M/c: requests arrive at random and take a
//! random time. A load balancer that picks the replica with the fewest requests comes close to it;
//! round robin is a little slower. Requests above capacity wait and are served in their order,
//! until their clients give up.

use std::time::Duration;

/// Time after which the client of a waiting request gives up, seconds: that of k6 and ALB.
const CLIENT_TIMEOUT: f64 = 60.0;

/// Highest utilisation for which the steady state of M/M/c is used. A second is too short for the
/// long queue of a higher one; there the backlog decides how long requests wait.
const NEARLY_FULL: f64 = 0.99;

/// The model of one replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// Service time of a request, seconds; above 0.
    time: f64,
    /// Requests that a replica serves at once: its cores.
    servers: u32,
    /// Time from the decision until a new replica serves.
    pub start: Duration,
}

/// How the requests of one second were served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServedSecond {
    /// Used part of the replicas' time, 0 to 1; `None` without replicas.
    pub utilisation: Option<f64>,
    /// Average number of requests that wait for a server.
    pub waiting: f64,
    /// Average number of requests in flight, including those that wait: Little's law.
    pub in_flight: f64,
    /// Whether more requests arrived, or waited, than could be served.
    pub overloaded: bool,
    /// Requests given up by their clients.
    pub lost: f64,
    /// The response time.
    pub response: ResponseTime,
}

/// The distribution of the response time of one second's requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResponseTime {
    /// Seconds that all requests wait for the backlog of earlier seconds.
    backlog: f64,
    /// Probability that a request also waits for a server.
    wait: f64,
    /// Rate at which that wait ends, per second.
    wait_rate: f64,
    /// Rate at which a server finishes requests, per second.
    rate: f64,
}

/// The number of requests left waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Queue(f64);

impl Service {
    /// Replicas that serve `capacity` requests per second each; `None` unless it is above 0.
    pub fn with_capacity(capacity: f64, start: Duration) -> Option<Self> {
        let time = 1.0 / capacity;
        let is_legal = capacity > 0.0 && time.is_normal();
        is_legal.then_some(Self {
            time,
            servers: 1,
            start,
        })
    }

    /// Replicas with `cpus` cores that use `time` of CPU time for each request; `None` unless both
    /// are above 0.
    pub fn with_cpu_time(time: Duration, cpus: f64, start: Duration) -> Option<Self> {
        let servers = cpus.floor().clamp(1.0, 1024.0);
        // Cores per server.
        let share = cpus / servers;
        let time = time.as_secs_f64() / share;
        let is_legal = cpus > 0.0 && time.is_normal();
        is_legal.then_some(Self {
            time,
            servers: servers as u32,
            start,
        })
    }

    /// Capacity of one replica, requests per second.
    pub fn capacity(&self) -> f64 {
        f64::from(self.servers) / self.time
    }

    /// How `replicas` serve requests that arrive at a steady rate while none wait.
    pub fn steady(&self, replicas: u32, rate: f64) -> ServedSecond {
        Queue::default().second(self, replicas, rate)
    }
}

impl Queue {
    /// Serves the requests of one second.
    pub(super) fn second(
        &mut self,
        service: &Service,
        replicas: u32,
        requests: f64,
    ) -> ServedSecond {
        let capacity = service.capacity() * f64::from(replicas);
        let demand = self.0 + requests;
        let left = (demand - capacity).max(0.0);
        // Without replicas the first one to start will serve the waiting requests.
        let ahead = capacity.max(service.capacity());
        self.0 = left.min(CLIENT_TIMEOUT * ahead);
        let servers = service.servers.saturating_mul(replicas.max(1));
        let load = (requests / ahead).min(NEARLY_FULL);
        let response = ResponseTime {
            backlog: self.0 / ahead,
            wait: erlang_c(servers, load),
            wait_rate: ahead * (1.0 - load),
            rate: 1.0 / service.time,
        };
        let waiting = self.0 + response.wait * load / (1.0 - load);
        let busy = demand.min(capacity) * service.time;
        ServedSecond {
            utilisation: (replicas > 0).then(|| demand.min(capacity) / capacity),
            waiting,
            in_flight: waiting + busy,
            overloaded: left > 0.0,
            lost: left - self.0,
            response,
        }
    }
}

impl ResponseTime {
    /// Probability that a response takes longer than `seconds`.
    ///
    /// Waiting time and service time are independent; the former is 0 with probability
    /// 1 - C and exponential otherwise, the latter exponential (L. Kleinrock, Queueing
    /// Systems, vol. 1, 1975, § 3.5 for M/M/c; their sum by convolution).
    pub fn exceeds(&self, seconds: f64) -> f64 {
        let time = seconds - self.backlog;
        if time <= 0.0 {
            return 1.0;
        }
        let (wait, serve) = (self.wait_rate, self.rate);
        let served = (-serve * time).exp();
        let both = if (wait - serve).abs() < 1e-6 * serve {
            (1.0 + serve * time) * served
        } else {
            (wait * served - serve * (-wait * time).exp()) / (wait - serve)
        };
        (1.0 - self.wait) * served + self.wait * both
    }

    /// The quantile of the response time, seconds; `part` is 0 to 1.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(part, |seconds| self.exceeds(seconds))
    }
}

/// The value that is exceeded with probability 1 - `part`.
pub(super) fn quantile(part: f64, exceeds: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e-6);
    while exceeds(high) > 1.0 - part && high < 1e6 {
        (low, high) = (high, high * 2.0);
    }
    // Each step halves the interval: 24 of them leave seven digits.
    for _ in 0..24 {
        let middle = f64::midpoint(low, high);
        if exceeds(middle) > 1.0 - part {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Probability that a request finds all servers busy: Erlang's C formula, by the recursion of the
/// B formula, which neither overflows nor loses digits. `load` is per server, below 1.
fn erlang_c(servers: u32, load: f64) -> f64 {
    let offered = f64::from(servers) * load;
    let mut blocked = 1.0;
    for server in 1..=servers {
        blocked = offered * blocked / (f64::from(server) + offered * blocked);
    }
    blocked / (1.0 - load * (1.0 - blocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) {
        assert!(
            (value - wanted).abs() < 1e-3 * wanted.abs().max(1e-3),
            "{value} is not {wanted}"
        );
    }

    fn service() -> Service {
        Service::with_capacity(100.0, Duration::from_secs(2)).unwrap()
    }

    #[test]
    fn erlangs_c_agrees_with_published_tables() {
        // One server is busy as often as it is loaded.
        near(erlang_c(1, 0.7), 0.7);
        // a = 2 of c = 3: 4/9. a = 8 of c = 10: 0.409.
        near(erlang_c(3, 2.0 / 3.0), 4.0 / 9.0);
        near(erlang_c(10, 0.8), 0.4092);
        assert!(erlang_c(0, 0.5).is_finite());
        assert!(erlang_c(100_000, 0.99) > 0.0);
        near(erlang_c(5, 0.0), 0.0);
    }

    #[test]
    fn one_replica_is_the_queue_with_one_server() {
        // M/M/1: the response time is exponential with the rate that is left.
        let served = service().steady(1, 60.0);
        near(served.response.quantile(0.95), 20.0_f64.ln() / 40.0);
        near(served.response.quantile(0.5), 2.0_f64.ln() / 40.0);
        near(served.utilisation.unwrap(), 0.6);
        near(served.in_flight, 0.6 / 0.4);
        near(served.waiting, 0.36 / 0.4);
        assert!(!served.overloaded);
    }

    #[test]
    fn littles_law_holds_for_many_replicas() {
        let served = service().steady(4, 300.0);
        // The mean of the response time is the area below the tail.
        let step = 1e-4;
        let mean: f64 = (0..20_000)
            .map(|n| served.response.exceeds(f64::from(n) * step) * step)
            .sum();
        assert!(
            (served.in_flight / (300.0 * mean) - 1.0).abs() < 0.01,
            "{mean}"
        );
    }

    #[test]
    fn requests_above_capacity_wait_then_are_served_or_lost() {
        let (service, mut queue) = (service(), Queue::default());
        let first = queue.second(&service, 1, 250.0);
        assert!(first.overloaded);
        near(first.utilisation.unwrap(), 1.0);
        near(queue.0, 150.0);
        // They wait a second and a half before they are served.
        assert!(first.response.quantile(0.95) > 1.5);
        assert!(queue.second(&service, 1, 0.0).overloaded);
        let last = queue.second(&service, 1, 20.0);
        assert!(!last.overloaded);
        near(last.utilisation.unwrap(), 0.7);
        near(queue.0, 0.0);
        let burst = queue.second(&service, 1, 10_000.0);
        near(queue.0, CLIENT_TIMEOUT * 100.0);
        near(burst.lost, 10_000.0 - 100.0 - CLIENT_TIMEOUT * 100.0);
    }

    #[test]
    fn without_replicas_requests_wait_for_the_first() {
        let (service, mut queue) = (service(), Queue::default());
        let served = queue.second(&service, 0, 40.0);
        assert_eq!(served.utilisation, None);
        assert!(served.overloaded);
        assert!(served.waiting >= 40.0);
        near(served.response.backlog, 0.4);
        near(queue.second(&service, 1, 0.0).utilisation.unwrap(), 0.4);
    }

    #[test]
    fn cpu_time_and_cores_make_the_capacity() {
        let start = Duration::ZERO;
        let of = |millis, cpus| Service::with_cpu_time(Duration::from_millis(millis), cpus, start);
        near(of(20, 1.0).unwrap().capacity(), 50.0);
        near(of(20, 4.0).unwrap().capacity(), 200.0);
        near(of(20, 0.5).unwrap().capacity(), 25.0);
        near(of(20, 2.5).unwrap().capacity(), 125.0);
        assert_eq!(of(20, 0.0), None);
        assert_eq!(of(0, 1.0), None);
        for capacity in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Service::with_capacity(capacity, start), None);
        }
    }
}
