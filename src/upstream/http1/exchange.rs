//! HTTP/1.1 on one connection to a target: a request is written while its response is read.

use std::task::{Context, Poll, ready};

use crate::http1::{self, BodyReader, ChunkWriter, Framing, Hop, Limits, Persistence, Scan};
use crate::message::{BodyLength, FieldName, Fields, Method, RequestHead, ResponseHead};
use crate::net::{Buffers, Input, Output, Stream};
use crate::upstream::response::{HeadKind, MAX_INTERIM, ReadError, ResponseLimits};

/// What is known of the connection before a request is written on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staleness {
    /// Silent, as it should be.
    Fresh,
    /// The target has closed it.
    Closed,
    /// The target has sent bytes that no request asked for.
    Unsolicited,
}

/// How far the request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    /// A part of it is to come.
    Open,
    /// All of it was encoded.
    Ended,
    /// The target reads no more of it.
    Broken,
}

/// One connection and the state of the exchange on it. [`Http1::begin`] begins an exchange; then
/// the request is written by [`Http1::push_body`], [`Http1::end_body`] and [`Http1::poll_flush`],
/// while the response is read by [`Http1::poll_head`] and [`Http1::poll_data`].
#[derive(Debug)]
pub struct Http1 {
    stream: Stream,
    buffers: Buffers,
    input: Input,
    output: Output,
    scan: Scan,
    method: Method,
    /// `None` if the body is not sent in chunks.
    chunks: Option<ChunkWriter>,
    request: RequestState,
    /// Whether a byte of the request may have reached the target.
    is_written: bool,
    /// Whether a byte came since the request began.
    is_received: bool,
    interim: u32,
    /// `None` before the head of the response.
    download: Option<BodyReader>,
    keeps_alive: bool,
    limits: Limits,
}

impl Http1 {
    pub(in crate::upstream) fn new(stream: Stream, buffers: Buffers) -> Self {
        Self {
            stream,
            buffers,
            input: Input::default(),
            output: Output::default(),
            scan: Scan::default(),
            method: Method::Get,
            chunks: None,
            request: RequestState::Ended,
            is_written: false,
            is_received: false,
            interim: 0,
            download: Some(BodyReader::ended()),
            keeps_alive: true,
            limits: Limits::RESPONSE,
        }
    }

    /// Looks at the connection before a request is written on it. Makes no system call if the
    /// runtime knows of nothing. Registers the task's waker.
    pub(super) fn staleness(&mut self, cx: &mut Context<'_>) -> Staleness {
        match self.stream.poll_read_ready(cx) {
            Poll::Pending => return Staleness::Fresh,
            Poll::Ready(Err(_)) => return Staleness::Closed,
            Poll::Ready(Ok(())) => {}
        }
        match self.input.poll_fill(cx, &mut self.stream, &self.buffers) {
            Poll::Pending => {
                self.input.release(&self.buffers);
                Staleness::Fresh
            }
            Poll::Ready(Ok(0) | Err(_)) => Staleness::Closed,
            Poll::Ready(Ok(_)) => Staleness::Unsolicited,
        }
    }

    /// Notes that [`Self::staleness`] has just found the connection fresh, so that the first
    /// [`Self::poll_head`] does not have to look at it again.
    pub(super) fn note_fresh(&mut self) {
        self.input.note_silent();
    }

    /// As the kernel knows it now, which the runtime may not have heard of. One system call.
    pub(super) fn peek(&self) -> crate::net::Peek {
        self.stream.peek()
    }

    /// Begins an exchange and encodes the head of its request, which [`Self::poll_flush`] writes. A
    /// body of unknown length is sent in chunks. `limits` are those of the response.
    pub fn begin(
        &mut self,
        head: &RequestHead,
        length: BodyLength,
        hop: &Hop<'_>,
        limits: ResponseLimits,
    ) {
        let framing = match length {
            // Said in so many words, as by a POST without content (RFC 9110 section 8.6).
            BodyLength::Empty if head.fields.contains(FieldName::ContentLength) => {
                Framing::Length(0)
            }
            BodyLength::Empty => Framing::None,
            BodyLength::Exact(length) => Framing::Length(length),
            BodyLength::Unknown => Framing::Chunked,
        };
        http1::encode_request(head, framing, hop, self.output.writer(&self.buffers));
        self.keeps_alive = hop.persistence != Persistence::Close;
        self.method = head.method();
        self.chunks = (length == BodyLength::Unknown).then(ChunkWriter::default);
        self.request = if length.is_empty() {
            RequestState::Ended
        } else {
            RequestState::Open
        };
        self.is_written = false;
        self.is_received = false;
        self.interim = 0;
        self.download = None;
        self.limits.max_head = limits.max_head;
        self.limits.max_fields = limits.max_fields;
    }

    /// Whether more of the request's body should be added before what was added is written.
    pub fn has_room(&self) -> bool {
        !self.output.is_full()
    }

    /// Adds bytes of the request's body, which [`Self::poll_flush`] writes.
    pub fn push_body(&mut self, data: &[u8]) {
        let output = self.output.writer(&self.buffers);
        match &mut self.chunks {
            Some(chunks) => chunks.push(data, output),
            None => output.extend_from_slice(data),
        }
    }

    /// Ends the request. Trailers are sent only behind a body of unknown length.
    pub fn end_body(&mut self, trailers: Option<&Fields>) {
        if let Some(chunks) = &mut self.chunks {
            let output = self.output.writer(&self.buffers);
            chunks.seal(output);
            http1::encode_last_chunk(trailers, output);
        }
        if self.request == RequestState::Open {
            self.request = RequestState::Ended;
        }
    }

    /// Writes what was encoded; ready when all of it was written. That the target reads no more is
    /// no error, because it may have answered: see [`Self::is_write_broken`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(chunks) = self.chunks.as_mut().filter(|chunks| chunks.is_open()) {
            chunks.seal(self.output.writer(&self.buffers));
        }
        if self.output.is_empty() && self.stream.is_flushed() {
            return Poll::Ready(());
        }
        if self.request == RequestState::Broken {
            self.output.clear();
            return Poll::Ready(());
        }
        let before = self.output.len();
        let drained = self.output.poll_drain(cx, &mut self.stream);
        self.is_written |= self.output.len() < before;
        match drained {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                if self.request == RequestState::Ended {
                    self.output.release(&self.buffers);
                }
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                self.request = RequestState::Broken;
                self.output.clear();
                Poll::Ready(())
            }
        }
    }

    /// Whether the target was found to read no more of the request.
    pub fn is_write_broken(&self) -> bool {
        self.request == RequestState::Broken
    }

    /// Whether a byte of the request was written, so that the target may have executed it.
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Whether a byte came since the request began.
    pub fn is_received(&self) -> bool {
        self.is_received
    }

    /// Whether the whole request was written.
    pub fn is_sent(&self) -> bool {
        self.request == RequestState::Ended && self.output.is_empty() && self.stream.is_flushed()
    }

    /// Reads the next head of the response into `head`: any number of interim ones up to 64, then
    /// the final one.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<HeadKind, ReadError>> {
        loop {
            if let Some(kind) = self.parse_head(head)? {
                return Poll::Ready(Ok(kind));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    fn parse_head(&mut self, head: &mut ResponseHead) -> Result<Option<HeadKind>, ReadError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let bytes = self.input.unread();
        let parsed = http1::parse_response(bytes, &mut self.scan, &self.limits, self.method, head);
        let Some(parsed) = parsed.map_err(|_| ReadError::Malformed)? else {
            return Ok(None);
        };
        self.input.consume(parsed.length);
        if head.is_interim() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(ReadError::TooManyInterim);
            }
            return Ok(Some(HeadKind::Interim));
        }
        self.keeps_alive &= parsed.keep_alive;
        self.download = Some(BodyReader::new(parsed.framing, &self.limits));
        Ok(Some(HeadKind::Final))
    }

    /// How much of the response's body is left, once its head was read.
    pub fn length(&self) -> BodyLength {
        let download = self.download.as_ref();
        download.map_or(BodyLength::Empty, BodyReader::length)
    }

    /// Bytes of the response's body, the same ones until they are [consumed](Self::consume); `None`
    /// at the end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&[u8]>, ReadError>> {
        let Some(mut download) = self.download.take() else {
            return Poll::Ready(Ok(None));
        };
        let polled = self.poll_part(cx, &mut download);
        self.download = Some(download);
        polled.map_ok(|count| count.map(|count| &self.input.unread()[..count]))
    }

    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        download: &mut BodyReader,
    ) -> Poll<Result<Option<usize>, ReadError>> {
        loop {
            let part = download
                .next(self.input.unread())
                .map_err(|_| ReadError::Malformed)?;
            self.input.consume(part.framing);
            if part.data > 0 {
                return Poll::Ready(Ok(Some(part.data)));
            }
            if download.is_ended() {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_fill(cx)) {
                Ok(()) => {}
                // After a reset the body is not complete (RFC 9112 section 8).
                Err(ReadError::Closed) if download.close() => self.keeps_alive = false,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes `count` of the bytes that [`Self::poll_data`] has returned.
    pub fn consume(&mut self, count: usize) {
        self.input.consume(count);
        if let Some(download) = &mut self.download {
            download.take(count);
        }
    }

    /// Whether the response was read to its end.
    pub fn is_ended(&self) -> bool {
        self.download.as_ref().is_some_and(BodyReader::is_ended)
    }

    /// The trailers of a response that has ended; `None` if it has none.
    pub fn trailers(&self) -> Option<&Fields> {
        self.download.as_ref()?.trailers()
    }

    /// Whether another request may be sent: both messages are complete, nothing more has come,
    /// and the target said nothing against it.
    pub fn is_reusable(&self) -> bool {
        self.is_ended() && self.is_sent() && self.keeps_alive && self.input.is_empty()
    }

    /// Whether bytes have come behind the end of the response.
    pub fn has_excess(&self) -> bool {
        self.is_ended() && !self.input.is_empty()
    }

    /// Gives its memory back while it is idle.
    pub(super) fn release(&mut self) {
        self.input.release(&self.buffers);
        self.output.release(&self.buffers);
        self.download = Some(BodyReader::ended());
        self.chunks = None;
    }

    /// Lets `cx` be woken by the next event.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>) {
        // Ready means that there was an event already: the next look finds it.
        if self.stream.poll_read_ready(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// The stream, and what was received and not used, after a switch of protocols.
    pub(super) fn into_parts(self) -> (Stream, Input) {
        (self.stream, self.input)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let filled = ready!(self.input.poll_fill(cx, &mut self.stream, &self.buffers));
        Poll::Ready(match filled {
            Ok(0) => Err(ReadError::Closed),
            Err(_) => Err(ReadError::Reset),
            Ok(_) => {
                self.is_received = true;
                Ok(())
            }
        })
    }
}
