//! The tasks of a service in Docker's Swarm mode, which exists and which Swarm runs.
//!
//! Weir follows the tasks and sets how many there should be. Swarm starts, places, restarts
//! and stops them, and chooses which of them go: a task is not a target from the moment that
//! Swarm is to stop it, and what it still answers then is between its container and Swarm's
//! `stop_grace_period`.

mod lease;
mod task;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bollard::models::SystemInfo;
use serde_json::json;
use tracing::info;

use crate::config::{Allowance, Replicas, Runner, SwarmRunner};
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::docker_engine::{
    CALL_TIMEOUT, Engine, MOST_REPLICAS, Meter, PortProbes, Subject, escape, nonsense,
    poll_interval, poll_timer, within,
};
use crate::replicas::identity::identity;
use crate::replicas::poll_timer::PollTimer;
use crate::replicas::replica_index::{ListedReplica, ReplicaIndex};
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, ReplicaState, Usage};
use lease::Lease;
use task::{RawTask, Service, Task};

/// Attempts to update a service that other clients change at the same time.
const UPDATE_ATTEMPTS: usize = 5;

/// Follows and scales one service.
#[derive(Debug)]
pub(super) struct Swarm {
    group: TargetGroupId,
    /// `None` until configured.
    settings: Option<SwarmRunner>,
    allowance: Allowance,
    engine: Option<Engine>,
    /// The engine's own node, once known: only its containers can be measured here.
    node: Option<String>,
    /// The tasks as they were listed last.
    tasks: Vec<Task>,
    index: ReplicaIndex,
    ports: PortProbes,
    timer: PollTimer,
    lease: Lease,
    meter: Meter,
}

impl Swarm {
    /// Each call fails until it is configured.
    pub(super) fn new(group: TargetGroupId) -> Self {
        Self {
            group,
            settings: None,
            allowance: Allowance::default(),
            engine: None,
            node: None,
            tasks: Vec::new(),
            index: ReplicaIndex::default(),
            ports: PortProbes::default(),
            timer: poll_timer(),
            lease: Lease::new(identity()),
            meter: Meter::default(),
        }
    }

    fn settings(&self) -> Result<SwarmRunner, ProviderError> {
        self.settings.clone().ok_or(ProviderError::OtherRunner)
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
    async fn service(
        &mut self,
        settings: &SwarmRunner,
    ) -> Result<(Engine, Service), ProviderError> {
        let engine = self.engine(&settings.host).await?;
        let path = format!("/services/{}", escape(&settings.service));
        let Some(value) = engine.get(&path).await? else {
            let text = format!("there is no service `{}`", settings.service);
            return Err(ProviderError::Refused(text));
        };
        let service = Service::read(value, &settings.service)?;
        Ok((engine, service))
    }

    async fn poll(&mut self) -> Result<Fleet, ProviderError> {
        let settings = self.settings()?;
        let (engine, service) = self.service(&settings).await?;
        let filters = json!({"service": [service.id], "desired-state": ["running"]});
        let path = format!("/tasks?filters={}", escape(&filters.to_string()));
        let raw: Option<Vec<RawTask>> = engine.get(&path).await?;
        let raw = raw.ok_or_else(|| nonsense("no list of tasks"))?;
        if raw.len() > MOST_REPLICAS {
            return Err(nonsense(format!("{} tasks", raw.len())));
        }
        self.tasks = Task::read(raw, &settings)?;
        let listed = self.listed();
        let fleet = Fleet {
            desired: service.replicas,
            replicas: self.index.update(listed),
            stopped: Vec::new(),
        };
        let running = fleet
            .replicas
            .iter()
            .filter(|replica| replica.state == ReplicaState::Running)
            .count();
        let is_settled = running == fleet.replicas.len() && running == service.replicas as usize;
        self.timer.succeeded(poll_interval(is_settled));
        Ok(fleet)
    }

    /// The tasks as replicas: one runs when its container runs and its port is open.
    fn listed(&mut self) -> Vec<ListedReplica> {
        let (tasks, ports) = (&self.tasks, &mut self.ports);
        ports.retain(tasks.iter().map(|task| task.name.as_str()));
        tasks
            .iter()
            .map(|task| {
                let address = task.address.filter(|_| task.is_running);
                let is_open = address.is_some_and(|address| ports.is_open(&task.name, address));
                ListedReplica {
                    name: task.name.clone(),
                    address: task.address,
                    state: if is_open {
                        ReplicaState::Running
                    } else {
                        ReplicaState::Starting
                    },
                    since: Some(task.since),
                }
            })
            .collect()
    }

    async fn node(&mut self, engine: &Engine) -> Result<String, ProviderError> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let SystemInfo { swarm, .. } = within(CALL_TIMEOUT, engine.docker().info()).await?;
        let node = swarm.and_then(|swarm| swarm.node_id).unwrap_or_default();
        self.node = Some(node.clone());
        Ok(node)
    }
}

#[async_trait]
impl Provider for Swarm {
    /// Makes no call: what is wrong with the settings is an error of the next poll.
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Swarm(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        if self.settings.as_ref().is_some_and(|old| old != settings) {
            // What is listed until the next poll belongs to the old service.
            (self.engine, self.node) = (None, None);
            self.lease.reset();
        }
        self.settings = Some(settings.clone());
        self.allowance = replicas.allowance;
        self.timer.poll_now();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
        let settings = self.settings()?;
        for _ in 0..UPDATE_ATTEMPTS {
            let (engine, service) = self.service(&settings).await?;
            if service.replicas == count {
                return Ok(());
            }
            let (id, version) = (&service.id, service.version);
            let path = format!("/services/{id}/update?version={version}");
            if engine.replace(&path, &service.with_replicas(count)).await? {
                let from = service.replicas;
                info!(event = kind::REPLICA, group = %self.group, service = settings.service, from, to = count, "service scaled");
                self.timer.poll_now();
                return Ok(());
            }
        }
        let text = format!("the service `{}` changes all the time", settings.service);
        Err(ProviderError::Refused(text))
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        let fleet = self.poll().await;
        if fleet.is_err() {
            self.timer.failed();
        }
        fleet
    }

    async fn changed(&mut self) {
        // Both arms are cancel-safe, and what the losing one waits for is not lost.
        tokio::select! {
            () = self.timer.due() => {}
            () = self.ports.next_open() => {}
        }
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let settings = self.settings()?;
        let engine = self.engine(&settings.host).await?;
        let node = self.node(&engine).await?;
        let subjects: Vec<Subject> = self
            .tasks
            .iter()
            .filter(|task| task.node == node && task.is_running)
            .filter_map(|task| {
                Some(Subject {
                    replica: self.index.id(&task.name)?,
                    container: task.container.clone()?,
                    limits: task.limits,
                })
            })
            .collect();
        Ok(self.meter.measure(&engine, &subjects, self.allowance).await)
    }

    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        let settings = self.settings()?;
        let (engine, service) = self.service(&settings).await?;
        self.lease.hold(&engine, &service, &settings.service).await
    }
}
