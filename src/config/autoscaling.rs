//! `autoscaling`, checked: how many replicas a group has, and why.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

/// How the number of a group's replicas follows its load.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaling {
    /// Fewest replicas; 0 scales to zero, and requests wait for the first replica then.
    pub min: u32,
    /// Most replicas; at least `min` and at least 1.
    pub max: u32,
    /// The profile that `timing` comes from, for display.
    pub profile: Profile,
    /// How the alarms of target tracking are evaluated, and what follows them.
    pub timing: Timing,
    /// Whether target tracking may take replicas away.
    pub scale_in: bool,
    /// Any of them may scale out, all must agree to scale in.
    pub target_tracking: Vec<TargetTracking>,
    /// Each has an alarm of its own.
    pub step_scaling: Vec<StepScaling>,
    /// Times at which `min` and `max` change.
    pub schedule: Vec<Scheduled>,
    /// Scales before the load comes.
    pub predictive: Option<Predictive>,
    /// File that gets a line of CSV for each evaluation; `None` writes none.
    pub record: Option<PathBuf>,
}

impl Autoscaling {
    /// Between `min` and `max` replicas with the timing of `profile`, and no policy yet.
    #[must_use]
    pub fn without_policies(profile: Profile, min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            profile,
            timing: Timing::of(profile),
            scale_in: true,
            target_tracking: Vec::new(),
            step_scaling: Vec::new(),
            schedule: Vec::new(),
            predictive: None,
            record: None,
        }
    }
}

/// A set of timings under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Weir's own: samples of 1 s, out within seconds, in after a stable minute.
    Fast,
    /// CloudWatch's basic alarms: 3 periods of 60 s out, 15 in, cooldowns of 300 s.
    Aws,
    /// As [`Self::Aws`] with periods of 20 s.
    AwsHighResolution,
}

/// How alarms are evaluated and how long their actions hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The time over which samples are averaged to one datapoint.
    pub period: Duration,
    /// Datapoints in a row above the target that scale out.
    pub out_periods: u32,
    /// Datapoints in a row below that scale in.
    pub in_periods: u32,
    /// Factor of the target above which a datapoint counts for a scale-out: 1.0 or more.
    pub out_above: f64,
    /// Factor of the target below which a datapoint counts for a scale-in: 0.9 on AWS.
    pub in_below: f64,
    /// The time after a scale-out in which only a larger one proceeds.
    pub out_cooldown: Duration,
    /// The time after any scaling in which no scale-in proceeds.
    pub in_cooldown: Duration,
    /// The time in which a new replica in service counts as capacity and not in the metric.
    pub warm_up: Duration,
}

/// A measured quantity of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// CPU: percent of what the replicas may use, average over the service.
    Cpu,
    /// Memory: percent of what the replicas may use, average over the service.
    Memory,
    /// Requests per second and target.
    RequestsPerTarget,
    /// Requests in flight per target, those that wait included.
    InFlightPerTarget,
    /// Requests in the wait queue, per target.
    QueueLength,
    /// 95th percentile of the response time, in milliseconds.
    LatencyP95,
    /// A series of the replicas' Prometheus page, average over the replicas that answer.
    Custom(CustomMetric),
}

/// A series of the page that each replica serves for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomMetric {
    /// The name; all series of that name that have the labels are added up.
    pub name: String,
    /// Labels it must have.
    pub labels: Vec<(String, String)>,
    /// Path of the page.
    pub path: String,
    /// Port of the page; `None` takes the target's own.
    pub port: Option<u16>,
    /// Whether the series is a counter, so that its growth per second is the metric.
    pub rate: bool,
}

/// Keeps a metric near a value by the rule of three.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetTracking {
    /// A metric in inverse proportion to the number of replicas.
    pub metric: Metric,
    /// Above 0, in the metric's unit.
    pub target: f64,
    /// Whether it may take replicas away.
    pub scale_in: bool,
}

/// Changes the number of replicas by how far a metric is beyond a threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct StepScaling {
    /// The metric of the alarm.
    pub metric: Metric,
    /// Which datapoints breach the threshold.
    pub comparison: Comparison,
    /// In the metric's unit.
    pub threshold: f64,
    /// Datapoints in a row that raise the alarm.
    pub periods: u32,
    /// The time over which samples are averaged to one datapoint.
    pub period: Duration,
    /// The unit of the steps' numbers.
    pub adjustment: Adjustment,
    /// Without gaps and overlaps, lowest first.
    pub steps: Vec<Step>,
    /// Least change of a percentage, in replicas.
    pub min_magnitude: Option<u32>,
    /// The time after an action in which only a larger one of the same direction proceeds.
    pub cooldown: Duration,
}

/// When a datapoint breaches a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

/// AWS's adjustment types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// `ChangeInCapacity`: replicas to add, or to take away.
    Change,
    /// `ExactCapacity`: replicas to have.
    Exact,
    /// `PercentChangeInCapacity`.
    Percent,
}

/// One interval of a step policy, relative to the threshold. Above it the lower bound is part
/// of it and the upper is not; below it the other way round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Lower bound; `None` is minus infinity.
    pub lower: Option<f64>,
    /// Upper bound; `None` is infinity.
    pub upper: Option<f64>,
    /// The change, in the unit of the policy's adjustment.
    pub by: i32,
}

/// Other bounds from a time on, until the next scheduled action that sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// The times of the action.
    pub when: When,
    /// New `min`; `None` leaves it as it is.
    pub min: Option<u32>,
    /// New `max`; `None` leaves it as it is. At least one of the two is there.
    pub max: Option<u32>,
}

/// Times of a scheduled action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    At(Timestamp),
    /// Again and again, counted from the Unix epoch: a whole number of minutes.
    Rate(Duration),
    /// Five fields as `crontab(5)` has them, in a named time zone.
    Cron {
        /// Minute, hour, day of month, month, day of week.
        expression: String,
        /// A name of the IANA database.
        timezone: String,
    },
}

/// Scales by what the load was at this hour of earlier days.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictive {
    /// The metric that is forecast.
    pub metric: Metric,
    /// The value to keep the metric near, as in target tracking.
    pub target: f64,
    /// Whether the forecast raises the number of replicas, or is only shown.
    pub scale: bool,
    /// How long before the hour begins it is acted on: up to an hour.
    pub buffer: Duration,
    /// File that keeps the history over restarts; `None` keeps it in memory.
    pub history: Option<PathBuf>,
}

impl Autoscaling {
    /// Whether there may be no replicas at some time, so that requests wait for the first.
    pub fn may_be_zero(&self) -> bool {
        self.min == 0 || self.schedule.iter().any(|action| action.min == Some(0))
    }

    /// The most replicas there may be at any time.
    pub fn most(&self) -> u32 {
        self.schedule
            .iter()
            .filter_map(|action| action.max)
            .fold(self.max, u32::max)
    }
}

impl Timing {
    /// The timing of a profile.
    pub const fn of(profile: Profile) -> Self {
        match profile {
            Profile::Fast => Self {
                period: Duration::from_secs(1),
                out_periods: 2,
                in_periods: 60,
                out_above: 1.1,
                in_below: 0.9,
                out_cooldown: Duration::from_secs(5),
                in_cooldown: Duration::from_secs(60),
                warm_up: Duration::from_secs(5),
            },
            Profile::Aws => Self {
                period: Duration::from_secs(60),
                out_periods: 3,
                in_periods: 15,
                out_above: 1.0,
                in_below: 0.9,
                out_cooldown: Duration::from_secs(300),
                in_cooldown: Duration::from_secs(300),
                warm_up: Duration::ZERO,
            },
            Profile::AwsHighResolution => Self {
                period: Duration::from_secs(20),
                ..Self::of(Profile::Aws)
            },
        }
    }
}

impl Profile {
    /// All of them, Weir's own first.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Aws, Self::AwsHighResolution];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Aws => "aws",
            Self::AwsHighResolution => "aws_high_resolution",
        }
    }
}

impl Metric {
    /// The word in the configuration, in `/api/v1/autoscaling` and in logs; of a custom metric
    /// its own name.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::RequestsPerTarget => "requests_per_target",
            Self::InFlightPerTarget => "in_flight_per_target",
            Self::QueueLength => "queue_length",
            Self::LatencyP95 => "latency_p95",
            Self::Custom(custom) => &custom.name,
        }
    }
}
