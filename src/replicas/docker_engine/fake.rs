//! A Docker Engine that answers as the test says, on a Unix socket.

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
pub(in super::super) struct Fake {
    folder: TempDir,
    seen: Arc<Mutex<Vec<Asked>>>,
    _server: JoinSet<()>,
}

/// A request as the engine got it.
#[derive(Clone, Debug)]
pub(in super::super) struct Asked {
    method: Method,
    target: String,
    body: Value,
}

impl Asked {
    pub(in super::super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Method and path without the version.
    pub(in super::super) fn call(&self) -> String {
        format!(
            "{} {}",
            self.method,
            self.path().trim_start_matches("/v1.41")
        )
    }

    pub(in super::super) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub(in super::super) fn body(&self) -> &Value {
        &self.body
    }
}

impl Fake {
    /// An engine of version 1.41 whose answers are a status and a body. It never answers when
    /// the status is 0.
    pub(in super::super) fn start<F>(answer: F) -> Self
    where
        F: FnMut(&Asked) -> (u16, String) + Send + 'static,
    {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::new(Mutex::new(answer)), seen.clone()));
        Self {
            folder,
            seen,
            _server: server,
        }
    }

    pub(in super::super) fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.folder.path().display())
    }

    /// All requests so far, but for those about the version.
    pub(in super::super) fn seen(&self) -> Vec<Asked> {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter(|asked| asked.path() != "/version");
        asked.cloned().collect()
    }
}

async fn serve<F>(listener: UnixListener, answer: Arc<Mutex<F>>, seen: Arc<Mutex<Vec<Asked>>>)
where
    F: FnMut(&Asked) -> (u16, String) + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, seen) = (answer.clone(), seen.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, seen) = (answer.clone(), seen.clone());
            async move {
                let asked = take_in(request).await;
                seen.lock().unwrap().push(asked.clone());
                let (status, body) = (answer.lock().unwrap())(&asked);
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let body = Full::new(Bytes::from(body));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        connections.spawn(async move {
            // A client that hangs up is the test's own business.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn take_in(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    // `/version` is asked with a version of the client's own before it.
    let target = head.uri.to_string();
    let target = if target.ends_with("/version") {
        "/version".to_owned()
    } else {
        target
    };
    let body = body.collect().await.unwrap().to_bytes();
    Asked {
        method: head.method,
        target,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}
