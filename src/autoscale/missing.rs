//! Logs once when a metric is missing, and once when it has data again.

use std::time::Duration;

use tracing::{info, warn};

use super::record::label;
use super::sample::{Reading, Sample};
use crate::config::Metric;

/// Time that a metric may be missing before it is logged. A new one must be measured twice, and
/// its page be read.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The missing metrics of one group.
#[derive(Debug, Default)]
pub(super) struct MissingMetrics(Vec<Gap>);

#[derive(Debug)]
struct Gap {
    metric: Metric,
    since: Duration,
    is_logged: bool,
}

impl MissingMetrics {
    /// Records a sample, and logs what has changed.
    pub(super) fn record(&mut self, group: &str, sample: &Sample) {
        let now = sample.now.uptime;
        self.0.retain(|gap| {
            sample
                .readings
                .iter()
                .any(|(metric, _)| *metric == gap.metric)
        });
        for (metric, reading) in &sample.readings {
            let gap = self.0.iter().position(|gap| gap.metric == *metric);
            match (reading, gap) {
                (Reading::Value(_), Some(index)) => {
                    if self.0.swap_remove(index).is_logged {
                        info!(%group, metric = %label(metric), "metric has data again");
                    }
                }
                (Reading::Value(_), None) => {}
                (Reading::Missing(_), _) if is_expected(metric, sample) => {}
                (Reading::Missing(_), None) => self.0.push(Gap {
                    metric: metric.clone(),
                    since: now,
                    is_logged: false,
                }),
                (Reading::Missing(why), Some(index)) => {
                    let gap = &mut self.0[index];
                    if !gap.is_logged && now.saturating_sub(gap.since) >= REPORT_TIMEOUT {
                        gap.is_logged = true;
                        let metric = label(metric);
                        warn!(%group, %metric, why, "metric has no data; its policies do not scale");
                    }
                }
            }
        }
    }

    /// Whether a missing metric was logged.
    #[cfg(test)]
    fn is_logged(&self) -> bool {
        self.0.iter().any(|gap| gap.is_logged)
    }
}

/// Whether a metric is missing without a fault: without warm replicas there is nothing to
/// measure, and without requests there is no response time.
fn is_expected(metric: &Metric, sample: &Sample) -> bool {
    let capacity = sample.capacity;
    let starting = capacity.desired.saturating_sub(capacity.running);
    let young = capacity.warming.saturating_sub(starting);
    match metric {
        Metric::Cpu | Metric::Memory | Metric::Custom(_) => capacity.running <= young,
        Metric::RequestsPerTarget
        | Metric::InFlightPerTarget
        | Metric::QueueLength
        | Metric::LatencyP95 => true,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::sample::{Capacity, Now};
    use super::*;

    fn sample(second: u64, running: u32, reading: Reading) -> Sample {
        Sample {
            now: Now {
                uptime: Duration::from_secs(second),
                wall: Timestamp::UNIX_EPOCH,
            },
            capacity: Capacity {
                desired: 1,
                running,
                warming: 1 - running,
            },
            readings: vec![(Metric::Cpu, reading)],
        }
    }

    fn missing() -> Reading {
        Reading::Missing("why".to_owned())
    }

    #[test]
    fn a_gap_is_logged_when_it_lasts_and_ends_with_a_value() {
        let mut gaps = MissingMetrics::default();
        gaps.record("todo", &sample(0, 1, missing()));
        gaps.record("todo", &sample(4, 1, missing()));
        assert!(!gaps.is_logged());
        gaps.record("todo", &sample(5, 1, missing()));
        assert!(gaps.is_logged());
        gaps.record("todo", &sample(6, 1, Reading::Value(1.0)));
        assert!(gaps.0.is_empty());
    }

    #[test]
    fn without_replicas_nothing_is_missed() {
        let mut gaps = MissingMetrics::default();
        for second in 0..10 {
            gaps.record("todo", &sample(second, 0, missing()));
        }
        assert!(gaps.0.is_empty());
    }
}
