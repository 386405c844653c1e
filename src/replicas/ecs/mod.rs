//! Replicas that are tasks of an ECS service.
//!
//! How many there should be is the service's desired count, where they are is the address of
//! each task's network interface (`awsvpc`): a task that runs and should run is a replica, one
//! that should stop drains. ECS starts, places, restarts and stops them. Of several Weirs the
//! one in the service's tag `weir:scaler` scales.
//!
//! What a task role must allow: `ecs:DescribeServices`, `ecs:ListTasks`, `ecs:DescribeTasks`,
//! `ecs:UpdateService`, `ecs:TagResource`, `ecs:UpdateTaskProtection`. Without the last one ECS
//! chooses the victims.
//!
//! ECS does not tell what tasks use: `CloudWatch` does, a minute late. Scale by Weir's own
//! metrics, which are a second old.

mod api;
mod lease;
mod tasks;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ecs::types::Service;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use self::api::{Api, Failure};
use self::lease::{Step, Tag};
use crate::config::{EcsRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::census::Census;
use crate::replicas::{Fleet, Provider, ProviderError, Replica, ReplicaId, ReplicaState};

/// Between two looks: three calls each, of the 20 a second that an account has.
const POLL: Duration = Duration::from_secs(3);

/// Between two looks at most, when ECS says that it is asked too often.
const SLOWEST_POLL: Duration = Duration::from_secs(60);

/// For all protections together: scaling in does not wait longer for what is only a wish.
const PROTECTING: Duration = Duration::from_secs(3);

/// Milliseconds between writing the lease and reading it back, at least and at most.
const READ_BACK: (u64, u64) = (400, 1200);

/// Scales one ECS service and lists its tasks.
pub struct Ecs {
    group: TargetGroupId,
    /// `None` until configured.
    link: Option<Link>,
    census: Census,
    identity: String,
    /// When to look again, and how long to wait after that.
    next_look: Instant,
    poll: Duration,
    complaint: Option<String>,
}

struct Link {
    settings: EcsRunner,
    api: Api,
}

impl Ecs {
    /// Knows nobody to ask until it is configured.
    pub fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            link: None,
            census: Census::default(),
            identity: crate::replicas::identity::identity(),
            next_look: Instant::now(),
            poll: POLL,
            complaint: None,
        }
    }

    fn connect(&mut self, config: &SdkConfig, settings: &EcsRunner) -> Result<(), ProviderError> {
        self.link = Some(Link {
            settings: settings.clone(),
            api: Api::new(config, settings)?,
        });
        Ok(())
    }

    fn api(&self) -> Result<&Api, ProviderError> {
        let link = self.link.as_ref();
        let none = || ProviderError::Refused("no connection to ECS".to_owned());
        link.map(|link| &link.api).ok_or_else(none)
    }

    async fn look(&mut self) -> Result<Fleet, Failure> {
        let api = self.api()?;
        let (service, wanted) = tokio::join!(api.service(), api.wanted_tasks());
        let service = service?;
        let mut names = wanted?;
        // ECS lists those that stop among all that have stopped in the last hour: of these
        // the ones that were seen before are asked for by name.
        for (name, _) in self.census.replicas() {
            if !names.iter().any(|wanted| wanted == name) {
                names.push(name.to_owned());
            }
        }
        let tasks = api.tasks(&names).await?;
        let port = self.link.as_ref().map_or(0, |link| link.settings.port);
        Ok(Fleet {
            desired: u32::try_from(service.desired_count()).unwrap_or(0),
            replicas: self.census.take(tasks::sightings(tasks, port)),
        })
    }

    /// Takes or renews the tag.
    async fn claim(&self) -> Result<bool, Failure> {
        let api = self.api()?;
        let service = api.service().await?;
        let arn = service.service_arn().unwrap_or_default();
        let now = SystemTime::now();
        let mine = Tag::of(&self.identity, now);
        match lease::step(scaler(&service).as_ref(), &self.identity, now) {
            Step::Follow => Ok(false),
            Step::Hold => Ok(true),
            Step::Renew => {
                api.write_lease(arn, &mine).await?;
                Ok(true)
            }
            Step::Take => {
                api.write_lease(arn, &mine).await?;
                let pause = fastrand::u64(READ_BACK.0..READ_BACK.1);
                sleep(Duration::from_millis(pause)).await;
                let found = scaler(&api.service().await?);
                Ok(found.is_some_and(|tag| tag.is_of(&self.identity)))
            }
        }
    }

    /// Lets ECS choose none but the victims.
    async fn protect(&mut self, count: u32, victims: &[ReplicaId]) {
        let Ok(api) = self.api() else {
            return;
        };
        let is_wanted = |replica: &Replica| {
            matches!(
                replica.state,
                ReplicaState::Starting | ReplicaState::Running
            )
        };
        let listed = self.census.replicas();
        let wanted: Vec<&str> = listed
            .filter(|(_, replica)| is_wanted(replica))
            .map(|(name, _)| name)
            .collect();
        let surplus = wanted.len().saturating_sub(count as usize);
        let ranked = victims.iter().filter_map(|id| self.census.name(*id));
        let ranked = ranked.filter(|name| wanted.contains(name));
        let chosen: Vec<String> = ranked.take(surplus).map(str::to_owned).collect();
        if chosen.is_empty() {
            return;
        }
        let all = wanted.iter().map(|&name| name.to_owned());
        let kept: Vec<String> = all.filter(|name| !chosen.contains(name)).collect();
        let protecting = async {
            // One that was kept before may be chosen now.
            api.protect(&chosen, false).await?;
            api.protect(&kept, true).await
        };
        let error = match timeout(PROTECTING, protecting).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        // Said once.
        if self.complaint.as_ref() != Some(&error) {
            warn!(group = %self.group, error, "tasks cannot be protected, ECS chooses which go");
            self.complaint = Some(error);
        }
    }

    /// Waits longer and longer while ECS says that it is asked too often.
    fn pace(&mut self, is_throttled: bool) {
        self.poll = if is_throttled {
            SLOWEST_POLL.min(self.poll * 2)
        } else {
            POLL
        };
        // Several Weirs must not go on in step.
        let spread = self.poll.mul_f64(fastrand::f64() / 5.0);
        self.next_look = Instant::now() + self.poll + spread;
    }
}

#[async_trait]
impl Provider for Ecs {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Ecs(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        if self
            .link
            .as_ref()
            .is_some_and(|link| link.settings == *settings)
        {
            return Ok(());
        }
        self.link = None;
        // May ask the machine for its region.
        let config = api::loader(settings).load().await;
        self.connect(&config, settings)
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        let wanted = i32::try_from(count)
            .map_err(|_| ProviderError::Refused(format!("{count} tasks are too many")))?;
        let desired = self.api()?.service().await;
        let desired = desired.map_err(Failure::into_error)?.desired_count();
        if desired == wanted {
            return Ok(());
        }
        if desired > wanted {
            self.protect(count, victims).await;
        }
        let set = self.api()?.set_desired(wanted).await;
        set.map_err(Failure::into_error)
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        // Before the calls: one that is given up counts.
        self.next_look = Instant::now() + self.poll;
        let looked = self.look().await;
        self.pace(looked.as_ref().is_err_and(|failure| failure.is_throttled));
        looked.map_err(Failure::into_error)
    }

    async fn changed(&mut self) {
        sleep_until(self.next_look).await;
        // Not at once again, even if nobody looks.
        self.next_look = Instant::now() + self.poll;
    }

    /// ECS stops tasks by itself.
    async fn release(&mut self, _: ReplicaId) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        self.claim().await.map_err(Failure::into_error)
    }
}

/// Who scales, by the service's tag.
fn scaler(service: &Service) -> Option<Tag> {
    let mut tags = service.tags().iter();
    let tag = tags.find(|tag| tag.key() == Some(lease::KEY))?;
    Tag::parse(tag.value()?)
}
