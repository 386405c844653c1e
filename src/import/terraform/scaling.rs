//! `aws_appautoscaling_…` of ECS services, and the alarms that step policies wait for.

use super::files::{Files, Resource};
use super::plan::{Group, Scaling, Scheduled, Service, Steps, Tracking};
use super::schedule;
use super::scope;
use super::section::{Section, resource};

/// Application Auto Scaling's cooldown of ECS services where a policy names none, seconds.
const COOLDOWN: u32 = 300;

/// A step policy waits for its alarm.
struct Waiting<'a> {
    origin: String,
    service: String,
    name: &'a str,
    section: Section<'a>,
}

/// Gives the services of the groups what scales them.
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
}

/// The service that `service/CLUSTER/NAME` is about.
fn service<'g>(section: &Section<'_>, groups: &'g mut [Group]) -> Option<&'g mut Service> {
    let value = section.value("resource_id")?;
    let text = scope::text(&value);
    let name = text.rsplit('/').next().unwrap_or_default().to_owned();
    let label = resource(&serde_json::Value::String(name.clone())).map(|(_, label)| label);
    let mut services = groups.iter_mut().filter_map(|group| group.service.as_mut());
    services.find(|service| service.name == name || Some(&service.label) == label.as_ref())
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
    let service = service(&section, groups).filter(|_| is_desired_count(&section));
    let Some(service) = service else {
        section.drop_whole("it scales nothing that is taken over");
        return;
    };
    let bounds = (section.count("min_capacity"), section.count("max_capacity"));
    let (Some(min), Some(max)) = bounds else {
        section.drop_whole("without both of its bounds nothing scales");
        return;
    };
    service.scaling = Some(Scaling {
        origin,
        min,
        max,
        ..Scaling::default()
    });
    section.finish(&["role_arn"]);
}

fn scaling<'g>(
    section: &Section<'_>,
    groups: &'g mut [Group],
) -> Option<(&'g mut Scaling, String)> {
    let service = service(section, groups).filter(|_| is_desired_count(section))?;
    let name = service.label.clone();
    Some((service.scaling.as_mut()?, name))
}

/// Takes a target tracking policy over, and gives a step policy back.
fn policy<'a>(found: Resource<'a>, groups: &mut [Group]) -> Option<Waiting<'a>> {
    let origin = found.origin();
    let section = found.section;
    let Some((scaling, service)) = scaling(&section, groups) else {
        section.drop_whole("it scales nothing that is taken over");
        return None;
    };
    match section.text("policy_type").as_deref() {
        Some("TargetTrackingScaling") => {
            if let Some(block) = section.block("target_tracking_scaling_policy_configuration") {
                tracking(origin, block, scaling);
            }
            section.finish(&[]);
            None
        }
        None | Some("StepScaling") => Some(Waiting {
            origin,
            service,
            name: found.name,
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
            // AWS counts them per minute, Weir per second.
            "ALBRequestCountPerTarget" => Some(("requests_per_target", 60.0)),
            _ => None,
        }
    });
    if let Some(predefined) = predefined {
        predefined.finish(&["resource_label"]);
    }
    let target = block.number("target_value");
    let (Some((metric, unit)), Some(target)) = (metric, target) else {
        let kind = kind.unwrap_or_else(|| "a customized metric".to_owned());
        block.drop_whole(format!("no counterpart of {kind}"));
        return;
    };
    if !scaling.tracking.is_empty() && is_high != scaling.high_resolution {
        let message = "one period for all policies: the 20 s of high resolution";
        block.not_mapped("predefined_metric_specification", message);
    }
    scaling.high_resolution |= is_high;
    for (key, longest) in [
        ("scale_out_cooldown", &mut scaling.out_cooldown),
        ("scale_in_cooldown", &mut scaling.in_cooldown),
    ] {
        let cooldown = block.count(key).unwrap_or(COOLDOWN);
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

/// An alarm that starts a step policy makes it complete.
fn alarm(found: Resource<'_>, waiting: &mut Vec<Waiting<'_>>, groups: &mut [Group]) {
    let section = found.section;
    let actions = match section.value("alarm_actions") {
        Some(serde_json::Value::Array(actions)) => actions,
        _ => Vec::new(),
    };
    let policy = actions
        .iter()
        .filter_map(resource)
        .find_map(|(kind, name)| {
            let of_policy = |policy: &Waiting<'_>| policy.name == name;
            let at = waiting.iter().position(of_policy)?;
            (kind == "aws_appautoscaling_policy").then_some(at)
        });
    let Some(at) = policy else {
        section.not_needed("no scaling policy that is taken over follows it");
        return;
    };
    if actions.len() > 1 {
        section.not_mapped(
            "alarm_actions",
            "one action is taken over, the scaling policy",
        );
    }
    let policy = waiting.remove(at);
    let mut services = groups.iter_mut().filter_map(|group| group.service.as_mut());
    let service = services.find(|service| service.label == policy.service);
    let Some(scaling) = service.and_then(|service| service.scaling.as_mut()) else {
        return;
    };
    match steps(&section, &policy) {
        Some(steps) => {
            scaling.steps.push(steps);
            policy.section.finish(&[]);
            section.finish(&[
                "actions_enabled",
                "alarm_description",
                "alarm_name",
                "dimensions",
                "ok_actions",
                "treat_missing_data",
            ]);
        }
        None => policy
            .section
            .drop_whole("its alarm or its steps are not understood"),
    }
}

fn steps(alarm: &Section<'_>, policy: &Waiting<'_>) -> Option<Steps> {
    let block = policy.section.block("step_scaling_policy_configuration")?;
    let period = alarm.count("period").unwrap_or(60);
    let (metric, unit) = metric(alarm, period)?;
    let key = "comparison_operator";
    let comparison = match alarm.text(key)?.as_str() {
        "GreaterThanOrEqualToThreshold" => ">=",
        "GreaterThanThreshold" => ">",
        "LessThanOrEqualToThreshold" => "<=",
        "LessThanThreshold" => "<",
        other => {
            alarm.not_mapped(key, format!("no comparison {other}"));
            return None;
        }
    };
    let key = "adjustment_type";
    let adjustment = match block.text(key)?.as_str() {
        "ChangeInCapacity" => "change",
        "ExactCapacity" => "exact",
        "PercentChangeInCapacity" => "percent",
        other => {
            block.not_mapped(key, format!("no adjustment {other}"));
            return None;
        }
    };
    let mut steps = Vec::new();
    for step in block.blocks("step_adjustment") {
        let bound = |key| step.number(key).map(|bound| bound * unit);
        let (lower, upper) = (
            bound("metric_interval_lower_bound"),
            bound("metric_interval_upper_bound"),
        );
        let by = step.number("scaling_adjustment")?;
        steps.push((lower, upper, by as i64));
        step.finish(&[]);
    }
    let lowest = |bound: Option<f64>| bound.unwrap_or(f64::NEG_INFINITY);
    steps.sort_by(|a, b| lowest(a.0).total_cmp(&lowest(b.0)));
    let key = "metric_aggregation_type";
    if let Some(other @ ("Minimum" | "Maximum")) = block.text(key).as_deref() {
        block.not_mapped(
            key,
            format!("{other} of the datapoints, their average instead"),
        );
    }
    let read = Steps {
        origin: policy.origin.clone(),
        metric,
        comparison,
        threshold: alarm.number("threshold")? * unit,
        periods: alarm.count("evaluation_periods").unwrap_or(1),
        period,
        adjustment,
        list: steps,
        min_magnitude: block.count("min_adjustment_magnitude"),
        cooldown: block.count("cooldown").unwrap_or(COOLDOWN),
    };
    block.finish(&[]);
    Some(read)
}

/// A metric of AWS's in Weir's words, and what to multiply its numbers with.
fn metric(alarm: &Section<'_>, period: u32) -> Option<(&'static str, f64)> {
    let (namespace, name) = (alarm.text("namespace")?, alarm.text("metric_name")?);
    let statistic = alarm
        .text("statistic")
        .or_else(|| alarm.text("extended_statistic"));
    let statistic = statistic.unwrap_or_default();
    let known = match (namespace.as_str(), name.as_str(), statistic.as_str()) {
        ("AWS/ECS", "CPUUtilization", "Average") => Some(("cpu", 1.0)),
        ("AWS/ECS", "MemoryUtilization", "Average") => Some(("memory", 1.0)),
        // CloudWatch counts them over the alarm's period, Weir per second.
        ("AWS/ApplicationELB", "RequestCountPerTarget", "Sum") => {
            Some(("requests_per_target", 1.0 / f64::from(period.max(1))))
        }
        // Seconds there, milliseconds here.
        ("AWS/ApplicationELB", "TargetResponseTime", "p95") => Some(("latency_p95", 1000.0)),
        _ => None,
    };
    if known.is_none() {
        let message = format!("no counterpart of {statistic} of {namespace} {name}");
        alarm.not_mapped("metric_name", message);
    }
    known
}

fn scheduled(found: Resource<'_>, groups: &mut [Group]) {
    let origin = found.origin();
    let section = found.section;
    let Some((scaling, _)) = scaling(&section, groups) else {
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
    action.finish(&[]);
    section.finish(&[]);
    if min.is_some() || max.is_some() {
        scaling.schedule.push(Scheduled {
            origin,
            when,
            min,
            max,
        });
    }
}
