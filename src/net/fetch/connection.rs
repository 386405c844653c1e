//! One connection and the response that it carries.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::bounded::Bounded;
use super::destination::{Connected, Destination, Stream};
use super::drive::drive;
use super::error::FetchError;
use super::http2::Http2;
use super::limits::HEAD_LIMIT;

type Driver = http1::Connection<TokioIo<Bounded<Box<dyn Stream>>>, Full<Bytes>>;

/// A connection which carries one request at a time.
///
/// Its bytes move while a method of it or of its [`Response`] is awaited: there is no task, and
/// dropping it closes it at once. Futures of its methods may be dropped at any time; the
/// connection goes with them.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    peer: Option<SocketAddr>,
}

#[derive(Debug)]
enum Wire {
    Http1 {
        sender: http1::SendRequest<Full<Bytes>>,
        /// `None` once it is closed.
        driver: Option<Box<Driver>>,
    },
    Http2(Box<Http2>),
}

impl Connection {
    /// Connects. The peer may send `limit` bytes over this connection, whatever they are.
    pub async fn open(destination: &Destination, limit: u64) -> Result<Self, FetchError> {
        let Connected { stream, peer } = destination.connect().await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(Bounded::new(stream, limit)))
            .await?;
        let wire = Wire::Http1 {
            sender,
            driver: Some(Box::new(driver)),
        };
        Ok(Self { wire, peer })
    }

    /// As [`Self::open`], for a peer that speaks HTTP/2 if `is_http2`.
    pub async fn open_as(
        destination: &Destination,
        is_http2: bool,
        limit: u64,
    ) -> Result<Self, FetchError> {
        if !is_http2 {
            return Self::open(destination, limit).await;
        }
        let Connected { stream, peer } = destination.connect().await?;
        let wire = Wire::Http2(Box::new(
            Http2::open(Bounded::new(stream, limit), destination.scheme()).await?,
        ));
        Ok(Self { wire, peer })
    }

    /// Sends a request and returns once the head of the response is in. A request without `Host`
    /// gets the address of the peer.
    pub async fn send(mut self, mut request: Request<Bytes>) -> Result<Response, FetchError> {
        if !request.headers().contains_key(HOST) {
            self.add_host(request.headers_mut())?;
        }
        let (head, body) = match &mut self.wire {
            Wire::Http1 { sender, driver } => {
                let answer = sender.send_request(request.map(Full::new));
                let (head, body) = drive(driver, answer).await?.into_parts();
                (head, Body::Http1(body))
            }
            Wire::Http2(http2) => {
                let (head, body) = http2.send(request).await?.into_parts();
                (head, Body::Http2(body))
            }
        };
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
            connection: self,
        })
    }

    /// Waits until another request can be sent, and returns whether one can: the peer may have
    /// closed the connection.
    pub async fn is_reusable(&mut self) -> bool {
        match &mut self.wire {
            Wire::Http1 { sender, driver } => drive(driver, sender.ready()).await.is_ok(),
            Wire::Http2(http2) => http2.ready().await.is_ok(),
        }
    }

    /// Puts `Host` before the other fields (RFC 9112, section 3.2).
    fn add_host(&self, headers: &mut HeaderMap) -> Result<(), http::Error> {
        let host = match self.peer {
            Some(peer) => HeaderValue::try_from(peer.to_string())?,
            None => HeaderValue::from_static("localhost"),
        };
        let rest = std::mem::take(headers);
        headers.insert(HOST, host);
        headers.extend(rest);
        Ok(())
    }
}

/// A response with a complete head; the body follows.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    connection: Connection,
}

#[derive(Debug)]
enum Body {
    Http1(Incoming),
    Http2(RecvStream),
}

impl Response {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next part of the body, as it comes; `None` at its end. Trailers are left out.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        match (&mut self.connection.wire, &mut self.body) {
            (Wire::Http1 { driver, .. }, Body::Http1(body)) => {
                while let Some(frame) = drive(driver, body.frame()).await {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
                Ok(None)
            }
            (Wire::Http2(http2), Body::Http2(body)) => http2.chunk(body).await,
            // A response has the protocol of its connection.
            (Wire::Http1 { .. }, Body::Http2(_)) | (Wire::Http2(_), Body::Http1(_)) => Ok(None),
        }
    }

    /// The trailers of HTTP/2, once the body has ended; `None` if it has none.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, FetchError> {
        match (&mut self.connection.wire, &mut self.body) {
            (Wire::Http2(http2), Body::Http2(body)) => http2.trailers(body).await,
            (Wire::Http1 { .. }, _) | (Wire::Http2(_), Body::Http1(_)) => Ok(None),
        }
    }

    /// The whole body. Fails when it is longer than `limit` bytes.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        while let Some(data) = self.chunk().await? {
            if body.len() + data.len() > limit {
                return Err(FetchError::BodyTooLong(limit));
            }
            body.extend_from_slice(&data);
        }
        Ok(body.freeze())
    }

    /// The connection, for another request. It is reusable only if the body was read to its end.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};
    use tokio::task::JoinHandle;

    use super::super::within;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A server which reads a request before each of `answers`, all on one connection, then keeps
    /// it open until the client closes it. Returns the heads of the requests.
    async fn answer(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        answers: Vec<Vec<u8>>,
    ) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            requests.push(String::from_utf8(request).unwrap());
            // The client may close before it has taken all of it.
            let _ = stream.write_all(&answer).await;
        }
        let _ = stream.read(&mut [0]).await;
        requests
    }

    async fn server(answers: Vec<Vec<u8>>) -> (Destination, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = Destination::Address(listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, answers).await
        });
        (destination, served)
    }

    fn get(path: &str) -> Request<Bytes> {
        let request = Request::get(path).header("accept", "*/*");
        request.body(Bytes::new()).unwrap()
    }

    /// The body of the answer to `GET /`, read with these limits.
    async fn fetch(answer: &[u8], received: u64, body: usize) -> Result<Bytes, FetchError> {
        let (destination, _served) = server(vec![answer.to_vec()]).await;
        within(LONG, async {
            let connection = Connection::open(&destination, received).await?;
            connection.send(get("/")).await?.bytes(body).await
        })
        .await
    }

    #[tokio::test]
    async fn a_connection_carries_several_requests_and_says_when_it_is_closed() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        let last = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        let (destination, served) = server(vec![ok, last]).await;
        let connection = Connection::open(&destination, 1000).await.unwrap();
        let mut first = connection.send(get("/a")).await.unwrap();
        assert_eq!(first.chunk().await.unwrap(), Some("ok".into()));
        assert_eq!(first.chunk().await.unwrap(), None);
        let mut connection = first.into_connection();
        assert!(connection.is_reusable().await);
        let second = connection.send(get("/b")).await.unwrap();
        assert_eq!(second.status(), 503);
        let mut connection = second.into_connection();
        assert!(!connection.is_reusable().await);
        drop(connection);
        let requests = served.await.unwrap();
        assert_eq!(requests.len(), 2);
        let head = format!("GET /a HTTP/1.1\r\nhost: {destination}\r\naccept: */*\r\n\r\n");
        assert_eq!(requests[0], head);
    }

    #[tokio::test]
    async fn a_unix_socket_is_a_destination() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answers = vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1".to_vec()];
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, answers).await
        });
        let connection = Connection::open(&Destination::Unix(path), 1000)
            .await
            .unwrap();
        let response = connection.send(get("/")).await.unwrap();
        assert_eq!(response.bytes(1).await.unwrap(), "1");
        assert!(served.await.unwrap()[0].contains("\r\nhost: localhost\r\n"));
    }

    #[tokio::test]
    async fn each_kind_of_failure_has_its_error() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let body = fetch(format!("{head}123456789").as_bytes(), 1000, 8).await;
        assert!(matches!(body, Err(FetchError::BodyTooLong(8))), "{body:?}");
        let flood = fetch(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), 1000, 8).await;
        let error = flood.unwrap_err();
        assert!(matches!(error, FetchError::TooManyBytes(_)), "{error}");
        assert_eq!(error.to_string(), "sends more than 1000 bytes");
        for garbage in [
            b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
            vec![b'a'; 2 * HEAD_LIMIT],
        ] {
            let error = fetch(&garbage, 1 << 20, 8).await.unwrap_err();
            assert!(matches!(error, FetchError::NotHttp(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_early_is_told_from_a_body_that_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = Destination::Address(listener.local_addr().unwrap());
        for (answer, is_head_whole) in [
            ("HTTP/1.1 20", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour", true),
        ] {
            let closing = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_u8().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            };
            let asking = async {
                let connection = Connection::open(&destination, 1000).await?;
                connection.send(get("/")).await?.bytes(1000).await
            };
            let ((), result) = tokio::join!(closing, asking);
            match result.unwrap_err() {
                FetchError::Closed(_) => assert!(!is_head_whole, "{answer}"),
                FetchError::Broken(_) => assert!(is_head_whole, "{answer}"),
                other => panic!("{answer}: {other}"),
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_drips_does_not_outlast_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = Destination::Address(listener.local_addr().unwrap());
        let dripping = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            // Ends when the client has closed the connection.
            while stream.write_all(b".").await.is_ok() {
                tick.tick().await;
            }
        });
        let limit = Duration::from_millis(100);
        let body = within(limit, async {
            let connection = Connection::open(&destination, 1000).await?;
            connection.send(get("/")).await?.bytes(1000).await
        });
        let error = body.await.unwrap_err();
        assert!(matches!(error, FetchError::TimedOut(_)), "{error}");
        assert_eq!(error.to_string(), "no answer within 100ms");
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn a_name_that_is_none_and_a_port_that_is_closed_are_told_apart() {
        let unknown = Connection::open(&Destination::Name("no port".to_owned()), 1).await;
        let error = unknown.unwrap_err();
        assert!(matches!(error, FetchError::Resolve { .. }), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        drop(listener);
        let refused = Connection::open(&Destination::Name(name.clone()), 1).await;
        let error = refused.unwrap_err().to_string();
        let expected = format!("cannot connect to {name}: ");
        assert!(error.starts_with(&expected), "{error}");
    }
}
