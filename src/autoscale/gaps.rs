//! Says once when a metric goes missing, and once when it is back.

use std::time::Duration;

use tracing::{info, warn};

use super::record::label;
use super::{Reading, Sample};
use crate::config::Metric;

/// How long a metric may be missing before it is said: one that has just begun has to be
/// measured twice, and a page read.
const PATIENCE: Duration = Duration::from_secs(5);

/// The metrics of one group that are missing.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<Gap>);

#[derive(Debug)]
struct Gap {
    metric: Metric,
    since: Duration,
    was_said: bool,
}

impl Gaps {
    /// Takes in a sample.
    pub(super) fn look(&mut self, group: &str, sample: &Sample) {
        let now = sample.now.uptime;
        self.0.retain(|gap| wanted(sample, &gap.metric));
        for (metric, reading) in &sample.readings {
            let gap = self.0.iter().position(|gap| gap.metric == *metric);
            match (reading, gap) {
                (Reading::Value(_), Some(index)) => {
                    if self.0.swap_remove(index).was_said {
                        info!(%group, metric = %label(metric), "data are back");
                    }
                }
                (Reading::Value(_), None) => {}
                (Reading::Missing(_), _) if is_expected(metric, sample) => {}
                (Reading::Missing(_), None) => self.0.push(Gap {
                    metric: metric.clone(),
                    since: now,
                    was_said: false,
                }),
                (Reading::Missing(why), Some(index)) => {
                    let gap = &mut self.0[index];
                    if !gap.was_said && now.saturating_sub(gap.since) >= PATIENCE {
                        gap.was_said = true;
                        let metric = label(metric);
                        warn!(%group, %metric, why, "no data: this metric scales nothing");
                    }
                }
            }
        }
    }

    /// Whether it was said that a metric is missing.
    #[cfg(test)]
    pub(super) fn is_said(&self) -> bool {
        self.0.iter().any(|gap| gap.was_said)
    }
}

fn wanted(sample: &Sample, metric: &Metric) -> bool {
    sample.readings.iter().any(|(wanted, _)| wanted == metric)
}

/// Silence is no fault: without replicas that are in service and warm there is nothing to
/// measure, and without requests they take no time.
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

    use super::super::{Capacity, Now};
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
    fn a_gap_is_said_when_it_lasts_and_ends_with_a_value() {
        let mut gaps = Gaps::default();
        gaps.look("todo", &sample(0, 1, missing()));
        gaps.look("todo", &sample(4, 1, missing()));
        assert!(!gaps.is_said());
        gaps.look("todo", &sample(5, 1, missing()));
        assert!(gaps.is_said());
        gaps.look("todo", &sample(6, 1, Reading::Value(1.0)));
        assert!(gaps.0.is_empty());
    }

    #[test]
    fn without_replicas_nothing_is_missed() {
        let mut gaps = Gaps::default();
        for second in 0..10 {
            gaps.look("todo", &sample(second, 0, missing()));
        }
        assert!(gaps.0.is_empty());
    }
}
