//! Changing the targets of a group at run time, for whoever has the token.
//!
//! `PUT /api/target-groups/GROUP/targets/ADDRESS` registers, `DELETE` deregisters, `PATCH`
//! changes the weight and `POST …/drain` drains. All of them can be repeated. Every answer
//! is JSON: [`TargetChanged`], or an object with an `error`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Context, respond};
use crate::model::{Registration, TargetGroupId, TargetId};
use crate::state::{Refusal, Snapshot, TargetChange};

/// What every path here begins with.
pub(super) const PREFIX: &str = "/api/target-groups/";

/// Bytes of a request body: a weight and much white space.
const MAX_BODY: usize = 4 * 1024;

/// For the body to arrive after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Highest weight, ALB's.
const MAX_WEIGHT: u64 = 999;

/// What became of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChanged {
    /// Its group.
    pub target_group: String,
    /// Where it answers.
    pub address: SocketAddr,
    /// `active`, `draining`, or `deregistered` when it is gone already.
    pub registration: String,
    /// 0-999.
    pub weight: u16,
    /// Requests whose last byte has not left yet.
    pub in_flight: u32,
    /// The same for people, in one line.
    pub message: String,
}

/// An answer that is not what was wanted.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
    field: Option<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    weight: Option<u64>,
}

/// Answers one request below [`PREFIX`].
pub(super) async fn respond<B>(
    request: Request<B>,
    peer: SocketAddr,
    context: &Context,
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    // Read before anything is answered: a connection that closes on unread bytes is reset,
    // and the answer may be lost with it.
    let body = read(body).await;
    let snapshot = context.reader.load_full();
    let outcome = match authorize(&head.headers, &snapshot) {
        Ok(()) => {
            match body.and_then(|body| wanted(&head.method, head.uri.path(), &body, &snapshot)) {
                Ok((target, change)) => carry_out(target, change, context).await,
                Err(problem) => Err(problem),
            }
        }
        Err(problem) => {
            warn!(%peer, status = problem.status.as_u16(), "a change of targets is not allowed");
            Err(problem)
        }
    };
    match outcome {
        Ok(changed) => {
            info!(
                %peer, group = changed.target_group, target = %changed.address,
                "at run time: {}", changed.message
            );
            respond::json(StatusCode::OK, &changed)
        }
        Err(problem) => problem.answer(),
    }
}

async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {MAX_BODY} bytes"),
        )),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {BODY_TIMEOUT:?}"),
        )),
    }
}

/// Whether a request has the token of the configuration.
pub(super) fn authorize(headers: &HeaderMap, snapshot: &Snapshot) -> Result<(), Problem> {
    let admin = snapshot.config.admin.as_ref();
    let Some(token) = admin.and_then(|admin| admin.token.as_ref()) else {
        let message = "targets can be changed once the configuration has a token: \
                       set `token` or `token_file` in its `admin` table";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    };
    let bearer = |value: &HeaderValue| {
        let (scheme, given) = value.to_str().ok()?.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then(|| is_same(given.trim(), &token.0))
    };
    match headers.get(AUTHORIZATION).and_then(bearer) {
        Some(true) => Ok(()),
        given => {
            let message = match given {
                Some(_) => "this is not the token of the configuration",
                None => "this needs the token of the configuration: `Authorization: Bearer …`",
            };
            let problem = Problem::new(StatusCode::UNAUTHORIZED, message);
            Err(problem.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
    }
}

/// In a time that says nothing about the token: neither how much of it is right, nor how
/// long it is.
fn is_same(given: &str, token: &str) -> bool {
    let (given, token) = (Sha256::digest(given), Sha256::digest(token));
    given[..].ct_eq(&token[..]).into()
}

/// What a request asks, of which target.
fn wanted(
    method: &Method,
    path: &str,
    body: &[u8],
    snapshot: &Snapshot,
) -> Result<(TargetId, TargetChange), Problem> {
    let place = path.strip_prefix(PREFIX).unwrap_or_default();
    let parts: Vec<&str> = place.split('/').collect();
    let (group, address, allowed) = match parts.as_slice() {
        [group, "targets", address] => (group, address, "PUT, PATCH, DELETE"),
        [group, "targets", address, "drain"] => (group, address, "POST"),
        _ => {
            let message = format!(
                "nothing here; there is {PREFIX}GROUP/targets/ADDRESS \
                 (PUT, PATCH, DELETE) and …/drain (POST)"
            );
            return Err(Problem::new(StatusCode::NOT_FOUND, message));
        }
    };
    if !allowed.split(", ").any(|name| name == method.as_str()) {
        let message = format!("only {allowed}");
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, message);
        return Err(problem.with(ALLOW, HeaderValue::from_static(allowed)));
    }
    let target = target(&decoded(group)?, &decoded(address)?, snapshot)?;
    let weight = weight(body)?;
    let change = match (method.as_str(), weight) {
        ("PUT", weight) => TargetChange::Register { weight },
        ("PATCH", Some(weight)) => TargetChange::Weight(weight),
        ("PATCH", None) => {
            let message = "the body must say which weight: {\"weight\": 2}";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message));
        }
        ("DELETE", None) => TargetChange::Deregister,
        (_, None) => TargetChange::Drain,
        (_, Some(_)) => {
            let message = "a weight has no meaning here";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message));
        }
    };
    Ok((target, change))
}

fn decoded(part: &str) -> Result<String, Problem> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the path is not UTF-8"))?;
    Ok(text.into_owned())
}

/// An address without a port has that of its group, as in the configuration.
fn target(group: &str, address: &str, snapshot: &Snapshot) -> Result<TargetId, Problem> {
    let id = TargetGroupId::from(group);
    let mut groups = snapshot.config.target_groups.iter();
    let found = groups.find(|group| group.id == id);
    let found = found.ok_or_else(|| Problem::from(Refusal::UnknownGroup(id.clone())))?;
    let with_port = || {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = bare.parse().ok()?;
        Some(SocketAddr::new(ip, found.port?))
    };
    let addr = address.parse().ok().or_else(with_port);
    let addr = addr.filter(|addr: &SocketAddr| addr.port() != 0);
    let bad = || {
        let message = format!("`{address}` is not an address and a port, such as 10.0.0.1:6400");
        Problem::new(StatusCode::BAD_REQUEST, message)
    };
    Ok(TargetId {
        group: id,
        addr: addr.ok_or_else(bad)?,
    })
}

fn weight(body: &[u8]) -> Result<Option<u16>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let wish: Wish = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not like {{\"weight\": 2}}: {error}");
        Problem::new(StatusCode::BAD_REQUEST, message)
    })?;
    let legal = |weight: u64| {
        let legal = u16::try_from(weight).ok();
        legal.filter(|_| weight <= MAX_WEIGHT).ok_or_else(|| {
            let message = format!("`weight` is 0 to {MAX_WEIGHT}, not {weight}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        })
    };
    wish.weight.map(legal).transpose()
}

async fn carry_out(
    target: TargetId,
    change: TargetChange,
    context: &Context,
) -> Result<TargetChanged, Problem> {
    let left = context
        .publisher
        .change_target(target.clone(), change)
        .await?;
    let (registration, weight, in_flight) = match left {
        Some(left) => (
            Some(left.registration),
            left.weight,
            left.target.in_flight(),
        ),
        None => (None, 0, 0),
    };
    Ok(TargetChanged {
        message: summary(&target, change, registration, weight, in_flight),
        target_group: target.group.to_string(),
        address: target.addr,
        registration: registration
            .map_or("deregistered", Registration::name)
            .to_owned(),
        weight,
        in_flight,
    })
}

fn summary(
    target: &TargetId,
    change: TargetChange,
    registration: Option<Registration>,
    weight: u16,
    in_flight: u32,
) -> String {
    let TargetId { group, addr } = target;
    let requests = if in_flight == 1 {
        "request"
    } else {
        "requests"
    };
    match (change, registration) {
        (TargetChange::Register { .. }, _) => {
            format!("{addr} is registered with {group}, weight {weight}")
        }
        (TargetChange::Weight(_), _) => format!("{addr} of {group} has weight {weight}"),
        (TargetChange::Deregister, Some(Registration::Draining(_))) => {
            format!("{addr} is deregistered from {group} and finishes {in_flight} {requests}")
        }
        (TargetChange::Deregister, Some(Registration::Active) | None) => {
            format!("{addr} is deregistered from {group}")
        }
        (TargetChange::Drain, _) => format!(
            "{addr} of {group} drains with {in_flight} {requests} in flight, \
             and gets no new ones until it is registered again"
        ),
    }
}

impl Problem {
    fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
            field: None,
        }
    }

    fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self {
            field: Some((name, value)),
            ..self
        }
    }

    /// Why a request to read needs what it lacks.
    pub(super) fn of_foreign_host(self) -> Self {
        let message = "this listener answers to addresses and `localhost` only, so that no \
                       foreign page can read it through a name of its own (DNS rebinding); \
                       ask it by its address, or with `Authorization: Bearer` and the token \
                       of the configuration";
        Self {
            message: message.to_owned(),
            ..self
        }
    }

    pub(super) fn answer(self) -> Response<Full<Bytes>> {
        let error = serde_json::json!({ "error": self.message });
        let mut response = respond::json(self.status, &error);
        response.headers_mut().extend(self.field);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::UnknownGroup(_) | Refusal::UnknownTarget(_) => StatusCode::NOT_FOUND,
            Refusal::Replica(_) | Refusal::TooMany => StatusCode::CONFLICT,
            Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal)
    }
}
