//! Replicas that are child processes.

mod output;
mod port;
mod supervisor;
mod usage;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Allowance, ProcessRunner, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::replicas::child::Guardian;
use crate::replicas::rollout::{Present, plan};
use crate::replicas::{Fleet, Provider, ProviderError, Replica, ReplicaId, ReplicaState, Usage};
pub use port::Ports;
use supervisor::{Handle, Keeper};
use usage::{Ceiling, Meter};

/// Runs the replicas of one group as child processes. Dropping it kills all of them.
#[derive(Debug)]
pub struct Processes {
    group: TargetGroupId,
    ports: Ports,
    guardian: Guardian,
    count: u32,
    /// Who goes first when there are too many.
    victims: Vec<ReplicaId>,
    /// `None` until configured.
    settings: Option<Arc<ProcessRunner>>,
    kept: BTreeMap<ReplicaId, Kept>,
    next_id: u64,
    keepers: JoinSet<()>,
    news: Arc<Notify>,
    /// What 100 % are.
    allowance: Allowance,
    meter: Meter,
}

#[derive(Debug)]
struct Kept {
    handle: Handle,
    settings: Arc<ProcessRunner>,
    is_draining: bool,
}

impl Processes {
    /// No replicas yet.
    pub fn new(group: TargetGroupId, ports: Ports, guardian: Guardian) -> Self {
        Self {
            group,
            ports,
            guardian,
            count: 0,
            victims: Vec::new(),
            settings: None,
            kept: BTreeMap::new(),
            next_id: 0,
            keepers: JoinSet::new(),
            news: Arc::default(),
            allowance: Allowance::default(),
            meter: Meter::default(),
        }
    }

    /// Takes the next step towards the wanted replicas.
    fn reconcile(&mut self) {
        while self.keepers.try_join_next().is_some() {}
        self.kept.retain(|_, kept| kept.handle.replica().is_some());
        for kept in self.kept.values_mut().filter(|kept| kept.is_draining) {
            // One that dies while it drains need not be started again.
            kept.stop_unless_running();
        }
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let present: Vec<Present> = self
            .kept
            .iter()
            .filter(|(_, kept)| !kept.is_draining)
            .filter_map(|(id, kept)| {
                Some(Present {
                    id: *id,
                    is_current: Arc::ptr_eq(&kept.settings, &settings),
                    is_running: kept.handle.replica()?.state == ReplicaState::Running,
                })
            })
            .collect();
        let next = plan(self.count as usize, &present, &self.victims);
        for _ in 0..next.start {
            self.start(&settings);
        }
        for id in next.drain {
            self.drain(id);
        }
    }

    fn start(&mut self, settings: &Arc<ProcessRunner>) {
        let id = ReplicaId(self.next_id);
        self.next_id += 1;
        let (keeper, handle) = Keeper::new(
            self.group.clone(),
            id,
            settings.clone(),
            (self.ports.clone(), self.guardian.clone()),
            self.news.clone(),
        );
        self.keepers.spawn(keeper.run());
        let kept = Kept {
            handle,
            settings: settings.clone(),
            is_draining: false,
        };
        self.kept.insert(id, kept);
        self.news.notify_one();
    }

    fn drain(&mut self, id: ReplicaId) {
        let Some(kept) = self.kept.get_mut(&id) else {
            return;
        };
        kept.is_draining = true;
        kept.stop_unless_running();
        self.news.notify_one();
    }
}

impl Kept {
    /// A replica that is no target has no requests to wait for.
    fn stop_unless_running(&mut self) {
        let is_target = |replica: Replica| replica.state == ReplicaState::Running;
        if !self.handle.replica().is_some_and(is_target) {
            self.handle.stop();
        }
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
        let replicas = self.kept.values().filter_map(|kept| {
            let mut replica = kept.handle.replica()?;
            if kept.is_draining && replica.state == ReplicaState::Running {
                replica.state = ReplicaState::Draining;
            }
            Some(replica)
        });
        Ok(Fleet {
            desired: self.count,
            replicas: replicas.collect(),
        })
    }

    async fn changed(&mut self) {
        self.news.notified().await;
        self.reconcile();
    }

    fn is_own(&self) -> bool {
        true
    }

    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        let replicas = self.kept.iter();
        let replicas = replicas.filter_map(|(id, kept)| Some((*id, kept.handle.replica()?.pid?)));
        let replicas: Vec<(ReplicaId, u32)> = replicas.collect();
        let leaders: Vec<u32> = replicas.iter().map(|(_, pid)| *pid).collect();
        let read = move || (usage::of_groups(&leaders), Ceiling::read());
        let unreadable = |error: io::Error| ProviderError::Unreachable(format!("/proc: {error}"));
        let (groups, ceiling) = on_thread(read).await.map_err(unreadable)?;
        let groups = groups.map_err(unreadable)?;
        let now = Instant::now();
        let cores = self.allowance.cpus.unwrap_or(ceiling.cpus);
        let bytes = self.allowance.memory.or(ceiling.memory);
        self.meter.retain(|id| self.kept.contains_key(&id));
        let meter = &mut self.meter;
        let usage = replicas.into_iter().filter_map(|(id, pid)| {
            let used = groups.get(&pid)?;
            let memory = bytes.filter(|bytes| *bytes > 0);
            let usage = Usage {
                cpu: meter.percent(id, pid.into(), used.cpu, now, cores),
                memory: memory.map(|bytes| 100.0 * used.memory as f64 / bytes as f64),
            };
            Some((id, usage))
        });
        Ok(usage.collect())
    }

    async fn release(&mut self, replica: ReplicaId) -> Result<(), ProviderError> {
        if let Some(kept) = self.kept.get_mut(&replica)
            && kept.is_draining
        {
            kept.handle.stop();
        }
        Ok(())
    }
}

/// What `work` returns that may block, from a thread of its own. The runtime's pool panics where
/// the system has no more threads to give; here that is an error, and the call is made again.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, result) = oneshot::channel();
    let work = move || {
        // Without a receiver nothing waits for it any more.
        let _ = sender.send(work());
    };
    thread::Builder::new()
        .name("usage".to_owned())
        .spawn(work)?;
    result.await.map_err(io::Error::other)
}
