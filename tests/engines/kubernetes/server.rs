//! An API server of one namespace with one deployment. It accepts only requests that the published
//! schema and the Role of the examples allow.

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

use super::published::{ApiRequest, parameters, parse, published};
use super::role::{Rule, shipped_rules};
use super::schema::check;

pub(super) const NAMESPACE: &str = "shop";
pub(super) const DEPLOYMENT: &str = "taskoverflow";
pub(super) const SERVICE: &str = "taskoverflow-pods";
pub(super) const SELECTOR: &str = "app=taskoverflow,tier in (web)";

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The state of the cluster, which tests change.
pub(super) struct Cluster {
    /// Counts each change, as etcd does.
    pub(super) version: u64,
    pub(super) replicas: i32,
    /// Endpoints, in pages of [`Cluster::page`].
    pub(super) endpoints: Vec<Value>,
    pub(super) page: usize,
    pub(super) pods: Vec<Value>,
    /// `None` if no server is behind that API.
    pub(super) metrics: Option<Vec<Value>>,
    pub(super) leases: BTreeMap<String, Value>,
    /// Another client writes before each of so many writes.
    pub(super) rivals: u32,
    /// The fault of requests with a path that contains the text.
    pub(super) fault: Option<(&'static str, Fault)>,
    /// The rules of the Role.
    pub(super) rules: Vec<Rule>,
    /// Method and path of each request, and its body.
    pub(super) requests: Vec<(String, Value)>,
    /// Requests that the schema does not allow.
    pub(super) violations: Vec<String>,
    /// What of the Role was used.
    pub(super) used: BTreeSet<(String, String, String)>,
    pub(super) watches: usize,
    scale_version: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A response with this status and body.
    Answer(u16, &'static str),
    /// A response that does not end.
    Flood,
    /// No response.
    Hang,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    cluster: Arc<Mutex<Cluster>>,
    /// The version of the endpoints, and the generation of watches that goes on.
    changes: watch::Sender<(u64, u64)>,
    _tasks: Arc<JoinSet<()>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = Arc::new(Mutex::new(Cluster {
            version: 10,
            replicas: 1,
            endpoints: Vec::new(),
            page: usize::MAX,
            pods: Vec::new(),
            metrics: None,
            leases: BTreeMap::new(),
            rivals: 0,
            fault: None,
            rules: shipped_rules(),
            requests: Vec::new(),
            violations: Vec::new(),
            used: BTreeSet::new(),
            watches: 0,
            scale_version: 10,
        }));
        let changes = watch::Sender::new((10, 0));
        let mut tasks = JoinSet::new();
        let served = (cluster.clone(), changes.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (cluster, changes) = served.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let (cluster, changes) = (cluster.clone(), changes.clone());
                        async move { Ok::<_, Infallible>(answer(&cluster, &changes, request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // Fails if the client closes early.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            cluster,
            changes,
            _tasks: Arc::new(tasks),
        }
    }

    pub(super) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    pub(super) fn fail(&self, path: &'static str, fault: Fault) {
        self.cluster().fault = Some((path, fault));
    }

    /// Sets the endpoints: name, address and conditions of each.
    pub(super) fn set_endpoints(&self, endpoints: &[(&str, &str, Value)]) {
        let mut cluster = self.cluster();
        let listed = endpoints.iter().map(|(name, address, conditions)| {
            json!({
                "addresses": [address],
                "conditions": conditions,
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": name},
            })
        });
        cluster.endpoints = listed.collect();
        cluster.version += 1;
        let version = cluster.version;
        self.changes.send_modify(|changes| changes.0 = version);
    }

    /// Ends all watches, as an API server does after some minutes.
    pub(super) fn end_watches(&self) {
        self.changes.send_modify(|changes| changes.1 += 1);
    }

    /// The bodies of the requests with this method and path.
    pub(super) fn sent(&self, method_and_path: &str) -> Vec<Value> {
        let cluster = self.cluster();
        let requests = cluster.requests.iter();
        requests
            .filter(|(request, _)| request == method_and_path)
            .map(|(_, body)| body.clone())
            .collect()
    }

    pub(super) fn assert_as_published(&self) {
        let cluster = self.cluster();
        assert!(!cluster.requests.is_empty(), "no request");
        assert!(cluster.violations.is_empty(), "{:#?}", cluster.violations);
    }
}

async fn answer(
    cluster: &Mutex<Cluster>,
    changes: &watch::Sender<(u64, u64)>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let bytes = bytes.unwrap_or_default();
    let path = head.uri.path().to_owned();
    let fault = cluster.lock().unwrap().fault.clone();
    if let Some((part, fault)) = fault
        && path.contains(part)
    {
        return faulty(fault).await;
    }
    let mut cluster = cluster.lock().unwrap();
    let sent = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let line = format!("{} {path}", head.method);
    cluster.requests.push((line.clone(), sent.clone()));
    let query: BTreeMap<String, String> = head.uri.query().map(parameters).unwrap_or_default();
    let request = match parse(&head.method, &path, &query) {
        Ok(request) => request,
        Err(violation) => return cluster.violated(&line, &violation),
    };
    if let Err(violation) = published(&request, &head, &query, &sent) {
        return cluster.violated(&line, &violation);
    }
    if !cluster.allows(&request) {
        let ApiRequest {
            verb,
            group,
            resource,
            name,
        } = request;
        let message = format!(
            "{resource} \"{name}\" is forbidden: User \"system:serviceaccount:{NAMESPACE}:weir\" \
             cannot {verb} resource \"{resource}\" in API group \"{group}\""
        );
        return failure(StatusCode::FORBIDDEN, "Forbidden", &message);
    }
    if request.verb == "watch" {
        cluster.watches += 1;
        return stream(changes.subscribe());
    }
    cluster.serve(&request, &query, sent)
}

impl Cluster {
    fn allows(&mut self, request: &ApiRequest) -> bool {
        let is_allowed = self
            .rules
            .iter()
            .any(|rule| rule.allows(request.group, request.resource, request.verb));
        if is_allowed {
            let words = (request.group, request.resource, request.verb);
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
        request: &ApiRequest,
        query: &BTreeMap<String, String>,
        sent: Value,
    ) -> Response<Body> {
        let is_write = matches!(request.verb, "create" | "update");
        if is_write && self.rivals > 0 {
            self.rivals -= 1;
            self.interfere(request);
        }
        match (request.resource, request.verb, request.group) {
            ("deployments/scale", _, _) if request.name != DEPLOYMENT => not_found(request),
            ("deployments/scale", "get", _) => self.scale(),
            ("deployments/scale", ..) => {
                if !is_current(&sent, self.scale_version) {
                    return conflict(request);
                }
                let replicas = sent["spec"]["replicas"].as_i64().unwrap_or(0);
                self.replicas = i32::try_from(replicas).unwrap();
                self.version += 1;
                self.scale_version = self.version;
                self.scale()
            }
            ("endpointslices", ..) => self.slices(query),
            ("leases", "get", _) => match self.leases.get(&request.name) {
                Some(lease) => reply("io.k8s.api.coordination.v1.Lease", lease),
                None => not_found(request),
            },
            ("leases", verb, _) => self.write_lease(request, verb == "create", sent),
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
                &json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": request.name}}),
            ),
        }
    }

    /// Another client is faster.
    fn interfere(&mut self, request: &ApiRequest) {
        self.version += 1;
        let version = self.version;
        if request.resource == "deployments/scale" {
            self.scale_version = version;
            return;
        }
        let (name, lease) = lease_of("rival", 15, version);
        self.leases.insert(name, lease);
    }

    fn scale(&self) -> Response<Body> {
        // Zero is left out, as the real server does.
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

    fn write_lease(
        &mut self,
        request: &ApiRequest,
        is_new: bool,
        mut lease: Value,
    ) -> Response<Body> {
        let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
        let known = self.leases.get(&name);
        let is_current = known.is_some_and(|known| {
            known["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"]
        });
        if is_new == known.is_some() || (!is_new && !is_current) {
            return conflict(request);
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name, lease.clone());
        reply("io.k8s.api.coordination.v1.Lease", &lease)
    }
}

/// A lease of the group `todo` with this holder.
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

/// A stream with one event for each change, until the generation ends.
fn stream(changes: watch::Receiver<(u64, u64)>) -> Response<Body> {
    let generation = changes.borrow().1;
    let events = futures_util::stream::unfold(changes, move |mut changes| async move {
        changes.changed().await.ok()?;
        let (version, now) = *changes.borrow_and_update();
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
        Some((Ok::<_, Infallible>(Frame::data(line)), changes))
    });
    Response::new(StreamBody::new(events).boxed_unsync())
}

async fn faulty(fault: Fault) -> Response<Body> {
    match fault {
        Fault::Answer(status, text) => {
            let body = Full::new(Bytes::from_static(text.as_bytes()));
            let mut response = Response::new(body.boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
        Fault::Flood => {
            let spaces = Bytes::from(vec![b' '; 1 << 20]);
            let frames = futures_util::stream::repeat_with(move || {
                Ok::<_, Infallible>(Frame::data(spaces.clone()))
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
        Fault::Hang => std::future::pending().await,
    }
}

fn reply(definition: &str, value: &Value) -> Response<Body> {
    check(definition, value).expect("this server answers as published");
    json_response(StatusCode::OK, value)
}

fn conflict(request: &ApiRequest) -> Response<Body> {
    let message = format!("{} has been modified", request.resource);
    failure(StatusCode::CONFLICT, "Conflict", &message)
}

fn not_found(request: &ApiRequest) -> Response<Body> {
    let message = format!("{} \"{}\" not found", request.resource, request.name);
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
