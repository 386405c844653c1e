//! `autoscaling`: bounds, timings and policies.

use std::time::Duration;

use super::bounds::{HOUR, PERIOD, PERIODS, PHASE, PORT, REPLICAS};
use super::key::DefaultValue::{Described, Flag, Required, Text};
use super::key::{Kind, Table, key, secs};
use super::words::{PredictiveMode, names};
use crate::config::autoscaling::{Adjustment, Comparison, Profile};

const OF_THE_PROFILE: &str = "the profile's";
const METRIC: &str = "name of a metric";

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static AUTOSCALING: Table = Table { path: "target_group.*.autoscaling", heading: "", keys: &[
    key("min", Kind::Count(0..=REPLICAS), Required, "fewest replicas; with 0 requests wait for the first replica")
        .called("minimum min_capacity min_replicas min_size"),
    key("max", Kind::Count(1..=REPLICAS), Required, "most replicas").called("maximum max_capacity max_replicas max_size"),
    // Weir sees every request, so it need not wait for a metric.
    key("profile", Kind::Word(names::<Profile>), Text("fast"), "all timings at once").called("preset mode"),
    key("period", Kind::Duration(PERIOD), Described(OF_THE_PROFILE), "that a datapoint is the average of, in whole seconds")
        .called("interval resolution"),
    key("out_periods", Kind::Count(PERIODS), Described(OF_THE_PROFILE), "datapoints in a row that scale out"),
    key("in_periods", Kind::Count(PERIODS), Described(OF_THE_PROFILE),
        "datapoints in a row that scale in; no alarm looks back over a day"),
    key("out_above", Kind::Number(1.0..=10.0), Described(OF_THE_PROFILE), "scale out above so many times the target"),
    key("in_below", Kind::Number(0.01..=1.0), Described(OF_THE_PROFILE), "scale in below so many times the target"),
    // Longer ones are no reaction to load.
    key("out_cooldown", Kind::Duration(PHASE), Described(OF_THE_PROFILE), "after a scale-out only a larger one")
        .called("scale_out_cooldown cooldown_out"),
    key("in_cooldown", Kind::Duration(PHASE), Described(OF_THE_PROFILE), "after any scaling no scale-in")
        .called("scale_in_cooldown cooldown_in"),
    key("warm_up", Kind::Duration(PHASE), Described(OF_THE_PROFILE), "a new replica counts as capacity and not in the metric")
        .called("warmup estimated_instance_warmup"),
    key("scale_in", Kind::Flag, Flag(true), "false: target tracking never takes a replica away"),
    // AWS's number of policies.
    key("target_tracking", Kind::Tables(&TARGET_TRACKING, 50), Described("none"), "keeps a metric near a value")
        .called("tracking targets metrics"),
    key("step_scaling", Kind::Tables(&STEP_SCALING, 50), Described("none"), "an alarm and what it does").called("steps step"),
    // AWS's number of scheduled actions.
    key("schedule", Kind::Tables(&SCHEDULED, 200), Described("none"), "other bounds at times, each until the next")
        .called("scheduled schedules scheduled_actions"),
    key("predictive", Kind::Table(&PREDICTIVE), Described("none"), "scales for what the load was at this hour of earlier days")
        .called("predictive_scaling forecast"),
    key("record", Kind::Value("path of a file"), Described("none"), "each evaluation as a line of CSV").called("csv log"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TARGET_TRACKING: Table = Table { path: "target_group.*.autoscaling.target_tracking", heading: "an entry of `target_tracking`", keys: &[
    key("metric", Kind::Either(METRIC, &CUSTOM_METRIC), Required, "the metric that is kept near `target`")
        .called("type metric_type predefined_metric_type metric_name"),
    key("target", Kind::Value("number above 0; of a latency a duration"), Required, "in the unit of the metric")
        .called("target_value value"),
    key("scale_in", Kind::Flag, Flag(true), "false: this one never asks for fewer"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static CUSTOM_METRIC: Table = Table { path: "target_group.*.autoscaling.target_tracking.metric", heading: "a `metric` of the replicas' own", keys: &[
    key("name", Kind::Value("name of a series"), Required, "all series of that name and these labels are added up")
        .called("metric series"),
    key("labels", Kind::Value("table of names and values"), Described("any"), "labels that a series must have").called("label"),
    // Prometheus' own default.
    key("path", Kind::Value("path, perhaps with a query"), Text("/metrics"), "where the page is").called("url uri"),
    key("port", Kind::Count(PORT), Described("the target's own"), "the port of the page"),
    key("rate", Kind::Flag, Flag(false), "true: it is a counter, and its growth per second is meant"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static STEP_SCALING: Table = Table { path: "target_group.*.autoscaling.step_scaling", heading: "an entry of `step_scaling`", keys: &[
    key("metric", Kind::Either(METRIC, &CUSTOM_METRIC), Required, "the metric that the alarm watches")
        .called("type metric_type predefined_metric_type metric_name"),
    key("comparison", Kind::Word(names::<Comparison>), Required, "which datapoints are beyond the threshold")
        .called("operator comparison_operator"),
    key("threshold", Kind::Value("number; of a latency a duration"), Required, "the value that raises the alarm"),
    // AWS's number of steps.
    key("steps", Kind::Tables(&STEP, 20), Required, "what is done how far beyond the threshold").called("step_adjustments step"),
    key("adjustment", Kind::Word(names::<Adjustment>), Text("change"), "what the numbers of the steps mean")
        .called("adjustment_type"),
    key("min_magnitude", Kind::Count(1..=REPLICAS), Described("none"), "least change of a \"percent\", in replicas")
        .called("min_adjustment_magnitude"),
    key("periods", Kind::Count(PERIODS), Described("`out_periods`, or `in_periods` where no step adds"),
        "datapoints in a row that raise the alarm").called("evaluation_periods"),
    key("period", Kind::Duration(PERIOD), Described("`period` of the group"), "that a datapoint is the average of"),
    key("cooldown", Kind::Duration(PHASE), Described("`out_cooldown`, or `in_cooldown` where no step adds"),
        "after an action only a larger one of the same direction"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static STEP: Table = Table { path: "target_group.*.autoscaling.step_scaling.steps", heading: "an entry of `steps`", keys: &[
    key("lower", Kind::Value("number; of a latency a duration"), Described("unbounded"),
        "where it begins, counted from the threshold").called("metric_interval_lower_bound from"),
    key("upper", Kind::Value("number; of a latency a duration"), Described("unbounded"),
        "where it ends, counted from the threshold").called("metric_interval_upper_bound to"),
    // Beyond those the number of replicas is out of bounds anyway.
    key("by", Kind::Count(-REPLICAS..=REPLICAS), Required, "replicas more, or in the unit of `adjustment`")
        .called("scaling_adjustment adjustment change add"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static SCHEDULED: Table = Table { path: "target_group.*.autoscaling.schedule", heading: "an entry of `schedule`", keys: &[
    key("cron", Kind::Value("five fields of crontab"), Described("one of cron, at and rate is required"),
        "minute, hour, day of month, month, day of week"),
    key("at", Kind::Value("date and time"), Described("none"), "once").called("time date start_time"),
    // Schedules are looked at once a minute, and a year is a `cron`'s job.
    key("rate", Kind::Duration(Duration::from_secs(60)..=Duration::from_secs(365 * 24 * 3600)), Described("none"),
        "again and again, counted from 1970: whole minutes").called("every interval"),
    // AWS's.
    key("timezone", Kind::Value("name of a time zone"), Text("UTC"), "a name of the IANA database").called("tz zone time_zone"),
    key("min", Kind::Count(0..=REPLICAS), Described("stays as it is"), "fewest replicas from then on")
        .called("minimum min_capacity min_replicas min_size"),
    key("max", Kind::Count(1..=REPLICAS), Described("stays as it is"), "most replicas from then on")
        .called("maximum max_capacity max_replicas max_size"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static PREDICTIVE: Table = Table { path: "target_group.*.autoscaling.predictive", heading: "", keys: &[
    key("metric", Kind::Either(METRIC, &CUSTOM_METRIC), Required, "the metric that is forecast"),
    key("target", Kind::Value("number above 0"), Required, "in the unit of the metric").called("target_value value"),
    key("mode", Kind::Word(names::<PredictiveMode>), Text("forecast_only"),
        "\"forecast_and_scale\" also raises the number of replicas"),
    // AWS's; the forecast is hourly.
    key("buffer", Kind::Duration(Duration::ZERO..=HOUR), secs(300), "before the hour begins").called("scheduling_buffer_time"),
    key("history", Kind::Value("path of a file"), Described("in memory alone"), "kept over restarts").called("file store"),
] };
