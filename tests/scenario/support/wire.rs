//! Both ends of a connection, byte by byte: a client that sends any bytes, and a
//! target that keeps all it gets. Framing is parsed by code of this file, so that
//! Weir's parser is not tested by itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Backend, soon};

/// A client that sends bytes and reads responses.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A message as it was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// From the first line to the empty one.
    pub head: String,
    /// Without chunk framing.
    pub body: Vec<u8>,
    /// Whether the body came to the end its framing promised.
    pub complete: bool,
}

impl Message {
    pub fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1);
        status.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The values of a field, in order.
    pub fn fields(&self, name: &str) -> Vec<String> {
        fields_of(&self.head, name)
    }

    pub fn field(&self, name: &str) -> Option<String> {
        self.fields(name).into_iter().next()
    }

    /// Whether another response to the same request follows (RFC 9110 section 15.2).
    fn is_interim(&self) -> bool {
        matches!(self.status(), 100 | 102..200)
    }
}

/// The values of a field in the text of a message, in order. Names have no case (RFC 9110
/// section 5.1).
pub fn fields_of(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

impl Wire {
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Opens a connection and sends bytes on it.
    pub async fn send_to(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut wire = Self::open(addr).await;
        wire.send(bytes).await;
        wire
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(bytes.as_ref());
        soon("bytes to be sent", sent).await.unwrap();
    }

    /// Sends bytes and reads meanwhile, as clients do that want to hear of a refusal before they
    /// have sent everything. Ends early if the other side does.
    pub async fn send_while_reading(&mut self, bytes: impl AsRef<[u8]>) {
        let mut left = bytes.as_ref();
        let (mut from, mut to) = self.stream.split();
        let unread = &mut self.unread;
        soon("bytes to be sent", async {
            while !left.is_empty() {
                tokio::select! {
                    read = from.read_buf(unread) => if read.unwrap_or(0) == 0 {
                        return;
                    },
                    sent = to.write(left) => match sent {
                        Ok(count) => left = &left[count..],
                        // What was said before is still to be read.
                        Err(_) => return,
                    },
                }
            }
        })
        .await;
    }

    /// Sends as long as the other side takes anything; returns how much it took.
    pub async fn send_until_stuck(&mut self, within: Duration) -> u64 {
        let chunk = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(within, self.stream.write(&chunk)).await {
            match written {
                Ok(written) => sent += written as u64,
                Err(_) => return sent,
            }
        }
        sent
    }

    /// Sends bytes that the other side sends back, and reads them meanwhile: more than the buffers on
    /// the way can hold. Fails if they come back changed.
    pub async fn there_and_back(&mut self, sent: &[u8]) {
        let (mut from, mut to) = self.stream.split();
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(to.write_all(sent), from.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert!(sent == received, "the bytes came back changed");
    }

    /// Ends this side.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Ends both sides at once, as a process does that dies with bytes unread.
    pub fn reset(self) {
        let linger = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.unwrap();
    }

    /// The stream, for operations that this type does not have.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The next response to a request that was not HEAD.
    pub async fn response(&mut self) -> Message {
        soon(
            "a response",
            read_message(&mut self.stream, &mut self.unread),
        )
        .await
        .expect("a response, not the end of the connection")
    }

    /// The next response that is not an interim one.
    pub async fn final_response(&mut self) -> Message {
        self.interim_and_final().await.1
    }

    /// The next response with the interim ones before it.
    pub async fn interim_and_final(&mut self) -> (Vec<Message>, Message) {
        let mut interim = Vec::new();
        loop {
            let next = self.response().await;
            if !next.is_interim() {
                return (interim, next);
            }
            interim.push(next);
        }
    }

    /// The next response, or `None` if the connection ended before it began.
    pub async fn response_or_end(&mut self) -> Option<Message> {
        soon(
            "a response",
            read_message(&mut self.stream, &mut self.unread),
        )
        .await
    }

    /// A head alone, such as that of a response to HEAD.
    pub async fn head(&mut self) -> String {
        let head = read_head(&mut self.stream, &mut self.unread);
        soon("a head", head).await.expect("a head")
    }

    /// The next `len` bytes; fewer if the other side ends before.
    pub async fn take(&mut self, len: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        let read = read_exactly(&mut self.stream, &mut self.unread, len, &mut taken);
        soon("bytes", read).await;
        taken
    }

    /// All bytes until the other side closes or resets.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.unread);
        soon("the connection to close", async {
            // A reset counts as a close.
            let _ = self.stream.read_to_end(&mut rest).await;
        })
        .await;
        rest
    }

    /// Asserts that the other side closed without another byte.
    pub async fn ends(&mut self) {
        let rest = self.rest().await;
        assert_eq!(
            String::from_utf8_lossy(&rest),
            "",
            "after the last response"
        );
    }
}

/// A target that keeps every byte and answers each request it can frame.
pub struct Recorder {
    pub backend: Backend,
    bytes: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<Message>>>,
}

impl Recorder {
    /// Answers 200 `ok`.
    pub async fn start() -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let requests = Arc::<Mutex<Vec<Message>>>::default();
        let (kept, framed) = (Arc::clone(&bytes), Arc::clone(&requests));
        let backend = Backend::raw(move |mut stream| {
            let (kept, framed) = (Arc::clone(&kept), Arc::clone(&framed));
            async move {
                let mut unread = Vec::new();
                while let Some(request) = read_recorded(&mut stream, &mut unread, &kept).await {
                    let whole = request.complete;
                    framed.lock().unwrap().push(request);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if !whole || stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self {
            backend,
            bytes,
            requests,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.backend.addr()
    }

    /// Every byte it got, over all connections.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// Every request it got, the last one perhaps broken off.
    pub fn requests(&self) -> Vec<Message> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_recorded(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    kept: &Arc<Mutex<Vec<u8>>>,
) -> Option<Message> {
    let mut tap = Tap { stream, kept };
    read_message_from(&mut tap, unread, false).await
}

struct Tap<'a> {
    stream: &'a mut TcpStream,
    kept: &'a Arc<Mutex<Vec<u8>>>,
}

trait Source {
    /// More bytes; 0 at the end.
    async fn more(&mut self, into: &mut Vec<u8>) -> usize;
}

impl Source for TcpStream {
    async fn more(&mut self, into: &mut Vec<u8>) -> usize {
        self.read_buf(into).await.unwrap_or(0)
    }
}

impl Source for Tap<'_> {
    async fn more(&mut self, into: &mut Vec<u8>) -> usize {
        let before = into.len();
        let count = self.stream.read_buf(into).await.unwrap_or(0);
        self.kept.lock().unwrap().extend_from_slice(&into[before..]);
        count
    }
}

/// Reads a response.
pub async fn read_message(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<Message> {
    read_message_from(stream, unread, true).await
}

/// Reads a request head, for scripts of raw targets.
pub async fn read_request_head(stream: &mut TcpStream) -> String {
    let mut unread = Vec::new();
    read_head(stream, &mut unread).await.unwrap_or_default()
}

/// Reads a request head, and returns how much of the body came with it.
pub async fn read_request_start(stream: &mut TcpStream) -> usize {
    let mut unread = Vec::new();
    read_head(stream, &mut unread).await.expect("a request");
    unread.len()
}

/// Reads a request, for scripts of raw targets.
pub async fn read_request(stream: &mut TcpStream) -> Option<Message> {
    read_message_from(stream, &mut Vec::new(), false).await
}

async fn read_head(source: &mut impl Source, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
        if source.more(unread).await == 0 {
            return None;
        }
    }
}

async fn read_message_from(
    source: &mut impl Source,
    unread: &mut Vec<u8>,
    is_response: bool,
) -> Option<Message> {
    let head = read_head(source, unread).await?;
    let mut message = Message {
        head,
        body: Vec::new(),
        complete: true,
    };
    let length = message.field("content-length");
    let bare = is_response && matches!(message.status(), 100..200 | 204 | 304);
    if bare {
        return Some(message);
    }
    if message.field("transfer-encoding").is_some() {
        assert_eq!(length, None, "two framings: {}", message.head);
        message.complete = read_chunks(source, unread, &mut message.body).await;
    } else if let Some(length) = length {
        let length = length.parse().unwrap();
        message.complete = read_exactly(source, unread, length, &mut message.body).await;
    } else if is_response {
        while source.more(unread).await > 0 {}
        message.body = std::mem::take(unread);
    }
    Some(message)
}

async fn read_exactly(
    source: &mut impl Source,
    unread: &mut Vec<u8>,
    length: usize,
    into: &mut Vec<u8>,
) -> bool {
    while unread.len() < length {
        if source.more(unread).await == 0 {
            into.append(unread);
            return false;
        }
    }
    into.extend(unread.drain(..length));
    true
}

async fn read_chunks(source: &mut impl Source, unread: &mut Vec<u8>, into: &mut Vec<u8>) -> bool {
    loop {
        let Some(line) = read_line(source, unread).await else {
            return false;
        };
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        if size == 0 {
            // Trailers, then the empty line.
            while let Some(line) = read_line(source, unread).await {
                if line.is_empty() {
                    return true;
                }
            }
            return false;
        }
        if !read_exactly(source, unread, size, into).await {
            return false;
        }
        if read_line(source, unread).await.as_deref() != Some("") {
            return false;
        }
    }
}

async fn read_line(source: &mut impl Source, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = unread.windows(2).position(|w| w == b"\r\n") {
            let line: Vec<u8> = unread.drain(..end + 2).collect();
            return Some(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if source.more(unread).await == 0 {
            return None;
        }
    }
}
