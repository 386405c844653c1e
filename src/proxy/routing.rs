//! Checks a request and finds its action, without waiting.

use std::sync::Arc;
use std::time::SystemTime;

use super::client::Client;
use super::filters::RequestFacts;
use super::forwarded::ForwardedPolicy;
use super::hops::{self, HopLimit, RequestHop};
use super::respond::{self, OwnResponse};
use super::sticky::{self, StickyContext};
use super::trust;
use super::worker::Proxy;
use crate::http1::{Class, Decision, Desync, Reason, decide};
use crate::message::{Exchange, FieldName, Method, RequestHead};
use crate::model::{Action, DesyncMitigation, EncodedSlashes, Failure, Filters, NormalizePath};
use crate::observe::{self, LoggedHead, Record, RequestId};
use crate::router::{self, RequestView};
use crate::state::{CompiledListener, DataPlaneSnapshot};
use crate::target_group::TargetGroup;

/// The action for a request.
pub(super) enum Route {
    /// Forward to a group. The text is a `Set-Cookie` value that names the group, if the client
    /// does not have it yet.
    Forward(Arc<TargetGroup>, Option<String>),
    /// Answer without a target.
    Respond(Box<OwnResponse>),
}

/// What was found out about a request on the way to its action.
pub(super) struct Routed {
    pub(super) listener: Arc<CompiledListener>,
    /// The filters of the action, and what their placeholders stand for.
    pub(super) filters: Option<Filtering>,
    pub(super) hop: RequestHop,
    /// Whether the peer is a trusted proxy.
    pub(super) trusted: bool,
    /// Whether the connection to the target is to end with the request.
    pub(super) closes: bool,
}

/// The filters of an action, and what their placeholders stand for in one request.
pub(super) type Filtering = Box<(Arc<Filters>, RequestFacts)>;

impl Proxy {
    /// Checks a request and finds its action. Does not wait, because the snapshot is not to be held
    /// while the request is forwarded.
    pub(super) fn receive(
        &self,
        snapshot: &DataPlaneSnapshot,
        client: &Client,
        head: &mut RequestHead,
        reason: Option<Reason>,
        exchange: &mut impl Exchange,
        record: &mut Record,
    ) -> Result<(Route, Routed), Failure> {
        record.is_head = head.method() == Method::Head;
        if record.is_logged() {
            let host = head.fields.get(FieldName::Host);
            record.head = Some(LoggedHead::new(head.method_name(), head.target(), host));
        }
        let Some(listener) = snapshot.serving(client.socket).filter(|l| is_http(l)) else {
            exchange.close_after();
            return Err(Failure::ListenerGone);
        };
        let closes = Self::check(listener, head, reason, exchange, record)?;
        let facts = (!exchange.body_length().is_empty(), closes);
        self.route(client, snapshot, listener, head, facts, record)
    }

    /// Refuses what is not forwarded. Returns whether the connections are to end with the request.
    fn check(
        listener: &CompiledListener,
        head: &RequestHead,
        reason: Option<Reason>,
        exchange: &mut impl Exchange,
        record: &mut Record,
    ) -> Result<bool, Failure> {
        let class = reason.map_or(Class::Compliant, Reason::class);
        record.desync = reason.and_then(desync);
        let mode = desync_mode(listener);
        let closes = match decide(mode, class) {
            Decision::Reject => return Err(Failure::MalformedRequest),
            Decision::ForwardAndClose => true,
            Decision::Forward => false,
        };
        if closes {
            exchange.close_after();
        }
        if matches!(head.method(), Method::Connect | Method::Trace) {
            return Err(Failure::MethodNotForwarded);
        }
        Ok(closes)
    }

    /// Makes the head what the target will see, so that rules match nothing that is dropped; then
    /// applies the limit of the client's rate and finds the action.
    fn route(
        &self,
        client: &Client,
        snapshot: &DataPlaneSnapshot,
        listener: &Arc<CompiledListener>,
        head: &mut RequestHead,
        (has_body, closes): (bool, bool),
        record: &mut Record,
    ) -> Result<(Route, Routed), Failure> {
        let settings = &listener.forwarded;
        let peer = client.peer.client();
        let trusted = trust::is_trusted(settings, peer);
        if trusted {
            record.client = trust::client_behind(settings, peer, &head.fields);
            if let Some(id) = head
                .fields
                .get(FieldName::XRequestId)
                .and_then(RequestId::given)
            {
                record.request_id = Some(id);
            }
        }
        forwarded_policy(listener).strip(&mut head.fields, trusted);
        let hop = hops::strip_request(head, has_body);
        if !head.fields.contains(FieldName::Host) {
            // HTTP/1.0 has none: the host is the address that the client connected to.
            let host = client.default_host();
            head.set_host(host.as_bytes())
                .map_err(|_| Failure::BadHost)?;
        }
        if let Some(limiter) = &listener.rate_limit {
            limiter
                .check(record.client, &head.fields, record.started())
                .map_err(Failure::RateLimited)?;
        }
        let (route, filters) = match hops::count_hop(head) {
            HopLimit::Answer => (Route::Respond(Box::new(respond::last_hop())), None),
            HopLimit::Forward => {
                self.find_action(client, snapshot, listener, head, trusted, record)?
            }
        };
        let routed = Routed {
            listener: Arc::clone(listener),
            filters,
            hop,
            trusted,
            closes,
        };
        Ok((route, routed))
    }

    fn find_action(
        &self,
        client: &Client,
        snapshot: &DataPlaneSnapshot,
        listener: &CompiledListener,
        head: &mut RequestHead,
        trusted: bool,
        record: &mut Record,
    ) -> Result<(Route, Option<Filtering>), Failure> {
        let policy = &listener.http;
        let view = RequestView::new(head, record.client, policy.normalize_path);
        if policy.encoded_slashes == EncodedSlashes::Reject && has_encoded_slash(view.sent_path()) {
            return Err(Failure::MalformedRequest);
        }
        if !view.has_host() {
            return Err(Failure::BadHost);
        }
        let asked = listener.challenges.as_ref();
        if let Some(answer) = asked.and_then(|challenges| challenges.answer(view.sent_path())) {
            return Ok((Route::Respond(Box::new(respond::challenge(answer))), None));
        }
        let (action, rule) = listener.rules.route(&view);
        record.rule = rule.map(|priority| priority.0);
        let mut filters = None;
        let route = match action {
            Action::Forward(forward) => {
                filters = forward.filters.clone().map(|filters| {
                    let id = record.request_id.clone().unwrap_or_else(|| self.ids.next());
                    let facts = RequestFacts::new(&view, client.scheme(), client.port(), id);
                    Box::new((filters, facts))
                });
                let entropy = self.entropy.next();
                let (index, cookie) = match forward.sticky {
                    None => (router::choose(forward, entropy), None),
                    Some(duration) => {
                        let context = sticky_context(client, listener, head, trusted);
                        let (seal, group) = (&listener.choices, |index| snapshot.group(index));
                        sticky::choose_group(forward, duration, group, seal, context, entropy)
                    }
                };
                Route::Forward(Arc::clone(snapshot.group(index)), cookie)
            }
            Action::Redirect(redirect) => {
                Route::Respond(Box::new(respond::redirect(redirect, &view, client)))
            }
            Action::FixedResponse(fixed) => Route::Respond(Box::new(respond::fixed(fixed))),
        };
        if policy.normalize_path == NormalizePath::Forward && view.path() != view.sent_path() {
            let path = view.path();
            let target = match view.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            };
            head.set_target(target.as_bytes())
                .map_err(|_| Failure::MalformedRequest)?;
        }
        Ok((route, filters))
    }
}

/// Whether a reload has left the listener its protocol.
fn is_http(listener: &CompiledListener) -> bool {
    listener.protocol.is_http()
}

fn has_encoded_slash(path: &str) -> bool {
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        if after
            .get(..2)
            .is_some_and(|digits| digits.eq_ignore_ascii_case("2f"))
        {
            return true;
        }
        rest = after;
    }
    false
}

/// What [`sticky`] needs to know of a request.
pub(super) fn sticky_context<'a>(
    client: &Client,
    listener: &CompiledListener,
    head: &'a RequestHead,
    trusted: bool,
) -> StickyContext<'a> {
    let reported = trust::is_reported_secure(&listener.forwarded, &head.fields);
    StickyContext {
        fields: &head.fields,
        now: SystemTime::now(),
        is_secure: reported
            .filter(|_| trusted)
            .unwrap_or(client.scheme() == "https"),
    }
}

/// What a listener tells its targets about clients, and what it believes.
pub(super) fn forwarded_policy(listener: &CompiledListener) -> ForwardedPolicy<'_> {
    ForwardedPolicy {
        settings: &listener.forwarded,
        identity: &listener.identity,
        knows_clients: listener.tls.as_ref().is_some_and(|tls| tls.knows_clients),
    }
}

/// The fault of a head, for the log and the metrics; `None` for one that is understood alike by
/// all, such as a head that is too large.
pub(super) fn desync(reason: Reason) -> Option<observe::Desync> {
    let class = reason.class();
    (class != Class::Compliant).then(|| observe::Desync {
        class: class.as_str(),
        reason: reason.as_str(),
    })
}

fn desync_mode(listener: &CompiledListener) -> Desync {
    match listener.http.desync_mitigation {
        DesyncMitigation::Monitor => Desync::Monitor,
        DesyncMitigation::Defensive => Desync::Defensive,
        DesyncMitigation::Strictest => Desync::Strictest,
    }
}
