//! An API server of one namespace with one deployment, which takes nothing that the published
//! schema does not allow and lets nobody do what the Role that ships does not.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::published::{Asked, asked, parameters, published};
use super::role::{Rule, shipped_rules};
use super::schema::check;

pub(super) const NAMESPACE: &str = "shop";
pub(super) const DEPLOYMENT: &str = "taskoverflow";
pub(super) const SERVICE: &str = "taskoverflow-pods";
pub(super) const SELECTOR: &str = "app=taskoverflow,tier in (web)";

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the cluster has; tests change it as they like.
pub(super) struct World {
    /// Counts every change, as etcd does.
    pub(super) version: u64,
    pub(super) replicas: i32,
    /// Endpoints, in pages of [`World::page`].
    pub(super) endpoints: Vec<Value>,
    pub(super) page: usize,
    pub(super) pods: Vec<Value>,
    /// `None`: nobody serves that API.
    pub(super) metrics: Option<Vec<Value>>,
    pub(super) leases: BTreeMap<String, Value>,
    /// Somebody else writes before each of so many writes.
    pub(super) rivals: u32,
    /// Instead of the answers to those whose path holds the text.
    pub(super) trouble: Option<(&'static str, Trouble)>,
    /// What was allowed: a Role.
    pub(super) rules: Vec<Rule>,
    /// Method and path of all that was asked, and what was sent.
    pub(super) requests: Vec<(String, Value)>,
    /// What was not as published.
    pub(super) violations: Vec<String>,
    /// What of the Role was used.
    pub(super) used: BTreeSet<(String, String, String)>,
    pub(super) watches: usize,
    scale_version: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// This status, with this body.
    Answer(u16, &'static str),
    /// An answer that does not end.
    Flood,
    /// None.
    Hang,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    world: Arc<Mutex<World>>,
    /// The version of the endpoints, and which generation of watches may go on.
    news: watch::Sender<(u64, u64)>,
    _tasks: Arc<JoinSet<()>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(World {
            version: 10,
            replicas: 1,
            endpoints: Vec::new(),
            page: usize::MAX,
            pods: Vec::new(),
            metrics: None,
            leases: BTreeMap::new(),
            rivals: 0,
            trouble: None,
            rules: shipped_rules(),
            requests: Vec::new(),
            violations: Vec::new(),
            used: BTreeSet::new(),
            watches: 0,
            scale_version: 10,
        }));
        let news = watch::Sender::new((10, 0));
        let mut tasks = JoinSet::new();
        let served = (world.clone(), news.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (world, news) = served.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let (world, news) = (world.clone(), news.clone());
                        async move { Ok::<_, Infallible>(answer(&world, &news, request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that goes away is no concern of the server's.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            world,
            news,
            _tasks: Arc::new(tasks),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn trouble(&self, path: &'static str, trouble: Trouble) {
        self.world().trouble = Some((path, trouble));
    }

    /// Those that have begun: name, address, conditions.
    pub(super) fn set_endpoints(&self, endpoints: &[(&str, &str, Value)]) {
        let mut world = self.world();
        let listed = endpoints.iter().map(|(name, address, conditions)| {
            json!({
                "addresses": [address],
                "conditions": conditions,
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": name},
            })
        });
        world.endpoints = listed.collect();
        world.version += 1;
        let version = world.version;
        self.news.send_modify(|news| news.0 = version);
    }

    /// Ends all watches, as an API server does after some minutes.
    pub(super) fn end_watches(&self) {
        self.news.send_modify(|news| news.1 += 1);
    }

    /// What was sent with requests like this.
    pub(super) fn sent(&self, method_and_path: &str) -> Vec<Value> {
        let world = self.world();
        let requests = world.requests.iter();
        requests
            .filter(|(request, _)| request == method_and_path)
            .map(|(_, body)| body.clone())
            .collect()
    }

    pub(super) fn assert_as_published(&self) {
        let world = self.world();
        assert!(!world.requests.is_empty(), "nobody has asked");
        assert!(world.violations.is_empty(), "{:#?}", world.violations);
    }
}

async fn answer(
    world: &Mutex<World>,
    news: &watch::Sender<(u64, u64)>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let bytes = bytes.unwrap_or_default();
    let path = head.uri.path().to_owned();
    let trouble = world.lock().unwrap().trouble.clone();
    match trouble {
        Some((part, trouble)) if path.contains(part) => return in_trouble(trouble).await,
        _ => {}
    }
    let mut world = world.lock().unwrap();
    let sent = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let line = format!("{} {path}", head.method);
    world.requests.push((line.clone(), sent.clone()));
    let query: BTreeMap<String, String> = head.uri.query().map(parameters).unwrap_or_default();
    let asked = match asked(&head.method, &path, &query) {
        Ok(asked) => asked,
        Err(violation) => return world.violated(&line, &violation),
    };
    if let Err(violation) = published(&asked, &head, &query, &sent) {
        return world.violated(&line, &violation);
    }
    if !world.allows(&asked) {
        let Asked {
            verb,
            group,
            resource,
            name,
        } = asked;
        let message = format!(
            "{resource} \"{name}\" is forbidden: User \"system:serviceaccount:{NAMESPACE}:weir\" \
             cannot {verb} resource \"{resource}\" in API group \"{group}\""
        );
        return failure(StatusCode::FORBIDDEN, "Forbidden", &message);
    }
    if asked.verb == "watch" {
        world.watches += 1;
        return stream(news.subscribe());
    }
    world.serve(&asked, &query, sent)
}

impl World {
    fn allows(&mut self, asked: &Asked) -> bool {
        let is_allowed = self
            .rules
            .iter()
            .any(|rule| rule.allows(asked.group, asked.resource, asked.verb));
        if is_allowed {
            let words = (asked.group, asked.resource, asked.verb);
            self.used
                .insert((words.0.into(), words.1.into(), words.2.into()));
        }
        is_allowed
    }

    fn violated(&mut self, line: &str, violation: &str) -> Response<Body> {
        self.violations.push(format!("{line}: {violation}"));
        failure(StatusCode::BAD_REQUEST, "BadRequest", violation)
    }

    fn serve(
        &mut self,
        asked: &Asked,
        query: &BTreeMap<String, String>,
        sent: Value,
    ) -> Response<Body> {
        let is_write = matches!(asked.verb, "create" | "update");
        if is_write && self.rivals > 0 {
            self.rivals -= 1;
            self.interfere(asked);
        }
        match (asked.resource, asked.verb, asked.group) {
            ("deployments/scale", _, _) if asked.name != DEPLOYMENT => not_found(asked),
            ("deployments/scale", "get", _) => self.scale(),
            ("deployments/scale", ..) => {
                if !is_current(&sent, self.scale_version) {
                    return conflict(asked);
                }
                let replicas = sent["spec"]["replicas"].as_i64().unwrap_or(0);
                self.replicas = i32::try_from(replicas).unwrap();
                self.version += 1;
                self.scale_version = self.version;
                self.scale()
            }
            ("endpointslices", ..) => self.slices(query),
            ("leases", "get", _) => match self.leases.get(&asked.name) {
                Some(lease) => reply("io.k8s.api.coordination.v1.Lease", lease),
                None => not_found(asked),
            },
            ("leases", verb, _) => self.write_lease(asked, verb == "create", sent),
            ("pods", "list", "metrics.k8s.io") => match &self.metrics {
                None => failure(StatusCode::NOT_FOUND, "NotFound", "no such group"),
                Some(items) => reply(
                    "io.k8s.metrics.v1beta1.PodMetricsList",
                    &json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1",
                            "metadata": {}, "items": items}),
                ),
            },
            ("pods", "list", _) => reply(
                "io.k8s.api.core.v1.PodList",
                &json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods}),
            ),
            _ => reply(
                "io.k8s.api.core.v1.Pod",
                &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": asked.name}}),
            ),
        }
    }

    /// Somebody else is faster.
    fn interfere(&mut self, asked: &Asked) {
        self.version += 1;
        let version = self.version;
        if asked.resource == "deployments/scale" {
            self.scale_version = version;
            return;
        }
        let (name, lease) = lease_of("rival", 15, version);
        self.leases.insert(name, lease);
    }

    fn scale(&self) -> Response<Body> {
        // Zero is left out, as Go does it.
        let spec = match self.replicas {
            0 => json!({}),
            replicas => json!({"replicas": replicas}),
        };
        reply(
            "io.k8s.api.autoscaling.v1.Scale",
            &json!({
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": DEPLOYMENT,
                    "namespace": NAMESPACE,
                    "resourceVersion": self.scale_version.to_string(),
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
                "spec": spec,
                "status": {"replicas": self.endpoints.len(), "selector": SELECTOR},
            }),
        )
    }

    fn slices(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        let from: usize = query
            .get("continue")
            .map_or(0, |from| from.parse().unwrap());
        let to = from.saturating_add(self.page).min(self.endpoints.len());
        let slice = json!({
            "metadata": {"name": format!("{SERVICE}-{from}")},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 6400, "protocol": "TCP"}],
            "endpoints": self.endpoints[from..to],
        });
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if to < self.endpoints.len() {
            metadata["continue"] = json!(to.to_string());
        }
        reply(
            "io.k8s.api.discovery.v1.EndpointSliceList",
            &json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
                    "metadata": metadata, "items": [slice]}),
        )
    }

    fn write_lease(&mut self, asked: &Asked, is_new: bool, mut lease: Value) -> Response<Body> {
        let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
        let known = self.leases.get(&name);
        let is_current = known.is_some_and(|known| {
            known["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"]
        });
        if is_new == known.is_some() || (!is_new && !is_current) {
            return conflict(asked);
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name, lease.clone());
        reply("io.k8s.api.coordination.v1.Lease", &lease)
    }
}

/// A lease of the group `todo` that somebody has.
pub(super) fn lease_of(holder: &str, seconds: i32, version: u64) -> (String, Value) {
    let name = "weir-todo".to_owned();
    let lease = json!({
        "kind": "Lease",
        "apiVersion": "coordination.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "resourceVersion": version.to_string(),
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "leaseTransitions": 4,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    (name, lease)
}

fn is_current(sent: &Value, version: u64) -> bool {
    sent["metadata"]["resourceVersion"].as_str() == Some(&version.to_string())
}

/// One event for each change, until the generation ends.
fn stream(news: watch::Receiver<(u64, u64)>) -> Response<Body> {
    let generation = news.borrow().1;
    let events = futures_util::stream::unfold(news, move |mut news| async move {
        news.changed().await.ok()?;
        let (version, now) = *news.borrow_and_update();
        if now != generation {
            return None;
        }
        let event = json!({"type": "MODIFIED", "object": {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"name": SERVICE, "resourceVersion": version.to_string()},
            "addressType": "IPv4",
            "endpoints": [],
        }});
        let line = Bytes::from(format!("{event}\n"));
        Some((Ok::<_, Infallible>(Frame::data(line)), news))
    });
    Response::new(StreamBody::new(events).boxed_unsync())
}

async fn in_trouble(trouble: Trouble) -> Response<Body> {
    match trouble {
        Trouble::Answer(status, text) => {
            let body = Full::new(Bytes::from_static(text.as_bytes()));
            let mut response = Response::new(body.boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
        Trouble::Flood => {
            let spaces = Bytes::from(vec![b' '; 1 << 20]);
            let frames = futures_util::stream::repeat_with(move || {
                Ok::<_, Infallible>(Frame::data(spaces.clone()))
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        Trouble::Hang => std::future::pending().await,
    }
}

fn reply(definition: &str, value: &Value) -> Response<Body> {
    check(definition, value).expect("this server answers as published");
    json_response(StatusCode::OK, value)
}

fn conflict(asked: &Asked) -> Response<Body> {
    let message = format!("{} has been modified", asked.resource);
    failure(StatusCode::CONFLICT, "Conflict", &message)
}

fn not_found(asked: &Asked) -> Response<Body> {
    let message = format!("{} \"{}\" not found", asked.resource, asked.name);
    failure(StatusCode::NOT_FOUND, "NotFound", &message)
}

fn failure(status: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status.as_u16(),
    });
    check(&format!("{META}.Status"), &body).expect("this server fails as published");
    json_response(status, &body)
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}
