//! The replicas of a group: what runs them, how many there are and where.
//!
//! A [`Provider`] lists the replicas of one group and sets how many there are: one folder for
//! each engine that can, and [`Processes`] for Weir's own child processes. `reconcile` makes
//! actual what is wanted, for every group that is configured to have replicas: it asks the
//! group's provider for them, registers those that answer as targets, and takes a replica out
//! of the roster and waits for its requests before it lets the provider stop it. It knows no
//! provider; [`run`] brings them together.
//!
//! How many there should be is the configuration's decision or the autoscaler's, which writes
//! it to [`DesiredCounts`]; whether a replica is healthy is `health`'s.

mod backoff;
mod child;
mod control;
mod desired;
#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "docker")]
mod docker_engine;
#[cfg(feature = "ecs")]
pub mod ecs;
mod excerpt;
mod exec;
#[cfg(test)]
mod fixture;
#[cfg(any(feature = "docker", feature = "ecs", feature = "kubernetes"))]
mod identity;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
mod last_error;
mod not_built;
mod panic;
#[cfg(any(feature = "docker", feature = "ecs"))]
mod poll_timer;
mod polled_list;
mod port_probe;
mod process;
mod provider;
mod reconcile;
mod replica_index;
mod rollout;
#[cfg(any(feature = "docker", feature = "kubernetes"))]
mod scaler_lease;
mod status;
mod stopped;
#[cfg(feature = "docker")]
mod swarm;
#[cfg(test)]
mod tests;
mod webhook;

use std::future::Future;
use std::process::Command;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::Runner;
use crate::model::TargetGroupId;
use crate::state::{Publisher, Reader};

pub use child::{Guardian, guard};
pub use control::{ReplicaControl, Restart};
pub use desired::{ChangedBy, CurrentDesired, DesiredCount, DesiredCounts, ReplicaCounts};
pub use exec::Exec;
pub use not_built::NotBuilt;
pub use process::{Ports, Processes};
pub use provider::{
    Fleet, LastExit, Provider, ProviderError, Replica, ReplicaId, ReplicaState, StopReason,
    Stopped, Usage,
};
use reconcile::Supervisor;
pub use status::{Fault, GroupReplicas, Status};
pub use stopped::StopHistory;
pub use webhook::Webhook;

/// Runs the replicas of every snapshot's groups until `shutdown` is done; then stops those
/// that Weir runs itself, and returns when the last has been reaped. What an engine runs goes
/// on running.
///
/// Complete `shutdown` after the data plane has drained: nothing is waited for. Dropping
/// the future instead kills every process at once. `status` always shows all of them.
/// `desired` says how many each group should have; one that it does not name has what its
/// configuration says. `restarts` are replicas to be replaced; see [`ReplicaControl`].
///
/// Must run on a thread that lives as long as Weir: the kernel kills the processes when
/// the thread that started them ends. `guardian` starts a process that calls [`guard`], and so
/// ends what those processes have started; without it that outlives a Weir that is killed.
pub async fn run(
    reader: Reader,
    publisher: Publisher,
    desired: watch::Receiver<DesiredCounts>,
    status: watch::Sender<Status>,
    restarts: mpsc::Receiver<Restart>,
    guardian: Option<fn() -> Command>,
    shutdown: impl Future<Output = ()>,
) {
    let (ports, guarded) = (Ports::default(), Guardian::default());
    let start = {
        let guarded = guarded.clone();
        move |group: &TargetGroupId, runner: &Runner| provider(group, runner, &ports, &guarded)
    };
    let supervisor = Supervisor::new(reader, publisher, desired, status, Arc::new(start));
    let supervisor = supervisor.taking(restarts);
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

/// The provider of a group's replicas. An engine whose feature was left out is [`NotBuilt`].
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
        Runner::Docker(_) | Runner::Swarm(_) => Box::new(NotBuilt("docker")),
        #[cfg(feature = "kubernetes")]
        Runner::Kubernetes(_) => Box::new(kubernetes::Kubernetes::new(group.clone())),
        #[cfg(not(feature = "kubernetes"))]
        Runner::Kubernetes(_) => Box::new(NotBuilt("kubernetes")),
        #[cfg(feature = "ecs")]
        Runner::Ecs(_) => Box::new(ecs::Ecs::new(group.clone())),
        #[cfg(not(feature = "ecs"))]
        Runner::Ecs(_) => Box::new(NotBuilt("ecs")),
        Runner::Exec(_) => {
            guardian.prepare();
            Box::new(Exec::new(guardian.clone()))
        }
        Runner::Webhook(_) => Box::new(Webhook::default()),
    }
}
