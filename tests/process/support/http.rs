//! A client that blocks, one connection at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait_timeout;

/// A whole response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A kept-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap()
    }

    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, wait_timeout())?;
        stream.set_read_timeout(Some(wait_timeout()))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.send(path)?;
        self.receive()
    }

    /// Names a host, and sends a bearer token with the request.
    pub fn get_as(&mut self, host: &str, path: &str, token: &str) -> io::Result<Reply> {
        self.send_with(host, path, &format!("Authorization: Bearer {token}\r\n"))?;
        self.receive()
    }

    /// Sends a request without a body, of any method to any host.
    pub fn ask(&mut self, method: &str, host: &str, target: &str) -> io::Result<Reply> {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.receive()
    }

    pub fn send(&mut self, path: &str) -> io::Result<()> {
        self.send_with("localhost", path, "")
    }

    fn send_with(&mut self, host: &str, path: &str, fields: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut reply = Reply {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head,
            body: String::new(),
        };
        match reply.header("content-length").map(str::parse) {
            Some(Ok(length)) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body)?;
                reply.body = String::from_utf8(body).unwrap();
            }
            // A response without a length ends with the connection.
            _ => {
                self.stream.read_to_string(&mut reply.body)?;
            }
        }
        Ok(reply)
    }

    /// Waits for the next byte or the end, and returns whether the peer has closed.
    pub fn closes(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
            || self.stream.buffer().is_empty() && self.stream.get_ref().peek(&mut [0]).is_err()
    }
}
