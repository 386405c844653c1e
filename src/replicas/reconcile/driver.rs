//! Makes the calls to a provider: one at a time, each with a deadline.
//!
//! The provider moves into the call and comes back with its answer, so the reconciler that
//! owns the driver never waits for a provider: it polls the call beside everything else. A
//! panic of a provider is an error of that call.

use std::future::pending;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Replicas;
use crate::replicas::panic::caught;
use crate::replicas::provider::USAGE_TIMEOUT;
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId, Usage};

/// For settings, a count, a release, a replacement or the lease. An API server under load answers within
/// seconds or not at all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// For a list. Shorter: a change that is seen late costs requests.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a provider that keeps to a deadline of its own gets beyond that.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

/// What a provider is asked: the methods of [`Provider`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Configure(Box<Replicas>),
    MayScale,
    SetCount { count: u32, victims: Vec<ReplicaId> },
    Release(ReplicaId),
    Replace(ReplicaId),
    List,
    Measure,
}

/// What it answered.
#[derive(Debug)]
pub(super) enum Answer {
    Configured(Box<Replicas>),
    MayScale(bool),
    CountSet(u32),
    Released(ReplicaId),
    Replaced(ReplicaId),
    Listed(Fleet),
    Measured(Vec<(ReplicaId, Usage)>),
    /// The fleet may be another one.
    Changed,
}

/// Which method of [`Provider`] has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    Configure,
    MayScale,
    SetCount,
    Release,
    Replace,
    List,
    Measure,
    Watch,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) struct CallError {
    pub(super) kind: CallKind,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    /// See [`Driver::cancel`].
    Cancelled,
    Failed(ProviderError),
    Late(Duration),
    Panicked(String),
}

/// A provider and its call in flight. Dropping it drops both.
pub(super) struct Driver {
    /// `None` while a call has it.
    provider: Option<Box<dyn Provider>>,
    call: Option<CallInFlight>,
}

struct CallInFlight {
    future: BoxFuture<'static, (Box<dyn Provider>, Result<Answer, CallError>)>,
    /// Dropping it cancels the call.
    cancel: Option<oneshot::Sender<()>>,
}

impl Call {
    fn kind(&self) -> CallKind {
        match self {
            Self::Configure(_) => CallKind::Configure,
            Self::MayScale => CallKind::MayScale,
            Self::SetCount { .. } => CallKind::SetCount,
            Self::Release(_) => CallKind::Release,
            Self::Replace(_) => CallKind::Replace,
            Self::List => CallKind::List,
            Self::Measure => CallKind::Measure,
        }
    }

    /// Its deadline, with a provider that may keep to one of its own.
    fn timeout(&self, own: Option<Duration>) -> Duration {
        let usual = match self {
            Self::Measure => return USAGE_TIMEOUT,
            Self::List => LIST_TIMEOUT,
            Self::Configure(_)
            | Self::MayScale
            | Self::SetCount { .. }
            | Self::Release(_)
            | Self::Replace(_) => REQUEST_TIMEOUT,
        };
        own.map_or(usual, |own| own + TIMEOUT_MARGIN)
    }

    async fn perform(self, provider: &mut dyn Provider) -> Result<Answer, ProviderError> {
        Ok(match self {
            Self::Configure(settings) => {
                provider.configure(&settings).await?;
                Answer::Configured(settings)
            }
            Self::MayScale => Answer::MayScale(provider.may_scale().await?),
            Self::SetCount { count, victims } => {
                provider.set_count(count, &victims).await?;
                Answer::CountSet(count)
            }
            Self::Release(replica) => {
                provider.release(replica).await?;
                Answer::Released(replica)
            }
            Self::Replace(replica) => {
                provider.replace(replica).await?;
                Answer::Replaced(replica)
            }
            Self::List => Answer::Listed(provider.fleet().await?),
            Self::Measure => Answer::Measured(provider.usage().await?),
        })
    }
}

impl CallKind {
    /// As the end of "cannot ...".
    const fn text(self) -> &'static str {
        match self {
            Self::Configure => "apply the settings",
            Self::MayScale => "ask for the lease",
            Self::SetCount => "change the count",
            Self::Release => "let a replica go",
            Self::Replace => "replace a replica",
            Self::List => "list the replicas",
            Self::Measure => "measure the replicas",
            Self::Watch => "watch the replicas",
        }
    }
}

impl CallError {
    /// The text of the fault; `None` for a cancelled call, which is no fault.
    pub(super) fn message(&self) -> Option<String> {
        let what = self.kind.text();
        match &self.cause {
            Cause::Cancelled => None,
            Cause::Failed(error) => Some(format!("cannot {what}: {error}")),
            Cause::Panicked(panic) => Some(format!("cannot {what}: the provider {panic}")),
            Cause::Late(limit) => Some(format!("cannot {what}: no answer within {limit:?}")),
        }
    }
}

impl Driver {
    pub(super) fn new(provider: Box<dyn Provider>) -> Self {
        Self {
            provider: Some(provider),
            call: None,
        }
    }

    /// Whether a call can be started.
    pub(super) fn is_idle(&self) -> bool {
        self.provider.is_some()
    }

    /// Starts a call; does nothing while another one is in flight. [`Self::answer`] makes it go
    /// on.
    pub(super) fn start(&mut self, call: Call) {
        let Some(mut provider) = self.provider.take() else {
            return;
        };
        let limit = call.timeout(provider.timeout());
        let (cancel, cancelled) = oneshot::channel();
        let future = async move {
            let answer = within(limit, cancelled, call, &mut *provider).await;
            (provider, answer)
        };
        self.call = Some(CallInFlight {
            future: Box::pin(future),
            cancel: Some(cancel),
        });
    }

    /// Ends the call in flight, if there is one: its answer is an error without a message.
    pub(super) fn cancel(&mut self) {
        if let Some(call) = &mut self.call {
            call.cancel = None;
        }
    }

    /// The answer of the call in flight. Without one, waits from `watch_from` on until the
    /// fleet may have changed; for ever if that is `None`. Cancel-safe.
    pub(super) async fn answer(
        &mut self,
        watch_from: Option<Instant>,
    ) -> Result<Answer, CallError> {
        if let Some(call) = &mut self.call {
            let (provider, answer) = (&mut call.future).await;
            (self.provider, self.call) = (Some(provider), None);
            return answer;
        }
        let (Some(provider), Some(from)) = (&mut self.provider, watch_from) else {
            return pending().await;
        };
        sleep_until(from).await;
        match caught(provider.changed()).await {
            Ok(()) => Ok(Answer::Changed),
            Err(panic) => Err(CallError {
                kind: CallKind::Watch,
                cause: Cause::Panicked(panic),
            }),
        }
    }
}

async fn within(
    limit: Duration,
    cancelled: oneshot::Receiver<()>,
    call: Call,
    provider: &mut dyn Provider,
) -> Result<Answer, CallError> {
    let kind = call.kind();
    let cause = tokio::select! {
        biased;
        answer = timeout(limit, caught(call.perform(provider))) => match answer {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(error))) => Cause::Failed(error),
            Ok(Err(panic)) => Cause::Panicked(panic),
            Err(_) => Cause::Late(limit),
        },
        _ = cancelled => Cause::Cancelled,
    };
    Err(CallError { kind, cause })
}
