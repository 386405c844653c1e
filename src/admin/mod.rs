//! The admin listener: liveness, readiness, metrics, status, and changes of targets.
//!
//! Whoever reaches it may read: the snapshot, the counters, the phase. Whoever has the
//! token may change targets. One request per connection, so that one deadline bounds
//! everything a client can do to it, and a cap on connections; the slowest one makes room for
//! a client beyond it. It runs on the control thread.

mod accept;
mod autoscaling;
mod crowd;
mod host;
mod metrics;
mod process;
mod respond;
mod status;
mod targets;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::autoscale::Journal;
use crate::observe::Metrics;
use crate::replicas;
use crate::state::{Lifecycle, Publisher, Reader};

pub use autoscaling::{
    AutoscalingStatus, ChangeStatus, ForecastStatus, GroupScaling, LoggedDecision, OutcomeCount,
    ReadingStatus, ScalingStatus,
};
use crowd::Crowd;
pub use status::{
    AnomalyStatus, CheckStatus, DrainingStatus, EjectedStatus, FaultStatus, GroupStatus,
    ListenerStatus, ReplicaStatus, Status, TargetStatus,
};
pub use targets::TargetChanged;

/// Where `/livez` and its kin are found.
pub mod paths {
    use percent_encoding::NON_ALPHANUMERIC;

    /// Answers while the process runs.
    pub const LIVE: &str = "/livez";
    /// Answers 200 while requests are wanted.
    pub const READY: &str = "/readyz";
    /// For Prometheus.
    pub const METRICS: &str = "/metrics";
    /// [`super::Status`] as JSON.
    pub const STATUS: &str = "/api/status";
    /// [`super::AutoscalingStatus`] as JSON; `?last=N` decisions of each group, and with
    /// `?minute=true` every evaluation of the last minute.
    pub const AUTOSCALING: &str = "/api/autoscaling";

    /// One target, to be changed: PUT, PATCH, DELETE.
    pub fn target(group: &str, address: &str) -> String {
        let [group, address] = [group, address]
            .map(|part| percent_encoding::utf8_percent_encode(part, NON_ALPHANUMERIC));
        format!("{}{group}/targets/{address}", super::targets::PREFIX)
    }
}

/// Connections at a time: some scrapers, some probes, some people.
const MAX_CONNECTIONS: usize = 64;

/// For a request head to arrive. Its senders are near and have nothing to think about.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// For a whole connection: head, answer, and the client taking the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request head; nothing asked here needs more.
const MAX_HEAD: usize = 16 * 1024;

/// After a failed accept (no more descriptors, mostly).
const BACK_OFF: Duration = Duration::from_millis(100);

/// What the admin listener reports on, and what it changes.
#[derive(Clone, Debug)]
pub struct Context {
    /// The picture the data plane reads.
    pub reader: Reader,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Where in its life the process is.
    pub lifecycle: Arc<Lifecycle>,
    /// The replicas that Weir runs.
    pub replicas: watch::Receiver<replicas::Status>,
    /// What the autoscaler has decided.
    pub autoscaling: Arc<Journal>,
    /// Where changes of targets go.
    pub publisher: Publisher,
}

/// Accepts until `stopped` resolves, which says whether to take what waits in the queue, and
/// then waits for the connections that are left. Dropping the future drops them.
pub async fn serve(listener: TcpListener, context: Context, stopped: impl Future<Output = bool>) {
    let mut connections = Crowd::new(MAX_CONNECTIONS);
    let mut starved = false;
    let mut stopped = std::pin::pin!(stopped);
    let takes_queue = loop {
        // All waits are cancel-safe: no connection and no result is lost.
        tokio::select! {
            takes_queue = &mut stopped => break takes_queue,
            Some(ended) = connections.ended() => note(&ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    starved = false;
                    admit(&mut connections, stream, peer, &context);
                }
                Err(error) => survive(&error, &mut starved).await,
            }
        }
    };
    while takes_queue && let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        admit(&mut connections, stream, peer, &context);
    }
    drop(listener);
    while let Some(ended) = connections.ended().await {
        note(&ended);
    }
}

fn admit(connections: &mut Crowd, stream: TcpStream, peer: SocketAddr, context: &Context) {
    let connection = converse(stream, peer, context.clone());
    if let Some(client) = connections.admit(peer.ip(), connection) {
        warn!(
            %client, most = MAX_CONNECTIONS,
            "too many connections to the admin listener: closed the oldest one of the client \
             with the most"
        );
    }
}

fn note(ended: &Result<(), JoinError>) {
    // One that made room for another was cancelled.
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        error!("an admin connection ended in a panic");
    }
}

/// Said once, not ten times a second.
async fn survive(error: &io::Error, starved: &mut bool) {
    if !std::mem::replace(starved, true) {
        warn!(%error, "the admin listener cannot accept; trying again every {BACK_OFF:?}");
    }
    sleep(BACK_OFF).await;
}

async fn converse(stream: TcpStream, peer: SocketAddr, context: Context) {
    let service = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(if request.uri().path().starts_with(targets::PREFIX) {
            targets::respond(request, peer, &context).await
        } else {
            respond::respond(&request, &context)
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin client did not speak to the end"),
        Err(_) => debug!("an admin client took too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::{Instant, SystemTime};

    use bytes::Bytes;
    use http::StatusCode;
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinSet;

    use super::*;
    use crate::autoscale::{
        AlarmState, Capacity, Decision, Kind, Opinion, Outcome, Reading, Reason,
    };
    use crate::config::{self, Config};
    use crate::model::{
        Action, CheckFailure, CheckResult, ClientLimits, FixedResponse, Forward, Forwarded,
        ForwardedMode, HealthReason, Lease, ListenerId, Priority, Redirect, RedirectPart, Rule,
        TargetGroupId, Thresholds,
    };
    use crate::observe::openmetrics::Page;
    use crate::state::Phase;

    /// A Weir without workers, and its admin listener.
    struct House {
        address: SocketAddr,
        context: Context,
        tasks: JoinSet<()>,
        publisher: Publisher,
    }

    impl House {
        async fn new() -> Self {
            let mut house = Self::unserved();
            house.serve().await;
            house
        }

        /// Before its admin listener listens.
        fn unserved() -> Self {
            let (publisher, task, reader) = Publisher::new(0);
            let (_, replicas) = watch::channel(replicas::Status::default());
            let context = Context {
                publisher: publisher.clone(),
                replicas,
                autoscaling: Arc::default(),
                reader,
                metrics: Arc::default(),
                lifecycle: Arc::default(),
            };
            let mut tasks = JoinSet::new();
            tasks.spawn(task.run());
            Self {
                address: ([127, 0, 0, 1], 0).into(),
                context,
                tasks,
                publisher,
            }
        }

        async fn serve(&mut self) {
            let listener = TcpListener::bind(self.address).await.unwrap();
            self.address = listener.local_addr().unwrap();
            self.tasks
                .spawn(serve(listener, self.context.clone(), pending()));
        }

        async fn configured() -> Self {
            let house = Self::new().await;
            house.publisher.configure(config()).await.unwrap();
            house
        }

        /// Sends bytes as they are, reads until the other side closes.
        async fn say(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A connection that was reset has said what it had to say.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        }

        async fn ask(&self, method: &str, path: &str) -> (StatusCode, String, String) {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text\r\n\r\n"
            );
            let answer = self.say(&request).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, head.to_ascii_lowercase(), body.to_owned())
        }

        async fn get(&self, path: &str) -> (StatusCode, String) {
            let (status, _, body) = self.ask("GET", path).await;
            (status, body)
        }

        async fn status(&self) -> Status {
            let (status, body) = self.get(paths::STATUS).await;
            assert_eq!(status, StatusCode::OK);
            serde_json::from_str(&body).unwrap()
        }

        async fn page(&self) -> Page {
            let (status, body) = self.get(paths::METRICS).await;
            assert_eq!(status, StatusCode::OK);
            Page::parse(body)
        }

        fn fail(&self, target: usize, detail: &str) {
            let result = CheckResult {
                at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
                began: Instant::now(),
                elapsed: Duration::from_micros(2_500),
                status: Some(503),
                outcome: Err(CheckFailure {
                    reason: HealthReason::ResponseCodeMismatch,
                    detail: detail.to_owned(),
                }),
            };
            self.record(target, result);
        }

        fn pass(&self, target: usize) {
            let result = CheckResult {
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(3),
                began: Instant::now(),
                elapsed: Duration::from_millis(1),
                status: Some(200),
                outcome: Ok(()),
            };
            self.record(target, result);
        }

        fn record(&self, target: usize, result: CheckResult) {
            let once = Thresholds {
                healthy: 1,
                unhealthy: 1,
            };
            let snapshot = self.context.reader.load();
            let target = &snapshot.groups()[0].targets[target].target;
            target.health().record(result, once);
        }

        fn lease(&self) -> Lease {
            let snapshot = self.context.reader.load();
            snapshot.groups()[0].targets[0].target.lease()
        }
    }

    fn config() -> Config {
        let forward = Action::Forward(Forward {
            groups: vec![("todo".into(), 90), ("empty".into(), 10)],
            sticky: None,
        });
        let redirect = Action::Redirect(Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            location: vec![
                RedirectPart::Literal("https://".into()),
                RedirectPart::Host,
                RedirectPart::Literal("/".into()),
                RedirectPart::Path,
            ],
        });
        let mut todo = group("todo");
        todo.health = Some(health_check());
        todo.targets = [6400, 6401].map(target).to_vec();
        Config {
            listeners: vec![listener("http", forward), listener("other", redirect)],
            target_groups: vec![todo, group("empty")],
            ..Config::empty()
        }
    }

    fn target(port: u16) -> config::TargetSpec {
        config::TargetSpec {
            address: config::TargetAddress::Socket(([127, 0, 0, 1], port).into()),
            weight: 1,
        }
    }

    fn health_check() -> config::HealthCheck {
        config::HealthCheck {
            probe: config::Probe::Tcp,
            port: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds {
                healthy: 2,
                unhealthy: 2,
            },
        }
    }

    fn group(name: &str) -> config::TargetGroup {
        config::TargetGroup {
            fail_open: config::FailOpen {
                min_healthy: config::MinHealthy::Percent(50),
                enabled: false,
            },
            ..config::TargetGroup::new(name.into())
        }
    }

    fn listener(name: &str, default: Action<TargetGroupId>) -> config::Listener {
        let second = Duration::from_secs(1);
        config::Listener {
            id: ListenerId::from(name),
            bind: ([127, 0, 0, 1], 8080).into(),
            max_connections: 100,
            client: ClientLimits {
                head_timeout: second,
                idle_timeout: second,
                body_timeout: second,
                max_head: 8192,
                max_fields: 100,
                max_body: None,
                max_requests: None,
            },
            forwarded: Forwarded {
                mode: ForwardedMode::Append,
                trusted_proxies: Vec::new(),
            },
            rate_limit: None,
            rules: vec![Rule {
                priority: Priority(1),
                conditions: Vec::new(),
                action: Action::FixedResponse(FixedResponse {
                    status: StatusCode::NOT_FOUND,
                    content_type: http::HeaderValue::from_static("text/plain"),
                    body: Bytes::new(),
                }),
            }],
            default,
        }
    }

    #[tokio::test]
    async fn it_is_alive_before_it_is_ready() {
        let house = House::new().await;
        let ready = || house.get(paths::READY);
        assert_eq!(
            house.get(paths::LIVE).await,
            (StatusCode::OK, "ok\n".into())
        );
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(ready().await, (unavailable, "starting\n".into()));
        let waits = vec!["listener web waits for todo: no address".to_owned()];
        house.context.lifecycle.wait_for(waits);
        let named = "starting\nlistener web waits for todo: no address\n";
        assert_eq!(ready().await, (unavailable, named.into()));
        house.context.lifecycle.wait_for(Vec::new());
        house.context.lifecycle.enter(Phase::Serving);
        assert_eq!(ready().await, (StatusCode::OK, "ready\n".into()));
        house.context.lifecycle.enter(Phase::LameDuck);
        assert_eq!(ready().await, (unavailable, "lame_duck\n".into()));
        assert_eq!(house.get(paths::LIVE).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn what_does_not_exist_tells_what_does() {
        let house = House::new().await;
        for path in ["/", "/metrics/", "/livez/../metrics", "//metrics"] {
            let (status, body) = house.get(path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            for page in [
                "/livez",
                "/readyz",
                "/metrics",
                "/api/status",
                "/api/autoscaling",
            ] {
                assert!(body.contains(page), "{body}");
            }
        }
        assert_eq!(house.get("/livez?verbose").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn only_get_and_head_are_answered() {
        let house = House::configured().await;
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "X"] {
            let (status, head, _) = house.ask(method, paths::STATUS).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert!(head.contains("allow: get, head"), "{head}");
        }
        for path in [paths::LIVE, paths::METRICS, paths::STATUS] {
            let (status, head, body) = house.ask("HEAD", path).await;
            assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
            assert!(head.contains("content-length: "), "{head}");
            assert!(!head.contains("content-length: 0"), "{head}");
        }
    }

    #[tokio::test]
    async fn odd_requests_end_in_an_answer_or_a_close() {
        let house = House::new().await;
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * MAX_HEAD));
        let odd = [
            "\r\n\r\n\r\n",
            "GET\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET /livez HTTP/9.9\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /livez HTTP/1.1\r\naccept: \u{fc}\r\n\r\n",
            "POST /livez HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc",
            "\u{0}\u{1}\u{2}\r\n\r\n",
            &long,
        ];
        for request in odd {
            let said = timeout(HEAD_TIMEOUT * 2, house.say(request)).await;
            assert!(said.is_ok(), "{request:?}");
            assert_eq!(
                house.get(paths::LIVE).await.0,
                StatusCode::OK,
                "{request:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_silent_client_is_closed() {
        let house = House::new().await;
        let started = Instant::now();
        assert_eq!(house.say("GET /livez HTTP/1.1\r\n").await, "");
        assert!(started.elapsed() < HEAD_TIMEOUT * 2);
    }

    #[tokio::test]
    async fn silent_connections_keep_no_probe_out() {
        let house = House::new().await;
        let mut held = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            held.push(TcpStream::connect(house.address).await.unwrap());
            assert_eq!(house.get(paths::LIVE).await.0, StatusCode::OK);
        }
        let mut oldest = held.swap_remove(0);
        let read = timeout(HEAD_TIMEOUT / 2, oldest.read(&mut [0])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    }

    #[tokio::test]
    async fn a_foreign_name_is_refused_without_the_token() {
        let house = House::new().await;
        let mut config = config();
        config.admin = Some(config::Admin {
            bind: house.address,
            token: Some(config::Token("secret".to_owned())),
        });
        house.publisher.configure(config).await.unwrap();
        let ask = async |path: &str, host: &str, more: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n");
            let answer = house.say(&request).await;
            answer.split(' ').nth(1).unwrap().to_owned()
        };
        for path in [paths::STATUS, paths::METRICS, paths::AUTOSCALING] {
            assert_eq!(ask(path, "evil.example:9090", "").await, "401", "{path}");
            assert_eq!(ask(path, "localhost:9090", "").await, "200", "{path}");
            assert_eq!(ask(path, "10.0.0.1", "").await, "200", "{path}");
            let token = "authorization: Bearer secret\r\n";
            assert_eq!(ask(path, "weir.internal", token).await, "200", "{path}");
        }
        assert_eq!(ask(paths::LIVE, "evil.example", "").await, "200");
        assert_eq!(ask(paths::READY, "evil.example", "").await, "503");
    }

    #[tokio::test]
    async fn connections_end_with_the_listener() {
        let mut house = House::new().await;
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        assert_eq!(house.get(paths::LIVE).await.0, StatusCode::OK);
        house.tasks.shutdown().await;
        let mut byte = [0];
        let read = timeout(HEAD_TIMEOUT / 2, stream.read(&mut byte)).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
        assert!(TcpStream::connect(house.address).await.is_err());
    }

    #[tokio::test]
    async fn the_status_shows_listeners_and_groups_in_their_order() {
        let house = House::configured().await;
        house.context.lifecycle.enter(Phase::Serving);
        let status = house.status().await;
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        assert_eq!((status.phase.as_str(), status.snapshot), ("serving", 1));
        assert!(status.started <= status.now);
        let listeners = status.listeners.iter();
        let listeners: Vec<_> = listeners
            .map(|l| (l.name.as_str(), l.rules, l.default_action.as_str()))
            .collect();
        let expected = [
            ("http", 1, "forward todo (90), empty (10)"),
            ("other", 1, "redirect 301 https://#{host}/#{path}"),
        ];
        assert_eq!(listeners, expected);
        let [todo, empty] = status.target_groups.as_slice() else {
            panic!("{:?}", status.target_groups);
        };
        assert_eq!((todo.name.as_str(), todo.checked), ("todo", true));
        assert_eq!(todo.algorithm, "round_robin");
        assert_eq!((todo.min_healthy.as_str(), todo.fail_open), ("50%", false));
        assert_eq!((empty.name.as_str(), empty.targets.len()), ("empty", 0));
    }

    #[tokio::test]
    async fn the_status_shows_why_a_target_is_out() {
        let house = House::configured().await;
        house.pass(0);
        house.fail(0, "\u{1b}[2J \"no\"");
        let _lease = house.lease();
        let status = house.status().await;
        let [sick, new] = status.target_groups[0].targets.as_slice() else {
            panic!("{status:?}");
        };
        assert_eq!((sick.state.as_str(), sick.weight), ("unhealthy", 1));
        assert_eq!(sick.reason.as_deref(), Some("Target.ResponseCodeMismatch"));
        assert_eq!(
            sick.since,
            Some(Timestamp::from_millisecond(1_500).unwrap())
        );
        assert_eq!((sick.in_flight, sick.requests), (1, 1));
        let [last, first] = sick.last_checks.as_slice() else {
            panic!("{sick:?}");
        };
        assert_eq!((last.ok, last.status, first.ok), (false, Some(503), true));
        assert_eq!(last.elapsed, Duration::from_micros(2_500));
        assert_eq!(last.detail.as_deref(), Some("\u{1b}[2J \"no\""));
        assert_eq!((new.state.as_str(), new.since), ("initial", None));
        assert_eq!(new.reason.as_deref(), Some("Elb.InitialHealthChecking"));
        let (_, json) = house.get(paths::STATUS).await;
        assert!(json.contains(r#""at": "1970-01-01T00:00:01.5Z""#), "{json}");
        assert!(json.contains(r#""ms": 2.5"#), "{json}");
    }

    #[tokio::test]
    async fn the_metrics_page_is_legal_and_shows_the_moment() {
        let house = House::new().await;
        assert_eq!(house.page().await.value("weir_ready"), Some(0.0));
        house.publisher.configure(config()).await.unwrap();
        house.context.lifecycle.enter(Phase::Serving);
        house.pass(0);
        house.fail(1, "");
        let _lease = house.lease();
        let page = house.page().await;
        let target = |name: &str, port: u16| {
            let labels = format!(r#"target_group="todo",target="127.0.0.1:{port}""#);
            page.value(&format!("{name}{{{labels}}}"))
        };
        assert_eq!(target("weir_target_in_flight", 6400), Some(1.0));
        assert_eq!(target("weir_target_health", 6400), Some(1.0));
        assert_eq!(target("weir_target_health", 6401), Some(0.0));
        let targets = |group: &str, state: &str| {
            let labels = format!(r#"target_group="{group}",state="{state}""#);
            page.value(&format!("weir_targets{{{labels}}}"))
        };
        assert_eq!(targets("todo", "healthy"), Some(1.0));
        assert_eq!(targets("todo", "unhealthy"), Some(1.0));
        assert_eq!(targets("todo", "draining"), Some(0.0));
        assert_eq!(targets("empty", "healthy"), Some(0.0));
        let failing_open = r#"weir_target_group_failing_open{target_group="todo"}"#;
        assert_eq!(page.value(failing_open), Some(0.0));
        assert_eq!(page.value("weir_ready"), Some(1.0));
        assert_eq!(page.value("weir_snapshot_version"), Some(1.0));
        assert!(page.value("process_start_time_seconds") > Some(1.6e9));
        if cfg!(target_os = "linux") {
            assert!(page.value("process_resident_memory_bytes") > Some(1e6));
            assert!(page.value("process_open_fds") > Some(3.0));
        }
    }

    /// One replica that runs, and one evaluation after another of its group.
    fn scaled(house: &mut House, outcomes: &[Outcome]) {
        let since = SystemTime::UNIX_EPOCH;
        let replica = |id: u64, name: &str| replicas::Replica {
            id: replicas::ReplicaId(id),
            name: Some(name.to_owned()),
            pid: None,
            address: Some(([127, 0, 0, 1], 6400).into()),
            state: replicas::ReplicaState::Running,
            restarts: 0,
            since,
        };
        let usage = replicas::Usage {
            cpu: Some(35.0),
            memory: None,
        };
        let group = replicas::GroupReplicas {
            desired: 1,
            replicas: vec![replica(1, "todo.1"), replica(2, "todo.1")],
            usage: [1, 2].map(|id| (replicas::ReplicaId(id), usage)).into(),
            measured: None,
            fault: Some(replicas::Fault {
                message: "down".to_owned(),
                since,
            }),
            is_scaler: true,
        };
        let status = replicas::Status::from([("todo".into(), group)]);
        house.context.replicas = watch::channel(status).1;
        for (second, outcome) in (0..).zip(outcomes) {
            let decision = decision(second, *outcome);
            let readings = vec![
                ("cpu".to_owned(), Reading::Value(35.0)),
                ("memory".to_owned(), Reading::Missing("why".to_owned())),
            ];
            let journal = &house.context.autoscaling;
            journal.record(&"todo".into(), decision, readings);
        }
    }

    fn decision(second: i64, outcome: Outcome) -> Decision {
        let opinion = Opinion {
            kind: Kind::TargetTracking,
            policy: "target_tracking cpu 20".to_owned(),
            alarm: AlarmState::High,
            metric: Some(35.0),
            formula: "ceil(1 * 35 / 20) = 2".to_owned(),
            inputs: None,
            wants: Some(2),
            reason: None,
        };
        Decision {
            at: Timestamp::from_second(second).unwrap(),
            group: "todo".to_owned(),
            capacity: Capacity {
                desired: 1,
                running: 1,
                warming: 0,
            },
            before: 1,
            min: 1,
            max: 3,
            opinions: vec![opinion],
            desired: 2,
            outcome,
            out_cooldown: Timestamp::from_second(1000).ok(),
            in_cooldown: None,
        }
    }

    fn scaling_config() -> Config {
        let mut config = config();
        config.target_groups[0].autoscaling = Some(config::Autoscaling {
            min: 1,
            max: 4,
            profile: config::Profile::Fast,
            timing: config::Timing::of(config::Profile::Fast),
            scale_in: true,
            target_tracking: Vec::new(),
            step_scaling: Vec::new(),
            schedule: Vec::new(),
            predictive: None,
            record: None,
        });
        config
    }

    #[tokio::test]
    async fn what_was_decided_is_shown_with_the_reasons() {
        let hold = Outcome::Hold(Reason::Cooldown);
        let mut house = House::unserved();
        scaled(&mut house, &[Outcome::ScaleOut, hold, hold]);
        house.serve().await;
        let before = house.get(paths::AUTOSCALING).await;
        assert!(before.1.contains(r#""target_groups": []"#), "{before:?}");
        house.publisher.configure(scaling_config()).await.unwrap();
        let get = async |query: &str| -> GroupScaling {
            let (status, body) = house.get(&format!("{}{query}", paths::AUTOSCALING)).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            let mut page: AutoscalingStatus = serde_json::from_str(&body).unwrap();
            assert_eq!(page.target_groups.len(), 1);
            page.target_groups.remove(0)
        };
        let todo = get("").await;
        assert_eq!((todo.name.as_str(), todo.minute), ("todo", None));
        assert_eq!(todo.policies[0].formula, "ceil(1 * 35 / 20) = 2");
        let status = &todo.status;
        assert_eq!((status.min, status.max, status.desired), (1, 3, Some(2)));
        assert_eq!((status.alarm.as_str(), status.is_scaler), ("high", true));
        assert_eq!(status.reason.as_deref(), Some("cooldown"));
        assert_eq!(status.metrics[0].value, Some(35.0));
        assert_eq!(status.metrics[1].missing.as_deref(), Some("why"));
        assert_eq!(status.fault.as_ref().unwrap().message, "down");
        let change = status.last_change.as_ref().unwrap();
        assert_eq!((change.from, change.to), (1, 2));
        assert!(change.formula.starts_with("target_tracking cpu 20: "));
        let counts: Vec<_> = todo.last.iter().map(|logged| logged.count).collect();
        assert_eq!(counts, [2, 1], "newest first");
        let one = get("?last=1&minute=true").await;
        assert_eq!((one.last.len(), one.minute.unwrap().len()), (1, 3));
        for query in ["?last=", "?last=-1", "?first=1", "?minute=1"] {
            let path = format!("{}{query}", paths::AUTOSCALING);
            assert_eq!(house.get(&path).await.0, StatusCode::BAD_REQUEST, "{query}");
        }
        let group = house.status().await.target_groups.remove(0);
        assert_eq!(group.autoscaling.as_ref(), Some(status));
        assert_eq!(
            (group.desired, group.replicas[0].cpu),
            (Some(1), Some(35.0))
        );
    }

    #[tokio::test]
    async fn decisions_and_usage_are_on_the_metrics_page() {
        let mut house = House::unserved();
        let hold = Outcome::Hold(Reason::Cooldown);
        scaled(&mut house, &[Outcome::ScaleOut, hold, hold]);
        house.serve().await;
        house.publisher.configure(scaling_config()).await.unwrap();
        let page = house.page().await;
        let todo = |name: &str, labels: &str| {
            page.value(&format!(r#"weir_{name}{{target_group="todo"{labels}}}"#))
        };
        assert_eq!(todo("autoscaling_desired", ""), Some(2.0));
        assert_eq!(todo("autoscaling_running", ""), Some(1.0));
        assert_eq!(todo("autoscaling_min", ""), Some(1.0));
        assert_eq!(todo("autoscaling_max", ""), Some(3.0));
        let holds = r#",outcome="hold",reason="cooldown""#;
        assert_eq!(todo("autoscaling_decisions_total", holds), Some(2.0));
        let outs = r#",outcome="scale_out",reason="""#;
        assert_eq!(todo("autoscaling_decisions_total", outs), Some(1.0));
        assert_eq!(todo("replicas_fault", ""), Some(1.0));
        let replica = r#",replica="todo.1""#;
        assert_eq!(todo("replica_cpu_percent", replica), Some(35.0));
        assert_eq!(todo("replica_memory_percent", replica), None);
        assert!(!page.has(r#"weir_replicas_fault{target_group="empty"}"#));
    }

    #[tokio::test]
    async fn the_format_is_what_the_scraper_asks_for() {
        let house = House::new().await;
        let (_, head, _) = house.ask("GET", paths::METRICS).await;
        assert!(head.contains("application/openmetrics-text; version=1.0.0"));
        let browser = "GET /metrics HTTP/1.1\r\naccept: text/html\r\n\r\n";
        let answer = house.say(browser).await;
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        let counter = "# TYPE weir_connections_total counter\nweir_connections_total 0\n";
        assert!(answer.contains(counter), "{answer}");
        assert!(!answer.contains("# EOF"), "{answer}");
    }
}
