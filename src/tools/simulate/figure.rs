//! Panels of a simulation: the load, and one for each set of rules.

use super::metric::reading;
use super::{LoadCurve, Run, tracked};
use crate::autoscale::Reading;
use crate::config::Autoscaling;
use crate::tools::plot::{Axis, Panel, Series, Style};

/// The panel of the requests.
pub fn load_panel(curve: &LoadCurve) -> Panel {
    Panel {
        title: "Load".to_owned(),
        note: String::new(),
        left: Axis {
            label: "requests/s".to_owned(),
            series: vec![load_series(curve)],
        },
        right: None,
    }
}

/// The requests per second.
pub(super) fn load_series(curve: &LoadCurve) -> Series {
    let points = (0_u32..).map(f64::from).zip(curve.rates().iter().copied());
    Series {
        name: "requests per second".to_owned(),
        style: Style::Load,
        points: points.collect(),
    }
}

/// The panel of one run: its replicas and the metric that they follow. `note` stands beside the
/// title.
pub fn run_panel(run: &Run, policy: &Autoscaling, note: String) -> Panel {
    let series = |name: &str, style, value: &dyn Fn(usize) -> Option<f64>| Series {
        name: name.to_owned(),
        style,
        points: (0..run.rows.len())
            .filter_map(|index| Some((index as f64, value(index)?)))
            .collect(),
    };
    let running = |index: usize| Some(f64::from(run.rows[index].running));
    // A count is decided at the end of its second, and drawn there.
    let desired = |index: usize| {
        let row = match index.checked_sub(1) {
            Some(before) => run.rows[before].desired,
            None => run.rows[0].running,
        };
        Some(f64::from(row))
    };
    let replicas = Axis {
        label: "replicas".to_owned(),
        series: vec![
            series("running", Style::Running, &running),
            series("desired", Style::Desired, &desired),
        ],
    };
    let right = tracked(policy).map(|(metric, target)| {
        let value = |index: usize| {
            let row = &run.rows[index];
            match reading(metric, &row.served, row.running, row.load) {
                Reading::Value(value) => Some(value),
                Reading::Missing(_) => None,
            }
        };
        Axis {
            label: with_unit(metric.name()),
            series: vec![
                series(metric.name(), Style::Metric, &value),
                series(&format!("target {target}"), Style::Target, &|_| {
                    Some(target)
                }),
            ],
        }
    });
    Panel {
        title: run.rules.name().to_owned(),
        note,
        left: replicas,
        right,
    }
}

/// The name of a metric with its unit; the unit of a custom metric is not known.
pub(super) fn with_unit(name: &str) -> String {
    let unit = match name {
        "cpu" | "memory" => "%",
        "requests_per_target" => "1/s",
        "in_flight_per_target" | "queue_length" => "requests",
        "latency_p95" => "ms",
        _ => return name.to_owned(),
    };
    format!("{name} ({unit})")
}
