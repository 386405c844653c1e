//! One request to a running Weir.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For everything. The other side is near and answers without waiting for anything;
/// a container's health check gives up at about this time.
const DEADLINE: Duration = Duration::from_secs(5);

/// More than the status of ten thousand targets.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("no answer from {0} within {DEADLINE:?}")]
    Timeout(String),
    #[error("what {address} answers is not HTTP: {source}")]
    Http {
        address: String,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("cannot ask: {0}")]
    System(io::Error),
}

impl FetchError {
    /// With what to do about it, for those who ask the admin listener.
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

/// Asks `address`, a `host:port`, for a path, and waits for the whole answer.
pub(super) fn get(address: &str, path: &str) -> Result<Answer, FetchError> {
    let request = Request::get(path).body(Full::default());
    let request = request.map_err(|error| FetchError::Http {
        address: address.to_owned(),
        source: error.into(),
    })?;
    send(address, request)
}

/// The same for any request; `Host` is added.
pub(super) fn send(address: &str, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FetchError::System)?;
    runtime.block_on(async {
        let answer = timeout(DEADLINE, ask(address, request)).await;
        answer.unwrap_or_else(|_| Err(FetchError::Timeout(address.to_owned())))
    })
}

async fn ask(address: &str, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| FetchError::Connect {
        address: address.to_owned(),
        source,
    })?;
    let answer = converse(stream, request).await;
    answer.map_err(|source| FetchError::Http {
        address: address.to_owned(),
        source,
    })
}

async fn converse(
    stream: TcpStream,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn Error + Send + Sync>> {
    let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
    let headers = request.headers_mut();
    // The admin listener lets addresses in, not names.
    let address = stream.peer_addr()?.to_string();
    headers.insert(HOST, HeaderValue::from_str(&address)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Answer {
            status: head.status,
            body: body.to_bytes(),
        })
    };
    tokio::pin!(exchange);
    // The connection moves the bytes; when it ends first, the exchange knows what became
    // of it.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server for one connection that says `answer` and closes.
    pub(in crate::cli) fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

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
            assert!(matches!(error, FetchError::Http { .. }), "{error}");
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
