//! Plain HTTP to the socket of an engine: one connection for each call, and a bounded response.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::net::fetch::{Connection, Destination, FetchError, answer_limit};

/// Most bytes of a body: a thousand tasks need about three million.
pub(super) const LARGEST: usize = 16 << 20;

/// The address of an engine, and the version of its API.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    destination: Destination,
    version: Arc<str>,
}

impl Wire {
    /// `host` as bollard takes it: `unix://`, `tcp://` or `http://`.
    pub(super) fn new(host: &str, version: &str) -> Self {
        let destination = if let Some(path) = host.strip_prefix("unix://") {
            Destination::Unix(path.into())
        } else {
            let name = host.trim_start_matches("tcp://");
            let name = name.trim_start_matches("http://");
            Destination::Name(name.trim_end_matches('/').to_owned())
        };
        Self {
            destination,
            version: version.into(),
        }
    }

    /// Sends one request and reads the whole response. Has no deadline.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/v{}{path}", self.version))
            .header(HOST, "docker")
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))?;
        let connection = Connection::open(&self.destination, answer_limit(LARGEST)).await?;
        let response = connection.send(request).await?;
        let status = response.status();
        Ok((status, response.bytes(LARGEST).await?))
    }
}
