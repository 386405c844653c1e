//! One look at a replica's Prometheus page.
//!
//! A page is what somebody else's program says: it gets [`TIMEOUT`] and [`BODY_LIMIT`], and
//! whatever goes wrong is a sentence for people.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::{Bounded, root_cause};

/// For connection and answer together.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes of a page: some ten thousand series.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Most bytes of an answer's head.
const HEAD_LIMIT: usize = 64 * 1024;

/// Most bytes of an answer with its framing and the interim responses before it.
const ANSWER_LIMIT: u64 = (HEAD_LIMIT + 2 * BODY_LIMIT) as u64;

const AGENT: &str = concat!("Weir-Autoscaler/", env!("CARGO_PKG_VERSION"));

/// Gets a page over a fresh connection, or says why it could not be had.
pub(super) async fn page(addr: SocketAddr, path: &str) -> Result<Bytes, String> {
    let page = timeout(TIMEOUT, get(addr, path)).await;
    page.unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
        .map_err(|why| format!("http://{addr}{path}: {why}"))
}

async fn get(addr: SocketAddr, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect(addr).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let stream = TokioIo::new(Bounded::new(stream, ANSWER_LIMIT));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(stream)
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let request = request(addr, path)?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| root_cause(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
        match body {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(format!("longer than {BODY_LIMIT} bytes"))
            }
            Err(error) => Err(root_cause(&*error)),
        }
    };
    // Both end together: the page when it is there, the connection never.
    tokio::select! {
        page = exchange => page,
        never = drive(connection) => match never {},
    }
}

fn request(addr: SocketAddr, path: &str) -> Result<Request<Empty<Bytes>>, String> {
    Request::get(path)
        .header(HOST, addr.to_string())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "text/plain;version=0.0.4")
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .map_err(|error| error.to_string())
}

/// Drives the connection for as long as the exchange on it needs it. Whatever goes wrong on
/// it, the exchange is told.
async fn drive(connection: impl Future<Output = hyper::Result<()>>) -> Infallible {
    let _ = connection.await;
    pending().await
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A replica that reads each request's head and answers with these bytes, then closes if
    /// `closes`, or else says no more. Ends with the test's runtime.
    pub(in crate::autoscale) async fn replica(answer: Vec<u8>, closes: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                // The other side may hang up before it has taken all of it.
                let _ = stream.write_all(&answer).await;
                if !closes {
                    open.push(stream);
                }
            }
        });
        addr
    }

    pub(in crate::autoscale) fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\n\r\n{body}").into_bytes()
    }

    async fn ask(answer: Vec<u8>, closes: bool) -> Result<Bytes, String> {
        page(replica(answer, closes).await, "/metrics").await
    }

    #[tokio::test]
    async fn a_page_is_read_to_its_end() {
        assert_eq!(ask(ok("a 1\n"), true).await, Ok("a 1\n".into()));
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\na 1\n\r\n0\r\n\r\n";
        assert_eq!(ask(chunked.into(), false).await, Ok("a 1\n".into()));
    }

    #[tokio::test]
    async fn a_slow_page_is_given_up() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na 1\n"] {
            let problem = ask(answer.into(), false).await.unwrap_err();
            assert!(problem.ends_with("no answer within 1s"), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_huge_page_is_given_up() {
        let huge = ok(&"a 1\n".repeat(BODY_LIMIT / 4 + 1));
        let problem = ask(huge, true).await.unwrap_err();
        assert!(problem.ends_with("longer than 4194304 bytes"), "{problem}");
        let head = format!(
            "HTTP/1.1 200 OK\r\na: {}\r\n\r\n",
            "x".repeat(2 * HEAD_LIMIT)
        );
        assert!(ask(head.into(), true).await.is_err());
    }

    #[tokio::test]
    async fn interim_responses_without_end_are_given_up() {
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(512 * 1024);
        let problem = ask(many, true).await.unwrap_err();
        assert!(
            problem.contains("sends more than 8454144 bytes"),
            "{problem}"
        );
    }

    #[tokio::test]
    async fn a_broken_page_says_what_is_wrong() {
        let broken = [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "status 404 Not Found"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na 1\n",
                "end of file",
            ),
            ("nonsense\r\n\r\n", "invalid HTTP version parsed"),
            ("", "connection closed before message completed"),
        ];
        for (answer, expected) in broken {
            let problem = ask(answer.into(), true).await.unwrap_err();
            assert!(problem.contains("/metrics: "), "{problem}");
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let problem = page(addr, "/metrics").await.unwrap_err();
        assert!(problem.contains("refused"), "{problem}");
    }
}
