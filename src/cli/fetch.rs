//! One request to a running Weir.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, StatusCode};

use crate::net::fetch::{self, Connection, Destination, FetchError, answer_limit};

/// For connection and response together. The admin listener is near and answers without waiting;
/// a container's health check gives up at about this time.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of a body: more than the status of ten thousand targets.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

pub(super) const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// What the admin listener answers.
#[derive(Debug)]
pub(super) struct AdminResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("no answer from {0} within {TIMEOUT:?}")]
    Timeout(String),
    #[error("what {address} answers is not HTTP: {source}")]
    Http { address: String, source: FetchError },
    #[error("cannot ask: {0}")]
    System(io::Error),
}

impl AdminError {
    pub(super) fn new(address: &str, error: FetchError) -> Self {
        let address = address.to_owned();
        match error {
            FetchError::Resolve { source, .. } | FetchError::Connect { source, .. } => {
                Self::Connect { address, source }
            }
            FetchError::TimedOut(_) => Self::Timeout(address),
            source @ (FetchError::Request(_)
            | FetchError::Closed(_)
            | FetchError::Broken(_)
            | FetchError::NotHttp(_)
            | FetchError::TooManyBytes(_)
            | FetchError::Http2(_)
            | FetchError::BodyTooLong(_)) => Self::Http { address, source },
        }
    }

    /// The error and what to do about it, for commands which ask the admin listener.
    pub(super) fn explained(&self) -> String {
        match self {
            Self::Connect { .. } => format!(
                "{self}; the admin listener is off unless the configuration has \
                 `admin = {{ bind = \"127.0.0.1:9090\" }}`, and --admin names another address"
            ),
            Self::Timeout(_) | Self::Http { .. } | Self::System(_) => self.to_string(),
        }
    }
}

/// Sends `GET path` to `address`, a `host:port`, and waits for the whole response.
pub(super) fn get(address: &str, path: &str) -> Result<AdminResponse, AdminError> {
    match Request::get(path).body(Bytes::new()) {
        Ok(request) => send(address, request),
        Err(error) => Err(AdminError::new(address, error.into())),
    }
}

/// Sends any request. `Host` is the address that the connection leads to: the admin listener
/// lets addresses in, not names.
pub(super) fn send(
    address: &str,
    mut request: Request<Bytes>,
) -> Result<AdminResponse, AdminError> {
    request
        .headers_mut()
        .insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AdminError::System)?;
    runtime
        .block_on(fetch::within(TIMEOUT, exchange(address, request)))
        .map_err(|error| AdminError::new(address, error))
}

async fn exchange(address: &str, request: Request<Bytes>) -> Result<AdminResponse, FetchError> {
    let destination = Destination::Name(address.to_owned());
    let connection = Connection::open(&destination, answer_limit(BODY_LIMIT)).await?;
    let response = connection.send(request).await?;
    Ok(AdminResponse {
        status: response.status(),
        body: response.bytes(BODY_LIMIT).await?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::fixture::server;
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end() {
        let chunked = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let answer = get(&server(chunked), "/readyz").unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(&answer.body[..], b"ab");
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        for garbage in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
        ] {
            let error = get(&server(garbage), "/").unwrap_err();
            assert!(matches!(error, AdminError::Http { .. }), "{error}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_reached_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        for address in [address.as_str(), "no port", ""] {
            let error = get(address, "/").unwrap_err();
            assert!(
                error.to_string().starts_with("cannot connect to"),
                "{error}"
            );
        }
    }
}
