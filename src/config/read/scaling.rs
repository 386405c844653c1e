//! What only `replicas` and `autoscaling` together can tell.

use crate::config::autoscaling::{Autoscaling, Metric};
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{Replicas, Runner, Scaler};

use super::replicas;

/// Reports where the two do not fit each other, or the group.
pub(super) fn check(
    group: &Section<'_>,
    replicas: Option<&Replicas>,
    scaling: Option<&Autoscaling>,
) {
    let missing = group.get("replicas").is_none() && !group.is_meant("replicas");
    if let Some(node) = group.get("autoscaling")
        && missing
    {
        let message = "`autoscaling` without `replicas`: there is nobody to start or stop";
        let help = "write replicas = { command = [...] }, or one of docker, swarm, kubernetes, ecs, exec, webhook";
        node.error(Code::MissingKey, message, help);
    }
    if let Some(scaling) = scaling {
        check_policies(group, scaling);
        check_queue_length(group, scaling);
    }
    let Some(replicas) = replicas else {
        return;
    };
    check_count(group, replicas, scaling);
    check_most(group, replicas, scaling);
    check_scaler(group, replicas);
}

/// How many replicas there may be at most, as far as the configuration says.
pub(super) fn most(replicas: Option<&Replicas>, scaling: Option<&Autoscaling>) -> usize {
    let count = replicas.map_or(0, |replicas| replicas.count.unwrap_or(1));
    scaling.map_or(count, Autoscaling::most) as usize
}

/// Something has to change the number.
fn check_policies(group: &Section<'_>, scaling: &Autoscaling) {
    let Some(node) = group.get("autoscaling") else {
        return;
    };
    let changes = !scaling.target_tracking.is_empty()
        || !scaling.step_scaling.is_empty()
        || !scaling.schedule.is_empty();
    match &scaling.predictive {
        _ if changes => {}
        None => {
            let message =
                "`autoscaling` without a policy: the number of replicas would never change";
            let help = "write target_tracking = [{ metric = \"cpu\", target = 20 }]";
            node.error(Code::MissingKey, message, help);
        }
        Some(predictive) if !predictive.scale => {
            let message = "the forecast is only shown: the number of replicas would never change";
            let help = "write mode = \"forecast_and_scale\", or a target_tracking beside it";
            node.warn(Code::NoEffect, message, help);
        }
        Some(_) => {}
    }
}

/// Nobody waits where there is no limit and always a replica.
fn check_queue_length(group: &Section<'_>, scaling: &Autoscaling) {
    let tracked = scaling.target_tracking.iter().map(|policy| &policy.metric);
    let stepped = scaling.step_scaling.iter().map(|policy| &policy.metric);
    let queue = tracked
        .chain(stepped)
        .any(|metric| *metric == Metric::QueueLength);
    let never = group.get("max_concurrency").is_none() && !scaling.may_be_zero();
    if queue
        && never
        && let Some(node) = group.get("autoscaling")
    {
        let message = "`queue_length` is always 0: without `max_concurrency` nobody waits";
        let help = "write max_concurrency = 100 and queue = { length = 1000 } in the group, or use \"in_flight_per_target\"";
        node.warn(Code::NoEffect, message, help);
    }
}

fn check_count(group: &Section<'_>, replicas: &Replicas, scaling: Option<&Autoscaling>) {
    if let (Some(count), Some(scaling)) = (replicas.count, scaling)
        && !(scaling.min..=scaling.max).contains(&count)
        && scaling.min <= scaling.max
        && let Some(node) = group.child("replicas", "count")
    {
        let (min, max) = (scaling.min, scaling.max);
        let message = format!("`count` is {count}, and `autoscaling` keeps from {min} to {max}");
        let help = "leave `count` out to begin with `min`";
        node.error(Code::OutOfRange, message, help);
    }
}

/// One machine has room for so many.
fn check_most(group: &Section<'_>, replicas: &Replicas, scaling: Option<&Autoscaling>) {
    let Some(scaling) = scaling else { return };
    let is_local = matches!(replicas.runner, Runner::Process(_) | Runner::Docker(_));
    let most = replicas::most(is_local);
    if scaling.most() > most
        && let Some(node) = group.child("autoscaling", "max")
    {
        let message = format!(
            "`max` is {}, and one machine runs at most {most}",
            scaling.most()
        );
        let help = "beyond one machine swarm, kubernetes or ecs place replicas";
        node.error(Code::OutOfRange, message, help);
    }
}

/// No other Weir can start this one's processes.
fn check_scaler(group: &Section<'_>, replicas: &Replicas) {
    if let (Runner::Process(_), Scaler::No) = (&replicas.runner, replicas.scaler)
        && let Some(node) = group.child("replicas", "scaler")
    {
        let message = "these processes are this Weir's own: no other one could start them";
        node.error(Code::Conflict, message, "take `scaler` out");
    }
}
