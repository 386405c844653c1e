//! Why a target could not be connected to.

use crate::net::DialError;

/// Why no connection to a target could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket could not be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// What the target says is not HTTP/2, or it has ended the connection at once.
    #[error("the target does not speak HTTP/2")]
    NotHttp2,
    /// The target allows no stream on its connections, or others were always faster.
    #[error("the target takes no further stream")]
    NoStream,
}

impl ConnectError {
    /// The same for another request that waited for the connection.
    pub(super) fn duplicate(&self) -> Self {
        match self {
            Self::Dial(error) => Self::Dial(error.duplicate()),
            Self::NotHttp2 => Self::NotHttp2,
            Self::NoStream => Self::NoStream,
        }
    }
}
