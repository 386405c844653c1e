//! CPU and memory usage of a group's replicas, as their provider measures it.

use std::time::{Duration, Instant};

use super::Reading;
use crate::replicas::{GroupReplicas, ReplicaId, Usage};

/// Age at which a measurement is too old to be used.
const MAX_AGE: Duration = Duration::from_secs(5);

/// The average over these replicas. It is missing if one of them was not measured, because that
/// one may be the busiest.
pub(super) fn average(
    group: &GroupReplicas,
    replicas: &[ReplicaId],
    now: Instant,
    part: impl Fn(&Usage) -> Option<f64>,
) -> Reading {
    if replicas.is_empty() {
        return Reading::Missing("no replica is in service and warm".to_owned());
    }
    let Some(measured) = group.measured else {
        return Reading::Missing("the provider has not measured it yet".to_owned());
    };
    let age = now.saturating_duration_since(measured);
    if age >= MAX_AGE {
        return Reading::Missing(format!("last measured {} s ago", age.as_secs()));
    }
    let values: Vec<f64> = replicas
        .iter()
        .filter_map(|id| group.usage.get(id))
        .filter_map(part)
        .filter(|value| value.is_finite())
        .collect();
    if values.len() < replicas.len() {
        let (measured, all) = (values.len(), replicas.len());
        return Reading::Missing(format!("measured of {measured} of {all} replicas"));
    }
    Reading::Value(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICAS: [ReplicaId; 2] = [ReplicaId(1), ReplicaId(2)];

    fn group(cpu: &[(u64, f64)], measured: Instant) -> GroupReplicas {
        let usage = cpu.iter().map(|&(id, cpu)| {
            let usage = Usage {
                cpu: Some(cpu),
                memory: None,
            };
            (ReplicaId(id), usage)
        });
        GroupReplicas {
            usage: usage.collect(),
            measured: Some(measured),
            ..GroupReplicas::default()
        }
    }

    fn why(reading: Reading) -> String {
        match reading {
            Reading::Missing(why) => why,
            Reading::Value(value) => panic!("{value}"),
        }
    }

    #[test]
    fn it_is_the_average_over_the_service() {
        let now = Instant::now();
        let group = group(&[(1, 10.0), (2, 30.0), (3, 90.0)], now);
        let cpu = average(&group, &REPLICAS, now, |usage| usage.cpu);
        assert_eq!(cpu, Reading::Value(20.0), "the third is not in service");
    }

    #[test]
    fn one_that_is_not_measured_makes_all_of_it_missing() {
        let now = Instant::now();
        for unmeasured in [
            group(&[(1, 10.0)], now),
            group(&[(1, 1.0), (2, f64::NAN)], now),
        ] {
            let cpu = average(&unmeasured, &REPLICAS, now, |usage| usage.cpu);
            assert_eq!(why(cpu), "measured of 1 of 2 replicas");
        }
        let memory = average(&group(&[(1, 1.0), (2, 2.0)], now), &REPLICAS, now, |u| {
            u.memory
        });
        assert_eq!(why(memory), "measured of 0 of 2 replicas");
    }

    #[test]
    fn an_old_measurement_is_none() {
        let now = Instant::now();
        let group = group(&[(1, 10.0), (2, 10.0)], now);
        let later = |seconds| now + Duration::from_secs(seconds);
        let cpu = |at| average(&group, &REPLICAS, at, |usage| usage.cpu);
        assert_eq!(cpu(later(4)), Reading::Value(10.0));
        assert_eq!(why(cpu(later(5))), "last measured 5 s ago");
        let never = GroupReplicas::default();
        let cpu = average(&never, &REPLICAS, now, |usage| usage.cpu);
        assert_eq!(why(cpu), "the provider has not measured it yet");
        let none = average(&group, &[], now, |usage| usage.cpu);
        assert_eq!(why(none), "no replica is in service and warm");
    }
}
