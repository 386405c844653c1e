//! The replicas of a group, and those that have stopped.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::time::timestamp;
use crate::replicas::{GroupReplicas, LastExit, Replica, Stopped, Usage};

/// The desired status of a replica that is to go on.
const RUNNING: &str = "running";
/// The desired status of one that is to end.
const STOPPED: &str = "stopped";

/// One replica that Weir or an engine runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReplicaStatus {
    /// Its number, which no other replica of the group gets.
    #[serde(default)]
    pub id: u64,
    /// Its name at the provider.
    pub name: Option<String>,
    /// Its process id, while it runs as a process of this host.
    pub pid: Option<u32>,
    /// Its address, once it has one.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub address: Option<SocketAddr>,
    /// Its last status: `starting`, `running`, `draining` or `stopping`.
    pub state: String,
    /// What it should be: `running`, or `stopped` once it is told to go.
    #[serde(default)]
    pub desired_state: String,
    /// How many times it was restarted.
    pub restarts: u32,
    /// When it got into this state.
    pub since: Timestamp,
    /// When it was started, or first seen to run; `None` before.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// How it ended the last time; `None` if it never has.
    #[serde(default)]
    pub last_exit: Option<ExitStatus>,
    /// CPU time that it uses, in percent of its limit; `None` if it is not measured.
    pub cpu: Option<f64>,
    /// Memory that it uses, in percent of its limit; `None` if it is not measured.
    pub memory: Option<f64>,
}

/// How a replica has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExitStatus {
    /// When.
    pub at: Timestamp,
    /// How: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
}

/// A replica that has stopped, or one run of a replica that is started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StoppedReplicaStatus {
    /// Its number.
    pub id: u64,
    /// Its name at the provider.
    pub name: Option<String>,
    /// The process id that it had.
    pub pid: Option<u32>,
    /// Where it accepted connections.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub address: Option<SocketAddr>,
    /// Its last status: `stopped`.
    pub state: String,
    /// What it should have been: `running` if it ended by itself, else `stopped`.
    pub desired_state: String,
    /// How many times it had been restarted.
    pub restarts: u32,
    /// When it was started, as far as that is known.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub stopped: Timestamp,
    /// Why: `exited` by itself, `scale_in`, `replaced` by other settings, `restart` by the API,
    /// `removed` by a reload, `shutdown`, or `engine` if the engine lists it no more.
    pub reason: String,
    /// How its process ended, if that is known: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub exit: Option<String>,
}

impl ReplicaStatus {
    /// All of a group.
    pub(super) fn all(group: &GroupReplicas) -> Vec<Self> {
        let replicas = group.replicas.iter();
        replicas
            .map(|one| Self::of(one, group.usage.get(&one.id)))
            .collect()
    }

    fn of(replica: &Replica, usage: Option<&Usage>) -> Self {
        let exit = |exit: &LastExit| ExitStatus {
            at: timestamp(exit.at),
            status: exit.status.clone(),
        };
        Self {
            id: replica.id.0,
            name: replica.name.clone(),
            pid: replica.pid,
            address: replica.address,
            state: replica.state.name().to_owned(),
            desired_state: desired_state(replica.state.is_staying()).to_owned(),
            restarts: replica.restarts,
            since: timestamp(replica.since),
            started: replica.started.map(timestamp),
            last_exit: replica.last_exit.as_ref().map(exit),
            cpu: usage.and_then(|usage| usage.cpu),
            memory: usage.and_then(|usage| usage.memory),
        }
    }
}

impl StoppedReplicaStatus {
    /// The last ones of a group, newest first.
    pub(super) fn all(group: &GroupReplicas) -> Vec<Self> {
        group.stopped.last().map(Self::of).collect()
    }

    fn of(stopped: &Stopped) -> Self {
        Self {
            id: stopped.id.0,
            name: stopped.name.clone(),
            pid: stopped.pid,
            address: stopped.address,
            state: STOPPED.to_owned(),
            desired_state: desired_state(!stopped.reason.is_wanted()).to_owned(),
            restarts: stopped.restarts,
            started: stopped.started.map(timestamp),
            stopped: timestamp(stopped.stopped),
            reason: stopped.reason.name().to_owned(),
            exit: stopped.exit.clone(),
        }
    }
}

fn desired_state(is_wanted: bool) -> &'static str {
    if is_wanted { RUNNING } else { STOPPED }
}
