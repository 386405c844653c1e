//! The [`Failure`] behind each error of the layers below.

use http::StatusCode;

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
            ConnectError::Dial(DialError::Io(_)) | ConnectError::Handshake(_) => Self::ConnectError,
        }
    }
}

/// The failure behind the status that hyper would answer an unreadable head with.
pub fn refusal(status: StatusCode) -> Failure {
    match status {
        StatusCode::URI_TOO_LONG => Failure::UriTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Failure::RequestHeadTooLarge,
        _ => Failure::MalformedRequest,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

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
