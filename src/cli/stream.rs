//! A stream of server-sent events of a running Weir, which is connected again when it is lost and
//! then goes on after the last event that came.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::ask::refusal;
use super::fetch::{AGENT, AdminError};
use crate::net::fetch::{self, Connection, Destination, FetchError, Response};

/// For the connection and the head of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream without a sign of life for so long is lost; there is one every ten seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(35);

/// Between two attempts to connect again.
const PAUSE: Duration = Duration::from_secs(1);

/// Most bytes of an event, and of a refusal.
const MAX_EVENT: usize = 1024 * 1024;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Why there is no stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamError {
    /// It may come back.
    Interrupted(String),
    /// The request is wrong.
    Refused(String),
}

/// An event as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// Follows a stream.
#[derive(Debug)]
pub(super) struct Stream {
    admin: String,
    /// With a query.
    path: String,
    /// The last event that came.
    last_id: Option<String>,
    response: Option<Response>,
    parser: Parser,
    /// Whether the last attempt has failed.
    is_lost: bool,
}

impl Stream {
    /// Follows `path` of the Weir at `admin`, from the event after `last_id`.
    pub(super) fn new(admin: &str, path: String, last_id: Option<String>) -> Self {
        Self {
            admin: admin.to_owned(),
            path,
            last_id,
            response: None,
            parser: Parser::default(),
            is_lost: false,
        }
    }

    /// The next event. After [`StreamError::Interrupted`] the next call waits a moment and connects again.
    /// Cancel-safe, but for an attempt to connect, which begins anew.
    pub(super) async fn next(&mut self) -> Result<Message, StreamError> {
        loop {
            if let Some(message) = self.parser.next() {
                if message.id.is_some() {
                    self.last_id.clone_from(&message.id);
                }
                return Ok(message);
            }
            if self.response.is_none() {
                self.connect().await?;
            }
            if let Err(lost) = self.read().await {
                self.response = None;
                self.parser = Parser::default();
                self.is_lost = true;
                return Err(StreamError::Interrupted(lost));
            }
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        let Some(response) = &mut self.response else {
            return Ok(());
        };
        let chunk = timeout(SILENCE_TIMEOUT, response.chunk()).await;
        let chunk = chunk.map_err(|_| format!("nothing came for {SILENCE_TIMEOUT:?}"))?;
        match chunk.map_err(|error| error.to_string())? {
            Some(bytes) => self.parser.feed(&bytes),
            None => Err("the stream has ended".to_owned()),
        }
    }

    async fn connect(&mut self) -> Result<(), StreamError> {
        if std::mem::replace(&mut self.is_lost, true) {
            sleep(PAUSE).await;
        }
        let admin = self.admin.clone();
        let lost = |error| StreamError::Interrupted(AdminError::new(&admin, error).explained());
        let response = fetch::within(CONNECT_TIMEOUT, self.open()).await;
        let response = response.map_err(lost)?;
        let status = response.status();
        if status == StatusCode::OK {
            self.response = Some(response);
            self.is_lost = false;
            return Ok(());
        }
        let body = fetch::within(CONNECT_TIMEOUT, response.bytes(MAX_EVENT)).await;
        let why = refusal(&self.admin, status, &body.unwrap_or_default());
        // As many as may follow do, or it ends.
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                StreamError::Interrupted(why)
            }
            _ => StreamError::Refused(why),
        })
    }

    async fn open(&self) -> Result<Response, FetchError> {
        let destination = Destination::Name(self.admin.clone());
        // It has no end.
        let connection = Connection::open(&destination, u64::MAX).await?;
        let mut request = Request::get(&self.path)
            .header(ACCEPT, "text/event-stream")
            .header(USER_AGENT, AGENT);
        if let Some(id) = &self.last_id {
            request = request.header(LAST_EVENT_ID, id);
        }
        connection.send(request.body(Bytes::new())?).await
    }
}

/// Prints what a stream of `path` sends after `last`, also when Weir is away for a while; ends when
/// `print` fails, as the output is closed. `note` says that the stream is lost.
pub(super) fn follow<T: DeserializeOwned>(
    admin: &str,
    path: String,
    last: u64,
    note: impl Fn(&str),
    mut print: impl FnMut(&T) -> io::Result<()>,
) -> Result<(), String> {
    let mut stream = Stream::new(admin, path, Some(last.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut is_lost = false;
    loop {
        match runtime.block_on(stream.next()) {
            Ok(message) => {
                is_lost = false;
                let sent = serde_json::from_str(&message.data);
                let sent = sent.map_err(|error| format!("this is not of Weir: {error}"))?;
                if print(&sent).is_err() {
                    return Ok(());
                }
            }
            Err(StreamError::Refused(why)) => return Err(why),
            Err(StreamError::Interrupted(why)) => {
                if !std::mem::replace(&mut is_lost, true) {
                    note(&format!("{why}; trying again"));
                }
            }
        }
    }
}

/// Reads server-sent events: the fields `id` and `data`, and comments, which mean nothing.
#[derive(Debug, Default)]
struct Parser {
    unread: Vec<u8>,
    /// The event that has begun.
    begun: Message,
    has_data: bool,
}

impl Parser {
    /// Takes bytes, as long as no event is too long.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.unread.extend_from_slice(bytes);
        if self.unread.len() + self.begun.data.len() > MAX_EVENT {
            return Err(format!("an event is longer than {MAX_EVENT} bytes"));
        }
        Ok(())
    }

    /// The next whole event.
    fn next(&mut self) -> Option<Message> {
        let mut at = 0;
        let mut found = None;
        while found.is_none()
            && let Some(end) = memchr::memchr(b'\n', &self.unread[at..])
        {
            let line = String::from_utf8_lossy(&self.unread[at..at + end]).into_owned();
            at += end + 1;
            found = self.line(line.trim_end_matches('\r'));
        }
        self.unread.drain(..at);
        found
    }

    /// Takes a line; an empty one ends an event.
    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.begun);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.begun.id = Some(value.to_owned()),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.begun.data.push('\n');
                }
                self.begun.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    #[test]
    fn events_are_found_wherever_the_chunks_end() {
        let text = b": hello\n\nid: 1\nevent: health\ndata: {}\n\n:\n\nid:2\r\ndata: a\ndata: b\r\n\r\nid: 3\ndata: c\n";
        for size in [1, 7, 1000] {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                parser.feed(chunk).unwrap();
                found.extend(std::iter::from_fn(|| parser.next()));
            }
            let message = |id: &str, data: &str| Message {
                id: Some(id.to_owned()),
                data: data.to_owned(),
            };
            assert_eq!(found, [message("1", "{}"), message("2", "a\nb")], "{size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; MAX_EVENT / 2];
        assert_eq!(parser.feed(&chunk), Ok(()));
        assert_eq!(parser.next(), None);
        assert!(parser.feed(&chunk).is_ok() && parser.feed(b"x").is_err());
    }

    /// Answers a request, and returns its head.
    fn answer(listener: &TcpListener, answer: &[u8]) -> String {
        let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(head).unwrap()
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

    #[tokio::test]
    async fn a_lost_stream_goes_on_after_its_last_event() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let first = format!("{HEAD}id: 7\ndata: a\n\nid: 8\ndata: cut");
            let second = format!("{HEAD}id: 8\ndata: b\n\n");
            let refused = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            [first.as_bytes(), second.as_bytes(), refused].map(|text| answer(&listener, text))
        });
        let mut stream = Stream::new(&admin, "/api/v1/events".to_owned(), Some("6".to_owned()));
        assert_eq!(stream.next().await.unwrap().data, "a");
        assert!(matches!(
            stream.next().await,
            Err(StreamError::Interrupted(_))
        ));
        assert_eq!(stream.next().await.unwrap().data, "b");
        assert!(matches!(
            stream.next().await,
            Err(StreamError::Interrupted(_))
        ));
        assert!(matches!(stream.next().await, Err(StreamError::Refused(_))));
        let heads = server.join().unwrap();
        for (head, id) in heads.iter().zip([6, 7, 8]) {
            assert!(head.contains(&format!("last-event-id: {id}\r\n")), "{head}");
        }
    }
}
