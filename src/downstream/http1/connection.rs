//! The socket of a client, and the bytes on their way from and to it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::net::{Buffers, Input, Output, Stream};

/// A client's connection. Its buffers have memory only while a message is under way.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) input: Input,
    pub(super) output: Output,
    buffers: Buffers,
    /// Set when every response ends its connection; shared by all connections of the socket.
    closing: Rc<Cell<bool>>,
    /// How many more requests are read from it.
    pub(super) allowance: u32,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        buffers: Buffers,
        closing: Rc<Cell<bool>>,
        allowance: u32,
    ) -> Self {
        Self {
            stream,
            input: Input::default(),
            output: Output::default(),
            buffers,
            closing,
            allowance,
        }
    }

    /// Whether the next response has to be the last one.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get() || self.allowance == 0
    }

    /// Receives more, and returns how many bytes; 0 at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_fill(cx, &mut self.stream, &self.buffers)
    }

    /// Ready with `true` when bytes have come, with `false` at the end. Takes no memory while it
    /// waits.
    pub(super) fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let filled = self.poll_fill(cx);
        filled.map(|filled| filled.is_ok_and(|count| count > 0))
    }

    /// Whether the client has sent bytes that were not read, or not consumed.
    pub(super) fn has_unread(&self) -> bool {
        !self.input.is_empty() || self.stream.received().is_ok_and(|count| count > 0)
    }

    /// What encoders append to.
    pub(super) fn writer(&mut self) -> &mut Vec<u8> {
        self.output.writer(&self.buffers)
    }

    /// Sends what was encoded.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_drain(cx, &mut self.stream)
    }

    /// Sends what was encoded, and `data` behind it. Returns how much of `data` was sent.
    pub(super) fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.poll_write_with(cx, &mut self.stream, data)
    }

    /// The stream, and what was received and not consumed.
    pub(super) fn into_parts(self) -> (Stream, Input) {
        (self.stream, self.input)
    }

    /// Gives back the memory of empty buffers.
    pub(super) fn release(&mut self) {
        self.input.release(&self.buffers);
        self.output.release(&self.buffers);
    }
}
