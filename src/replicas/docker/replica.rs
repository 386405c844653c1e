//! One replica of the group, over all the containers that it has one after another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::container::ListedContainer;
use crate::config::DockerRunner;
use crate::replicas::backoff::Backoff;
use crate::replicas::{LastExit, Replica, ReplicaId, ReplicaState, StopReason, Stopped};

/// How long an adopted container counts as serving before its port was probed.
const ADOPTION_GRACE: Duration = Duration::from_secs(3);

/// The life cycle of a replica's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to be started, not before this time.
    Waiting(Instant),
    /// A job starts it.
    Starting,
    /// It was started.
    Up,
    /// A job stops and removes it.
    Stopping,
}

/// Whether a replica is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Keep,
    /// It gets no new requests.
    Drain,
    /// It has no requests left.
    Stop,
}

/// A replica. All containers that it has one after another have its name.
#[derive(Debug)]
pub(super) struct DockerReplica {
    pub(super) name: String,
    pub(super) settings: Arc<DockerRunner>,
    /// Whether another process has started the container.
    pub(super) is_adopted: bool,
    pub(super) phase: Phase,
    pub(super) address: Option<SocketAddr>,
    /// Whether it accepts connections.
    pub(super) is_open: bool,
    pub(super) intent: Intent,
    /// Whether another one is to take its place.
    pub(super) is_replaced: bool,
    /// Why it is to stop, once it is.
    pub(super) leaving: Option<StopReason>,
    last_exit: Option<LastExit>,
    /// When its container was started.
    up_since: Option<SystemTime>,
    started_at: Instant,
    backoff: Backoff,
    restarts: u32,
    /// The state that was listed last, and since when it is in this state.
    state: ReplicaState,
    since: SystemTime,
}

impl DockerReplica {
    /// One that is to be started at once.
    pub(super) fn new(name: String, settings: Arc<DockerRunner>) -> Self {
        Self {
            name,
            settings,
            is_adopted: false,
            phase: Phase::Waiting(Instant::now()),
            address: None,
            is_open: false,
            intent: Intent::Keep,
            is_replaced: false,
            leaving: None,
            last_exit: None,
            up_since: None,
            started_at: Instant::now(),
            backoff: Backoff::of_restarts(),
            restarts: 0,
            state: ReplicaState::Starting,
            since: SystemTime::now(),
        }
    }

    /// One with a container that another process has started.
    pub(super) fn adopted(name: String, settings: Arc<DockerRunner>) -> Self {
        Self {
            is_adopted: true,
            phase: Phase::Up,
            ..Self::new(name, settings)
        }
    }

    /// The engine has started the container.
    pub(super) fn started(&mut self) {
        self.started_at = Instant::now();
        self.up_since = Some(SystemTime::now());
        self.phase = Phase::Up;
    }

    /// Takes in what the engine lists under the replica's name. Returns the status of a container
    /// that has exited.
    pub(super) fn compare(&mut self, listed: Option<ListedContainer>) -> Option<String> {
        if self.phase != Phase::Up {
            return None;
        }
        match listed {
            Some(container) if container.is_alive => {
                self.address = container.address;
                None
            }
            Some(container) => Some(container.status),
            None => Some("removed".to_owned()),
        }
    }

    /// Notes how the container has ended by itself. Returns that for the history.
    pub(super) fn exited(&mut self, id: ReplicaId, status: &str) -> Stopped {
        self.last_exit = Some(LastExit {
            at: SystemTime::now(),
            status: status.to_owned(),
        });
        self.stopped(id, StopReason::Exited, Some(status.to_owned()))
    }

    /// The container's end, for the history.
    pub(super) fn stopped(
        &mut self,
        id: ReplicaId,
        reason: StopReason,
        exit: Option<String>,
    ) -> Stopped {
        Stopped {
            id,
            name: Some(self.name.clone()),
            pid: None,
            address: self.address,
            restarts: self.restarts,
            started: self.up_since.take(),
            stopped: SystemTime::now(),
            reason,
            exit,
        }
    }

    /// Notes that the container has exited, or could not be started. Returns the wait until the
    /// next start.
    pub(super) fn restart_later(&mut self) -> Duration {
        let lifetime = match self.phase {
            Phase::Up => self.started_at.elapsed(),
            Phase::Waiting(_) | Phase::Starting | Phase::Stopping => Duration::ZERO,
        };
        let wait = self.backoff.after_exit(lifetime);
        if self.phase != Phase::Stopping {
            self.phase = Phase::Waiting(Instant::now() + wait);
        }
        self.address = None;
        self.is_open = false;
        self.restarts = self.restarts.saturating_add(1);
        wait
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether it serves, or was adopted too lately to know.
    pub(super) fn is_serving(&self) -> bool {
        let is_unknown =
            self.is_adopted && self.is_up() && self.started_at.elapsed() < ADOPTION_GRACE;
        self.is_open || is_unknown
    }

    /// Whether it is not going to change by itself.
    pub(super) fn is_settled(&self) -> bool {
        self.is_open && self.is_kept()
    }

    /// A replica that drains and is not a target has no requests to wait for. One that is being
    /// started is stopped when that is done.
    pub(super) fn is_to_stop(&self) -> bool {
        let has_no_requests = self.intent == Intent::Stop || !self.is_open;
        let has_no_job = matches!(self.phase, Phase::Up | Phase::Waiting(_));
        !self.is_kept() && has_no_requests && has_no_job
    }

    pub(super) fn is_to_start(&self) -> bool {
        matches!(self.phase, Phase::Waiting(until) if until <= Instant::now()) && self.is_kept()
    }

    pub(super) fn is_kept(&self) -> bool {
        self.intent == Intent::Keep
    }

    fn current_state(&self) -> ReplicaState {
        match self.phase {
            Phase::Stopping => ReplicaState::Stopping,
            Phase::Up if self.is_open && !self.is_kept() => ReplicaState::Draining,
            Phase::Up if self.is_open => ReplicaState::Running,
            Phase::Up | Phase::Waiting(_) | Phase::Starting => ReplicaState::Starting,
        }
    }

    /// The replica as the provider lists it.
    pub(super) fn listed(&mut self, id: ReplicaId) -> Replica {
        let state = self.current_state();
        if state != self.state {
            self.state = state;
            self.since = SystemTime::now();
        }
        Replica {
            id,
            name: Some(self.name.clone()),
            pid: None,
            address: self.address,
            state,
            restarts: self.restarts,
            since: self.since,
            started: self.up_since,
            last_exit: self.last_exit.clone(),
        }
    }
}
