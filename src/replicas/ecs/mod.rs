//! Replicas that are tasks of an ECS service.
//!
//! How many there should be is the service's desired count, and their addresses are those of
//! each task's network interface (`awsvpc`): a task that runs and should run is a replica, one
//! that should stop drains. ECS starts, places, restarts and stops them. Of several instances
//! of Weir the one in the service's tag `weir:scaler` scales.
//!
//! What a task role must allow: `ecs:DescribeServices`, `ecs:ListTasks`, `ecs:DescribeTasks`,
//! `ecs:UpdateService`, `ecs:TagResource`, `ecs:UpdateTaskProtection`. Without the last one ECS
//! chooses the victims.
//!
//! The ECS API does not report what tasks use: `CloudWatch` does, a minute late. Scale by Weir's
//! own metrics, which are a second old.

mod api;
mod client;
mod lease;
mod tasks;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ecs::types::Service;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::config::{EcsRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::identity::identity;
use crate::replicas::last_error::LastError;
use crate::replicas::poll_timer::PollTimer;
use crate::replicas::replica_index::ReplicaIndex;
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, ReplicaState};
use api::{Api, ApiError};
use lease::{Step, Tag};

/// Between two polls: three calls each, of the 20 a second that an account has.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Between two polls while ECS throttles: doubling from the first to the last.
const THROTTLED_INTERVAL: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(60));

/// For the protection of all tasks: a scale-in does not wait longer for what only improves the
/// choice of victims.
const PROTECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Milliseconds between writing the lease and reading it back, at least and at most.
const READ_BACK: (u64, u64) = (400, 1200);

/// Scales one ECS service and lists its tasks.
pub struct Ecs {
    group: TargetGroupId,
    /// `None` until configured.
    connection: Option<Connection>,
    index: ReplicaIndex,
    identity: String,
    timer: PollTimer,
    /// Why tasks could not be protected.
    last_error: LastError,
}

struct Connection {
    settings: EcsRunner,
    api: Api,
}

impl Ecs {
    /// Each call fails until it is configured.
    pub fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            connection: None,
            index: ReplicaIndex::default(),
            identity: identity(),
            timer: PollTimer::new(POLL_INTERVAL, THROTTLED_INTERVAL),
            last_error: LastError::default(),
        }
    }

    fn connect(&mut self, config: &SdkConfig, settings: &EcsRunner) -> Result<(), ProviderError> {
        self.connection = Some(Connection {
            settings: settings.clone(),
            api: Api::new(config, settings)?,
        });
        Ok(())
    }

    fn connection(&self) -> Result<&Connection, ProviderError> {
        self.connection
            .as_ref()
            .ok_or_else(|| ProviderError::Refused("no connection to ECS".to_owned()))
    }

    fn api(&self) -> Result<&Api, ProviderError> {
        Ok(&self.connection()?.api)
    }

    async fn poll(&mut self) -> Result<Fleet, ApiError> {
        let Connection { settings, api } = self.connection()?;
        let (service, wanted) = tokio::join!(api.service(), api.wanted_tasks());
        let service = service?;
        let mut names = wanted?;
        // ECS lists tasks that stop among all that have stopped in the last hour: of these the
        // ones that were listed before are described by name.
        for (name, _) in self.index.replicas() {
            if !names.iter().any(|wanted| wanted == name) {
                names.push(name.to_owned());
            }
        }
        let listed = tasks::listed(api.tasks(&names).await?, settings.port);
        Ok(Fleet {
            desired: u32::try_from(service.desired_count()).unwrap_or(0),
            replicas: self.index.update(listed),
            stopped: Vec::new(),
        })
    }

    /// Whether this instance holds the tag. Takes or renews it if it may.
    async fn claim(&self) -> Result<bool, ApiError> {
        let api = self.api()?;
        let service = api.service().await?;
        let arn = service.service_arn().unwrap_or_default();
        let now = SystemTime::now();
        let own = Tag::new(&self.identity, now);
        match lease::step(scaler_tag(&service).as_ref(), &self.identity, now) {
            Step::Follow => Ok(false),
            Step::Hold => Ok(true),
            Step::Renew => {
                api.write_lease(arn, &own).await?;
                Ok(true)
            }
            Step::Take => {
                api.write_lease(arn, &own).await?;
                let pause = fastrand::u64(READ_BACK.0..READ_BACK.1);
                sleep(Duration::from_millis(pause)).await;
                let found = scaler_tag(&api.service().await?);
                Ok(found.is_some_and(|tag| tag.is_held_by(&self.identity)))
            }
        }
    }

    /// Protects all tasks but the victims, so that ECS chooses those. The count is set even if
    /// this fails.
    async fn protect(&mut self, count: u32, victims: &[ReplicaId]) {
        let Ok(api) = self.api() else {
            return;
        };
        let wanted: Vec<&str> = self
            .index
            .replicas()
            .filter(|(_, replica)| match replica.state {
                ReplicaState::Starting | ReplicaState::Running => true,
                ReplicaState::Draining | ReplicaState::Stopping => false,
            })
            .map(|(name, _)| name)
            .collect();
        let surplus = wanted.len().saturating_sub(count as usize);
        let chosen: Vec<String> = victims
            .iter()
            .filter_map(|id| self.index.name(*id))
            .filter(|name| wanted.contains(name))
            .take(surplus)
            .map(str::to_owned)
            .collect();
        if chosen.is_empty() {
            return;
        }
        let kept: Vec<String> = wanted
            .iter()
            .map(|&name| name.to_owned())
            .filter(|name| !chosen.contains(name))
            .collect();
        let protect = async {
            // A victim may have been protected before.
            api.protect(&chosen, false).await?;
            api.protect(&kept, true).await
        };
        let error = match timeout(PROTECT_TIMEOUT, protect).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if self.last_error.is_new(&error) {
            warn!(group = %self.group, error, "cannot protect tasks, ECS chooses which go");
        }
    }
}

#[async_trait]
impl Provider for Ecs {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Ecs(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        if let Some(connection) = &self.connection
            && connection.settings == *settings
        {
            return Ok(());
        }
        self.connection = None;
        // May call the machine's metadata service for the region.
        let config = api::loader(settings).load().await;
        self.connect(&config, settings)
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        let wanted = i32::try_from(count)
            .map_err(|_| ProviderError::Refused(format!("{count} tasks are too many")))?;
        let desired = self.api()?.service().await?.desired_count();
        if desired == wanted {
            return Ok(());
        }
        if desired > wanted {
            self.protect(count, victims).await;
        }
        Ok(self.api()?.set_desired(wanted).await?)
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        // Before the calls: one that is given up counts as a poll.
        self.timer.restart();
        let fleet = self.poll().await;
        if fleet.as_ref().is_err_and(|error| error.is_throttled) {
            self.timer.failed();
        } else {
            self.timer.succeeded(POLL_INTERVAL);
        }
        self.timer.spread();
        Ok(fleet?)
    }

    async fn changed(&mut self) {
        self.timer.due().await;
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        Ok(self.claim().await?)
    }
}

/// The lease in the service's tags.
fn scaler_tag(service: &Service) -> Option<Tag> {
    let mut tags = service.tags().iter();
    let tag = tags.find(|tag| tag.key() == Some(lease::KEY))?;
    Tag::parse(tag.value()?)
}
