//! The [`Failure`] behind each error of the layers below.

use crate::http1::Reason;
use crate::model::{Failure, Stage};
use crate::net::DialError;
use crate::target_group::Unavailable;
use crate::upstream::ConnectError;

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NoTarget => Self::NoTarget,
            Unavailable::AllTried => Self::AllTried,
            Unavailable::Full => Self::Overloaded,
        }
    }
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Dial(DialError::TimedOut) => Self::TargetTimeout(Stage::Connect),
            ConnectError::Dial(DialError::Shortage(_)) => Self::OutOfResources,
            ConnectError::Dial(DialError::Io(_)) => Self::ConnectError,
            ConnectError::NotHttp2 => Self::NotHttp2,
            ConnectError::NoStream => Self::StreamRefused,
        }
    }
}

/// The failure behind a head that cannot be read.
impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::MissingHost | Reason::DuplicateHost | Reason::BadHost => Self::BadHost,
            reason => match reason.status() {
                414 => Self::UriTooLong,
                431 => Self::RequestHeadTooLarge,
                501 => Self::NotImplemented,
                505 => Self::VersionNotSupported,
                _ => Self::MalformedRequest,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http::StatusCode;

    use super::*;
    use crate::model::Blame;

    #[test]
    fn a_shortage_of_this_host_is_not_blamed_on_the_target() {
        let shortage = DialError::Shortage(io::Error::other("no descriptor"));
        let failure = Failure::from(&ConnectError::Dial(shortage));
        assert_eq!(failure.code(), "out_of_resources");
        assert_eq!(failure.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            failure.blame(),
            Blame::Weir,
            "so that no target is ejected and nothing is retried"
        );
    }
}
