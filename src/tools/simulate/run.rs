//! The closed loop: load, service, metrics, decision, replicas, and again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::crew::Crew;
use super::metric::{is_short, reading};
use super::rules::Engine;
use super::service::Queue;
use super::{LoadCurve, Moment, Rules, Service};
use crate::autoscale::{Now, Sample};
use crate::config::Autoscaling;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The target group's name.
    pub group: &'a str,
    /// How its replicas follow the load.
    pub policy: &'a Autoscaling,
    /// What a replica can do.
    pub service: Service,
    /// The requests.
    pub curve: &'a LoadCurve,
    /// How many replicas serve at the beginning.
    pub first: u32,
    /// When the curve begins, for scheduled actions.
    pub start: Timestamp,
}

/// What would have happened under some rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Which.
    pub rules: Rules,
    /// One for each second.
    pub rows: Vec<Row>,
    /// Each time another number of replicas was desired.
    pub changes: Vec<Change>,
}

/// A second of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Requests that came.
    pub load: f64,
    /// How many replicas there should be at its end.
    pub desired: u32,
    /// How many served.
    pub running: u32,
    /// How many were starting, or too young to be in the metric.
    pub warming: u32,
    /// What became of the requests.
    pub moment: Moment,
    /// Whether more replicas had to be asked for, before that was decided: the metric of a
    /// steady load like this would be more than a tenth above its target.
    pub(super) is_short: bool,
    /// Whether more replicas had to serve.
    pub(super) is_scarce: bool,
}

/// Another number of replicas is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Seconds since the beginning.
    pub second: u64,
    /// How many before.
    pub from: u32,
    /// How many now.
    pub to: u32,
    /// From what the number came, for people.
    pub why: String,
}

/// Simulates a whole curve.
pub fn run(setting: &Setting<'_>, rules: Rules) -> Run {
    let mut engine = rules.engine(setting.group, setting.policy);
    let mut state = State::new(setting);
    let (mut rows, mut changes) = (Vec::with_capacity(setting.curve.seconds()), Vec::new());
    for (second, load) in (0..).zip(setting.curve.rates()) {
        let (row, change) = state.second(setting, &mut engine, second, *load);
        rows.push(row);
        changes.extend(change);
    }
    Run {
        rules,
        rows,
        changes,
    }
}

/// What one second leaves to the next.
struct State {
    crew: Crew,
    queue: Queue,
    max: u32,
}

impl State {
    fn new(setting: &Setting<'_>) -> Self {
        Self {
            crew: Crew::new(setting.first),
            queue: Queue::default(),
            max: setting.policy.max,
        }
    }

    /// Requests come and are served; at the second's end it is measured and decided.
    fn second(
        &mut self,
        setting: &Setting<'_>,
        engine: &mut Engine,
        second: i64,
        load: f64,
    ) -> (Row, Option<Change>) {
        let (policy, service) = (setting.policy, &setting.service);
        let (running, from) = (self.crew.running(second), self.crew.desired());
        let moment = self.queue.second(service, running, load);
        let is_short = |replicas| replicas < self.max && is_short(policy, service, replicas, load);
        let (is_short, is_scarce) = (is_short(from), is_short(running));

        let capacity = self.crew.capacity(second, engine.warm_up());
        let readings = engine.metrics().into_iter().map(|metric| {
            let reading = reading(&metric, &moment, running, load);
            (metric, reading)
        });
        let end = second + 1;
        let verdict = engine.decide(Sample {
            now: now(setting.start, end),
            capacity,
            readings: readings.collect(),
        });
        let start = setting.service.start.as_secs_f64().ceil() as i64;
        self.crew.set(verdict.desired, end + start);
        self.max = verdict.max;
        let row = Row {
            load,
            desired: verdict.desired,
            running,
            warming: capacity.warming,
            moment,
            is_short,
            is_scarce,
        };
        let change = (verdict.desired != from).then(|| Change {
            second: end.unsigned_abs(),
            from,
            to: verdict.desired,
            why: verdict.why,
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
