//! Every default value, its unit and its reason.
//!
//! `config/full.toml` shows them to the operator; where ALB has the same setting,
//! the value is ALB's unless a reason is given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;

use super::autoscaling::Profile;
use super::types::{
    AccessLog, ClientLimits, FailOpen, ForwardedMode, MinHealthy, Outlier, Overload, Retry,
    Shutdown, Upstream,
};
use crate::model::{Algorithm, StickyDraining, StickyFull, Thresholds};

/// `access_log`: a healthy system writes nothing, and what a user complains about is there.
pub const ACCESS_LOG: AccessLog = AccessLog::Failures;

/// `shutdown`: five seconds are what balancers and DNS in front of Weir need to look
/// elsewhere; thirty are Kubernetes' default grace period, so that Weir ends by
/// itself before it is killed.
pub const SHUTDOWN: Shutdown = Shutdown {
    lame_duck: Duration::from_secs(5),
    drain: Duration::from_secs(25),
};

/// `admin.bind`: loopback, because it answers anybody; the port Prometheus exporters are expected at.
pub const ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// `max_connections`, per listener: ten thousand clients cost some hundred megabytes
/// at worst, and stay below the file descriptors a service usually gets.
pub const MAX_CONNECTIONS: usize = 10_000;

/// `client`, see each field.
pub const CLIENT: ClientLimits = ClientLimits {
    // A head fits in a few packets; longer is an attack (Slowloris) or a dead phone.
    head_timeout: Duration::from_secs(10),
    // ALB's idle timeout.
    idle_timeout: Duration::from_secs(60),
    // The same for a body that stalls.
    body_timeout: Duration::from_secs(60),
    // ALB's limit for all header fields together, in bytes.
    max_head: 64 * 1024,
    // hyper keeps a hundred on the stack; more cost every request an allocation.
    max_fields: 100,
    // Weir streams bodies, so their size costs it nothing.
    max_body: None,
    max_requests: None,
};

/// `forwarded.mode`, ALB's.
pub const FORWARDED_MODE: ForwardedMode = ForwardedMode::Append;

/// `redirect.status`: browsers do not remember a 302, so a mistake can be taken back.
pub const REDIRECT_STATUS: u16 = 302;

/// `fixed_response.content_type`.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// `weight` of a target or of a group in a `forward`.
pub const WEIGHT: u16 = 1;

/// `algorithm`, ALB's.
pub const ALGORITHM: Algorithm = Algorithm::RoundRobin;

/// `hash.body.limit`, bytes: any JSON document a key is looked for in, and still
/// little enough to be held for each of some thousand requests.
pub const HASH_BODY_LIMIT: u64 = 64 * 1024;

/// `health.path`.
pub const HEALTH_PATH: &str = "/";

/// `health.interval`.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

/// `health.timeout`; half of the interval where that is shorter, so that a short
/// interval needs no second key.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// `health.healthy` and `health.unhealthy`, checks in a row.
pub const HEALTH_THRESHOLDS: Thresholds = Thresholds {
    healthy: 5,
    unhealthy: 2,
};

/// `health.matcher`.
pub const HEALTH_MATCHER: (u16, u16) = (200, 200);

/// `min_healthy` and `fail_open`: as long as one target is healthy it is believed;
/// when none is, the checks are the likelier culprit.
pub const FAIL_OPEN: FailOpen = FailOpen {
    min_healthy: MinHealthy::Count(1),
    enabled: true,
};

/// `upstream`, see each field.
pub const UPSTREAM: Upstream = Upstream {
    // ALB's target connection timeout.
    connect_timeout: Duration::from_secs(10),
    // The client's idle timeout: beyond it nobody is there to read the answer.
    response_timeout: Duration::from_secs(60),
    body_timeout: Duration::from_secs(60),
    // Downloads may take hours.
    request_timeout: None,
    // A WebSocket may have nothing to say for long, and applications send pings of their own.
    tunnel_timeout: Duration::from_secs(60 * 60),
    idle_timeout: None,
    // More than a worker has in flight to one target under any load it can carry;
    // the idle timeout takes what a burst leaves behind.
    max_idle: 128,
};

/// `rate_limit.per`: what requests are counted in.
pub const RATE_LIMIT_PER: Duration = Duration::from_secs(1);

/// `retry`, see each field.
pub const RETRY: Retry = Retry {
    // Two of three targets may fail a request before its client hears of it.
    attempts: 3,
    // Whether a status is worth another try is known to the service alone.
    statuses: Vec::new(),
    // What is not idempotent would be done twice.
    non_idempotent: false,
    // linkerd's: most JSON documents, and little enough to hold for thousands of requests.
    max_body: 64 * 1024,
    // Envoy's and linkerd's: a group that fails altogether gets a fifth more, not thrice.
    budget: 20,
    min_concurrency: 3,
};

/// `outlier`, see each field; Envoy's unless a reason is given.
pub const OUTLIER: Outlier = Outlier {
    consecutive_errors: Some(5),
    consecutive_gateway_errors: Some(5),
    // Envoy's statistics need five targets; a difference to the peers works from two.
    error_ratio: Some(50),
    min_requests: 20,
    interval: Duration::from_secs(10),
    ejection: Duration::from_secs(30),
    max_ejection: Duration::from_secs(300),
    // Envoy's tenth would never eject one of four.
    max_ejected: 50,
};

/// `max_concurrency` and `queue`: no limit, so nobody waits. With a limit and no `queue`,
/// what is beyond it fails at once.
pub const OVERLOAD: Overload = Overload {
    max_concurrency: None,
    queue_length: 0,
    // Longer than a burst, shorter than a person's patience.
    queue_timeout: Duration::from_secs(5),
};

/// `slow_start`, ALB's: off.
pub const SLOW_START: Duration = Duration::ZERO;

/// `deregistration_delay`, ALB's.
pub const DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

/// `sticky.duration`, ALB's.
pub const STICKY_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// `sticky.cookie`.
pub const STICKY_COOKIE: &str = "WEIRLB";

/// `sticky.when_full`: an answer now is worth more than the same target.
pub const STICKY_FULL: StickyFull = StickyFull::Move;

/// `sticky.when_draining`, ALB's.
pub const STICKY_DRAINING: StickyDraining = StickyDraining::Move;

/// `replicas.count` of those that Weir runs itself.
pub const REPLICAS_COUNT: u32 = 1;

/// `replicas.stop_timeout`, Docker's.
pub const REPLICAS_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// `replicas.docker.host` and `replicas.swarm.host`: the engine's own default.
pub const DOCKER_HOST: &str = "unix:///var/run/docker.sock";

/// `replicas.docker.network`: the engine's own default.
pub const DOCKER_NETWORK: &str = "bridge";

/// `replicas.ecs.cluster`: ECS's own default.
pub const ECS_CLUSTER: &str = "default";

/// `interval` of `replicas.exec` and `replicas.webhook`: a replica is found within a health
/// check or two, and a program started so often costs nothing to speak of.
pub const LIST_INTERVAL: Duration = Duration::from_secs(5);

/// `timeout` of `replicas.exec` and `replicas.webhook`.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// `replicas.warm_up.requests`: what fills a pool of connections and makes a compiler run.
pub const WARM_UP_REQUESTS: u32 = 20;

/// `replicas.warm_up.timeout`.
pub const WARM_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// `autoscaling.profile`: Weir sees every request, so it need not wait for a metric.
pub const PROFILE: Profile = Profile::Fast;

/// `path` of a custom metric: Prometheus' own default.
pub const METRICS_PATH: &str = "/metrics";

/// `timezone` of a scheduled action, AWS's.
pub const TIMEZONE: &str = "UTC";

/// `predictive.buffer`, AWS's.
pub const PREDICTIVE_BUFFER: Duration = Duration::from_secs(300);

/// `queue.length` of a group that may have no replicas, so that requests wait for the first:
/// a burst of clients, and some MiB of them.
pub const ZERO_QUEUE_LENGTH: usize = 1000;

/// `queue.timeout` of such a group: a replica starts and passes its first check in that
/// time, and a browser still waits.
pub const ZERO_QUEUE_TIMEOUT: Duration = Duration::from_secs(30);
