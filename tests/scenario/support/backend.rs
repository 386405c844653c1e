//! Targets that behave as a test decides.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::soon;

/// A response with any body.
pub type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// A target on a free port; it ends when dropped, with all its connections.
pub struct Backend {
    addr: SocketAddr,
    counts: Arc<Counts>,
    held: Option<mpsc::UnboundedReceiver<Held>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    failing: AtomicBool,
}

/// A request that waits for the test to answer it.
pub struct Held {
    /// The head, with the body read to its end.
    pub request: Request<Bytes>,
    answer: oneshot::Sender<Answer>,
}

impl Held {
    /// Answers 200 with a body.
    pub fn respond(self, body: &'static str) {
        // Fails if the connection was closed, which some tests are about.
        let _ = self.answer.send(answer(200, body));
    }

    /// Whether the request's connection was closed meanwhile.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// A response with a body from a channel.
pub fn streamed(chunks: Arc<tokio::sync::Mutex<mpsc::Receiver<Bytes>>>) -> Answer {
    let frames = futures_util::stream::unfold(chunks, |chunks| async move {
        let chunk = chunks.lock().await.recv().await?;
        Some((Ok(http_body::Frame::data(chunk)), chunks))
    });
    Response::new(BoxBody::new(http_body_util::StreamBody::new(frames)))
}

/// A port that refuses connections, and that no other socket can get while this lives.
pub struct Refusing(TcpSocket);

impl Refusing {
    pub fn new() -> Self {
        // Bound and never listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// A plain response.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed();
    Response::builder().status(status).body(body).unwrap()
}

impl Backend {
    /// Answers 200 with its name; `/health` answers 503 after [`Backend::fail_health`].
    pub async fn answering(name: &'static str) -> Self {
        Self::with(move |_| async move { answer(200, name) }).await
    }

    /// Answers with the fields of the request, a line each.
    pub async fn showing_fields() -> Self {
        Self::with(|request| async move {
            let fields = request.headers().iter();
            let lines =
                fields.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
            answer(200, lines.collect::<String>())
        })
        .await
    }

    /// Answers with the body of the request.
    pub async fn echoing() -> Self {
        Self::with(|request| async move {
            match request.into_body().collect().await {
                Ok(body) => answer(200, body.to_bytes()),
                Err(_) => answer(400, "broken"),
            }
        })
        .await
    }

    /// Sends back the bytes it gets, and ends when they do.
    pub async fn echoing_bytes() -> Self {
        Self::raw(|mut stream| async move {
            let (mut from, mut to) = stream.split();
            // An error is one way for the connection to end.
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
        .await
    }

    /// Answers as `handler` does.
    pub async fn with<F, R>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        Self::at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    /// Answers as `handler` does, on a given address, for targets that come back.
    pub async fn at<F, R>(addr: SocketAddr, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Answer> + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::listen(addr, move |stream, counts| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (handler, counts) = (Arc::clone(&handler), Arc::clone(&counts));
                    async move {
                        if request.uri().path() == "/health" {
                            let failing = counts.failing.load(Ordering::SeqCst);
                            let answer = if failing {
                                answer(503, "sick")
                            } else {
                                answer(200, "well")
                            };
                            return Ok::<_, Infallible>(answer);
                        }
                        counts.requests.fetch_add(1, Ordering::SeqCst);
                        Ok(handler(request).await)
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // An error means that the other side broke the connection.
                let _ = served.await;
            })
        })
        .await
    }

    /// Hands each connection to `script`, for targets that break the rules.
    pub async fn raw<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::listen("127.0.0.1:0".parse().unwrap(), move |stream, counts| {
            counts.requests.fetch_add(1, Ordering::SeqCst);
            let script = Arc::clone(&script);
            Box::pin(async move { script(stream).await })
        })
        .await
    }

    /// Hands each request to the test and waits for its answer.
    pub async fn manual() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut backend = Self::with(move |request| {
            let sender = sender.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = match body.collect().await {
                    Ok(collected) => collected.to_bytes(),
                    Err(_) => return answer(400, "broken"),
                };
                let (sink, answered) = oneshot::channel();
                let request = Request::from_parts(parts, body);
                let held = Held {
                    request,
                    answer: sink,
                };
                sender.send(held).unwrap();
                answered
                    .await
                    .unwrap_or_else(|_| answer(500, "not answered"))
            }
        })
        .await;
        backend.held = Some(receiver);
        backend
    }

    /// The next request a manual backend got.
    pub async fn next_request(&mut self) -> Held {
        let held = self
            .held
            .as_mut()
            .expect("only a manual backend holds requests");
        soon("a request for the target", held.recv()).await.unwrap()
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests other than health checks; connections, for a raw backend.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Connections ever accepted, health checks included.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Whether `/health` answers 503 from now on.
    pub fn fail_health(&self, failing: bool) {
        self.counts.failing.store(failing, Ordering::SeqCst);
    }

    async fn listen<S>(addr: SocketAddr, serve: S) -> Self
    where
        S: Fn(TcpStream, Arc<Counts>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let served = serve(stream, Arc::clone(&shared));
                let counts = Arc::clone(&shared);
                connections.spawn(async move {
                    served.await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            addr,
            counts,
            held: None,
            task: task.abort_handle(),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
