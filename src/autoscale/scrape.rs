//! One read of a replica's Prometheus page.
//!
//! A page comes from a program which is not trusted: it gets [`TIMEOUT`] and [`BODY_LIMIT`], and
//! every failure is a sentence for operators.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};

use crate::net::fetch::{self, Connection, Destination, FetchError, answer_limit};
use crate::tls;

/// For connection and response together.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes of a page: some ten thousand series.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

const AGENT: &str = concat!("Weir-Autoscaler/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error("status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Reads a page over a fresh connection. The error names the URL and what is wrong.
pub(super) async fn page(
    addr: SocketAddr,
    path: &str,
    tls: Option<&tls::Client>,
) -> Result<Bytes, String> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    fetch::within(TIMEOUT, get(addr, path, tls))
        .await
        .map_err(|error| format!("{scheme}://{addr}{path}: {error}"))
}

async fn get(addr: SocketAddr, path: &str, tls: Option<&tls::Client>) -> Result<Bytes, PageError> {
    let request = Request::get(path)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "text/plain;version=0.0.4")
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Bytes::new())
        .map_err(FetchError::from)?;
    let destination = Destination::target(&addr.into(), &[], tls);
    let connection = Connection::open(&destination, answer_limit(BODY_LIMIT)).await?;
    let response = connection.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(PageError::Status(response.status()));
    }
    Ok(response.bytes(BODY_LIMIT).await?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::fixture::{ok, replica};
    use super::*;

    async fn ask(answer: Vec<u8>, closes: bool) -> Result<Bytes, String> {
        page(replica(answer, closes).await, "/metrics", None).await
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
        assert!(
            problem.ends_with("answers with more than 4194304 bytes"),
            "{problem}"
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\na: {}\r\n\r\n",
            "x".repeat(2 * fetch::HEAD_LIMIT)
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
    async fn a_closed_port_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let problem = page(addr, "/metrics", None).await.unwrap_err();
        assert!(problem.contains("refused"), "{problem}");
    }
}
