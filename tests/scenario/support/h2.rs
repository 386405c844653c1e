//! A client of HTTP/2 by prior knowledge, over the `h2` crate.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::soon;

/// A connection, which is driven by a task of its own.
pub struct H2 {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A response as it was received.
#[derive(Debug)]
pub struct H2Reply {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Why the stream was reset, if it was.
    pub reset: Option<Reason>,
}

impl H2Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// A GET for a path of `http://a`.
pub fn get(path: &str) -> Request<()> {
    with_method("GET", path)
}

/// A request for a path of `http://a`.
pub fn with_method(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://a{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

impl H2 {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::open_with(addr, &Builder::new()).await
    }

    /// With the settings of `builder`.
    pub async fn open_with(addr: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, builder).await
    }

    /// Over a stream that is there.
    pub async fn over<S>(stream: S, builder: &Builder) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = soon("the handshake", builder.handshake(stream))
            .await
            .unwrap();
        Self {
            sender,
            driver: tokio::spawn(connection),
        }
    }

    /// Begins a request; `is_whole` ends it at once.
    pub async fn begin(
        &mut self,
        request: Request<()>,
        is_whole: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = soon("room for a stream", self.sender.clone().ready());
        self.sender = ready.await.unwrap();
        self.sender.send_request(request, is_whole).unwrap()
    }

    /// The response to a request without a body.
    pub async fn ask(&mut self, request: Request<()>) -> H2Reply {
        let (response, _) = self.begin(request, true).await;
        reply(response).await
    }

    /// The response to a request with a body.
    pub async fn send(&mut self, request: Request<()>, body: impl Into<Bytes>) -> H2Reply {
        let (response, mut stream) = self.begin(request, false).await;
        let body = body.into();
        let sending = tokio::spawn(async move {
            let _ = send_all(&mut stream, body, true).await;
        });
        let reply = reply(response).await;
        sending.abort();
        reply
    }

    /// Whether the other side takes more streams, as far as it has said.
    pub async fn takes_requests(&self) -> bool {
        self.sender.clone().ready().await.is_ok()
    }

    /// Waits until the other side has said that it knows extended CONNECT.
    pub async fn until_connect_is_enabled(&self) {
        super::eventually("extended CONNECT is enabled", || async {
            let is_enabled = self.sender.is_extended_connect_protocol_enabled();
            is_enabled.then_some(()).ok_or(String::new())
        })
        .await;
    }

    /// Asks for a WebSocket (RFC 8441) once the other side knows how.
    pub async fn open_websocket(&mut self, uri: &str) -> (ResponseFuture, SendStream<Bytes>) {
        self.until_connect_is_enabled().await;
        let mut request = Request::builder()
            .method("CONNECT")
            .uri(uri)
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        self.begin(request, false).await
    }

    /// Resolves when the connection has ended.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.sender);
        soon("the connection to end", self.driver).await.unwrap()
    }

    /// Closes the connection as a process does that dies.
    pub fn kill(self) {
        self.driver.abort();
    }
}

/// Sends bytes as the windows allow it.
pub async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    is_end: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or(Ok(0))?;
        if room == 0 {
            return Ok(());
        }
        let part = data.split_to(room.min(data.len()));
        stream.send_data(part, is_end && data.is_empty())?;
    }
    Ok(())
}

/// A whole response; of one that was reset, what came before.
pub async fn reply(response: ResponseFuture) -> H2Reply {
    let mut reply = H2Reply {
        status: 0,
        fields: HeaderMap::new(),
        body: Vec::new(),
        trailers: None,
        reset: None,
    };
    let read = async {
        let (parts, mut body) = response.await?.into_parts();
        reply.status = parts.status.as_u16();
        reply.fields = parts.headers;
        read_body(&mut body, &mut reply.body).await?;
        reply.trailers = body.trailers().await?;
        Ok::<(), h2::Error>(())
    };
    if let Err(error) = soon("a response", read).await {
        reply.reset = Some(error.reason().unwrap_or(Reason::CANCEL));
    }
    reply
}

async fn read_body(body: &mut RecvStream, into: &mut Vec<u8>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        into.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(())
}
