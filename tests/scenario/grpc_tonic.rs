//! tonic as client and as target: calls of all four kinds, plain and in TLS, with targets that drain
//! and that die in between.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, service_fn};

use crate::scenario::support::{Lb, Rig, Site, TlsClient, eventually, soon};

/// Messages that are text.
#[derive(Clone, Copy, Debug, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let mut text = vec![0; from.remaining()];
        from.copy_to_slice(&mut text);
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| Status::internal("no text"))
    }
}

type Parts = BoxStream<'static, Result<String, Status>>;

/// The service: `Exclaim`, `Split`, `Join` and `Echo`.
#[derive(Clone, Debug, Default)]
struct Words {
    calls: Arc<AtomicUsize>,
}

impl Service<http::Request<Body>> for Words {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        async move { Ok(answer(request).await) }.boxed()
    }
}

async fn answer(request: http::Request<Body>) -> http::Response<Body> {
    let mut grpc = tonic::server::Grpc::new(Text);
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/test.Words/Exclaim" => {
            let exclaim = |asked: Request<String>| async move {
                match asked.into_inner().as_str() {
                    "nothing" => Err(Status::not_found("100% nothing")),
                    text => Ok(Response::new(format!("{text}!"))),
                }
            };
            grpc.unary(service_fn(exclaim), request).await
        }
        "/test.Words/Split" => {
            let split = |asked: Request<String>| async move {
                let words = asked.into_inner();
                let words: Vec<_> = words.split(' ').map(|word| Ok(word.to_owned())).collect();
                Ok::<_, Status>(Response::new(stream::iter(words).boxed() as Parts))
            };
            grpc.server_streaming(service_fn(split), request).await
        }
        "/test.Words/Join" => {
            let join = |asked: Request<Streaming<String>>| async move {
                let mut words = Vec::new();
                let mut asked = asked.into_inner();
                while let Some(word) = asked.message().await? {
                    words.push(word);
                }
                Ok::<_, Status>(Response::new(words.join(" ")))
            };
            grpc.client_streaming(service_fn(join), request).await
        }
        _ => {
            let echo = |asked: Request<Streaming<String>>| async move {
                Ok::<_, Status>(Response::new(asked.into_inner().boxed() as Parts))
            };
            grpc.streaming(service_fn(echo), request).await
        }
    }
}

/// A server of tonic; with an acceptor it speaks TLS.
struct Target {
    addr: SocketAddr,
    calls: Arc<AtomicUsize>,
    drain: Option<oneshot::Sender<()>>,
    accepting: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Target {
    async fn start(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, incoming) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            // Dropped with this task: the death of all connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (ours, theirs) = duplex(64 * 1024);
                if sender.send(Ok::<_, std::io::Error>(theirs)).is_err() {
                    return;
                }
                connections.spawn(carry(stream, ours, acceptor.clone()));
            }
        });
        let (drain, drained) = oneshot::channel::<()>();
        let words = Words::default();
        let calls = Arc::clone(&words.calls);
        let incoming = stream::unfold(incoming, |mut incoming| async move {
            let next = incoming.recv().await?;
            Some((next, incoming))
        });
        let serving = tokio::spawn(async move {
            let signal = async move { drop(drained.await) };
            let server = Server::builder();
            server
                .serve_with_incoming_shutdown(words, incoming, signal)
                .await
                .unwrap();
        });
        Self {
            addr,
            calls,
            drain: Some(drain),
            accepting,
            serving,
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Sends GOAWAY, answers what is under way and ends.
    async fn drain(&mut self) {
        let _ = self.drain.take().map(|drain| drain.send(()));
        soon("the target to drain", &mut self.serving)
            .await
            .unwrap();
        self.accepting.abort();
    }

    /// Closes all connections as a process does that dies.
    fn kill(&self) {
        self.accepting.abort();
        self.serving.abort();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn carry(mut stream: TcpStream, mut ours: DuplexStream, acceptor: Option<TlsAcceptor>) {
    // An error is one way for a connection to end.
    match acceptor {
        None => drop(copy_bidirectional(&mut stream, &mut ours).await),
        Some(acceptor) => {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                drop(copy_bidirectional(&mut stream, &mut ours).await);
            }
        }
    }
}

/// A client whose connections are made by `connect`.
async fn channel<F, S>(connect: impl Fn() -> F + Clone + Send + Sync + 'static) -> Channel
where
    F: Future<Output = std::io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connector = service_fn(move |_: http::Uri| {
        let connecting = connect();
        async move { connecting.await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://site.example");
    let connecting = endpoint.connect_with_connector(connector);
    soon("a channel", connecting).await.unwrap()
}

async fn plain(addr: SocketAddr) -> Channel {
    channel(move || TcpStream::connect(addr)).await
}

async fn encrypted(client: TlsClient, addr: SocketAddr) -> Channel {
    let client = Arc::new(client.with_alpn(&[b"h2"]));
    channel(move || {
        let client = Arc::clone(&client);
        async move { client.connect(addr, "site.example").await }
    })
    .await
}

fn path(method: &'static str) -> PathAndQuery {
    format!("/test.Words/{method}").parse().unwrap()
}

async fn exclaim(channel: &Channel, text: &str) -> Result<String, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|e| Status::unknown(e.to_string()))?;
    let asked = Request::new(text.to_owned());
    let answered = grpc.unary(asked, path("Exclaim"), Text).await;
    answered.map(Response::into_inner)
}

async fn all_four_kinds(channel: Channel) {
    assert_eq!(exclaim(&channel, "hello").await.unwrap(), "hello!");
    let status = exclaim(&channel, "nothing").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(status.message(), "100% nothing");

    let words: Vec<String> = (0..100).map(|n| format!("word{n}")).collect();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let asked = Request::new(words.join(" "));
    let split = grpc.server_streaming(asked, path("Split"), Text).await;
    let split: Vec<_> = split.unwrap().into_inner().collect().await;
    let split: Result<Vec<String>, Status> = split.into_iter().collect();
    assert_eq!(split.unwrap(), words);

    grpc.ready().await.unwrap();
    let asked = Request::new(stream::iter(words.clone()));
    let joined = grpc.client_streaming(asked, path("Join"), Text).await;
    assert_eq!(joined.unwrap().into_inner(), words.join(" "));

    let (sender, receiver) = mpsc::unbounded_channel();
    let mut echoed = begin_echo(grpc, receiver).await;
    for word in words {
        sender.send(word.clone()).unwrap();
        let echo = soon("an echo", echoed.message()).await.unwrap();
        assert_eq!(echo.unwrap(), word);
    }
    drop(sender);
    assert_eq!(soon("the end", echoed.message()).await.unwrap(), None);
}

async fn begin_echo(
    mut grpc: tonic::client::Grpc<Channel>,
    words: mpsc::UnboundedReceiver<String>,
) -> Streaming<String> {
    let words = stream::unfold(words, |mut words| async move {
        let word = words.recv().await?;
        Some((word, words))
    });
    grpc.ready().await.unwrap();
    let begun = grpc.streaming(Request::new(words), path("Echo"), Text);
    soon("the head", begun).await.unwrap().into_inner()
}

const GRPC: &str = "protocol = \"grpc\"";

#[tokio::test]
async fn calls_of_all_kinds_pass_in_plain() {
    let target = Target::start(None).await;
    let rig = Rig::with(&[target.addr], "", GRPC).await;
    all_four_kinds(plain(rig.addr()).await).await;
    assert_eq!(target.calls(), 5);
    let logged = rig.logged(5).await;
    let statuses: Vec<_> = logged.iter().map(|e| e.get("grpc_status")).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "0").count(), 4);
    assert!(statuses.contains(&"5"), "{statuses:?}");
}

#[tokio::test]
async fn calls_of_all_kinds_pass_in_tls() {
    let site = Site::new();
    let issued = site.authority.issue(&["app.internal"]);
    let target = Target::start(Some(issued.acceptor())).await;
    site.certify("site", &["site.example"]);
    site.write("root.crt", &site.authority.pem);
    let tls = "tls = { ca = \"root.crt\", server_name = \"app.internal\" }";
    let group = format!("{GRPC}\n{tls}");
    let file = site.configure(&["site"], target.addr, ("", "", "", &group));
    let lb = Lb::start_file(&file).await;
    all_four_kinds(encrypted(site.client(), lb.addr()).await).await;
    assert_eq!(target.calls(), 5);
}

/// Makes calls, some at a time, until the flag is set; returns how many were answered.
async fn keep_calling(channel: Channel, is_over: Arc<AtomicUsize>) -> Result<usize, Status> {
    let mut count = 0;
    while is_over.load(Ordering::SeqCst) == 0 {
        exclaim(&channel, "hello").await?;
        count += 1;
    }
    Ok(count)
}

#[tokio::test]
async fn no_call_is_lost_when_targets_drain_and_die() {
    let (mut draining, dying) = (Target::start(None).await, Target::start(None).await);
    let staying = Target::start(None).await;
    let targets = [draining.addr, dying.addr, staying.addr];
    let group = format!("{GRPC}\nretry = {{ non_idempotent = true, budget = \"100%\" }}");
    let rig = Rig::with(&targets, "", &group).await;
    let is_over = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let channel = plain(rig.addr()).await;
        clients.push(tokio::spawn(keep_calling(channel, Arc::clone(&is_over))));
    }
    until_called(&draining, 100).await;
    draining.drain().await;
    until_called(&dying, dying.calls() + 100).await;
    dying.kill();
    until_called(&staying, staying.calls() + 200).await;
    is_over.store(1, Ordering::SeqCst);
    for answered in join_all(clients).await {
        let count = answered.unwrap().expect("no call is lost");
        assert!(count > 0);
    }
}

async fn until_called(target: &Target, count: usize) {
    eventually(&format!("{count} calls"), async || {
        let now = target.calls();
        (now >= count).then_some(()).ok_or(now.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_while_its_target_is_replaced() {
    let (old, new) = (Target::start(None).await, Target::start(None).await);
    let mut rig = Rig::with(&[old.addr], "", GRPC).await;
    let channel = plain(rig.addr()).await;
    let (sender, words) = mpsc::unbounded_channel();
    let grpc = tonic::client::Grpc::new(channel.clone());
    sender.send("first".to_owned()).unwrap();
    let mut echoed = begin_echo(grpc, words).await;
    let changed = rig.changed(&[new.addr], "", GRPC);
    rig.lb.reload(&changed).await.unwrap();
    assert_eq!(exclaim(&channel, "hello").await.unwrap(), "hello!");
    assert_eq!((old.calls(), new.calls()), (1, 1));
    sender.send("second".to_owned()).unwrap();
    drop(sender);
    for word in ["first", "second"] {
        let echo = soon("an echo", echoed.message()).await.unwrap();
        assert_eq!(echo.unwrap(), word);
    }
    assert_eq!(soon("the end", echoed.message()).await.unwrap(), None);
}
