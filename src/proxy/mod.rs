//! The path of a request from its head to its response.
//!
//! [`Proxy::handle`] never fails: every error becomes a response and a record. It
//! reads top-down: `handle` routes, `forward` chooses targets until one answers the
//! request, `attempt` sends it to one of them.

mod client;
mod cookie;
mod error;
mod forward;
mod head;
mod host;
mod ids;
mod key;
mod preference;
mod queue;
mod respond;
mod retry;
mod shortage;
mod sticky;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{EXPECT, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::model::{AccessLog, Action, Failure};
use crate::observe::{Record, RequestHead, WorkerMetrics};
use crate::relay::{Outgoing, RequestFields, ResponseBody, UpstreamResponse, prepare_request};
use crate::router::{self, RequestView};
use crate::state::{CompiledListener, DataPlaneReader, DataPlaneSnapshot};
use crate::target_group::TargetGroup;
use crate::upstream::Pool;

pub use crate::relay::{RequestBody, Tunnel};
pub use client::Client;
pub use error::refusal;
use host::Host;
use ids::{Entropy, RequestIds};
use preference::Preference;
use shortage::Shortages;
use sticky::{StickyContext, StickyRequest};

/// Handles the requests of one worker.
#[derive(Debug)]
pub struct Proxy {
    reader: DataPlaneReader,
    pool: Rc<Pool<RequestBody>>,
    metrics: Rc<WorkerMetrics>,
    ids: RequestIds,
    entropy: Entropy,
    shortages: Shortages,
}

/// The action for a request, decided without waiting.
enum Route {
    /// Forward to a group. The cookie names the group, if the client does not have it yet.
    Forward(Arc<TargetGroup>, Option<HeaderValue>),
    Respond(respond::OwnResponse),
}

/// A request that is checked and routed. Boxed, because it is large and moved several times.
struct Routed {
    route: Route,
    parts: http::request::Parts,
    host: Host,
    listener: Arc<CompiledListener>,
    trusted: bool,
    client: std::net::IpAddr,
}

impl Proxy {
    /// A proxy that sends requests over the connections of `pool`.
    pub fn new(
        reader: DataPlaneReader,
        pool: Rc<Pool<RequestBody>>,
        metrics: Rc<WorkerMetrics>,
    ) -> Self {
        Self {
            reader,
            pool,
            metrics,
            ids: RequestIds::default(),
            entropy: Entropy::default(),
            shortages: Shortages::default(),
        }
    }

    /// The metrics of this worker.
    pub fn metrics(&self) -> &Rc<WorkerMetrics> {
        &self.metrics
    }

    /// Answers a request. Cancel safety: dropping the future abandons the request,
    /// ends its lease and records that the client left.
    pub async fn handle(
        &self,
        client: &Client,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        client.state.request();
        client.count_request();
        let has_body = !request.body().is_end_stream();
        let waits = has_body && request.headers().contains_key(EXPECT);
        let (mut record, routed, body) = self.receive(client, request);
        let source = match routed {
            Ok(routed) => self.answer(client, routed, body, &mut record).await,
            Err(failure) => Err(failure),
        };
        let is_unread = has_body && !matches!(source, Ok(ResponseSource::Upstream(_)));
        if is_unread {
            client.state.linger();
        }
        let mut response = match source {
            Ok(ResponseSource::Upstream(response)) if response.switches() => {
                return switched(response, record, client).await;
            }
            Ok(ResponseSource::Upstream(response)) => {
                response.into_response(record, Rc::clone(&client.state))
            }
            Ok(ResponseSource::Own(response)) => response.into_response(record, client),
            Err(failure) => respond::failure(failure, record, client),
        };
        if client.has_sent_enough() {
            // Further requests that it has sent already stay unread.
            client.state.linger();
        }
        // A client without a 100 may send its body all the same or leave it out, so no request
        // can follow on the connection (RFC 9110 section 10.1.1).
        if client.closes() || (waits && is_unread) {
            respond::close(&mut response);
        }
        response
    }

    /// Answers a head that could not be read. Returns the whole response as text.
    pub fn refuse(&self, client: &Client, failure: Failure) -> String {
        let snapshot = self.reader.load();
        let listener = snapshot.serving(client.socket);
        respond::refusal(failure, self.begin(client, listener.map(Arc::as_ref)))
    }

    /// Begins the record and finds the action, without waiting: the snapshot is read once, and
    /// not held while the request is forwarded.
    fn receive(
        &self,
        client: &Client,
        request: Request<Incoming>,
    ) -> (Record, Result<Box<Routed>, Failure>, Incoming) {
        let snapshot = self.reader.load();
        let listener = snapshot.serving(client.socket);
        let mut record = self.begin(client, listener.map(Arc::as_ref));
        record.is_head = request.method() == Method::HEAD;
        if record.is_logged() {
            record.head = Some(RequestHead {
                method: request.method().clone(),
                uri: request.uri().clone(),
                host: request.headers().get(http::header::HOST).cloned(),
            });
        }
        let (parts, body) = request.into_parts();
        let routed = match listener {
            Some(listener) => head::check(&parts, &body)
                .and_then(|()| self.route(client, &snapshot, listener, parts, &mut record)),
            None => Err(Failure::ListenerGone),
        };
        (record, routed, body)
    }

    fn begin(&self, client: &Client, listener: Option<&CompiledListener>) -> Record {
        let (log, id) = match listener {
            Some(listener) => (listener.access_log, (listener.slot, listener.id.clone())),
            None => (AccessLog::Failures, client.listener.clone()),
        };
        let mut record = Record::begin(&self.metrics, log, id, client.peer.ip());
        record.request_id = Some(self.ids.next());
        record
    }

    /// Checks the head and finds the action.
    fn route(
        &self,
        client: &Client,
        snapshot: &DataPlaneSnapshot,
        listener: &Arc<CompiledListener>,
        parts: http::request::Parts,
        record: &mut Record,
    ) -> Result<Box<Routed>, Failure> {
        let host = Host::of(&parts, client)?;
        let trusted = client.is_trusted(&listener.forwarded);
        if trusted {
            record.client = client.behind_proxies(&parts.headers, &listener.forwarded);
            if let Some(id) = crate::relay::request_id(&parts.headers) {
                record.request_id = Some(id.clone());
            }
        }
        if let Some(limiter) = &listener.rate_limit {
            limiter
                .check(record.client, &parts.headers, record.started())
                .map_err(Failure::RateLimited)?;
        }
        let view = RequestView::new(&parts, record.client);
        let (action, priority) = listener.rules.route(&view);
        record.rule = priority.map(|priority| priority.0);
        let route = match action {
            Action::Forward(forward) => {
                let entropy = self.entropy.next();
                let (index, cookie) = match forward.sticky {
                    None => (router::choose(forward, entropy), None),
                    Some(duration) => {
                        let context = StickyContext::new(&parts.headers, client, trusted);
                        let seal = &listener.choices;
                        sticky::choose_group(forward, duration, snapshot, seal, context, entropy)
                    }
                };
                Route::Forward(Arc::clone(snapshot.group(index)), cookie)
            }
            Action::Redirect(redirect) => {
                Route::Respond(respond::redirect(redirect, &view, client))
            }
            Action::FixedResponse(fixed) => Route::Respond(respond::fixed(fixed)),
        };
        Ok(Box::new(Routed {
            route,
            host,
            listener: Arc::clone(listener),
            trusted,
            client: record.client,
            parts,
        }))
    }

    async fn answer(
        &self,
        client: &Client,
        routed: Box<Routed>,
        body: Incoming,
        record: &mut Record,
    ) -> Result<ResponseSource, Failure> {
        let (group, group_cookie) = match routed.route {
            Route::Respond(response) => return Ok(ResponseSource::Own(response)),
            Route::Forward(group, cookie) => (group, cookie),
        };
        record.group = Some(group.id.clone());
        if group.failing_open {
            self.metrics.failed_open();
        }
        let limits = &routed.listener.client;
        let mut parts = routed.parts;
        key::check_length(&parts.headers, limits.max_body)?;
        let sticky = group.sticky.as_ref().map(|sessions| {
            StickyRequest::new(
                sessions,
                StickyContext::new(&parts.headers, client, routed.trusted),
            )
        });
        let session = sticky.as_ref().and_then(StickyRequest::target);
        let prepared = key::prepare(&group, &parts, routed.client, body, limits).await?;
        let upgrade = prepare_request(
            &mut parts,
            RequestFields {
                forwarded: &client.forwarded,
                mode: routed.listener.forwarded.mode,
                trusted: routed.trusted,
                host: &routed.host.value,
                new_host: routed.host.is_new.then(|| routed.host.value.clone()),
                request_id: record.request_id.clone().unwrap_or_else(|| self.ids.next()),
            },
        );
        let timeout = group.upstream.request_timeout;
        let until = timeout.map(|timeout| Instant::from_std(record.started()) + timeout);
        let mut outgoing = Outgoing::new(parts, prepared.body, until, upgrade);
        let preference = Preference {
            key: prepared.key,
            session,
        };
        let mut result = self
            .forward(&group, preference, &mut outgoing, record)
            .await;
        record.received = outgoing.received();
        if let Ok(response) = &mut result {
            if let (Some(sticky), Some(target)) = (sticky, &record.target) {
                sticky.finish(target, response.headers_mut());
            }
            if let Some(cookie) = group_cookie {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
        result.map(ResponseSource::Upstream)
    }
}

/// Where a response comes from.
enum ResponseSource {
    Upstream(UpstreamResponse),
    Own(respond::OwnResponse),
}

/// Answers a request after its target has switched to another protocol, and leaves the tunnel to
/// the connection.
async fn switched(
    response: UpstreamResponse,
    record: Record,
    client: &Client,
) -> Response<ResponseBody> {
    match Tunnel::open(response, record, Rc::clone(&client.state)).await {
        Ok((response, tunnel)) => {
            client.tunnel.replace(Some(Box::new(tunnel)));
            response
        }
        Err(record) => {
            let mut response = respond::failure(Failure::TargetClosed, record, client);
            respond::close(&mut response);
            response
        }
    }
}
