//! One replica of the group, over all the containers that it has in its life.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::container::Seen;
use crate::config::DockerRunner;
use crate::replicas::backoff::Backoff;
use crate::replicas::{Replica, ReplicaId, ReplicaState};

/// To find out whether a container that was taken over accepts connections.
const GRACE: Duration = Duration::from_secs(3);

/// What becomes of a replica's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is to be started, not before this.
    Waiting(Instant),
    /// A job starts it.
    Starting,
    /// It was started.
    Up,
    /// A job stops and removes it.
    Stopping,
}

/// Whether a replica is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is.
    Stays,
    /// It gets no new requests.
    Drains,
    /// Its last request has ended.
    Goes,
}

/// A replica. Its name is its container's, of each in turn.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) settings: Arc<DockerRunner>,
    pub(super) is_adopted: bool,
    pub(super) life: Life,
    pub(super) address: Option<SocketAddr>,
    /// Whether it accepts connections.
    pub(super) is_open: bool,
    pub(super) fate: Fate,
    born: Instant,
    backoff: Backoff,
    restarts: u32,
    shown: ReplicaState,
    since: SystemTime,
}

impl Member {
    /// One that is to be started at once.
    pub(super) fn new(name: String, settings: Arc<DockerRunner>) -> Self {
        Self {
            name,
            settings,
            is_adopted: false,
            life: Life::Waiting(Instant::now()),
            address: None,
            is_open: false,
            fate: Fate::Stays,
            born: Instant::now(),
            backoff: Backoff::default(),
            restarts: 0,
            shown: ReplicaState::Starting,
            since: SystemTime::now(),
        }
    }

    /// One whose container another Weir has started.
    pub(super) fn adopted(name: String, settings: Arc<DockerRunner>) -> Self {
        Self {
            is_adopted: true,
            life: Life::Up,
            ..Self::new(name, settings)
        }
    }

    /// The engine has started it.
    pub(super) fn started(&mut self) {
        self.born = Instant::now();
        self.life = Life::Up;
    }

    /// What the engine lists under its name; says how it has died if it has.
    pub(super) fn compare(&mut self, seen: Option<Seen>) -> Option<String> {
        if self.life != Life::Up {
            return None;
        }
        match seen {
            Some(seen) if seen.is_alive => {
                self.address = seen.address;
                None
            }
            Some(seen) => Some(seen.status),
            None => Some("removed".to_owned()),
        }
    }

    /// It has died, or could not be started.
    pub(super) fn die(&mut self) {
        let lived = match self.life {
            Life::Up => self.born.elapsed(),
            Life::Waiting(_) | Life::Starting | Life::Stopping => Duration::ZERO,
        };
        if self.life != Life::Stopping {
            self.life = Life::Waiting(Instant::now() + self.backoff.after(lived));
        }
        self.address = None;
        self.is_open = false;
        self.restarts = self.restarts.saturating_add(1);
    }

    pub(super) fn is_up(&self) -> bool {
        self.life == Life::Up
    }

    /// Whether it serves, or did when it was taken over a moment ago.
    pub(super) fn is_serving(&self) -> bool {
        let is_new = self.is_adopted && self.is_up() && self.born.elapsed() < GRACE;
        self.is_open || is_new
    }

    /// Whether nothing is going to happen to it by itself.
    pub(super) fn is_settled(&self) -> bool {
        self.is_open && self.stays()
    }

    /// A replica that drains and is no target has no requests to wait for. One whose start
    /// is under way is stopped when that is done.
    pub(super) fn is_to_stop(&self) -> bool {
        let is_idle = self.fate == Fate::Goes || !self.is_open;
        let is_free = matches!(self.life, Life::Up | Life::Waiting(_));
        !self.stays() && is_idle && is_free
    }

    pub(super) fn is_to_start(&self) -> bool {
        matches!(self.life, Life::Waiting(until) if until <= Instant::now()) && self.stays()
    }

    pub(super) fn stays(&self) -> bool {
        self.fate == Fate::Stays
    }

    fn state(&self) -> ReplicaState {
        match self.life {
            Life::Stopping => ReplicaState::Stopping,
            Life::Up if self.is_open && !self.stays() => ReplicaState::Draining,
            Life::Up if self.is_open => ReplicaState::Running,
            Life::Up | Life::Waiting(_) | Life::Starting => ReplicaState::Starting,
        }
    }

    /// As the provider lists it.
    pub(super) fn replica(&mut self, id: ReplicaId) -> Replica {
        let state = self.state();
        if state != self.shown {
            self.shown = state;
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
        }
    }
}
