//! What would become of a request: the steps of `routing` and `answer`, for one that no client has
//! sent. Nothing is sent, counted or limited.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::answer::describe;
use super::client::Client;
use super::filters::apply_to_request;
use super::ids::{Entropy, RequestIds};
use super::key::head_key;
use super::routing::{Filtering, Route, Routing, sticky_context};
use super::sticky::StickyRequest;
use crate::message::{RequestHead, ResponseHead};
use crate::model::{
    Action, ClientAddress, Endpoint, Failure, Filters, Forward, GroupIndex, HashKey, NormalizePath,
    Peer, Priority, Protocol, SocketId, TlsFacts, TlsSession,
};
use crate::observe::{ExchangeFacts, Ports, Transport};
use crate::router::{self, RequestView};
use crate::state::{CompiledListener, DataPlaneSnapshot};
use crate::target_group::{TargetGroup, hash_client, hash_target};

/// A request that a listener might get.
#[derive(Debug)]
pub struct Supposed<'a> {
    /// The listener.
    pub listener: &'a Arc<CompiledListener>,
    /// Where it would come from.
    pub peer: Peer,
    /// The address that the client would have connected to; `None` if that is a Unix socket.
    pub local: Option<SocketAddr>,
    /// Its head, as the client would send it.
    pub head: RequestHead,
}

/// What would become of a request.
#[derive(Debug)]
pub struct Preview {
    /// The client, as trusted proxies report it.
    pub client: ClientAddress,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
    /// The head as rules see it; as it came, if it was refused before.
    pub admitted: RequestHead,
    /// The rule that decides; `None` is the default action, or none.
    pub rule: Option<Priority>,
    /// What happens.
    pub outcome: Result<Outcome, Failure>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum Outcome {
    /// Weir answers it itself.
    Respond(ResponseHead, Bytes),
    /// A target gets it.
    Forward(Box<Forwarded>),
}

/// How a request would be forwarded.
#[derive(Debug)]
pub struct Forwarded {
    /// As a target would get it without filters.
    pub described: RequestHead,
    /// As a target would get it. What depends on the target has [`ANY_TARGET`] instead.
    pub sent: RequestHead,
    /// What changes the request and its response.
    pub filters: Option<Arc<Filters>>,
    /// The groups of the forward, those without weight too.
    pub groups: Vec<GroupOption>,
}

/// Stands for the address of the target where filters put it into a request.
pub const ANY_TARGET: &str = "TARGET";

/// A group that a request may go to.
#[derive(Debug)]
pub struct GroupOption {
    /// The group.
    pub group: Arc<TargetGroup>,
    /// Its weight in the forward.
    pub weight: u16,
    /// Whether the request goes to this group whatever chance says.
    pub is_certain: bool,
    /// The target that the client's session is on.
    pub session: Option<Endpoint>,
    /// What the group's algorithm looks at.
    pub key: Option<KeyFound>,
}

/// The key of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFound {
    /// It is in the body, which is not known.
    InBody,
    /// It is known. `is_client` if the client's address stands for it, because the request has none.
    Known {
        /// Whether the client's address stands for it.
        is_client: bool,
        /// The target that it leads to first; `None` if no target is eligible.
        target: Option<Endpoint>,
    },
}

/// Says what would become of a request.
pub fn preview(snapshot: &DataPlaneSnapshot, supposed: Supposed<'_>) -> Preview {
    let Supposed {
        listener,
        peer,
        local,
        mut head,
    } = supposed;
    let id = (listener.slot, listener.id.clone());
    let now = Instant::now();
    let mut facts = ExchangeFacts::new(listener.protocol, now, id.clone(), peer.client());
    if listener.protocol == Protocol::Tcp {
        return connection(snapshot, listener, &head, &facts);
    }
    let client = Client::new(SocketId(0), id, peer, local, transport(listener));
    let routing = Routing {
        client: &client,
        snapshot,
        listener,
        ids: &RequestIds::default(),
        entropy: &Entropy::default(),
    };
    let admission = routing.admit(&mut head, false, &mut facts);
    let admitted = head.clone();
    let trusted = admission.as_ref().is_ok_and(|(_, trusted)| *trusted);
    let decided = admission.and_then(|_| routing.decide(&mut head, trusted, &mut facts));
    let outcome = decided.map(|(route, filtering)| match route {
        Route::Respond(response) => {
            let (head, body) = response.into_parts();
            Outcome::Respond(head, body)
        }
        Route::Forward(group, cookie) => {
            let view = RequestView::new(&admitted, facts.client, listener.http.normalize_path);
            let (action, _) = listener.rules.route(&view);
            // A cookie that does not change names the group that the client is to stay with.
            let kept = cookie.is_none().then_some(&group);
            let option = |group: &Arc<TargetGroup>, weight, is_certain| GroupOption {
                weight,
                is_certain,
                session: session(group, &routing, &head, trusted),
                key: key(group, &head, facts.client),
                group: Arc::clone(group),
            };
            let groups = options(action, snapshot, kept, option);
            Outcome::Forward(Box::new(forwarded(
                &routing, head, filtering, groups, &facts,
            )))
        }
    });
    Preview {
        client: facts.client,
        trusted,
        rule: facts.rule.map(Priority),
        outcome,
        admitted,
    }
}

/// Makes of a routed head what targets would get.
fn forwarded(
    routing: &Routing<'_>,
    head: RequestHead,
    filtering: Option<Filtering>,
    groups: Vec<GroupOption>,
    facts: &ExchangeFacts,
) -> Forwarded {
    let mut described = head;
    let id = facts.request_id.as_ref();
    describe(routing.listener, routing.client, id, &mut described);
    let mut sent = described.clone();
    let filters = filtering.map(|filtering| {
        let (filters, facts) = *filtering;
        apply_to_request(&filters, &mut sent, &facts, ANY_TARGET);
        filters
    });
    Forwarded {
        described,
        sent,
        filters,
        groups,
    }
}

/// The same for a connection that carries no HTTP; of the head the host alone counts.
fn connection(
    snapshot: &DataPlaneSnapshot,
    listener: &CompiledListener,
    head: &RequestHead,
    facts: &ExchangeFacts,
) -> Preview {
    let view = RequestView::new(head, facts.client, NormalizePath::Off);
    let host = Some(view.host()).filter(|_| listener.rules.has_hosts());
    let (action, rule) = listener.rules.route_connection(host, facts.client);
    let admitted = router::connection_head(host);
    let option = |group: &Arc<TargetGroup>, weight, is_certain| GroupOption {
        weight,
        is_certain,
        session: None,
        key: group.hash_key.as_ref().map(|_| KeyFound::Known {
            is_client: false,
            target: target_of(group, hash_client(facts.client)),
        }),
        group: Arc::clone(group),
    };
    Preview {
        client: facts.client,
        trusted: false,
        rule,
        outcome: Ok(Outcome::Forward(Box::new(Forwarded {
            described: admitted.clone(),
            sent: admitted.clone(),
            filters: None,
            groups: options(action, snapshot, None, option),
        }))),
        admitted,
    }
}

/// How a client's bytes come to a listener: by TLS, if it speaks that.
fn transport(listener: &CompiledListener) -> Transport {
    let session = TlsSession {
        version: "TLSv1.3",
        cipher: "",
        is_resumed: false,
    };
    let tls = listener.tls.as_ref().map(|_| TlsFacts {
        session,
        sni: None,
        alpn: None,
        client: None,
    });
    Transport {
        proxied: None,
        tls: tls.map(Arc::new),
        ports: Ports::default(),
    }
}

/// The groups of an action. `kept` is the one of a client that stays with it, if the forward is such.
fn options(
    action: &Action<GroupIndex>,
    snapshot: &DataPlaneSnapshot,
    kept: Option<&Arc<TargetGroup>>,
    option: impl Fn(&Arc<TargetGroup>, u16, bool) -> GroupOption,
) -> Vec<GroupOption> {
    let Action::Forward(forward) = action else {
        return Vec::new();
    };
    let Forward { groups, sticky, .. } = forward;
    let is_only = groups.iter().filter(|(_, weight)| *weight > 0).count() == 1;
    groups
        .iter()
        .map(|(index, weight)| {
            let group = snapshot.group(*index);
            let is_kept = sticky.is_some() && kept.is_some_and(|kept| Arc::ptr_eq(kept, group));
            option(group, *weight, is_kept || is_only && *weight > 0)
        })
        .collect()
}

fn session(
    group: &TargetGroup,
    routing: &Routing<'_>,
    head: &RequestHead,
    trusted: bool,
) -> Option<Endpoint> {
    let sessions = group.sticky.as_ref()?;
    let context = sticky_context(routing.client, routing.listener, head, trusted);
    let target = StickyRequest::new(sessions, context).target()?;
    let mut addresses = group.targets.iter().map(|one| &one.target.id.addr);
    addresses.find(|one| hash_target(one) == target).cloned()
}

fn key(group: &TargetGroup, head: &RequestHead, client: ClientAddress) -> Option<KeyFound> {
    let found = match group.hash_key.as_ref()? {
        HashKey::Body { .. } => return Some(KeyFound::InBody),
        key => head_key(key, head),
    };
    Some(KeyFound::Known {
        is_client: found.is_none(),
        target: target_of(group, found.unwrap_or_else(|| hash_client(client))),
    })
}

fn target_of(group: &TargetGroup, key: u64) -> Option<Endpoint> {
    let target = group.target_of_key(key, Instant::now())?;
    Some(target.id.addr.clone())
}
