//! Shows and changes the targets of a group at run time.
//!
//! PUT registers, DELETE deregisters, PATCH changes the weight and POST …/drain drains. All of them
//! can be repeated.

use std::net::IpAddr;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::call::Call;
use super::context::Context;
use super::operation::Answer;
use super::problem::{Kind, RefusedRequest};
use super::response;
use super::status::Status;
use crate::model::{Endpoint, EndpointError, Registration, TargetGroupId, TargetId};
use crate::observe::kind;
use crate::state::{Refusal, Snapshot, TargetChange};

/// Highest weight, ALB's.
const MAX_WEIGHT: u16 = 999;

/// A target after its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TargetChanged {
    /// Its group.
    pub target_group: String,
    /// Its address.
    #[cfg_attr(test, schemars(with = "String"))]
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

/// What is to be set for a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TargetPatch {
    /// 0-999; 0 gets no new requests.
    pub weight: Option<u64>,
}

pub(super) fn show(call: &Call) -> Answer {
    let id = named(call)?;
    let group = Status::of_group(&call.context, &id.group);
    let mut targets = group.into_iter().flat_map(|group| group.targets);
    let found = targets.find(|target| target.address == id.addr);
    let found = found.ok_or(Refusal::UnknownTarget(id))?;
    Ok(response::json(StatusCode::OK, &found))
}

pub(super) async fn register(call: Call) -> Answer {
    let weight = weight(&call)?;
    change(&call, TargetChange::Register { weight }).await
}

pub(super) async fn weigh(call: Call) -> Answer {
    let Some(weight) = weight(&call)? else {
        let detail = "the body must say which weight: {\"weight\": 2}";
        return Err(Kind::BadValue.because(detail));
    };
    change(&call, TargetChange::Weight(weight)).await
}

pub(super) async fn deregister(call: Call) -> Answer {
    without_weight(&call)?;
    change(&call, TargetChange::Deregister).await
}

pub(super) async fn drain(call: Call) -> Answer {
    without_weight(&call)?;
    change(&call, TargetChange::Drain).await
}

async fn change(call: &Call, change: TargetChange) -> Answer {
    let changed = apply(named(call)?, change, &call.context).await?;
    info!(
        event = kind::TARGET, peer = %call.peer, group = changed.target_group, target = %changed.address,
        "at run time: {}", changed.message
    );
    Ok(response::json(StatusCode::OK, &changed))
}

/// The target that the path of a request names.
fn named(call: &Call) -> Result<TargetId, RefusedRequest> {
    let snapshot = call.context.reader.load_full();
    target(call.part("group"), call.part("address"), &snapshot)
}

/// The target at an address. Without a port it gets that of its group, as in the configuration.
fn target(group: &str, address: &str, snapshot: &Snapshot) -> Result<TargetId, RefusedRequest> {
    let id = TargetGroupId::from(group);
    let Some(group) = snapshot.group_named(&id) else {
        return Err(Refusal::UnknownGroup(id).into());
    };
    let with_group_port = || {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = bare.parse().ok()?;
        Some(Endpoint::from((ip, group.config.port?)))
    };
    let wrong = |why: String| Kind::BadAddress.because(why);
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

fn weight(call: &Call) -> Result<Option<u16>, RefusedRequest> {
    if !call.has_body() {
        return Ok(None);
    }
    let patch: TargetPatch = call.body("{\"weight\": 2}")?;
    let Some(weight) = patch.weight else {
        return Ok(None);
    };
    match u16::try_from(weight) {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(Some(weight)),
        Ok(_) | Err(_) => {
            Err(Kind::BadValue.because(format!("`weight` is 0 to {MAX_WEIGHT}, not {weight}")))
        }
    }
}

fn without_weight(call: &Call) -> Result<(), RefusedRequest> {
    match weight(call)? {
        None => Ok(()),
        Some(_) => Err(Kind::BadValue.because("a weight has no meaning here")),
    }
}

async fn apply(
    target: TargetId,
    change: TargetChange,
    context: &Context,
) -> Result<TargetChanged, RefusedRequest> {
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
