//! Replicas that are pods of a Kubernetes Deployment.
//!
//! How many there should be is the deployment's `scale` subresource, and their addresses are in
//! the `EndpointSlices` of a service: a pod that is ready runs, one that terminates drains.
//! Kubernetes starts, places, restarts and stops them. Of several instances of Weir the one that
//! holds the Lease `weir-GROUP` scales.
//!
//! What a Role must allow: `get` and `update` of `deployments/scale`; `list` and `watch` of
//! `endpointslices`; `get`, `create` and `update` of `leases`; `list` and `patch` of `pods`;
//! `list` of `pods` in `metrics.k8s.io`. Without the last two everything else works.

mod cluster;
mod endpoints;
mod error;
#[cfg(test)]
mod fixture;
mod lease;
mod usage;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use crate::config::{Allowance, KubernetesRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::identity::identity;
use crate::replicas::last_error::LastError;
use crate::replicas::replica_index::ReplicaIndex;
use crate::replicas::scaler_lease::ScalerLease;
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, Usage};
use cluster::Cluster;
use error::ApiError;
use lease::Step;
use usage::PodUsage;
use watch::SliceWatch;

/// Between two polls without an event: the watch reports changes of the pods, but not of the
/// scale.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// At least between two polls: a rollout is a burst of events.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The metrics server measures every fifteen seconds or so.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// For all marks together: a scale-in does not wait longer for what only improves the choice of
/// victims.
const MARK_TIMEOUT: Duration = Duration::from_secs(2);

/// How many times a count is written when other clients write at the same time.
const WRITE_ATTEMPTS: u32 = 5;

/// Scales one Deployment and lists the pods behind one Service.
pub struct Kubernetes {
    group: TargetGroupId,
    allowance: Allowance,
    /// `None` until configured.
    connection: Option<Connection>,
    index: ReplicaIndex,
    lease: ScalerLease<Lease>,
    /// When the last poll was made or was due.
    polled_at: Instant,
    /// Whether something has changed since.
    has_changed: bool,
    watch: SliceWatch,
    /// The pods that are marked to go first.
    marked: BTreeSet<String>,
    measured: Option<Measurement>,
    /// Why pods could not be marked.
    last_error: LastError,
}

/// The API server, and what its last answers were.
struct Connection {
    settings: KubernetesRunner,
    cluster: Cluster,
    /// The version of the slices to watch from.
    version: Option<String>,
    /// Selects the deployment's pods, as its scale has it.
    selector: Option<String>,
}

struct Measurement {
    at: Instant,
    pods: Vec<PodUsage>,
}

impl Kubernetes {
    /// Each call fails until it is configured.
    pub fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            allowance: Allowance::default(),
            connection: None,
            index: ReplicaIndex::default(),
            lease: ScalerLease::new(identity()),
            polled_at: Instant::now(),
            has_changed: false,
            watch: SliceWatch::default(),
            marked: BTreeSet::new(),
            measured: None,
            last_error: LastError::default(),
        }
    }

    fn connection(&self) -> Result<&Connection, ProviderError> {
        self.connection.as_ref().ok_or_else(not_configured)
    }

    /// Marks the victims as the pods that the deployment removes first, and removes the marks
    /// of others. The count is set even if this fails.
    async fn mark(&mut self, surplus: u32, victims: &[ReplicaId]) {
        let Some(connection) = &self.connection else {
            return;
        };
        let pods: Vec<String> = victims
            .iter()
            .take(surplus as usize)
            .filter_map(|id| self.index.name(*id))
            // A replica without a pod has its address for a name.
            .filter(|name| name.parse::<IpAddr>().is_err())
            .map(str::to_owned)
            .collect();
        let unmarked = self
            .marked
            .iter()
            .filter(|pod| self.index.id(pod).is_some() && !pods.contains(pod));
        let mut costs: Vec<(String, Option<i32>)> =
            unmarked.map(|pod| (pod.clone(), None)).collect();
        self.marked = pods.iter().cloned().collect();
        let first = i32::try_from(pods.len()).map_or(i32::MIN, |count| -count);
        costs.extend((first..).zip(pods).map(|(cost, pod)| (pod, Some(cost))));
        let mark = async {
            for (pod, cost) in costs {
                connection.cluster.deletion_cost(&pod, cost).await?;
            }
            Ok::<_, ApiError>(())
        };
        let error = match timeout(MARK_TIMEOUT, mark).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if self.last_error.is_new(&error) {
            warn!(group = %self.group, error, "cannot mark pods, Kubernetes chooses which go");
        }
    }
}

#[async_trait]
impl Provider for Kubernetes {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Kubernetes(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        self.allowance = replicas.allowance;
        self.measured = None;
        if let Some(connection) = &self.connection
            && connection.settings == *settings
        {
            return Ok(());
        }
        self.connection = None;
        self.watch = SliceWatch::default();
        // In another namespace it is another lease.
        self.lease.reset();
        self.connection = Some(Connection {
            settings: settings.clone(),
            cluster: Cluster::new(settings).await?,
            version: None,
            selector: None,
        });
        Ok(())
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        let wanted = i32::try_from(count)
            .map_err(|_| ProviderError::Refused(format!("{count} replicas are too many")))?;
        for attempt in 1.. {
            let Connection {
                cluster, settings, ..
            } = self.connection()?;
            let mut scale = cluster.scale(&settings.deployment).await?;
            let current = desired(&scale)?;
            if current == count {
                return Ok(());
            }
            if attempt == 1 && current > count {
                self.mark(current - count, victims).await;
            }
            scale.spec.get_or_insert_default().replicas = Some(wanted);
            // The status is the controller's to write.
            scale.status = None;
            let Connection {
                cluster, settings, ..
            } = self.connection()?;
            match cluster.replace_scale(&settings.deployment, &scale).await {
                Ok(_) => break,
                Err(error) if error.is_conflict() && attempt < WRITE_ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.has_changed = true;
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        self.polled_at = Instant::now();
        self.has_changed = false;
        let connection = self.connection.as_mut().ok_or_else(not_configured)?;
        let (scale, slices) = tokio::join!(
            connection.cluster.scale(&connection.settings.deployment),
            connection.cluster.slices(&connection.settings.service),
        );
        let scale = scale?;
        let slices = slices?;
        let desired = desired(&scale)?;
        connection.selector = scale
            .status
            .and_then(|status| status.selector)
            .filter(|selector| !selector.is_empty());
        connection.version = slices.version;
        let listed = endpoints::listed(&slices.items, connection.settings.port);
        Ok(Fleet {
            desired,
            replicas: self.index.update(listed),
            stopped: Vec::new(),
        })
    }

    /// Cancel-safe: an event is remembered until the call returns. Returns once in an interval
    /// even if no poll follows.
    async fn changed(&mut self) {
        if !self.has_changed {
            let watched = self.connection.as_ref().and_then(|connection| {
                let version = connection.version.as_deref()?;
                Some((
                    &connection.cluster,
                    connection.settings.service.as_str(),
                    version,
                ))
            });
            tokio::select! {
                () = sleep_until(self.polled_at + POLL_INTERVAL) => {}
                () = self.watch.changed(watched) => {}
            }
            self.has_changed = true;
        }
        sleep_until(self.polled_at + MIN_POLL_INTERVAL).await;
        self.has_changed = false;
        self.polled_at = Instant::now();
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let pods = match self.measured.take() {
            Some(measured) if measured.at.elapsed() < MEASURE_INTERVAL => {
                &self.measured.insert(measured).pods
            }
            Some(_) | None => {
                let pods = measure(self.connection()?, &self.allowance).await?;
                let at = Instant::now();
                &self.measured.insert(Measurement { at, pods }).pods
            }
        };
        Ok(pods
            .iter()
            .filter_map(|pod| Some((self.index.id(&pod.name)?, pod.usage)))
            .collect())
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        let now = Instant::now();
        if self.lease.is_fresh(now) {
            return Ok(true);
        }
        let cluster = &self.connection.as_ref().ok_or_else(not_configured)?.cluster;
        let name = lease::name(&self.group.0);
        let found = cluster.lease(&name).await?;
        let written = match lease::step(&mut self.lease, &name, found, now) {
            Step::Follow => return Ok(false),
            Step::Create(lease) => cluster.create_lease(&name, &lease).await,
            Step::Replace(lease) => cluster.replace_lease(&name, &lease).await,
        };
        match written {
            Ok(_) => {
                self.lease.hold(now);
                Ok(true)
            }
            Err(error) if error.is_conflict() => {
                self.lease.lose();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Measures the pods of the deployment; empty before the first list, and without a metrics
/// server.
async fn measure(
    connection: &Connection,
    allowance: &Allowance,
) -> Result<Vec<PodUsage>, ApiError> {
    let Some(selector) = &connection.selector else {
        return Ok(Vec::new());
    };
    let Some(metrics) = connection.cluster.metrics(selector).await? else {
        return Ok(Vec::new());
    };
    let is_configured = allowance.cpus.is_some() && allowance.memory.is_some();
    let pods = if is_configured {
        Vec::new()
    } else {
        connection.cluster.pods(selector).await?
    };
    Ok(usage::usages(&metrics, &pods, allowance))
}

/// The desired count. The API leaves out a zero.
fn desired(scale: &Scale) -> Result<u32, ProviderError> {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas);
    let replicas = replicas.unwrap_or(0);
    u32::try_from(replicas)
        .map_err(|_| ProviderError::Nonsense(format!("a scale of {replicas} replicas")))
}

fn not_configured() -> ProviderError {
    ProviderError::Refused("no connection to the API server".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::fixture::processes;

    /// Without a connection: a watch that is open goes on all the same.
    fn watching(events: cluster::Events) -> Kubernetes {
        let mut provider = Kubernetes::new("todo".into());
        provider.watch = SliceWatch::open(events);
        provider
    }

    #[tokio::test]
    async fn a_lease_is_not_held_in_another_namespace() {
        let settings = |namespace: &str| Replicas {
            runner: Runner::Kubernetes(KubernetesRunner {
                api: Some("http://127.0.0.1:1".to_owned()),
                namespace: Some(namespace.to_owned()),
                deployment: "todo".to_owned(),
                service: "todo".to_owned(),
                port: 6400,
            }),
            ..processes(1, &[])
        };
        let mut provider = Kubernetes::new("todo".into());
        provider.configure(&settings("a")).await.unwrap();
        provider.lease.hold(Instant::now());
        provider.configure(&settings("a")).await.unwrap();
        assert!(provider.may_scale().await.unwrap());
        provider.configure(&settings("b")).await.unwrap();
        let asked = provider.may_scale().await;
        assert!(asked.is_err(), "it has to ask, and no server is there");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_comes_before_the_next_poll_and_a_burst_of_events_is_one() {
        let start = Instant::now();
        let mut provider = watching(fixture::modified(3));
        provider.changed().await;
        let first = start.elapsed();
        assert!(first < POLL_INTERVAL / 2, "{first:?}");
        assert!(first >= MIN_POLL_INTERVAL, "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_it_polls_once_in_an_interval() {
        let start = Instant::now();
        let mut provider = watching(fixture::silent());
        provider.changed().await;
        assert!(start.elapsed() >= POLL_INTERVAL);
        provider.changed().await;
        assert!(
            start.elapsed() >= 2 * POLL_INTERVAL,
            "although there was no poll"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_while_no_call_waits_is_not_lost() {
        let mut provider = watching(fixture::modified(1));
        let start = Instant::now();
        let early = timeout(MIN_POLL_INTERVAL / 2, provider.changed()).await;
        assert!(early.is_err(), "not so soon after the last poll");
        provider.changed().await;
        assert!(start.elapsed() < POLL_INTERVAL / 2);
    }
}
