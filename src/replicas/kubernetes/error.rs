//! Errors of the API server and its client as errors of a provider, which name what to change.

use std::error::Error as _;
use std::fmt::Display;

use crate::replicas::ProviderError;
use crate::replicas::excerpt::{excerpt, with_causes};

/// Most bytes of one answer, which holds hundreds of pods in it, and of all events of one watch.
pub(super) const ANSWER_LIMIT: usize = 16 << 20;

/// An action on a kind of object, in the words of a Role.
#[derive(Clone, Copy)]
pub(super) struct Access {
    verb: &'static str,
    resource: &'static str,
    group: &'static str,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct ApiError {
    /// The status of the answer, if there was one.
    status: Option<u16>,
    error: ProviderError,
}

impl Access {
    pub(super) const fn new(
        verb: &'static str,
        resource: &'static str,
        group: &'static str,
    ) -> Self {
        Self {
            verb,
            resource,
            group,
        }
    }

    /// The rule of a Role that allows it.
    fn rule(self) -> String {
        let Self {
            verb,
            resource,
            group,
        } = self;
        format!("apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]")
    }
}

impl Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

impl ApiError {
    /// Whether the object does not exist.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the server behind this API is missing or not ready.
    pub(super) fn is_unserved(&self) -> bool {
        matches!(self.status, Some(404 | 503))
    }

    /// Whether another client was faster.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

impl From<ApiError> for ProviderError {
    fn from(error: ApiError) -> Self {
        error.error
    }
}

impl Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        Self {
            status: None,
            error,
        }
    }
}

/// The error of a call that does `access` to the object `what`.
pub(super) fn explain(access: Access, what: &str, namespace: &str, error: kube::Error) -> ApiError {
    use kube::Error;
    let status = match error {
        Error::Api(status) => status,
        Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) | Error::HttpError(_) => {
            let text = error
                .source()
                .map_or_else(|| error.to_string(), with_causes);
            // An answer that was cut at its limit did come: the server is not unreachable.
            let error = if text.contains("length limit exceeded") {
                let limit = format!("{access} `{what}`: more than {ANSWER_LIMIT} bytes");
                ProviderError::Nonsense(limit)
            } else {
                ProviderError::Unreachable(format!("{access} `{what}`: {text}"))
            };
            return error.into();
        }
        Error::FromUtf8(_) | Error::SerdeError(_) => {
            return ProviderError::Nonsense(format!("{access} `{what}`: {error}")).into();
        }
        other => return failed(access, what, with_causes(&other)),
    };
    let message = excerpt(&status.message);
    let error = match status.code {
        401 => refused(format!(
            "the API server does not accept the credentials for {access}: {message}"
        )),
        403 => refused(format!(
            "not allowed to {access} `{what}` in namespace `{namespace}`: \
             Weir's Role there needs {} ({message})",
            access.rule()
        )),
        404 => refused(format!(
            "{access}: there is no `{what}` in namespace `{namespace}`"
        )),
        code @ (429 | 500..) => {
            ProviderError::Unreachable(format!("{access} `{what}`: status {code}: {message}"))
        }
        code => refused(format!("{access} `{what}`: status {code}: {message}")),
    };
    ApiError {
        status: Some(status.code),
        error,
    }
}

/// A call that could not be made.
pub(super) fn failed(access: Access, what: &str, error: impl Display) -> ApiError {
    refused(format!("{access} `{what}`: {error}")).into()
}

pub(super) fn refused(message: String) -> ProviderError {
    ProviderError::Refused(message)
}
