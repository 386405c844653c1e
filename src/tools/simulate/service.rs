//! A model of the service: what a number of replicas makes of a number of requests.
//!
//! The replicas are one queue with many servers, M/M/c: requests come at random and take a
//! random time. That is what a load balancer comes near to that picks the replica with the
//! fewest requests; round robin is a little slower. What comes above capacity waits and is
//! served later, first come, first served, until whoever waits has lost patience.

use std::time::Duration;

/// How long a request waits before its client gives up: k6's and ALB's 60 seconds.
const PATIENCE: f64 = 60.0;

/// A second is too short for the queue that M/M/c has in the long run when it is nearly full:
/// beyond this utilisation the backlog says how long requests wait.
const NEARLY_FULL: f64 = 0.99;

/// What one replica can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// Seconds that a request takes on one of the replica's servers; above 0.
    time: f64,
    /// How many requests a replica works on at once: its cores.
    servers: u32,
    /// From the decision until a new replica serves.
    pub start: Duration,
}

/// What became of the requests of one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// How much of the replicas' time was used, 0 to 1; `None` without replicas.
    pub utilisation: Option<f64>,
    /// Requests that wait for a server, on average.
    pub waiting: f64,
    /// Requests in flight, those that wait included: Little's law.
    pub in_flight: f64,
    /// Whether more came than the replicas could serve, so that some were left waiting.
    pub overloaded: bool,
    /// Requests whose clients gave up.
    pub lost: f64,
    /// How long a response took.
    pub response: Response,
}

/// The distribution of the response time of one second's requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// Seconds that all of them wait for those that were left before.
    backlog: f64,
    /// How likely a request waits for a server besides.
    wait: f64,
    /// At which rate that wait ends, per second.
    wait_rate: f64,
    /// At which rate a server finishes requests, per second.
    rate: f64,
}

/// Requests that were left waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Queue(f64);

impl Service {
    /// Replicas that serve so many requests per second each, above 0.
    pub fn with_capacity(capacity: f64, start: Duration) -> Option<Self> {
        let time = 1.0 / capacity;
        let is_legal = capacity > 0.0 && time.is_normal();
        is_legal.then_some(Self {
            time,
            servers: 1,
            start,
        })
    }

    /// Replicas with so many cores, above 0, each request using so much CPU time.
    pub fn with_cpu_time(time: Duration, cpus: f64, start: Duration) -> Option<Self> {
        let servers = cpus.floor().clamp(1.0, 1024.0);
        // What part of a core a server has.
        let share = cpus / servers;
        let time = time.as_secs_f64() / share;
        let is_legal = cpus > 0.0 && time.is_normal();
        is_legal.then_some(Self {
            time,
            servers: servers as u32,
            start,
        })
    }

    /// Most requests per second of one replica.
    pub fn capacity(&self) -> f64 {
        f64::from(self.servers) / self.time
    }

    /// What so many replicas make of requests that come at a steady rate and find nobody
    /// waiting.
    pub fn steady(&self, replicas: u32, rate: f64) -> Moment {
        Queue::default().second(self, replicas, rate)
    }
}

impl Queue {
    /// Lets a second pass in which so many requests come.
    pub(super) fn second(&mut self, service: &Service, replicas: u32, requests: f64) -> Moment {
        let capacity = service.capacity() * f64::from(replicas);
        let demand = self.0 + requests;
        let left = (demand - capacity).max(0.0);
        // Without replicas the first one that starts will serve those that wait.
        let ahead = capacity.max(service.capacity());
        self.0 = left.min(PATIENCE * ahead);
        let servers = service.servers.saturating_mul(replicas.max(1));
        let load = (requests / ahead).min(NEARLY_FULL);
        let response = Response {
            backlog: self.0 / ahead,
            wait: erlang_c(servers, load),
            wait_rate: ahead * (1.0 - load),
            rate: 1.0 / service.time,
        };
        let waiting = self.0 + response.wait * load / (1.0 - load);
        let busy = demand.min(capacity) * service.time;
        Moment {
            utilisation: (replicas > 0).then(|| demand.min(capacity) / capacity),
            waiting,
            in_flight: waiting + busy,
            overloaded: left > 0.0,
            lost: left - self.0,
            response,
        }
    }
}

impl Response {
    /// How likely a response takes longer than so many seconds.
    ///
    /// Time in line and time of service are independent; the former is 0 with probability
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

    /// The time, in seconds, that a part of the responses does not exceed, such as 0.95.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(part, |seconds| self.exceeds(seconds))
    }
}

/// The time that is exceeded with probability 1 - `part`.
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

/// How likely a request finds all servers busy: Erlang's C formula, by the recursion of his B
/// formula, which neither overflows nor loses digits. `load` is per server, below 1.
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
    fn erlangs_c_is_that_of_the_tables() {
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
        let moment = service().steady(1, 60.0);
        near(moment.response.quantile(0.95), 20.0_f64.ln() / 40.0);
        near(moment.response.quantile(0.5), 2.0_f64.ln() / 40.0);
        near(moment.utilisation.unwrap(), 0.6);
        near(moment.in_flight, 0.6 / 0.4);
        near(moment.waiting, 0.36 / 0.4);
        assert!(!moment.overloaded);
    }

    #[test]
    fn littles_law_holds_for_many_replicas() {
        let moment = service().steady(4, 300.0);
        // The mean of the response time is the area below the tail.
        let step = 1e-4;
        let mean: f64 = (0..20_000)
            .map(|n| moment.response.exceeds(f64::from(n) * step) * step)
            .sum();
        assert!(
            (moment.in_flight / (300.0 * mean) - 1.0).abs() < 0.01,
            "{mean}"
        );
    }

    #[test]
    fn what_is_above_capacity_waits_then_is_served_or_lost() {
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
        near(queue.0, PATIENCE * 100.0);
        near(burst.lost, 10_000.0 - 100.0 - PATIENCE * 100.0);
    }

    #[test]
    fn without_replicas_requests_wait_for_the_first() {
        let (service, mut queue) = (service(), Queue::default());
        let moment = queue.second(&service, 0, 40.0);
        assert_eq!(moment.utilisation, None);
        assert!(moment.overloaded);
        assert!(moment.waiting >= 40.0);
        near(moment.response.backlog, 0.4);
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
