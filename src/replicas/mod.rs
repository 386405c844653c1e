//! The replicas of a group: who runs them, how many there are and where.
//!
//! A [`Provider`] lists the replicas of one group and sets how many there are: one file for
//! each engine that can, and [`Processes`] for Weir's own child processes. [`run`] keeps a
//! provider per group that is configured to have replicas, registers those that answer as
//! targets, and takes a replica out of the roster and waits for its requests before it lets
//! the provider stop it.
//!
//! How many there should be is the configuration's decision or the autoscaler's, who writes
//! it to [`Wishes`]; whether a replica is well is `health`'s.

mod backoff;
mod call;
mod census;
mod crew;
#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "ecs")]
pub mod ecs;
#[cfg(feature = "docker")]
mod engine;
mod environment;
mod exec;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
mod generation;
mod guardian;
#[cfg(any(feature = "docker", feature = "ecs", feature = "kubernetes"))]
mod identity;
mod keeper;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod listed;
mod missing;
mod operator;
mod output;
mod panic;
mod poll;
mod port;
mod process;
mod rollout;
mod shortfall;
mod spawn;
mod standing;
mod supervisor;
#[cfg(feature = "docker")]
mod swarm;
#[cfg(test)]
mod tests;
mod trouble;
mod usage;
mod victims;
mod warm_up;
mod warming;
mod webhook;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;

use crate::config::{Replicas, Runner};
use crate::model::TargetGroupId;
use crate::state::{Publisher, Reader};

pub use exec::Exec;
pub use guardian::{Guardian, guard};
pub use missing::Missing;
pub use port::Ports;
pub use process::Processes;
use supervisor::Supervisor;
pub use webhook::Webhook;

/// Runs the replicas of every snapshot's groups until `shutdown` is done; then stops those
/// that Weir runs itself, and returns when the last has been reaped. What an engine runs goes
/// on running.
///
/// Complete `shutdown` after the data plane has drained: nothing is waited for. Dropping
/// the future instead kills every process at once. `status` always shows all of them.
/// `wishes` says how many each group should have; one that it does not name has what its
/// configuration says.
///
/// Must run on a thread that lives as long as Weir: the kernel kills the processes when
/// the thread that started them ends. `guardian` starts a process that calls [`guard`], and so
/// ends what those processes have started; without it that outlives a Weir that is killed.
pub async fn run(
    reader: Reader,
    publisher: Publisher,
    wishes: watch::Receiver<Wishes>,
    status: watch::Sender<Status>,
    guardian: Option<fn() -> Command>,
    shutdown: impl Future<Output = ()>,
) {
    let (ports, guarded) = (Ports::default(), Guardian::default());
    let start = {
        let guarded = guarded.clone();
        move |group: &TargetGroupId, runner: &Runner| provider(group, runner, &ports, &guarded)
    };
    let supervisor = Supervisor::new(reader, publisher, wishes, status, Arc::new(start));
    let run = async {
        supervisor.run(shutdown).await;
        guarded.close();
    };
    let keep = async {
        if let Some(command) = guardian {
            guarded.keep(command).await;
        }
    };
    tokio::join!(run, keep);
}

/// Who runs the replicas of a group. An engine whose feature was left out is missing.
fn provider(
    group: &TargetGroupId,
    runner: &Runner,
    ports: &Ports,
    guardian: &Guardian,
) -> Box<dyn Provider> {
    match runner {
        Runner::Process(_) => {
            guardian.prepare();
            Box::new(Processes::new(
                group.clone(),
                ports.clone(),
                guardian.clone(),
            ))
        }
        #[cfg(feature = "docker")]
        Runner::Docker(_) => Box::new(docker::Docker::new(group.clone())),
        #[cfg(feature = "docker")]
        Runner::Swarm(_) => Box::new(swarm::Swarm::new(group.clone())),
        #[cfg(not(feature = "docker"))]
        Runner::Docker(_) | Runner::Swarm(_) => Box::new(Missing("docker")),
        #[cfg(feature = "kubernetes")]
        Runner::Kubernetes(_) => Box::new(kubernetes::Kubernetes::new(group.clone())),
        #[cfg(not(feature = "kubernetes"))]
        Runner::Kubernetes(_) => Box::new(Missing("kubernetes")),
        #[cfg(feature = "ecs")]
        Runner::Ecs(_) => Box::new(ecs::Ecs::new(group.clone())),
        #[cfg(not(feature = "ecs"))]
        Runner::Ecs(_) => Box::new(Missing("ecs")),
        Runner::Exec(_) => {
            guardian.prepare();
            Box::new(Exec::new(guardian.clone()))
        }
        Runner::Webhook(_) => Box::new(Webhook::default()),
    }
}

/// How many replicas groups should have, by the autoscaler.
pub type Wishes = BTreeMap<TargetGroupId, u32>;

/// The replicas of all groups.
pub type Status = BTreeMap<TargetGroupId, GroupReplicas>;

/// The replicas of one group, as their provider reported them last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupReplicas {
    /// How many there should be, as the provider has it.
    pub desired: u32,
    /// Those that exist.
    pub replicas: Vec<Replica>,
    /// What each used when that was last measured. Empty when nobody asks for it or the
    /// provider cannot tell; one that is missing could not be measured.
    pub usage: BTreeMap<ReplicaId, Usage>,
    /// When `usage` was measured.
    pub measured: Option<Instant>,
    /// What the provider cannot do at present.
    pub fault: Option<Fault>,
    /// Whether this Weir decides how many there are.
    pub is_scaler: bool,
}

/// What a replica uses, in percent of what it may.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time since the measurement before, or in the engine's own window.
    pub cpu: Option<f64>,
    /// Resident memory.
    pub memory: Option<f64>,
}

/// Why a provider does not do what it should. It is asked again, less and less often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For people.
    pub message: String,
    /// Since when without a success.
    pub since: SystemTime,
}

/// Who runs the replicas of one group.
///
/// Every call may fail or take long: its caller gives it a deadline, after which the future
/// is dropped, and asks again later.
#[async_trait]
pub trait Provider: Send + 'static {
    /// Other settings, of the same kind of runner. Replicas that run with different ones are
    /// replaced one after another, a new one before the old, where Weir runs them itself. The
    /// count in `settings` plays no part.
    async fn configure(&mut self, settings: &Replicas) -> Result<(), ProviderError>;

    /// Asks for so many replicas. Done when the wish is noted; [`Provider::fleet`] tells
    /// when it has come true. When there are too many, `victims` should go first, in their
    /// order; an engine that chooses for itself ignores them.
    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError>;

    /// How many replicas there should be, and those that exist now.
    async fn fleet(&mut self) -> Result<Fleet, ProviderError>;

    /// Waits until the fleet may be another one. Cancel-safe.
    async fn changed(&mut self);

    /// A replica that is listed as draining has no requests left and may be stopped. An
    /// engine that drains by itself ignores this.
    async fn release(&mut self, replica: ReplicaId) -> Result<(), ProviderError>;

    /// What the replicas use; called about once a second while somebody wants to know. Those
    /// that cannot be measured are left out.
    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        Ok(Vec::new())
    }

    /// Whether this Weir may change the count: takes or renews the lease where the engine has
    /// one. Called before each [`Provider::set_count`] and every few seconds.
    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        Ok(true)
    }

    /// Whether the replicas end with Weir. Those of an engine do not.
    fn is_own(&self) -> bool {
        false
    }
}

/// What a provider has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// How many there should be.
    pub desired: u32,
    /// All that exist.
    pub replicas: Vec<Replica>,
}

/// Identity of a replica within its group; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub u64);

/// One replica as its provider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Which one. A process that replaces a dead one has the same. Greater ones are younger.
    pub id: ReplicaId,
    /// What the engine calls it: container, task or pod.
    pub name: Option<String>,
    /// Its process, if it is one and lives.
    pub pid: Option<u32>,
    /// Where it answers or is going to.
    pub address: Option<SocketAddr>,
    /// Where it is in its life.
    pub state: ReplicaState,
    /// How many times it has been started again.
    pub restarts: u32,
    /// When it got into this state.
    pub since: SystemTime,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Does not accept connections yet, or waits to be started again.
    Starting,
    /// Accepts connections: a target.
    Running,
    /// Gets no new requests and is not stopped yet.
    Draining,
    /// Has been told to stop.
    Stopping,
}

impl ReplicaState {
    /// The word in `/api/status` and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// Why a provider cannot do what it was asked. The next change tries again.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// The engine behind the provider did not answer.
    #[error("the engine does not answer: {0}")]
    Unreachable(String),
    /// The engine refused.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// The engine answered something that makes no sense.
    #[error("the engine answered nonsense: {0}")]
    Nonsense(String),
    /// This Weir was built without what speaks to the engine.
    #[error("this Weir was built without the feature `{0}`")]
    NotBuilt(&'static str),
    /// Settings for another kind of provider, which only a defect can cause.
    #[error("settings for another provider")]
    OtherRunner,
}
