//! One request over a connection of HTTP/2.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, Request, Response, Uri};

use super::bounded::Bounded;
use super::destination::Stream;
use super::drive::drive;
use super::error::FetchError;
use super::limits::HEAD_LIMIT;

/// A connection, driven while something of it is awaited.
#[derive(Debug)]
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    scheme: &'static str,
    /// `None` once it is closed.
    driver: Option<client::Connection<Bounded<Box<dyn Stream>>, Bytes>>,
}

impl Http2 {
    pub(super) async fn open(
        stream: Bounded<Box<dyn Stream>>,
        scheme: &'static str,
    ) -> Result<Self, FetchError> {
        let (sender, driver) = client::Builder::new()
            .enable_push(false)
            .max_header_list_size(HEAD_LIMIT as u32)
            .handshake(stream)
            .await?;
        Ok(Self {
            sender,
            scheme,
            driver: Some(driver),
        })
    }

    /// Sends a request, which has a Host field and a path.
    pub(super) async fn send(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<RecvStream>, FetchError> {
        self.ready().await?;
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(CONNECTION);
        if let Some(host) = parts.headers.remove(HOST) {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let uri = Uri::builder()
                .scheme(self.scheme)
                .authority(host.as_bytes());
            parts.uri = uri.path_and_query(path).build()?;
        }
        let request = Request::from_parts(parts, ());
        let (response, mut stream) = self.sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        Ok(drive(&mut self.driver, response).await?)
    }

    /// Waits until another request can be sent.
    pub(super) async fn ready(&mut self) -> Result<(), FetchError> {
        let Self { sender, driver, .. } = self;
        Ok(drive(driver, poll_fn(|cx| sender.poll_ready(cx))).await?)
    }

    /// The next part of a body; `None` at its end.
    pub(super) async fn chunk(
        &mut self,
        body: &mut RecvStream,
    ) -> Result<Option<Bytes>, FetchError> {
        let Some(data) = drive(&mut self.driver, body.data()).await else {
            return Ok(None);
        };
        let data = data?;
        // Fails if the stream has ended, and needs no window any more.
        let _ = body.flow_control().release_capacity(data.len());
        Ok(Some(data))
    }

    /// The trailers behind a body that has ended.
    pub(super) async fn trailers(
        &mut self,
        body: &mut RecvStream,
    ) -> Result<Option<HeaderMap>, FetchError> {
        Ok(drive(&mut self.driver, body.trailers()).await?)
    }
}
