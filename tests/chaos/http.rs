//! As much HTTP/1.1 as clients and backends of the suite need, byte by byte, so that
//! no library retries, pools or repairs anything.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request or a response, with its body.
#[derive(Debug)]
pub struct Message {
    head: String,
    /// The status of a response; 0 for a request.
    pub status: u16,
    pub body: String,
}

impl Message {
    /// The target of a request.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("/")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.head.lines().skip(1).filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether another message may follow on the connection.
    pub fn keeps_alive(&self) -> bool {
        !self
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one message; `None` when the other side closed before its first byte.
pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let mut message = Message {
        head: String::from_utf8(head).map_err(io::Error::other)?,
        status: 0,
        body: String::new(),
    };
    if message.head.starts_with("HTTP/") {
        message.status = message.path().parse().map_err(io::Error::other)?;
    }
    let length = match message.header("content-length") {
        Some(length) => length.parse().map_err(io::Error::other)?,
        None => 0,
    };
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    message.body = String::from_utf8(body).map_err(io::Error::other)?;
    Ok(Some(message))
}

/// GET on a connection of its own.
pub async fn get(addr: SocketAddr, path: &str) -> io::Result<Message> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let reply = read(&mut stream, &mut Vec::new()).await?;
    reply.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
