//! Why an exchange failed.

use std::error::Error;
use std::io;
use std::time::Duration;

/// The step of an exchange which failed, with the error of the system or the HTTP library.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The destination's name has no address, or is no `host:port`.
    #[error("cannot resolve {name}: {source}")]
    Resolve {
        /// The name as it was given.
        name: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// No connection: refused, unreachable, or this host has run out of something.
    #[error("cannot connect to {destination}: {source}")]
    Connect {
        /// The address, name or path.
        destination: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The request cannot be written as HTTP: a path or header with a forbidden character.
    #[error("the request is not valid: {0}")]
    Request(#[from] http::Error),
    /// The deadline passed first.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The peer closed the connection before it had sent a whole head.
    #[error("{}", root_cause(.0))]
    Closed(#[source] hyper::Error),
    /// The connection failed while the request was sent or the response received.
    #[error("{}", root_cause(.0))]
    Broken(#[source] hyper::Error),
    /// The peer answers something that is not HTTP/1, or a head above the limit.
    #[error("{}", root_cause(.0))]
    NotHttp(#[source] hyper::Error),
    /// The peer sent more bytes than the connection may receive.
    #[error("{}", root_cause(.0))]
    TooManyBytes(#[source] hyper::Error),
    /// The connection failed, or the peer does not speak HTTP/2, or refuses the request.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// The body is longer than this many bytes.
    #[error("answers with more than {0} bytes")]
    BodyTooLong(usize),
}

impl From<hyper::Error> for FetchError {
    fn from(error: hyper::Error) -> Self {
        let received_too_much = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|source| source.kind() == io::ErrorKind::FileTooLarge);
        if received_too_much {
            Self::TooManyBytes(error)
        } else if error.is_parse() {
            Self::NotHttp(error)
        } else if error.is_incomplete_message() {
            Self::Closed(error)
        } else {
            Self::Broken(error)
        }
    }
}

/// The innermost error names the cause; those around it only tell where it was noticed.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
