//! A client of HTTP/2 that writes and reads its frames byte by byte, for what no library sends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames (RFC 9113 section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// A frame as it was received.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a `RST_STREAM` or GOAWAY.
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().unwrap()))
    }

    /// The status in the first field of a HEADERS frame, as the `h2` crate writes it.
    pub fn status(&self) -> u16 {
        match self.payload.as_slice() {
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500][*indexed as usize - 0x88]
            }
            [0x48, length, rest @ ..] if *length & 0x80 != 0 => {
                digits(&rest[..(*length & 0x7f) as usize])
            }
            other => panic!("no status: {other:x?}"),
        }
    }
}

/// Digits in the code of RFC 7541 appendix B.
fn digits(code: &[u8]) -> u16 {
    let bits: Vec<u8> = code
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let value = |from: usize, len: usize| {
            bits[from..from + len]
                .iter()
                .fold(0_u16, |value, bit| value << 1 | u16::from(*bit))
        };
        let (digit, len) = match value(at, 5) {
            short @ 0..=2 => (short, 5),
            _ => (value(at, 6) - 0b01_1001 + 3, 6),
        };
        number = number * 10 + digit;
        at += len;
    }
    number
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without index and without the code of Huffman (RFC 7541 section 6.2.2).
pub fn field_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 section 5.1, with a prefix of seven bits.
fn push_length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push((left % 128) as u8 | 128);
        left /= 128;
    }
    block.push(left as u8);
}

/// A connection.
pub struct FrameClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl FrameClient {
    /// Sends the preface and an empty SETTINGS, and waits for those of the other side.
    pub async fn open(addr: SocketAddr) -> Self {
        let mut client = Self::silent(addr).await;
        client.send(PREFACE).await;
        client.send(frame(kind::SETTINGS, 0, 0, &[])).await;
        while !client
            .next()
            .await
            .is_some_and(|f| f.kind == kind::SETTINGS && f.flags == 1)
        {}
        client
    }

    /// Sends nothing.
    pub async fn silent(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub fn preface() -> &'static [u8] {
        PREFACE
    }

    /// Sends bytes; an error means that the other side has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("bytes to be sent", self.stream.write_all(bytes.as_ref())).await;
    }

    /// As [`Self::send`]; whether all bytes were taken.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = tokio::time::timeout(super::timeout(), self.stream.write_all(bytes)).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Whether the other side has ended the connection, or said that it does.
    pub fn has_ended(&mut self) -> bool {
        loop {
            match self.stream.try_read_buf(&mut self.unread) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    let is_open = error.kind() == std::io::ErrorKind::WouldBlock;
                    return !is_open;
                }
            }
        }
    }

    /// Waits until the other side has ended the connection, whatever it says before.
    pub async fn ends(&mut self) {
        let mut rest = Vec::new();
        // A reset counts as an end.
        let _ = soon("the end", self.stream.read_to_end(&mut rest)).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        soon("a frame", self.read()).await
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.unread.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let payload = self.unread.get(9..9 + length)?.to_vec();
        self.unread.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// The next frame that `wanted` is true of; `None` if the connection ends before.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}
