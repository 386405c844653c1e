//! Errors of a Docker Engine and its client as errors of a provider.

use bollard::errors::Error;
use serde_json::Value;

use crate::replicas::ProviderError;
use crate::replicas::excerpt::{excerpt, with_causes};

/// An error of bollard.
pub(super) fn explain(error: Error) -> ProviderError {
    match error {
        Error::DockerResponseServerError { message, .. } => {
            ProviderError::Refused(excerpt(message))
        }
        Error::SocketNotFoundError(path) => {
            ProviderError::Unreachable(format!("there is no socket at {path}"))
        }
        Error::RequestTimeoutError => ProviderError::Unreachable("no answer in time".to_owned()),
        Error::UnsupportedURISchemeError { uri } => {
            ProviderError::Refused(format!("`{uri}` is neither unix:// nor tcp://"))
        }
        error @ (Error::JsonDataError { .. }
        | Error::JsonSerdeError { .. }
        | Error::APIVersionParseError {}
        | Error::StrParseError { .. }) => nonsense(error),
        error => ProviderError::Unreachable(with_causes(&error)),
    }
}

/// An answer that could not be understood.
pub(crate) fn nonsense(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Nonsense(excerpt(error.to_string()))
}

/// The body of a response that is an error.
pub(super) fn refusal(body: &[u8]) -> ProviderError {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| value["message"].as_str());
    ProviderError::Refused(message.map_or_else(|| excerpt(body), excerpt))
}

/// The result of a call, or `None` if its object does not exist.
pub(crate) fn none_if_missing<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(None),
        other => other.map(Some),
    }
}

/// Whether the engine refused because another client was faster. Swarm's message comes with
/// status 500 before version 23 of the engine.
pub(crate) fn is_conflict(error: &ProviderError) -> bool {
    let ProviderError::Refused(message) = error else {
        return false;
    };
    message.contains("out of sequence") || message.contains("already exists")
}
