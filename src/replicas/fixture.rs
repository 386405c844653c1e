//! Settings for the tests of this module.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::{Replica, ReplicaId, ReplicaState};
use crate::config::{Allowance, ProcessRunner, Replicas, Runner, Scaler, TargetGroup};

/// Child processes of this command.
pub(super) fn processes(count: u32, command: &[&str]) -> Replicas {
    Replicas {
        runner: Runner::Process(ProcessRunner {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            env: Vec::new(),
            directory: None,
            secrets: BTreeSet::new(),
            stop_timeout: Duration::from_secs(10),
            output: crate::config::ReplicaOutput::Log,
        }),
        count: Some(count),
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    }
}

/// The process settings of a group that has some.
pub(super) fn process(group: &mut TargetGroup) -> &mut ProcessRunner {
    let runner = group.replicas.as_mut().map(|replicas| &mut replicas.runner);
    match runner {
        Some(Runner::Process(process)) => process,
        other => panic!("no processes: {other:?}"),
    }
}

/// A replica as an engine would list it.
pub(super) fn replica(id: u64, address: &str, state: ReplicaState) -> Replica {
    Replica {
        id: ReplicaId(id),
        name: Some(format!("replica-{id}")),
        pid: None,
        address: Some(address.parse().unwrap()),
        state,
        restarts: 0,
        since: SystemTime::UNIX_EPOCH,
        started: None,
        last_exit: None,
    }
}
