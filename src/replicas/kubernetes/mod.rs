//! Replicas that are pods of a Kubernetes Deployment.
//!
//! How many there should be is the deployment's `scale` subresource, where they are is in the
//! `EndpointSlices` of a service: a pod that is ready runs, one that terminates drains.
//! Kubernetes starts, places, restarts and stops them. Of several Weirs the one that holds
//! the Lease `weir-GROUP` scales.
//!
//! What a Role must allow: `get` and `update` of `deployments/scale`; `list` and `watch` of
//! `endpointslices`; `get`, `create` and `update` of `leases`; `list` and `patch` of `pods`;
//! `list` of `pods` in `metrics.k8s.io`. Without the last two lines everything else works.

mod cluster;
mod endpoints;
mod failure;
mod lease;
mod usage;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v1::Scale;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use self::cluster::Cluster;
use self::failure::Failure;
use self::lease::{Claim, Step};
use self::watch::Watch;
use crate::config::{Allowance, KubernetesRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::census::Census;
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, Usage};

/// Between two looks without news: the watch tells of the pods, but not of the scale.
const POLL: Duration = Duration::from_secs(2);

/// At least between two looks: a rollout is a burst of news.
const PAUSE: Duration = Duration::from_millis(200);

/// The metrics server measures every fifteen seconds or so.
const MEASURE: Duration = Duration::from_secs(5);

/// For all marks together: scaling in does not wait longer for what is only a wish.
const MARKING: Duration = Duration::from_secs(2);

/// How many times a count is written when others write at the same time.
const TRIES: u32 = 4;

/// Scales one Deployment and lists the pods behind one Service.
pub struct Kubernetes {
    group: TargetGroupId,
    allowance: Allowance,
    /// `None` until configured.
    link: Option<Link>,
    census: Census,
    claim: Claim,
    /// When the fleet was asked for last, successfully or not, or should have been.
    looked: Instant,
    /// Something has happened since.
    has_news: bool,
    watch: Watch,
    /// Pods that were told to go first.
    marked: BTreeSet<String>,
    measured: Option<(Instant, Vec<(String, Usage)>)>,
    complaint: Option<String>,
}

/// What is asked, and what the last answers were.
struct Link {
    settings: KubernetesRunner,
    cluster: Cluster,
    /// The version of the slices to watch from.
    version: Option<String>,
    /// Which pods the deployment has, as its scale says it.
    selector: Option<String>,
}

impl Kubernetes {
    /// Knows nobody to ask until it is configured.
    pub fn new(group: TargetGroupId) -> Self {
        let now = Instant::now();
        Self {
            group,
            allowance: Allowance::default(),
            link: None,
            census: Census::default(),
            claim: Claim::new(crate::replicas::identity::identity()),
            looked: now,
            has_news: false,
            watch: Watch::default(),
            marked: BTreeSet::new(),
            measured: None,
            complaint: None,
        }
    }

    /// What a missing permission costs is said once.
    fn complain(&mut self, what: &str, error: &impl ToString) {
        let error = error.to_string();
        if self.complaint.as_ref() != Some(&error) {
            warn!(group = %self.group, error, "{what}");
            self.complaint = Some(error);
        }
    }

    /// Tells the deployment whom to remove first, and takes back what it was told before.
    async fn mark(&mut self, surplus: u32, victims: &[ReplicaId]) {
        let Some(link) = &self.link else {
            return;
        };
        let victims = victims.iter().take(surplus as usize);
        let pods: Vec<String> = victims
            .filter_map(|id| self.census.name(*id))
            // One without a pod goes by its address.
            .filter(|name| name.parse::<IpAddr>().is_err())
            .map(str::to_owned)
            .collect();
        let mut costs: Vec<(String, Option<i32>)> = Vec::new();
        for pod in &self.marked {
            let is_listed = self.census.replicas().any(|(name, _)| name == pod);
            if is_listed && !pods.contains(pod) {
                costs.push((pod.clone(), None));
            }
        }
        self.marked = pods.iter().cloned().collect();
        let first = i32::try_from(pods.len()).map_or(i32::MIN, |count| -count);
        costs.extend((first..).zip(pods).map(|(cost, pod)| (pod, Some(cost))));
        let marking = async {
            for (pod, cost) in costs {
                link.cluster.deletion_cost(&pod, cost).await?;
            }
            Ok::<_, Failure>(())
        };
        let what = "pods cannot be marked, Kubernetes chooses which go";
        match timeout(MARKING, marking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.complain(what, &error),
            Err(_) => self.complain(what, &"no answer in time"),
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
        if self
            .link
            .as_ref()
            .is_some_and(|link| link.settings == *settings)
        {
            return Ok(());
        }
        self.link = None;
        self.watch = Watch::default();
        // In another namespace it is another lease.
        self.claim.lost();
        self.link = Some(Link {
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
        let mut tries = 0;
        loop {
            let link = self.link.as_ref().ok_or_else(not_configured)?;
            let deployment = &link.settings.deployment;
            let mut scale = link
                .cluster
                .scale(deployment)
                .await
                .map_err(Failure::into_error)?;
            let current = desired(&scale)?;
            if current == count {
                return Ok(());
            }
            if tries == 0 && current > count {
                self.mark(current - count, victims).await;
            }
            let link = self.link.as_ref().ok_or_else(not_configured)?;
            scale.spec.get_or_insert_default().replicas = Some(wanted);
            // What it is at present is not ours to say.
            scale.status = None;
            let deployment = &link.settings.deployment;
            match link.cluster.replace_scale(deployment, &scale).await {
                Ok(_) => break,
                Err(failure) if failure.is_conflict() && tries < TRIES => tries += 1,
                Err(failure) => return Err(failure.into_error()),
            }
        }
        self.has_news = true;
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        self.looked = Instant::now();
        self.has_news = false;
        let link = self.link.as_mut().ok_or_else(not_configured)?;
        let (scale, slices) = tokio::join!(
            link.cluster.scale(&link.settings.deployment),
            link.cluster.slices(&link.settings.service),
        );
        let scale = scale.map_err(Failure::into_error)?;
        let (slices, version) = slices.map_err(Failure::into_error)?;
        let desired = desired(&scale)?;
        let selector = scale.status.and_then(|status| status.selector);
        link.selector = selector.filter(|selector| !selector.is_empty());
        link.version = version;
        let seen = endpoints::sightings(&slices, link.settings.port);
        Ok(Fleet {
            desired,
            replicas: self.census.take(seen),
        })
    }

    /// Cancel-safe: what the watch said is remembered until it is told. Never twice at once,
    /// even if nobody looks.
    async fn changed(&mut self) {
        if !self.has_news {
            let link = self.link.as_ref();
            let watched = link.and_then(|link| {
                let version = link.version.as_deref()?;
                Some((&link.cluster, link.settings.service.as_str(), version))
            });
            tokio::select! {
                () = sleep_until(self.looked + POLL) => {}
                () = self.watch.news(watched) => {}
            }
            self.has_news = true;
        }
        sleep_until(self.looked + PAUSE).await;
        self.has_news = false;
        self.looked = Instant::now();
    }

    /// Kubernetes stops pods by itself.
    async fn release(&mut self, _: ReplicaId) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let is_fresh = |at: Instant| at.elapsed() < MEASURE;
        if !self.measured.as_ref().is_some_and(|(at, _)| is_fresh(*at)) {
            let link = self.link.as_ref().ok_or_else(not_configured)?;
            let usages = measure(link, &self.allowance)
                .await
                .map_err(Failure::into_error)?;
            self.measured = Some((Instant::now(), usages));
        }
        let measured = self.measured.iter().flat_map(|(_, usages)| usages);
        let of = |pod: &str| {
            let mut known = self.census.replicas();
            known
                .find(|(name, _)| *name == pod)
                .map(|(_, replica)| replica.id)
        };
        Ok(measured
            .filter_map(|(pod, usage)| Some((of(pod)?, *usage)))
            .collect())
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        let now = std::time::Instant::now();
        if self.claim.is_fresh(now) {
            return Ok(true);
        }
        let link = self.link.as_ref().ok_or_else(not_configured)?;
        let name = lease::name(&self.group.0);
        let found = link
            .cluster
            .lease(&name)
            .await
            .map_err(Failure::into_error)?;
        let taken = match self.claim.step(&name, found, now) {
            Step::Follow => return Ok(false),
            Step::Create(lease) => link.cluster.create_lease(&name, &lease).await,
            Step::Replace(lease) => link.cluster.replace_lease(&name, &lease).await,
        };
        match taken {
            Ok(_) => {
                // From before it was written: others count from when they read it.
                self.claim.taken(now);
                Ok(true)
            }
            Err(failure) if failure.is_conflict() => {
                self.claim.lost();
                Ok(false)
            }
            Err(failure) => Err(failure.into_error()),
        }
    }
}

async fn measure(link: &Link, allowance: &Allowance) -> Result<Vec<(String, Usage)>, Failure> {
    // Known once the fleet has been listed.
    let Some(selector) = &link.selector else {
        return Ok(Vec::new());
    };
    let Some(metrics) = link.cluster.metrics(selector).await? else {
        return Ok(Vec::new());
    };
    let is_configured = allowance.cpus.is_some() && allowance.memory.is_some();
    let pods = if is_configured {
        Vec::new()
    } else {
        link.cluster.pods(selector).await?
    };
    Ok(usage::usages(&metrics, &pods, allowance))
}

/// Zero is left out on the wire.
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

    /// Without a link to ask: what has been opened is watched all the same.
    fn watching(events: watch::Events) -> Kubernetes {
        let mut provider = Kubernetes::new("todo".into());
        provider.watch = Watch::of(events);
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
            ..crate::replicas::fixture::processes(1, &[])
        };
        let mut provider = Kubernetes::new("todo".into());
        provider.configure(&settings("a")).await.unwrap();
        provider.claim.taken(std::time::Instant::now());
        provider.configure(&settings("a")).await.unwrap();
        assert!(provider.may_scale().await.unwrap());
        provider.configure(&settings("b")).await.unwrap();
        let asked = provider.may_scale().await;
        assert!(asked.is_err(), "it has to ask, and nobody is there");
    }

    #[tokio::test(start_paused = true)]
    async fn news_comes_before_the_next_look_and_a_burst_of_it_is_one() {
        let start = Instant::now();
        let mut provider = watching(watch::fixture::modified(3));
        provider.changed().await;
        let first = start.elapsed();
        assert!(first < POLL / 2, "{first:?}");
        assert!(first >= PAUSE, "{first:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_news_there_is_a_look_every_now_and_then() {
        let start = Instant::now();
        let mut provider = watching(watch::fixture::silent());
        provider.changed().await;
        assert!(start.elapsed() >= POLL);
        provider.changed().await;
        assert!(start.elapsed() >= 2 * POLL, "although nobody looked");
    }

    #[tokio::test(start_paused = true)]
    async fn news_that_nobody_waited_for_is_not_lost() {
        let mut provider = watching(watch::fixture::modified(1));
        let start = Instant::now();
        let hasty = timeout(PAUSE / 2, provider.changed()).await;
        assert!(hasty.is_err(), "it pauses");
        provider.changed().await;
        assert!(start.elapsed() < POLL / 2);
    }
}
