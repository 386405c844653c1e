//! Calls to a provider: each with a deadline, and cut short when the replicas are to go.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::ProviderError;
use super::operator::{Aim, Goal};
use super::panic::caught;
use super::provider::USAGE_TIMEOUT;
use crate::config::Runner;

/// For a provider to take in settings, a count, a release or a question about its lease. An
/// API server under load answers within seconds or not at all.
pub(super) const CALL: Duration = Duration::from_secs(10);

/// For a list. Shorter: a change that is seen late costs requests.
pub(super) const LIST: Duration = Duration::from_secs(5);

/// For the usage of all replicas: it is wanted every second.
pub(super) const MEASURE: Duration = USAGE_TIMEOUT;

/// What a provider with a deadline of its own gets beyond that.
const MARGIN: Duration = Duration::from_secs(1);

/// Why a call has no answer.
pub(super) enum Failure {
    /// The replicas are for something else now, or nobody wants anything any more.
    CutShort,
    /// What was asked, and why it was not done.
    Error(&'static str, ProviderError),
    /// What was asked, and for how long.
    Late(&'static str, Duration),
    /// What was asked, and what the provider panicked with.
    Panic(&'static str, String),
}

impl Failure {
    /// What is to be said about it; nothing if it was cut short.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::CutShort => None,
            Self::Error(what, error) => Some(format!("cannot {what}: {error}")),
            Self::Panic(what, panic) => Some(format!("cannot {what}: the provider {panic}")),
            Self::Late(what, limit) => Some(format!("cannot {what}: no answer within {limit:?}")),
        }
    }
}

/// The deadline of a call to a provider that may have its own.
pub(super) fn limit(runner: &Runner, usual: Duration) -> Duration {
    match runner {
        Runner::Exec(exec) => exec.timeout + MARGIN,
        Runner::Webhook(webhook) => webhook.timeout + MARGIN,
        Runner::Process(_)
        | Runner::Docker(_)
        | Runner::Swarm(_)
        | Runner::Kubernetes(_)
        | Runner::Ecs(_) => usual,
    }
}

/// The answer to a call, unless it takes too long or the aim changes.
pub(super) async fn within<T>(
    mut goal: watch::Receiver<Goal>,
    aim: Aim,
    what: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, Failure> {
    let ends = async {
        // A goal that nobody sets any more is another one too.
        drop(goal.wait_for(|goal| goal.aim != aim).await);
    };
    tokio::select! {
        biased;
        answer = timeout(limit, caught(call)) => match answer {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(Failure::Error(what, error)),
            Ok(Err(panic)) => Err(Failure::Panic(what, panic)),
            Err(_) => Err(Failure::Late(what, limit)),
        },
        () = ends => Err(Failure::CutShort),
    }
}
