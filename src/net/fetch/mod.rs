//! The HTTP client of the control plane: health checks, warm-up requests, scrapes, webhooks, the
//! API of a Docker engine, and the commands which ask a running Weir.
//!
//! It speaks HTTP/1.1, and HTTP/2 to what is known to speak it ([`Connection::open_as`]).
//!
//! A call opens a [`Connection`] to a [`Destination`], sends one request, and reads as much of the
//! [`Response`] as it needs; only the warm-up requests to one replica share a connection. There
//! is no pool: a check over a connection which was open before proves less, and nothing here is
//! called often. No redirect is followed: a redirect is a status like any other.
//!
//! The peer is not trusted. A head has at most [`HEAD_LIMIT`] bytes, everything that a connection
//! receives is bounded, and so is a body ([`Response::bytes`]). The caller puts one deadline over
//! the whole exchange ([`within`]), so that an answer which arrives a byte at a time ends too.
//!
//! `destination.rs` is the only place which makes a stream out of an address.

mod bounded;
mod connection;
mod destination;
mod drive;
mod error;
mod http2;
mod limits;
mod url;

use std::time::Duration;

use tokio::time::timeout;

pub use connection::{Connection, Response};
pub use destination::Destination;
pub use error::FetchError;
pub use limits::{HEAD_LIMIT, answer_limit};
pub use url::{Url, UrlError};

/// Runs an exchange which must end within `limit`, or fails with [`FetchError::TimedOut`].
pub async fn within<T, E: From<FetchError>>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(FetchError::TimedOut(limit).into()))
}
