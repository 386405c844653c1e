//! A Docker Engine, for the providers that have one behind them.
//!
//! Every call ends within its limit, tells an engine that does not answer from one that
//! refuses and one that answers nonsense, and takes in a bounded answer where Weir reads it
//! itself. What bollard's models do not have is read as JSON: the addresses of a Swarm task,
//! and the specification of a service, which must go back exactly as it came.

mod doors;
#[cfg(test)]
pub(super) mod fake;
mod meter;
mod pace;
#[cfg(test)]
pub(super) mod real;
mod wire;

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::replicas::ProviderError;
pub(super) use doors::Doors;
pub(super) use meter::{Limits, Meter, Subject};
pub(super) use pace::Pace;
use wire::Wire;

/// For an answer that needs no work: a busy engine takes half a second.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// More replicas of one group than this is not what anybody meant.
pub(super) const MOST_REPLICAS: usize = 10_000;

/// A connection to an engine: the version is agreed, sockets are opened for each call.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    docker: Docker,
    wire: Wire,
}

impl Engine {
    /// Asks the engine at `host` which version of the API it speaks.
    pub(super) async fn connect(host: &str) -> Result<Self, ProviderError> {
        let docker = Docker::connect_with_host(host).map_err(explain)?;
        let docker = docker.with_timeout(LIMIT);
        let docker = within(LIMIT, docker.negotiate_version()).await?;
        let version = docker.client_version();
        debug_assert!(version <= *API_DEFAULT_VERSION);
        let wire = Wire::new(host, &version.to_string());
        Ok(Self { docker, wire })
    }

    /// For calls that bollard knows. Wrap them in [`within`].
    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The JSON document at a path; `None` when there is none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, ProviderError> {
        let answer = self.wire.exchange(Method::GET, path, None);
        let (status, body) = limited(LIMIT, answer).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(nonsense),
            _ => Err(refusal(&body)),
        }
    }

    /// Sends a JSON document; `false` when the version it was made from is not the newest.
    pub(super) async fn replace(&self, path: &str, value: &Value) -> Result<bool, ProviderError> {
        let answer = self.wire.exchange(Method::POST, path, Some(value));
        let (status, body) = limited(LIMIT, answer).await?;
        if status.is_success() {
            return Ok(true);
        }
        match refusal(&body) {
            error if is_conflict(&error) => Ok(false),
            error => Err(error),
        }
    }
}

/// A call of bollard's with a deadline for all of it; its own is for the head of the answer.
/// On the heap: bollard's futures have some 18 kB.
pub(super) fn within<'a, T: 'a>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>> {
    Box::pin(limited(limit, async { call.await.map_err(explain) }))
}

async fn limited<T, E: Into<ProviderError>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, ProviderError> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ProviderError::Unreachable(format!(
            "nothing within {limit:?}"
        ))),
    }
}

/// Whether an error means that there is no such thing.
pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the engine refused because somebody else was faster. Swarm's message comes with
/// status 500 before version 23 of the engine.
pub(super) fn is_conflict(error: &ProviderError) -> bool {
    let said = |message: &String| {
        ["out of sequence", "already exists"]
            .iter()
            .any(|sign| message.contains(sign))
    };
    matches!(error, ProviderError::Refused(message) if said(message))
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What an error of bollard's means for Weir.
pub(super) fn explain(error: Error) -> ProviderError {
    match error {
        Error::DockerResponseServerError { message, .. } => ProviderError::Refused(tidy(&message)),
        Error::SocketNotFoundError(path) => {
            ProviderError::Unreachable(format!("there is no socket at {path}"))
        }
        Error::RequestTimeoutError => ProviderError::Unreachable("no answer in time".to_owned()),
        Error::UnsupportedURISchemeError { uri } => {
            ProviderError::Refused(format!("`{uri}` is neither unix:// nor tcp://"))
        }
        error @ (Error::JsonDataError { .. }
        | Error::JsonSerdeError { .. }
        | Error::APIVersionParseError {}
        | Error::StrParseError { .. }) => nonsense(error),
        error => ProviderError::Unreachable(whole(&error)),
    }
}

/// The error and its causes: those of the HTTP client say little without.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let deeper_text = deeper.to_string();
        if !text.ends_with(&deeper_text) {
            text = format!("{text}: {deeper_text}");
        }
        cause = deeper.source();
    }
    tidy(&text)
}

pub(super) fn nonsense(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Nonsense(tidy(&error.to_string()))
}

/// What the body of an error says.
fn refusal(body: &[u8]) -> ProviderError {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let message = value.as_ref().and_then(|value| value["message"].as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    ProviderError::Refused(tidy(&text))
}

/// One line of bounded length, for logs and the status page.
fn tidy(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A name as one segment of a path, or a value of a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_unreachable() {
        let error = Engine::connect("unix:///no/such.sock").await.unwrap_err();
        let text = error.to_string();
        assert_eq!(
            text,
            "the engine does not answer: there is no socket at /no/such.sock"
        );
        let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = refused.local_addr().unwrap();
        drop(refused);
        let error = Engine::connect(&format!("tcp://{address}")).await;
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("the engine does not answer: "), "{text}");
        assert!(text.contains("refused"), "{text}");
    }

    #[tokio::test]
    async fn a_host_of_another_kind_is_refused() {
        let error = Engine::connect("ssh://somewhere").await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused(_)), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_engines_words() {
        let fake = Fake::start(|request| match request.path() {
            "/version" => (200, r#"{"ApiVersion":"1.41"}"#.to_owned()),
            "/v1.41/broken" => (500, r#"{"message":"disk\n full"}"#.to_owned()),
            "/v1.41/nonsense" => (200, "<html>".to_owned()),
            _ => (404, r#"{"message":"page not found"}"#.to_owned()),
        });
        let engine = Engine::connect(&fake.host()).await.unwrap();
        let get = async |path: &str| engine.get::<Value>(path).await;
        assert_eq!(get("/missing").await.unwrap(), None);
        let error = get("/broken").await.unwrap_err().to_string();
        assert_eq!(error, "the engine refused: disk full");
        let error = get("/nonsense").await.unwrap_err();
        assert!(matches!(error, ProviderError::Nonsense(_)), "{error}");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_refused() {
        let fake = Fake::start(|request| match request.path() {
            "/version" => (200, r#"{"ApiVersion":"1.41"}"#.to_owned()),
            _ => (200, format!("[{}]", "1,".repeat(wire::LARGEST))),
        });
        let engine = Engine::connect(&fake.host()).await.unwrap();
        let error = engine.get::<Value>("/tasks").await.unwrap_err();
        assert!(matches!(error, ProviderError::Nonsense(_)), "{error}");
    }

    #[tokio::test]
    async fn an_older_version_is_a_conflict_and_no_error() {
        let message = "rpc error: code = Unknown desc = update out of sequence";
        let conflict = format!(r#"{{"message":"{message}"}}"#);
        let fake = Fake::start(move |request| {
            if request.path() == "/version" {
                return (200, r#"{"ApiVersion":"1.41"}"#.to_owned());
            }
            (500, conflict.clone())
        });
        let engine = Engine::connect(&fake.host()).await.unwrap();
        let is_done = engine.replace("/services/a/update", &Value::Null).await;
        assert!(!is_done.unwrap());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let text = tidy(&"ä".repeat(1000));
        assert_eq!(text.chars().count(), 301);
    }
}
