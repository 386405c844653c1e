//! Replicas that are containers of a local Docker Engine, started and stopped by Weir.
//!
//! As with processes, they end with Weir, one that exits is started again at once or after a
//! growing wait, and other settings replace them one after another. What a killed Weir has left
//! behind goes on serving: the next one on the same host finds it by its label, and replaces it
//! by containers of its own like those with other settings.

mod container;
mod owner;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{Allowance, DockerRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::docker_engine::{
    Engine, Limits, Meter, PortProbes, Subject, poll_interval, poll_timer,
};
use crate::replicas::last_error::LastError;
use crate::replicas::poll_timer::PollTimer;
use crate::replicas::replica_index::ReplicaIds;
use crate::replicas::rollout::{Present, plan};
use crate::replicas::{
    Fleet, Provider, ProviderError, Replica, ReplicaId, StopReason, Stopped, Usage,
};
use container::{ListedContainer, NewContainer};
use owner::Owner;
use replica::{DockerReplica, Intent, Phase};

/// Runs the replicas of one group as containers. Dropping it leaves them to the next instance.
#[derive(Debug)]
pub(super) struct Docker {
    group: TargetGroupId,
    owner: Owner,
    engine: Option<Engine>,
    /// `None` until configured.
    settings: Option<Arc<DockerRunner>>,
    allowance: Allowance,
    count: u32,
    /// Which go first when there are too many.
    victims: Vec<ReplicaId>,
    ids: ReplicaIds,
    replicas: BTreeMap<ReplicaId, DockerReplica>,
    /// Containers that have ended since the last list.
    stopped: Vec<Stopped>,
    jobs: JoinSet<Finished>,
    ports: PortProbes,
    timer: PollTimer,
    meter: Meter,
    /// Why the last container could not be started.
    last_error: LastError,
}

/// The result of a job.
#[derive(Debug)]
enum Finished {
    /// The container was started, or could not be.
    Start(ReplicaId, Engine, Result<(), ProviderError>),
    /// The container is removed.
    Stop(ReplicaId),
}

impl Docker {
    /// Has no containers until it is configured and a count is set.
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            owner: Owner::this_process(),
            engine: None,
            settings: None,
            allowance: Allowance::default(),
            count: 0,
            victims: Vec::new(),
            ids: ReplicaIds::default(),
            replicas: BTreeMap::new(),
            stopped: Vec::new(),
            jobs: JoinSet::new(),
            ports: PortProbes::default(),
            timer: poll_timer(),
            meter: Meter::default(),
            last_error: LastError::default(),
        }
    }

    async fn poll(&mut self) -> Result<(), ProviderError> {
        let settings = self.settings.clone().ok_or(ProviderError::OtherRunner)?;
        let engine = self.engine.clone().ok_or(ProviderError::OtherRunner)?;
        // Before the list is requested, which would not have what was started since.
        while let Some(Ok(finished)) = self.jobs.try_join_next() {
            self.finish(finished);
        }
        let listed = container::list(&engine, &self.group.to_string(), &settings).await?;
        self.adopt(&listed, &settings);
        self.compare(listed);
        self.reconcile(&engine, &settings);
        Ok(())
    }

    /// Takes over the containers that a process which has ended left behind.
    fn adopt(&mut self, listed: &[ListedContainer], settings: &Arc<DockerRunner>) {
        for container in listed {
            let is_known = self
                .replicas
                .values()
                .any(|replica| replica.name == container.name);
            let owner = Owner::parse(&container.owner);
            if is_known || !owner.is_some_and(|owner| owner.has_ended()) {
                continue;
            }
            warn!(group = %self.group, container = container.name, "container of a Weir that has ended, replacing it");
            let replica = DockerReplica::adopted(container.name.clone(), settings.clone());
            self.replicas.insert(self.ids.assign(), replica);
        }
    }

    /// Takes in what the engine lists.
    fn compare(&mut self, listed: Vec<ListedContainer>) {
        let mut listed: BTreeMap<String, ListedContainer> = listed
            .into_iter()
            .map(|container| (container.name.clone(), container))
            .collect();
        for (id, replica) in &mut self.replicas {
            let Some(status) = replica.compare(listed.remove(&replica.name)) else {
                replica.is_open = replica.is_up()
                    && replica
                        .address
                        .is_some_and(|address| self.ports.is_open(&replica.name, address));
                continue;
            };
            self.ports.forget(&replica.name);
            self.stopped.push(replica.exited(*id, &status));
            let wait = replica.restart_later();
            warn!(event = kind::REPLICA, group = %self.group, replica = id.0, container = replica.name, status, "replica exited, restarting in {wait:?}");
        }
    }

    /// Takes the next step towards the desired replicas.
    fn reconcile(&mut self, engine: &Engine, settings: &Arc<DockerRunner>) {
        let next = plan(self.count as usize, &self.present(settings), &self.victims);
        for _ in 0..next.start {
            let id = self.ids.assign();
            let replica = DockerReplica::new(self.container_name(id), settings.clone());
            self.replicas.insert(id, replica);
        }
        for id in next.drain {
            if let Some(replica) = self.replicas.get_mut(&id) {
                replica.intent = Intent::Drain;
                replica.leaving = Some(if replica.is_replaced {
                    StopReason::Restart
                } else if !replica.is_adopted && Arc::ptr_eq(&replica.settings, settings) {
                    StopReason::ScaleIn
                } else {
                    StopReason::Replaced
                });
            }
        }
        for (id, replica) in &mut self.replicas {
            if replica.is_to_stop() {
                replica.phase = Phase::Stopping;
                self.jobs.spawn(stop(*id, engine.clone(), replica));
            } else if replica.is_to_start() {
                replica.phase = Phase::Starting;
                let container = NewContainer {
                    name: replica.name.clone(),
                    group: self.group.to_string(),
                    owner: self.owner.to_string(),
                };
                self.jobs
                    .spawn(start(*id, engine.clone(), container, replica));
            }
        }
        let names = self.replicas.values().map(|replica| replica.name.as_str());
        self.ports.retain(names);
    }

    fn present(&self, settings: &Arc<DockerRunner>) -> Vec<Present> {
        self.replicas
            .iter()
            .filter(|(_, replica)| replica.is_kept())
            .map(|(id, replica)| Present {
                id: *id,
                is_current: !replica.is_replaced
                    && !replica.is_adopted
                    && Arc::ptr_eq(&replica.settings, settings),
                is_running: replica.is_serving(),
            })
            .collect()
    }

    /// The group's name may have characters that a container's may not.
    fn container_name(&self, id: ReplicaId) -> String {
        let group = self.group.to_string().replace(
            |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'),
            "-",
        );
        format!("weir-{group}-{}-{}", self.owner.hash(), id.0)
    }

    fn finish(&mut self, finished: Finished) {
        self.timer.poll_now();
        match finished {
            Finished::Stop(id) => {
                if let Some(mut replica) = self.replicas.remove(&id) {
                    let reason = replica.leaving.unwrap_or(StopReason::Replaced);
                    self.stopped.push(replica.stopped(id, reason, None));
                }
            }
            Finished::Start(id, engine, result) => {
                let Some(replica) = self.replicas.get_mut(&id) else {
                    return;
                };
                match result {
                    _ if replica.phase == Phase::Stopping => {
                        self.jobs.spawn(stop(id, engine, replica));
                    }
                    Ok(()) => {
                        info!(event = kind::REPLICA, group = %self.group, replica = id.0, container = replica.name, "container started");
                        replica.started();
                        self.last_error.clear();
                    }
                    Err(error) => {
                        replica.restart_later();
                        if self.last_error.is_new(&error.to_string()) {
                            error!(event = kind::REPLICA, group = %self.group, replica = id.0, %error, "cannot start a replica, trying again");
                        }
                    }
                }
            }
        }
    }

    /// Stops what runs on an engine that is not the configured one any more.
    fn leave_engine(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        for (id, replica) in &mut self.replicas {
            // One that is being started is stopped when that is done.
            if !matches!(replica.phase, Phase::Starting | Phase::Stopping) {
                self.jobs.spawn(stop(*id, engine.clone(), replica));
            }
            (replica.intent, replica.phase) = (Intent::Stop, Phase::Stopping);
        }
    }
}

fn start(
    id: ReplicaId,
    engine: Engine,
    container: NewContainer,
    replica: &DockerReplica,
) -> impl Future<Output = Finished> + Send + 'static {
    let settings = replica.settings.clone();
    async move {
        let started = container::start(&engine, &container, &settings).await;
        Finished::Start(id, engine, started)
    }
}

fn stop(
    id: ReplicaId,
    engine: Engine,
    replica: &DockerReplica,
) -> impl Future<Output = Finished> + Send + 'static {
    let (name, settings) = (replica.name.clone(), replica.settings.clone());
    async move {
        container::stop(&engine, &name, &settings).await;
        Finished::Stop(id)
    }
}

#[async_trait]
impl Provider for Docker {
    /// Fails if the image or the network does not exist, and changes nothing then.
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Docker(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        let before = self.settings.as_deref();
        let is_other_host = before.is_some_and(|before| before.host != settings.host);
        let engine = match &self.engine {
            Some(engine) if !is_other_host => engine.clone(),
            Some(_) | None => Engine::connect(&settings.host).await?,
        };
        container::check(&engine, settings).await?;
        if is_other_host {
            self.leave_engine();
        }
        if self.settings.as_deref() != Some(settings) {
            self.settings = Some(Arc::new(settings.clone()));
        }
        self.engine = Some(engine);
        self.allowance = replicas.allowance;
        self.timer.poll_now();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        self.count = count;
        self.victims = victims.to_vec();
        self.timer.poll_now();
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        if let Err(error) = self.poll().await {
            self.timer.failed();
            return Err(error);
        }
        let is_settled = self.replicas.len() == self.count as usize
            && self.replicas.values().all(DockerReplica::is_settled);
        self.timer.succeeded(poll_interval(is_settled));
        for replica in self.replicas.values() {
            if let Phase::Waiting(until) = replica.phase {
                self.timer.poll_by(until);
            }
        }
        let replicas: Vec<Replica> = self
            .replicas
            .iter_mut()
            .map(|(id, replica)| replica.listed(*id))
            .collect();
        Ok(Fleet {
            desired: self.count,
            replicas,
            stopped: std::mem::take(&mut self.stopped),
        })
    }

    async fn changed(&mut self) {
        // Every arm is cancel-safe, and what the losing arms wait for is not lost.
        tokio::select! {
            () = self.timer.due() => {}
            () = self.ports.next_open() => {}
            Some(Ok(finished)) = self.jobs.join_next() => self.finish(finished),
        }
    }

    async fn release(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(replica) = self.replicas.get_mut(&replica)
            && !replica.is_kept()
        {
            replica.intent = Intent::Stop;
            self.timer.poll_now();
        }
        Ok(())
    }

    async fn replace(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(replica) = self.replicas.get_mut(&replica) {
            replica.is_replaced = true;
            self.timer.poll_now();
        }
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let Some(engine) = self.engine.clone() else {
            return Ok(Vec::new());
        };
        let subjects: Vec<Subject> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.is_up())
            .map(|(id, replica)| Subject {
                replica: *id,
                container: replica.name.clone(),
                limits: Limits::default(),
            })
            .collect();
        Ok(self.meter.measure(&engine, &subjects, self.allowance).await)
    }

    fn is_own(&self) -> bool {
        true
    }
}
