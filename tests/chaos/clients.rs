//! Clients that send requests all the time, and the results.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::http::{self, Message};

/// A request that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How the clients of a scenario behave.
#[derive(Clone, Copy)]
pub struct Behaviour {
    pub clients: usize,
    /// Mean pause between two requests of a client.
    pub pause: Duration,
    /// By how much a pause is longer or shorter, at random.
    pub jitter: Duration,
    /// Whether cookies are kept and sent back.
    pub cookies: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            clients: 64,
            pause: Duration::from_millis(15),
            jitter: Duration::from_millis(10),
            cookies: false,
        }
    }
}

/// The results of all requests.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: usize,
    pub succeeded: usize,
    /// GETs without a 200.
    pub failed: usize,
    /// POSTs without a 200.
    pub failed_posts: usize,
    /// Requests refused with 503 and `Retry-After`, which are counted as failed too.
    pub shed: usize,
    /// GETs sent again by the client because its kept connection was closed before a byte of
    /// the response (RFC 9112 section 9.3.1).
    pub reconnected: usize,
    /// Ids of the POSTs that were answered with 200.
    pub posted: Vec<String>,
    /// Times to a 200.
    pub latencies: Vec<Duration>,
    /// Times to a refusal.
    pub refusals: Vec<Duration>,
    /// Counts of each error.
    pub errors: BTreeMap<String, usize>,
}

/// Running clients.
pub struct Load {
    tally: Rc<RefCell<Tally>>,
    stop: Rc<Cell<bool>>,
    answered: Rc<Notify>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients of the proxy at `addr`.
    pub fn start(addr: SocketAddr, behaviour: Behaviour) -> Self {
        let load = Self {
            tally: Rc::default(),
            stop: Rc::default(),
            answered: Rc::default(),
            clients: Vec::new(),
        };
        let clients = (0..behaviour.clients).map(|number| {
            let client = Client {
                number,
                addr,
                behaviour,
                connection: None,
                cookies: BTreeMap::new(),
                tally: Rc::clone(&load.tally),
            };
            let (stop, answered) = (Rc::clone(&load.stop), Rc::clone(&load.answered));
            tokio::task::spawn_local(client.run(stop, answered))
        });
        Self {
            clients: clients.collect(),
            ..load
        }
    }

    /// Waits until `requests` more requests have ended.
    pub async fn wait_for(&self, requests: usize) {
        let goal = self.tally.borrow().sent + requests;
        while self.tally.borrow().sent < goal {
            self.answered.notified().await;
        }
    }

    /// Lets every client finish its request.
    pub async fn end(self) -> Tally {
        self.stop.set(true);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        self.tally.take()
    }
}

struct Client {
    number: usize,
    addr: SocketAddr,
    behaviour: Behaviour,
    connection: Option<(TcpStream, Vec<u8>)>,
    cookies: BTreeMap<String, String>,
    tally: Rc<RefCell<Tally>>,
}

impl Client {
    async fn run(mut self, stop: Rc<Cell<bool>>, answered: Rc<Notify>) {
        let mut turn = self.number;
        while !stop.get() {
            turn += 1;
            // Every fourth request is a POST.
            let id = turn
                .is_multiple_of(4)
                .then(|| format!("{}-{turn}", self.number));
            let begun = Instant::now();
            let outcome = timeout(REQUEST_TIMEOUT, self.ask(id.as_deref())).await;
            let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if outcome.is_err() {
                self.connection = None;
            }
            self.note(id, outcome, begun.elapsed());
            answered.notify_waiters();
            let jitter = self.behaviour.jitter.mul_f64(2.0 * fastrand::f64());
            sleep((self.behaviour.pause + jitter).saturating_sub(self.behaviour.jitter)).await;
        }
    }

    fn note(&self, id: Option<String>, outcome: io::Result<Message>, elapsed: Duration) {
        let mut tally = self.tally.borrow_mut();
        tally.sent += 1;
        let error = match outcome {
            Ok(reply) if reply.status == 200 => {
                tally.succeeded += 1;
                tally.latencies.push(elapsed);
                tally.posted.extend(id);
                return;
            }
            Ok(reply) if reply.status == 503 && reply.header("retry-after").is_some() => {
                tally.shed += 1;
                tally.refusals.push(elapsed);
                format!("503 {}", reply.body.trim())
            }
            Ok(reply) => format!("status {}", reply.status),
            Err(error) => error.to_string(),
        };
        // Without the request id, so that equal errors are counted together.
        let error = error
            .split(" (request")
            .next()
            .unwrap_or_default()
            .to_owned();
        *tally.errors.entry(error).or_default() += 1;
        if id.is_some() {
            tally.failed_posts += 1;
        } else {
            tally.failed += 1;
        }
    }

    async fn ask(&mut self, id: Option<&str>) -> io::Result<Message> {
        let request = self.request(id);
        if let Some((mut stream, mut buffer)) = self.connection.take() {
            let sent = stream.write_all(request.as_bytes()).await;
            match http::read(&mut stream, &mut buffer).await {
                Ok(Some(reply)) => return Ok(self.keep(stream, buffer, reply)),
                // Closed before a byte of the response: a GET may be sent again.
                Ok(None) | Err(_) if id.is_none() && buffer.is_empty() => {
                    self.tally.borrow_mut().reconnected += 1;
                }
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(sent.err().unwrap_or(error)),
            }
        }
        let mut stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::new();
        match http::read(&mut stream, &mut buffer).await? {
            Some(reply) => Ok(self.keep(stream, buffer, reply)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn request(&self, id: Option<&str>) -> String {
        let (method, length) = match id {
            Some(id) => ("POST", format!("x-id: {id}\r\ncontent-length: 4\r\n")),
            None => ("GET", String::new()),
        };
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let cookie = if pairs.is_empty() {
            String::new()
        } else {
            format!("cookie: {}\r\n", pairs.join("; "))
        };
        let body = if id.is_some() { "todo" } else { "" };
        let number = self.number;
        format!(
            "{method} /work HTTP/1.1\r\nhost: chaos\r\nx-client: {number}\r\n{cookie}{length}\r\n{body}"
        )
    }

    fn keep(&mut self, stream: TcpStream, buffer: Vec<u8>, reply: Message) -> Message {
        if self.behaviour.cookies {
            for cookie in reply.headers("set-cookie") {
                let pair = cookie
                    .split(';')
                    .next()
                    .and_then(|pair| pair.split_once('='));
                if let Some((name, value)) = pair {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        if reply.keeps_alive() {
            self.connection = Some((stream, buffer));
        }
        reply
    }
}
