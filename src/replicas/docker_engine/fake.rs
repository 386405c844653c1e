//! A fake Docker Engine on a Unix socket, with the answers of the test.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// Dropping it ends the engine.
pub(crate) struct Fake {
    folder: TempDir,
    received: Arc<Mutex<Vec<Received>>>,
    _server: JoinSet<()>,
}

/// A request that the engine received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    method: Method,
    target: String,
    body: Value,
}

impl Received {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Method and path without the version.
    pub(crate) fn call(&self) -> String {
        format!(
            "{} {}",
            self.method,
            self.path().trim_start_matches("/v1.41")
        )
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(crate) fn body(&self) -> &Value {
        &self.body
    }
}

impl Fake {
    /// Starts an engine of version 1.41. `answer` returns the status and body of each response;
    /// with status 0 there is none.
    pub(crate) fn start<F>(answer: F) -> Self
    where
        F: FnMut(&Received) -> (u16, String) + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let received = Arc::default();
        let mut server = JoinSet::new();
        let answer = Arc::new(Mutex::new(answer));
        server.spawn(serve(listener, answer, Arc::clone(&received)));
        Self {
            folder,
            received,
            _server: server,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    /// All requests so far, except those about the version.
    pub(crate) fn received(&self) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .filter(|request| request.path() != "/version")
            .cloned()
            .collect()
    }
}

async fn serve<F>(
    listener: UnixListener,
    answer: Arc<Mutex<F>>,
    received: Arc<Mutex<Vec<Received>>>,
) where
    F: FnMut(&Received) -> (u16, String) + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, received) = (answer.clone(), received.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, received) = (answer.clone(), received.clone());
            async move {
                let request = receive(request).await;
                received.lock().unwrap().push(request.clone());
                let (status, body) = (answer.lock().unwrap())(&request);
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let body = Full::new(Bytes::from(body));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        connections.spawn(async move {
            // Fails if the client closes early, which the test sees.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn receive(request: Request<Incoming>) -> Received {
    let (head, body) = request.into_parts();
    // The client puts a version of its own before `/version`.
    let target = head.uri.to_string();
    let target = if target.ends_with("/version") {
        "/version".to_owned()
    } else {
        target
    };
    let body = body.collect().await.unwrap().to_bytes();
    Received {
        method: head.method,
        target,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}
