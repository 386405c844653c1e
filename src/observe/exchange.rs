//! What is known of one exchange, for the counters and the access log.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::logged_head::LoggedHead;
use super::request_id::RequestId;
use crate::model::{
    ClientAddress, Endpoint, Failure, ListenerId, ListenerSlot, Peer, Protocol, ProxyFacts,
    TargetGroupId, TlsFacts,
};
use crate::target::Target;

/// How far a request is from the grammar of HTTP, if two recipients could understand it in two
/// ways (ALB's desync mitigation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Desync {
    /// `acceptable`, `ambiguous` or `severe`.
    pub class: &'static str,
    /// The worst fault; of several equal ones the first.
    pub reason: &'static str,
}

/// One of several attempts at a request.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The target that was tried.
    pub target: Endpoint,
    /// From the end of the attempt before, or from the request's head.
    pub elapsed: Duration,
    /// Why it was not the last, or why it failed; empty if it brought the response.
    pub reason: &'static str,
}

/// What is known of a client's connection beside its addresses.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    /// What a proxy before it has told beside addresses.
    pub proxied: Option<Rc<ProxyFacts>>,
    /// How it is encrypted; `None` if it is not.
    pub tls: Option<Arc<TlsFacts>>,
    /// The ports that it has.
    pub ports: Ports,
}

/// The ports of a client's connection; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// That of the client.
    pub client: u16,
    /// The one that the client has connected to.
    pub local: u16,
}

impl Ports {
    /// Those of a connection of `peer` to `local`.
    pub fn of(peer: Peer, local: Option<SocketAddr>) -> Self {
        let client = match peer {
            Peer::Address(address) => address.port(),
            Peer::Unix => 0,
        };
        let local = local.map_or(0, |address| address.port());
        Self { client, local }
    }
}

/// The trace that a request belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The id in its `traceparent`.
    pub id: Option<Box<str>>,
    /// The root in its `X-Amzn-Trace-Id`.
    pub amazon: Option<Box<str>>,
    /// Its own span, if that is exported.
    pub span: Option<SpanContext>,
}

/// The place of a request in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The id of the trace.
    pub trace: u128,
    /// That of the request's span, which targets get as their parent.
    pub id: u64,
    /// That of the span which the client has sent; `None` if the trace begins here.
    pub parent: Option<u64>,
}

/// What the action of a rule or of a listener has done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went to a target group.
    Forward,
    /// The client is to go elsewhere.
    Redirect,
    /// It was answered as the action says.
    FixedResponse,
}

impl Outcome {
    /// As ALB calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Redirect => "redirect",
            Self::FixedResponse => "fixed-response",
        }
    }
}

impl Transport {
    /// Whether the client speaks TLS, with Weir or with a proxy that has told so.
    pub fn is_secure(&self) -> bool {
        let is_proxied = |facts: &Rc<ProxyFacts>| facts.tls.is_some();
        self.tls.is_some() || self.proxied.as_ref().is_some_and(is_proxied)
    }
}

/// One end of a connection that goes through Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The target's.
    Target,
}

impl Side {
    /// The side across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Target,
            Self::Target => Self::Client,
        }
    }
}

/// One exchange, from the request's head to the last byte of the response; or one connection of a
/// listener of protocol `tcp`, from its first moment to its last. What HTTP alone has is absent
/// then.
#[derive(Debug)]
pub struct ExchangeFacts {
    started: Instant,
    /// What it is an exchange of; a connection is recorded apart from requests.
    pub protocol: Protocol,
    /// The listener that accepted the connection.
    pub listener: (ListenerSlot, ListenerId),
    /// The client, as trusted proxies report it.
    pub client: ClientAddress,
    /// How the client's bytes come.
    pub transport: Transport,
    /// The value of the `X-Request-Id` field.
    pub request_id: Option<RequestId>,
    /// The trace that it belongs to, if targets are told of one.
    pub trace: Option<Box<Trace>>,
    /// Kept while the access log may need it.
    pub head: Option<LoggedHead>,
    /// `None` for a request that is compliant, or was not read.
    pub desync: Option<Desync>,
    /// Whether the method is `HEAD`: the response has no body.
    pub is_head: bool,
    /// Whether a rule or the default action was found for it.
    pub is_routed: bool,
    /// The rule that matched, by priority; `None` for the default action.
    pub rule: Option<u32>,
    /// What the action has done; `None` if none was found.
    pub outcome: Option<Outcome>,
    /// Where a redirect sends the client, if the access log has a place for it.
    pub location: Option<Box<str>>,
    /// The group the request was forwarded to.
    pub group: Option<TargetGroupId>,
    /// The last target that was tried.
    pub target: Option<Arc<Target>>,
    /// How many times it was sent to a target, or was to be.
    pub attempts: u32,
    /// The time in its group's queue.
    queued: Queued,
    /// The time that the last new connection to a target took, or its failure; `None` if one that was
    /// there already was used.
    pub connecting: Option<Duration>,
    /// Why there was no connection to a target, the last time that there was none.
    pub connect_error: Option<Box<str>>,
    /// When the last attempt had its connection to a target.
    pub dispatched: Option<Instant>,
    /// When the head of the target's response was there.
    pub answered: Option<Instant>,
    /// The status of the target's response.
    pub target_status: Option<u16>,
    /// Each attempt, if there was more than one.
    pub tried: Vec<Attempt>,
    /// The status sent to the client, once the response's head is decided.
    pub status: Option<u16>,
    /// The status of a call of gRPC; `None` of other requests, and if none came.
    pub grpc_status: Option<u16>,
    /// Why no target answered, or not to the end.
    pub failure: Option<Failure>,
    /// Which side has ended a connection first; `None` of an exchange.
    pub ended_by: Option<Side>,
    /// Whether the response was sent to its end.
    pub complete: bool,
    /// Body bytes from the client; all bytes of a connection.
    pub received: u64,
    /// The same to the client.
    pub sent: u64,
}

/// The time of a request in a queue.
#[derive(Clone, Copy, Debug)]
enum Queued {
    Never,
    /// It waits. The time counts from here; earlier waits are subtracted from it.
    Since(Instant),
    For(Duration),
}

impl ExchangeFacts {
    /// The facts of a request whose head was complete at `started`, or of a connection that was
    /// accepted then.
    pub fn new(
        protocol: Protocol,
        started: Instant,
        listener: (ListenerSlot, ListenerId),
        client: ClientAddress,
    ) -> Self {
        Self {
            started,
            protocol,
            listener,
            client,
            transport: Transport::default(),
            request_id: None,
            trace: None,
            head: None,
            desync: None,
            is_head: false,
            is_routed: protocol == Protocol::Tcp,
            rule: None,
            outcome: None,
            location: None,
            group: None,
            target: None,
            attempts: 0,
            queued: Queued::Never,
            connecting: None,
            connect_error: None,
            dispatched: None,
            answered: None,
            target_status: None,
            tried: Vec::new(),
            status: None,
            grpc_status: None,
            failure: None,
            ended_by: None,
            complete: false,
            received: 0,
            sent: 0,
        }
    }

    /// When the request's head was complete, or the connection was accepted.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The time from its beginning to a moment, if that has come.
    pub(super) fn time_to(&self, moment: Option<Instant>) -> Option<Duration> {
        Some(moment?.saturating_duration_since(self.started))
    }

    /// The status that the client has got, or would have got; `None` of a connection, whatever became
    /// of it.
    pub(super) fn sent_status(&self) -> Option<u16> {
        let failed = self.failure.filter(|_| self.protocol.is_http());
        let failed = failed.map(|failure| failure.status().as_u16());
        self.status.or(failed)
    }

    /// Why it ended: what failed, or else which side has ended the connection. `None` of an
    /// exchange that came to its end.
    pub fn reason(&self) -> Option<&'static str> {
        match (self.failure, self.ended_by) {
            (Some(failure), _) => Some(failure.code()),
            (None, Some(Side::Client)) => Some("client_closed"),
            (None, Some(Side::Target)) => Some("target_closed"),
            (None, None) => None,
        }
    }

    /// The request begins to wait in a queue.
    pub fn waits(&mut self) {
        let now = Instant::now();
        let earlier = self.queued().unwrap_or_default();
        self.queued = Queued::Since(now.checked_sub(earlier).unwrap_or(now));
    }

    /// The request leaves the queue.
    pub fn waits_no_more(&mut self) {
        self.queued = self.queued().map_or(Queued::Never, Queued::For);
    }

    /// The time it spent in queues; `None` if it never waited.
    pub(super) fn queued(&self) -> Option<Duration> {
        match self.queued {
            Queued::Never => None,
            Queued::Since(since) => Some(since.elapsed()),
            Queued::For(time) => Some(time),
        }
    }

    /// Adds the end of the attempt at the current target. To be called only if there is more
    /// than one attempt, so that most requests need no memory for it.
    pub fn attempt_ended(&mut self, reason: &'static str) {
        let Some(target) = &self.target else { return };
        let before: Duration = self.tried.iter().map(|attempt| attempt.elapsed).sum();
        self.tried.push(Attempt {
            target: target.id.addr.clone(),
            elapsed: self.started.elapsed().saturating_sub(before),
            reason,
        });
    }
}
