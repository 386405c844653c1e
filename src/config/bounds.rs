//! The ranges values must lie in, and why they end there.

use std::ops::RangeInclusive;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Deadlines: below a millisecond nothing can answer, above a day it is a mistake.
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// Phases that may be left out: zero skips them.
pub(super) const PHASE: RangeInclusive<Duration> = Duration::ZERO..=DAY;

/// Health check interval: below 10 ms the checks are the load.
pub(super) const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;

/// Worker threads: more than any machine has cores.
pub(super) const WORKERS: RangeInclusive<usize> = 1..=1024;

/// Connections of a listener: what Linux can be made to open as files.
pub(super) const CONNECTIONS: RangeInclusive<usize> = 1..=10_000_000;

/// Bytes of a head: hyper needs 8 KiB, and nobody sends a MiB in good faith.
pub(super) const HEAD: RangeInclusive<u64> = 8 * 1024..=1024 * 1024;

/// Fields of a head.
pub(super) const FIELDS: RangeInclusive<usize> = 1..=1000;

/// Bytes of a body. A limit of 0 allows requests without one.
pub(super) const BODY: RangeInclusive<u64> = 0..=1 << 50;

/// Bytes of a body that is held to find its hash key: each request in flight may hold as much.
pub(super) const HASHED_BODY: RangeInclusive<u64> = 1..=1024 * 1024;

/// Weights, ALB's.
pub(super) const WEIGHT: RangeInclusive<u16> = 0..=999;

/// Ports that can be connected to.
pub(super) const PORT: RangeInclusive<u16> = 1..=u16::MAX;

/// Checks in a row. ALB's begin at 2 and end at 10; neither end has a reason here.
pub(super) const THRESHOLD: RangeInclusive<u32> = 1..=100;

/// Statuses a health check may accept, ALB's.
pub(super) const MATCHER: RangeInclusive<u16> = 200..=499;

/// Statuses of a fixed response: a 1xx is not an answer.
pub(super) const FIXED_STATUS: RangeInclusive<u16> = 200..=599;

/// Targets that must be healthy.
pub(super) const MIN_HEALTHY: RangeInclusive<u32> = 1..=10_000;

/// Idle connections per worker and target.
pub(super) const MAX_IDLE: RangeInclusive<usize> = 0..=10_000;

/// Most replicas of one group on one machine.
pub(super) const REPLICAS: u32 = 256;

/// Most replicas of one group where an engine places them.
pub(super) const ENGINE_REPLICAS: u32 = 10_000;

/// Cores of a replica: the kernel counts CPU time in hundredths of a second.
pub(super) const CPUS: RangeInclusive<f64> = 0.01..=1024.0;

/// Memory of a replica, bytes.
pub(super) const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 44;

/// Requests before a replica becomes a target: more are a load test.
pub(super) const WARM_UP_REQUESTS: RangeInclusive<u32> = 1..=10_000;

/// Between two questions to whoever runs the replicas; each may start a process.
pub(super) const LIST_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=HOUR;

/// Characters of somebody else's token.
pub(super) const OTHERS_TOKEN: RangeInclusive<usize> = 1..=1024;

/// What a metric may be at most, and a threshold at least.
pub(super) const METRIC: f64 = 1e12;

/// Seconds in a datapoint of an alarm: samples come once a second.
pub(super) const PERIOD: RangeInclusive<Duration> = Duration::from_secs(1)..=HOUR;

/// Datapoints in a row.
pub(super) const PERIODS: RangeInclusive<u32> = 1..=3600;

/// All datapoints of an alarm together, CloudWatch's.
pub(super) const ALARM: Duration = DAY;

/// How far above the target scales out.
pub(super) const OUT_ABOVE: RangeInclusive<f64> = 1.0..=10.0;

/// How far below the target scales in.
pub(super) const IN_BELOW: RangeInclusive<f64> = 0.01..=1.0;

/// Cooldowns and warm-up; longer ones are no reaction to load.
pub(super) const COOLDOWN: RangeInclusive<Duration> = Duration::ZERO..=DAY;

/// Policies of a kind, AWS's.
pub(super) const POLICIES: usize = 50;

/// Steps of a policy, AWS's.
pub(super) const STEPS: usize = 20;

/// Scheduled actions, AWS's.
pub(super) const SCHEDULE: usize = 200;

/// Replicas that a step adds, takes away or asks for.
pub(super) const STEP_CHANGE: RangeInclusive<i32> = -10_000..=10_000;

/// Percent by which a step changes their number.
pub(super) const STEP_PERCENT: RangeInclusive<i32> = -100..=10_000;

/// `rate`: Weir looks at schedules once a minute, and a year is a `cron`'s job.
pub(super) const RATE_OF_SCHEDULE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(365 * 24 * 3600);

/// `buffer`, AWS's: the forecast is hourly.
pub(super) const BUFFER: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// Requests on one connection: beyond a billion it is no limit.
pub(super) const REQUESTS: RangeInclusive<u32> = 1..=1_000_000_000;

/// Requests of a rate limit and its burst: in the shortest time they come a
/// nanosecond apart, the least a clock can tell.
pub(super) const RATE: RangeInclusive<u32> = 1..=1_000_000;

/// What a rate limit counts over: what clients do within a millisecond is chance, and
/// counts of more than a day belong in a database.
pub(super) const RATE_PER: RangeInclusive<Duration> = TIMEOUT;

/// Sessions, ALB's.
pub(super) const STICKY: RangeInclusive<Duration> = Duration::from_secs(1)..=WEEK;

/// Requests at a time on one target: more than it has ports for.
pub(super) const CONCURRENCY: RangeInclusive<u32> = 1..=1_000_000;

/// Waiting requests of a group; 0 lets none wait.
pub(super) const QUEUE: RangeInclusive<usize> = 0..=1_000_000;

/// Slow start, ALB's; 0 is legal too.
pub(super) const SLOW_START: RangeInclusive<Duration> =
    Duration::from_secs(30)..=Duration::from_secs(900);

/// Deregistration delay, ALB's.
pub(super) const DEREGISTRATION_DELAY: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// Attempts of a request: a client has given up long before the ninth.
pub(super) const ATTEMPTS: RangeInclusive<u32> = 1..=8;

/// Bytes of a body that is held to be sent again: each request in flight may hold as much.
pub(super) const REPLAYED_BODY: RangeInclusive<u64> = 0..=1024 * 1024;

/// Retries in flight without a budget.
pub(super) const RETRIES: RangeInclusive<u32> = 0..=10_000;

/// Any share.
pub(super) const PERCENT: RangeInclusive<u8> = 0..=100;

/// A share that is not nothing.
pub(super) const SOME_PERCENT: RangeInclusive<u8> = 1..=100;

/// Failures in a row that eject; 0 counts none.
pub(super) const FAILURES: RangeInclusive<u32> = 0..=10_000;

/// Requests an error ratio is taken of.
pub(super) const RATIO_REQUESTS: RangeInclusive<u32> = 1..=1_000_000;

/// Characters of the admin token: 16 cannot be guessed, 1024 fit in a head.
pub(super) const TOKEN: RangeInclusive<usize> = 16..=1024;

/// Bytes of a socket's path: `sun_path` holds 108, a zero at the end.
pub(super) const SOCKET_PATH: usize = 107;
