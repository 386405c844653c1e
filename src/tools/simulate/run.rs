//! The closed loop of a simulation: load, service, metrics, decision, replicas.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::metric::{is_short, reading};
use super::replica_set::ReplicaSet;
use super::rules::Controller;
use super::service::Queue;
use super::{LoadCurve, ScalingRules, ServedSecond, Service};
use crate::autoscale::{Now, Sample};
use crate::config::Autoscaling;

/// The input of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Name of the target group.
    pub group: &'a str,
    /// The group's policies.
    pub policy: &'a Autoscaling,
    /// The model of a replica.
    pub service: Service,
    /// The load.
    pub curve: &'a LoadCurve,
    /// Replicas that serve at the start.
    pub first: u32,
    /// Time at which the curve starts, for scheduled actions.
    pub start: Timestamp,
}

/// The result of a simulation with certain rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The rules.
    pub rules: ScalingRules,
    /// One for each second.
    pub rows: Vec<Row>,
    /// The changes of the desired count.
    pub changes: Vec<Change>,
}

/// One second of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Requests that arrived.
    pub load: f64,
    /// The desired count at its end.
    pub desired: u32,
    /// Replicas that served.
    pub running: u32,
    /// Replicas that were starting, or too young to be in the metric.
    pub warming: u32,
    /// How the requests were served.
    pub served: ServedSecond,
    /// Whether the desired count before the decision was too small: under a steady load like this
    /// the metric would be more than a tenth above its target.
    pub(super) lacks_desired: bool,
    /// Whether too few replicas served, in the same sense.
    pub(super) lacks_running: bool,
}

/// A change of the desired count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Seconds since the start.
    pub second: u64,
    /// The count before.
    pub from: u32,
    /// The count after.
    pub to: u32,
    /// The calculation of the count, for messages.
    pub why: String,
}

/// Simulates a whole curve.
pub fn run(setting: &Setting<'_>, rules: ScalingRules) -> Run {
    let mut controller = rules.controller(setting.group, setting.policy);
    let mut state = State::new(setting);
    let (mut rows, mut changes) = (Vec::with_capacity(setting.curve.seconds()), Vec::new());
    for (second, load) in (0..).zip(setting.curve.rates()) {
        let (row, change) = state.second(setting, &mut controller, second, *load);
        rows.push(row);
        changes.extend(change);
    }
    Run {
        rules,
        rows,
        changes,
    }
}

/// The state between two seconds.
struct State {
    replicas: ReplicaSet,
    queue: Queue,
    max: u32,
}

impl State {
    fn new(setting: &Setting<'_>) -> Self {
        Self {
            replicas: ReplicaSet::new(setting.first),
            queue: Queue::default(),
            max: setting.policy.max,
        }
    }

    /// Simulates a second: requests are served, then the metrics measured and the count decided.
    fn second(
        &mut self,
        setting: &Setting<'_>,
        controller: &mut Controller,
        second: i64,
        load: f64,
    ) -> (Row, Option<Change>) {
        let (policy, service) = (setting.policy, &setting.service);
        let (running, from) = (self.replicas.running(second), self.replicas.desired());
        let served = self.queue.second(service, running, load);
        let is_short = |replicas| replicas < self.max && is_short(policy, service, replicas, load);
        let (lacks_desired, lacks_running) = (is_short(from), is_short(running));

        let capacity = self.replicas.capacity(second, controller.warm_up());
        let readings = controller.metrics().into_iter().map(|metric| {
            let reading = reading(&metric, &served, running, load);
            (metric, reading)
        });
        let end = second + 1;
        let decision = controller.decide(Sample {
            now: now(setting.start, end),
            capacity,
            readings: readings.collect(),
        });
        let start = setting.service.start.as_secs_f64().ceil() as i64;
        self.replicas.set(decision.desired, end + start);
        self.max = decision.max;
        let row = Row {
            load,
            desired: decision.desired,
            running,
            warming: capacity.warming,
            served,
            lacks_desired,
            lacks_running,
        };
        let change = (decision.desired != from).then(|| Change {
            second: end.unsigned_abs(),
            from,
            to: decision.desired,
            why: decision.why,
        });
        (row, change)
    }
}

/// A time of the simulation on both clocks.
fn now(start: Timestamp, second: i64) -> Now {
    let wall = start.saturating_add(SignedDuration::from_secs(second));
    Now {
        uptime: Duration::from_secs(second.unsigned_abs()),
        wall: wall.unwrap_or(Timestamp::MAX),
    }
}
