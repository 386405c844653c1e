//! A checked configuration: every value that exists is legal, every name it uses
//! is defined, every default is filled in. `state::compile` turns it into a snapshot.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::autoscaling::Autoscaling;
use crate::model::{
    Action, Algorithm, Endpoint, HashPolicy, ListenerId, Protocol, ProxyVersion, Rule,
    TargetGroupId, TargetProtocol, Thresholds,
};

use crate::tls::{self, AcmeSettings, ChallengeKind, ServerSettings, Trust};

pub use crate::model::{
    AcceptProxy, AccessFormat, AccessLog, AccessPolicy, ClientLimits, Forwarded, ForwardedMode,
    HttpPolicy, LogFile, LogSink, Outlier, Overload, RateKey, RateLimit, Retry, Share, Sticky,
    SyslogAddress, TraceContext, Traceparent, UpstreamLimits,
};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads; `None` takes one per core the process may use.
    pub workers: Option<NonZeroUsize>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// How they are written.
    pub log: Box<LogSettings>,
    /// What targets are told about the trace of a request.
    pub tracing: TraceContext,
    /// Where the spans of requests go; `None` if no one wants them.
    pub span_export: Option<Arc<SpanExport>>,
    /// How a shutdown proceeds.
    pub shutdown: Shutdown,
    /// The admin listener; off when absent.
    pub admin: Option<Admin>,
    /// Key that session cookies are sealed with; `None` takes a random key, so that sessions end with
    /// the process and no other Weir understands them.
    pub cookie_key: Option<CookieKey>,
    /// Unix socket on which a new process asks this one for its listening sockets; `None` hands none
    /// over.
    pub upgrade_socket: Option<PathBuf>,
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// In the order of the file.
    pub target_groups: Vec<TargetGroup>,
}

impl Config {
    /// What the access log holds, and how.
    pub fn access_policy(&self) -> AccessPolicy {
        let format = self.log.format;
        AccessPolicy {
            logged: self.access_log,
            format,
            agent: self.log.user_agent || format.is_some_and(AccessFormat::has_agent),
            successes: Share::of_one(self.log.successes),
        }
    }

    /// What is ordered by ACME, listener by listener.
    pub fn acme(&self) -> impl Iterator<Item = &AcmeSettings> {
        let tls = self.listeners.iter().flat_map(|listener| &listener.tls);
        tls.flat_map(|tls| &tls.acme)
    }

    /// Whether a certificate authority asks listeners of plain HTTP.
    pub fn is_asked_by_http(&self) -> bool {
        self.acme()
            .any(|acme| acme.challenge == ChallengeKind::Http01)
    }
}

/// How requests are logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// The form of a line; `None` for that of the log of the process.
    pub format: Option<AccessFormat>,
    /// Whether lines have the user agent and the referring page also in formats that have no place
    /// for them.
    pub user_agent: bool,
    /// Which share of the successes is logged.
    pub successes: f64,
    /// Where lines go.
    pub sink: LogSink,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: None,
            user_agent: false,
            successes: 1.0,
            sink: LogSink::Stdout,
        }
    }
}

/// The phases of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long Weir says "not ready" and still accepts, so that balancers in front of it can
    /// choose another instance first.
    pub lame_duck: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address to listen on.
    pub bind: SocketAddr,
    /// Requests with this token may change targets; `None` refuses all changes.
    pub token: Option<Token>,
}

/// Where the spans of requests go: a collector of OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanExport {
    /// Of scheme `http` or `https`.
    pub endpoint: String,
    /// The name of the service that the spans are of.
    pub service: String,
    /// What the collector asks for.
    pub token: Option<Token>,
    /// The field that carries the token.
    pub token_field: HeaderName,
    /// What an `https` collector is known by; `None` for `http`.
    pub trust: Option<Trust>,
    /// For each answer.
    pub timeout: Duration,
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

/// One address to listen on and its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique; the bind address unless configured.
    pub id: ListenerId,
    /// Where to listen. Port 0 takes a free one.
    pub bind: Endpoint,
    /// The permissions of the file of a Unix socket; `None` leaves them to the umask.
    pub socket_mode: Option<u32>,
    /// What its clients speak. With [`Protocol::Tcp`] it has no rules and forwards.
    pub protocol: Protocol,
    /// Whether proxies begin with a header that names the client.
    pub proxy_protocol: AcceptProxy,
    /// In what they speak it; `None` for plain bytes.
    pub tls: Option<ServerSettings>,
    /// Most client connections at a time, over all workers. At the limit idle ones are closed for
    /// new clients, which otherwise wait in the accept queue.
    pub max_connections: usize,
    /// Limits and deadlines on the client's side.
    pub client: ClientLimits,
    /// How strictly HTTP is read, and in which spelling it is matched and forwarded.
    pub http: HttpPolicy,
    /// How targets learn about the client.
    pub forwarded: Forwarded,
    /// How many requests a client may send; `None` limits nothing.
    pub rate_limit: Option<RateLimit>,
    /// By priority, lowest first.
    pub rules: Vec<Rule<TargetGroupId>>,
    /// The action for requests that no rule matches.
    pub default: Action<TargetGroupId>,
}

/// A set of targets with one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Unique.
    pub id: TargetGroupId,
    /// What its targets speak: that of every listener that forwards to it.
    pub protocol: TargetProtocol,
    /// The port of targets that name none.
    pub port: Option<u16>,
    /// Its configured targets.
    pub targets: Vec<TargetSpec>,
    /// How a target is chosen.
    pub algorithm: Algorithm,
    /// What `consistent_hash` looks at.
    pub hash: HashPolicy,
    /// The active health check; `None` checks nothing and takes all targets as healthy.
    pub health: Option<HealthCheck>,
    /// When requests go to unhealthy targets too.
    pub fail_open: FailOpen,
    /// Deadlines and connection pools towards the targets.
    pub upstream: UpstreamLimits,
    /// In what its targets are spoken to, by requests, checks, warm-ups and scrapes; `None` for
    /// plain bytes.
    pub tls: Option<tls::Client>,
    /// When a failed request goes to another target.
    pub retry: Retry,
    /// When a target that fails requests is taken out; `None` never takes one out.
    pub outlier: Option<Outlier>,
    /// How many requests each target takes at a time, and which requests wait.
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
    /// Its address, or the list that it stands for.
    pub address: TargetAddress,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
}

/// The address of a target, or the list that targets come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    /// An IP address and a port, or a Unix socket.
    Socket(Endpoint),
    /// A DNS name, resolved at start and again when the answer's time to live is over. Every
    /// address of the answer is a target.
    Host {
        /// The name.
        name: String,
        /// The target's own port or the group's.
        port: u16,
    },
    /// The targets of the DNS service records of a name, with the ports and weights of the records
    /// (RFC 2782). Resolved as names are.
    Srv {
        /// Such as `_http._tcp.todo.internal`.
        name: String,
    },
    /// The targets in a file, which is read again when it changes.
    File {
        /// As written, or from the folder of the configuration if that was read from a file.
        path: PathBuf,
        /// The port of lines that name none.
        port: Option<u16>,
    },
}

/// An active health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// The request.
    pub probe: Probe,
    /// The port to check; `None` takes the target's own.
    pub port: Option<u16>,
    /// From the start of one check to the start of the next; spread by up to a
    /// tenth so that checks of many targets do not march in step.
    pub interval: Duration,
    /// Deadline for connection and answer together; shorter than the interval.
    pub timeout: Duration,
    /// Results in a row that change a target's health.
    pub thresholds: Thresholds,
}

/// A check as it is made of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// `GET`, `POST`, or `CONNECT` for a check that only connects.
    pub method: String,
    /// Where it goes.
    pub url: String,
    /// What passes: `200-299`, or that the connection is accepted.
    pub wanted: String,
}

impl HealthCheck {
    /// The check as it is made of a target.
    pub fn request(&self, target: &Endpoint) -> CheckRequest {
        let address = match (target.address(), self.port) {
            (Some(address), Some(port)) => SocketAddr::new(address.ip(), port).to_string(),
            (Some(_), None) | (None, _) => target.to_string(),
        };
        let ranges = |matcher: &[(u16, u16)]| {
            let ranges = matcher.iter().map(|(low, high)| {
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}-{high}")
                }
            });
            ranges.collect::<Vec<_>>().join(",")
        };
        let scheme = |tls: &Option<tls::Client>| if tls.is_some() { "https" } else { "http" };
        match &self.probe {
            Probe::Tcp => CheckRequest {
                method: "CONNECT".to_owned(),
                url: format!("tcp://{address}"),
                wanted: "the connection is accepted".to_owned(),
            },
            Probe::Http(probe) => CheckRequest {
                method: probe.method.to_string(),
                url: format!("{}://{address}{}", scheme(&probe.tls), probe.path),
                wanted: match &probe.body {
                    Some(body) => format!("{}, with {body:?}", ranges(&probe.matcher)),
                    None => ranges(&probe.matcher),
                },
            },
            Probe::Grpc(probe) => {
                let method = probe
                    .method
                    .as_deref()
                    .unwrap_or("/grpc.health.v1.Health/Check");
                CheckRequest {
                    method: "POST".to_owned(),
                    url: format!("{}://{address}{method}", scheme(&probe.tls)),
                    wanted: format!("grpc-status {}", ranges(&probe.matcher)),
                }
            }
        }
    }
}

/// What a health check asks of a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// Opens a connection and closes it. Shows nothing about the service behind the port.
    Tcp,
    /// An HTTP request.
    Http(HttpProbe),
    /// A call of gRPC.
    Grpc(GrpcProbe),
}

/// A check by gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcProbe {
    /// The method that is called, `/package.Service/Method`; `None` for that of the health
    /// checking protocol, whose answer is looked at.
    pub method: Option<String>,
    /// The service that is asked for by the health checking protocol; empty for the whole target.
    pub service: String,
    /// The authority; the target's address unless configured.
    pub host: Option<String>,
    /// Statuses of gRPC that pass: inclusive ranges within 0-99. Never empty.
    pub matcher: Vec<(u16, u16)>,
    /// That of the group.
    pub tls: Option<tls::Client>,
}

/// An HTTP health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Whether it is asked in HTTP/2.
    pub is_http2: bool,
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
    /// The header of the PROXY protocol that the group's targets want.
    pub proxy_protocol: Option<ProxyVersion>,
    /// That of the group.
    pub tls: Option<tls::Client>,
}

/// When requests go to unhealthy targets too.
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
    /// A number of targets.
    Count(u32),
    /// Percent of the active targets, rounded up: 1-100.
    Percent(u8),
}

impl MinHealthy {
    /// The number of targets in a group with so many active ones.
    pub fn of(self, active: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (active * usize::from(percent)).div_ceil(100),
        }
    }
}

/// The replicas of a group: what runs them, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Replicas {
    /// What starts, places and restarts them.
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
    /// The Weir that holds the engine's lease; an engine without leases has one Weir.
    Lease,
    /// This Weir.
    Yes,
    /// Another Weir.
    No,
}

/// What 100 % of a replica's CPU and memory are; `None` takes the engine's limit, and without
/// one all that the machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allowance {
    /// CPU, in cores.
    pub cpus: Option<f64>,
    /// Memory, in bytes.
    pub memory: Option<u64>,
}

/// Requests that warm a new replica up before it becomes a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUpRequests {
    /// Whether they are sent in HTTP/2.
    pub is_http2: bool,
    /// Path and query of the `GET` requests.
    pub path: String,
    /// Number of requests, one after the other.
    pub count: u32,
    /// Deadline for all of them together; then the replica becomes a target, whatever it answered.
    pub timeout: Duration,
    /// That of the group.
    pub tls: Option<tls::Client>,
}

/// What runs the replicas of a group.
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
    /// Two programs of the operator.
    Exec(ExecRunner),
    /// An HTTP service of the operator.
    Webhook(WebhookRunner),
}

impl Runner {
    /// Whether Weir itself runs the replicas, so that they end with it. An engine's replicas do not
    /// end with Weir, and the engine keeps their number.
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
    /// Its working directory; `None` takes Weir's own.
    pub directory: Option<PathBuf>,
    /// How long a stopped replica has between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
    /// Where what it prints goes.
    pub output: ReplicaOutput,
}

/// `replicas.output`: where what a process prints goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReplicaOutput {
    /// Into Weir's log.
    #[default]
    Log,
    /// Into a file for each replica, in this folder.
    File(PathBuf),
    /// Nowhere: it is not read.
    Off,
}

/// `replicas.docker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerRunner {
    /// The engine: `unix:///var/run/docker.sock` or `tcp://HOST:PORT`.
    pub host: String,
    /// The image of the containers. Never pulled.
    pub image: String,
    /// Instead of the image's own command; empty leaves that.
    pub command: Vec<String>,
    /// Set in the container's environment.
    pub env: Vec<(String, String)>,
    /// The network on which Weir reaches the containers.
    pub network: String,
    /// The port of the replicas.
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
    /// The port of the replicas.
    pub port: u16,
}

/// `replicas.kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesRunner {
    /// The API server, `http://HOST:PORT` or `https://…`; `None` takes the pod's service account
    /// or `KUBECONFIG`.
    pub api: Option<String>,
    /// Namespace of Deployment and Service; `None` takes the pod's own.
    pub namespace: Option<String>,
    /// Name of the Deployment that is scaled.
    pub deployment: String,
    /// Name of the Service that has the EndpointSlices of the pods.
    pub service: String,
    /// The port of the replicas.
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
    /// The port of the replicas.
    pub port: u16,
}

/// `replicas.exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRunner {
    /// Prints one JSON document: `{"desired": 2, "replicas": [{"id": "a", "address": "10.0.0.1:6400"}]}`.
    pub list: Vec<String>,
    /// Sets the number of replicas; `{count}` stands for it in any of the arguments.
    pub scale: Vec<String>,
    /// Time between two lists.
    pub interval: Duration,
    /// Deadline for each program to end.
    pub timeout: Duration,
    /// Variables that neither program gets, as [`ProcessRunner::secrets`].
    pub secrets: BTreeSet<String>,
}

/// `replicas.webhook`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRunner {
    /// `GET` answers as [`ExecRunner::list`] prints; `PUT` of `{"desired": 2}` sets the number.
    /// `http` only.
    pub url: String,
    /// Sent as a bearer token.
    pub token: Option<Token>,
    /// Time between two lists.
    pub interval: Duration,
    /// Deadline for each answer.
    pub timeout: Duration,
}

impl TargetGroup {
    /// Whether there may be no replica at some time.
    pub fn scales_to_zero(&self) -> bool {
        self.autoscaling
            .as_ref()
            .is_some_and(Autoscaling::may_be_zero)
    }

    /// The targets that the file names by address.
    pub fn static_targets(&self) -> impl Iterator<Item = &Endpoint> {
        self.targets.iter().filter_map(|spec| match &spec.address {
            TargetAddress::Socket(address) => Some(address),
            TargetAddress::Host { .. } | TargetAddress::Srv { .. } | TargetAddress::File { .. } => {
                None
            }
        })
    }

    /// The number of replicas to begin with: `replicas.count`, or else `autoscaling.min`, or else
    /// one. Returns `None` for an engine that has a number of its own.
    pub fn first_replicas(&self) -> Option<u32> {
        let replicas = self.replicas.as_ref()?;
        let least = self.autoscaling.as_ref().map_or(1, |scaling| scaling.min);
        let is_own = replicas.runner.is_own();
        replicas.count.or(is_own.then_some(least))
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
