//! A checked configuration: every value that exists is legal, every name it uses
//! is defined, every default is filled in. `state::compile` turns it into a snapshot.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;

use super::autoscaling::Autoscaling;
use super::defaults;
use crate::model::{Action, Algorithm, HashPolicy, ListenerId, Rule, TargetGroupId, Thresholds};

pub use crate::model::{
    ClientLimits, Forwarded, ForwardedMode, Outlier, Overload, RateKey, RateLimit, Retry, Sticky,
    Upstream,
};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads; `None` takes one per core the process may use.
    pub workers: Option<NonZeroUsize>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// How a shutdown proceeds.
    pub shutdown: Shutdown,
    /// The admin listener; off when absent.
    pub admin: Option<Admin>,
    /// What session cookies are sealed with; `None` takes a key of this process, so that
    /// sessions end with it and no other Weir understands them.
    pub cookie_key: Option<CookieKey>,
    /// Where a new process asks this one for its listening sockets; `None` gives them to
    /// nobody.
    pub upgrade_socket: Option<PathBuf>,
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// In the order of the file.
    pub target_groups: Vec<TargetGroup>,
}

/// Which requests the access log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that a target did not answer to the end.
    Failures,
    /// Every one.
    All,
}

/// The phases of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long Weir says "not ready" and still accepts, so that whoever stands in
    /// front of it can turn away first.
    pub lame_duck: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Whoever knows it may change targets; `None` lets nobody.
    pub token: Option<Token>,
}

/// The bearer token of the admin listener. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

/// The key session cookies are sealed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieKey(pub [u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(..)")
    }
}

/// One listening address and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique; the bind address unless configured.
    pub id: ListenerId,
    /// Where it listens. Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Most client connections at a time, over all workers; further ones wait in
    /// the accept queue.
    pub max_connections: usize,
    /// Limits and deadlines on the client's side.
    pub client: ClientLimits,
    /// How the target learns about the client.
    pub forwarded: Forwarded,
    /// How many requests a client may send.
    pub rate_limit: Option<RateLimit>,
    /// By priority, lowest first.
    pub rules: Vec<Rule<TargetGroupId>>,
    /// What happens when no rule matches.
    pub default: Action<TargetGroupId>,
}

/// A set of targets with one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Unique.
    pub id: TargetGroupId,
    /// For targets that name no port.
    pub port: Option<u16>,
    /// Who is in it from the start.
    pub targets: Vec<TargetSpec>,
    /// How one is chosen.
    pub algorithm: Algorithm,
    /// For `consistent_hash`.
    pub hash: HashPolicy,
    /// How its targets are checked; `None` checks nothing and trusts all of them.
    pub health: Option<HealthCheck>,
    /// When to stop believing the checks.
    pub fail_open: FailOpen,
    /// Deadlines and pools towards the targets.
    pub upstream: Upstream,
    /// When a failed request goes to another target.
    pub retry: Retry,
    /// When a target that fails requests is taken out; `None` never takes one out.
    pub outlier: Option<Outlier>,
    /// What the targets take at a time, and who waits.
    pub overload: Overload,
    /// How long a new or recovered target takes to get its full share: 0 s or 30-900 s.
    pub slow_start: Duration,
    /// How long requests on a target that leaves may take: 0-3600 s.
    pub deregistration_delay: Duration,
    /// How clients stay on a target; `None` chooses anew for every request.
    pub sticky: Option<Sticky>,
    /// Replicas that Weir or an engine runs as targets of this group.
    pub replicas: Option<Replicas>,
    /// How their number follows the load; `None` keeps it. Needs `replicas`.
    pub autoscaling: Option<Autoscaling>,
}

/// One configured target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where it is.
    pub address: TargetAddress,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    /// Known from the start.
    Socket(SocketAddr),
    /// Resolved at start and again when the answer's time to live is over. Every
    /// address of the answer is a target.
    Host {
        /// A DNS name.
        name: String,
        /// The target's own port or the group's.
        port: u16,
    },
    /// All that the DNS service records of a name lead to, with the ports and weights they
    /// have there (RFC 2782). Resolved as names are.
    Srv {
        /// Such as `_http._tcp.todo.internal`.
        name: String,
    },
    /// All that a file lists, read again when it changes.
    File {
        /// As written, or from the folder of the configuration if that was read from a file.
        path: PathBuf,
        /// Of lines that name none.
        port: Option<u16>,
    },
}

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Instead of the target's own port.
    pub port: Option<u16>,
    /// From the start of one check to the start of the next; spread by up to a
    /// tenth so that checks of many targets do not march in step.
    pub interval: Duration,
    /// For connection and answer together; shorter than the interval.
    pub timeout: Duration,
    /// Results in a row that change a target's health.
    pub thresholds: Thresholds,
}

/// What a health check asks of a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// That the port accepts a connection. Says nothing about the service behind it.
    Tcp,
    /// An HTTP/1.1 request.
    Http(HttpProbe),
}

/// An HTTP health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// `GET` unless configured.
    pub method: Method,
    /// Path and query; starts with a slash.
    pub path: String,
    /// The `Host` header; the target's address unless configured.
    pub host: Option<String>,
    /// Statuses that pass: inclusive ranges within 200-499. Never empty.
    pub matcher: Vec<(u16, u16)>,
    /// Text the body (its first 64 KiB) must contain.
    pub body: Option<String>,
}

/// When a group's checks are believed no longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailOpen {
    /// With fewer healthy targets than this, requests go to all active targets.
    pub min_healthy: MinHealthy,
    /// `false` answers 503 when no target is healthy instead.
    pub enabled: bool,
}

/// The least a group must have healthy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinHealthy {
    /// So many targets.
    Count(u32),
    /// So many percent of the active targets, rounded up: 1-100.
    Percent(u8),
}

impl MinHealthy {
    /// How many of a group with so many active targets.
    pub fn of(self, active: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (active * usize::from(percent)).div_ceil(100),
        }
    }
}

/// The replicas of a group: who runs them, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicas {
    /// Who starts, places and restarts them.
    pub runner: Runner,
    /// How many; with autoscaling, how many to begin with. `None` leaves an engine's number as
    /// it is, and is 1 or `autoscaling.min` for those that Weir runs itself.
    pub count: Option<u32>,
    /// What each of them may use: 100 % of the `cpu` and `memory` metrics.
    pub allowance: Allowance,
    /// Requests sent to a new replica before it becomes a target; `None` sends none.
    pub warm_up: Option<WarmUpRequests>,
    /// Whether this Weir may change how many there are. Of several Weirs before one service
    /// one has the engine's lease, or else the one that says `true`.
    pub scaler: Scaler,
}

/// Which of several Weirs scales a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaler {
    /// Whoever has the engine's lease; an engine without leases has one Weir.
    Lease,
    /// This one.
    Yes,
    /// Another one.
    No,
}

/// What 100 % of a replica's CPU and memory are; `None` takes the engine's limit, and without
/// one all that the machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowance {
    /// Cores.
    pub cpus: Option<f64>,
    /// Bytes.
    pub memory: Option<u64>,
}

/// What a new replica is asked before it gets requests of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUpRequests {
    /// `GET` of this.
    pub path: String,
    /// How many, one after the other.
    pub count: u32,
    /// For all of them together; whatever was answered until then, the replica is a target.
    pub timeout: Duration,
}

/// Who runs the replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// Weir itself, as child processes.
    Process(ProcessRunner),
    /// Weir itself, as containers of a local Docker Engine.
    Docker(DockerRunner),
    /// Docker's Swarm mode.
    Swarm(SwarmRunner),
    /// Kubernetes.
    Kubernetes(KubernetesRunner),
    /// Amazon's Elastic Container Service.
    Ecs(EcsRunner),
    /// Programs of the operator's.
    Exec(ExecRunner),
    /// An HTTP service of the operator's.
    Webhook(WebhookRunner),
}

impl Runner {
    /// Whether Weir itself runs the replicas, so that they end with it. An engine's do not, and
    /// it keeps their number as well.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Process(_) | Self::Docker(_) => true,
            Self::Swarm(_)
            | Self::Kubernetes(_)
            | Self::Ecs(_)
            | Self::Exec(_)
            | Self::Webhook(_) => false,
        }
    }
}

/// `replicas.command` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRunner {
    /// Program and arguments; `{port}` stands for the replica's port in any of them.
    pub command: Vec<String>,
    /// Set in the replica's environment in addition to Weir's own.
    pub env: Vec<(String, String)>,
    /// Variables of Weir's own environment that the replica does not get: secrets of the
    /// configuration come from them.
    pub secrets: BTreeSet<String>,
    /// Where it runs; Weir's own directory unless configured.
    pub directory: Option<PathBuf>,
    /// How long a stopped replica has between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
}

/// `replicas.docker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerRunner {
    /// The engine: `unix:///var/run/docker.sock` or `tcp://HOST:PORT`.
    pub host: String,
    /// What the containers are made of. Never pulled.
    pub image: String,
    /// Instead of the image's own command; empty leaves that.
    pub command: Vec<String>,
    /// Set in the container's environment.
    pub env: Vec<(String, String)>,
    /// The network that Weir reaches them on.
    pub network: String,
    /// Where they listen.
    pub port: u16,
    /// `NAME:/path` or `/host/path:/path`, perhaps with `:ro`.
    pub volumes: Vec<String>,
    /// Between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
}

/// `replicas.swarm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmRunner {
    /// A manager's engine: `unix:///var/run/docker.sock` or `tcp://HOST:PORT`.
    pub host: String,
    /// The name of the service, which exists; replicated mode.
    pub service: String,
    /// The network that Weir shares with its tasks.
    pub network: String,
    /// Where they listen.
    pub port: u16,
}

/// `replicas.kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesRunner {
    /// The API server, `http://HOST:PORT` or `https://…`; `None` takes the pod's service account
    /// or `KUBECONFIG`.
    pub api: Option<String>,
    /// Where both are; `None` takes the pod's own namespace.
    pub namespace: Option<String>,
    /// Whose scale is set.
    pub deployment: String,
    /// Whose EndpointSlices say where the pods are.
    pub service: String,
    /// Where they listen.
    pub port: u16,
}

/// `replicas.ecs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcsRunner {
    /// The API, for tests and private endpoints; `None` takes the region's.
    pub endpoint: Option<String>,
    /// `None` takes the environment's.
    pub region: Option<String>,
    /// Name or ARN.
    pub cluster: String,
    /// Name or ARN. Its tasks use the `awsvpc` network mode.
    pub service: String,
    /// Where they listen.
    pub port: u16,
}

/// `replicas.exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRunner {
    /// Prints one JSON document: `{"desired": 2, "replicas": [{"id": "a", "address": "10.0.0.1:6400"}]}`.
    pub list: Vec<String>,
    /// Makes it so many; `{count}` stands for the number in any of its arguments.
    pub scale: Vec<String>,
    /// Between two lists.
    pub interval: Duration,
    /// For each to end.
    pub timeout: Duration,
    /// As [`ProcessRunner::secrets`], for both programs.
    pub secrets: BTreeSet<String>,
}

/// `replicas.webhook`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRunner {
    /// `GET` answers as [`ExecRunner::list`] prints; `PUT` of `{"desired": 2}` makes it so many.
    /// `http` only.
    pub url: String,
    /// Sent as a bearer token.
    pub token: Option<Token>,
    /// Between two lists.
    pub interval: Duration,
    /// For each answer.
    pub timeout: Duration,
}

impl TargetGroup {
    /// A group without targets, with every default.
    pub fn new(id: TargetGroupId) -> Self {
        Self {
            id,
            port: None,
            targets: Vec::new(),
            algorithm: defaults::ALGORITHM,
            hash: HashPolicy::default(),
            health: None,
            fail_open: defaults::FAIL_OPEN,
            upstream: defaults::UPSTREAM,
            retry: defaults::RETRY,
            outlier: Some(defaults::OUTLIER),
            overload: defaults::OVERLOAD,
            slow_start: defaults::SLOW_START,
            deregistration_delay: defaults::DEREGISTRATION_DELAY,
            sticky: None,
            replicas: None,
            autoscaling: None,
        }
    }

    /// Whether it may come to have no replica at all.
    pub fn scales_to_zero(&self) -> bool {
        let scaling = self.autoscaling.as_ref();
        scaling.is_some_and(Autoscaling::may_be_zero)
    }

    /// How many replicas it begins with: `replicas.count`, or else `autoscaling.min`, or else
    /// one. `None` leaves that to an engine that has a number of its own.
    pub fn first_replicas(&self) -> Option<u32> {
        let replicas = self.replicas.as_ref()?;
        let least = self.autoscaling.as_ref().map_or(1, |scaling| scaling.min);
        let is_own = replicas.runner.is_own();
        replicas.count.or(is_own.then_some(least))
    }
}

impl Config {
    /// The configuration before the first one: nothing listens, nothing is forwarded.
    pub fn empty() -> Self {
        Self {
            workers: None,
            access_log: AccessLog::Failures,
            shutdown: Shutdown {
                lame_duck: Duration::ZERO,
                drain: Duration::ZERO,
            },
            admin: None,
            cookie_key: None,
            upgrade_socket: None,
            listeners: Vec::new(),
            target_groups: Vec::new(),
        }
    }
}

impl fmt::Display for MinHealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
