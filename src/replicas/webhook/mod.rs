//! Replicas that an HTTP service of the operator runs: `GET` lists them, `PUT` sets how many
//! there are.
//!
//! Each call is a connection of its own with a deadline, no redirect is followed, and at most
//! a mebibyte of a response is read.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};

use crate::config::{Replicas, Runner, Token, WebhookRunner};
use crate::net::fetch::{self, Connection as HttpConnection, Url, answer_limit};
use crate::replicas::excerpt::excerpt;
use crate::replicas::polled_list::{LIST_LIMIT, PolledList};
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId};

const AGENT: &str = concat!("Weir/", env!("CARGO_PKG_VERSION"));

/// Calls the service. Each call fails before it is configured.
#[derive(Debug, Default)]
pub struct Webhook {
    service: Option<Service>,
    list: PolledList,
}

#[derive(Debug)]
struct Service {
    url: Url,
    authorization: Option<HeaderValue>,
    interval: Duration,
    timeout: Duration,
}

impl Webhook {
    async fn call(&mut self, method: Method, body: String) -> Result<Bytes, ProviderError> {
        let service = self.service.as_ref().ok_or(ProviderError::OtherRunner)?;
        fetch::within(service.timeout, service.call(method, body)).await
    }
}

#[async_trait]
impl Provider for Webhook {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Webhook(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        self.service = Some(Service::new(settings)?);
        self.list.expire();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
        self.list.expire();
        let body = serde_json::json!({ "desired": count }).to_string();
        self.call(Method::PUT, body).await.map(drop)
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        if let Some(fleet) = self.list.current() {
            return Ok(fleet.clone());
        }
        let text = self.call(Method::GET, String::new()).await?;
        self.list.update(&text)
    }

    fn timeout(&self) -> Option<Duration> {
        self.service.as_ref().map(|service| service.timeout)
    }

    async fn changed(&mut self) {
        match &self.service {
            Some(service) => self.list.expired(service.interval).await,
            None => std::future::pending().await,
        }
    }
}

impl Service {
    fn new(settings: &WebhookRunner) -> Result<Self, ProviderError> {
        let refuse = |why: String| ProviderError::Refused(format!("{}: {why}", settings.url));
        let url = settings.url.parse();
        Ok(Self {
            url: url.map_err(|error: fetch::UrlError| refuse(error.to_string()))?,
            authorization: settings
                .token
                .as_ref()
                .map(bearer)
                .transpose()
                .map_err(|_| refuse("the token cannot be sent in a header".to_owned()))?,
            interval: settings.interval,
            timeout: settings.timeout,
        })
    }

    async fn call(&self, method: Method, body: String) -> Result<Bytes, ProviderError> {
        let request = self
            .request(&method, body)
            .map_err(fetch::FetchError::from)?;
        let connection =
            HttpConnection::open(&self.url.destination, answer_limit(LIST_LIMIT)).await?;
        let response = connection.send(request).await?;
        let status = response.status();
        let body = response.bytes(LIST_LIMIT).await;
        if status.is_success() {
            return Ok(body?);
        }
        // The text of a refusal matters more than whether it arrives to its end.
        let text = excerpt(body.unwrap_or_default());
        let refusal = format!("{method} answered {status}, \"{text}\"");
        Err(ProviderError::Refused(refusal))
    }

    fn request(&self, method: &Method, body: String) -> http::Result<Request<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.url.path)
            .header(HOST, &self.url.host)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(body.into())
    }
}

fn bearer(Token(token): &Token) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::replicas::fixture::processes;

    const LONG: Duration = Duration::from_secs(20);

    fn settings(url: &str, timeout: Duration) -> Replicas {
        Replicas {
            runner: Runner::Webhook(WebhookRunner {
                url: url.to_owned(),
                token: Some(Token("secret".to_owned())),
                interval: Duration::from_secs(60),
                timeout,
            }),
            ..processes(1, &[])
        }
    }

    async fn webhook(url: &str, timeout: Duration) -> Webhook {
        let mut webhook = Webhook::default();
        webhook.configure(&settings(url, timeout)).await.unwrap();
        webhook
    }

    /// A service that answers one request after another. Returns the requests.
    async fn service(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/scale?a=b", listener.local_addr().unwrap());
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let is_whole = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_lowercase();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let mut lines = head.lines();
                    let length = lines.find_map(|l| l.strip_prefix("content-length: "));
                    let length: usize = length.map_or(0, |length| length.parse().unwrap());
                    (body.len() == length).then_some(())
                };
                while is_whole(&request).is_none() {
                    request.push(stream.read_u8().await.unwrap());
                }
                requests.push(String::from_utf8(request).unwrap().to_lowercase());
                // The caller may have closed the connection.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            requests
        });
        (url, requests)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    async fn error(answer: String) -> String {
        let (url, _) = service(vec![answer]).await;
        let mut webhook = webhook(&url, LONG).await;
        webhook.fleet().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn get_lists_and_put_scales() {
        let list = r#"{"desired": 1, "replicas": [{"id": "a", "address": "10.0.0.1:80"}]}"#;
        let list = || answer("200 OK", list);
        let (url, requests) = service(vec![list(), answer("202 Accepted", ""), list()]).await;
        let mut webhook = webhook(&url, LONG).await;
        let fleet = webhook.fleet().await.unwrap();
        assert_eq!((fleet.desired, fleet.replicas.len()), (1, 1));
        assert_eq!(webhook.fleet().await.unwrap(), fleet, "still known");
        webhook.set_count(2, &[]).await.unwrap();
        webhook.fleet().await.unwrap();
        let requests = requests.await.unwrap();
        assert!(requests[0].starts_with("get /scale?a=b http/1.1\r\n"));
        assert!(requests[1].starts_with("put /scale?a=b http/1.1\r\n"));
        assert!(
            requests[1].ends_with("\r\n\r\n{\"desired\":2}"),
            "{}",
            requests[1]
        );
        for request in &requests {
            assert!(request.contains("authorization: bearer secret\r\n"));
            assert!(request.contains("\r\nhost: 127.0.0.1:"));
        }
    }

    #[tokio::test]
    async fn only_a_success_is_accepted() {
        let refused = error(answer("403 Forbidden", "no\nquota")).await;
        let expected = "the engine refused: GET answered 403 Forbidden, \"no quota\"";
        assert_eq!(refused, expected);
        let moved = error("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".into());
        assert!(moved.await.contains("answered 302 Found"));
        let nonsense = error(answer("200 OK", "hello")).await;
        assert!(nonsense.starts_with("the engine answered nonsense: expected value"));
        let cut = error("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".into()).await;
        assert!(cut.starts_with("the engine does not answer: "), "{cut}");
        let garbage = error("SSH-2.0-OpenSSH\r\n\r\n".into()).await;
        assert!(
            garbage.starts_with("the engine does not answer: "),
            "{garbage}"
        );
    }

    #[tokio::test]
    async fn a_response_without_end_is_cut() {
        let huge = answer("200 OK", &" ".repeat(LIST_LIMIT + 1));
        let expected = "the engine answered nonsense: answers with more than 1048576 bytes";
        assert_eq!(error(huge).await, expected);
    }

    #[tokio::test]
    async fn interim_responses_without_end_are_cut() {
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(128 * 1024);
        let expected = "the engine does not answer: sends more than 2162688 bytes";
        assert_eq!(error(many).await, expected);
    }

    #[tokio::test]
    async fn a_silent_service_and_a_missing_one_differ() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut silent = webhook(&url, Duration::from_millis(50)).await;
        let error = silent.fleet().await.unwrap_err().to_string();
        assert_eq!(error, "the engine does not answer: no answer within 50ms");
        drop(listener);
        let mut absent = webhook(&url, LONG).await;
        let error = absent.fleet().await.unwrap_err().to_string();
        assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn urls_that_cannot_be_called_are_refused() {
        for url in ["https://10.0.0.1/", "/path", "10.0.0.1:80", "http://", ""] {
            let mut webhook = Webhook::default();
            let refused = webhook.configure(&settings(url, LONG)).await;
            assert!(refused.is_err(), "{url}");
        }
    }
}
