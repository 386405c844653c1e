//! The buffers of a connection, and the free list of a worker from which their memory is taken
//! while a message is under way. A buffer without bytes in it needs no memory.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::stream::Stream;

/// Bytes that a buffer has room for at first: a head and a small body, or a good part of a large
/// one.
const CAPACITY: usize = 16 * 1024;

/// Bytes that are so few that to write them is no reason to let other tasks run.
const FEW: usize = 8 * 1024;

/// Buffers of each kind that a worker keeps for the next messages; more are freed.
const MAX_FREE: usize = 256;

/// The free list of one worker: memory for [`Input`] and [`Output`]. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Rc<Free>);

#[derive(Debug, Default)]
struct Free {
    /// Initialized to their whole length.
    inputs: List,
    /// Empty.
    outputs: List,
}

#[derive(Debug, Default)]
struct List {
    free: RefCell<Vec<Vec<u8>>>,
    /// The fewest that were free since the last [`Buffers::trim`].
    unused: Cell<usize>,
}

impl List {
    fn take(&self) -> Option<Vec<u8>> {
        let mut free = self.free.borrow_mut();
        let memory = free.pop();
        self.unused.set(self.unused.get().min(free.len()));
        memory
    }

    /// One that has grown for a large head is not worth keeping.
    fn give(&self, memory: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if memory.capacity() == CAPACITY && free.len() < MAX_FREE {
            free.push(memory);
        }
    }

    fn trim(&self) {
        let mut free = self.free.borrow_mut();
        let needed = free.len() - self.unused.get().min(free.len());
        free.truncate(needed);
        free.shrink_to(needed);
        self.unused.set(needed);
    }
}

impl Buffers {
    /// Frees the memory that was not needed since the last call. To be called about once a second.
    pub fn trim(&self) {
        self.0.inputs.trim();
        self.0.outputs.trim();
    }
}

/// Bytes that were received and not consumed yet.
#[derive(Debug, Default)]
pub struct Input {
    /// Initialized to its whole length, so that reading into it needs no `unsafe`.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    silence: Silence,
}

/// What is known of a stream from which nothing has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    /// Nothing.
    #[default]
    Unknown,
    /// It was found silent just now, and the task's waker is registered.
    Found,
    /// It was found silent, and the task was woken since: something has come, most likely.
    Awaited,
}

impl Input {
    /// The bytes in it.
    pub fn unread(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Removes the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "consumed what is not there");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Gives the memory back to the free list; does nothing while there are bytes in it.
    pub fn release(&mut self, buffers: &Buffers) {
        if self.is_empty() && !self.memory.is_empty() {
            buffers.0.inputs.give(std::mem::take(&mut self.memory));
        }
    }

    /// Receives more from `stream`, as much as there is room for; returns how many bytes, 0 at
    /// the end of the stream. There is always room for some, because the memory grows: the caller
    /// bounds it, by a limit of heads or by [`Self::is_full`].
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        buffers: &Buffers,
    ) -> Poll<io::Result<usize>> {
        let (is_empty, silence) = (self.memory.is_empty(), self.silence);
        self.silence = Silence::Awaited;
        match silence {
            Silence::Found => return Poll::Pending,
            // Nothing is taken for a peer that is silent.
            Silence::Unknown if is_empty => ready!(stream.poll_read_ready(cx))?,
            Silence::Unknown | Silence::Awaited => {}
        }
        self.make_room(buffers);
        let room = &mut self.memory[self.end..];
        let read = if silence == Silence::Awaited {
            stream.poll_read_woken(cx, room)
        } else {
            let mut room = ReadBuf::new(room);
            let read = stream.poll_read(cx, &mut room);
            read.map_ok(|()| room.filled().len())
        };
        if is_empty && read.is_pending() {
            self.release(buffers);
        }
        let count = ready!(read)?;
        self.silence = Silence::Unknown;
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Notes that its stream was found silent just now, and that the task's waker is registered: the
    /// next [`Self::poll_fill`] does not look again.
    pub fn note_silent(&mut self) {
        self.silence = Silence::Found;
    }

    /// Whether it holds 16 KiB, so that nothing more should be read ahead.
    pub fn is_full(&self) -> bool {
        self.len() >= CAPACITY
    }

    fn make_room(&mut self, buffers: &Buffers) {
        if self.memory.is_empty() {
            let free = buffers.0.inputs.take();
            self.memory = free.unwrap_or_else(|| vec![0; CAPACITY]);
        }
        // A few bytes at the end would cost a system call each.
        if self.memory.len() - self.end >= CAPACITY / 4 {
            return;
        }
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.memory.len() - self.end < CAPACITY / 4 {
            self.memory.resize(self.memory.len() * 2, 0);
        }
    }
}

/// Bytes that were encoded and not sent yet.
#[derive(Debug, Default)]
pub struct Output {
    memory: Vec<u8>,
    start: usize,
}

impl Output {
    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.memory.len()
    }

    /// Whether it holds 16 KiB, so that they should be sent before anything is added.
    pub fn is_full(&self) -> bool {
        self.len() >= CAPACITY
    }

    /// What encoders append to.
    pub fn writer(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        if self.memory.capacity() == 0 {
            let free = buffers.0.outputs.take();
            self.memory = free.unwrap_or_else(|| Vec::with_capacity(CAPACITY));
        }
        &mut self.memory
    }

    /// Keeps the first `len` bytes. Only right if none was sent since there were so many.
    pub fn truncate(&mut self, len: usize) {
        self.memory.truncate(self.start + len);
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.start = 0;
    }

    /// Sends what is in it. Ready when it is empty and the stream is flushed.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let left = &self.memory[self.start..];
            let count = ready!(if left.len() <= FEW {
                stream.poll_write_few(cx, left)
            } else {
                stream.poll_write(cx, left)
            })?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += count;
        }
        self.clear();
        stream.poll_flush(cx)
    }

    /// Sends what is in it and `data` behind that, together in one system call. Ready when a part
    /// of `data`, which is not empty, was sent as well; returns how many bytes of it.
    pub fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let own = &self.memory[self.start..];
            let slices = [IoSlice::new(own), IoSlice::new(data)];
            let slices = if own.is_empty() {
                &slices[1..]
            } else {
                &slices
            };
            let count = ready!(stream.poll_write_vectored(cx, slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let own = count.min(self.len());
            self.start += own;
            if self.is_empty() {
                self.clear();
            }
            if count > own {
                return Poll::Ready(Ok(count - own));
            }
        }
    }

    /// Gives the memory back to the free list; does nothing while there are bytes in it.
    pub fn release(&mut self, buffers: &Buffers) {
        if self.is_empty() && self.memory.capacity() > 0 {
            let mut memory = std::mem::take(&mut self.memory);
            memory.clear();
            self.start = 0;
            buffers.0.outputs.give(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    async fn fill(input: &mut Input, stream: &mut Stream, buffers: &Buffers) -> usize {
        poll_fn(|cx| input.poll_fill(cx, stream, buffers))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn bytes_are_kept_in_order_while_some_are_used() {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        let (mut stream, buffers) = (Stream::from(stream), Buffers::default());
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move { peer.write_all(&sent).await });
        let (mut input, mut got) = (Input::default(), Vec::new());
        while fill(&mut input, &mut stream, &buffers).await > 0 {
            let used = input.len() * 2 / 3;
            got.extend_from_slice(&input.unread()[..used]);
            input.consume(used);
        }
        got.extend_from_slice(input.unread());
        assert!(got == expected);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn memory_is_given_back_and_used_again() {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        let (mut stream, buffers) = (Stream::from(stream), Buffers::default());
        let free = |buffers: &Buffers| buffers.0.inputs.free.borrow().len();
        let mut input = Input::default();
        peer.write_all(b"hello").await.unwrap();
        assert_eq!(fill(&mut input, &mut stream, &buffers).await, 5);
        input.release(&buffers);
        assert_eq!(free(&buffers), 0, "it has bytes in it");
        input.consume(5);
        input.release(&buffers);
        assert_eq!(free(&buffers), 1);
        peer.write_all(b"again").await.unwrap();
        fill(&mut input, &mut stream, &buffers).await;
        assert_eq!((input.unread(), free(&buffers)), (&b"again"[..], 0));
    }

    #[test]
    fn memory_that_is_not_needed_for_a_while_is_freed() {
        let list = List::default();
        for _ in 0..4 {
            list.give(Vec::with_capacity(CAPACITY));
        }
        list.trim();
        assert_eq!(list.free.borrow().len(), 4, "it was all in use");
        let used = list.take().unwrap();
        list.give(used);
        list.trim();
        assert_eq!(list.free.borrow().len(), 1);
        list.trim();
        assert_eq!(list.free.borrow().len(), 0);
    }

    #[tokio::test]
    async fn a_silent_peer_costs_no_memory() {
        let (_peer, stream) = UnixStream::pair().unwrap();
        let (mut stream, buffers) = (Stream::from(stream), Buffers::default());
        let mut input = Input::default();
        let polled = poll_fn(|cx| Poll::Ready(input.poll_fill(cx, &mut stream, &buffers)));
        assert!(polled.await.is_pending());
        assert!(input.memory.is_empty());
    }

    #[tokio::test]
    async fn what_was_encoded_goes_out_before_the_data_behind_it() {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        let (mut stream, buffers) = (Stream::from(stream), Buffers::default());
        let mut output = Output::default();
        output.writer(&buffers).extend_from_slice(b"head ");
        let sent = poll_fn(|cx| output.poll_write_with(cx, &mut stream, b"body")).await;
        assert_eq!((sent.unwrap(), output.is_empty()), (4, true));
        let mut got = [0; 16];
        assert_eq!(peer.read(&mut got).await.unwrap(), 9);
        assert_eq!(&got[..9], b"head body");
    }
}
