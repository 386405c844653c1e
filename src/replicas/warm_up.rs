//! Requests to a new replica before it gets those of users: they fill its caches and compile
//! what is compiled at the first use.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::WarmUpRequests;
use crate::net::Bounded;

/// Most bytes of an answer that are read; the connection is closed on longer ones.
const BODY_LIMIT: usize = 1024 * 1024;

/// Most bytes of an answer's head.
const HEAD_LIMIT: usize = 64 * 1024;

/// Most bytes of one answer with its framing and the interim responses before it. All of them
/// together are bounded.
const ANSWER_LIMIT: u64 = (HEAD_LIMIT + 2 * BODY_LIMIT) as u64;

const AGENT: &str = concat!("Weir-WarmUp/", env!("CARGO_PKG_VERSION"));

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    /// Requests that were answered with less than 400.
    pub(super) served: u32,
    /// What was wrong with the last of the others.
    pub(super) failure: Option<String>,
}

/// Asks as configured, one request after the other. A replica is as warm as it gets when this
/// returns, whatever it answered: that is up to the health checks.
pub(super) async fn warm_up(address: SocketAddr, wanted: &WarmUpRequests) -> Warmth {
    let mut warmth = Warmth::default();
    let all = async {
        let mut line = Line::new(address, u64::from(wanted.count) * ANSWER_LIMIT);
        for _ in 0..wanted.count {
            match line.ask(&wanted.path).await {
                Ok(status) if status.as_u16() < 400 => warmth.served += 1,
                Ok(status) => warmth.failure = Some(format!("answered {status}")),
                Err(error) => warmth.failure = Some(error),
            }
        }
    };
    if timeout(wanted.timeout, all).await.is_err() {
        warmth.failure = Some(format!("not done within {:?}", wanted.timeout));
    }
    warmth
}

/// A connection that is opened again when it is closed.
struct Line {
    address: SocketAddr,
    /// Most bytes that a connection may send.
    limit: u64,
    sender: Option<SendRequest<Empty<Bytes>>>,
    /// Drives the connection, and ends with this.
    driver: JoinSet<()>,
}

impl Line {
    fn new(address: SocketAddr, limit: u64) -> Self {
        Self {
            address,
            limit,
            sender: None,
            driver: JoinSet::new(),
        }
    }

    async fn ask(&mut self, path: &str) -> Result<StatusCode, String> {
        let mut sender = self.open().await?;
        let request = Request::get(path)
            .header(HOST, self.address.to_string())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "*/*")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await;
        let mut response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let mut length = 0;
        while let Some(frame) = response.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > BODY_LIMIT {
                return Ok(status);
            }
        }
        self.sender = Some(sender);
        Ok(status)
    }

    async fn open(&mut self) -> Result<SendRequest<Empty<Bytes>>, String> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.driver.abort_all();
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(Bounded::new(stream, self.limit)))
            .await
            .map_err(|error| error.to_string())?;
        self.driver.spawn(async {
            // Whatever goes wrong on it, the request on it is told.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    fn wanted(count: u32, timeout: Duration) -> WarmUpRequests {
        WarmUpRequests {
            path: "/todos?all=1".to_owned(),
            count,
            timeout,
        }
    }

    /// Answers each request with the next of `answers` and then keeps silent. Returns how
    /// many connections came, and the first request.
    async fn replica(answers: Vec<String>) -> (SocketAddr, JoinHandle<(usize, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut connections, mut first) = (0, String::new());
            let mut answers = answers.into_iter().peekable();
            while answers.peek().is_some() {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections += 1;
                let mut request = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    request.push(byte);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    if first.is_empty() {
                        first = String::from_utf8(request.clone()).unwrap();
                    }
                    request.clear();
                    let Some(answer) = answers.next() else {
                        break;
                    };
                    // The other side may have heard enough.
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if answer.contains("close") || answers.peek().is_none() {
                        break;
                    }
                }
            }
            (connections, first)
        });
        (addr, served)
    }

    fn answer(status: &str, more: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n{more}\r\nok")
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn requests_go_over_one_connection() {
        let (addr, served) = replica(vec![answer("200 OK", ""); 5]).await;
        let warmth = warm_up(addr, &wanted(5, LONG)).await;
        let expected = Warmth {
            served: 5,
            failure: None,
        };
        assert_eq!(warmth, expected);
        let (connections, request) = served.await.unwrap();
        assert_eq!(connections, 1);
        let request = request.to_lowercase();
        assert!(
            request.starts_with("get /todos?all=1 http/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains(&format!("host: {addr}\r\n")), "{request}");
        assert!(request.contains("user-agent: weir-warmup/"), "{request}");
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_is_opened_again() {
        let closing = answer("200 OK", "Connection: close\r\n");
        let failing = answer("503 Unavailable", "");
        let (addr, served) = replica(vec![closing.clone(), closing, failing]).await;
        let warmth = warm_up(addr, &wanted(3, LONG)).await;
        let failure = "answered 503 Service Unavailable";
        assert_eq!(
            (warmth.served, warmth.failure.as_deref()),
            (2, Some(failure))
        );
        assert_eq!(served.await.unwrap().0, 3);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let warmth = warm_up(addr, &wanted(1, Duration::from_millis(50))).await;
        let failure = Some("not done within 50ms");
        assert_eq!((warmth.served, warmth.failure.as_deref()), (0, failure));
        drop(listener);
        let warmth = warm_up(addr, &wanted(3, LONG)).await;
        let failure = warmth.failure.unwrap();
        assert!(failure.starts_with("cannot connect: "), "{failure}");
    }

    #[tokio::test]
    async fn an_endless_answer_is_read_to_the_limit() {
        let endless = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}",
            ".".repeat(BODY_LIMIT + 1)
        );
        let (addr, _served) = replica(vec![endless]).await;
        assert_eq!(warm_up(addr, &wanted(1, LONG)).await.served, 1);
    }
}
