//! What a provider is asked, what it answers, and why it fails.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use thiserror::Error;

use crate::config::Replicas;
use crate::net::fetch::FetchError;

/// For one answer to [`Provider::usage`]: it is wanted every second.
pub(super) const USAGE_TIMEOUT: Duration = Duration::from_secs(3);

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

/// What a replica uses, in percent of what it may.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time since the measurement before, or in the engine's own window.
    pub cpu: Option<f64>,
    /// Resident memory.
    pub memory: Option<f64>,
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
            | FetchError::TooManyBytes(_) => Self::Unreachable(error.to_string()),
        }
    }
}
