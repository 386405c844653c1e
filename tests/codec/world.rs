//! A Weir of one worker with one client, and targets that answer what a script says.
//!
//! The client's stream is a pair of sockets, its connection is served as the accept loop would do
//! it. Time stands still: it goes on when the script says so, so that a minute of waiting costs
//! nothing and nothing depends on how fast the machine is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use weir::config::{Config, parse};
use weir::downstream::{Accepted, DrainSignal, Terms, serve};
use weir::model::{Peer, SocketId};
use weir::net::descriptors::DescriptorPool;
use weir::net::{Buffers, Stream};
use weir::observe::Metrics;
use weir::proxy::Proxy;
use weir::state::{Publisher, Reader};
use weir::upstream::Pool;

use super::reference;

/// What the client does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act<'i> {
    /// It sends bytes.
    Send(&'i [u8]),
    /// It sends no more.
    Finish,
    /// It closes.
    Leave,
    /// Nothing, for so long.
    Wait(Duration),
}

/// What a target does when it has received something.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// What it sends.
    pub(crate) bytes: Vec<u8>,
    /// What it does then.
    pub(crate) then: Then,
}

/// What a target does after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It waits for more.
    Stay,
    /// It sends no more.
    Finish,
    /// It closes, perhaps with a reset.
    Close,
}

/// What was seen of a connection.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What Weir took from the client.
    pub(crate) sent: Vec<u8>,
    /// What the client got.
    pub(crate) received: Vec<u8>,
    /// What each connection to a target carried.
    pub(crate) targets: Vec<Vec<u8>>,
    /// Requests that are still counted on a target after the end.
    pub(crate) in_flight: u32,
}

/// What the targets share: what they are to say, and what they were told.
#[derive(Default)]
struct Targets {
    replies: RefCell<VecDeque<Reply>>,
    seen: RefCell<Vec<Vec<u8>>>,
    /// Counts whatever happens, in Weir and around it.
    events: Cell<u64>,
}

/// Rounds without an event after which nothing happens until time goes on.
const QUIET: usize = 3;

/// Rounds after which a world that does not come to rest is taken for one that never will.
const MAX_ROUNDS: usize = 200_000;

/// Longer than all deadlines of the configurations together.
const MAX_SECONDS: usize = 600;

/// Serves one connection. Panics if it does not end with its client.
pub(crate) fn run(config: &str, acts: &[Act<'_>], replies: Vec<Reply>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let tasks = LocalSet::new();
    let seen = runtime.block_on(tasks.run_until(play(config, acts, replies)));
    runtime.block_on(async { drop(tasks) });
    seen
}

async fn play(config: &str, acts: &[Act<'_>], replies: Vec<Reply>) -> Seen {
    let targets = Rc::new(Targets::default());
    targets.replies.borrow_mut().extend(replies);
    let addr = listen(&targets);
    let reader = publish(configuration(config, addr)).await;
    let (client, stream) = StdStream::pair().expect("a pair of sockets");
    let connection = accept(&reader, stream, Rc::clone(&targets));
    client.set_nonblocking(true).expect("an open socket");
    let mut client = Client {
        stream: Some(client),
        seen: Seen::default(),
        targets: Rc::clone(&targets),
    };
    for act in acts {
        client.act(*act).await;
    }
    client.finish();
    client.end(&connection).await;
    connection.await.expect("the connection does not panic");
    let mut seen = client.seen;
    seen.in_flight = in_flight(&reader);
    seen.targets = targets.seen.take();
    seen
}

/// A checked configuration. `{app}` in the text is the address of the target.
fn configuration(text: &str, target: SocketAddr) -> Config {
    let text = text.replace("{app}", &target.to_string());
    match parse("fuzz.toml", &text, &|_| None) {
        Ok(parsed) => parsed.config,
        Err(problems) => panic!("{problems}"),
    }
}

async fn publish(config: Config) -> Reader {
    let listener = config.listeners[0].id.clone();
    let (publisher, task, reader) = Publisher::new(1);
    spawn_local(task.run());
    let served = vec![(SocketId(0), listener)];
    publisher
        .configure_on(config, served)
        .await
        .expect("published");
    reader
}

/// Serves the connection of a client, as an accept loop does.
fn accept(reader: &Reader, stream: StdStream, targets: Rc<Targets>) -> JoinHandle<()> {
    stream.set_nonblocking(true).expect("an open socket");
    let stream = UnixStream::from_std(stream).expect("a runtime");
    let snapshot = reader.load_full();
    let listener = snapshot.listeners().next().expect("a listener");
    let accepted = Accepted {
        stream: Stream::from(stream),
        peer: Peer::Address(([192, 0, 2, 1], 40_000).into()),
        local: Some(([192, 0, 2, 2], 80).into()),
        terms: Rc::new(Terms {
            tls: None,
            socket: SocketId(0),
            listener: (listener.slot, listener.id.clone()),
            protocol: listener.protocol,
            proxy_protocol: listener.proxy_protocol,
            limits: listener.client,
            field_names: listener.http.field_names,
            proxied: None,
            http2: listener.http.http2,
        }),
    };
    let (buffers, metrics) = (Buffers::default(), Metrics::default());
    let pool = Rc::new(Pool::new(DescriptorPool::unlimited(), buffers.clone()));
    let proxy = Proxy::new(reader.data_plane(), pool, buffers, metrics.worker());
    let served = serve(
        accepted,
        Rc::new(proxy),
        Rc::new(DrainSignal::default()),
        (),
    );
    spawn_local(counted(served, targets))
}

/// Counts how often a future is polled.
async fn counted(future: impl Future<Output = ()>, targets: Rc<Targets>) {
    let mut future = Box::pin(future);
    std::future::poll_fn(|cx| {
        targets.note();
        Pin::new(&mut future).poll(cx)
    })
    .await;
}

fn in_flight(reader: &Reader) -> u32 {
    let snapshot = reader.load_full();
    let groups = snapshot.groups().iter();
    let targets = groups.flat_map(|group| group.targets.iter());
    targets.map(|target| target.target.load().in_flight()).sum()
}

struct Client {
    /// `None` once it has left.
    stream: Option<StdStream>,
    seen: Seen,
    targets: Rc<Targets>,
}

impl Client {
    async fn act(&mut self, act: Act<'_>) {
        match act {
            Act::Send(bytes) => self.send(bytes).await,
            Act::Finish => self.finish(),
            Act::Leave => self.stream = None,
            Act::Wait(time) => tokio::time::advance(time).await,
        }
        self.settle().await;
    }

    /// Sends as much as Weir takes without that time goes on.
    async fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(stream) = &mut self.stream else {
                return;
            };
            let sent = match stream.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            self.seen.sent.extend_from_slice(&bytes[..sent]);
            bytes = &bytes[sent..];
            self.settle().await;
            if sent == 0 {
                return;
            }
        }
    }

    fn finish(&self) {
        if let Some(stream) = &self.stream {
            // Fails if Weir has closed the connection.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Lets everything happen that can happen now.
    async fn settle(&mut self) {
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < QUIET {
            let before = self.targets.events.get();
            self.receive();
            yield_now().await;
            let is_quiet = self.targets.events.get() == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "it never comes to rest");
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    self.targets.note();
                    self.seen.received.extend_from_slice(&buffer[..count]);
                }
            }
        }
    }

    /// Waits for the end of the connection.
    async fn end(&mut self, connection: &JoinHandle<()>) {
        for _ in 0..MAX_SECONDS {
            self.settle().await;
            if connection.is_finished() {
                return;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        panic!("the connection does not end");
    }
}

impl Targets {
    fn note(&self) {
        self.events.set(self.events.get() + 1);
    }

    /// What a target says to what it has received so far on a connection; `None` if nothing.
    /// Without a word in the script it answers each request.
    fn reply(&self, received: &[u8], answered: &mut usize) -> Option<Reply> {
        let scripted = self.replies.borrow_mut().pop_front();
        scripted.or_else(|| {
            let complete = count_requests(received);
            let new = complete.saturating_sub(*answered);
            *answered = complete.max(*answered);
            (new > 0).then(|| Reply {
                bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(new),
                then: Then::Stay,
            })
        })
    }
}

/// Complete requests.
fn count_requests(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let Ok((_, rest)) = reference::request(bytes) else {
            break;
        };
        count += 1;
        bytes = rest;
    }
    count
}

/// Listens for connections to the target.
fn listen(targets: &Rc<Targets>) -> SocketAddr {
    let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("an open socket");
    let addr = listener.local_addr().expect("a bound socket");
    let listener = TcpListener::from_std(listener).expect("a runtime");
    let targets = Rc::clone(targets);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            targets.note();
            targets.seen.borrow_mut().push(Vec::new());
            let index = targets.seen.borrow().len() - 1;
            spawn_local(answer(stream, index, Rc::clone(&targets)));
        }
    });
    addr
}

/// One connection to the target.
async fn answer(mut stream: TcpStream, index: usize, targets: Rc<Targets>) {
    // No connection of thousands stays in the kernel's tables.
    let _ = stream.set_zero_linger();
    let (mut answered, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let read = read(&mut stream, &mut buffer).await;
        targets.note();
        if read == 0 {
            return;
        }
        let reply = {
            let mut seen = targets.seen.borrow_mut();
            seen[index].extend_from_slice(&buffer[..read]);
            targets.reply(&seen[index], &mut answered)
        };
        let Some(reply) = reply else {
            continue;
        };
        // Fails if Weir has closed the connection.
        if stream.write_all(&reply.bytes).await.is_err() || reply.then == Then::Close {
            return;
        }
        if reply.then == Then::Finish {
            let _ = stream.shutdown().await;
        }
    }
}

/// Reads what has come; 0 is the end.
async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        if stream.readable().await.is_err() {
            return 0;
        }
        match stream.try_read(buffer) {
            Ok(count) => return count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return 0,
        }
    }
}
