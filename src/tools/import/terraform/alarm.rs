//! Reads `aws_cloudwatch_metric_alarm`, the alarms of step policies.

use super::files::Resource;
use super::plan::{DAY, DEFAULT_COOLDOWN, Group, Step, Steps};
use super::section::Section;
use super::steps;

/// A step policy that was read without its alarm.
pub(super) struct Waiting<'a> {
    pub(super) origin: String,
    pub(super) service: String,
    pub(super) address: String,
    pub(super) section: Section<'a>,
}

/// Reads an alarm and adds the step policy that it starts.
pub(super) fn alarm(found: Resource<'_>, waiting: &mut Vec<Waiting<'_>>, groups: &mut [Group]) {
    let section = found.section;
    let (actions, others) = (section.items("alarm_actions"), section.items("ok_actions"));
    let policy = actions.iter().find_map(|action| {
        let address = section.address_of(action, "aws_appautoscaling_policy")?;
        waiting.iter().position(|policy| policy.address == address)
    });
    let is_policy = |action| {
        section
            .address_of(action, "aws_appautoscaling_policy")
            .is_some()
    };
    if others.iter().any(is_policy) {
        section.not_mapped("ok_actions", "a policy that follows the end of an alarm");
    }
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
    let service = services.find(|service| service.address == policy.service);
    let Some(scaling) = service.and_then(|service| service.scaling.as_mut()) else {
        return;
    };
    match steps(&section, &policy) {
        Some(steps) => {
            scaling.steps.push(steps);
            policy.section.finish(&["alarm_arns"]);
            section.finish(&[
                "actions_enabled",
                "datapoints_to_alarm",
                "evaluate_low_sample_count_percentiles",
                "insufficient_data_actions",
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
    let period = alarm.bounded("period", 1, 3600).unwrap_or(60);
    let (metric, unit) = metric(alarm, period)?;
    let comparison = comparison(alarm)?;
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
    let steps = adjustments(&block, unit, comparison)?;
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
        threshold: alarm
            .number("threshold")
            .filter(|threshold| *threshold >= 0.0)?
            * unit,
        periods: alarm.bounded("evaluation_periods", 1, DAY / period)?,
        period,
        adjustment,
        list: steps,
        min_magnitude: block
            .count("min_adjustment_magnitude")
            .filter(|least| *least > 0),
        cooldown: block
            .bounded("cooldown", 0, DAY)
            .unwrap_or(DEFAULT_COOLDOWN),
    };
    block.finish(&[]);
    Some(read)
}

fn comparison(alarm: &Section<'_>) -> Option<&'static str> {
    let key = "comparison_operator";
    match alarm.text(key)?.as_str() {
        "GreaterThanOrEqualToThreshold" => Some(">="),
        "GreaterThanThreshold" => Some(">"),
        "LessThanOrEqualToThreshold" => Some("<="),
        "LessThanThreshold" => Some("<"),
        other => {
            alarm.not_mapped(key, format!("no comparison {other}"));
            None
        }
    }
}

/// The steps of a policy, with bounds in Weir's unit.
fn adjustments(block: &Section<'_>, unit: f64, comparison: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for step in block.blocks("step_adjustment") {
        let bound = |key| step.number(key).map(|bound| bound * unit);
        let (lower, upper) = (
            bound("metric_interval_lower_bound"),
            bound("metric_interval_upper_bound"),
        );
        let by = step.number("scaling_adjustment")? as i64;
        steps.push(Step { lower, upper, by });
        step.finish(&[]);
    }
    let reachable = steps::reachable(steps, comparison);
    if let Err(reason) = reachable {
        block.not_mapped("step_adjustment", reason);
    }
    reachable.ok()
}

/// The name of a metric in Weir, and the factor that converts its values.
fn metric(alarm: &Section<'_>, period: u32) -> Option<(&'static str, f64)> {
    let (namespace, name) = (alarm.text("namespace")?, alarm.text("metric_name")?);
    let statistic = alarm
        .text("statistic")
        .or_else(|| alarm.text("extended_statistic"))
        .unwrap_or_default();
    if let ("AWS/ECS", "Maximum" | "Minimum") = (namespace.as_str(), statistic.as_str()) {
        let message = format!("{statistic} of the tasks, their average instead");
        alarm.not_mapped("statistic", message);
    }
    let known = match (namespace.as_str(), name.as_str(), statistic.as_str()) {
        ("AWS/ECS", "CPUUtilization", "Average" | "Maximum" | "Minimum") => Some(("cpu", 1.0)),
        ("AWS/ECS", "MemoryUtilization", "Average" | "Maximum" | "Minimum") => {
            Some(("memory", 1.0))
        }
        // CloudWatch counts over the alarm's period, Weir per second.
        ("AWS/ApplicationELB", "RequestCountPerTarget", "Sum") => {
            Some(("requests_per_target", 1.0 / f64::from(period.max(1))))
        }
        // From seconds to milliseconds.
        ("AWS/ApplicationELB", "TargetResponseTime", "p95") => Some(("latency_p95", 1000.0)),
        _ => None,
    };
    if known.is_none() {
        let message = format!("no counterpart of {statistic} of {namespace} {name}");
        alarm.not_mapped("metric_name", message);
    }
    known
}
