//! Clients: one for HTTP, one that sends bytes.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::soon;

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A kept-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::over_tcp(TcpStream::connect(addr).await.unwrap(), addr).await
    }

    /// Over a Unix socket, with `Host: unix.example`.
    pub async fn open_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        Self::over(stream, "unix.example".to_owned()).await
    }

    /// Opened from this address; all of 127.0.0.0/8 is local.
    pub async fn open_from(local: [u8; 4], addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((local, 0).into()).unwrap();
        Self::over_tcp(socket.connect(addr).await.unwrap(), addr).await
    }

    async fn over_tcp(stream: TcpStream, addr: SocketAddr) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::over(stream, addr.to_string()).await
    }

    pub async fn over<S>(stream: S, host: String) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host }
    }

    /// GET, with `Host` set to the address.
    pub async fn get(&mut self, path: &str) -> Reply {
        let request = Request::get(path).body(Full::default()).unwrap();
        self.send(request).await.unwrap()
    }

    /// Sends a request; adds `Host` unless it has one. An error is a connection that broke.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Reply, hyper::Error> {
        if !request.headers().contains_key("host") {
            let host = self.host.parse().unwrap();
            request.headers_mut().insert("host", host);
        }
        soon("a response", async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        })
        .await
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Sends bytes, ends its side, and returns all that comes back until the other side
/// closes.
pub async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    soon("the connection to close", async {
        // A reset after the response counts as a close.
        let _ = stream.read_to_end(&mut answer).await;
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}
