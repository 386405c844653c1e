//! `replicas` and `autoscaling`, and checks of both together.

use crate::config::autoscaling::{Autoscaling, Metric};
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{Replicas, Runner, Scaler};
use crate::model::TargetProtocol;

use super::group_port::GroupPort;
use super::{autoscaling, replicas};

/// Both tables of a group.
pub(super) struct Scaling {
    pub(super) replicas: Option<Replicas>,
    pub(super) autoscaling: Option<Autoscaling>,
    /// Whether something is wrong in a table that is there; it has been reported.
    pub(super) is_broken: bool,
}

pub(super) fn read(group: &Section<'_>, port: GroupPort, protocol: TargetProtocol) -> Scaling {
    let (runs, scales) = (group.get("replicas"), group.get("autoscaling"));
    let replicas = runs
        .as_ref()
        .map(|node| replicas::read(node, port, protocol, scales.is_some()));
    let autoscaling = scales.as_ref().map(autoscaling::read);
    let scaling = Scaling {
        is_broken: matches!(replicas, Some(None)) || matches!(autoscaling, Some(None)),
        replicas: replicas.flatten(),
        autoscaling: autoscaling.flatten(),
    };
    scaling.check(group);
    scaling
}

impl Scaling {
    /// Whether there may be no replicas at some time.
    pub(super) fn may_be_zero(&self) -> bool {
        self.autoscaling
            .as_ref()
            .is_some_and(Autoscaling::may_be_zero)
    }

    /// Whether a policy or the forecast follows a metric.
    pub(super) fn follows(&self, metric: &Metric) -> bool {
        self.autoscaling.as_ref().is_some_and(|scaling| {
            let forecast = scaling
                .predictive
                .as_ref()
                .map(|predictive| &predictive.metric);
            followed(scaling)
                .chain(forecast)
                .any(|followed| followed == metric)
        })
    }

    /// How many replicas there may be at most, as far as the configuration says.
    pub(super) fn most(&self) -> usize {
        let count = self
            .replicas
            .as_ref()
            .map_or(0, |replicas| replicas.count.unwrap_or(1));
        self.autoscaling.as_ref().map_or(count, Autoscaling::most) as usize
    }

    /// Reports settings of the two that do not fit each other, or the group.
    fn check(&self, group: &Section<'_>) {
        if let Some(node) = group.get("autoscaling")
            && group.get("replicas").is_none()
            && !group.is_meant("replicas")
        {
            let message = "`autoscaling` without `replicas`: there is nothing to start or stop";
            let help = "write replicas = { command = [...] }, or one of docker, swarm, kubernetes, ecs, exec, webhook";
            node.error(Code::MissingKey, message, help);
        }
        if let Some(replicas) = &self.replicas {
            check_scaler(group, replicas);
        }
        let Some(scaling) = &self.autoscaling else {
            return;
        };
        check_policies(group, scaling);
        check_queue_length(group, scaling);
        if let Some(replicas) = &self.replicas {
            check_count(group, replicas, scaling);
            check_most(group, replicas, scaling);
            check_usage(group, replicas, scaling);
        }
    }
}

/// Without a policy the number of replicas would never change.
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

/// No request waits where there is no limit and always a replica.
fn check_queue_length(group: &Section<'_>, scaling: &Autoscaling) {
    if let Some(node) = group.get("autoscaling")
        && followed(scaling).any(|metric| *metric == Metric::QueueLength)
        && group.get("max_concurrency").is_none()
        && !scaling.may_be_zero()
    {
        let message = "`queue_length` is always 0: without `max_concurrency` no request waits";
        let help = "write max_concurrency = 100 and queue = { length = 1000 } in the group, or use \"in_flight_per_target\"";
        node.warn(Code::NoEffect, message, help);
    }
}

/// The metrics of the policies, except for the forecast.
fn followed(scaling: &Autoscaling) -> impl Iterator<Item = &Metric> {
    let tracked = scaling.target_tracking.iter().map(|policy| &policy.metric);
    let stepped = scaling.step_scaling.iter().map(|policy| &policy.metric);
    tracked.chain(stepped)
}

/// Not every provider knows what its replicas use.
fn check_usage(group: &Section<'_>, replicas: &Replicas, scaling: &Autoscaling) {
    let subject = match replicas.runner {
        Runner::Ecs(_) => "ECS does",
        Runner::Exec(_) | Runner::Webhook(_) => "lists of replicas do",
        Runner::Process(_) | Runner::Docker(_) | Runner::Swarm(_) | Runner::Kubernetes(_) => return,
    };
    if let Some(metric) =
        followed(scaling).find(|metric| matches!(metric, Metric::Cpu | Metric::Memory))
        && let Some(node) = group.get("autoscaling")
    {
        let name = metric.name();
        let message = format!("`{name}` has no data: {subject} not say what replicas use");
        let help = "use a metric that Weir measures, such as \"in_flight_per_target\" or \"requests_per_target\", or one of the replicas' own";
        node.warn(Code::NoEffect, message, help);
    }
}

fn check_count(group: &Section<'_>, replicas: &Replicas, scaling: &Autoscaling) {
    if let Some(count) = replicas.count
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

/// One machine has room for so many replicas.
fn check_most(group: &Section<'_>, replicas: &Replicas, scaling: &Autoscaling) {
    let most = replicas.runner.most_replicas();
    if scaling.most() <= most {
        return;
    }
    // The larger of the two is to blame.
    let key = if scaling.max > most {
        "max"
    } else {
        "schedule"
    };
    if let Some(node) = group.child("autoscaling", key) {
        let wanted = scaling.most();
        let message = format!("`max` becomes {wanted}, and one machine runs at most {most}");
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
