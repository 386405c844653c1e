//! A target behind a Unix socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::task::{AbortHandle, JoinSet};

use super::backend::{Answer, answer};

/// Answers each request with the fields that it got. It ends when dropped, and leaves its file.
pub struct UnixTarget {
    path: PathBuf,
    /// Connections on which there was a request that is no health check.
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl UnixTarget {
    pub fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, connections) = (AtomicUsize::new(0), Arc::clone(&shared));
                served.spawn(async move {
                    let service = service_fn(|request| {
                        let is_check = request.uri().path() == "/health";
                        if !is_check && requests.fetch_add(1, Ordering::SeqCst) == 0 {
                            connections.fetch_add(1, Ordering::SeqCst);
                        }
                        let answer = fields(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let stream = TokioIo::new(stream);
                    // An error means that the other side broke the connection.
                    let _ = http1::Builder::new()
                        .serve_connection(stream, service)
                        .await;
                });
                while served.try_join_next().is_some() {}
            }
        });
        Self {
            path: path.to_owned(),
            connections,
            task: task.abort_handle(),
        }
    }

    /// As a configuration names it.
    pub fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Connections ever accepted, those of health checks not counted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A check passes if it asks for `localhost`.
fn fields(request: &http::Request<Incoming>) -> Answer {
    let lines: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    let is_sick = request.uri().path() == "/health" && request.headers()["host"] != "localhost";
    answer(if is_sick { 503 } else { 200 }, lines.join("\n"))
}

impl Drop for UnixTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}
