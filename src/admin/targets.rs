//! Changes the targets of a group at run time, for clients with the token.
//!
//! `PUT /api/target-groups/GROUP/targets/ADDRESS` registers, `DELETE` deregisters, `PATCH` changes
//! the weight and `POST …/drain` drains. All of them can be repeated. Every response is JSON:
//! [`TargetChanged`], or an object with an `error`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::{info, warn};

use super::authorize;
use super::context::Context;
use super::paths::TARGET_GROUPS;
use super::response::{self, ErrorResponse};
use crate::model::{Endpoint, EndpointError, Registration, TargetGroupId, TargetId};
use crate::state::{Refusal, Snapshot, TargetChange};

/// Most bytes of a request body: a weight and much white space.
const MAX_BODY: usize = 4 * 1024;

/// For the body to arrive after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Highest weight, ALB's.
const MAX_WEIGHT: u16 = 999;

/// A target after its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChanged {
    /// Its group.
    pub target_group: String,
    /// Its address.
    pub address: Endpoint,
    /// `active`, `draining`, or `deregistered` if it is removed already.
    pub registration: String,
    /// 0-999.
    pub weight: u16,
    /// Requests that are not answered to the last byte yet.
    pub in_flight: u32,
    /// The change as one sentence.
    pub message: String,
}

/// The body of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetPatch {
    weight: Option<u64>,
}

/// Answers one request below [`TARGET_GROUPS`].
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
    // Read before the response is sent: a connection that is closed with unread bytes is reset,
    // and the response may be lost with it.
    let body = read(body).await;
    let snapshot = context.reader.load_full();
    if let Err(refusal) = authorize::with_token(&head.headers, &snapshot) {
        let status = refusal.status().as_u16();
        warn!(%peer, status, "change of targets refused: no valid token");
        return refusal.into_response();
    }
    let wanted = body.and_then(|body| parse(&head.method, head.uri.path(), &body, &snapshot));
    let result = match wanted {
        Ok((target, change)) => apply(target, change, context).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(changed) => {
            info!(
                %peer, group = changed.target_group, target = %changed.address,
                "at run time: {}", changed.message
            );
            response::json(StatusCode::OK, &changed)
        }
        Err(error) => error.into_response(),
    }
}

async fn read<B>(body: B) -> Result<Bytes, ErrorResponse>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {MAX_BODY} bytes"),
        )),
        Ok(Err(error)) => Err(ErrorResponse::new(
            StatusCode::BAD_REQUEST,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(ErrorResponse::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {BODY_TIMEOUT:?}"),
        )),
    }
}

/// The target and the change of a request.
fn parse(
    method: &Method,
    path: &str,
    body: &[u8],
    snapshot: &Snapshot,
) -> Result<(TargetId, TargetChange), ErrorResponse> {
    let rest = path.strip_prefix(TARGET_GROUPS).unwrap_or_default();
    let parts: Vec<&str> = rest.split('/').collect();
    let (group, address, allowed) = match parts.as_slice() {
        [group, "targets", address] => (group, address, "PUT, PATCH, DELETE"),
        [group, "targets", address, "drain"] => (group, address, "POST"),
        _ => {
            let message = format!(
                "nothing here; there is {TARGET_GROUPS}GROUP/targets/ADDRESS \
                 (PUT, PATCH, DELETE) and …/drain (POST)"
            );
            return Err(ErrorResponse::new(StatusCode::NOT_FOUND, message));
        }
    };
    if !allowed.split(", ").any(|name| name == method.as_str()) {
        let message = format!("only {allowed}");
        let error = ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, message);
        return Err(error.with_field(ALLOW, HeaderValue::from_static(allowed)));
    }
    let target = target(&decoded(group)?, &decoded(address)?, snapshot)?;
    let weight = weight(body)?;
    let change = match (method.as_str(), weight) {
        ("PUT", weight) => TargetChange::Register { weight },
        ("PATCH", Some(weight)) => TargetChange::Weight(weight),
        ("PATCH", None) => {
            let message = "the body must say which weight: {\"weight\": 2}";
            return Err(ErrorResponse::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                message,
            ));
        }
        ("DELETE", None) => TargetChange::Deregister,
        (_, None) => TargetChange::Drain,
        (_, Some(_)) => {
            let message = "a weight has no meaning here";
            return Err(ErrorResponse::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                message,
            ));
        }
    };
    Ok((target, change))
}

fn decoded(part: &str) -> Result<String, ErrorResponse> {
    match percent_decode_str(part).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(ErrorResponse::new(
            StatusCode::BAD_REQUEST,
            "the path is not UTF-8",
        )),
    }
}

/// The target at an address. Without a port it gets that of its group, as in the configuration.
fn target(group: &str, address: &str, snapshot: &Snapshot) -> Result<TargetId, ErrorResponse> {
    let id = TargetGroupId::from(group);
    let Some(group) = snapshot.group_named(&id) else {
        return Err(Refusal::UnknownGroup(id).into());
    };
    let with_group_port = || {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = bare.parse().ok()?;
        Some(Endpoint::from((ip, group.config.port?)))
    };
    let wrong = |why: String| ErrorResponse::new(StatusCode::BAD_REQUEST, why);
    let no_address = || {
        wrong(format!(
            "`{address}` is not an address and a port, such as 10.0.0.1:6400"
        ))
    };
    let addr = match address.parse() {
        Ok(addr) => addr,
        Err(EndpointError::NoAddress) => with_group_port().ok_or_else(no_address)?,
        Err(error) => return Err(wrong(format!("`{address}`: {error}"))),
    };
    if addr.address().is_some_and(|addr| addr.port() == 0) {
        return Err(no_address());
    }
    Ok(TargetId { group: id, addr })
}

fn weight(body: &[u8]) -> Result<Option<u16>, ErrorResponse> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let patch: TargetPatch = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not like {{\"weight\": 2}}: {error}");
        ErrorResponse::new(StatusCode::BAD_REQUEST, message)
    })?;
    let Some(weight) = patch.weight else {
        return Ok(None);
    };
    match u16::try_from(weight) {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(Some(weight)),
        Ok(_) | Err(_) => Err(ErrorResponse::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("`weight` is 0 to {MAX_WEIGHT}, not {weight}"),
        )),
    }
}

async fn apply(
    target: TargetId,
    change: TargetChange,
    context: &Context,
) -> Result<TargetChanged, ErrorResponse> {
    let changed = context
        .publisher
        .change_target(target.clone(), change)
        .await?;
    let (registration, weight, in_flight) = match changed {
        Some(changed) => (
            Some(changed.registration),
            changed.weight,
            changed.target.load().in_flight(),
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
