//! An HTTP health check: one request over a connection of its own, and what is read of the
//! response.
//!
//! Reads at most [`BODY_LIMIT`] of the body, and no more than the result needs; follows no
//! redirect: a redirect is a status like any other. The deadline is the caller's. Whatever a
//! target sends, a check costs at most [`ANSWER_LIMIT`] bytes.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};

use super::progress::{EXCERPT_BYTES, ProbeProgress, excerpt, failure};
use super::tcp_probe::cannot_connect;
use crate::config::HttpProbe;
use crate::model::{CheckFailure, Endpoint, HealthReason};
use crate::net::fetch::{Connection, Destination, FetchError, HEAD_LIMIT, Response};
use crate::net::proxy_protocol;

/// Most bytes of a body that are read, and searched for the text which the check requires.
const BODY_LIMIT: usize = 64 * 1024;

/// Most bytes of a response with its framing and the interim responses before it. Enough for
/// chunks of four bytes.
pub(super) const ANSWER_LIMIT: u64 = (HEAD_LIMIT + 3 * BODY_LIMIT) as u64;

pub(super) const AGENT: &str = concat!("Weir-HealthChecker/", env!("CARGO_PKG_VERSION"));

/// Sends one request over a fresh connection and decides whether the response passes.
pub(super) async fn probe(
    endpoint: &Endpoint,
    probe: &HttpProbe,
    progress: &mut ProbeProgress,
) -> Result<(), CheckFailure> {
    let contains_text = exchange(endpoint, probe, progress).await;
    // A wrong status is the reason, also when the body behind it breaks off.
    if let Some(mismatch) = status_mismatch(probe, progress) {
        return Err(mismatch);
    }
    match (
        &probe.body,
        contains_text.map_err(|error| explain(endpoint, &error))?,
    ) {
        (Some(text), false) => Err(failure(
            HealthReason::ResponseBodyMismatch,
            format!("no {text:?} in body \"{}\"", excerpt(&progress.body)),
        )),
        (Some(_), true) | (None, _) => Ok(()),
    }
}

/// The failure if the status does not pass; `None` if it passes, and while there is no status
/// yet.
pub(super) fn status_mismatch(probe: &HttpProbe, progress: &ProbeProgress) -> Option<CheckFailure> {
    let status = progress.status?;
    if probe
        .matcher
        .iter()
        .any(|&(first, last)| (first..=last).contains(&status))
    {
        return None;
    }
    let detail = if progress.body.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}, body \"{}\"", excerpt(&progress.body))
    };
    Some(failure(HealthReason::ResponseCodeMismatch, detail))
}

/// Returns whether the body contains the text which the check requires.
async fn exchange(
    endpoint: &Endpoint,
    probe: &HttpProbe,
    progress: &mut ProbeProgress,
) -> Result<bool, FetchError> {
    let request = request(probe)?;
    let version = probe.proxy_protocol;
    let header = version.map_or_else(Vec::new, proxy_protocol::encode_local);
    let destination = Destination::target(endpoint, &header, probe.tls.as_ref());
    let connection = Connection::open_as(&destination, probe.is_http2, ANSWER_LIMIT).await?;
    progress.connected = true;
    let response = connection.send(request).await?;
    progress.status = Some(response.status().as_u16());
    read_body(response, probe, progress).await
}

/// Without a configured host, `Host` is the address that is probed, or `localhost` for a Unix
/// socket.
fn request(probe: &HttpProbe) -> Result<Request<Bytes>, http::Error> {
    let mut request = Request::builder()
        .method(probe.method.clone())
        .uri(&probe.path);
    if let Some(host) = &probe.host {
        request = request.header(HOST, host);
    }
    request
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Bytes::new())
}

/// Reads as much of the body as the result needs, up to the limit. Returns whether it contains
/// the text which the check requires.
async fn read_body(
    mut response: Response,
    probe: &HttpProbe,
    progress: &mut ProbeProgress,
) -> Result<bool, FetchError> {
    let limit = match status_mismatch(probe, progress) {
        Some(_) => EXCERPT_BYTES,
        None => BODY_LIMIT,
    };
    let text = probe.body.as_deref();
    let mut is_found = text == Some("");
    while progress.body.len() < limit && !is_found {
        let Some(data) = response.chunk().await? else {
            break;
        };
        let before = progress.body.len();
        let length = data.len().min(limit - before);
        progress.body.extend_from_slice(&data[..length]);
        // The text may begin in what was read before.
        let from = before.saturating_sub(text.map_or(0, |text| text.len() - 1));
        is_found = text.is_some_and(|text| contains(&progress.body[from..], text));
    }
    Ok(is_found)
}

pub(super) fn explain(endpoint: &Endpoint, error: &FetchError) -> CheckFailure {
    let reason = match error {
        FetchError::Connect { source, .. } => return cannot_connect(endpoint, source),
        FetchError::NotHttp(_) | FetchError::TooManyBytes(_) | FetchError::BodyTooLong(_) => {
            HealthReason::MalformedResponse
        }
        FetchError::Closed(_) => {
            let detail = "closed the connection before the end of the answer";
            return failure(HealthReason::ConnectionError, detail);
        }
        FetchError::Http2(error) if !error.is_io() => HealthReason::MalformedResponse,
        FetchError::Http2(_)
        | FetchError::Resolve { .. }
        | FetchError::Request(_)
        | FetchError::TimedOut(_)
        | FetchError::Broken(_) => HealthReason::ConnectionError,
    };
    failure(reason, error.to_string())
}

/// In time that grows with the body alone. A character which the body cuts at its start or end
/// cannot be part of the text.
fn contains(body: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(body).contains(text)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::super::prober::{NetworkProber, check};
    use super::*;
    use crate::config::{HealthCheck, Probe};
    use crate::model::{CheckResult, Thresholds};

    fn plain() -> HttpProbe {
        HttpProbe {
            proxy_protocol: None,
            is_http2: false,
            method: http::Method::GET,
            path: "/health?deep=1".to_owned(),
            host: None,
            matcher: vec![(200, 200)],
            body: None,
            tls: None,
        }
    }

    fn within(timeout: Duration, probe: HttpProbe) -> HealthCheck {
        HealthCheck {
            probe: Probe::Http(probe),
            port: None,
            interval: Duration::from_secs(30),
            timeout,
            thresholds: Thresholds {
                healthy: 1,
                unhealthy: 1,
            },
        }
    }

    /// A target that reads one request and then does as told. Returns the request.
    async fn target<F, D>(behave: F) -> (SocketAddr, JoinHandle<String>)
    where
        F: FnOnce(TcpStream) -> D + Send + 'static,
        D: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let request = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            behave(stream).await;
            String::from_utf8(request).unwrap()
        });
        (addr, request)
    }

    async fn ask(probe: HttpProbe, answer: impl Into<Vec<u8>>) -> CheckResult {
        let answer = answer.into();
        let (addr, _) = target(async move |mut stream| {
            // The check may hang up before it has taken all of it.
            let _ = stream.write_all(&answer).await;
        })
        .await;
        check(
            &NetworkProber,
            &addr.into(),
            &within(Duration::from_secs(10), probe),
        )
        .await
    }

    fn reason(result: &CheckResult) -> HealthReason {
        result.outcome.as_ref().unwrap_err().reason
    }

    fn detail(result: &CheckResult) -> &str {
        &result.outcome.as_ref().unwrap_err().detail
    }

    #[tokio::test]
    async fn the_request_asks_what_was_configured_and_closes() {
        let probe = HttpProbe {
            method: http::Method::HEAD,
            host: Some("todo.example".to_owned()),
            ..plain()
        };
        let (addr, request) = target(async |mut stream| {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        })
        .await;
        let result = check(
            &NetworkProber,
            &addr.into(),
            &within(Duration::from_secs(10), probe),
        )
        .await;
        assert_eq!(result.outcome, Ok(()));
        assert_eq!(result.status, Some(200));
        let request = request.await.unwrap().to_lowercase();
        assert!(
            request.starts_with("head /health?deep=1 http/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("host: todo.example\r\n"), "{request}");
        assert!(request.contains("connection: close\r\n"), "{request}");
        assert!(
            request.contains("user-agent: weir-healthchecker/"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn another_port_can_be_asked_and_the_host_is_the_address_asked() {
        let (addr, request) = target(async |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        })
        .await;
        let mut other_port = within(Duration::from_secs(10), plain());
        other_port.port = Some(addr.port());
        let registered = SocketAddr::new(addr.ip(), 1);
        let result = check(&NetworkProber, &registered.into(), &other_port).await;
        assert_eq!(result.outcome, Ok(()));
        let request = request.await.unwrap();
        assert!(request.contains(&format!("host: {addr}\r\n")), "{request}");
    }

    #[tokio::test]
    async fn a_status_outside_the_matcher_is_a_mismatch_with_an_excerpt() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nno\nspace\x1b";
        let result = ask(plain(), answer).await;
        assert_eq!(reason(&result), HealthReason::ResponseCodeMismatch);
        assert_eq!(detail(&result), r#"status 503, body "no\nspace\u{1b}""#);
        assert_eq!(result.status, Some(503));
    }

    #[tokio::test]
    async fn matcher_lists_and_ranges_are_inclusive() {
        let cases = [
            (200, true),
            (204, true),
            (299, false),
            (300, true),
            (399, true),
            (400, false),
        ];
        for (status, passes) in cases {
            let probe = HttpProbe {
                matcher: vec![(200, 200), (204, 204), (300, 399)],
                ..plain()
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            let result = ask(probe, answer).await;
            assert_eq!(result.outcome.is_ok(), passes, "{status}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let answer = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
        let result = ask(plain(), answer).await;
        assert_eq!(reason(&result), HealthReason::ResponseCodeMismatch);
        assert_eq!(detail(&result), "status 302");
    }

    #[tokio::test]
    async fn the_body_must_contain_the_text_within_its_first_64_kib() {
        let probe = || HttpProbe {
            body: Some("ready".to_owned()),
            ..plain()
        };
        let answer = |padding: usize| {
            let body = format!("{}ready", ".".repeat(padding));
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        assert_eq!(ask(probe(), answer(BODY_LIMIT - 5)).await.outcome, Ok(()));
        let late = ask(probe(), answer(BODY_LIMIT - 4)).await;
        assert_eq!(reason(&late), HealthReason::ResponseBodyMismatch);
        assert!(
            detail(&late).starts_with("no \"ready\" in body \"...."),
            "{late:?}"
        );
    }

    #[tokio::test]
    async fn an_endless_body_is_read_to_the_limit_and_no_further() {
        let (addr, _target) = target(async |mut stream| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
            stream.write_all(head).await.unwrap();
            // Ends when the check hangs up.
            while stream.write_all(&[b'.'; 4096]).await.is_ok() {}
        })
        .await;
        let result = check(
            &NetworkProber,
            &addr.into(),
            &within(Duration::from_secs(10), plain()),
        )
        .await;
        assert_eq!(result.outcome, Ok(()));
    }

    /// A target that sends `head` and then the same again and again. Returns what it could send
    /// before the check hung up.
    async fn flood(
        head: &'static [u8],
        again: &'static [u8],
        probe: HttpProbe,
    ) -> (CheckResult, usize) {
        let (told, sent) = tokio::sync::oneshot::channel();
        let (addr, _target) = target(async move |mut stream| {
            let chunk = again.repeat(64 * 1024 / again.len());
            let mut sent = head.len();
            // Ends when the check hangs up.
            if stream.write_all(head).await.is_ok() {
                while let Ok(length @ 1..) = stream.write(&chunk).await {
                    sent += length;
                }
            }
            told.send(sent).unwrap();
        })
        .await;
        let limit = Duration::from_secs(10);
        let result = check(&NetworkProber, &addr.into(), &within(limit, probe)).await;
        (result, sent.await.unwrap())
    }

    /// What the kernel takes in beside what is read.
    const SOCKET_BUFFERS: usize = 16 << 20;

    #[tokio::test]
    async fn interim_responses_without_end_are_read_to_the_limit() {
        let (result, sent) = flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n", plain()).await;
        assert_eq!(reason(&result), HealthReason::MalformedResponse);
        let expected = format!("sends more than {ANSWER_LIMIT} bytes");
        assert_eq!(detail(&result), expected);
        assert!(sent < SOCKET_BUFFERS, "{sent}");
    }

    #[tokio::test]
    async fn chunks_without_end_are_read_to_the_limit() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (result, sent) = flood(head, b"1\r\n.\r\n", plain()).await;
        assert_eq!(reason(&result), HealthReason::MalformedResponse);
        assert!(sent < SOCKET_BUFFERS, "{sent}");
    }

    #[tokio::test]
    async fn what_follows_the_verdict_is_not_waited_for() {
        let wanted = HttpProbe {
            body: Some("ready".to_owned()),
            ..plain()
        };
        // Neither target ever ends its body.
        let cases = [
            ("200 OK", Ok(())),
            ("503 X", Err(HealthReason::ResponseCodeMismatch)),
        ];
        for (status, expected) in cases {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: 99999\r\n\r\n");
            let (addr, _target) = target(async move |mut stream| {
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(&[b'.'; 1000]).await.unwrap();
                stream.write_all(b"rea").await.unwrap();
                stream.flush().await.unwrap();
                stream.write_all(b"dy").await.unwrap();
                let _ = stream.read(&mut [0]).await;
            })
            .await;
            let limit = Duration::from_secs(60);
            let result = check(&NetworkProber, &addr.into(), &within(limit, wanted.clone())).await;
            assert_eq!(result.outcome.map_err(|failure| failure.reason), expected);
            assert!(result.elapsed < limit);
        }
    }

    #[tokio::test]
    async fn a_body_that_drips_for_ever_is_a_timeout() {
        let (addr, _target) = target(async |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while stream.write_all(b".").await.is_ok() {
                tick.tick().await;
            }
        })
        .await;
        let limit = Duration::from_millis(100);
        let result = check(&NetworkProber, &addr.into(), &within(limit, plain())).await;
        assert_eq!(reason(&result), HealthReason::Timeout);
        assert_eq!(
            detail(&result),
            "status 200, but no whole body within 100ms"
        );
        assert!(result.elapsed >= limit);
    }

    #[tokio::test]
    async fn a_wrong_status_is_the_reason_even_if_its_body_drips() {
        let (addr, _target) = target(async |mut stream| {
            let head = b"HTTP/1.1 500 X\r\nContent-Length: 50\r\n\r\nbroken";
            stream.write_all(head).await.unwrap();
            // Holds the connection until the check hangs up.
            let _ = stream.read(&mut [0]).await;
        })
        .await;
        let limit = Duration::from_millis(100);
        let result = check(&NetworkProber, &addr.into(), &within(limit, plain())).await;
        assert_eq!(reason(&result), HealthReason::ResponseCodeMismatch);
        assert_eq!(detail(&result), r#"status 500, body "broken""#);
    }

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let (addr, _target) = target(async |mut stream| {
            let _ = stream.read(&mut [0]).await;
        })
        .await;
        let limit = Duration::from_millis(50);
        let result = check(&NetworkProber, &addr.into(), &within(limit, plain())).await;
        assert_eq!(reason(&result), HealthReason::Timeout);
        assert_eq!(detail(&result), "no answer within 50ms");
    }

    #[tokio::test]
    async fn garbage_is_malformed() {
        let garbage = [
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "\0\0\0\0\0\r\n\r\n",
        ];
        for answer in garbage {
            let result = ask(plain(), answer).await;
            assert_eq!(
                reason(&result),
                HealthReason::MalformedResponse,
                "{result:?}"
            );
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(1 << 20));
        let result = ask(plain(), endless).await;
        assert_eq!(
            reason(&result),
            HealthReason::MalformedResponse,
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn closing_early_is_a_connection_error() {
        for answer in [
            "",
            "HTTP/1.1 20",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour",
        ] {
            let result = ask(plain(), answer).await;
            assert_eq!(
                reason(&result),
                HealthReason::ConnectionError,
                "{answer}: {result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_a_connection_error() {
        let addr = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let result = check(
            &NetworkProber,
            &addr.into(),
            &within(Duration::from_secs(10), plain()),
        )
        .await;
        assert_eq!(reason(&result), HealthReason::ConnectionError);
        assert_eq!(result.status, None);
    }
}
