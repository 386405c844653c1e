//! The tasks of a service in Docker's Swarm mode, which exists and which Swarm runs.
//!
//! Weir follows the tasks and sets how many there should be. Swarm starts, places, restarts
//! and stops them, and chooses which of them go: a task is no target from the moment that
//! Swarm wants it stopped, and what it still answers then is between its container and
//! Swarm's `stop_grace_period`.

mod lease;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bollard::models::SystemInfo;
use serde_json::json;
use tracing::info;

use crate::config::{Replicas, Runner, SwarmRunner};
use crate::model::TargetGroupId;
use crate::replicas::docker_engine::{
    Doors, Engine, LIMIT, MOST_REPLICAS, Meter, Pace, Subject, escape, nonsense, within,
};
use crate::replicas::identity::identity;
use crate::replicas::{Fleet, Provider, ProviderError, Replica, ReplicaId, ReplicaState, Usage};
use lease::Lease;
use task::{Service, Task};

/// Updates of a service that somebody else changes at the same time.
const TRIES: usize = 5;

/// Follows and scales one service.
#[derive(Debug)]
pub(super) struct Swarm {
    group: TargetGroupId,
    /// `None` until configured.
    settings: Option<Arc<Replicas>>,
    engine: Option<Engine>,
    /// The engine's own node, once known: only its containers can be measured here.
    node: Option<String>,
    /// The tasks as they were listed last.
    tasks: BTreeMap<ReplicaId, Task>,
    ids: HashMap<String, ReplicaId>,
    next_id: u64,
    doors: Doors,
    pace: Pace,
    lease: Lease,
    meter: Meter,
}

impl Swarm {
    /// Knows nothing of the service before it is configured.
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            settings: None,
            engine: None,
            node: None,
            tasks: BTreeMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            doors: Doors::default(),
            pace: Pace::default(),
            lease: Lease::new(identity()),
            meter: Meter::default(),
        }
    }

    fn runner(&self) -> Result<(Arc<Replicas>, SwarmRunner), ProviderError> {
        let settings = self.settings.clone().ok_or(ProviderError::OtherRunner)?;
        let Runner::Swarm(runner) = &settings.runner else {
            return Err(ProviderError::OtherRunner);
        };
        let runner = runner.clone();
        Ok((settings, runner))
    }

    async fn engine(&mut self, host: &str) -> Result<Engine, ProviderError> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let engine = Engine::connect(host).await?;
        self.engine = Some(engine.clone());
        Ok(engine)
    }

    /// The service as it is now.
    async fn service(&mut self, runner: &SwarmRunner) -> Result<(Engine, Service), ProviderError> {
        let engine = self.engine(&runner.host).await?;
        let path = format!("/services/{}", escape(&runner.service));
        let Some(value) = engine.get(&path).await? else {
            let text = format!("there is no service `{}`", runner.service);
            return Err(ProviderError::Refused(text));
        };
        let service = Service::read(value, &runner.service)?;
        Ok((engine, service))
    }

    async fn look(&mut self) -> Result<Fleet, ProviderError> {
        let (_, runner) = self.runner()?;
        let (engine, service) = self.service(&runner).await?;
        let filters = json!({"service": [service.id], "desired-state": ["running"]});
        let path = format!("/tasks?filters={}", escape(&filters.to_string()));
        let raw: Option<Vec<task::Raw>> = engine.get(&path).await?;
        let raw = raw.ok_or_else(|| nonsense("no list of tasks"))?;
        if raw.len() > MOST_REPLICAS {
            return Err(nonsense(format!("{} tasks", raw.len())));
        }
        self.remember(Task::read(raw, &runner)?);
        let replicas = self.replicas();
        let is_running = |replica: &&Replica| replica.state == ReplicaState::Running;
        let running = replicas.iter().filter(is_running).count();
        let is_settled = running == replicas.len() && running == service.replicas as usize;
        self.pace.succeed(is_settled);
        Ok(Fleet {
            desired: service.replicas,
            replicas,
        })
    }

    /// Numbers the tasks in the order of their age, and forgets those that are gone.
    fn remember(&mut self, tasks: Vec<Task>) {
        let mut ids = HashMap::with_capacity(tasks.len());
        self.tasks.clear();
        for task in tasks {
            let known = self.ids.get(&task.id).copied();
            let id = known.unwrap_or_else(|| {
                self.next_id += 1;
                ReplicaId(self.next_id)
            });
            ids.insert(task.id.clone(), id);
            self.tasks.insert(id, task);
        }
        self.ids = ids;
        let tasks = &self.tasks;
        self.doors.retain(|id| tasks.contains_key(&id));
    }

    fn replicas(&mut self) -> Vec<Replica> {
        let doors = &mut self.doors;
        let replica = |(id, task): (&ReplicaId, &Task)| {
            let address = task.address.filter(|_| task.is_running);
            let is_open = address.is_some_and(|address| doors.is_open(*id, address));
            Replica {
                id: *id,
                name: Some(task.name.clone()),
                pid: None,
                address: task.address,
                state: if is_open {
                    ReplicaState::Running
                } else {
                    ReplicaState::Starting
                },
                restarts: 0,
                since: task.since,
            }
        };
        self.tasks.iter().map(replica).collect()
    }

    async fn node(&mut self, engine: &Engine) -> Result<String, ProviderError> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let SystemInfo { swarm, .. } = within(LIMIT, engine.docker().info()).await?;
        let node = swarm.and_then(|swarm| swarm.node_id).unwrap_or_default();
        self.node = Some(node.clone());
        Ok(node)
    }
}

#[async_trait]
impl Provider for Swarm {
    /// Asks nobody: what is wrong with the settings is told by the next look at the service.
    async fn configure(&mut self, settings: &Replicas) -> Result<(), ProviderError> {
        let Runner::Swarm(runner) = &settings.runner else {
            return Err(ProviderError::OtherRunner);
        };
        if let Ok((_, before)) = self.runner()
            && before != *runner
        {
            // What is listed until the next look belongs to the service before.
            (self.engine, self.node) = (None, None);
            self.lease.forget();
        }
        self.settings = Some(Arc::new(settings.clone()));
        self.pace.hurry();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
        let (_, runner) = self.runner()?;
        for _ in 0..TRIES {
            let (engine, service) = self.service(&runner).await?;
            if service.replicas == count {
                return Ok(());
            }
            let (id, version) = (&service.id, service.version);
            let path = format!("/services/{id}/update?version={version}");
            if engine.replace(&path, &service.with_replicas(count)).await? {
                let from = service.replicas;
                info!(group = %self.group, service = runner.service, from, to = count, "service scaled");
                self.pace.hurry();
                return Ok(());
            }
        }
        let text = format!("the service `{}` changes all the time", runner.service);
        Err(ProviderError::Refused(text))
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        let fleet = self.look().await;
        if fleet.is_err() {
            self.pace.fail();
        }
        fleet
    }

    async fn changed(&mut self) {
        // Both arms are cancel-safe, and what the losing one waits for is not lost.
        tokio::select! {
            () = self.pace.due() => {}
            () = self.doors.opened() => {}
        }
    }

    /// Swarm stops its tasks itself.
    async fn release(&mut self, _: ReplicaId) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let (settings, runner) = self.runner()?;
        let engine = self.engine(&runner.host).await?;
        let node = self.node(&engine).await?;
        let here = self.tasks.iter().filter(|(_, task)| task.node == node);
        let subjects = here.filter(|(_, task)| task.is_running);
        let subjects: Vec<Subject> = subjects
            .filter_map(|(id, task)| {
                Some(Subject {
                    replica: *id,
                    container: task.container.clone()?,
                    limits: task.limits,
                })
            })
            .collect();
        Ok(self
            .meter
            .measure(&engine, &subjects, settings.allowance)
            .await)
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        let (_, runner) = self.runner()?;
        let (engine, service) = self.service(&runner).await?;
        self.lease.hold(&engine, &service, &runner.service).await
    }
}
