//! Replicas that are child processes.

mod files;
mod output;
mod port;
mod spawn;
mod supervisor;
mod usage;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Allowance, ProcessRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::child::Guardian;
use crate::replicas::replica_index::ReplicaIds;
use crate::replicas::rollout::{Present, plan};
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, ReplicaState, StopReason, Usage};
pub use port::Ports;
use supervisor::{Handle, ProcessSupervisor, Shared};
use usage::{Ceiling, Meter};

/// Runs the replicas of one group as child processes. Dropping it kills all of them.
#[derive(Debug)]
pub struct Processes {
    shared: Shared,
    count: u32,
    /// Which go first when there are too many.
    victims: Vec<ReplicaId>,
    /// `None` until configured.
    settings: Option<Arc<ProcessRunner>>,
    ids: ReplicaIds,
    replicas: BTreeMap<ReplicaId, Process>,
    supervisors: JoinSet<()>,
    /// What counts as 100 %, as far as it is configured.
    allowance: Allowance,
    meter: Meter,
}

#[derive(Debug)]
struct Process {
    handle: Handle,
    settings: Arc<ProcessRunner>,
    /// Whether another one is to take its place.
    is_replaced: bool,
    /// Why it is to stop, once it is.
    leaving: Option<StopReason>,
}

impl Processes {
    /// Has no replicas until it is configured and a count is set.
    pub fn new(group: TargetGroupId, ports: Ports, guardian: Guardian) -> Self {
        Self {
            shared: Shared {
                group,
                ports,
                guardian,
                changes: Arc::default(),
                stopped: Arc::default(),
            },
            count: 0,
            victims: Vec::new(),
            settings: None,
            ids: ReplicaIds::default(),
            replicas: BTreeMap::new(),
            supervisors: JoinSet::new(),
            allowance: Allowance::default(),
            meter: Meter::default(),
        }
    }

    /// Takes the next step towards the desired replicas.
    fn reconcile(&mut self) {
        while self.supervisors.try_join_next().is_some() {}
        self.replicas
            .retain(|_, process| process.handle.replica().is_some());
        for process in self
            .replicas
            .values_mut()
            .filter(|each| each.leaving.is_some())
        {
            // One that exits while it drains need not be started again.
            process.stop_unless_running();
        }
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let present: Vec<Present> = self
            .replicas
            .iter()
            .filter(|(_, process)| process.leaving.is_none())
            .map(|(id, process)| Present {
                id: *id,
                is_current: process.is_current(&settings),
                is_running: process.is_running(),
            })
            .collect();
        let next = plan(self.count as usize, &present, &self.victims);
        for _ in 0..next.start {
            self.start(&settings);
        }
        for id in next.drain {
            self.drain(id, &settings);
        }
    }

    fn start(&mut self, settings: &Arc<ProcessRunner>) {
        let id = self.ids.assign();
        let (supervisor, handle) =
            ProcessSupervisor::new(self.shared.clone(), id, settings.clone());
        self.supervisors.spawn(supervisor.run());
        let process = Process {
            handle,
            settings: settings.clone(),
            is_replaced: false,
            leaving: None,
        };
        self.replicas.insert(id, process);
        self.shared.changes.notify_one();
    }

    fn drain(&mut self, id: ReplicaId, settings: &Arc<ProcessRunner>) {
        if let Some(process) = self.replicas.get_mut(&id) {
            process.leaving = Some(if process.is_replaced {
                StopReason::Restart
            } else if process.is_current(settings) {
                StopReason::ScaleIn
            } else {
                StopReason::Replaced
            });
            process.stop_unless_running();
            self.shared.changes.notify_one();
        }
    }
}

impl Process {
    fn is_running(&self) -> bool {
        self.handle
            .replica()
            .is_some_and(|replica| replica.state == ReplicaState::Running)
    }

    fn is_current(&self, settings: &Arc<ProcessRunner>) -> bool {
        !self.is_replaced && Arc::ptr_eq(&self.settings, settings)
    }

    /// A replica that is not a target has no requests to wait for.
    fn stop_unless_running(&mut self) {
        if !self.is_running() {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.handle
            .stop(self.leaving.unwrap_or(StopReason::ScaleIn));
    }
}

#[async_trait]
impl Provider for Processes {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Process(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        self.allowance = replicas.allowance;
        if self.settings.as_deref() != Some(settings) {
            self.settings = Some(Arc::new(settings.clone()));
            self.reconcile();
        }
        Ok(())
    }

    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError> {
        self.count = count;
        self.victims = victims.to_vec();
        self.reconcile();
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        let replicas = self.replicas.values().filter_map(|process| {
            let mut replica = process.handle.replica()?;
            if process.leaving.is_some() && replica.state == ReplicaState::Running {
                replica.state = ReplicaState::Draining;
            }
            Some(replica)
        });
        Ok(Fleet {
            desired: self.count,
            replicas: replicas.collect(),
            stopped: self.shared.stopped.take(),
        })
    }

    async fn changed(&mut self) {
        self.shared.changes.notified().await;
        self.reconcile();
    }

    fn is_own(&self) -> bool {
        true
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let pids: Vec<(ReplicaId, u32)> = self
            .replicas
            .iter()
            .filter_map(|(id, process)| Some((*id, process.handle.replica()?.pid?)))
            .collect();
        let leaders: Vec<u32> = pids.iter().map(|(_, pid)| *pid).collect();
        let unreadable = |error: io::Error| ProviderError::Unreachable(format!("/proc: {error}"));
        let (groups, ceiling) = on_thread(move || (usage::of_groups(&leaders), Ceiling::read()))
            .await
            .map_err(unreadable)?;
        let groups = groups.map_err(unreadable)?;
        let now = Instant::now();
        let cores = self.allowance.cpus.unwrap_or(ceiling.cpus);
        let bytes = self.allowance.memory.or(ceiling.memory);
        let bytes = bytes.filter(|bytes| *bytes > 0);
        self.meter.retain(|id| self.replicas.contains_key(&id));
        let mut usages = Vec::with_capacity(pids.len());
        for (id, pid) in pids {
            let Some(used) = groups.get(&pid) else {
                continue;
            };
            let usage = Usage {
                cpu: self.meter.percent(id, pid.into(), used.cpu, now, cores),
                memory: bytes.map(|bytes| 100.0 * used.memory as f64 / bytes as f64),
            };
            usages.push((id, usage));
        }
        Ok(usages)
    }

    async fn release(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(process) = self.replicas.get_mut(&replica)
            && process.leaving.is_some()
        {
            process.stop();
        }
        Ok(())
    }

    async fn replace(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(process) = self.replicas.get_mut(&replica) {
            process.is_replaced = true;
            self.reconcile();
        }
        Ok(())
    }
}

/// Runs `work`, which may block, on a thread of its own. Fails where the system has no more
/// threads to give: the runtime's pool would panic there.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, result) = oneshot::channel();
    thread::Builder::new()
        .name("usage".to_owned())
        .spawn(move || {
            // Fails if the caller has given up.
            let _ = sender.send(work());
        })?;
    result.await.map_err(io::Error::other)
}
