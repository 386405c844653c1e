//! Plain HTTP to an engine's socket: one connection for each call, and a bounded answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{ProviderError, nonsense};
use crate::net::Bounded;

/// Of one answer, in bytes: a thousand tasks need about three million.
pub(super) const LARGEST: usize = 16 << 20;

/// Of one answer with its framing and the interim responses before it.
const ANSWER_LIMIT: u64 = 2 * LARGEST as u64;

/// Where the engine is, and the version that it speaks.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    host: Arc<str>,
    version: Arc<str>,
}

impl Wire {
    /// `host` as bollard takes it: `unix://` or `tcp://`.
    pub(super) fn new(host: &str, version: &str) -> Self {
        Self {
            host: host.into(),
            version: version.into(),
        }
    }

    /// One request and its answer. Put a deadline around it.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), ProviderError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/v{}{path}", self.version))
            .header(HOST, "docker")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(nonsense)?;
        if let Some(path) = self.host.strip_prefix("unix://") {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            return send(stream, request).await;
        }
        let address = self.host.trim_start_matches("tcp://");
        let address = address.trim_start_matches("http://");
        let stream = TcpStream::connect(address.trim_end_matches('/')).await;
        send(stream.map_err(unreachable)?, request).await
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ProviderError> {
    let lost = |error: hyper::Error| unreachable(io::Error::other(error));
    let stream = TokioIo::new(Bounded::new(stream, ANSWER_LIMIT));
    let (mut sender, connection) = http1::handshake(stream).await.map_err(lost)?;
    let mut connection = std::pin::pin!(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok((status, body.map_err(nonsense)?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    // The connection does the work that the answer waits for.
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn unreachable(error: io::Error) -> ProviderError {
    ProviderError::Unreachable(error.to_string())
}
