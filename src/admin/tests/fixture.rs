//! A Weir without workers, for the tests of the admin listener.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{Context, HistoryStatus, Status, paths, serve};
use crate::config::{self, Config};
use crate::model::{
    AcceptProxy, Action, CheckFailure, CheckResult, ClientLimits, FixedResponse, Forward,
    Forwarded, HealthReason, HttpPolicy, ListenerId, Priority, Redirect, RedirectPart, Rule,
    TargetGroupId, Thresholds,
};
use crate::observe::openmetrics::ParsedPage;
use crate::replicas;
use crate::state::Publisher;
use crate::target::Lease;

/// A Weir without workers, and its admin listener.
pub(super) struct Fixture {
    pub(super) address: SocketAddr,
    pub(super) context: Context,
    pub(super) tasks: JoinSet<()>,
    pub(super) publisher: Publisher,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let mut fixture = Self::unserved();
        fixture.serve().await;
        fixture
    }

    /// Its admin listener does not listen yet.
    pub(super) fn unserved() -> Self {
        let (publisher, task, reader) = Publisher::new(0);
        let (_, replicas) = watch::channel(replicas::Status::default());
        let context = Context {
            certificates: Arc::default(),
            discovery: Arc::default(),
            publisher: publisher.clone(),
            connections: watch::channel(Vec::new()).1,
            history: Arc::default(),
            replicas,
            replica_control: replicas::ReplicaControl::default(),
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

    pub(super) async fn serve(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.tasks
            .spawn(serve(listener, self.context.clone(), pending()));
    }

    pub(super) async fn unserved_and_configured() -> Self {
        let fixture = Self::unserved();
        fixture.publisher.configure(config()).await.unwrap();
        fixture
    }

    pub(super) async fn configured() -> Self {
        let fixture = Self::new().await;
        fixture.publisher.configure(config()).await.unwrap();
        fixture
    }

    /// The same, with the token `secret` of changes.
    pub(super) async fn with_token(config: Config) -> Self {
        let fixture = Self::new().await;
        fixture.configure_with_token(config).await;
        fixture
    }

    pub(super) async fn configure_with_token(&self, config: Config) {
        let admin = Some(config::Admin {
            bind: self.address,
            token: Some(config::Token("secret".to_owned())),
        });
        let config = Config { admin, ..config };
        self.publisher.configure(config).await.unwrap();
    }

    /// Sends bytes unchanged, and reads until the listener closes the connection.
    pub(super) async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A connection may be reset after the response.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    pub(super) async fn ask(&self, method: &str, path: &str) -> (StatusCode, String, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naccept: application/openmetrics-text\r\n\r\n"
        );
        let answer = self.send(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// Sends a body, with the token `secret`.
    pub(super) async fn tell(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let length = body.len();
        let answer = self
            .send(&format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 authorization: Bearer secret\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.ask("GET", path).await;
        (status, body)
    }

    pub(super) async fn status(&self) -> Status {
        let (status, body) = self.get(paths::STATUS).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_str(&body).unwrap()
    }

    pub(super) async fn page(&self) -> ParsedPage {
        let (status, body) = self.get(paths::METRICS).await;
        assert_eq!(status, StatusCode::OK);
        ParsedPage::parse(body)
    }

    pub(super) async fn history(&self, query: &str) -> HistoryStatus {
        let (status, body) = self.get(&format!("{}{query}", paths::HISTORY)).await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_str(&body).unwrap()
    }

    pub(super) fn fail(&self, target: usize, detail: &str) {
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

    pub(super) fn pass(&self, target: usize) {
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
        target.health().lock().record(result, once);
    }

    pub(super) fn lease(&self) -> Lease {
        let snapshot = self.context.reader.load();
        snapshot.groups()[0].targets[0].target.lease()
    }
}

pub(super) fn config() -> Config {
    let forward = Action::Forward(Forward::to(vec![("todo".into(), 90), ("empty".into(), 10)]));
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
    config::Listener {
        id: ListenerId::from(name),
        bind: ([127, 0, 0, 1], 8080).into(),
        socket_mode: None,
        protocol: crate::model::Protocol::Http1,
        tls: None,
        max_connections: 100,
        client: ClientLimits::default(),
        proxy_protocol: AcceptProxy::Off,
        http: HttpPolicy::default(),
        forwarded: Forwarded::default(),
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
