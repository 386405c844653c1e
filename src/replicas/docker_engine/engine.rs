//! The calls to a Docker Engine.

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

use super::error::{explain, is_conflict, nonsense, refusal};
use super::wire::Wire;
use crate::replicas::ProviderError;

/// For an answer that needs no work: a busy engine takes half a second.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// More replicas of one group than this are taken for a mistake.
pub(crate) const MOST_REPLICAS: usize = 10_000;

/// A connection to an engine: the version is agreed, sockets are opened for each call.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    docker: Docker,
    wire: Wire,
}

impl Engine {
    /// Asks the engine at `host` which version of the API it has.
    pub(crate) async fn connect(host: &str) -> Result<Self, ProviderError> {
        let docker = Docker::connect_with_host(host).map_err(explain)?;
        let docker = docker.with_timeout(CALL_TIMEOUT);
        let docker = within(CALL_TIMEOUT, docker.negotiate_version()).await?;
        let version = docker.client_version();
        debug_assert!(version <= *API_DEFAULT_VERSION);
        let wire = Wire::new(host, &version.to_string());
        Ok(Self { docker, wire })
    }

    /// For calls that bollard knows. Wrap them in [`within`].
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The JSON document at a path; `None` if there is none.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, ProviderError> {
        let answer = self.wire.exchange(Method::GET, path, None);
        let (status, body) = limited(CALL_TIMEOUT, answer).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(nonsense),
            _ => Err(refusal(&body)),
        }
    }

    /// Sends a JSON document. Returns `false` if it was made from a version that is not the
    /// newest.
    pub(crate) async fn replace(&self, path: &str, value: &Value) -> Result<bool, ProviderError> {
        let answer = self.wire.exchange(Method::POST, path, Some(value));
        let (status, body) = limited(CALL_TIMEOUT, answer).await?;
        if status.is_success() {
            return Ok(true);
        }
        match refusal(&body) {
            error if is_conflict(&error) => Ok(false),
            error => Err(error),
        }
    }
}

/// A call of bollard with a deadline for all of it; bollard's own is for the response head.
/// Boxed: bollard's futures have some 18 kB.
pub(crate) fn within<'a, T: 'a>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>> {
    Box::pin(limited(limit, async { call.await.map_err(explain) }))
}

pub(super) async fn limited<T, E: Into<ProviderError>>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, ProviderError> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ProviderError::Unreachable(format!(
            "no answer within {limit:?}"
        ))),
    }
}

/// A name as one segment of a path, or as a value of a query.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::wire;
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
    async fn a_refusal_is_reported_in_the_engines_words() {
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
}
