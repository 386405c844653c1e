//! A stream of HTTP/2 that has become the end of a tunnel (RFC 8441): its DATA frames are the bytes.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

use super::End;

/// Bytes that are sent in one frame.
const FRAME: usize = 16 * 1024;

/// What a stream belongs to, which lasts as long and hears what passes.
pub trait Owner: Debug {
    /// Bytes were read or written.
    fn moved(&self, count: usize);
}

/// Both directions of a stream.
#[derive(Debug)]
pub struct StreamEnd {
    receiver: RefCell<Receiver>,
    sender: RefCell<SendStream<Bytes>>,
    owner: Rc<dyn Owner>,
}

#[derive(Debug)]
struct Receiver {
    stream: RecvStream,
    /// Received and not read.
    data: Bytes,
    is_ended: bool,
}

impl Receiver {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.data.is_empty() && !self.is_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => self.data = data,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => self.is_ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read(&mut self, buffer: &mut BytesMut) -> usize {
        let room = buffer.capacity() - buffer.len();
        let count = room.min(self.data.len());
        buffer.extend_from_slice(&self.data[..count]);
        self.data.advance(count);
        // Fails only for a stream that has ended, which needs no window.
        let _ = self.stream.flow_control().release_capacity(count);
        count
    }
}

impl StreamEnd {
    /// `data` was received and not read.
    pub fn new(
        (stream, data): (RecvStream, Bytes),
        sender: SendStream<Bytes>,
        owner: Rc<dyn Owner>,
    ) -> Self {
        Self {
            receiver: RefCell::new(Receiver {
                stream,
                data,
                is_ended: false,
            }),
            sender: RefCell::new(sender),
            owner,
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut sender = self.sender.borrow_mut();
        let wanted = bytes.len().min(FRAME);
        sender.reserve_capacity(wanted);
        while sender.capacity() == 0 {
            match ready!(sender.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = sender.capacity().min(wanted);
        let data = Bytes::copy_from_slice(&bytes[..count]);
        self.owner.moved(count);
        Poll::Ready(
            sender
                .send_data(data, false)
                .map(|()| count)
                .map_err(broken),
        )
    }
}

impl End for StreamEnd {
    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.receiver.borrow_mut().poll_data(cx)).await
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let mut receiver = self.receiver.borrow_mut();
        if receiver.data.is_empty() {
            return Ok(receiver.is_ended.then_some(0));
        }
        let count = receiver.read(buffer);
        self.owner.moved(count);
        Ok(Some(count))
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write(cx, bytes)).await
    }

    async fn flush(&self) -> io::Result<()> {
        // The connection's task sends what its streams have.
        Ok(())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let sent = self.sender.borrow_mut().send_data(Bytes::new(), true);
        sent.map_err(broken)
    }

    fn is_sending(&self) -> bool {
        false
    }

    fn reset_on_close(&self) {
        self.sender.borrow_mut().send_reset(Reason::CANCEL);
    }
}

fn broken(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::ErrorKind::ConnectionReset.into(),
    }
}
