//! The interface of a provider: its calls, what they return and how they fail.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use thiserror::Error;

use crate::config::Replicas;
use crate::net::fetch::FetchError;

/// Deadline of [`Provider::usage`], which is called about once a second.
pub(super) const USAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the replicas of one group: lists them and sets how many there are.
///
/// Each call may fail or take long. The caller sets a deadline, after which it drops the future
/// and calls again later.
#[async_trait]
pub trait Provider: Send + 'static {
    /// Applies other settings of the same kind of runner. A provider that starts replicas itself
    /// replaces those with other settings one after another, each new one before an old one.
    /// `settings.count` is ignored.
    async fn configure(&mut self, settings: &Replicas) -> Result<(), ProviderError>;

    /// Requests `count` replicas. Returns when the request is accepted; [`Provider::fleet`] shows
    /// when it is fulfilled. If there are too many, `victims` go first, in their order, unless
    /// the engine chooses for itself.
    async fn set_count(&mut self, count: u32, victims: &[ReplicaId]) -> Result<(), ProviderError>;

    /// The desired count and the replicas that exist now.
    async fn fleet(&mut self) -> Result<Fleet, ProviderError>;

    /// Waits until the fleet may have changed. Cancel-safe.
    async fn changed(&mut self);

    /// Allows to stop a replica that is listed as draining: it has no requests left. Does
    /// nothing by default, for engines that stop their replicas themselves.
    async fn release(&mut self, _replica: ReplicaId) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Replaces a replica by another one with the same settings: starts that, and drains the replica
    /// once it runs. Does nothing if it drains already, and by default, for engines that run their
    /// replicas themselves.
    async fn replace(&mut self, _replica: ReplicaId) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Measures what the replicas use, about once a second while a policy of the group goes by
    /// CPU or memory. Replicas that cannot be measured are left out. Its deadline is three
    /// seconds.
    async fn usage(&mut self) -> Result<Vec<(ReplicaId, Usage)>, ProviderError> {
        Ok(Vec::new())
    }

    /// Whether this instance may change the count. Takes or renews the lease if the engine has
    /// one. Called before each [`Provider::set_count`] and every few seconds.
    async fn may_scale(&mut self) -> Result<bool, ProviderError> {
        Ok(true)
    }

    /// The deadline that the settings give a call; the provider keeps to it itself. `None`
    /// leaves it to the caller.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Whether the replicas end with this process. Those of an engine do not.
    fn is_own(&self) -> bool {
        false
    }
}

/// The replicas of one group as its provider lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The desired count.
    pub desired: u32,
    /// All replicas that exist, in any state.
    pub replicas: Vec<Replica>,
    /// Those that have stopped since the last list, oldest first, and runs of those that were started
    /// again; of a provider that stops its replicas itself.
    pub stopped: Vec<Stopped>,
}

/// Number of a replica within its group. Numbers grow and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub u64);

/// One replica as its provider lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its number. A greater one is younger; a process that replaces one that has exited keeps the
    /// number.
    pub id: ReplicaId,
    /// The engine's name for it: that of the container, task or pod.
    pub name: Option<String>,
    /// The process ID while it runs, if it is a process.
    pub pid: Option<u32>,
    /// Where it accepts connections, or is going to.
    pub address: Option<SocketAddr>,
    /// Its place in the life cycle.
    pub state: ReplicaState,
    /// How many times it was started again.
    pub restarts: u32,
    /// When it entered this state.
    pub since: SystemTime,
    /// When it was started, or first seen to run; `None` before.
    pub started: Option<SystemTime>,
    /// How it ended the last time; `None` if it never has.
    pub last_exit: Option<LastExit>,
}

/// A replica that has stopped, or one run of a replica that is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Its number.
    pub id: ReplicaId,
    /// The engine's name for it.
    pub name: Option<String>,
    /// The process ID that it had.
    pub pid: Option<u32>,
    /// Where it accepted connections.
    pub address: Option<SocketAddr>,
    /// How many times it had been started again.
    pub restarts: u32,
    /// When it was started, as far as that is known.
    pub started: Option<SystemTime>,
    /// When it ended, or was first found to be gone.
    pub stopped: SystemTime,
    /// Why.
    pub reason: StopReason,
    /// How the process ended, if that is known: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub exit: Option<String>,
}

/// Why a replica has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// It ended by itself; Weir starts it again.
    Exited,
    /// There were more than desired.
    ScaleIn,
    /// A reload has given the replicas other settings.
    Replaced,
    /// The admin API was asked to restart it.
    Restart,
    /// A reload has given its group another provider, or none.
    Removed,
    /// Weir ends.
    Shutdown,
    /// The engine does not list it any more.
    Engine,
}

impl StopReason {
    /// Whether Weir wanted it to stop.
    pub const fn is_wanted(self) -> bool {
        match self {
            Self::ScaleIn | Self::Replaced | Self::Restart | Self::Removed | Self::Shutdown => true,
            Self::Exited | Self::Engine => false,
        }
    }

    /// The word in the admin API, in metrics and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::ScaleIn => "scale_in",
            Self::Replaced => "replaced",
            Self::Restart => "restart",
            Self::Removed => "removed",
            Self::Shutdown => "shutdown",
            Self::Engine => "engine",
        }
    }
}

/// How a replica has ended before it was started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// When it ended.
    pub at: SystemTime,
    /// How: `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub status: String,
}

/// The life cycle of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Does not accept connections yet, or is about to be started again.
    Starting,
    /// Accepts connections, and is a target.
    Running,
    /// Gets no new requests and is not stopped yet.
    Draining,
    /// Was told to stop.
    Stopping,
}

impl ReplicaState {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Starting,
        Self::Running,
        Self::Draining,
        Self::Stopping,
    ];

    /// Whether it has not been told to go.
    pub const fn is_staying(self) -> bool {
        match self {
            Self::Starting | Self::Running => true,
            Self::Draining | Self::Stopping => false,
        }
    }

    /// The word in `/api/v1/status` and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// What a replica uses, in percent of its allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time since the last measurement, or over the engine's own window.
    pub cpu: Option<f64>,
    /// Resident memory.
    pub memory: Option<f64>,
}

/// Why a call to a provider failed.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// The engine did not answer in time, or cannot be connected to.
    #[error("the engine does not answer: {0}")]
    Unreachable(String),
    /// The engine refused the request.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// The engine's answer could not be understood.
    #[error("the engine answered nonsense: {0}")]
    Nonsense(String),
    /// The engine's client is not part of this build. Names the cargo feature.
    #[error("this Weir was built without the feature `{0}`")]
    NotBuilt(&'static str),
    /// Settings of another kind of runner, which only a defect can cause.
    #[error("settings for another provider")]
    OtherRunner,
}

impl From<FetchError> for ProviderError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Request(_) => Self::Refused(error.to_string()),
            FetchError::BodyTooLong(_) => Self::Nonsense(error.to_string()),
            FetchError::Resolve { .. }
            | FetchError::Connect { .. }
            | FetchError::TimedOut(_)
            | FetchError::Closed(_)
            | FetchError::Broken(_)
            | FetchError::NotHttp(_)
            | FetchError::TooManyBytes(_)
            | FetchError::Http2(_) => Self::Unreachable(error.to_string()),
        }
    }
}
