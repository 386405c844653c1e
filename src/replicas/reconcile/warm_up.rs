//! Requests to a new replica before it gets those of clients: they fill its caches and compile
//! what is compiled at the first use.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode};
use tokio::time::timeout;

use crate::config::WarmUpRequests;
use crate::net::fetch::{Connection, Destination, FetchError, answer_limit};

/// Most bytes of a body that are read; the connection is closed on longer ones.
const BODY_LIMIT: usize = 1024 * 1024;

const AGENT: &str = concat!("Weir-WarmUp/", env!("CARGO_PKG_VERSION"));

/// The result of the warm-up requests to one replica.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    /// Requests that were answered with a status below 400.
    pub(super) served: u32,
    /// What was wrong with the last of the others.
    pub(super) failure: Option<String>,
}

/// Sends the configured requests one after another. A replica counts as warm when this returns,
/// whatever it answered: whether it is healthy is up to the health checks.
pub(super) async fn warm_up(address: SocketAddr, wanted: &WarmUpRequests) -> Warmth {
    let mut warmth = Warmth::default();
    let mut client = Client {
        is_http2: wanted.is_http2,
        destination: Destination::target(&address.into(), &[], wanted.tls.as_ref()),
        limit: u64::from(wanted.count) * answer_limit(BODY_LIMIT),
        idle: None,
    };
    let requests = async {
        for _ in 0..wanted.count {
            match client.get(&wanted.path).await {
                Ok(status) if status.as_u16() < 400 => warmth.served += 1,
                Ok(status) => warmth.failure = Some(format!("answered {status}")),
                Err(FetchError::Connect { source, .. }) => {
                    warmth.failure = Some(format!("cannot connect: {source}"));
                }
                Err(error) => warmth.failure = Some(error.to_string()),
            }
        }
    };
    if timeout(wanted.timeout, requests).await.is_err() {
        warmth.failure = Some(format!("not done within {:?}", wanted.timeout));
    }
    warmth
}

/// Sends requests over one connection, which is opened again when the replica closes it.
struct Client {
    destination: Destination,
    is_http2: bool,
    /// Most bytes that a connection may receive.
    limit: u64,
    idle: Option<Connection>,
}

impl Client {
    async fn get(&mut self, path: &str) -> Result<StatusCode, FetchError> {
        let request = Request::get(path)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "*/*")
            .body(Bytes::new())?;
        let mut response = self.connection().await?.send(request).await?;
        let mut length = 0;
        while let Some(data) = response.chunk().await? {
            length += data.len();
            if length > BODY_LIMIT {
                return Ok(response.status());
            }
        }
        let status = response.status();
        self.idle = Some(response.into_connection());
        Ok(status)
    }

    async fn connection(&mut self) -> Result<Connection, FetchError> {
        if let Some(mut connection) = self.idle.take()
            && connection.is_reusable().await
        {
            return Ok(connection);
        }
        Connection::open_as(&self.destination, self.is_http2, self.limit).await
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
            is_http2: false,
            tls: None,
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
                    // The client may have closed the connection.
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
    async fn warm_up_does_not_outlast_its_timeout() {
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
