//! Checks a request and finds its action, without waiting.

use std::sync::Arc;
use std::time::SystemTime;

use super::client::Client;
use super::filters::RequestFacts;
use super::forwarded::ForwardedPolicy;
use super::hops::{self, HopLimit, RequestHop};
use super::ids::{Entropy, RequestIds};
use super::respond::{self, OwnResponse};
use super::sticky::{self, StickyContext};
use super::trust;
use super::worker::Proxy;
use crate::http1::{Class, Decision, Desync, Reason, decide};
use crate::message::{Exchange, FieldName, Method, RequestHead, Version};
use crate::model::{Action, DesyncMitigation, EncodedSlashes, Failure, Filters, NormalizePath};
use crate::observe::{self, ExchangeFacts, LoggedHead, Outcome, Record, RequestId};
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
        let serving = snapshot.serving(client.socket).filter(|l| is_http(l));
        let is_exported = serving.is_some_and(|listener| listener.tracing.exported.is_some());
        if record.is_logged() || is_exported {
            let host = head.fields.get(FieldName::Host);
            let mut logged = LoggedHead::new(head.method_name(), head.target(), host);
            if head.version() == Version::Http10 {
                logged.is_old();
            }
            if record.policy().agent {
                let field = |name| head.fields.get(name);
                logged.add_agent(field(FieldName::UserAgent), field(FieldName::Referer));
            }
            record.head = Some(logged);
        }
        let Some(listener) = serving else {
            exchange.close_after();
            return Err(Failure::ListenerGone);
        };
        record.desync = reason.and_then(desync);
        let closes = is_last(listener, reason)?;
        if closes {
            exchange.close_after();
        }
        let routing = Routing {
            client,
            snapshot,
            listener,
            ids: &self.ids,
            entropy: &self.entropy,
        };
        let facts = (!exchange.body_length().is_empty(), closes);
        routing.route(head, facts, record)
    }
}

/// Whether the connections are to end with a request, for the worst fault of its head.
fn is_last(listener: &CompiledListener, reason: Option<Reason>) -> Result<bool, Failure> {
    let class = reason.map_or(Class::Compliant, Reason::class);
    match decide(desync_mode(listener), class) {
        Decision::Reject => Err(Failure::MalformedRequest),
        Decision::ForwardAndClose => Ok(true),
        Decision::Forward => Ok(false),
    }
}

/// What decides about the action for a request. All of it is said to
/// [`preview`](super::preview) too, for requests that no client has sent.
pub(super) struct Routing<'r> {
    pub(super) client: &'r Client,
    pub(super) snapshot: &'r DataPlaneSnapshot,
    pub(super) listener: &'r Arc<CompiledListener>,
    pub(super) ids: &'r RequestIds,
    pub(super) entropy: &'r Entropy,
}

impl Routing<'_> {
    /// Admits a request, applies the limit of the client's rate and finds the action.
    fn route(
        &self,
        head: &mut RequestHead,
        (has_body, closes): (bool, bool),
        record: &mut Record,
    ) -> Result<(Route, Routed), Failure> {
        let (hop, trusted) = self.admit(head, has_body, record)?;
        if let Some(limiter) = &self.listener.rate_limit {
            limiter
                .check(record.client, &head.fields, record.started())
                .map_err(Failure::RateLimited)?;
        }
        let (route, filters) = self.decide(head, trusted, record)?;
        let routed = Routed {
            listener: Arc::clone(self.listener),
            filters,
            hop,
            trusted,
            closes,
        };
        Ok((route, routed))
    }

    /// Refuses a method that is not forwarded, and makes the head what the target will see, so that
    /// rules match nothing that is dropped. Returns whether the peer is a trusted proxy, too.
    #[inline] // the path of every request
    pub(super) fn admit(
        &self,
        head: &mut RequestHead,
        has_body: bool,
        facts: &mut ExchangeFacts,
    ) -> Result<(RequestHop, bool), Failure> {
        if matches!(head.method(), Method::Connect | Method::Trace) {
            return Err(Failure::MethodNotForwarded);
        }
        let settings = &self.listener.forwarded;
        let peer = self.client.peer.client();
        let trusted = trust::is_trusted(settings, peer);
        if trusted {
            facts.client = trust::client_behind(settings, peer, &head.fields);
            if facts.client != peer {
                // The port is that of the proxy.
                facts.transport.ports.client = 0;
            }
            if let Some(id) = head
                .fields
                .get(FieldName::XRequestId)
                .and_then(RequestId::given)
            {
                facts.request_id = Some(id);
            }
        }
        forwarded_policy(self.listener).strip(&mut head.fields, trusted);
        let hop = hops::strip_request(head, has_body);
        if !head.fields.contains(FieldName::Host) {
            // HTTP/1.0 has none: the host is the address that the client connected to.
            let host = self.client.default_host();
            head.set_host(host.as_bytes())
                .map_err(|_| Failure::BadHost)?;
        }
        Ok((hop, trusted))
    }

    /// The action for a request that was admitted, and its filters.
    #[inline] // the path of every request
    pub(super) fn decide(
        &self,
        head: &mut RequestHead,
        trusted: bool,
        facts: &mut ExchangeFacts,
    ) -> Result<(Route, Option<Filtering>), Failure> {
        match hops::count_hop(head) {
            HopLimit::Answer => Ok((Route::Respond(Box::new(respond::last_hop())), None)),
            HopLimit::Forward => self.find_action(head, trusted, facts),
        }
    }

    fn find_action(
        &self,
        head: &mut RequestHead,
        trusted: bool,
        facts: &mut ExchangeFacts,
    ) -> Result<(Route, Option<Filtering>), Failure> {
        let (listener, client) = (self.listener, self.client);
        let policy = &listener.http;
        let view = RequestView::new(head, facts.client, policy.normalize_path);
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
        facts.rule = rule.map(|priority| priority.0);
        facts.is_routed = true;
        let mut filters = None;
        let route = match action {
            Action::Forward(forward) => {
                facts.outcome = Some(Outcome::Forward);
                filters = forward.filters.clone().map(|filters| {
                    let id = facts.request_id.clone().unwrap_or_else(|| self.ids.next());
                    let facts = RequestFacts::new(&view, client.scheme(), client.port(), id);
                    Box::new((filters, facts))
                });
                let entropy = self.entropy.next();
                let (index, cookie) = match forward.sticky {
                    None => (router::choose(forward, entropy), None),
                    Some(duration) => {
                        let context = sticky_context(client, listener, head, trusted);
                        let (seal, group) = (&listener.choices, |index| self.snapshot.group(index));
                        sticky::choose_group(forward, duration, group, seal, context, entropy)
                    }
                };
                Route::Forward(Arc::clone(self.snapshot.group(index)), cookie)
            }
            Action::Redirect(redirect) => {
                facts.outcome = Some(Outcome::Redirect);
                Route::Respond(Box::new(respond::redirect(redirect, &view, client)))
            }
            Action::FixedResponse(fixed) => {
                facts.outcome = Some(Outcome::FixedResponse);
                Route::Respond(Box::new(respond::fixed(fixed)))
            }
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
