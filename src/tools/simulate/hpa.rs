//! Kubernetes' Horizontal Pod Autoscaler, for comparison.
//!
//! Follows <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/> with the
//! defaults of `kube-controller-manager` and of `behavior` in `autoscaling/v2`. Two assumptions
//! come from metrics-server: a metric is the average of 15 seconds, and it is 15 seconds old when
//! it is used.

use std::collections::VecDeque;

use crate::autoscale::{Capacity, Reading};
use crate::config::Metric;

/// `--horizontal-pod-autoscaler-sync-period`, seconds.
const SYNC: u64 = 15;

/// `--horizontal-pod-autoscaler-tolerance`: a metric this close to its target changes nothing.
const TOLERANCE: f64 = 0.1;

/// `behavior.scaleDown.stabilizationWindowSeconds`: scaling down uses the largest recommendation
/// of this time. For scaling up it is 0.
const STABILIZATION: u64 = 300;

/// metrics-server's `--metric-resolution`, seconds, over which usage is averaged.
pub(super) const WINDOW: u64 = 15;

/// Age of a metric when it is used, seconds.
pub(super) const DELAY: u64 = 15;

/// The autoscaler of one Deployment.
#[derive(Clone, Debug)]
pub(super) struct Hpa {
    min: u32,
    max: u32,
    targets: Vec<(Metric, f64)>,
    /// Values of the targets' metrics with the second of their measurement.
    measured: VecDeque<(u64, Vec<Option<f64>>)>,
    /// Recommendations within the stabilization window, with their second.
    recommended: VecDeque<(u64, u32)>,
}

/// The result of one sync.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SyncResult {
    pub(super) desired: u32,
    /// The calculation with its numbers; empty between two syncs.
    pub(super) formula: String,
}

impl Hpa {
    /// An autoscaler; it keeps at least one replica.
    pub(super) fn new(min: u32, max: u32, targets: Vec<(Metric, f64)>) -> Self {
        Self {
            min: min.max(1),
            max,
            targets,
            measured: VecDeque::new(),
            recommended: VecDeque::new(),
        }
    }

    /// The metrics that must be measured.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.targets.iter().map(|(metric, _)| metric)
    }

    /// Records the readings of a second, and decides if a sync is due. `capacity.warming` are the
    /// pods that started or became ready too late to be in the metric.
    pub(super) fn decide(
        &mut self,
        second: u64,
        capacity: Capacity,
        readings: &[(Metric, Reading)],
    ) -> SyncResult {
        self.measure(second, readings);
        let current = capacity.desired;
        if self.recommended.is_empty() {
            self.recommended.push_back((second, current));
        }
        let hold = |formula: String| SyncResult {
            desired: current,
            formula,
        };
        if !second.is_multiple_of(SYNC) {
            return hold(String::new());
        }
        let Some((wanted, formula)) = self.recommend(second, capacity) else {
            return hold("no metrics".to_owned());
        };
        let stable = self.stabilize(second, current, wanted);
        SyncResult {
            desired: stable.min(fastest(current)).clamp(self.min, self.max),
            formula,
        }
    }

    fn measure(&mut self, second: u64, readings: &[(Metric, Reading)]) {
        let value = |metric: &Metric| {
            let found = readings.iter().find(|(name, _)| name == metric)?;
            match &found.1 {
                Reading::Value(value) => Some(*value),
                Reading::Missing(_) => None,
            }
        };
        let values = self.targets.iter().map(|(metric, _)| value(metric));
        self.measured.push_back((second, values.collect()));
        while let Some((oldest, _)) = self.measured.front()
            && oldest + DELAY + WINDOW <= second
        {
            self.measured.pop_front();
        }
    }

    /// The largest recommendation of all metrics. It is below the current count only if no metric
    /// is missing.
    fn recommend(&self, second: u64, capacity: Capacity) -> Option<(u32, String)> {
        let recommended: Vec<_> = (0..self.targets.len())
            .map(|index| self.recommend_by(index, second, capacity))
            .collect();
        let is_complete = recommended.iter().all(Option::is_some);
        let largest = recommended
            .into_iter()
            .flatten()
            .max_by_key(|(wanted, _)| *wanted)?;
        (is_complete || largest.0 >= capacity.desired).then_some(largest)
    }

    /// The recommendation of one metric.
    fn recommend_by(&self, index: usize, second: u64, capacity: Capacity) -> Option<(u32, String)> {
        let values: Vec<f64> = self
            .measured
            .iter()
            .filter(|(at, _)| at + DELAY <= second)
            .filter_map(|(_, values)| values[index])
            .collect();
        if values.is_empty() {
            return None;
        }
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let target = self.targets[index].1;
        let ready = capacity.desired.saturating_sub(capacity.warming);
        let wanted = wanted(capacity.desired, ready, value / target);
        let formula = format!("ceil({ready} * {value:.1} / {target}) = {wanted}");
        (ready > 0).then_some((wanted, formula))
    }

    /// The largest recommendation of the window, if it is below the current count.
    fn stabilize(&mut self, second: u64, current: u32, wanted: u32) -> u32 {
        self.recommended.push_back((second, wanted));
        while let Some((oldest, _)) = self.recommended.front()
            && oldest + STABILIZATION <= second
        {
            self.recommended.pop_front();
        }
        let largest = self.recommended.iter().map(|(_, wanted)| *wanted).max();
        if wanted >= current {
            wanted
        } else {
            largest.unwrap_or(wanted).min(current)
        }
    }
}

/// `ceil(ready * ratio)`, or `current` within the tolerance. For scaling up, pods without a metric
/// are assumed to use nothing, and the ratio over all pods must still be above the tolerance.
fn wanted(current: u32, ready: u32, ratio: f64) -> u32 {
    let is_tolerated = |ratio: f64| (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio);
    let all = current.max(ready);
    let needed = (f64::from(ready) * ratio).ceil() as u32;
    if ratio > 1.0 && all > ready {
        let with_all = ratio * f64::from(ready) / f64::from(all);
        let is_still_more = with_all > 1.0 && !is_tolerated(with_all);
        return if is_still_more {
            needed.max(current)
        } else {
            current
        };
    }
    if is_tolerated(ratio) { current } else { needed }
}

/// The largest count after one sync: `behavior.scaleUp` allows the larger of 100 % and 4 pods more
/// every 15 seconds. Scaling down is not limited.
fn fastest(current: u32) -> u32 {
    current.saturating_mul(2).max(current.saturating_add(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(replicas: u32) -> Capacity {
        Capacity {
            desired: replicas,
            running: replicas,
            warming: 0,
        }
    }

    /// Desired counts at each sync of so many seconds of a value, all replicas ready at once.
    fn syncs(hpa: &mut Hpa, from: u64, seconds: u64, mut replicas: u32, value: f64) -> Vec<u32> {
        let mut counts = Vec::new();
        for second in from..from + seconds {
            let readings = [(Metric::Cpu, Reading::Value(value))];
            replicas = hpa.decide(second, steady(replicas), &readings).desired;
            if second % SYNC == 0 {
                counts.push(replicas);
            }
        }
        counts
    }

    #[test]
    fn the_documented_examples_hold() {
        // "if the current metric value is 200m, and the desired value is 100m, the number of
        // replicas will be doubled, since 200.0 / 100.0 == 2.0. If the current value is
        // instead 50m, you'll halve the number of replicas, since 50.0 / 100.0 == 0.5."
        assert_eq!(wanted(3, 3, 200.0 / 100.0), 6);
        assert_eq!(wanted(4, 4, 50.0 / 100.0), 2);
        // "The control plane skips any scaling action if the ratio is sufficiently close to
        // 1.0 (within a configurable tolerance, 0.1 by default)."
        assert_eq!((wanted(10, 10, 1.1), wanted(10, 10, 0.9)), (10, 10));
        assert_eq!((wanted(10, 10, 1.11), wanted(10, 10, 0.89)), (12, 9));
    }

    #[test]
    fn pods_without_metrics_dampen_what_the_others_ask_for() {
        // Two ready at twice the target, two not ready: exactly enough.
        assert_eq!(wanted(4, 2, 2.0), 4);
        // Three times the target is 6, of which 4 exist.
        assert_eq!(wanted(4, 2, 3.0), 6);
        // They do not make fewer out of more.
        assert_eq!(wanted(5, 2, 2.0), 5);
    }

    #[test]
    fn it_scales_up_by_at_most_four_pods_or_double_per_sync() {
        let mut hpa = Hpa::new(1, 100, vec![(Metric::Cpu, 10.0)]);
        let counts = syncs(&mut hpa, 1, 75, 1, 1000.0);
        assert_eq!(counts, [1, 5, 10, 20, 40]);
        assert_eq!(
            (fastest(1), fastest(4), fastest(5), fastest(0)),
            (5, 8, 10, 4)
        );
    }

    #[test]
    fn a_metric_is_seen_after_its_delay() {
        let mut hpa = Hpa::new(1, 10, vec![(Metric::Cpu, 50.0)]);
        assert_eq!(syncs(&mut hpa, 1, 60, 1, 50.0), [1, 1, 1, 1]);
        // The value rises after second 60: at 75 the average is still of the time before.
        assert_eq!(syncs(&mut hpa, 61, 30, 1, 200.0), [1, 4]);
    }

    #[test]
    fn it_scales_down_after_five_minutes_of_asking_for_fewer() {
        let mut hpa = Hpa::new(1, 10, vec![(Metric::Cpu, 50.0)]);
        assert_eq!(syncs(&mut hpa, 1, 30, 4, 50.0), [4, 4]);
        let counts = syncs(&mut hpa, 31, 420, 4, 10.0);
        // It asks for fewer from second 60 on, and the last time for four at 45.
        let first = counts.iter().position(|count| *count < 4).unwrap() as u64;
        assert_eq!(45 + SYNC * first, 45 + STABILIZATION);
        assert_eq!(counts[first as usize], 1);
    }

    #[test]
    fn bounds_and_missing_metrics_hold() {
        let mut hpa = Hpa::new(0, 3, vec![(Metric::Cpu, 50.0), (Metric::Memory, 50.0)]);
        let decide = |hpa: &mut Hpa, second, cpu: f64| {
            let readings = [
                (Metric::Cpu, Reading::Value(cpu)),
                (Metric::Memory, Reading::Missing("no".to_owned())),
            ];
            hpa.decide(second, steady(2), &readings).desired
        };
        for second in 1..=30 {
            decide(&mut hpa, second, 1000.0);
        }
        assert_eq!(decide(&mut hpa, 45, 1000.0), 3);
        // One metric is missing, the other asks for fewer: nothing happens, however long.
        for second in 46..1000 {
            assert_eq!(
                decide(&mut hpa, second, 1.0).max(2),
                2.max(decide(&mut hpa, second, 1.0))
            );
        }
        assert_eq!(decide(&mut hpa, 1005, 1.0), 2);
        let mut empty = Hpa::new(0, 3, vec![(Metric::Cpu, 50.0)]);
        assert_eq!(empty.decide(15, steady(2), &[]).formula, "no metrics");
        assert_eq!(Hpa::new(0, 3, Vec::new()).min, 1);
    }
}
