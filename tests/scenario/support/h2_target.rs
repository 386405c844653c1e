//! Targets that speak HTTP/2, frame by frame as a test decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A connection of a client.
pub type H2Connection = server::Connection<TcpStream, Bytes>;

/// A target on a free port; it ends when dropped, with all its connections.
pub struct H2Target {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl H2Target {
    /// Serves each request as `handler` does.
    pub async fn with<F, R>(builder: server::Builder, handler: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::scripted(builder, move |_, connection| {
            let handler = handler.clone();
            serve(connection, handler)
        })
        .await
    }

    /// Answers each request with a body and nothing else.
    pub async fn answering(body: &'static str) -> Self {
        Self::with(server::Builder::new(), move |_, respond| async move {
            answer(respond, Response::new(()), body);
        })
        .await
    }

    /// Gives each connection to `script`, with its number from 0 on.
    pub async fn scripted<F, R>(builder: server::Builder, script: F) -> Self
    where
        F: Fn(usize, H2Connection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (Arc::clone(&connections), Arc::new(script));
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (builder, script) = (builder.clone(), Arc::clone(&script));
                tasks.spawn(async move {
                    if let Ok(connection) = builder.handshake(stream).await {
                        script(number, connection).await;
                    }
                });
            }
        });
        Self {
            addr,
            connections,
            task: task.abort_handle(),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections ever accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for H2Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the requests of a connection until it ends.
pub async fn serve<F, R>(mut connection: H2Connection, handler: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let mut requests = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        requests.spawn(handler(request, respond));
    }
}

/// Sends a response with a body.
pub fn answer(mut respond: SendResponse<Bytes>, head: Response<()>, body: impl Into<Bytes>) {
    let body = body.into();
    // Fails if the client has left, which some tests are about.
    if let Ok(mut stream) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        let _ = stream.send_data(body, true);
    }
}

/// The whole body of a request; what came of it if it broke off.
pub async fn read_body(mut body: RecvStream) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        read.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    read
}
