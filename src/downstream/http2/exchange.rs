//! One request and its response on a stream of an HTTP/2 connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

use super::request::read_trailers;
use super::response::{self, Length};
use super::socket::Socket;
use crate::http1::{Limits, Parsed};
use crate::message::{BodyLength, Exchange, Fields, Method, RequestHead, ResponseHead};
use crate::model::{ClientLimits, Failure};
use crate::net::Pace;
use crate::tunnel::StreamEnd;

/// Bytes of a response that are collected for one frame, which is the most that every client takes.
const FRAME: usize = 16 * 1024;

/// The side of a stream that sends.
#[derive(Debug)]
enum Sender {
    /// No head was sent.
    Respond(SendResponse<Bytes>),
    /// The head was sent.
    Body(SendStream<Bytes>),
}

impl Sender {
    /// Ready once the stream was reset, or its connection has ended.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Respond(respond) => respond.poll_reset(cx).map(drop),
            Self::Body(body) => body.poll_reset(cx).map(drop),
        }
    }

    fn reset(&mut self, reason: Reason) {
        match self {
            Self::Respond(respond) => respond.send_reset(reason),
            Self::Body(body) => body.send_reset(reason),
        }
    }
}

/// How far the response is.
#[derive(Debug)]
enum Download {
    /// It has not begun.
    Unbegun,
    /// Its head is to be sent.
    Head(Response<()>),
    /// Its head was sent.
    Body,
    /// All of it was given to the connection.
    Sent,
    /// It was given up.
    Aborted,
}

/// The end of a response.
#[derive(Debug, Default)]
enum End {
    /// More may come.
    #[default]
    Open,
    /// There is no more, but perhaps trailers.
    Ended(Option<HeaderMap>),
}

/// The exchange of a stream.
#[derive(Debug)]
pub(super) struct Http2Exchange {
    /// In a cell, because it cannot be asked otherwise whether the stream was reset.
    sender: RefCell<Sender>,
    receiver: RecvStream,
    socket: Rc<Socket>,
    parsing: Limits,
    /// Data of the request's body that is not consumed.
    input: Bytes,
    length: BodyLength,
    trailers: Option<Fields>,
    upload_pace: Pace,
    awaits_continue: bool,
    is_head: bool,
    download: Download,
    /// The response has a body, of which what is given is sent.
    has_body: bool,
    /// Data of the response's body that was not sent.
    output: BytesMut,
    end: End,
    download_pace: Pace,
}

impl Http2Exchange {
    pub(super) fn new(
        (receiver, respond): (RecvStream, SendResponse<Bytes>),
        socket: &Rc<Socket>,
        parsing: Limits,
        limits: &ClientLimits,
    ) -> Self {
        let pace = || Pace::new(limits.body_timeout, limits.body_min_rate);
        Self {
            sender: RefCell::new(Sender::Respond(respond)),
            receiver,
            socket: Rc::clone(socket),
            parsing,
            input: Bytes::new(),
            length: BodyLength::Empty,
            trailers: None,
            upload_pace: pace(),
            awaits_continue: false,
            is_head: false,
            download: Download::Unbegun,
            has_body: true,
            output: BytesMut::new(),
            end: End::Open,
            download_pace: pace(),
        }
    }

    /// Takes what the head of the request says.
    pub(super) fn begin(&mut self, head: &RequestHead, parsed: &Parsed) {
        use crate::http1::Framing;
        self.is_head = head.method() == Method::Head;
        self.length = match parsed.framing {
            Framing::None | Framing::UntilClose | Framing::Length(0) => BodyLength::Empty,
            Framing::Length(length) => BodyLength::Exact(length),
            Framing::Chunked => BodyLength::Unknown,
        };
        self.awaits_continue = parsed.expects_continue && !self.length.is_empty();
    }

    /// Whether the client has given the stream up before it had all of its response.
    pub(super) fn is_abandoned(&self) -> bool {
        !matches!(self.download, Download::Sent) && Exchange::has_left(self)
    }

    /// The end of a tunnel, once the head was sent of a [switch](Exchange::send_switch).
    pub(super) fn into_end(self) -> Option<StreamEnd> {
        match self.sender.into_inner() {
            Sender::Respond(_) => None,
            Sender::Body(body) => {
                let received = (self.receiver, self.input);
                Some(StreamEnd::new(received, body, self.socket))
            }
        }
    }

    /// Whether a body follows a head with this status.
    fn allows_body(&self, status: u16) -> bool {
        !self.is_head && !matches!(status, 204 | 304)
    }

    /// Notes the end of the request's body, if it is known.
    fn note_end(&mut self) {
        if self.input.is_empty() && self.receiver.is_end_stream() {
            self.length = BodyLength::Empty;
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let trailers = ready!(self.receiver.poll_trailers(cx)).map_err(|e| broken(&e))?;
        if let Some(map) = trailers {
            let read = read_trailers(&map, &self.parsing);
            let fields = read.map_err(|_| Failure::RequestBodyBroken)?;
            self.trailers = (!fields.is_empty()).then_some(fields);
        }
        self.length = BodyLength::Empty;
        Poll::Ready(Ok(()))
    }

    /// Sends the head, if it was not sent; with it the end of the stream, if nothing follows.
    fn send_begun(&mut self) -> Result<(), Failure> {
        let Download::Head(_) = &self.download else {
            return Ok(());
        };
        let Download::Head(response) = std::mem::replace(&mut self.download, Download::Body) else {
            return Ok(());
        };
        let is_whole = matches!(self.end, End::Ended(None)) && self.output.is_empty();
        let sender = self.sender.get_mut();
        if let Sender::Respond(respond) = sender {
            let body = respond.send_response(response, is_whole);
            *sender = Sender::Body(body.map_err(|_| Failure::ClientGone)?);
        }
        if is_whole {
            self.download = Download::Sent;
        }
        Ok(())
    }

    /// Sends the data that was collected, as the client's windows allow it.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Sender::Body(body) = self.sender.get_mut() else {
            return Poll::Ready(Ok(()));
        };
        while !self.output.is_empty() {
            body.reserve_capacity(self.output.len());
            let room = match body.capacity() {
                0 => match body.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(None | Some(Err(_))) => {
                        return Poll::Ready(Err(Failure::ClientGone));
                    }
                    Poll::Pending => {
                        ready!(self.download_pace.poll_too_slow(cx));
                        return Poll::Ready(Err(Failure::ClientGone));
                    }
                },
                room => room.min(self.output.len()),
            };
            let data = self.output.split_to(room).freeze();
            let is_last = self.output.is_empty() && matches!(self.end, End::Ended(None));
            let sent = body.send_data(data, is_last);
            sent.map_err(|_| Failure::ClientGone)?;
            self.download_pace.moved(room);
            self.socket.note_useful(room);
            if is_last {
                self.download = Download::Sent;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the end of a response whose data was sent.
    fn send_end(&mut self) -> Result<(), Failure> {
        let (Download::Body, Sender::Body(body)) = (&self.download, self.sender.get_mut()) else {
            return Ok(());
        };
        let sent = match std::mem::take(&mut self.end) {
            End::Open => return Ok(()),
            End::Ended(None) => body.send_data(Bytes::new(), true),
            End::Ended(Some(trailers)) => body.send_trailers(trailers),
        };
        self.download = Download::Sent;
        sent.map_err(|_| Failure::ClientGone)
    }

    fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        let polled = self.sender.borrow_mut().poll_reset(cx);
        polled.map(|()| Failure::ClientGone)
    }
}

impl Exchange for Http2Exchange {
    fn body_length(&self) -> BodyLength {
        self.length
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<&[u8]>, Failure>> {
        while self.input.is_empty() {
            if self.length == BodyLength::Empty {
                return Poll::Ready(Ok(None));
            }
            match self.receiver.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    self.awaits_continue = false;
                    self.upload_pace.moved(data.len());
                    self.socket.note_useful(data.len());
                    self.input = data;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                Poll::Ready(None) => ready!(self.poll_end(cx))?,
                Poll::Pending if self.awaits_continue => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.upload_pace.poll_too_slow(cx));
                    return Poll::Ready(Err(Failure::RequestBodyTimeout));
                }
            }
        }
        Poll::Ready(Ok(Some(&self.input)))
    }

    fn consume_body(&mut self, count: usize) {
        self.input.advance(count);
        // Fails only for a stream that has ended, which needs no window.
        let _ = self.receiver.flow_control().release_capacity(count);
        if let BodyLength::Exact(left) = &mut self.length {
            *left = left.saturating_sub(count as u64);
        }
        self.note_end();
    }

    fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.poll_reset(cx)
    }

    fn send_continue(&mut self) {
        if self.awaits_continue {
            self.send_interim(&ResponseHead::with_status(100));
        }
    }

    /// No event is lost by the waker that does nothing: what waits here polls
    /// [`Self::poll_gone`] or [`Self::poll_flush`] afterwards.
    fn has_left(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_reset(&mut cx).is_ready()
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        if head.status() == 100 && !std::mem::take(&mut self.awaits_continue) {
            // The client does not wait for it, and it says nothing else.
            return;
        }
        let Download::Unbegun = self.download else {
            return;
        };
        let response = response::response(head, Length::Unsaid);
        if let Sender::Respond(respond) = self.sender.get_mut() {
            // Fails for a stream that was reset, which is noticed elsewhere.
            let _ = respond.send_informational(response);
        }
    }

    fn send_head(&mut self, head: &ResponseHead, length: BodyLength) {
        self.has_body = self.allows_body(head.status());
        let length = match head.status() {
            _ if self.has_body => Length::Of(length),
            204 => Length::Unsaid,
            _ => Length::AsSaid,
        };
        self.download = Download::Head(response::response(head, length));
    }

    fn send_switch(&mut self, head: &ResponseHead, _: &[u8]) {
        self.download = Download::Head(response::switch(head));
    }

    fn retract(&mut self) -> bool {
        let Download::Head(_) = &self.download else {
            return false;
        };
        self.download = Download::Unbegun;
        self.output.clear();
        self.end = End::Open;
        true
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Failure>> {
        if !self.has_body {
            return Poll::Ready(Ok(data.len()));
        }
        if self.output.len() >= FRAME {
            self.send_begun()?;
            ready!(self.poll_output(cx))?;
        }
        let count = data.len().min(FRAME - self.output.len());
        self.output.extend_from_slice(&data[..count]);
        Poll::Ready(Ok(count))
    }

    fn end(&mut self, trailers: Option<&Fields>) {
        let trailers = trailers.filter(|_| self.has_body);
        self.end = End::Ended(trailers.and_then(response::trailers));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.send_begun()?;
        ready!(self.poll_output(cx))?;
        self.send_end()?;
        match self.download {
            Download::Sent => Poll::Ready(Ok(())),
            // A client that resets its stream is noticed as soon as it does.
            _ => match self.poll_reset(cx) {
                Poll::Ready(failure) => Poll::Ready(Err(failure)),
                Poll::Pending => Poll::Ready(Ok(())),
            },
        }
    }

    /// Does nothing: where a stream begins and ends cannot be in doubt, whatever was said in it, and
    /// others are under way on the connection.
    fn close_after(&mut self) {}

    fn abort(&mut self) {
        if !matches!(self.download, Download::Sent) {
            self.download = Download::Aborted;
            self.sender.get_mut().reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// Why the body of a request cannot be read to its end.
fn broken(error: &h2::Error) -> Failure {
    if error.is_library() && error.is_reset() {
        Failure::RequestBodyBroken
    } else {
        Failure::ClientGone
    }
}
