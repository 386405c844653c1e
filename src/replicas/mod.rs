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
mod child;
mod crew;
#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "docker")]
mod docker_engine;
#[cfg(feature = "ecs")]
pub mod ecs;
mod excerpt;
mod exec;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
mod generation;
#[cfg(any(feature = "docker", feature = "ecs", feature = "kubernetes"))]
mod identity;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod last_error;
mod listed;
mod missing;
mod operator;
mod panic;
#[cfg(any(feature = "docker", feature = "ecs"))]
mod poll_timer;
mod polled_list;
mod port_probe;
mod process;
mod provider;
mod replica_index;
mod rollout;
#[cfg(any(feature = "docker", feature = "kubernetes"))]
mod scaler_lease;
mod shortfall;
mod standing;
mod supervisor;
#[cfg(feature = "docker")]
mod swarm;
#[cfg(test)]
mod tests;
mod trouble;
mod victims;
mod warm_up;
mod warming;
mod webhook;

use std::collections::BTreeMap;
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use crate::config::Runner;
use crate::model::TargetGroupId;
use crate::state::{Publisher, Reader};

pub use child::{Guardian, guard};
pub use exec::Exec;
pub use missing::Missing;
pub use process::{Ports, Processes};
pub use provider::{Fleet, Provider, ProviderError, Replica, ReplicaId, ReplicaState, Usage};
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
            guarded.run(command).await;
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

/// Why a provider does not do what it should. It is asked again, less and less often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For people.
    pub message: String,
    /// Since when without a success.
    pub since: SystemTime,
}
