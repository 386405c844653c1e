//! Reads `aws_appautoscaling_…` of ECS services.

use super::alarm::{Waiting, alarm};
use super::files::{Files, Resource};
use super::plan::{DAY, DEFAULT_COOLDOWN, Group, Scaling, Scheduled, Service, Tracking};
use super::schedule;
use super::section::Section;
use super::value::{self, reference_in};

/// Most replicas of a group that an engine runs; one machine runs fewer.
const MAX_REPLICAS: u32 = 10_000;

/// Adds the scaling of the groups' services.
pub(super) fn read(files: &Files<'_>, groups: &mut [Group]) {
    for found in files.all("aws_appautoscaling_target") {
        target(found, groups);
    }
    let mut waiting = Vec::new();
    for found in files.all("aws_appautoscaling_policy") {
        waiting.extend(policy(found, groups));
    }
    for found in files.all("aws_cloudwatch_metric_alarm") {
        alarm(found, &mut waiting, groups);
    }
    for policy in waiting {
        policy
            .section
            .drop_whole("no alarm of these files starts this step policy");
    }
    for found in files.all("aws_appautoscaling_scheduled_action") {
        scheduled(found, groups);
    }
    for service in groups.iter_mut().filter_map(|group| group.service.as_mut()) {
        drop_useless(service, files);
    }
}

/// Drops scaling without a policy, which the configuration would not accept: the count becomes its
/// lower bound.
fn drop_useless(service: &mut Service, files: &Files<'_>) {
    let Some(scaling) = &service.scaling else {
        return;
    };
    let is_idle =
        scaling.tracking.is_empty() && scaling.steps.is_empty() && scaling.schedule.is_empty();
    if is_idle {
        let message =
            "no policy that is taken over changes the number of replicas: it stays the same";
        let address = scaling
            .origin
            .split_once(' ')
            .map_or("", |(_, address)| address);
        files.remark(address, message);
        service.count = service.count.max(Some(scaling.min));
        service.scaling = None;
    } else if let Some(count) = service.count
        && !(scaling.min..=scaling.max).contains(&count)
    {
        // AWS moves the count between the bounds at once.
        service.count = Some(count.clamp(scaling.min, scaling.max));
    }
}

/// The service that `service/CLUSTER/NAME` names.
fn service<'g>(
    section: &Section<'_>,
    address: &str,
    groups: &'g mut [Group],
) -> Option<&'g mut Service> {
    let value = section.value("resource_id")?;
    let text = value::text(&value);
    let mut services: Vec<_> = groups
        .iter_mut()
        .filter_map(|group| group.service.as_mut())
        .collect();
    let is_named = |service: &Service| {
        let before = text.strip_suffix(service.written.as_str());
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let is_beside = |service: &Service| module(&service.address) == module(address);
    let at = services
        .iter()
        .position(|service| is_named(service) && is_beside(service))
        .or_else(|| services.iter().position(|service| is_named(service)));
    // An unknown name is assumed to be that of the only service.
    let is_unknown = reference_in(&value).is_some();
    let at = at.or((is_unknown && services.len() == 1).then_some(0))?;
    Some(services.swap_remove(at))
}

/// The modules in an address.
fn module(address: &str) -> &str {
    address.rsplit_once("aws_").map_or("", |(prefix, _)| prefix)
}

fn is_desired_count(section: &Section<'_>) -> bool {
    let dimension = section.text("scalable_dimension");
    let namespace = section.text("service_namespace");
    dimension.is_none_or(|dimension| dimension == "ecs:service:DesiredCount")
        && namespace.is_none_or(|namespace| namespace == "ecs")
}

fn target(found: Resource<'_>, groups: &mut [Group]) {
    let origin = found.origin();
    let section = found.section;
    let service = service(&section, &found.address, groups).filter(|_| is_desired_count(&section));
    let Some(service) = service else {
        section.drop_whole("it scales nothing that is taken over");
        return;
    };
    let bounds = (section.count("min_capacity"), section.count("max_capacity"));
    let (Some(min), Some(max)) = bounds else {
        section.drop_whole("without both of its bounds nothing scales");
        return;
    };
    let (min, max) = within(&section, min, max);
    service.scaling = Some(Scaling {
        origin,
        min,
        max,
        ..Scaling::default()
    });
    section.finish(&["role_arn", "suspended_state"]);
}

/// Bounds that Weir accepts: the upper one is at least 1 and at most that of an engine.
fn within(section: &Section<'_>, min: u32, max: u32) -> (u32, u32) {
    let bounded = (
        min.clamp(0, MAX_REPLICAS),
        max.clamp(1, MAX_REPLICAS).max(min.min(MAX_REPLICAS)),
    );
    if bounded != (min, max) {
        let message = format!(
            "from {min} to {max} replicas; Weir keeps from {} to {}",
            bounded.0, bounded.1
        );
        section.not_mapped("max_capacity", message);
    }
    bounded
}

fn scaling<'g>(
    section: &Section<'_>,
    address: &str,
    groups: &'g mut [Group],
) -> Option<(&'g mut Scaling, String)> {
    let service = service(section, address, groups).filter(|_| is_desired_count(section))?;
    let name = service.address.clone();
    Some((service.scaling.as_mut()?, name))
}

/// Adds a target tracking policy, or returns a step policy, which needs its alarm.
fn policy<'a>(found: Resource<'a>, groups: &mut [Group]) -> Option<Waiting<'a>> {
    let origin = found.origin();
    let section = found.section;
    let Some((scaling, service)) = scaling(&section, &found.address, groups) else {
        section.drop_whole("it scales nothing that is taken over");
        return None;
    };
    match section.text("policy_type").as_deref() {
        Some("TargetTrackingScaling") => {
            if let Some(block) = section.block("target_tracking_scaling_policy_configuration") {
                tracking(origin, block, scaling);
            }
            section.finish(&["alarm_arns"]);
            None
        }
        None | Some("StepScaling") => Some(Waiting {
            origin,
            service,
            address: found.address,
            section,
        }),
        Some(other) => {
            let message = format!("a policy of type {other}");
            section.drop_whole(message);
            None
        }
    }
}

fn tracking(origin: String, block: Section<'_>, scaling: &mut Scaling) {
    let predefined = block.block("predefined_metric_specification");
    let kind = predefined
        .as_ref()
        .and_then(|metric| metric.text("predefined_metric_type"));
    let suffix = "HighResolution";
    let is_high = kind.as_deref().is_some_and(|kind| kind.ends_with(suffix));
    let metric = kind.as_deref().and_then(|kind| {
        match kind.strip_suffix(suffix).unwrap_or(kind) {
            "ECSServiceAverageCPUUtilization" => Some(("cpu", 1.0)),
            "ECSServiceAverageMemoryUtilization" => Some(("memory", 1.0)),
            // AWS counts per minute, Weir per second.
            "ALBRequestCountPerTarget" => Some(("requests_per_target", 60.0)),
            _ => None,
        }
    });
    if let Some(predefined) = predefined {
        predefined.finish(&["resource_label"]);
    }
    let target = block.number("target_value");
    let is_known = metric.is_some();
    let (Some((metric, unit)), Some(target)) = (metric, target.filter(|target| *target > 0.0))
    else {
        let kind = kind.unwrap_or_else(|| "a customized metric".to_owned());
        block.drop_whole(if is_known {
            format!("no target of {kind} that is known")
        } else {
            format!("no counterpart of {kind}")
        });
        return;
    };
    if scaling.tracking.iter().any(|other| other.metric == metric) {
        block.drop_whole(format!("a second target of {metric}"));
        return;
    }
    if !scaling.tracking.is_empty() && is_high != scaling.high_resolution {
        let message = "one period for all policies: the 20 s of high resolution";
        block.not_mapped("predefined_metric_specification", message);
    }
    scaling.high_resolution |= is_high;
    for (key, longest) in [
        ("scale_out_cooldown", &mut scaling.out_cooldown),
        ("scale_in_cooldown", &mut scaling.in_cooldown),
    ] {
        let cooldown = block.bounded(key, 0, DAY).unwrap_or(DEFAULT_COOLDOWN);
        if longest.is_some_and(|other| other != cooldown) {
            block.not_mapped(key, "one cooldown for all policies: the longest");
        }
        *longest = (*longest).max(Some(cooldown));
    }
    scaling.tracking.push(Tracking {
        origin,
        metric,
        target: target / unit,
        scale_in: !block.boolean("disable_scale_in").unwrap_or(false),
    });
    block.finish(&[]);
}

fn scheduled(found: Resource<'_>, groups: &mut [Group]) {
    let origin = found.origin();
    let section = found.section;
    let Some((scaling, _)) = scaling(&section, &found.address, groups) else {
        section.drop_whole("it scales nothing that is taken over");
        return;
    };
    let timezone = section.text("timezone").unwrap_or_else(|| "UTC".to_owned());
    let Some(text) = section.text("schedule") else {
        section.drop_whole("a scheduled action without a schedule");
        return;
    };
    let when = match schedule::read(&text, &timezone) {
        Ok(when) => when,
        Err(reason) => {
            section.not_mapped("schedule", format!("`{text}`: {reason}"));
            section.finish(&["start_time", "end_time", "scalable_target_action"]);
            return;
        }
    };
    let Some(action) = section.block("scalable_target_action") else {
        section.drop_whole("a scheduled action without bounds");
        return;
    };
    let (min, max) = (action.count("min_capacity"), action.count("max_capacity"));
    let (min, max) = match (min, max) {
        (None, None) => (None, None),
        (Some(min), Some(max)) => both(within(&action, min, max)),
        // A missing bound stays, unless the other one passes it.
        (Some(min), None) if min > scaling.max => both(within(&action, min, min)),
        (Some(min), None) => (Some(min), None),
        (None, Some(max)) if max < scaling.min => both(within(&action, max, max)),
        (None, Some(max)) => (None, Some(max)),
    };
    action.finish(&[]);
    section.finish(&["start_time", "end_time"]);
    if min.is_some() || max.is_some() {
        scaling.schedule.push(Scheduled {
            origin,
            when,
            min,
            max,
        });
    }
}

fn both((min, max): (u32, u32)) -> (Option<u32>, Option<u32>) {
    (Some(min), Some(max))
}
