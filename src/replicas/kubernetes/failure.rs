//! Why calls to the API server fail, and what to do about it.

use std::error::Error as _;
use std::fmt::Display;

use super::cluster::LONGEST_ANSWER;
use crate::replicas::ProviderError;

/// Of what others write, so many characters are repeated.
const QUOTED: usize = 300;

/// What is done to what, in the words of a Role.
#[derive(Clone, Copy)]
pub(super) struct Access {
    verb: &'static str,
    resource: &'static str,
    group: &'static str,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The answer's status, if there was one.
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

    /// As it stands in a Role.
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

impl Failure {
    /// What to do about it.
    pub(super) fn into_error(self) -> ProviderError {
        self.error
    }

    /// There is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        self.status == Some(404)
    }

    /// Whoever serves that API is not there or not ready.
    pub(super) fn is_unserved(&self) -> bool {
        matches!(self.status, Some(404 | 503))
    }

    /// Somebody else was faster.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self {
            status: None,
            error,
        }
    }
}

/// What a call has come to that asked to do `access` to `what`.
pub(super) fn explain(access: Access, what: &str, namespace: &str, error: kube::Error) -> Failure {
    use kube::Error;
    let status = match error {
        Error::Api(status) => status,
        Error::Service(_) | Error::HyperError(_) | Error::ReadEvents(_) | Error::HttpError(_) => {
            let chain = error.source().map_or_else(|| error.to_string(), chain);
            // What was cut at its longest is not an answer that took too long to come.
            let error = if chain.contains("length limit exceeded") {
                let limit = format!("{access} `{what}`: more than {LONGEST_ANSWER} bytes");
                ProviderError::Nonsense(limit)
            } else {
                ProviderError::Unreachable(format!("{access} `{what}`: {chain}"))
            };
            return error.into();
        }
        Error::FromUtf8(_) | Error::SerdeError(_) => {
            return ProviderError::Nonsense(format!("{access} `{what}`: {error}")).into();
        }
        other => return failed(access, what, chain(&other)),
    };
    let said = status.message.trim();
    let said: String = said.chars().take(QUOTED).collect();
    let error = match status.code {
        401 => refused(format!(
            "it does not take our credentials for {access}: {said}"
        )),
        403 => refused(format!(
            "not allowed to {access} `{what}` in namespace `{namespace}`: \
             Weir's Role there needs {} ({said})",
            access.rule()
        )),
        404 => refused(format!(
            "{access}: there is no `{what}` in namespace `{namespace}`"
        )),
        code @ (429 | 500..) => {
            ProviderError::Unreachable(format!("{access} `{what}`: status {code}: {said}"))
        }
        code => refused(format!("{access} `{what}`: status {code}: {said}")),
    };
    Failure {
        status: Some(status.code),
        error,
    }
}

/// A call that could not be made.
pub(super) fn failed(access: Access, what: &str, error: impl Display) -> Failure {
    refused(format!("{access} `{what}`: {error}")).into()
}

pub(super) fn refused(message: String) -> ProviderError {
    ProviderError::Refused(message)
}

/// An error with all of its causes, which tell what the outermost does not.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
