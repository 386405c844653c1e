//! CPU time and memory of containers, from the engine's one-shot statistics.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::engine::{Engine, limited};
use crate::config::Allowance;
use crate::replicas::ProviderError;
use crate::replicas::provider::USAGE_TIMEOUT;
use crate::replicas::{ReplicaId, Usage};

/// Calls at the same time: the engine reads a handful of files for each.
const CONCURRENT_CALLS: usize = 16;

/// For the statistics of one container. One without an answer must not delay the others beyond
/// the deadline of the whole call.
const STATS_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(STATS_TIMEOUT.as_millis() < USAGE_TIMEOUT.as_millis());

/// How much the engine lets a container use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    /// Cores.
    pub(crate) cpus: Option<f64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
}

/// A container to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) replica: ReplicaId,
    pub(crate) container: String,
    pub(crate) limits: Limits,
}

/// Remembers the CPU time of each container at the last measurement.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: HashMap<String, Sample>,
}

/// The CPU time that a container had used at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    nanoseconds: u64,
    at: Timestamp,
}

impl Meter {
    /// Measures all containers; those that the engine cannot measure are left out.
    pub(crate) async fn measure(
        &mut self,
        engine: &Engine,
        subjects: &[Subject],
        allowance: Allowance,
    ) -> Vec<(ReplicaId, Usage)> {
        let mut samples = HashMap::new();
        let mut usages = Vec::new();
        for subjects in subjects.chunks(CONCURRENT_CALLS) {
            for (subject, stats) in all_stats(engine, subjects).await {
                let sample = Sample::of(&stats);
                let before = self.last.get(&subject.container).copied();
                let usage = usage(&stats, sample, before, subject.limits, allowance);
                usages.push((subject.replica, usage));
                samples.extend(sample.map(|sample| (subject.container, sample)));
            }
        }
        self.last = samples;
        usages
    }
}

async fn all_stats(
    engine: &Engine,
    subjects: &[Subject],
) -> Vec<(Subject, ContainerStatsResponse)> {
    let mut calls = JoinSet::new();
    for subject in subjects.iter().cloned() {
        let engine = engine.clone();
        calls.spawn(async move {
            let stats = stats(&engine, &subject.container).await?;
            Some((subject, stats))
        });
    }
    calls.join_all().await.into_iter().flatten().collect()
}

async fn stats(engine: &Engine, container: &str) -> Option<ContainerStatsResponse> {
    let options = StatsOptionsBuilder::new()
        .stream(false)
        .one_shot(true)
        .build();
    let mut answers = std::pin::pin!(engine.docker().stats(container, Some(options)));
    let answer = limited(STATS_TIMEOUT, async {
        Ok::<_, ProviderError>(answers.next().await)
    });
    answer.await.ok()??.ok()
}

impl Sample {
    fn of(stats: &ContainerStatsResponse) -> Option<Self> {
        Some(Self {
            nanoseconds: stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?,
            at: stats.read.as_ref()?.parse().ok()?,
        })
    }

    /// Cores in use since an earlier sample. `None` if the container was started again since, or
    /// no time has passed.
    fn cores_since(self, before: Self) -> Option<f64> {
        let used = self.nanoseconds.checked_sub(before.nanoseconds)?;
        let passed = self.at.duration_since(before.at).as_secs_f64();
        (passed > 0.0).then(|| used as f64 / 1e9 / passed)
    }
}

/// In percent of the configured allowance, else of the engine's limit, else of all that the
/// machine has.
fn usage(
    stats: &ContainerStatsResponse,
    sample: Option<Sample>,
    before: Option<Sample>,
    limits: Limits,
    allowance: Allowance,
) -> Usage {
    let machine_cpus = stats.cpu_stats.as_ref().and_then(|cpu| cpu.online_cpus);
    let machine_memory = stats.memory_stats.as_ref().and_then(|memory| memory.limit);
    let cores = sample
        .zip(before)
        .and_then(|(sample, before)| sample.cores_since(before));
    let cpus = allowance
        .cpus
        .or(limits.cpus)
        .or(machine_cpus.map(f64::from));
    let memory = allowance.memory.or(limits.memory).or(machine_memory);
    Usage {
        cpu: share(cores, cpus),
        memory: share(resident(stats), memory.map(|bytes| bytes as f64)),
    }
}

/// Bytes in use without the page cache that the kernel would reclaim first, as `docker stats`
/// shows them. The field has another name in version 1 of control groups.
fn resident(stats: &ContainerStatsResponse) -> Option<f64> {
    let memory = stats.memory_stats.as_ref()?;
    let cache = memory.stats.as_ref().and_then(|stats| {
        let first = stats.get("total_inactive_file");
        first.or_else(|| stats.get("inactive_file")).copied()
    });
    Some(memory.usage?.saturating_sub(cache.unwrap_or(0)) as f64)
}

fn share(used: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let percent = used? / whole? * 100.0;
    percent.is_finite().then_some(percent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(cpu: u64, read: &str) -> ContainerStatsResponse {
        let stats = json!({
            "read": read,
            "cpu_stats": {"cpu_usage": {"total_usage": cpu}, "online_cpus": 4},
            "memory_stats": {
                "usage": 300, "limit": 1000, "stats": {"total_inactive_file": 100},
            },
        });
        serde_json::from_value(stats).unwrap()
    }

    fn measured(limits: Limits, allowance: Allowance) -> Usage {
        let before = Sample::of(&stats(1_000_000_000, "2026-01-01T00:00:00.5Z"));
        let now = stats(3_000_000_000, "2026-01-01T00:00:02.5Z");
        usage(&now, Sample::of(&now), before, limits, allowance)
    }

    #[test]
    fn without_limits_the_whole_is_the_machine() {
        let usage = measured(Limits::default(), Allowance::default());
        assert_eq!((usage.cpu, usage.memory), (Some(25.0), Some(20.0)));
    }

    #[test]
    fn the_engines_limit_is_the_whole_unless_an_allowance_is_configured() {
        let limits = Limits {
            cpus: Some(2.0),
            memory: Some(400),
        };
        let usage = measured(limits, Allowance::default());
        assert_eq!((usage.cpu, usage.memory), (Some(50.0), Some(50.0)));
        let allowance = Allowance {
            cpus: Some(0.5),
            memory: Some(200),
        };
        let usage = measured(limits, allowance);
        assert_eq!((usage.cpu, usage.memory), (Some(200.0), Some(100.0)));
    }

    #[test]
    fn a_first_or_restarted_or_empty_sample_has_no_cpu_share() {
        let now = stats(5, "2026-01-01T00:00:02Z");
        let at = |before| {
            let (limits, allowance) = (Limits::default(), Allowance::default());
            usage(&now, Sample::of(&now), before, limits, allowance)
        };
        assert_eq!(at(None).cpu, None);
        assert_eq!(at(None).memory, Some(20.0));
        assert_eq!(at(Sample::of(&stats(9, "2026-01-01T00:00:01Z"))).cpu, None);
        assert_eq!(at(Sample::of(&now)).cpu, None);
        let empty = ContainerStatsResponse::default();
        assert_eq!(Sample::of(&empty), None);
        let none = usage(&empty, None, None, Limits::default(), Allowance::default());
        assert_eq!(none, Usage::default());
    }
}
