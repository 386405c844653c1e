//! One request and its response on a client's HTTP/1.1 connection.

use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::departure::Departure;
use crate::clock;
use crate::http1::{self, BodyReader, ChunkWriter, Framing, Hop, Limits, Parsed, Persistence};
use crate::message::{BodyLength, Exchange, Fields, Method, RequestHead, ResponseHead, Version};
use crate::model::{ClientLimits, Failure};
use crate::net::{HangUp, Pace};

/// Data of at most so many bytes is copied behind what waits to be sent, to save a system call.
const COPIED: usize = 4 * 1024;

/// How the response's body is written: as its head has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Download {
    /// Not at all: the response has not begun.
    Head,
    Length,
    Chunked,
    UntilClose,
    /// There is none: what is given is dropped.
    Bodiless,
}

/// Whether another request may follow on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    Yes,
    /// The client has said that none follows.
    EndedByClient,
    /// Weir closes, although the client may have sent another one already.
    EndedByWeir,
}

/// How far the response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// All of it was given to [`Exchange::end`].
    Ended,
    /// It was given up.
    Aborted,
}

/// The exchange that a connection has at the moment.
#[derive(Debug)]
pub(super) struct Http1Exchange<'c> {
    connection: &'c mut Connection,
    method: Method,
    version: Version,
    upload: BodyReader,
    upload_pace: Pace,
    download: Download,
    chunks: ChunkWriter,
    download_pace: Pace,
    departure: Departure,
    /// Whether the client waits for a 100.
    awaits_continue: bool,
    /// Whether Weir itself has sent it a 100.
    has_sent_continue: bool,
    reuse: Reuse,
    state: State,
    /// Bytes that waited to be sent before the head was added.
    before_head: usize,
    /// Whether a byte of the head may have been sent.
    is_head_sent: bool,
}

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may follow.
    KeepAlive,
    /// It closes. Everything was read that the client has sent for the request.
    Close,
    /// It closes after what the client still sends was read for a while: a close with unread bytes
    /// is a reset, which may destroy the response.
    Linger,
    /// It closes at once, in a way that shows the client that something is missing.
    Abort,
}

impl<'c> Http1Exchange<'c> {
    pub(super) fn new(
        connection: &'c mut Connection,
        head: &RequestHead,
        parsed: &Parsed,
        parsing: &Limits,
        limits: ClientLimits,
    ) -> Self {
        let upload = BodyReader::new(parsed.framing, parsing);
        Self {
            method: head.method(),
            version: head.version(),
            awaits_continue: parsed.expects_continue && !upload.is_ended(),
            has_sent_continue: false,
            upload,
            upload_pace: Pace::new(limits.body_timeout, limits.body_min_rate),
            download: Download::Head,
            chunks: ChunkWriter::default(),
            download_pace: Pace::new(limits.body_timeout, limits.body_min_rate),
            departure: Departure::new(clock::now(), limits.abort_on_close),
            reuse: if parsed.keep_alive {
                Reuse::Yes
            } else {
                Reuse::EndedByClient
            },
            state: State::Open,
            before_head: 0,
            is_head_sent: false,
            connection,
        }
    }

    /// An exchange without a request, for the answer to one that could not be read.
    pub(super) fn refused(connection: &'c mut Connection, limits: ClientLimits) -> Self {
        let parsed = Parsed {
            length: 0,
            framing: Framing::None,
            reason: None,
            keep_alive: false,
            expects_continue: false,
            upgrade: false,
            dropped_fields: 0,
        };
        Self::new(
            connection,
            &RequestHead::new(),
            &parsed,
            &Limits::REQUEST,
            limits,
        )
    }

    /// What becomes of the connection.
    pub(super) fn after(&mut self) -> After {
        if self.state != State::Ended || !self.connection.output.is_empty() {
            return After::Abort;
        }
        if !self.skip_received() {
            return After::Linger;
        }
        match self.reuse {
            Reuse::Yes => After::KeepAlive,
            Reuse::EndedByClient => After::Close,
            Reuse::EndedByWeir => After::Linger,
        }
    }

    /// Lets no request follow.
    fn end_reuse(&mut self) {
        if self.reuse == Reuse::Yes {
            self.reuse = Reuse::EndedByWeir;
        }
    }

    /// Consumes the rest of the request as far as it has been received. Returns whether the request
    /// ends there.
    fn skip_received(&mut self) -> bool {
        loop {
            match self.received() {
                Err(_) => return false,
                Ok(0) => return self.upload.is_ended(),
                Ok(count) => self.consume_body(count),
            }
        }
    }

    /// Whether the rest of the request is known to be here.
    fn is_received(&self) -> bool {
        match self.upload.length() {
            BodyLength::Empty => true,
            BodyLength::Exact(left) => self.connection.input.len() as u64 >= left,
            BodyLength::Unknown => false,
        }
    }

    /// How many bytes of the body can be used now.
    fn received(&mut self) -> Result<usize, Failure> {
        let input = &mut self.connection.input;
        let part = self.upload.next(input.unread());
        let part = part.map_err(|_| Failure::RequestBodyBroken)?;
        input.consume(part.framing);
        Ok(part.data)
    }

    /// How the response is framed and written. Ends the connection's use if only its end can frame
    /// the response.
    fn frame(&mut self, status: u16, length: BodyLength) -> (Framing, Download) {
        let is_bodiless = self.method == Method::Head || matches!(status, 101 | 204 | 304);
        match length {
            _ if is_bodiless => (Framing::None, Download::Bodiless),
            BodyLength::Empty => (Framing::Length(0), Download::Length),
            BodyLength::Exact(length) => (Framing::Length(length), Download::Length),
            BodyLength::Unknown if self.version == Version::Http10 => {
                self.end_reuse();
                (Framing::UntilClose, Download::UntilClose)
            }
            BodyLength::Unknown => (Framing::Chunked, Download::Chunked),
        }
    }

    fn persistence(&self) -> Persistence {
        match (self.reuse, self.version) {
            (Reuse::EndedByClient | Reuse::EndedByWeir, _) => Persistence::Close,
            (Reuse::Yes, Version::Http10) => Persistence::KeepAlive,
            (Reuse::Yes, Version::Http11) => Persistence::Implied,
        }
    }
}

impl Exchange for Http1Exchange<'_> {
    fn body_length(&self) -> BodyLength {
        self.upload.length()
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&[u8]>, Failure>> {
        let count = loop {
            match self.received()? {
                0 if self.upload.is_ended() => return Poll::Ready(Ok(None)),
                0 => {}
                count => {
                    self.awaits_continue = false;
                    break count;
                }
            }
            match self.connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Failure::RequestBodyBroken)),
                Poll::Ready(Ok(count)) => {
                    self.upload_pace.moved(count);
                    self.departure.note_received();
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Pending if self.awaits_continue => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.upload_pace.poll_too_slow(cx));
                    return Poll::Ready(Err(Failure::RequestBodyTimeout));
                }
            }
        };
        Poll::Ready(Ok(Some(&self.connection.input.unread()[..count])))
    }

    fn consume_body(&mut self, count: usize) {
        self.connection.input.consume(count);
        self.upload.take(count);
    }

    fn trailers(&self) -> Option<&Fields> {
        self.upload.trailers()
    }

    fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let may_probe = self.version == Version::Http11
            && self.download == Download::Head
            && self.connection.output.is_empty();
        if self.upload.is_ended() {
            return self.departure.poll(cx, self.connection, may_probe);
        }
        // The reader of the body notices the end, unless nothing is read at the moment.
        self.departure
            .poll_hang_up(cx, self.connection, may_probe, true)
    }

    fn has_left(&self) -> bool {
        self.connection.stream.hang_up() == HangUp::Closed
    }

    fn send_continue(&mut self) {
        if self.awaits_continue && self.download == Download::Head {
            self.awaits_continue = false;
            self.has_sent_continue = true;
            self.connection
                .writer()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if self.version == Version::Http10 || self.download != Download::Head {
            return;
        }
        if head.status() == 100 {
            self.awaits_continue = false;
            // The one that Weir has sent stands for it.
            if self.has_sent_continue {
                return;
            }
        }
        let output = self.connection.writer();
        http1::encode_response(head, Framing::None, &Hop::default(), output);
    }

    fn send_head(&mut self, head: &ResponseHead, length: BodyLength) {
        // A client without a 100 may send its body all the same or leave it out, so no request
        // can follow on the connection (RFC 9110 section 10.1.1). Nor can one follow if a request
        // is refused before its body has come: the rest of it is not waited for.
        let is_refused = head.status() >= 300 && !self.is_received();
        if self.connection.is_closing() || self.awaits_continue || is_refused {
            self.end_reuse();
        }
        let (framing, download) = self.frame(head.status(), length);
        self.download = download;
        self.before_head = self.connection.output.len();
        self.is_head_sent = false;
        let hop = Hop {
            persistence: self.persistence(),
            ..Hop::default()
        };
        http1::encode_response(head, framing, &hop, self.connection.writer());
    }

    fn send_switch(&mut self, head: &ResponseHead, protocols: &[u8]) {
        self.download = Download::Bodiless;
        self.state = State::Ended;
        let hop = Hop {
            upgrade: Some(protocols),
            ..Hop::default()
        };
        http1::encode_response(head, Framing::None, &hop, self.connection.writer());
    }

    fn retract(&mut self) -> bool {
        if self.is_head_sent || self.download == Download::Head {
            return false;
        }
        self.connection.output.truncate(self.before_head);
        self.chunks.clear();
        self.download = Download::Head;
        true
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Failure>> {
        match self.download {
            Download::Head | Download::Bodiless => return Poll::Ready(Ok(data.len())),
            Download::Chunked => {
                if self.connection.output.is_full() {
                    ready!(self.poll_flush(cx))?;
                }
                self.chunks.push(data, self.connection.writer());
                return Poll::Ready(Ok(data.len()));
            }
            Download::Length | Download::UntilClose => {}
        }
        if data.len() <= COPIED && !self.connection.output.is_full() {
            self.connection.writer().extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        self.is_head_sent = true;
        match self.connection.poll_write_with(cx, data) {
            Poll::Ready(Ok(count)) => {
                self.download_pace.moved(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {
                ready!(self.download_pace.poll_too_slow(cx));
                Poll::Ready(Err(Failure::ClientGone))
            }
        }
    }

    fn end(&mut self, trailers: Option<&Fields>) {
        if self.download == Download::Chunked {
            let output = self.connection.writer();
            self.chunks.seal(output);
            http1::encode_last_chunk(trailers, output);
        }
        self.state = State::Ended;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.chunks.is_open() {
            self.chunks.seal(self.connection.writer());
        }
        let before = self.connection.output.len();
        if before == 0 && self.connection.stream.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        self.is_head_sent |= self.download != Download::Head;
        let drained = self.connection.poll_drain(cx);
        self.download_pace
            .moved(before - self.connection.output.len());
        match drained {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {
                ready!(self.download_pace.poll_too_slow(cx));
                Poll::Ready(Err(Failure::ClientGone))
            }
        }
    }

    fn close_after(&mut self) {
        self.end_reuse();
    }

    fn abort(&mut self) {
        self.state = State::Aborted;
    }
}
