//! Changes of the replicas of a group at run time: how many there are, and one in place of another.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::call::Call;
use super::operation::Answer;
use super::problem::{Kind, RefusedRequest};
use super::response::json;
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::{GroupReplicas, Replica};
use crate::state::{Group, Refusal, Snapshot};

/// How many replicas are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DesiredRequest {
    /// How many there should be.
    pub desired: u64,
}

/// The desired count of a group after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DesiredChanged {
    /// The group.
    pub target_group: String,
    /// How many there should be.
    pub desired: u32,
    /// The fewest that may be asked for.
    pub min: u32,
    /// The most that may be asked for.
    pub max: u32,
    /// Until when it holds: `autoscaling`, its next decision on another number, or `reload`.
    pub holds_until: String,
    /// The change as one sentence.
    pub message: String,
}

/// A replica that is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestartAsked {
    /// The group.
    pub target_group: String,
    /// The number of the replica.
    pub replica: u64,
    /// What happens next.
    pub message: String,
}

pub(super) fn restart(call: &Call) -> Answer {
    let snapshot = call.context.reader.load_full();
    let group = group(call, &snapshot)?;
    let replicas = known(call, &group.id)?;
    if !replicas.is_own {
        let detail = "the replicas of this group are an engine's: restart it there";
        return Err(Kind::Conflict.because(detail));
    }
    let replica = named(call.part("replica"), &replicas)?;
    let number = replica.id.0;
    if !replica.state.is_staying() {
        let detail = format!("replica {number} is {} already", replica.state.name());
        return Err(Kind::Conflict.because(detail));
    }
    if !call
        .context
        .replica_control
        .restart(group.id.clone(), replica.id)
    {
        return Err(Kind::Conflict.because("too many restarts wait"));
    }
    let message = format!(
        "replica {number} of {} is replaced: another one starts, and once it runs this one drains",
        group.id
    );
    info!(event = kind::REPLICA, peer = %call.peer, group = %group.id, replica = number, "at run time: {message}");
    let asked = RestartAsked {
        target_group: group.id.to_string(),
        replica: number,
        message,
    };
    Ok(json(StatusCode::ACCEPTED, &asked))
}

pub(super) fn set_desired(call: &Call) -> Answer {
    let asked: DesiredRequest = call.body("{\"desired\": 2}")?;
    let snapshot = call.context.reader.load_full();
    let group = group(call, &snapshot)?;
    let replicas = known(call, &group.id)?;
    if !replicas.is_scaler {
        let detail = format!("another Weir decides how many replicas {} has", group.id);
        return Err(Kind::Conflict.because(detail));
    }
    let (min, max) = bounds(call, group);
    let desired = u32::try_from(asked.desired).ok();
    let Some(desired) = desired.filter(|desired| (min..=max).contains(desired)) else {
        let detail = format!("`desired` is {min} to {max}, not {}", asked.desired);
        return Err(Kind::BadValue.because(detail));
    };
    let control = &call.context.replica_control;
    control.set_desired(group.id.clone(), desired);
    let changed = changed(group, (desired, min, max));
    let (from, message) = (replicas.desired, &changed.message);
    info!(
        event = kind::SCALING, peer = %call.peer, group = %group.id, from, to = desired,
        "at run time: {message}"
    );
    Ok(json(StatusCode::OK, &changed))
}

fn changed(group: &Group, (desired, min, max): (u32, u32, u32)) -> DesiredChanged {
    let (holds_until, until) = match group.config.autoscaling {
        Some(_) => ("autoscaling", "autoscaling decides on another number"),
        None => ("reload", "the next reload"),
    };
    DesiredChanged {
        target_group: group.id.to_string(),
        desired,
        min,
        max,
        holds_until: holds_until.to_owned(),
        message: format!(
            "{desired} replicas are desired of {}, until {until}",
            group.id
        ),
    }
}

/// Those of autoscaling, after its scheduled actions; without it those of the configuration.
fn bounds(call: &Call, group: &Group) -> (u32, u32) {
    let Some(policy) = &group.config.autoscaling else {
        let settings = group.config.replicas.as_ref();
        return (
            0,
            settings.map_or(0, |settings| settings.runner.most_replicas()),
        );
    };
    let journal = call.context.autoscaling.group(&group.id);
    journal.map_or((policy.min, policy.max), |journal| {
        (journal.latest.min, journal.latest.max)
    })
}

/// The group of a request, which must have replicas.
fn group<'s>(call: &Call, snapshot: &'s Snapshot) -> Result<&'s Group, RefusedRequest> {
    let id = TargetGroupId::from(call.part("group"));
    let Some(group) = snapshot.group_named(&id) else {
        return Err(Refusal::UnknownGroup(id).into());
    };
    if group.config.replicas.is_none() {
        return Err(Kind::Conflict.because(format!("{id} has no replicas of its own")));
    }
    Ok(group)
}

/// What is known of its replicas.
fn known(call: &Call, group: &TargetGroupId) -> Result<GroupReplicas, RefusedRequest> {
    let known = call.context.replicas.borrow().get(group).cloned();
    known.ok_or_else(|| Kind::Conflict.because("nothing is known of its replicas yet"))
}

/// A replica by its number or its name.
fn named<'r>(name: &str, replicas: &'r GroupReplicas) -> Result<&'r Replica, RefusedRequest> {
    let number: Option<u64> = name.parse().ok();
    let is_it =
        |replica: &&Replica| number == Some(replica.id.0) || replica.name.as_deref() == Some(name);
    let unknown = || Kind::UnknownReplica.because(format!("there is no replica `{name}`"));
    replicas.replicas.iter().find(is_it).ok_or_else(unknown)
}
